use std::{io, path::PathBuf};

use rusqlite::ErrorCode;

/// Why the store could not answer, or not begin.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No thread could be started.
    #[error("cannot start the thread {name}")]
    Thread {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database cannot be opened for reading.
    #[error("cannot open the database {path}")]
    Open {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// A question failed.
    #[error("cannot read the database {path}")]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// Too many questions wait already.
    #[error("cannot read the database, {0} questions wait already")]
    Busy(usize),
    /// The reader has ended.
    #[error("cannot read the database, its reader has ended")]
    Ended,
}

/// Why the writer could not do something, by what helps.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The file is damaged or not ours: set it aside. The reason.
    Damaged(String),
    /// It passes or someone removes its cause: wait and try again with a fresh connection.
    Waits(String),
    /// SQLite refuses a statement that was sound: the file is not what it seems, or a row is not.
    Refuses(String),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(text),
            Some(
                ErrorCode::PermissionDenied
                | ErrorCode::OperationAborted
                | ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::OutOfMemory
                | ErrorCode::ReadOnly
                | ErrorCode::OperationInterrupted
                | ErrorCode::SystemIoFailure
                | ErrorCode::DiskFull
                | ErrorCode::CannotOpen
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NoLargeFileSupport,
            ) => Self::Waits(text),
            // Not our own enum, and it may grow: what we do not know is looked at row by row.
            Some(_) | None => Self::Refuses(text),
        }
    }
}

impl Trouble {
    pub(super) fn into_reason(self) -> String {
        match self {
            Self::Damaged(reason) | Self::Waits(reason) | Self::Refuses(reason) => reason,
        }
    }
}
