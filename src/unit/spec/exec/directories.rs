/// Directories that are made for a service before it starts, below where systemd has them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceDirectories {
    /// Below /run; removed when the service stops.
    pub runtime: Directories,
    /// Below /var/lib.
    pub state: Directories,
    /// Below /var/cache.
    pub cache: Directories,
    /// Below /var/log.
    pub logs: Directories,
    /// Below /etc.
    pub configuration: Directories,
    /// When those below /run stay.
    pub preserve: Preserve,
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is a field of ServiceDirectories")]
pub enum DirectoryKind {
    Runtime,
    State,
    Cache,
    Logs,
    Configuration,
}

impl DirectoryKind {
    /// Every kind, in the order in which they are made.
    pub const ALL: [Self; 5] = [Self::Runtime, Self::State, Self::Cache, Self::Logs, Self::Configuration];

    /// Its key.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Runtime => "runtime_directory",
            Self::State => "state_directory",
            Self::Cache => "cache_directory",
            Self::Logs => "logs_directory",
            Self::Configuration => "configuration_directory",
        }
    }

    /// The variable that tells the service where they are.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Runtime => "RUNTIME_DIRECTORY",
            Self::State => "STATE_DIRECTORY",
            Self::Cache => "CACHE_DIRECTORY",
            Self::Logs => "LOGS_DIRECTORY",
            Self::Configuration => "CONFIGURATION_DIRECTORY",
        }
    }
}

impl ServiceDirectories {
    /// Those of one kind.
    pub const fn of(&self, kind: DirectoryKind) -> &Directories {
        match kind {
            DirectoryKind::Runtime => &self.runtime,
            DirectoryKind::State => &self.state,
            DirectoryKind::Cache => &self.cache,
            DirectoryKind::Logs => &self.logs,
            DirectoryKind::Configuration => &self.configuration,
        }
    }

    /// Those of one kind, to be changed.
    pub(in crate::unit) const fn of_mut(&mut self, kind: DirectoryKind) -> &mut Directories {
        match kind {
            DirectoryKind::Runtime => &mut self.runtime,
            DirectoryKind::State => &mut self.state,
            DirectoryKind::Cache => &mut self.cache,
            DirectoryKind::Logs => &mut self.logs,
            DirectoryKind::Configuration => &mut self.configuration,
        }
    }
}

/// Directories of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directories {
    /// Each once, in the order of the file.
    pub names: Box<[DirectoryName]>,
    /// The mode of each.
    pub mode: u32,
}

impl Default for Directories {
    fn default() -> Self {
        Self { names: Box::default(), mode: 0o755 }
    }
}

/// One directory: a relative path, and symbolic links to it beside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryName {
    /// The path below that of its kind.
    pub path: Box<str>,
    /// Paths below the same, which lead to it.
    pub links: Box<[Box<str>]>,
}

/// `runtime_directory_preserve`, and `file_descriptor_store_preserve` for descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preserve {
    /// They go with each run.
    #[default]
    No,
    /// They outlive a run that another one follows.
    Restart,
    /// They stay.
    Yes,
}
