use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// Devices that may be used, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRule {
    /// Block or character devices.
    pub kind: DeviceKind,
    /// The major number.
    pub major: u32,
    /// The minor number; `None` is all.
    pub minor: Option<u32>,
    /// Some of [`MAKE`](Self::MAKE), [`READ`](Self::READ) and [`WRITE`](Self::WRITE).
    pub access: u8,
}

/// The two kinds of devices, with the kernel's numbers (BPF_DEVCG_DEV_BLOCK, BPF_DEVCG_DEV_CHAR).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Disks and their like.
    Block = 1,
    /// All others.
    Char = 2,
}

impl DeviceRule {
    /// mknod(2), BPF_DEVCG_ACC_MKNOD.
    pub const MAKE: u8 = 1;
    /// Reading.
    pub const READ: u8 = 2;
    /// Writing.
    pub const WRITE: u8 = 4;
}

// bpf(2): commands, the type of the program and where it is attached, and that a later one takes its place.
const BPF_PROG_LOAD: usize = 5;
const BPF_PROG_ATTACH: usize = 8;
const PROGRAM_OF_DEVICES: u32 = 15; // BPF_PROG_TYPE_CGROUP_DEVICE
const AT_DEVICES: u32 = 6; // BPF_CGROUP_DEVICE
const REPLACED_BY_LATER: u32 = 1; // BPF_F_ALLOW_OVERRIDE

/// The head of the kernel's `union bpf_attr` for a load; the rest is zero.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    rest: [u64; 13],
}

#[repr(C)]
struct Attach {
    cgroup: u32,
    program: u32,
    kind: u32,
    flags: u32,
    rest: [u64; 14],
}

/// Lets processes in a cgroup of version 2 use these devices only. It holds as long as the cgroup, or until the next call
/// for it. No controller is needed: a program of the kernel's own machine looks at each open and mknod (bpf(2)).
///
/// # Errors
/// As bpf(2): without CAP_BPF or CAP_SYS_ADMIN, in a kernel without it, or below a cgroup that forbids it.
pub fn filter_devices(cgroup: BorrowedFd<'_>, rules: &[DeviceRule]) -> io::Result<()> {
    let program = program(rules);
    let count = u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut load = Load {
        kind: PROGRAM_OF_DEVICES,
        count,
        instructions: program.as_ptr().addr() as u64,
        // It calls no function that a licence has to allow.
        license: c"".as_ptr().addr() as u64,
        rest: [0; 13],
    };
    let number = bpf(BPF_PROG_LOAD, &raw mut load)?;
    // SAFETY: a new descriptor of this process that nobody else knows.
    let loaded = unsafe { OwnedFd::from_raw_fd(number) };
    let number = |fd: BorrowedFd<'_>| fd.as_raw_fd().cast_unsigned();
    let (cgroup, program) = (number(cgroup), number(loaded.as_fd()));
    let mut attach = Attach { cgroup, program, kind: AT_DEVICES, flags: REPLACED_BY_LATER, rest: [0; 14] };
    bpf(BPF_PROG_ATTACH, &raw mut attach).map(drop)
}

fn bpf<T>(command: usize, attributes: *mut T) -> io::Result<i32> {
    // SAFETY: libc has no wrapper. Both callers pass a structure as the command wants it, which stays during the call and
    // names memory that stays too.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { i32::try_from(result).map_err(io::Error::other) }
}

/// What looks at one access: 1 allows it, 0 does not. In: kind and access in one word, major, minor.
fn program(rules: &[DeviceRule]) -> Vec<u64> {
    // Registers: what is asked, kind, access, major, minor; and one to reckon in.
    const ASKED: u8 = 1;
    const KIND: u8 = 2;
    const ACCESS: u8 = 3;
    const MAJOR: u8 = 4;
    const MINOR: u8 = 5;
    const RECKONED: u8 = 6;
    let mut all = vec![
        load_word(KIND, ASKED, 0),
        immediate(AND, KIND, 0xffff),
        load_word(ACCESS, ASKED, 0),
        immediate(SHIFT_RIGHT, ACCESS, 16),
        load_word(MAJOR, ASKED, 4),
        load_word(MINOR, ASKED, 8),
    ];
    for rule in rules {
        let mut tests = vec![
            // Nothing is asked that the rule does not allow.
            register(MOVE, RECKONED, ACCESS),
            immediate(
                AND,
                RECKONED,
                u32::from(!rule.access & (DeviceRule::MAKE | DeviceRule::READ | DeviceRule::WRITE)),
            ),
            Test::NotEqual(RECKONED, 0).into(),
            Test::NotEqual(KIND, rule.kind as u32).into(),
            Test::NotEqual(MAJOR, rule.major).into(),
        ];
        tests.extend(rule.minor.map(|minor| u64::from(Test::NotEqual(MINOR, minor))));
        let allow = [immediate(MOVE, 0, 1), EXIT];
        let length = tests.len() + allow.len();
        for (at, test) in tests.iter_mut().enumerate() {
            if is_jump(*test) {
                // Past the end of this rule, counted from the next instruction.
                *test |= u64::from(u16::try_from(length - at - 1).unwrap_or(0)) << 16;
            }
        }
        all.extend(tests);
        all.extend(allow);
    }
    all.extend([immediate(MOVE, 0, 0), EXIT]);
    all
}

// The instruction set: Documentation/bpf/standardization/instruction-set.rst.
const LOAD_WORD: u64 = 0x61;
const AND: u64 = 0x54;
const SHIFT_RIGHT: u64 = 0x74;
const MOVE: u64 = 0xb4;
const FROM_REGISTER: u64 = 0x08;
const JUMP_UNLESS_EQUAL: u64 = 0x56;
const EXIT: u64 = 0x95;

enum Test {
    /// Goes past the rule.
    NotEqual(u8, u32),
}

impl From<Test> for u64 {
    fn from(Test::NotEqual(of, value): Test) -> Self {
        immediate(JUMP_UNLESS_EQUAL, of, value)
    }
}

const fn is_jump(instruction: u64) -> bool {
    instruction & 0xff == JUMP_UNLESS_EQUAL
}

const fn load_word(to: u8, from: u8, offset: u16) -> u64 {
    LOAD_WORD | (to as u64) << 8 | (from as u64) << 12 | (offset as u64) << 16
}

const fn immediate(operation: u64, to: u8, value: u32) -> u64 {
    operation | (to as u64) << 8 | (value as u64) << 32
}

const fn register(operation: u64, to: u8, from: u8) -> u64 {
    operation | FROM_REGISTER | (to as u64) << 8 | (from as u64) << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn run(program: &[u64], kind: u32, access: u32, major: u32, minor: u32) -> u32 {
        let asked = [access << 16 | kind, major, minor];
        let mut registers = [0_u32; 11];
        let mut at = 0;
        loop {
            let word = program[at];
            let (code, to, from) = (word & 0xff, (word >> 8 & 0xf) as usize, (word >> 12 & 0xf) as usize);
            let (offset, value) = ((word >> 16 & 0xffff) as usize, (word >> 32) as u32);
            at += 1;
            match code {
                LOAD_WORD => registers[to] = asked[offset / 4],
                AND => registers[to] &= value,
                SHIFT_RIGHT => registers[to] >>= value,
                MOVE => registers[to] = value,
                code if code == MOVE | FROM_REGISTER => registers[to] = registers[from],
                JUMP_UNLESS_EQUAL if registers[to] != value => at += offset,
                JUMP_UNLESS_EQUAL => {}
                EXIT => return registers[0],
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn a_device_is_allowed_by_kind_number_and_access() {
        let read_write = DeviceRule::READ | DeviceRule::WRITE;
        let rules = [
            DeviceRule { kind: DeviceKind::Char, major: 1, minor: Some(3), access: read_write },
            DeviceRule { kind: DeviceKind::Block, major: 7, minor: None, access: DeviceRule::READ },
        ];
        let program = program(&rules);
        for (kind, access, major, minor, allowed) in [
            (2, 2, 1, 3, 1),
            (2, 6, 1, 3, 1),
            (2, 7, 1, 3, 0),
            (2, 1, 1, 3, 0),
            (2, 2, 1, 5, 0),
            (1, 2, 1, 3, 0),
            (1, 2, 7, 99, 1),
            (1, 4, 7, 99, 0),
            (1, 2, 8, 0, 0),
            // Only whether it is there is asked.
            (2, 0, 1, 3, 1),
        ] {
            assert_eq!(run(&program, kind, access, major, minor), allowed, "{kind} {access} {major}:{minor}");
        }
        assert_eq!(run(&super::program(&[]), 2, 2, 1, 3), 0);
    }

    #[test]
    fn what_is_no_cgroup_is_refused_by_the_kernel() {
        // The real call: the program is loaded and checked by the kernel, and has nothing to be attached to.
        let file = std::fs::File::open("/dev/null").unwrap();
        let rule = DeviceRule { kind: DeviceKind::Char, major: 1, minor: Some(3), access: DeviceRule::READ };
        let error = filter_devices(file.as_fd(), &[rule]).unwrap_err();
        // Without the privilege it is not loaded.
        assert!(matches!(error.raw_os_error(), Some(libc::EBADF | libc::EPERM)), "{error}");
    }
}
