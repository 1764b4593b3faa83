//! The task: what this node does for the fleet, and where everything that concerns it comes together.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    runtime,
    sync::{broadcast::error::RecvError, mpsc},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{
    Ask, Fleet,
    acts::Doer,
    drains::{self, Drain, Drains},
    drive::{Begun, Driver, span},
    follow::{Follow, Followed, Seen},
    hosts::Hosts,
    line::HostSaid,
    look,
    seat::Seat,
    send::{Out, Sender},
    undone,
    vigil::{self, Plans},
};
use crate::{
    base::{Chain, Mono},
    edge::{
        bus::{Bus, BusError, Heard, Outlook},
        clock,
        errand::Errands,
        store::{Batch, FleetWrite, Write},
    },
    engine::{Handle, Report as Told, settings::FleetSettings},
    fleet::{
        Deed, Entry, Membership, MembershipInput, NodeName, PoolName, Report, Row, Seq, StepId, StepOrder, StepOutcome,
        Target, TargetEffect, TargetInput,
    },
    wire::fleet::{Beat, Command, Details, Said, Wanted, Word, read, write},
};

/// How often time passes here.
const TICK: Duration = Duration::from_secs(1);
/// After a change the machine is looked at so much later, so that one look serves for what comes together.
const LOOK_AFTER: Duration = Duration::from_millis(20);
/// So long after the last command of a driver it is told of changes at once.
const DRIVEN: Duration = Duration::from_secs(600);
/// How long what must be on disk may take; what has not come by then is not answered.
const SAVED_WITHIN: Duration = Duration::from_secs(60);

/// What may have been read from Redis and not been taken.
const READ_AHEAD: usize = 1024;
/// What is taken before anything else is looked at.
const TAKEN_MAX: usize = 128;

/// What comes to the task.
#[derive(Debug)]
pub(super) enum Input {
    /// Of people.
    Ask(Ask),
    /// New settings.
    Settings(Arc<FleetSettings>),
    /// Redis answers, or does not.
    Link(Result<(), BusError>),
    /// A command to this node, so old.
    Command(Duration, Box<Command>),
    /// What a node says to whoever drives, so old.
    Word(Duration, Box<Word>),
    /// A row is on the disk.
    Saved(Row),
    /// What was ordered is over; of a server that was to be drained, whether it is.
    Acted(StepId, StepOutcome, Option<((PoolName, Box<str>), bool)>),
    /// The machine was looked at.
    Looked(Option<(Report, Details)>),
    /// Something changed that may concern the fleet.
    Changed,
    /// What Redis has for everyone.
    Outlook(Result<Outlook, BusError>),
    /// The lock was renewed, asked for from that moment on, or it was not.
    Renewed(Mono, Result<bool, BusError>),
    /// A plan may be driven from here, or may not.
    Begun(Box<Begun>),
    /// What became of an order of our own.
    Followed(Followed),
    /// How often the services here that others depend on have run, and which of them restarted; none if that cannot be known now.
    Restarted(Option<Vec<Seen>>),
    /// Of who is alive.
    Watched(MembershipInput),
    /// Of a host that is reached by ssh.
    Host(NodeName, HostSaid),
}

/// What the task works with.
pub(super) struct Means {
    pub(super) handle: Handle,
    pub(super) errands: Errands,
    pub(super) reports: mpsc::UnboundedSender<Told>,
}

/// Everything the task holds.
pub(super) struct Member {
    pub(super) handle: Handle,
    pub(super) errands: Errands,
    pub(super) settings: Arc<FleetSettings>,
    pub(super) hosts: Hosts,
    pub(super) own: mpsc::UnboundedSender<Input>,
    pub(super) bus: Option<Bus>,
    pub(super) sender: Option<Sender>,
    readers: Vec<JoinHandle<()>>,
    target: Target,
    life: u64,
    said: u64,
    /// The last command that was heard, by its number.
    heard: u64,
    /// When another node last wanted something.
    commanded: Option<Instant>,
    pub(super) report: Report,
    details: Details,
    looking: Looking,
    /// Whether whoever drives waits to hear how it is.
    owes_report: bool,
    pub(super) drains: Drains,
    pub(super) beats: BTreeMap<NodeName, (Mono, Beat)>,
    pub(super) trouble: Option<BusError>,
    pub(super) seat: Seat,
    pub(super) driver: Option<Driver>,
    pub(super) follow: Follow,
    pub(super) membership: Membership,
    pub(super) plans: Plans,
    pub(super) reports: mpsc::UnboundedSender<Told>,
    /// Steps that were done here since this manager began, and that failed.
    pub(super) steps: Steps,
}

/// How many steps went how.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Steps {
    pub(super) done: u64,
    pub(super) failed: u64,
}

/// Whether the machine is being looked at, and has to be again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looking {
    No,
    Yes,
    YesAndAgain,
}

/// Begins it; nothing waits for it.
pub(super) fn start(means: Means, settings: Arc<FleetSettings>, runtime: &runtime::Handle) -> Fleet {
    let (own, inputs) = mpsc::unbounded_channel();
    let fleet = Fleet(own.clone());
    runtime.spawn(async move {
        let member = Member::begin(means, settings, own).await;
        member.run(inputs).await;
    });
    fleet
}

impl Member {
    async fn begin(means: Means, settings: Arc<FleetSettings>, own: mpsc::UnboundedSender<Input>) -> Self {
        let Means { handle, errands, reports } = means;
        let store = handle.store();
        // A node that does not know to whom it is promised must not act: it waits until it does.
        let (rows, follow) = loop {
            match (store.fleet_rows().await, store.fleet_followed().await) {
                (Ok(rows), Ok(followed)) => break (rows, Follow::up_to(followed)),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(error = %Chain(&error), "this node's part in the fleet is not known yet")
                }
            }
            sleep(TICK).await;
        };
        let left = undone::steps(&handle, &rows).await;
        let drains = store.fleet_drains().await.unwrap_or_default();
        let drains = drains.into_iter().map(|server| (server, Drain::Holds(None))).collect();
        let last = store.fleet_life().await.unwrap_or(0);
        let wall = u64::try_from(clock::wall().0 / 1_000_000).unwrap_or(0);
        let life = wall.max(last + 1);
        let mut member = Self {
            membership: vigil::membership(&settings),
            handle,
            errands,
            settings,
            hosts: Hosts::default(),
            own,
            bus: None,
            sender: None,
            readers: Vec::new(),
            target: Target::restore_beside(rows, |step| left.iter().any(|order| order.id == *step)),
            life,
            said: 0,
            heard: 0,
            commanded: None,
            report: Report::default(),
            details: Details::new(),
            looking: Looking::No,
            owes_report: false,
            drains,
            beats: BTreeMap::new(),
            trouble: None,
            seat: Seat::default(),
            driver: None,
            follow,
            plans: Plans::default(),
            reports,
            steps: Steps::default(),
        };
        member.keep(FleetWrite::Life(life));
        left.into_iter().for_each(|order| member.act(order));
        member.connect();
        member.remember_plans().await;
        member
    }

    /// The way to Redis, as the settings have it.
    fn connect(&mut self) {
        self.readers.drain(..).for_each(|reader| reader.abort());
        self.bus = self.settings.bus.clone().map(Bus::new);
        self.sender = self.bus.clone().map(Sender::start);
        self.trouble = None;
        self.readers.extend(self.listen(Bus::hear_commands));
    }

    /// What is read from Redis comes in as everything does.
    pub(super) fn listen(&self, read: fn(&Bus, mpsc::Sender<Heard>) -> JoinHandle<()>) -> Option<JoinHandle<()>> {
        let (to, mut from) = mpsc::channel(READ_AHEAD);
        let reader = read(self.bus.as_ref()?, to);
        let (own, node) = (self.own.clone(), self.settings.node.clone());
        Some(tokio::spawn(async move {
            while let Some(heard) = from.recv().await {
                if understood(&node, heard).is_some_and(|input| own.send(input).is_err()) {
                    break;
                }
            }
            reader.abort();
        }))
    }

    async fn run(mut self, mut inputs: mpsc::UnboundedReceiver<Input>) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (_, mut notices) = self.handle.events();
        let mut next_beat = Instant::now();
        let mut taken = Vec::new();
        self.look();
        self.look_for_restarts();
        self.ask_outlook();
        loop {
            tokio::select! {
                biased;
                count = inputs.recv_many(&mut taken, TAKEN_MAX) => {
                    if count == 0 {
                        return;
                    }
                    self.take_all(taken.drain(..));
                }
                notice = notices.recv() => match notice {
                    Ok(notice) if notice.notice.what.unit().is_some_and(|unit| self.has_unit(unit)) => {
                        self.may_be_followed(&notice.notice);
                        self.look();
                    }
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => {
                        self.look();
                        self.look_for_restarts();
                    }
                    Err(RecvError::Closed) => return,
                },
                () = sleep_until(next_beat) => {
                    next_beat = Instant::now() + self.settings.heartbeat.interval;
                    self.look();
                    if self.watches() {
                        self.ask_outlook();
                    }
                }
                _ = ticks.tick() => {
                    self.tick();
                    self.follow();
                }
            }
        }
    }

    fn has_unit(&self, unit: &crate::base::UnitName) -> bool {
        let services = self.settings.topology.services.values();
        services.filter(|service| service.nodes.contains(&self.settings.node)).any(|service| service.unit == *unit)
    }

    /// What nodes say is thought over once for all that is there of it: it comes from many at the same time.
    fn take_all(&mut self, inputs: impl Iterator<Item = Input>) {
        let mut inputs = inputs.peekable();
        while let Some(input) = inputs.next() {
            if let Input::Word(age, word) = input {
                let mut words = vec![(age, *word)];
                while let Some(Input::Word(age, word)) = inputs.next_if(|next| matches!(next, Input::Word(..))) {
                    words.push((age, *word));
                }
                self.hear_words(words);
            } else {
                self.take(input);
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Ask(ask) => self.asked(ask),
            Input::Settings(settings) => {
                let is_other_bus = settings.bus != self.settings.bus;
                self.settings = settings;
                // They are called anew, perhaps at other places.
                self.hang_up();
                let others = vigil::others(&self.settings).collect();
                self.watch(MembershipInput::Configured(self.settings.heartbeat, others));
                self.look_at_inventory();
                self.look_for_restarts();
                if is_other_bus {
                    self.connect();
                }
            }
            Input::Link(link) => self.trouble = link.err(),
            Input::Command(age, command) => {
                // What people want of a plan has no number.
                if command.nth > 0 {
                    self.heard = command.nth;
                }
                self.command(*command, age);
            }
            Input::Word(age, word) => self.hear_words(vec![(age, *word)]),
            Input::Saved(row) => self.tell_target(TargetInput::Saved(row)),
            Input::Acted(step, outcome, drained) => {
                if let Some((server, holds)) = drained {
                    self.drain_ended(server, holds);
                }
                match outcome {
                    StepOutcome::Done { .. } => self.steps.done += 1,
                    StepOutcome::Failed { .. } => self.steps.failed += 1,
                }
                self.tell_target(TargetInput::Acted { step, outcome });
                self.look();
            }
            Input::Looked(report) => self.looked(report),
            Input::Changed => self.look(),
            Input::Outlook(outlook) => self.take_outlook(outlook),
            Input::Renewed(asked, renewed) => self.renewed(asked, renewed),
            Input::Begun(begun) => self.begun(*begun),
            Input::Followed(followed) => self.followed(followed),
            Input::Restarted(seen) => self.see_restarts(seen),
            Input::Watched(input) => self.watch(input),
            Input::Host(name, said) => self.host_said(name, said),
        }
    }

    // -- this node's side

    fn command(&mut self, command: Command, age: Duration) {
        let is_driven = match &command.wanted {
            Wanted::Promise { .. } | Wanted::Step { .. } | Wanted::Say { .. } | Wanted::GiveWay { .. } => true,
            Wanted::Seek { .. } | Wanted::Sought { .. } => false,
        };
        if is_driven && command.from != self.settings.node {
            self.commanded = Some(Instant::now());
        }
        match command.wanted {
            Wanted::Promise { token, plan } => self.tell_target(TargetInput::Prepare(token, plan)),
            Wanted::Step { token, order } => {
                self.tell_target(TargetInput::Order { token, order, age: span(age) });
            }
            Wanted::GiveWay { driver, to } => self.give_way(&driver, to),
            Wanted::Say { plan, say } => {
                if let Err(reason) = self.say_to_driver(plan, say) {
                    tracing::warn!(reason, from = %command.from, "what someone wants of a plan is left undone");
                }
            }
            Wanted::Seek { nodes } => self.seek(command.from, nodes, age),
            Wanted::Sought { nodes } => self.sought(command.from, nodes, age),
        }
    }

    fn tell_target(&mut self, input: TargetInput) {
        let ordered = match &input {
            TargetInput::Order { order, .. } if undone::may_be_gone_on_with(&order.deed) => Some(order.clone()),
            TargetInput::Order { .. }
            | TargetInput::Prepare(..)
            | TargetInput::Saved(_)
            | TargetInput::Acted { .. }
            | TargetInput::Hold(_) => None,
        };
        self.target.handle(input);
        while let Some(effect) = self.target.poll_effect() {
            match effect {
                TargetEffect::Save(row) => {
                    // What is to be done is on the disk before that it was begun.
                    let begun = ordered.as_ref().filter(|order| is_begin_of(&row, order.id));
                    begun.into_iter().for_each(|order| self.keep(FleetWrite::Order(order.clone())));
                    self.save(row);
                }
                TargetEffect::Act(order) => self.act(*order),
                TargetEffect::Tell(answer) => {
                    self.say(Said::Answer(answer));
                    // What was reported before an answer is not believed any more.
                    self.owes_report = true;
                    self.look();
                }
            }
        }
    }

    /// Writes it down; it is on the disk when that is said.
    fn save(&self, row: Row) {
        self.keep(FleetWrite::Row(row.clone()));
        let (store, own) = (self.handle.store().clone(), self.own.clone());
        tokio::spawn(async move {
            if store.flush(SAVED_WITHIN).await {
                own.send(Input::Saved(row)).ok();
            } else {
                tracing::error!("what the fleet wants of this node cannot be written down, so it is not done");
            }
        });
    }

    pub(super) fn keep(&self, write: FleetWrite) {
        self.keep_all(vec![write]);
    }

    /// All of it or none.
    pub(super) fn keep_all(&self, writes: Vec<FleetWrite>) {
        let writes = writes.into_iter().map(|write| Write::Fleet(Box::new(write))).collect();
        self.handle.store().submit(Batch { seq: None, writes });
    }

    fn act(&mut self, order: StepOrder) {
        self.note_drain(&order.deed);
        let (doer, own) = (self.doer(), self.own.clone());
        tracing::info!(instance = %order.instance, plan = %order.plan, "{}", deed_for_people(&order.deed));
        tokio::spawn(async move {
            let (step, deed) = (order.id, order.deed.clone());
            let outcome = doer.clone().carry_out(order).await;
            let drained = drains::holds(&doer, &deed, &outcome).await;
            own.send(Input::Acted(step, outcome, drained)).ok();
        });
    }

    /// Whoever does something on this machine.
    pub(super) fn doer(&self) -> Doer {
        let (handle, errands) = (self.handle.clone(), self.errands.clone());
        Doer { handle, settings: Arc::clone(&self.settings), errands }
    }

    // -- what this node says

    const fn next_seq(&mut self) -> Seq {
        self.said += 1;
        Seq { life: self.life, nth: self.said }
    }

    /// To whoever drives: here, or wherever it was heard from.
    fn say(&mut self, said: Said) {
        let word = Word { from: self.settings.node.clone(), seq: self.next_seq(), said };
        if self.is_driven_by_another()
            && let Some(sender) = &self.sender
        {
            sender.send(Out::Word(write(&word)));
        }
        if self.driver.is_some() {
            self.own.send(Input::Word(Duration::ZERO, Box::new(word))).ok();
        }
    }

    fn is_driven_by_another(&self) -> bool {
        self.commanded.is_some_and(|at| at.elapsed() < DRIVEN)
    }

    /// Has the machine looked at.
    pub(super) fn look(&mut self) {
        if self.looking != Looking::No {
            self.looking = Looking::YesAndAgain;
            return;
        }
        self.looking = Looking::Yes;
        let (doer, own) = (self.doer(), self.own.clone());
        tokio::spawn(async move {
            sleep(LOOK_AFTER).await;
            own.send(Input::Looked(look::look(&doer).await)).ok();
        });
    }

    fn looked(&mut self, seen: Option<(Report, Details)>) {
        let is_old = self.looking == Looking::YesAndAgain;
        self.looking = Looking::No;
        if let Some((report, details)) = seen {
            let report = Report { promised: self.target.promised(), ..report };
            self.drain_again(&report);
            let is_news = report != self.report;
            (self.report, self.details) = (report, details);
            self.beat();
            if self.driver.is_some() || is_news || std::mem::take(&mut self.owes_report) {
                self.say(Said::Report(self.report.clone()));
            }
        }
        if is_old {
            self.look();
        }
    }

    fn beat(&mut self) {
        let beat = Beat {
            from: self.settings.node.clone(),
            seq: self.next_seq(),
            report: self.report.clone(),
            topology: self.settings.digest.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            heard: self.heard,
            details: self.details.clone(),
        };
        if let Some(sender) = &self.sender {
            sender.send(Out::Beat(write(&beat), self.settings.heartbeat.stays()));
        }
        self.beats.insert(self.settings.node.clone(), (clock::now().mono, beat));
    }

    /// Asks Redis how the others are.
    pub(super) fn ask_outlook(&self) {
        let Some(bus) = self.bus.clone() else { return };
        let (nodes, own) = (self.agents(), self.own.clone());
        tokio::spawn(async move {
            let names: Vec<&str> = nodes.iter().map(NodeName::as_str).collect();
            own.send(Input::Outlook(bus.outlook(&names).await)).ok();
        });
    }

    /// Who leaves signs of life in Redis.
    pub(super) fn agents(&self) -> Vec<NodeName> {
        vigil::others(&self.settings).collect()
    }

    pub(super) const fn target(&self) -> &Target {
        &self.target
    }
}

/// What came through Redis, if it can be read.
fn understood(own: &NodeName, heard: Heard) -> Option<Input> {
    match heard {
        Heard::Command { age, text } => match read::<Command>(&text) {
            Ok(command) => Some(Input::Command(age, Box::new(command))),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "a command of the fleet is not understood");
                None
            }
        },
        Heard::Word { age, text } => match read::<Word>(&text) {
            // Our own words come by another way.
            Ok(word) => (word.from != *own).then(|| Input::Word(age, Box::new(word))),
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "a word of the fleet is not understood");
                None
            }
        },
        Heard::Link(link) => Some(Input::Link(link)),
    }
}

fn is_begin_of(row: &Row, step: StepId) -> bool {
    matches!(row, Row::Step(of, _, Entry::Started { .. }) if *of == step)
}

fn deed_for_people(deed: &Deed) -> String {
    match deed {
        Deed::Notify => "the fleet notifies".to_owned(),
        Deed::Validate => "the fleet has it validated".to_owned(),
        Deed::Reload => "the fleet reloads".to_owned(),
        Deed::Restart => "the fleet restarts".to_owned(),
        Deed::Drain { pool, server } => format!("the fleet drains {server} of pool {pool}"),
        Deed::Undrain { pool, server } => format!("the fleet undrains {server} of pool {pool}"),
    }
}
