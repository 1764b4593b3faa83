//! What every command works with: the client, the screen, and the one way out.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::{
    client::{Answer, Client},
    failure::Failure,
    screen::Screen,
};

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// The daemon.
    pub(crate) client: Client,
    /// Who said which socket that is.
    pub(crate) named: Named,
    /// Standard output.
    pub(crate) screen: Screen,
    /// Whether JSON is wanted.
    pub(crate) json: bool,
}

/// Where the socket was named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// On the command line: that daemon is meant, and no other.
    Here,
    /// In the environment.
    Around,
    /// Nowhere: it is the usual one.
    Nowhere,
}

/// Whether anyone still reads standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Someone does.
    Listening,
    /// The pipe is closed: `supervisorctl … | head`. No error, and no reason to go on.
    Gone,
}

impl Context {
    /// Prints an answer: as it came, or as `view` shows it to people.
    pub(crate) fn show<T>(&self, answer: &Answer<T>, view: impl FnOnce(&Screen, &T) -> String) -> Result<(), Failure> {
        if self.json {
            let mut raw = answer.raw.trim_ascii_end().to_vec();
            raw.push(b'\n');
            print(&raw)?;
        } else {
            print(view(&self.screen, &answer.value).as_bytes())?;
        }
        Ok(())
    }

    /// Prints one line of JSON.
    pub(crate) fn print_json(&self, value: &impl Serialize) -> Result<Reader, Failure> {
        let mut line = serde_json::to_vec(value).map_err(Failure::Json)?;
        line.push(b'\n');
        print(&line)
    }
}

/// Prints everything in one piece.
pub(crate) fn print(bytes: &[u8]) -> Result<Reader, Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(Reader::Listening),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::Output(error)),
    }
}
