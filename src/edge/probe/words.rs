//! What a command that asks says of its answer: the first line that it writes. All else is read and thrown away, so that it never
//! waits for a reader.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    unistd::{pipe2, read},
};
use tokio::{runtime, task::AbortHandle};

use super::REASON_CHARS_MAX;
use crate::sys::{WaitFor, Waiting};

/// What is kept of it.
const HEAD_BYTES_MAX: usize = 4096;
/// Read at a time.
const PIECE_BYTES: usize = 4096;
/// Pieces in a row; more than a pipe holds.
const PIECES_MAX: usize = 32;
/// What stands behind this is for machines, in monitoring plugins.
const PERFORMANCE_DATA: char = '|';

/// The output of a command under way.
#[derive(Debug)]
pub struct Words {
    pipe: Arc<Pipe>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Pipe {
    reader: OwnedFd,
    head: Mutex<Vec<u8>>,
}

impl Drop for Words {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Words {
    /// Listens; the other end is for the command.
    pub fn listen(runtime: &runtime::Handle) -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let _context = runtime.enter();
        let waiting = Waiting::new(reader.as_fd(), WaitFor::Reading)?;
        let pipe = Arc::new(Pipe { reader, head: Mutex::default() });
        let of_task = Arc::clone(&pipe);
        let task = runtime.spawn(async move {
            while waiting.ready().await.is_ok() {
                match waiting.attempt(|_| of_task.take()) {
                    Ok(More::Maybe) => tokio::task::yield_now().await,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Ok(More::Never) | Err(_) => break,
                }
            }
        });
        Ok((Self { pipe, task: task.abort_handle() }, writer))
    }

    /// The first line of what a command wrote that has ended: for people, without what is for machines.
    pub fn first_line(&self) -> Option<String> {
        // What cannot be read says nothing.
        self.pipe.take().ok();
        let head = self.pipe.head.lock().unwrap_or_else(PoisonError::into_inner);
        let line = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty())?;
        let text = String::from_utf8_lossy(line);
        let text = text.split(PERFORMANCE_DATA).next().unwrap_or_default().trim();
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        (!text.is_empty()).then(|| text.chars().map(clean).take(REASON_CHARS_MAX).collect())
    }
}

/// Whether there is more to be read.
enum More {
    Maybe,
    Never,
}

impl Pipe {
    /// Reads what is there; `WouldBlock` once that is all.
    fn take(&self) -> io::Result<More> {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        let mut piece = [0; PIECE_BYTES];
        for _ in 0..PIECES_MAX {
            match read(&self.reader, &mut piece) {
                Ok(0) => return Ok(More::Never),
                Ok(count) => {
                    let room = HEAD_BYTES_MAX - head.len();
                    head.extend_from_slice(&piece[..count.min(room)]);
                }
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(More::Maybe)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write};

    use super::*;

    fn said(bytes: &[u8]) -> Option<String> {
        let (words, writer) = Words::listen(&runtime::Handle::current()).unwrap();
        File::from(writer).write_all(bytes).unwrap();
        words.first_line()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_first_line_is_kept_without_what_is_for_machines() {
        assert_eq!(said(b"DISK CRITICAL - 99% | /=99%;80;90\nmore\n").as_deref(), Some("DISK CRITICAL - 99%"));
        assert_eq!(said(b"\n  \nno newline").as_deref(), Some("no newline"));
        assert_eq!(said(b"a\x1b[31mb\xff\r\n").as_deref(), Some("a [31mb\u{fffd}"));
        assert_eq!(said(b" | x=1\n"), None);
        assert_eq!(said(b""), None);
        assert_eq!(said(&[b'x'; 5000]).map(|line| line.len()), Some(REASON_CHARS_MAX));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_command_that_writes_much_is_never_held_up() {
        let (words, writer) = Words::listen(&runtime::Handle::current()).unwrap();
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = File::from(writer);
            writer.write_all(b"first\n").and_then(|()| (0..200).try_for_each(|_| writer.write_all(&[b'x'; 65536])))
        });
        written.await.unwrap().unwrap();
        assert_eq!(words.first_line().as_deref(), Some("first"));
    }
}
