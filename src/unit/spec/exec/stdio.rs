use std::{fmt, path::Path};

/// Where standard input comes from.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Input {
    /// Nothing is to be read.
    #[default]
    Null,
    /// A file, or a stream socket in the file system.
    File(Box<Path>),
    /// Bytes that the unit says.
    Data(Box<[u8]>),
    /// The terminal, which becomes the one of the process.
    Terminal(Terminal),
    /// The unit's one socket.
    Socket,
    /// A socket of the unit by its name.
    Fd(Box<str>),
}

/// Data may be secret; its length is shown.
impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Data(bytes) => write!(f, "Data({} bytes)", bytes.len()),
            Self::Terminal(how) => f.debug_tuple("Terminal").field(how).finish(),
            Self::Socket => f.write_str("Socket"),
            Self::Fd(name) => f.debug_tuple("Fd").field(name).finish(),
        }
    }
}

/// How a terminal is had that another process may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Terminal {
    /// `tty`: when the other lets it go.
    Wait,
    /// `tty-force`: at once, it is taken away.
    Force,
    /// `tty-fail`: not at all, the start fails.
    Fail,
}

/// Where output goes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Output {
    /// Captured into the unit's log.
    #[default]
    Log,
    /// Discarded.
    Null,
    /// Where standard input comes from, if that is more than a file to read; else the supervisor's own output.
    Inherit,
    /// A file, or a stream socket in the file system.
    File(Box<Path>, Write),
    /// The terminal.
    Terminal,
    /// The unit's one socket.
    Socket,
    /// A socket of the unit by its name.
    Fd(Box<str>),
}

/// What happens to what a file holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// `file:`: it is written over from its begin.
    Over,
    /// `append:`
    Append,
    /// `truncate:`
    Truncate,
}
