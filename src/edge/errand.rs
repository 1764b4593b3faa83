//! Commands that are of no unit: those of alert routes, ssh to hosts of the fleet, and what a service of it has run for it.
//!
//! What runs them is the engine's matter, as only the keeper makes processes.

use std::{io, os::fd::OwnedFd, time::Duration};

use tokio::{
    net::unix::pipe,
    sync::{mpsc, oneshot},
};

use crate::{
    alert::{Program, RouteName},
    base::{ExitStatus, SpawnFailure},
    fleet::{NodeName, PoolName, StepId},
};

/// Whose command it is; of each at most one is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrandName {
    /// An alert route's, for a message.
    Route(RouteName),
    /// A conversation with a host of the fleet.
    Host(NodeName),
    /// A step of a plan.
    Step(StepId),
    /// A load balancer's, and what it is to do.
    Pool(PoolName, &'static str),
}

/// A command that is to be run.
#[derive(Debug)]
pub struct Errand {
    /// Whose.
    pub name: ErrandName,
    /// What is run.
    pub program: Program,
    /// Variables besides those of the program.
    pub variables: Vec<(String, String)>,
    /// What it reads.
    pub input: ErrandInput,
    /// Where its output and its errors go.
    pub output: OwnedFd,
    /// Where its end is told.
    pub reply: oneshot::Sender<ErrandEnd>,
}

/// What a command finds on its standard input.
#[derive(Debug)]
pub enum ErrandInput {
    /// These bytes and no more.
    Data(Vec<u8>),
    /// Its output, which is a socket.
    Output,
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrandEnd {
    /// It ended.
    Ended(ExitStatus),
    /// It took too long and was killed.
    Late,
    /// It never ran.
    NotRun(SpawnFailure),
    /// Earlier ones of the same name are under way and wait.
    Busy,
}

/// What is asked of the engine.
#[derive(Debug)]
pub enum ErrandAsk {
    /// This is to be run.
    Run(Box<Errand>),
    /// Whatever runs under this name is to be killed.
    End(ErrandName),
}

/// Where commands are asked for.
pub type Errands = mpsc::UnboundedSender<ErrandAsk>;

/// What is kept of what a command says; the rest is read and thrown away, so that it can go on.
const SAID_BYTES_MAX: usize = 4096;
/// Most characters of a line for people.
const LINE_CHARS_MAX: usize = 200;
/// What is read at a time, and how often in a row.
const CHUNK_BYTES: usize = 4096;
const CHUNKS_MAX: usize = 16;
/// How long it is waited for the end of one that was asked for, beyond its own time and that of one before it: the engine
/// tells it, unless a process cannot die.
const ENGINE_WITHIN: Duration = Duration::from_secs(30);

/// Why nothing is known of a command's end.
#[derive(Debug, thiserror::Error)]
pub enum ErrandError {
    /// It was not run.
    #[error("cannot make a pipe: {0}")]
    Pipe(#[source] io::Error),
    /// It was not run.
    #[error("the supervisor ends")]
    Ending,
    /// It was begun, or not, when the engine ended.
    #[error("the supervisor ends")]
    CutOff,
    /// It was begun, or not.
    #[error("the command, or one before it, does not end")]
    Stuck,
}

/// Has a command run with this on its standard input; how it ended, and the beginning of what it said.
///
/// # Errors
/// See [`ErrandError`].
pub async fn run(
    errands: &Errands,
    name: ErrandName,
    program: &Program,
    variables: Vec<(String, String)>,
    input: Vec<u8>,
) -> Result<(ErrandEnd, Vec<u8>), ErrandError> {
    let pipe = pipe::pipe().and_then(|(output, said)| Ok((output.into_blocking_fd()?, said)));
    let (output, said) = pipe.map_err(ErrandError::Pipe)?;
    let (reply, end) = oneshot::channel();
    let input = ErrandInput::Data(input);
    let errand = Errand { name, program: program.clone(), variables, input, output, reply };
    errands.send(ErrandAsk::Run(Box::new(errand))).map_err(|_| ErrandError::Ending)?;
    let patience = program.timeout.duration().unwrap_or(Duration::MAX).saturating_mul(2).saturating_add(ENGINE_WITHIN);
    match tokio::time::timeout(patience, heard(said, end)).await {
        Ok((Some(end), said)) => Ok((end, said)),
        Ok((None, _)) => Err(ErrandError::CutOff),
        Err(_) => Err(ErrandError::Stuck),
    }
}

/// How it ended, and the beginning of what it said.
async fn heard(said: pipe::Receiver, mut end: oneshot::Receiver<ErrandEnd>) -> (Option<ErrandEnd>, Vec<u8>) {
    let (mut kept, mut is_open) = (Vec::new(), true);
    loop {
        tokio::select! {
            readable = said.readable(), if is_open => is_open = readable.is_ok() && take(&said, &mut kept),
            end = &mut end => {
                // Whoever it has left behind may hold the pipe open: only what is there is read.
                take(&said, &mut kept);
                return (end.ok(), kept);
            }
        }
    }
}

/// Takes what is there; whether more may come. Beyond what is kept it is read and thrown away, so that its writer can go on.
pub fn take(said: &pipe::Receiver, kept: &mut Vec<u8>) -> bool {
    let mut chunk = [0; CHUNK_BYTES];
    for _ in 0..CHUNKS_MAX {
        match said.try_read(&mut chunk) {
            Ok(0) => return false,
            Ok(length) => {
                let room = SAID_BYTES_MAX.saturating_sub(kept.len()).min(length);
                kept.extend(chunk.iter().take(room));
            }
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    true
}

/// The last line that a command has written, for people.
pub fn last_line(said: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(said);
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(last.chars().filter(|c| !c.is_control()).take(LINE_CHARS_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_last_that_says_something_and_bounded() {
        assert_eq!(last_line(b"first\n  why\x1b[2J \n\n"), Some("why[2J".to_owned()));
        assert_eq!(last_line(b"\n \n"), None);
        assert_eq!(last_line(&[b'x'; 5000]).map(|line| line.len()), Some(LINE_CHARS_MAX));
    }
}
