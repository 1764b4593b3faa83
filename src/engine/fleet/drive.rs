//! Driving a plan: what its nodes say goes to the pure machine, and what that wants leaves.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle, time::Instant};

use super::{
    Refusal, Wish,
    lock::{Claim, Got, Held},
    member::{Input, Member},
    send::Out,
    show,
    standing::Standing,
};
use crate::{
    base::{Mono, TimeSpan, Wall},
    edge::{
        bus::{Bus, BusError},
        clock,
        store::FleetWrite,
    },
    fleet::{Control, Event, NodeName, PlanId, Rollout, RolloutEffect, RolloutInput, Say, Token},
    wire::{
        fleet::{Command, JournalWord, PlanDocument, Said, Wanted, Word, write},
        v1,
    },
};

/// How long the lock is held without being renewed.
pub(super) const LEASE: Duration = Duration::from_secs(15);
/// A driver stops so long before its lease is over.
const LEASE_MARGIN: Duration = Duration::from_secs(3);
const RENEW_AFTER: Duration = Duration::from_secs(5);
/// How often people are shown how far a plan is.
pub(super) const SHOW_AFTER: Duration = Duration::from_millis(200);

pub(super) type Reply = oneshot::Sender<Result<v1::FleetPlan, Refusal>>;

/// A plan that is driven from here.
pub(super) struct Driver {
    pub(super) rollout: Rollout,
    pub(super) document: PlanDocument,
    pub(super) journal: Vec<(Wall, Event)>,
    /// Those that take its place once it is over, the newest first.
    pub(super) next: Vec<PlanDocument>,
    pub(super) owner: String,
    renew_at: Instant,
    /// How many commands each node was sent.
    commands: BTreeMap<NodeName, u64>,
    words: Option<JoinHandle<()>>,
    shown: Option<v1::FleetPlan>,
    shown_at: Instant,
}

impl Driver {
    /// How many commands each node was sent, of those that hear them through Redis.
    pub(super) fn sent(&self) -> BTreeMap<NodeName, u64> {
        self.commands.clone()
    }

    /// The plan that people want: the newest one.
    pub(super) fn newest(&self) -> PlanId {
        self.next.first().unwrap_or(&self.document).id
    }

    /// As it is kept.
    fn standing(&self) -> Standing {
        Standing { document: self.document.clone(), journal: self.journal.clone(), next: self.next.clone() }
    }

    /// Whether it is this one, or one that comes next.
    pub(super) fn has(&self, plan: PlanId) -> bool {
        self.document.id == plan || self.next.iter().any(|next| next.id == plan)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(words) = self.words.take() {
            words.abort();
        }
    }
}

/// What became of an attempt to drive.
#[derive(Debug)]
pub(super) enum Begun {
    /// It is driven from here.
    Drives {
        /// Which plan, and what comes then.
        standing: Box<Standing>,
        /// Why it waits for someone before it goes on, if it does.
        doubt: Option<&'static str>,
        /// By which token.
        token: Token,
        /// As the lock has us.
        owner: String,
        /// When the lock was asked for.
        asked: Mono,
        /// Why here.
        cause: Cause,
    },
    /// The plan that is driven here comes to its end for this one.
    Supersedes(Box<PlanDocument>, Reply),
    /// The plan in Redis is over.
    Over(PlanId),
    /// Of what was driven from here by a manager before this one Redis knows enough, or someone else knows more.
    NotForgotten,
    /// It is not, for now.
    Not(Refusal, Option<Reply>),
    /// Everything is known that someone asked to see.
    Viewed(oneshot::Sender<v1::Fleet>),
    /// Everything is known that a plan is made of.
    Wished {
        /// What is wanted.
        wish: Box<Wish>,
        /// Whether it is only to be shown.
        is_dry: bool,
        /// Whoever waits to see it.
        reply: Reply,
    },
}

/// Why a plan comes to be driven here.
#[derive(Debug)]
pub(super) enum Cause {
    /// It was ordered here.
    Ordered(Reply),
    /// Someone wants it to be.
    Taken(String, Reply),
    /// Nobody drove it, or it follows one that was driven here.
    Left,
}

impl Cause {
    /// Whoever waits to see it.
    pub(super) fn reply(self) -> Option<Reply> {
        match self {
            Self::Ordered(reply) | Self::Taken(_, reply) => Some(reply),
            Self::Left => None,
        }
    }
}

impl Begun {
    /// What was got by a claim, and the number that was drawn for that.
    pub(super) fn drives(got: Got, (claim, owner): (Claim, u128), cause: Cause) -> Self {
        let Got { held: Held { epoch, asked }, standing, doubt } = got;
        let token = Token { epoch, owner };
        Self::Drives { standing: Box::new(standing), doubt, token, owner: claim.holder, asked, cause }
    }
}

impl Member {
    /// What nodes say, each so old, to the plan that is driven here.
    pub(super) fn hear_words(&mut self, words: Vec<(Duration, Word)>) {
        let input = |(age, word): (Duration, Word)| {
            let (Word { from: node, seq, said }, age) = (word, span(age));
            match said {
                Said::Report(report) => RolloutInput::Report { node, seq, age, report },
                Said::Answer(answer) => RolloutInput::Answer { node, seq, age, answer },
            }
        };
        self.drive_all(words.into_iter().map(input).collect());
    }

    pub(super) fn drive(&mut self, input: RolloutInput) {
        self.drive_all(vec![input]);
    }

    fn drive_all(&mut self, inputs: Vec<RolloutInput>) {
        let Some(mut driver) = self.driver.take() else { return };
        driver.rollout.handle_all(clock::now().mono, inputs);
        let mut words = Vec::new();
        while let Some(effect) = driver.rollout.poll_effect() {
            match effect {
                RolloutEffect::Prepare(node, token, plan) => {
                    self.order(&mut driver, &node, Wanted::Promise { token, plan });
                }
                RolloutEffect::Order(node, token, order) => {
                    self.order(&mut driver, &node, Wanted::Step { token, order });
                }
                RolloutEffect::Record(event) => words.push(event),
            }
        }
        self.record(&mut driver, words);
        if let Some(held) = driver.rollout.superseded() {
            tracing::warn!(plan = %driver.document.id, "another node drives this plan by now; this one stops");
            self.seat.floor = self.seat.floor.max(held.epoch);
            self.let_go(driver);
            return;
        }
        let is_over = matches!(driver.rollout.control(), Control::Ended(_));
        self.driver = Some(driver);
        if is_over {
            self.end();
        }
    }

    fn order(&self, driver: &mut Driver, node: &NodeName, wanted: Wanted) {
        // It goes on where the node stands, so that it can be seen how far it is behind.
        let heard = || self.beats.get(node).map_or(0, |(_, beat)| beat.heard);
        let nth = driver.commands.entry(node.clone()).or_insert_with(heard);
        *nth += 1;
        let command = Command { from: self.settings.node.clone(), nth: *nth, wanted };
        if *node == self.settings.node {
            self.own.send(Input::Command(Duration::ZERO, Box::new(command))).ok();
        } else if self.is_host(node) {
            self.tell_host(node, write(&command));
        } else if let Some(sender) = &self.sender {
            sender.send(Out::To { node: node.to_string(), text: write(&command) });
        }
    }

    fn record(&self, driver: &mut Driver, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let (plan, first) = (driver.document.id, driver.journal.len());
        for event in events {
            tracing::info!(%plan, "{}", show::event(&event));
            driver.journal.push((clock::wall(), event));
        }
        // Nobody looks again at a plan whose journal has its end: what people see of that comes with it.
        let is_over = matches!(driver.rollout.control(), Control::Ended(_));
        let shown = is_over.then(|| self.news_of(driver)).flatten();
        let (mut writes, mut words) = (Vec::new(), Vec::new());
        writes.extend(shown.clone().map(|text| FleetWrite::Shown { id: plan, text }));
        for (nth, (at, event)) in (0_u64..).zip(&driver.journal).skip(first) {
            writes.push(FleetWrite::Event { plan, nth, at: *at, event: event.clone() });
            words.push(write(&JournalWord { at_us: at.0, event: event.clone() }));
        }
        self.keep_all(writes);
        if let Some(sender) = &self.sender {
            sender.send(Out::Journal { plan: plan.to_string(), words, shown });
        }
    }

    /// The plan is over: people see how, and the next may begin.
    fn end(&mut self) {
        self.show();
        let Some(mut driver) = self.driver.take() else { return };
        self.seat.ended = driver.shown.clone();
        self.seat.over.insert(driver.document.id);
        self.seat.unfinished = None;
        let mut next = std::mem::take(&mut driver.next);
        match next.pop() {
            None => self.let_go(driver),
            Some(document) => self.go_on(Standing { document, journal: Vec::new(), next }, driver.owner.clone()),
        }
    }

    /// What supersedes the plan that was driven here begins, and under the same lock: no other one comes between.
    fn go_on(&mut self, standing: Standing, former: String) {
        let Some(bus) = self.bus.clone() else { return self.drive_alone(standing) };
        self.seat.is_trying = true;
        let (claim, owner) = self.claim_seat(Some(former));
        let own = self.own.clone();
        tokio::spawn(async move {
            let begun = match claim.lock(&bus).await {
                Ok(held) => Begun::drives(Got { held, standing, doubt: None }, (claim, owner), Cause::Left),
                // It is the present one of Redis, and is taken over as any other.
                Err(refusal) => Begun::Not(refusal, None),
            };
            own.send(Input::Begun(Box::new(begun))).ok();
        });
    }

    /// Another node is to drive, and gets the lock once all that was said of the plan is with Redis.
    pub(super) fn give_way(&mut self, driver: &str, to: String) {
        let Some(driver) = self.driver.take_if(|it| it.owner == driver) else { return };
        tracing::info!(plan = %driver.document.id, to, "another node drives this plan from now on, as someone wants");
        if let Some(sender) = &self.sender {
            sender.send(Out::Lock { from: driver.owner.clone(), to: to.clone() });
        }
        self.seat.holder = Some(to);
    }

    fn let_go(&mut self, driver: Driver) {
        if self.bus.is_none() && !matches!(driver.rollout.control(), Control::Ended(_)) {
            self.seat.unfinished = Some(driver.standing());
        }
        if let Some(bus) = self.bus.clone() {
            let owner = driver.owner.clone();
            // If it cannot be let go, it goes by itself.
            tokio::spawn(async move { drop(bus.release(&owner).await) });
        }
    }

    /// People see how far it is.
    pub(super) fn show(&mut self) {
        let Some(mut driver) = self.driver.take() else { return };
        if let Some(text) = self.news_of(&mut driver) {
            self.keep(FleetWrite::Shown { id: driver.document.id, text: text.clone() });
            if let Some(sender) = &self.sender {
                sender.send(Out::Shown { plan: driver.document.id.to_string(), text });
            }
        }
        self.driver = Some(driver);
    }

    /// What people are to see now, unless they see it already.
    fn news_of(&self, driver: &mut Driver) -> Option<String> {
        let shown = show::driven(self, driver);
        if driver.shown.as_ref() == Some(&shown) {
            return None;
        }
        // Of our own types, so this cannot fail.
        let text = serde_json::to_string(&shown).unwrap_or_default();
        (driver.shown, driver.shown_at) = (Some(shown), Instant::now());
        Some(text)
    }

    pub(super) fn begun(&mut self, begun: Begun) {
        match begun {
            Begun::Viewed(reply) => drop(reply.send(show::fleet(self))),
            Begun::Wished { wish, is_dry, reply } => self.wished(*wish, is_dry, reply),
            Begun::NotForgotten => {
                (self.seat.is_trying, self.seat.left) = (false, None);
                self.consider(self.bus.clone());
            }
            Begun::Over(plan) => {
                self.seat.is_trying = false;
                self.seat.over.insert(plan);
                self.seat.lost.take_if(|lost| lost.document.id == plan);
            }
            Begun::Not(refusal, reply) => {
                self.seat.is_trying = false;
                match reply {
                    Some(reply) => drop(reply.send(Err(refusal))),
                    None => tracing::debug!(?refusal, "the plan is not taken over"),
                }
            }
            Begun::Drives { standing, doubt, token, owner, asked, cause } => {
                self.seat.is_trying = false;
                let newest = standing.newest().clone();
                self.begin_to_drive(*standing, doubt, (token, owner), asked);
                match cause {
                    Cause::Left => {}
                    Cause::Ordered(reply) => self.ordered(&newest, reply),
                    Cause::Taken(by, reply) => {
                        self.drive(RolloutInput::Say(Say::Take { node: self.settings.node.clone(), by }));
                        self.show();
                        drop(reply.send(Ok(self.shown(&newest))));
                    }
                }
            }
            Begun::Supersedes(document, reply) => self.supersede(*document, reply),
        }
    }

    pub(super) fn begin_to_drive(
        &mut self,
        standing: Standing,
        doubt: Option<&'static str>,
        (token, owner): (Token, String),
        asked: Mono,
    ) {
        let newest = standing.newest().id;
        let Standing { document, journal, next } = standing;
        let id = document.id;
        [&document].into_iter().chain(&next).for_each(|document| self.keep_plan(document));
        for (nth, (at, event)) in (0..).zip(&journal) {
            self.keep(FleetWrite::Event { plan: id, nth, at: *at, event: event.clone() });
        }
        let events: Vec<Event> = journal.iter().map(|(_, event)| event.clone()).collect();
        let now = clock::now().mono;
        let (topology, outdated) = self.made_for(&document);
        let mut rollout = Rollout::new(now, topology, id, document.plan.clone(), token, &events);
        rollout.handle(now, RolloutInput::Outdated(outdated));
        tracing::info!(plan = %id, epoch = token.epoch, "this node drives the plan");
        (self.seat.unfinished, self.seat.lost, self.seat.left) = (None, None, None);
        self.seat.plan = Some(newest);
        self.seat.holder = Some(owner.clone());
        self.seat.floor = self.seat.floor.max(token.epoch);
        let words = self.listen(Bus::hear_words);
        let commands = BTreeMap::new();
        let (shown, shown_at, renew_at) = (None, Instant::now(), Instant::now() + RENEW_AFTER);
        self.driver =
            Some(Driver { rollout, document, journal, next, owner, renew_at, commands, words, shown, shown_at });
        self.call_hosts();
        self.lease(asked);
        let known = self.beats.values().map(|(at, beat)| {
            let said = Said::Report(beat.report.clone());
            (now.since(*at), Word { from: beat.from.clone(), seq: beat.seq, said })
        });
        self.hear_words(known.collect());
        if let Some(doubt) = doubt {
            let by = self.settings.node.to_string();
            self.drive(RolloutInput::Say(Say::Pause { reason: doubt.to_owned(), by }));
        }
        self.agree();
        self.show();
        self.give_up_what_is_superseded();
        self.look();
    }

    /// Whoever ordered it may have agreed to it as they did.
    fn agree(&mut self) {
        let is_wanted =
            |driver: &&Driver| driver.document.is_agreed && *driver.rollout.control() == Control::Unapproved;
        let Some(driver) = self.driver.as_ref().filter(is_wanted) else { return };
        let waves = driver.document.plan.waves.iter().enumerate().filter(|(_, wave)| wave.approve);
        let waves: Vec<usize> = waves.map(|(nth, _)| nth).collect();
        let by = driver.document.by.clone();
        for wave in std::iter::once(None).chain(waves.into_iter().map(Some)) {
            self.drive(RolloutInput::Say(Say::Approve { wave, by: by.clone() }));
        }
    }

    /// Another `fleet.toml` may be the one that a plan was made for. A plan that goes on is not disturbed by it.
    pub(super) fn look_at_inventory(&mut self) {
        let Some(driver) = self.driver.as_ref().filter(|driver| driver.rollout.outdated().is_some()) else { return };
        let (_, outdated) = self.made_for(&driver.document);
        self.drive(RolloutInput::Outdated(outdated));
    }

    /// It may be driven for as long as the lock was asked for at that moment.
    fn lease(&mut self, asked: Mono) {
        self.drive(RolloutInput::Lease(asked.later(LEASE.saturating_sub(LEASE_MARGIN))));
    }

    pub(super) fn renewed(&mut self, asked: Mono, renewed: Result<bool, BusError>) {
        match renewed {
            Ok(true) => self.lease(asked),
            Ok(false) => {
                if let Some(driver) = self.driver.take() {
                    tracing::warn!(plan = %driver.document.id, "the lock of who drives is lost; whoever gets it goes on");
                    self.try_to_regain(driver.standing());
                    self.let_go(driver);
                }
            }
            // What is under way ends; nothing more is begun once the lease is over.
            Err(error) => self.trouble = Some(error),
        }
    }

    /// A second has gone by.
    pub(super) fn tick(&mut self) {
        self.watch_plan();
        self.tell_of_plans_over();
        self.tick_hosts();
        if let Some(driver) = &self.driver {
            let closed = driver.document.plan.closed(&self.settings.topology, clock::wall(), &self.settings.zones);
            self.drive_all(vec![RolloutInput::Window(closed), RolloutInput::Tick]);
        }
        let is_shown_late = self.driver.as_ref().is_some_and(|driver| driver.shown_at.elapsed() >= SHOW_AFTER);
        if is_shown_late {
            self.show();
        }
        let now = Instant::now();
        let own = self.own.clone();
        match (&mut self.driver, self.bus.clone()) {
            (Some(driver), Some(bus)) if now >= driver.renew_at => {
                driver.renew_at = now + RENEW_AFTER;
                let owner = driver.owner.clone();
                tokio::spawn(async move {
                    let asked = clock::now().mono;
                    own.send(Input::Renewed(asked, bus.renew(&owner, LEASE).await)).ok();
                });
                self.ask_outlook();
            }
            (Some(driver), None) if now >= driver.renew_at => {
                driver.renew_at = now + RENEW_AFTER;
                self.lease(clock::now().mono);
            }
            (Some(_), _) => {}
            (None, bus) => self.consider(bus),
        }
    }
}

pub(super) fn span(of: Duration) -> TimeSpan {
    TimeSpan::from_micros(u64::try_from(of.as_micros()).unwrap_or(u64::MAX))
}
