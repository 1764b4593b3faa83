//! Sockets and FIFOs that are files: who may reach them is settled before anyone can.

use std::{
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    },
    path::Path,
};

use nix::{
    fcntl::{AtFlags, OFlag},
    sys::{
        socket::{
            AddressFamily, SockFlag, SockType, UnixAddr, UnixCredentials, connect, getsockopt, socket,
            sockopt::PeerCredentials,
        },
        stat::{Mode, fchmod},
    },
    unistd::{Gid, Uid, fchownat, mkfifo},
};

use super::{Owner, bind_and_listen, set_blocking, type_of, without_rights};
use crate::unit::spec::{Address, Listen, SocketKind, SocketOptions, SocketSpec};

/// A file of ours is made for us alone; then it gets its owner, then its mode.
const PRIVATE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

pub(super) fn open_socket(path: &Path, kind: SocketKind, options: &SocketOptions, owner: Owner) -> io::Result<OwnedFd> {
    remove_dead_socket(path)?;
    make_parents(path, options.directory_mode)?;
    let fd = socket(AddressFamily::Unix, type_of(kind), SockFlag::SOCK_CLOEXEC, None)?;
    without_rights(&fd)?;
    bind_and_listen(&fd, kind, &UnixAddr::new(path)?, options.backlog)?;
    let settled = Node::open(path).and_then(|node| node.settle(options.mode, owner));
    if let Err(error) = settled {
        fs::remove_file(path)?;
        return Err(error);
    }
    Ok(fd)
}

/// Opened for both, so that it never ends and nobody waits for the other side.
pub(super) fn open_fifo(path: &Path, options: &SocketOptions, owner: Owner) -> io::Result<OwnedFd> {
    make_parents(path, options.directory_mode)?;
    match mkfifo(path, PRIVATE) {
        // A FIFO holds nothing that its last reader left, so an old one serves.
        Ok(()) | Err(nix::Error::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY;
    let file = fs::File::options().read(true).write(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.file_type().is_fifo() {
        return Err(in_the_way());
    }
    std::os::unix::fs::fchown(&file, owner.uid, owner.gid)?;
    fchmod(&file, Mode::from_bits_truncate(options.mode))?;
    let fd = OwnedFd::from(file);
    set_blocking(&fd, true)?;
    Ok(fd)
}

/// Gives the file the owner and mode of a newer `spec`.
pub(super) fn configure(spec: &SocketSpec, owner: Owner) -> Option<String> {
    let path = spec.listen.path()?;
    let settled = Node::open(path).and_then(|node| node.settle(spec.options.mode, owner));
    settled.err().map(|error| format!("owner and mode of {}: {error}", path.display()))
}

/// Makes the file's other names; systemd goes on without one that cannot be made.
pub(super) fn link(spec: &SocketSpec) -> Vec<String> {
    let Some(target) = spec.listen.path() else { return Vec::new() };
    let made = spec.options.symlinks.iter().map(|name| (name, link_one(target, name, spec.options.directory_mode)));
    made.filter_map(|(name, made)| Some(format!("symlinks: {}: {}", name.display(), made.err()?))).collect()
}

fn link_one(target: &Path, name: &Path, directory_mode: u32) -> io::Result<()> {
    make_parents(name, directory_mode)?;
    match fs::read_link(name) {
        Ok(other) if other == target => return Ok(()),
        Ok(_) => fs::remove_file(name)?,
        Err(_) => {}
    }
    symlink(target, name)
}

/// Removes the file's other names but those in `kept`.
pub(super) fn unlink(spec: &SocketSpec, kept: &[Box<Path>]) {
    let Some(target) = spec.listen.path() else { return };
    for name in spec.options.symlinks.iter().filter(|name| !kept.contains(name)) {
        if fs::read_link(name).is_ok_and(|other| other == target) {
            let _gone = fs::remove_file(name);
        }
    }
}

/// Removes the file and its other names.
pub(super) fn remove(spec: &SocketSpec) {
    unlink(spec, &[]);
    let Some(path) = spec.listen.path() else { return };
    let is_ours = fs::symlink_metadata(path).is_ok_and(|meta| match spec.listen {
        Listen::Socket(_, Address::Inet(_) | Address::Unix(_) | Address::Abstract(_)) => meta.file_type().is_socket(),
        Listen::Fifo(_) => meta.file_type().is_fifo(),
    });
    if is_ours {
        let _gone = fs::remove_file(path);
    }
}

/// Whether whoever connects to `path` comes to the socket `fd`: both say who has made them listen. When in doubt, no.
pub(super) fn leads_to(path: &Path, fd: &OwnedFd) -> bool {
    let connected = || -> nix::Result<UnixCredentials> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let probe = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        connect(probe.as_raw_fd(), &UnixAddr::new(path)?)?;
        getsockopt(&probe, PeerCredentials)
    };
    matches!((connected(), getsockopt(fd, PeerCredentials)), (Ok(there), Ok(here)) if there == here)
}

/// A file in the file system, as it was found: what takes its name afterwards is not touched.
struct Node(fs::File);

impl Node {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let node = fs::File::options().read(true).custom_flags(flags.bits()).open(path)?;
        let meta = node.metadata()?;
        let kind = meta.file_type();
        // Whoever may write to the directory could have put a link to another's file here.
        if !(kind.is_socket() || kind.is_fifo()) || meta.nlink() != 1 {
            return Err(in_the_way());
        }
        Ok(Self(node))
    }

    fn settle(&self, mode: u32, owner: Owner) -> io::Result<()> {
        let (uid, gid) = (owner.uid.map(Uid::from_raw), owner.gid.map(Gid::from_raw));
        fchownat(&self.0, "", uid, gid, AtFlags::AT_EMPTY_PATH)?;
        // fchmod(2) refuses what was opened as a mere place.
        let place = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        fs::set_permissions(place, fs::Permissions::from_mode(mode))
    }
}

fn make_parents(path: &Path, mode: u32) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) else { return Ok(()) };
    make_parents(parent, mode)?;
    match fs::create_dir(parent) {
        // Whatever our mask says.
        Ok(()) => fs::set_permissions(parent, fs::Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Removes a socket file, whoever answers on it.
pub(super) fn remove_left(path: &Path) -> io::Result<()> {
    if is_socket(path)? { fs::remove_file(path) } else { Ok(()) }
}

/// Whether a socket's file is there. Nothing else may be.
fn is_socket(path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => Ok(true),
        Ok(_) => Err(in_the_way()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A socket file that nobody answers on is left from an earlier boot; one that answers belongs to somebody.
fn remove_dead_socket(path: &Path) -> io::Result<()> {
    if !is_socket(path)? {
        return Ok(());
    }
    // Of a kind that makes no connection: whoever lives there does not notice.
    let probe = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    match connect(probe.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(nix::Error::ECONNREFUSED) => fs::remove_file(path),
        _ => Err(io::Error::from(io::ErrorKind::AddrInUse)),
    }
}

fn in_the_way() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "a file that is no socket is in the way")
}
