//! The far end of ssh: a host without a daemon of ours as a node of a fleet.
//!
//! `supervisorctl fleet enrol` makes `supervisord remote` the one thing that a node's key may run there. Orders come in as
//! lines, answers and signs of life leave as lines. What may be ordered is what `fleet.toml` on the host says of it: no command
//! and no name comes over the wire that is not there. When the conversation ends, what was begun is finished and written down.

mod host; // what is done there
mod ledger; // what is known there

use std::{
    fs,
    io::{self, BufRead, Read, Write},
    path::PathBuf,
    thread,
    time::Duration,
};

use host::Host;
use ledger::{Doing, Ledger, Turn};
use sha2::{Digest as _, Sha256};
use tokio::{
    runtime,
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};

use super::fleet::read as read_fleet;
use crate::{
    base::{Chain, TimeSpan},
    fleet::{Answer, NodeName, Report, Seq, StepId, StepOutcome, TargetInput, Transport},
    unit::Digest,
    wire::fleet::{Beat, Command, Details, FromHost, Said, Wanted, Word, read, write},
};

/// How often it is looked how the host is.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often that is said, if nothing changes.
const BEAT_EVERY: Duration = Duration::from_secs(5);
/// Longest line that is read.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// Which host this is, and where its files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteOptions {
    /// Its name in the fleet.
    pub node: String,
    /// `fleet.toml`.
    pub fleet: PathBuf,
    /// Where its ledger is.
    pub state: PathBuf,
}

/// Why it is of no use as a node.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// The file of the fleet.
    #[error("cannot read {0}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// What that says.
    #[error("{0}")]
    Wrong(String),
    /// The ledger.
    #[error("cannot keep what is done here in {0}")]
    Ledger(PathBuf, #[source] io::Error),
    /// The runtime.
    #[error("cannot begin")]
    Begin(#[source] io::Error),
}

/// Speaks to whoever is at the other end of standard input and output until that ends.
///
/// # Errors
/// See [`RemoteError`].
pub fn remote(options: &RemoteOptions) -> Result<(), RemoteError> {
    let RemoteOptions { node, fleet, state } = options;
    let text = fs::read_to_string(fleet).map_err(|error| RemoteError::Unreadable(fleet.clone(), error))?;
    let topology = read_fleet(fleet, &text).map_err(|problems| {
        RemoteError::Wrong(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    })?;
    let node = NodeName::new(node).map_err(|error| RemoteError::Wrong(error.to_string()))?;
    if topology.nodes.get(&node).is_none_or(|known| known.transport != Transport::Ssh) {
        let reason = format!("{} has no node {node} whose transport is ssh; enrol the host anew", fleet.display());
        return Err(RemoteError::Wrong(reason));
    }
    let unkept = |error| RemoteError::Ledger(state.clone(), error);
    let ledger = Ledger::open(state).map_err(unkept)?;
    let seq = Seq { life: ledger.next_life().map_err(unkept)?, nth: 0 };
    let digest = Digest(Sha256::digest(&text).into()).to_string();
    let host = Host { node, topology, output: state.join("commands.log") };
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(RemoteError::Begin)?;
    let (out, writer) = speak();
    let speaker = Speaker { host, ledger, digest, seq, heard: 0, out, acting: 0, last: None };
    let ended = runtime.block_on(speaker.go_on(listen())).map_err(unkept);
    // Nothing more is said; what was said leaves.
    writer.join().ok();
    ended
}

/// Lines of standard input, which nothing waits for here.
fn listen() -> mpsc::UnboundedReceiver<String> {
    let (to, lines) = mpsc::unbounded_channel();
    thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let mut line = Vec::new();
            let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
            if read.is_err()
                || line.last() != Some(&b'\n')
                || to.send(String::from_utf8_lossy(&line).into_owned()).is_err()
            {
                return;
            }
        }
    });
    lines
}

/// Where lines leave; whoever does not read them holds nobody up.
fn speak() -> (mpsc::UnboundedSender<String>, thread::JoinHandle<()>) {
    let (out, mut lines) = mpsc::unbounded_channel::<String>();
    let writer = thread::spawn(move || {
        while let Some(line) = lines.blocking_recv() {
            let mut output = io::stdout().lock();
            if output.write_all(line.as_bytes()).and_then(|()| output.flush()).is_err() {
                return;
            }
        }
    });
    (out, writer)
}

/// One conversation.
struct Speaker {
    host: Host,
    ledger: Ledger,
    digest: String,
    seq: Seq,
    heard: u64,
    out: mpsc::UnboundedSender<String>,
    /// Steps that are being done by this process.
    acting: usize,
    /// What was said last of how the host is, and when.
    last: Option<(Report, Instant)>,
}

type Acted = (StepId, StepOutcome, Doing);

impl Speaker {
    async fn go_on(mut self, mut lines: mpsc::UnboundedReceiver<String>) -> io::Result<()> {
        let (own, mut acted) = mpsc::unbounded_channel::<Acted>();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_open = true;
        while is_open || self.acting > 0 {
            tokio::select! {
                line = lines.recv(), if is_open => match line {
                    Some(line) => self.hear(&line, &own)?,
                    None => is_open = false,
                },
                Some((step, outcome, doing)) = acted.recv() => {
                    self.acting -= 1;
                    let turn = self.ledger.turn(TargetInput::Acted { step, outcome })?;
                    drop(doing);
                    self.take(turn, &own);
                    self.look(true).await?;
                }
                _ = looks.tick() => self.look(false).await?,
            }
        }
        Ok(())
    }

    fn hear(&mut self, line: &str, own: &mpsc::UnboundedSender<Acted>) -> io::Result<()> {
        let command = match read::<Command>(line.trim()) {
            Ok(command) => command,
            Err(error) => {
                // Whoever speaks to us shows it to people.
                self.out.send(format!("{}\n", Chain(&error))).ok();
                return Ok(());
            }
        };
        self.heard = command.nth;
        let input = match command.wanted {
            Wanted::Promise { token, plan } => TargetInput::Prepare(token, plan),
            // It came over a connection that is there: it was not long under way.
            Wanted::Step { token, order } => TargetInput::Order { token, order, age: TimeSpan::ZERO },
            Wanted::Say { .. } | Wanted::GiveWay { .. } | Wanted::Seek { .. } | Wanted::Sought { .. } => return Ok(()),
        };
        let turn = self.ledger.turn(input)?;
        self.take(turn, own);
        Ok(())
    }

    fn take(&mut self, turn: Turn, own: &mpsc::UnboundedSender<Acted>) {
        for answer in turn.answers {
            self.say_answer(answer);
        }
        for (order, doing) in turn.acts {
            self.acting += 1;
            let (host, own) = (self.host.clone(), own.clone());
            tokio::spawn(async move {
                let outcome = host.carry_out(&order).await;
                own.send((order.id, outcome, doing)).ok();
            });
        }
    }

    fn say_answer(&mut self, answer: Answer) {
        let word = Word { from: self.host.node.clone(), seq: self.next_seq(), said: Said::Answer(answer) };
        self.say(&FromHost::Word(word));
        // What was reported before an answer is not believed any more.
        self.last = None;
    }

    /// Says how the host is if that is another thing than was said, or was said too long ago.
    async fn look(&mut self, at_once: bool) -> io::Result<()> {
        let report = self.host.look(self.ledger.promised()?).await;
        let is_known = |(said, at): &(Report, Instant)| *said == report && at.elapsed() < BEAT_EVERY;
        if !at_once && self.last.as_ref().is_some_and(is_known) {
            return Ok(());
        }
        let beat = Beat {
            from: self.host.node.clone(),
            seq: self.next_seq(),
            report: report.clone(),
            topology: self.digest.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            heard: self.heard,
            details: Details::new(),
        };
        self.say(&FromHost::Beat(beat));
        self.last = Some((report, Instant::now()));
        Ok(())
    }

    const fn next_seq(&mut self) -> Seq {
        self.seq.nth += 1;
        self.seq
    }

    fn say(&self, said: &FromHost) {
        // The writer is gone when nobody listens any more; what is under way is finished all the same.
        self.out.send(format!("{}\n", write(said))).ok();
    }
}
