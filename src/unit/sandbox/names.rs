//! Numbers that people write by name: errors, address families, namespaces.

/// The error of a name or a number, 0 to 4095; errno(3).
pub(in crate::unit) fn errno(text: &str) -> Option<u16> {
    const ERRNO_MAX: u16 = 4095;
    if let Ok(number) = text.parse::<u16>() {
        return (number <= ERRNO_MAX).then_some(number);
    }
    search(ERRNOS, text)
}

/// The number of an address family; address_families(7).
pub(in crate::unit) fn address_family(name: &str) -> Option<u16> {
    search(FAMILIES, name)
}

/// All names of address families.
pub(in crate::unit) fn address_families() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().map(|(name, _)| *name)
}

/// Each kind of namespace and its flag of unshare(2).
pub(in crate::unit) const NAMESPACES: [(&str, u32); 7] = [
    ("cgroup", 0x0200_0000),
    ("ipc", 0x0800_0000),
    ("net", NEW_NETWORK),
    ("mnt", NEW_MOUNTS),
    ("pid", 0x2000_0000),
    ("user", 0x1000_0000),
    ("uts", 0x0400_0000),
];
pub(super) const NEW_MOUNTS: u32 = 0x0002_0000;
pub(super) const NEW_UTS: u32 = 0x0400_0000;
pub(super) const NEW_IPC: u32 = 0x0800_0000;
pub(super) const NEW_NETWORK: u32 = 0x4000_0000;

fn search(names: &[(&str, u16)], wanted: &str) -> Option<u16> {
    let at = names.binary_search_by(|(name, _)| (*name).cmp(wanted)).ok()?;
    names.get(at).map(|(_, number)| *number)
}

/// errno(3), the same on the machines we build for.
#[rustfmt::skip]
const ERRNOS: &[(&str, u16)] = &[
    ("E2BIG", 7), ("EACCES", 13), ("EADDRINUSE", 98), ("EADDRNOTAVAIL", 99), ("EADV", 68), ("EAFNOSUPPORT", 97),
    ("EAGAIN", 11), ("EALREADY", 114), ("EBADE", 52), ("EBADF", 9), ("EBADFD", 77), ("EBADMSG", 74), ("EBADR", 53),
    ("EBADRQC", 56), ("EBADSLT", 57), ("EBFONT", 59), ("EBUSY", 16), ("ECANCELED", 125), ("ECHILD", 10),
    ("ECHRNG", 44), ("ECOMM", 70), ("ECONNABORTED", 103), ("ECONNREFUSED", 111), ("ECONNRESET", 104),
    ("EDEADLK", 35), ("EDEADLOCK", 35), ("EDESTADDRREQ", 89), ("EDOM", 33), ("EDOTDOT", 73), ("EDQUOT", 122),
    ("EEXIST", 17), ("EFAULT", 14), ("EFBIG", 27), ("EHOSTDOWN", 112), ("EHOSTUNREACH", 113), ("EIDRM", 43),
    ("EILSEQ", 84), ("EINPROGRESS", 115), ("EINTR", 4), ("EINVAL", 22), ("EIO", 5), ("EISCONN", 106),
    ("EISDIR", 21), ("EISNAM", 120), ("EKEYEXPIRED", 127), ("EKEYREJECTED", 129), ("EKEYREVOKED", 128),
    ("EL2HLT", 51), ("EL2NSYNC", 45), ("EL3HLT", 46), ("EL3RST", 47), ("ELIBACC", 79), ("ELIBBAD", 80),
    ("ELIBEXEC", 83), ("ELIBMAX", 82), ("ELIBSCN", 81), ("ELNRNG", 48), ("ELOOP", 40), ("EMEDIUMTYPE", 124),
    ("EMFILE", 24), ("EMLINK", 31), ("EMSGSIZE", 90), ("EMULTIHOP", 72), ("ENAMETOOLONG", 36), ("ENAVAIL", 119),
    ("ENETDOWN", 100), ("ENETRESET", 102), ("ENETUNREACH", 101), ("ENFILE", 23), ("ENOANO", 55), ("ENOBUFS", 105),
    ("ENOCSI", 50), ("ENODATA", 61), ("ENODEV", 19), ("ENOENT", 2), ("ENOEXEC", 8), ("ENOKEY", 126),
    ("ENOLCK", 37), ("ENOLINK", 67), ("ENOMEDIUM", 123), ("ENOMEM", 12), ("ENOMSG", 42), ("ENONET", 64),
    ("ENOPKG", 65), ("ENOPROTOOPT", 92), ("ENOSPC", 28), ("ENOSR", 63), ("ENOSTR", 60), ("ENOSYS", 38),
    ("ENOTBLK", 15), ("ENOTCONN", 107), ("ENOTDIR", 20), ("ENOTEMPTY", 39), ("ENOTNAM", 118),
    ("ENOTRECOVERABLE", 131), ("ENOTSOCK", 88), ("ENOTSUP", 95), ("ENOTTY", 25), ("ENOTUNIQ", 76), ("ENXIO", 6),
    ("EOPNOTSUPP", 95), ("EOVERFLOW", 75), ("EOWNERDEAD", 130), ("EPERM", 1), ("EPFNOSUPPORT", 96), ("EPIPE", 32),
    ("EPROTO", 71), ("EPROTONOSUPPORT", 93), ("EPROTOTYPE", 91), ("ERANGE", 34), ("EREMCHG", 78), ("EREMOTE", 66),
    ("EREMOTEIO", 121), ("ERESTART", 85), ("ERFKILL", 132), ("EROFS", 30), ("ESHUTDOWN", 108),
    ("ESOCKTNOSUPPORT", 94), ("ESPIPE", 29), ("ESRCH", 3), ("ESRMNT", 69), ("ESTALE", 116), ("ESTRPIPE", 86),
    ("ETIME", 62), ("ETIMEDOUT", 110), ("ETOOMANYREFS", 109), ("ETXTBSY", 26), ("EUCLEAN", 117), ("EUNATCH", 49),
    ("EUSERS", 87), ("EWOULDBLOCK", 11), ("EXDEV", 18), ("EXFULL", 54),
];

/// bits/socket.h.
#[rustfmt::skip]
const FAMILIES: &[(&str, u16)] = &[
    ("AF_ALG", 38), ("AF_APPLETALK", 5), ("AF_ASH", 18), ("AF_ATMPVC", 8), ("AF_ATMSVC", 20), ("AF_AX25", 3),
    ("AF_BLUETOOTH", 31), ("AF_BRIDGE", 7), ("AF_CAIF", 37), ("AF_CAN", 29), ("AF_DECnet", 12), ("AF_ECONET", 19),
    ("AF_IB", 27), ("AF_IEEE802154", 36), ("AF_INET", 2), ("AF_INET6", 10), ("AF_IPX", 4), ("AF_IRDA", 23),
    ("AF_ISDN", 34), ("AF_IUCV", 32), ("AF_KCM", 41), ("AF_KEY", 15), ("AF_LLC", 26), ("AF_LOCAL", 1),
    ("AF_MCTP", 45), ("AF_MPLS", 28), ("AF_NETBEUI", 13), ("AF_NETLINK", 16), ("AF_NETROM", 6), ("AF_NFC", 39),
    ("AF_PACKET", 17), ("AF_PHONET", 35), ("AF_PPPOX", 24), ("AF_QIPCRTR", 42), ("AF_RDS", 21), ("AF_ROSE", 11),
    ("AF_ROUTE", 16), ("AF_RXRPC", 33), ("AF_SECURITY", 14), ("AF_SMC", 43), ("AF_SNA", 22), ("AF_TIPC", 30),
    ("AF_UNIX", 1), ("AF_VSOCK", 40), ("AF_WANPIPE", 25), ("AF_X25", 9), ("AF_XDP", 44),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found() {
        assert!(ERRNOS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(FAMILIES.is_sorted_by(|a, b| a.0 < b.0));
        assert_eq!(
            [errno("EPERM"), errno("ENOSYS"), errno("7"), errno("4096"), errno("EWHAT")],
            [Some(1), Some(38), Some(7), None, None]
        );
        assert_eq!(
            [address_family("AF_UNIX"), address_family("AF_INET6"), address_family("AF_X")],
            [Some(1), Some(10), None]
        );
    }
}
