use std::fmt;

/// The steps from an order to a running program, in order; a failure names the one it stopped at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpawnStep {
    /// Checks before there is a process: the order itself, a stored descriptor that is not there, room in the table.
    Prepare,
    /// clone3(2).
    Clone,
    /// Its own session, setsid(2).
    Session,
    /// Its cgroups, and what they ration.
    Cgroup,
    /// Standard input.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The descriptors it inherits.
    Descriptors,
    /// oom_score_adj.
    OomScore,
    /// Niceness.
    Nice,
    /// CPU scheduling policy and priority.
    SetScheduler,
    /// The CPUs that it may run on.
    CpuAffinity,
    /// I/O scheduling class and priority.
    IoPriority,
    /// Timer slack.
    TimerSlack,
    /// Execution domain, personality(2).
    Personality,
    /// Its runtime directories.
    RuntimeDirectory,
    /// Its state directories.
    StateDirectory,
    /// Its cache directories.
    CacheDirectory,
    /// Its logs directories.
    LogsDirectory,
    /// Its configuration directories.
    ConfigurationDirectory,
    /// Its credentials.
    Credentials,
    /// The network namespace.
    Network,
    /// Other namespaces, and the mounts in them.
    Namespace,
    /// Capabilities that it may never have.
    BoundingSet,
    /// Resource limits.
    Limits,
    /// Supplementary groups.
    Groups,
    /// Group id.
    Group,
    /// Its root directory, chroot(2).
    Chroot,
    /// Capabilities, capabilities(7).
    Capabilities,
    /// User id.
    User,
    /// Its keyring, session-keyring(7).
    Keyring,
    /// Secure bits, capabilities(7).
    SecureBits,
    /// The working directory, chdir(2).
    Chdir,
    /// no_new_privs.
    NoNewPrivileges,
    /// Signal mask and dispositions.
    Signals,
    /// The filter of system calls.
    Seccomp,
    /// execve(2): the program is missing, not executable, its interpreter is missing …
    Exec,
}

/// Why a process could not be started: the step and the kernel's error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpawnFailure {
    /// Where it stopped.
    pub step: SpawnStep,
    /// errno(3).
    pub errno: i32,
}

/// errno(3), the same on all Linux machines.
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

impl SpawnFailure {
    /// Whether the machine was short of something (processes, memory, descriptors, places for set-ups), which may be there
    /// a moment later: no fault of the unit's. A user's processes are counted at clone(2) for root and at execve(2) for
    /// whoever has just become that user.
    pub const fn is_shortage(self) -> bool {
        let is_before = matches!(self.step, SpawnStep::Prepare | SpawnStep::Clone);
        match self.errno {
            EAGAIN => is_before || matches!(self.step, SpawnStep::Exec),
            ENOMEM | ENFILE | EMFILE => is_before,
            _ => false,
        }
    }
}

impl SpawnStep {
    /// Every step, in order.
    pub const ALL: [Self; 37] = [
        Self::Prepare,
        Self::Clone,
        Self::Session,
        Self::Cgroup,
        Self::Stdin,
        Self::Stdout,
        Self::Stderr,
        Self::Descriptors,
        Self::OomScore,
        Self::Nice,
        Self::SetScheduler,
        Self::CpuAffinity,
        Self::IoPriority,
        Self::TimerSlack,
        Self::Personality,
        Self::RuntimeDirectory,
        Self::StateDirectory,
        Self::CacheDirectory,
        Self::LogsDirectory,
        Self::ConfigurationDirectory,
        Self::Credentials,
        Self::Network,
        Self::Namespace,
        Self::BoundingSet,
        Self::Limits,
        Self::Groups,
        Self::Group,
        Self::Chroot,
        Self::Capabilities,
        Self::User,
        Self::Keyring,
        Self::SecureBits,
        Self::Chdir,
        Self::NoNewPrivileges,
        Self::Signals,
        Self::Seccomp,
        Self::Exec,
    ];

    /// The exit code that systemd gives a process whose set-up stops there, systemd.exec(5), "Process exit codes"; `None`
    /// before there is a process.
    pub const fn exit_code(self) -> Option<u8> {
        match self {
            Self::Prepare | Self::Clone => None,
            Self::Session => Some(220),
            Self::Cgroup => Some(219),
            Self::Stdin => Some(208),
            Self::Stdout => Some(209),
            Self::Stderr => Some(222),
            Self::Descriptors => Some(202),
            Self::OomScore => Some(206),
            Self::Nice => Some(201),
            Self::SetScheduler => Some(214),
            Self::CpuAffinity => Some(215),
            Self::IoPriority => Some(211),
            Self::TimerSlack => Some(212),
            Self::Personality => Some(230),
            Self::RuntimeDirectory => Some(233),
            Self::StateDirectory => Some(238),
            Self::CacheDirectory => Some(239),
            Self::LogsDirectory => Some(240),
            Self::ConfigurationDirectory => Some(241),
            Self::Credentials => Some(243),
            Self::Network => Some(225),
            Self::Namespace => Some(226),
            Self::BoundingSet | Self::Capabilities => Some(218),
            Self::Limits => Some(205),
            Self::Groups | Self::Group => Some(216),
            Self::Chroot => Some(210),
            Self::User => Some(217),
            Self::Keyring => Some(237),
            Self::SecureBits => Some(213),
            Self::Chdir => Some(200),
            Self::NoNewPrivileges => Some(227),
            Self::Signals => Some(207),
            Self::Seccomp => Some(228),
            Self::Exec => Some(203),
        }
    }

    /// One word for rows and people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Clone => "clone",
            Self::Session => "session",
            Self::Cgroup => "cgroup",
            Self::Stdin => "stdin",
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Descriptors => "descriptors",
            Self::OomScore => "oom-score",
            Self::Nice => "nice",
            Self::SetScheduler => "set-scheduler",
            Self::CpuAffinity => "cpu-affinity",
            Self::IoPriority => "io-priority",
            Self::TimerSlack => "timer-slack",
            Self::Personality => "personality",
            Self::RuntimeDirectory => "runtime-directory",
            Self::StateDirectory => "state-directory",
            Self::CacheDirectory => "cache-directory",
            Self::LogsDirectory => "logs-directory",
            Self::ConfigurationDirectory => "configuration-directory",
            Self::Credentials => "credentials",
            Self::Limits => "limits",
            Self::Network => "network",
            Self::Namespace => "namespace",
            Self::BoundingSet => "bounding-set",
            Self::Groups => "groups",
            Self::Group => "group",
            Self::Chroot => "chroot",
            Self::Capabilities => "capabilities",
            Self::User => "user",
            Self::Keyring => "keyring",
            Self::SecureBits => "secure-bits",
            Self::Chdir => "chdir",
            Self::NoNewPrivileges => "no-new-privileges",
            Self::Signals => "signals",
            Self::Seccomp => "seccomp",
            Self::Exec => "exec",
        }
    }
}

/// What errno(3) calls the numbers that a child's set-up meets on Linux; others are shown as numbers.
const ERRNO_TEXTS: [(i32, &str); 23] = [
    (1, "operation not permitted"),
    (2, "no such file or directory"),
    (5, "input/output error"),
    (6, "no such device or address"),
    (7, "argument list too long"),
    (8, "exec format error"),
    (11, "resource temporarily unavailable"),
    (12, "cannot allocate memory"),
    (13, "permission denied"),
    (16, "device or resource busy"),
    (17, "file exists"),
    (20, "not a directory"),
    (21, "is a directory"),
    (22, "invalid argument"),
    (23, "too many open files in system"),
    (24, "too many open files"),
    (26, "text file busy"),
    (28, "no space left on device"),
    (30, "read-only file system"),
    (40, "too many levels of symbolic links"),
    (95, "operation not supported"),
    (98, "address already in use"),
    (99, "cannot assign requested address"),
];

impl SpawnFailure {
    /// Why, without the step.
    pub fn reason(&self) -> String {
        let known = ERRNO_TEXTS.iter().find(|(errno, _)| *errno == self.errno);
        known.map_or_else(|| format!("errno {}", self.errno), |(_, text)| (*text).to_owned())
    }
}

impl fmt::Display for SpawnFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.step.as_str(), self.reason())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_steps_is_in_the_order_of_their_numbers() {
        for (number, step) in SpawnStep::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, number, "{step:?}");
        }
        assert_eq!(SpawnStep::ALL.last(), Some(&SpawnStep::Exec));
    }
}
