use std::{
    ffi::{CStr, CString},
    iter,
    os::fd::AsRawFd,
    ptr,
    sync::atomic::{AtomicI32, AtomicU32},
};

use super::{
    confine::{self, Confined},
    program::{Control, Directory, Limit, Open, Owner, Privileges, Program, Schedule, Secrets},
    room::{List, Room, Text},
};
use crate::base::SpawnStep;

/// What a child reads and writes in our memory. Everything it points at lies in the same slot.
#[derive(Debug)]
#[repr(C)]
pub(in crate::sys) struct Plan {
    /// Not zero while the child is in our memory; the kernel clears it.
    pub(super) inside: AtomicU32,
    /// The step that the child is at, as [`code`](super::child::code) numbers it.
    pub(super) step: AtomicU32,
    /// Why it stopped there; 0 while it has not.
    pub(super) errno: AtomicI32,
    /// The child's pid when a launcher has made it.
    pub(super) launched: AtomicI32,
    /// Where the program may be; a null ends the list.
    pub(super) paths: *const *const u8,
    pub(super) argv: *const *const u8,
    pub(super) envp: *const *const u8,
    /// Null when the root stays.
    pub(super) root: *const u8,
    pub(super) cwd: *const u8,
    pub(super) cwd_may_miss: bool,
    /// Where its own pid belongs in its environment; null when it does not.
    pub(super) listen_pid: *mut u8,
    /// What it inherits: the descriptor in place n becomes n.
    pub(super) fds: *mut i32,
    pub(super) fds_count: usize,
    /// The `tasks` files of cgroups that it joins; a null ends the list.
    pub(super) old_cgroups: *const *const u8,
    pub(super) opens: [PlannedOpen; 3],
    pub(super) directories: List<PlannedDirectory>,
    /// One, or none.
    pub(super) secrets: List<PlannedSecrets>,
    pub(super) limits: List<Limit>,
    pub(super) groups: *const u32,
    pub(super) groups_count: usize,
    /// User and group, when they change.
    pub(super) user: Option<(u32, u32)>,
    pub(super) umask: u32,
    pub(super) nice: Option<i32>,
    pub(super) schedule: Schedule<'static>,
    pub(super) affinity: List<u8>,
    pub(super) privileges: Privileges,
    pub(super) no_new_privs: bool,
    pub(super) ignore_sigpipe: bool,
    /// The text for /proc/self/oom_score_adj; null when the score does not change.
    pub(super) oom_text: *const u8,
    pub(super) oom_length: usize,
    /// What shuts it in; null when nothing does.
    pub(super) confined: *const Confined,
    /// How the launcher makes the child, where one is needed.
    pub(super) clone: libc::clone_args,
}

impl Plan {
    /// Whether the child makes files before it becomes its user.
    pub(super) fn makes_files(&self) -> bool {
        self.directories.count > 0
            || self.secrets.count > 0
            || self.opens.iter().any(|open| matches!(open, PlannedOpen::File { .. }))
    }
}

/// [`Open`] in a slot.
#[derive(Debug, Clone, Copy)]
pub(super) enum PlannedOpen {
    Given,
    File { path: *const u8, flags: i32 },
    Data(List<u8>),
    Terminal { path: *const u8, control: Control },
    Same(usize),
}

/// [`Directory`] in a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedDirectory {
    pub(super) step: SpawnStep,
    /// The names on the way to it, null at the end.
    pub(super) names: *const *const u8,
    pub(super) mode: u32,
    pub(super) owner: Option<Owner>,
    pub(super) keep: bool,
    pub(super) links: List<PlannedLink>,
}

/// A symbolic link to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedLink {
    /// The names on the way to it, its own last.
    pub(super) names: *const *const u8,
    pub(super) target: List<u8>,
}

/// [`Secrets`] in a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedSecrets {
    pub(super) path: *const u8,
    pub(super) names: *const *const u8,
    pub(super) fresh: bool,
    pub(super) owner: Option<Owner>,
    pub(super) list: List<PlannedSecret>,
}

/// One credential in a slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct PlannedSecret {
    /// With its NUL.
    pub(super) id: List<u8>,
    /// Null at the end.
    pub(super) files: *const *const u8,
    pub(super) value: Option<List<u8>>,
}

/// Room for any pid in decimal, and NUL.
pub(super) const PID_DIGITS_MAX: usize = 11;

/// Lays a program out in `memory`, which the child will read; `None` when it does not fit.
pub(super) fn lay_out(program: &Program<'_>, memory: &mut [u8]) -> Option<Plan> {
    let mut room = Room::new(memory);
    let (fds_place, fds_count) = room.numbers(program.fds.iter().map(|fd| fd.as_raw_fd()))?;
    let old_cgroups = room.strings(program.old_cgroups.iter().map(|text| text.as_bytes_with_nul()))?;
    let limits = room.list(program.limits)?;
    let groups = program.user.map_or(&[][..], |user| user.groups);
    let (groups_place, groups_count) = room.numbers(groups.iter().map(|group| group.cast_signed()))?;
    let or_paths = program.or_paths.iter().map(CString::as_c_str);
    let paths = iter::once(program.path).chain(or_paths).map(|text| Text::New(text.to_bytes_with_nul()));
    let paths = room.pointers(program.or_paths.len() + 1, paths)?;
    let argv = room.strings(program.argv.iter().map(|text| text.as_bytes_with_nul()))?;
    let (extra, listen_pid) = room.listen_environment(program)?;
    let envp = room.pointers(
        program.env.len() + extra.len(),
        program.env.iter().map(|text| Text::New(text.as_bytes_with_nul())).chain(extra.into_iter().map(Text::There)),
    )?;
    let oom = program.oom_score_adj.map(|score| score.to_string());
    let (oom_text, oom_length) = match &oom {
        Some(text) => (room.bytes(text.as_bytes())?.cast_const(), text.len()),
        None => (ptr::null(), 0),
    };
    let [stdin, stdout, stderr] = &program.opens;
    let opens = [open(stdin, &mut room)?, open(stdout, &mut room)?, open(stderr, &mut room)?];
    let directories =
        program.directories.iter().map(|one| directory(one, &mut room)).collect::<Option<Vec<PlannedDirectory>>>()?;
    let secrets = program.secrets.iter().map(|one| secrets(one, &mut room)).collect::<Option<Vec<PlannedSecrets>>>()?;
    let confined = program.confinement.map_or(Some(ptr::null()), |what| confine::lay_out(what, &mut room))?;
    // SAFETY: the structure holds numbers only, for which zero is a value.
    let clone: libc::clone_args = unsafe { std::mem::zeroed() };
    Some(Plan {
        inside: AtomicU32::new(1),
        step: AtomicU32::new(0),
        errno: AtomicI32::new(0),
        launched: AtomicI32::new(0),
        paths,
        argv,
        envp,
        root: match program.root {
            Some(root) => room.c_text(root)?,
            None => ptr::null(),
        },
        cwd: room.c_text(program.cwd)?,
        cwd_may_miss: program.cwd_may_miss,
        listen_pid,
        fds: fds_place,
        fds_count,
        old_cgroups,
        opens,
        directories: room.list(&directories)?,
        secrets: room.list(&secrets)?,
        limits,
        groups: groups_place.cast_const().cast(),
        groups_count,
        user: program.user.map(|user| (user.uid, user.gid)),
        umask: program.umask,
        nice: program.nice,
        schedule: Schedule { affinity: &[], ..program.schedule },
        affinity: room.list(program.schedule.affinity)?,
        privileges: program.privileges,
        no_new_privs: program.no_new_privs,
        ignore_sigpipe: program.ignore_sigpipe,
        oom_text,
        oom_length,
        confined,
        clone,
    })
}

fn open(open: &Open<'_>, room: &mut Room<'_>) -> Option<PlannedOpen> {
    Some(match open {
        Open::Given => PlannedOpen::Given,
        Open::File { path, flags } => PlannedOpen::File { path: room.c_text(path)?, flags: *flags },
        Open::Data(bytes) => PlannedOpen::Data(room.list(bytes)?),
        Open::Terminal { path, control } => PlannedOpen::Terminal { path: room.c_text(path)?, control: *control },
        Open::Same(place) => PlannedOpen::Same(usize::from(*place)),
    })
}

fn directory(directory: &Directory<'_>, room: &mut Room<'_>) -> Option<PlannedDirectory> {
    let mut links = Vec::with_capacity(directory.links.len());
    for (path, target) in &directory.links {
        links.push(PlannedLink { names: room.names(path)?, target: room.list(target.to_bytes_with_nul())? });
    }
    Some(PlannedDirectory {
        step: directory.step,
        names: room.names(directory.path)?,
        mode: directory.mode,
        owner: directory.owner,
        keep: directory.keep,
        links: room.list(&links)?,
    })
}

fn secrets(secrets: &Secrets<'_>, room: &mut Room<'_>) -> Option<PlannedSecrets> {
    let mut list = Vec::with_capacity(secrets.list.len());
    for secret in &secrets.list {
        list.push(PlannedSecret {
            id: room.list(secret.id.to_bytes_with_nul())?,
            files: room.strings(secret.files.iter().map(|path| path.as_bytes_with_nul()))?,
            value: match secret.value {
                Some(value) => Some(room.list(value)?),
                None => None,
            },
        });
    }
    Some(PlannedSecrets {
        path: room.c_text(secrets.path)?,
        names: room.names(secrets.path)?,
        fresh: secrets.fresh,
        owner: secrets.owner,
        list: room.list(&list)?,
    })
}

/// How many bytes a program takes at most when it is laid out.
pub(super) fn bytes_needed(program: &Program<'_>) -> usize {
    let user = program.user.map_or(0, |user| user.groups.len() * 4);
    let opens = program.opens.iter().map(|open| match open {
        Open::Given | Open::Same(_) => 0,
        Open::File { path, .. } | Open::Terminal { path, .. } => text_bytes(path),
        Open::Data(bytes) => bytes.len() + ALIGNMENT,
    });
    strings_bytes(program.argv)
        + strings_bytes(program.env)
        + strings_bytes(program.old_cgroups)
        + strings_bytes(program.or_paths)
        + text_bytes(program.path)
        + size_of::<usize>()
        + text_bytes(program.cwd)
        + program.root.map_or(0, text_bytes)
        + user
        + size_of_val(program.limits)
        + program.fds.len() * 4
        + opens.sum::<usize>()
        + program.directories.iter().map(directory_bytes).sum::<usize>()
        + program.secrets.as_ref().map_or(0, secrets_bytes)
        + program.schedule.affinity.len()
        + program.listen.map_or(0, str::len)
        + program.confinement.map_or(0, confine::bytes_needed)
        + FIXED_BYTES
}

/// Terminators, alignment, the score's text and the three LISTEN_ variables.
const FIXED_BYTES: usize = 512;
/// Most bytes that are lost before one value.
const ALIGNMENT: usize = 8;

fn strings_bytes(list: &[CString]) -> usize {
    list.iter().map(|text| text.count_bytes() + 1 + size_of::<usize>()).sum::<usize>() + size_of::<usize>() + ALIGNMENT
}

fn text_bytes(text: &CStr) -> usize {
    text.count_bytes() + 1
}

/// A pointer and a NUL for each name, of which no path has more than every other byte.
fn names_bytes(path: &CStr) -> usize {
    let names = path.to_bytes().iter().filter(|byte| **byte == b'/').count() + 1;
    text_bytes(path) + names * (size_of::<usize>() + 1) + size_of::<usize>() + ALIGNMENT
}

fn directory_bytes(directory: &Directory<'_>) -> usize {
    let link =
        |(path, target): &(&CStr, &CStr)| names_bytes(path) + text_bytes(target) + ALIGNMENT + size_of::<PlannedLink>();
    size_of::<PlannedDirectory>()
        + names_bytes(directory.path)
        + directory.links.iter().map(link).sum::<usize>()
        + ALIGNMENT
}

fn secrets_bytes(secrets: &Secrets<'_>) -> usize {
    let one = |secret: &super::program::Secret<'_>| {
        let value = secret.value.map_or(0, <[u8]>::len);
        size_of::<PlannedSecret>() + text_bytes(secret.id) + strings_bytes(secret.files) + value + 2 * ALIGNMENT
    };
    size_of::<PlannedSecrets>()
        + text_bytes(secrets.path)
        + names_bytes(secrets.path)
        + secrets.list.iter().map(one).sum::<usize>()
        + 2 * ALIGNMENT
}
