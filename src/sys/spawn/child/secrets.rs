use std::ptr;

use super::{
    HERE, Strings, at, call, close,
    directories::way_to,
    list, open_at, status_of,
    walk::{DEPTH_MAX, Entry, Next, walk},
    write_all,
};
use crate::{
    base::SpawnStep,
    sys::spawn::{
        plan::{Plan, PlannedSecret, PlannedSecrets},
        program::Owner,
    },
};

/// All credentials of a unit together, in bytes (systemd.exec(5)).
const SECRETS_BYTES_MAX: usize = 1 << 20;
/// The longest file name.
const NAME_BYTES_MAX: usize = 255;
/// Mounts over the directory that are taken away.
const MOUNTS_MAX: usize = 16;
const FILE_MODE: usize = 0o400;
const FOLDER_MODE: usize = 0o500;

// Numbers of fsopen(2), fsconfig(2), fsmount(2), mount_setattr(2) and move_mount(2) that libc does not have everywhere.
const FSOPEN_CLOEXEC: usize = 1;
const FSCONFIG_SET_STRING: usize = 1;
const FSCONFIG_CMD_CREATE: usize = 6;
const FSMOUNT_CLOEXEC: usize = 1;
const MOUNT_ATTR_RDONLY: u64 = 1;
const MOUNT_ATTR_NOSUID_NODEV_NOEXEC: usize = 2 | 4 | 8;
const MOVE_MOUNT_BY_DESCRIPTORS: usize = 0x04 | 0x40;
const UMOUNT_NOFOLLOW: usize = 8;

/// Puts the credentials where the service finds them: into memory that is not swapped, read-only, under a mount of its
/// own; where we may not mount, into a directory, which is on a tmpfs anyway.
pub(super) fn place(plan: &Plan) -> Result<(), i32> {
    let Some(secrets) = list(&plan.secrets).first() else { return Ok(()) };
    at(plan, SpawnStep::Credentials);
    let (parent, name) = way_to(secrets.names)?;
    if secrets.fresh {
        take_away(secrets.path, parent, name)?;
    }
    match call(libc::SYS_mkdirat, [parent, name, 0o700, 0, 0, 0]) {
        Ok(_) => {}
        Err(libc::EEXIST) if !secrets.fresh => return Ok(()),
        Err(errno) => return Err(errno),
    }
    let folder = open_folder(parent, name)?;
    match memory() {
        Ok(mount) => {
            // What stands for a mount is no open directory.
            let top = open_folder(mount, c".".as_ptr().addr())?;
            fill(top, secrets)?;
            close(top);
            cover(mount, folder)?;
            close(mount);
        }
        Err(_) => fill(folder, secrets)?,
    }
    close(folder);
    close(parent);
    Ok(())
}

fn open_folder(parent: usize, name: usize) -> Result<usize, i32> {
    open_at(parent, name, libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW, 0)
}

/// Removes what an earlier run left.
fn take_away(path: *const u8, parent: usize, name: usize) -> Result<(), i32> {
    let flags = libc::MNT_DETACH as usize | UMOUNT_NOFOLLOW;
    for _ in 0..MOUNTS_MAX {
        if call(libc::SYS_umount2, [path.addr(), flags, 0, 0, 0, 0]).is_err() {
            break;
        }
    }
    let folder = match open_folder(parent, name) {
        Ok(folder) => folder,
        Err(libc::ENOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    walk(folder, &mut |entry| {
        call(libc::SYS_unlinkat, [entry.folder, entry.text(), 0, 0, 0, 0])?;
        Ok(Next::Beside)
    })?;
    close(folder);
    call(libc::SYS_unlinkat, [parent, name, libc::AT_REMOVEDIR as usize, 0, 0, 0])?;
    Ok(())
}

/// A mount that is nowhere yet.
fn memory() -> Result<usize, i32> {
    let context = call(libc::SYS_fsopen, [c"ramfs".as_ptr().addr(), FSOPEN_CLOEXEC, 0, 0, 0, 0])?;
    let (key, value) = (c"mode".as_ptr().addr(), c"0700".as_ptr().addr());
    let mount = call(libc::SYS_fsconfig, [context, FSCONFIG_SET_STRING, key, value, 0, 0])
        .and_then(|_| call(libc::SYS_fsconfig, [context, FSCONFIG_CMD_CREATE, 0, 0, 0, 0]))
        .and_then(|_| call(libc::SYS_fsmount, [context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID_NODEV_NOEXEC, 0, 0, 0]));
    close(context);
    mount
}

/// Makes the mount read-only and puts it over the directory.
fn cover(mount: usize, folder: usize) -> Result<(), i32> {
    // The kernel's mount_attr: set, clear, propagation, user namespace.
    let change = [MOUNT_ATTR_RDONLY, 0, 0, 0];
    let (empty, place, size) = (c"".as_ptr().addr(), change.as_ptr().addr(), size_of_val(&change));
    call(libc::SYS_mount_setattr, [mount, empty, libc::AT_EMPTY_PATH as usize, place, size, 0])?;
    call(libc::SYS_move_mount, [mount, empty, folder, empty, MOVE_MOUNT_BY_DESCRIPTORS, 0])?;
    Ok(())
}

fn fill(folder: usize, secrets: &PlannedSecrets) -> Result<(), i32> {
    let mut into = Into { folder, owner: secrets.owner, bytes: 0 };
    for secret in list(&secrets.list) {
        into.load(secret)?;
    }
    into.give(folder, FOLDER_MODE)
}

/// Where credentials are written to.
struct Into {
    folder: usize,
    owner: Option<Owner>,
    /// How much there is already.
    bytes: usize,
}

impl Into {
    fn load(&mut self, secret: &PlannedSecret) -> Result<(), i32> {
        for path in Strings(secret.files) {
            match open_at(HERE, path, libc::O_RDONLY | libc::O_NOCTTY, 0) {
                Ok(file) => {
                    let loaded = self.load_file(file, secret);
                    close(file);
                    return loaded;
                }
                Err(libc::ENOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        let Some(value) = &secret.value else { return Err(libc::ENOENT) };
        let Some(file) = self.new_file(list(&secret.id).as_ptr().addr())? else { return Ok(()) };
        self.count(value.count)?;
        write_all(file, list(value))?;
        self.give(file, FILE_MODE)?;
        close(file);
        Ok(())
    }

    fn load_file(&mut self, file: usize, secret: &PlannedSecret) -> Result<(), i32> {
        if status_of(file)?.st_mode & libc::S_IFMT == libc::S_IFDIR {
            return self.load_folder(file, list(&secret.id));
        }
        self.copy(file, list(&secret.id).as_ptr().addr())
    }

    /// Each file below it is a credential of its own: the id and the names on the way to it, joined by `_`.
    fn load_folder(&mut self, top: usize, id: &[u8]) -> Result<(), i32> {
        let mut name = Name { bytes: [0; NAME_BYTES_MAX + 1], lengths: [0; DEPTH_MAX + 1] };
        name.begin(id.split_last().map_or(id, |(_, text)| text))?;
        walk(top, &mut |entry| {
            name.extend(entry)?;
            if matches!(entry.kind, libc::DT_REG | libc::DT_UNKNOWN) {
                // Without waiting: it may turn out to be a FIFO.
                let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_NOCTTY | libc::O_NONBLOCK;
                match open_at(entry.folder, entry.text(), flags, 0) {
                    Ok(file) => {
                        let is_file = status_of(file)?.st_mode & libc::S_IFMT == libc::S_IFREG;
                        let copied = if is_file { self.copy(file, name.bytes.as_ptr().addr()) } else { Ok(()) };
                        close(file);
                        copied?;
                    }
                    // A symbolic link or a socket.
                    Err(libc::ELOOP | libc::ENXIO | libc::ENOENT) => {}
                    Err(errno) => return Err(errno),
                }
            }
            Ok(Next::Below)
        })
    }

    fn copy(&mut self, from: usize, id: usize) -> Result<(), i32> {
        let Some(file) = self.new_file(id)? else { return Ok(()) };
        let mut piece = [0_u8; 1024];
        let copied = loop {
            let read = call(libc::SYS_read, [from, piece.as_mut_ptr().addr(), piece.len(), 0, 0, 0]);
            let bytes = match read {
                Ok(0) => break Ok(()),
                Ok(length) => piece.get(..length).unwrap_or_default(),
                Err(errno) => break Err(errno),
            };
            if let Err(errno) = self.count(bytes.len()).and_then(|()| write_all(file, bytes)) {
                break Err(errno);
            }
        };
        // Our stack is memory of the keeper.
        for byte in &mut piece {
            // SAFETY: writes one byte of this frame. An ordinary write could be left out, as nobody reads it again.
            unsafe { ptr::write_volatile(byte, 0) };
        }
        copied?;
        self.give(file, FILE_MODE)?;
        close(file);
        Ok(())
    }

    /// `None` when there is one of this name: the first counts.
    fn new_file(&self, id: usize) -> Result<Option<usize>, i32> {
        match open_at(self.folder, id, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL, 0o600) {
            Ok(file) => Ok(Some(file)),
            Err(libc::EEXIST) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn count(&mut self, bytes: usize) -> Result<(), i32> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > SECRETS_BYTES_MAX { Err(libc::E2BIG) } else { Ok(()) }
    }

    fn give(&self, file: usize, mode: usize) -> Result<(), i32> {
        call(libc::SYS_fchmod, [file, mode, 0, 0, 0, 0])?;
        if let Some(owner) = self.owner {
            call(libc::SYS_fchown, [file, owner.uid as usize, owner.gid as usize, 0, 0, 0])?;
        }
        Ok(())
    }
}

/// The name of a credential that is put together on a walk.
struct Name {
    /// Ends with a NUL.
    bytes: [u8; NAME_BYTES_MAX + 1],
    /// How long it is in each directory on the way.
    lengths: [usize; DEPTH_MAX + 1],
}

impl Name {
    fn begin(&mut self, id: &[u8]) -> Result<(), i32> {
        let length = self.put(0, id)?;
        if let Some(place) = self.lengths.first_mut() {
            *place = length;
        }
        Ok(())
    }

    /// The name for an entry; what is below it goes on from there.
    fn extend(&mut self, entry: &Entry<'_>) -> Result<(), i32> {
        let before = self.lengths.get(entry.depth).copied().unwrap_or_default();
        let joined = self.put(before, b"_")?;
        let length = self.put(joined, entry.name)?;
        if let Some(place) = self.lengths.get_mut(entry.depth + 1) {
            *place = length;
        }
        Ok(())
    }

    fn put(&mut self, at: usize, text: &[u8]) -> Result<usize, i32> {
        let end = at + text.len();
        if end > NAME_BYTES_MAX {
            return Err(libc::ENAMETOOLONG);
        }
        for (place, byte) in self.bytes.iter_mut().skip(at).zip(text) {
            *place = *byte;
        }
        if let Some(place) = self.bytes.get_mut(end) {
            *place = 0;
        }
        Ok(end)
    }
}
