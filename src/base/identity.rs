/// A user of this host and the groups that a process of theirs gets, as they were looked up at load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Further groups.
    pub groups: Vec<u32>,
    /// The user's name, for USER= and LOGNAME=.
    pub name: String,
    /// The home directory, for HOME=.
    pub home: String,
    /// The login shell, for SHELL=.
    pub shell: String,
}
