//! What shuts a process in: namespaces, mounts, capabilities it can never have, and a filter of system calls.
//!
//! A program of small operations with final paths and numbers. `unit` decides on it, `wire` carries it, the child carries
//! it out in this order and decides nothing.

/// Everything that is done to a child so that it sees and may less, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confinement {
    /// Its network.
    pub network: Network,
    /// Further namespaces of its own, as flags of unshare(2).
    pub namespaces: u32,
    /// What is done in its own mount namespace; without `CLONE_NEWNS` above there is nothing here.
    pub mounts: Vec<MountStep>,
    /// Capabilities that it and its children can never have, bit by number, capabilities(7).
    pub drop_capabilities: u64,
    /// A program for seccomp(2), in force from right before execve(2); empty for none.
    pub filter: Vec<Instruction>,
}

/// The network of a child.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network {
    /// The keeper's.
    #[default]
    Shared,
    /// A new one with nothing but a loopback device, which is up.
    Private,
    /// That of a namespace file.
    Joined(String),
}

/// One step in a mount namespace. `may_miss`: it is left out where its path is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountStep {
    /// How mounts and unmounts travel to and from other namespaces, for every mount: `MS_SLAVE`, `MS_SHARED` or `MS_PRIVATE`.
    Propagate(u32),
    /// What stands at `path`, with everything that is mounted below it, becomes the root. What comes after finds nothing but
    /// what lies in there, wherever a symbolic link says that it leads.
    EnterRoot {
        /// Which directory.
        path: String,
    },
    /// Takes a copy of what stands at `path`, to be put somewhere later: open_tree(2).
    Hold {
        /// In which of the child's places.
        place: u16,
        /// What is copied; a symbolic link is not followed.
        path: String,
        /// With everything that is mounted below it.
        recursive: bool,
        /// As above.
        may_miss: bool,
    },
    /// Mounts what is held: move_mount(2). Where nothing came to be held, nothing is put.
    Put {
        /// Which.
        place: u16,
        /// Where.
        path: String,
        /// As above.
        may_miss: bool,
    },
    /// Mounts a new file system: mount(2).
    Mount {
        /// Its type.
        kind: String,
        /// Where.
        path: String,
        /// Flags of mount(2).
        flags: u32,
        /// The file system's own options.
        options: String,
        /// As above.
        may_miss: bool,
    },
    /// Makes a directory, and is content with what is there already.
    MakeDirectory {
        /// Where.
        path: String,
    },
    /// Makes an empty file to mount on, and is content with what is there already.
    MakeFile {
        /// Where.
        path: String,
    },
    /// Makes a symbolic link.
    MakeLink {
        /// Where.
        path: String,
        /// What it says.
        to: String,
    },
    /// Sets attributes of a mount: mount_setattr(2).
    Restrict {
        /// Where it is mounted.
        path: String,
        /// `MOUNT_ATTR_` flags.
        attributes: u32,
        /// And of everything that is mounted below it.
        recursive: bool,
        /// As above.
        may_miss: bool,
    },
}

/// One instruction of a filter, as the kernel's `sock_filter` has it (classic BPF).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)] // as the kernel reads it
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions are left out when its condition holds.
    pub jump_true: u8,
    /// How many are left out when it does not.
    pub jump_false: u8,
    /// Its operand.
    pub operand: u32,
}

/// Most places for what is held; more than any unit that people write.
pub const HOLDS_MAX: u16 = 1024;
/// Most instructions of one filter, seccomp(2).
pub const INSTRUCTIONS_MAX: usize = 4096;
