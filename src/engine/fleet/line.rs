//! A conversation with a host that is reached by ssh, begun anew whenever it ends, for as long as someone holds it.

use std::{os::unix::net::UnixStream as Pair, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::member::Input;
use crate::{
    edge::{
        errand::{Errand, ErrandAsk, ErrandEnd, ErrandInput, ErrandName, Errands},
        ssh::{self, Ssh, SshTrouble},
    },
    fleet::{FailureKind, Node, NodeName},
    wire::fleet::{FromHost, read},
};

/// How long a host may take until its first word.
const GREETS_WITHIN: Duration = Duration::from_secs(20);
/// How long it is waited for the end of ssh once it says nothing more.
const ENDS_WITHIN: Duration = Duration::from_secs(2);
/// How long ssh may take to take a line.
const TAKES_WITHIN: Duration = Duration::from_secs(10);
/// The first and the longest pause before it is tried again.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LAST: Duration = Duration::from_secs(15);
/// Most bytes of a line: a ledger of all steps that a host remembers is shorter.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// Lines that are none of ours which are kept: the last say why it ended.
const WORDS_MAX: usize = 20;

/// One that is held; it ends with this.
#[derive(Debug)]
pub(super) struct Line {
    name: NodeName,
    to: mpsc::UnboundedSender<String>,
    errands: Errands,
    wake: Arc<Notify>,
    task: JoinHandle<()>,
}

/// What comes of it.
#[derive(Debug)]
pub(super) enum HostSaid {
    /// The host said something.
    Said(Box<FromHost>),
    /// It has ended, and is tried again.
    Ended(SshTrouble),
}

impl Line {
    pub(super) fn begin(
        name: NodeName,
        node: Node,
        ssh: Ssh,
        errands: Errands,
        own: mpsc::UnboundedSender<Input>,
    ) -> Self {
        let (to, lines) = mpsc::unbounded_channel();
        let wake = Arc::new(Notify::new());
        let talk = Talk { name: name.clone(), node, ssh, errands: errands.clone(), own, wake: Arc::clone(&wake) };
        Self { name, to, errands, wake, task: tokio::spawn(talk.go_on(lines)) }
    }

    /// What cannot be said now is lost: whoever needs it says it again.
    pub(super) fn send(&self, text: String) {
        // The task ends with this alone.
        self.to.send(text).ok();
    }

    /// Someone may have mended it: no pause before it is tried again.
    pub(super) fn try_now(&self) {
        self.wake.notify_one();
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
        self.errands.send(ErrandAsk::End(ErrandName::Host(self.name.clone()))).ok();
    }
}

struct Talk {
    name: NodeName,
    node: Node,
    ssh: Ssh,
    errands: Errands,
    own: mpsc::UnboundedSender<Input>,
    wake: Arc<Notify>,
}

/// One conversation.
struct Open {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
    end: oneshot::Receiver<ErrandEnd>,
    /// Of a line that is not whole.
    part: Vec<u8>,
    words: Vec<String>,
    has_greeted: bool,
}

impl Talk {
    async fn go_on(self, mut lines: mpsc::UnboundedReceiver<String>) {
        let mut pause = PAUSE_FIRST;
        loop {
            let trouble = match self.open() {
                Ok(mut open) => {
                    let trouble = self.talk(&mut open, &mut lines).await;
                    if open.has_greeted {
                        pause = PAUSE_FIRST;
                    }
                    trouble
                }
                Err(reason) => SshTrouble { kind: FailureKind::Internal, reason },
            };
            tracing::info!(node = %self.name, "{}", trouble.reason);
            self.own.send(Input::Host(self.name.clone(), HostSaid::Ended(trouble))).ok();
            tokio::select! {
                () = sleep(pause) => {}
                () = self.wake.notified() => {}
            }
            pause = PAUSE_LAST.min(pause * 2);
            while lines.try_recv().is_ok() {}
        }
    }

    fn open(&self) -> Result<Open, String> {
        let cannot = |error: std::io::Error| format!("cannot make a socket: {error}");
        let (ours, theirs) = Pair::pair().map_err(cannot)?;
        ours.set_nonblocking(true).map_err(cannot)?;
        let (from, to) = UnixStream::from_std(ours).map_err(cannot)?.into_split();
        let (reply, end) = oneshot::channel();
        let errand = Errand {
            name: ErrandName::Host(self.name.clone()),
            program: self.ssh.program(&self.name, &self.node),
            variables: Vec::new(),
            input: ErrandInput::Output,
            output: theirs.into(),
            reply,
        };
        self.errands.send(ErrandAsk::Run(Box::new(errand))).map_err(|_| "the supervisor ends".to_owned())?;
        let from = BufReader::new(from);
        Ok(Open { from, to, end, part: Vec::new(), words: Vec::new(), has_greeted: false })
    }

    /// Until it ends, which is why.
    async fn talk(&self, open: &mut Open, lines: &mut mpsc::UnboundedReceiver<String>) -> SshTrouble {
        let late = Instant::now() + GREETS_WITHIN;
        loop {
            tokio::select! {
                line = next_line(&mut open.from, &mut open.part) => match line {
                    Some(line) => self.hear(open, &line),
                    None => return self.ended(open).await,
                },
                Some(text) = lines.recv() => {
                    let text = format!("{text}\n");
                    if !matches!(timeout(TAKES_WITHIN, open.to.write_all(text.as_bytes())).await, Ok(Ok(()))) {
                        return self.ended(open).await;
                    }
                }
                () = sleep_until(late), if !open.has_greeted => {
                    self.kill();
                    let reason = format!("{} let us in, and said nothing for {} s", self.name, GREETS_WITHIN.as_secs());
                    return SshTrouble { kind: FailureKind::Connection, reason };
                }
            }
        }
    }

    fn hear(&self, open: &mut Open, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let text = text.trim();
        if !text.starts_with('{') {
            open.words.push(text.chars().take(200).collect());
            let more = open.words.len().saturating_sub(WORDS_MAX);
            open.words.drain(..more);
            return;
        }
        match read::<FromHost>(text) {
            Ok(said) => {
                open.has_greeted = true;
                self.own.send(Input::Host(self.name.clone(), HostSaid::Said(Box::new(said)))).ok();
            }
            Err(error) => open.words.push(error.to_string()),
        }
    }

    async fn ended(&self, open: &mut Open) -> SshTrouble {
        let end = match timeout(ENDS_WITHIN, &mut open.end).await {
            Ok(end) => end.ok(),
            Err(_) => {
                self.kill();
                None
            }
        };
        ssh::trouble(&self.name, end, &open.words)
    }

    fn kill(&self) {
        self.errands.send(ErrandAsk::End(ErrandName::Host(self.name.clone()))).ok();
    }
}

/// The next whole line, or none when nothing more comes. What was read of one stays in `part`.
async fn next_line(from: &mut BufReader<OwnedReadHalf>, part: &mut Vec<u8>) -> Option<Vec<u8>> {
    let room = LINE_BYTES_MAX.saturating_sub(u64::try_from(part.len()).unwrap_or(LINE_BYTES_MAX));
    let read = from.take(room).read_until(b'\n', part).await;
    let is_whole = read.is_ok() && part.last() == Some(&b'\n');
    if is_whole {
        return Some(std::mem::take(part));
    }
    // The last words of someone who does not end them.
    (!part.is_empty() && read.is_ok() && room > 0).then(|| std::mem::take(part))
}
