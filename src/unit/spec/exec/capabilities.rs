use std::fmt;

/// A set of capabilities, capabilities(7): a bit for each, by the kernel's number.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(pub u64);

/// The kernel's names, number 0 first.
const NAMES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

impl Capabilities {
    /// All that there are and may yet be.
    pub const ALL: Self = Self(u64::MAX);

    /// The one of this name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let number = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
        Some(Self(1 << number))
    }

    /// Every name.
    pub fn names() -> impl Iterator<Item = &'static str> + Clone {
        NAMES.into_iter()
    }
}

/// The names, lowest number first.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = |number: &usize| self.0 & (1 << number) != 0;
        let named = NAMES.iter().enumerate().filter(|(number, _)| has(number)).map(|(_, name)| *name);
        let unnamed = (NAMES.len()..64).any(|number| has(&number));
        let names: Vec<&str> = named.chain(unnamed.then_some("and-later-ones")).collect();
        f.write_str(&names.join(" "))
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({self})")
    }
}

/// `keyring_mode`, session-keyring(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeyringMode {
    /// The daemon's.
    #[default]
    Inherit,
    /// A new one.
    Private,
    /// A new one that the user's keyring is linked into.
    Shared,
}

/// systemd's words for the flags of capabilities(7), each with its bit.
pub const SECURE_BITS: [(&str, u32); 6] = [
    ("noroot", 1 << 0),
    ("noroot-locked", 1 << 1),
    ("no-setuid-fixup", 1 << 2),
    ("no-setuid-fixup-locked", 1 << 3),
    ("keep-caps", 1 << 4),
    ("keep-caps-locked", 1 << 5),
];
