//! What a unit may be.
//!
//! - *Inactive*: down by intent, or never started. *Failed*: down until someone acts.
//! - *Listening*: down, and the first traffic on its sockets starts it. Entered at boot and after an end that nobody asked
//!   for, by units that say `lazy`; left for *Inactive* with a start job, or by a stop. A template that accepts is up in it.
//! - *HoldOff*: down, and its next automatic restart has a time. A manual start does not wait for it.
//! - *Live*: a run exists and is not over. Its phase is systemd's sub-state:
//!   - *Condition*, *StartPre*, *Start*, *StartPost*: on the way up, each command under the start deadline. A failure, a
//!     deadline or a stop leads straight to the signals; ExecStop= is for services that were up.
//!   - *Running*, *Exited* (RemainAfterExit=), *Reload*, *ReloadSignal*: up. Probes, watchdog and RuntimeMaxSec= run here.
//!   - *Stop*: ExecStop= runs. *StopSigterm*, *StopWatchdog*, *StopSigkill*: signals were sent, the main process and the
//!     command under way are waited for, or all processes when those are gone already.
//!   - *StopPost*: ExecStopPost= runs. *FinalSigterm*, *FinalSigkill*: what is left of the tree is ended.
//!
//! Every phase on the way owns a deadline, unless the unit says "infinity". After the last one the run is *unkillable*:
//! that is said once, the final signal goes out again from time to time, and nothing takes its place before its last
//! process is gone.
//!
//! Desired state (`wish.rs`) is apart from actual state. What is remembered across a crash is in `memo.rs`.

use std::sync::Arc;

use super::{
    ends::Faded,
    health::Checking,
    limit::StartWindow,
    once::Reloads,
    probe::Probe,
    timer::Timer,
    watch::{Elsewhere, Watch},
    wish::{Ask, Ending, Job, Wish},
};
use crate::{
    base::{
        Actor, Consequence, ExitStatus, Generation, HeldBack, InvocationId, Mono, Now, Pid, ProcessKey, Role, RunId,
        RunResult, Signal, StartCause, TimeSpan, UnitName, Usage,
    },
    unit::{
        UnitDef,
        spec::{Command, ExitType, KillMode, ServiceKind},
    },
};

/// One unit: definition, desired state, actual state.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a unit")]
pub(super) struct Unit {
    pub(super) name: UnitName,
    /// The newest definition; a run keeps the one that it began with.
    pub(super) def: Arc<UnitDef>,
    pub(super) state: State,
    /// When the state or the phase was entered.
    pub(super) since: Now,
    /// The newest run's.
    pub(super) generation: Generation,
    /// Automatic restarts in a row.
    pub(super) restarts: u32,
    pub(super) window: StartWindow,
    /// Starts by traffic, once there was one.
    pub(super) triggers: Option<Box<StartWindow>>,
    /// How the last run ended.
    pub(super) result: RunResult,
    pub(super) last_status: Option<ExitStatus>,
    /// The command of the newest run that came to nothing, with step and cause. Rows and notices have it for good.
    pub(super) spawn_failure: Option<Box<str>>,
    /// The last runs that ended, oldest first.
    pub(super) ends: Vec<End>,
    /// Of those before them, what their exits do not tell.
    pub(super) faded: Faded,
    pub(super) wish: Wish,
    /// The operator's word against the file's.
    pub(super) enabled: Option<bool>,
    pub(super) job: Option<Box<Job>>,
    /// It is down only because a unit that it needs went down; it comes back with that one.
    pub(super) waits_back: bool,
    /// Something went wrong and `Recovered` has not been said since: the newest run when that began.
    pub(super) incident: Option<Generation>,
    /// When probes restarted it, as far as the budget of all units counts that.
    pub(super) probe_restarts: Vec<Mono>,
    /// What holds back the restart that a probe of the present run wants.
    pub(super) held_back: Option<HeldBack>,
    /// Someone works on it.
    pub(super) maintained: bool,
    /// Reloads that bear a name, once there was one.
    pub(super) reloads: Option<Box<Reloads>>,
    /// Its timer, while that is armed.
    pub(super) timer: Option<Box<Timer>>,
    /// What is known of an external service.
    pub(super) watch: Option<Box<Watch>>,
    /// It was started or stopped at least once since the machine booted: [`super::Input::Boot`] leaves it alone.
    pub(super) known: bool,
    /// Its file is gone; it leaves the table as soon as it is down.
    pub(super) gone: bool,
    /// Its end is to be the daemon's: see [`super::Node::end_the_daemon`].
    pub(super) ends_daemon: bool,
    /// Something changed since its last memo.
    pub(super) dirty: bool,
    /// The definition of the last run, whose directories outlive it because another run is to follow.
    pub(super) kept: Option<Arc<UnitDef>>,
}

/// What the unit is now.
#[derive(Debug)]
pub(super) enum State {
    Inactive,
    Failed,
    /// Down; the first traffic on its sockets starts it.
    Listening,
    /// `counts`: the restart is a step of the row (it is none when the machine was short of something).
    HoldOff {
        due: Option<Mono>,
        cause: StartCause,
        counts: bool,
    },
    Live(Box<Run>),
}

/// One run that is not over.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a run")]
pub(super) struct Run {
    /// The definition that is in force for this run.
    pub(super) def: Arc<UnitDef>,
    pub(super) generation: Generation,
    pub(super) invocation: InvocationId,
    pub(super) begin: Begin,
    pub(super) phase: Phase,
    pub(super) main: Main,
    /// What the keeper calls the main process.
    pub(super) main_role: Role,
    /// A process that is to take the main one's place.
    pub(super) claim: Option<Box<Claim>>,
    /// Claims of this run so far; the number of the last one.
    pub(super) claims: u32,
    /// The command that is under way.
    pub(super) control: Option<Control>,
    /// Commands that were ever started in this run; the number of the last one.
    pub(super) controls: u32,
    /// What went wrong first; success until then.
    pub(super) result: RunResult,
    /// Why it was taken down while it was well; `None` while it is not, or when it ended by itself.
    pub(super) ending: Option<Ending>,
    /// Why it ends, for people, where that is known before it does.
    pub(super) why: Option<Box<str>>,
    /// The last signal that someone sent its main process.
    pub(super) sent: Option<(Signal, Actor)>,
    /// No process of the run lives.
    pub(super) empty: bool,
    /// `empty` as it was before the newest spawn, for when that fails.
    pub(super) empty_before: bool,
    /// Nothing helps any more; it is only waited for.
    pub(super) unkillable: bool,
    /// Its main process came to nothing: it could not be made, or its set-up failed.
    pub(super) unborn: bool,
    /// A process could not be made because the machine was short of something; not the unit's fault.
    pub(super) transient: bool,
    /// How many of its processes the kernel has ended for want of memory.
    pub(super) oom_kills: u64,
    /// The watchdog's interval as the service may have changed it.
    pub(super) watchdog: Option<TimeSpan>,
    /// Kinds of senders that were refused, one bit each.
    pub(super) refused: u8,
    pub(super) status_text: Option<Box<str>>,
    /// ERRNO= and EXIT_STATUS= of the service, for show.
    pub(super) errno: Option<u32>,
    pub(super) exit_status: Option<u8>,
    pub(super) probes: Vec<Probe>,
    /// People who asked for all probes.
    pub(super) checks: Vec<Checking>,
    /// The reload that is under way.
    pub(super) reload: Option<Box<Reloading>>,
    /// The daemon ends while the external service is started or restarted: its start is finished before we go.
    pub(super) comes_back: bool,
    /// An external service ended, or was restarted, without us.
    pub(super) elsewhere: Option<Elsewhere>,
    /// When that was, where it is known.
    pub(super) ended_at: Option<Now>,
    /// Whose end triggered this run.
    pub(super) monitor: Option<Box<Monitor>>,
}

/// systemd's sub-states of a live service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Condition,
    StartPre,
    Start,
    StartPost,
    Running,
    Exited,
    /// `by_notify`: the service said RELOADING=1 and its READY=1 is awaited.
    Reload {
        by_notify: bool,
    },
    /// ReloadSignal= was sent, and its RELOADING=1 is awaited.
    ReloadSignal,
    Stop,
    /// `tree`: the main process was gone already, so every process is awaited.
    StopWatchdog {
        tree: bool,
    },
    StopSigterm {
        tree: bool,
    },
    StopSigkill {
        tree: bool,
    },
    StopPost,
    FinalSigterm,
    FinalSigkill,
}

/// The main process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Main {
    /// Not started yet, or never (it could not be started).
    None,
    /// The keeper was asked for it.
    Ordered,
    Alive(Pid),
    Ended {
        status: ExitStatus,
        usage: Option<Usage>,
    },
}

/// A process that is to be the main one, while the engine looks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Claim {
    /// Names the process: [`Role::Named`].
    pub(super) number: u32,
    pub(super) naming: Naming,
    /// How the main process ended meanwhile. What follows from that waits for the answer.
    pub(super) ended: Option<RunResult>,
    /// How often it was looked for in vain.
    pub(super) tries: u32,
}

/// What says which process is the main one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// PIDFile=.
    PidFile,
    /// Nothing; the only process that is left is taken (GuessMainPID=).
    Guess,
    /// MAINPID=, from a sender that may name any process (root) or one of the unit only.
    Message { pid: Pid, trusted: bool },
}

/// A command around the main process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Control {
    pub(super) number: u32,
    pub(super) directive: Directive,
    /// Its place in the directive's list.
    pub(super) step: u16,
    pub(super) pid: Option<Pid>,
}

/// The directives that hold commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Directive {
    Condition,
    StartPre,
    Start,
    StartPost,
    Reload,
    Stop,
    StopPost,
    /// Of an external service: stop and start in one.
    Restart,
}

/// How a run came up, as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begin {
    pub(super) at: Now,
    pub(super) cause: StartCause,
    /// The row of restarts when it began.
    pub(super) restarts: u32,
    /// Of its main process, dead or alive.
    pub(super) pid: Option<Pid>,
    /// When it was up for the first time.
    pub(super) ready_at: Option<Now>,
}

/// How a run ended, as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) generation: Generation,
    pub(super) invocation: InvocationId,
    /// `None` when that is not known any more.
    pub(super) begin: Option<Begin>,
    pub(super) status: Option<ExitStatus>,
    pub(super) usage: Option<Usage>,
    pub(super) result: RunResult,
    pub(super) wanted: bool,
    pub(super) consequence: Consequence,
    /// For people, where more is known than the status says.
    pub(super) why: Option<Box<str>>,
}

/// What the units of on_failure and on_success are told of the unit that triggered them (systemd.exec(5), `$MONITOR_*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Monitor {
    pub(super) unit: UnitName,
    pub(super) invocation: InvocationId,
    pub(super) result: RunResult,
    pub(super) status: Option<ExitStatus>,
}

/// A reload under way.
#[derive(Debug)]
pub(super) struct Reloading {
    pub(super) actor: Actor,
    pub(super) asks: Vec<Ask>,
    /// Who asked while it was under way: their files may be newer, so it is done once more.
    pub(super) next: Vec<Ask>,
    /// When ReloadSignal= was sent: what the service says of an earlier reload is no answer.
    pub(super) signalled: Option<Mono>,
}

impl Reloading {
    pub(super) const fn new(actor: Actor) -> Self {
        Self { actor, asks: Vec::new(), next: Vec::new(), signalled: None }
    }
}

impl Unit {
    pub(super) fn new(name: UnitName, def: Arc<UnitDef>, now: Now) -> Self {
        Self {
            name,
            def,
            state: State::Inactive,
            since: now,
            generation: Generation(0),
            restarts: 0,
            window: StartWindow::default(),
            triggers: None,
            result: RunResult::Success,
            last_status: None,
            spawn_failure: None,
            ends: Vec::new(),
            faded: Faded::default(),
            wish: Wish::Down,
            enabled: None,
            job: None,
            waits_back: false,
            incident: None,
            probe_restarts: Vec::new(),
            held_back: None,
            maintained: false,
            reloads: None,
            timer: None,
            watch: None,
            known: false,
            gone: false,
            ends_daemon: false,
            dirty: false,
            kept: None,
        }
    }

    pub(super) fn run(&self) -> Option<&Run> {
        match &self.state {
            State::Live(run) => Some(run),
            State::Inactive | State::Failed | State::Listening | State::HoldOff { .. } => None,
        }
    }

    pub(super) fn run_mut(&mut self) -> Option<&mut Run> {
        match &mut self.state {
            State::Live(run) => Some(run),
            State::Inactive | State::Failed | State::Listening | State::HoldOff { .. } => None,
        }
    }

    /// How the last run that is over ended.
    pub(super) fn last_result(&self) -> RunResult {
        self.ends.last().map_or(self.result, |end| end.result)
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled.unwrap_or(self.def.enabled)
    }

    /// Whether the daemon starts it when it comes up, or lets it listen: of a unit with a timer it starts the timer.
    pub(super) fn starts_with_daemon(&self) -> bool {
        self.is_enabled() && (self.def.timer.is_none() || self.is_lazy())
    }

    /// Up, in the sense in which other units need it.
    pub(super) fn is_up(&self) -> bool {
        self.run().is_some_and(|run| run.phase.is_up()) || (matches!(self.state, State::Listening) && self.accepts())
    }
}

impl Run {
    pub(super) fn new(def: Arc<UnitDef>, generation: Generation, invocation: InvocationId, begin: Begin) -> Self {
        let watchdog = def.service.watchdog;
        Self {
            def,
            generation,
            invocation,
            begin,
            phase: Phase::StartPre,
            main: Main::None,
            main_role: Role::Main,
            claim: None,
            claims: 0,
            control: None,
            controls: 0,
            result: RunResult::Success,
            ending: None,
            why: None,
            sent: None,
            empty: true,
            empty_before: true,
            unkillable: false,
            unborn: false,
            transient: false,
            oom_kills: 0,
            watchdog,
            refused: 0,
            status_text: None,
            errno: None,
            exit_status: None,
            probes: Vec::new(),
            checks: Vec::new(),
            reload: None,
            elsewhere: None,
            comes_back: false,
            ended_at: None,
            monitor: None,
        }
    }

    /// Whether no probe that matters is unhealthy.
    pub(super) fn is_well(&self) -> bool {
        let mut probes = self.def.health.iter().zip(&self.probes);
        probes.all(|(spec, probe)| probe.verdict.is_up() || !spec.matters())
    }

    pub(super) fn id(&self) -> RunId {
        RunId { unit: self.def.name.clone(), generation: self.generation }
    }

    pub(super) fn main_key(&self) -> ProcessKey {
        ProcessKey { run: self.id(), role: self.main_role }
    }

    /// Whether the service is there: its main process, or, where that is not what counts, any process.
    pub(super) fn lives(&self) -> bool {
        self.main.is_alive() || (self.lives_by_tree() && !self.empty)
    }

    /// Whether it lives as long as any process of it: ExitType=cgroup, or a daemon whose main process nobody knows.
    pub(super) fn lives_by_tree(&self) -> bool {
        let service = &self.def.service;
        service.main.exit_type == ExitType::Cgroup || (service.kind == ServiceKind::Forking && self.main == Main::None)
    }

    pub(super) fn control_key(&self) -> Option<ProcessKey> {
        self.control.map(|control| ProcessKey { run: self.id(), role: Role::Control(control.number) })
    }

    /// Whether a process that we know of lives, or was ordered.
    pub(super) const fn is_peopled(&self) -> bool {
        self.main.is_alive() || self.control.is_some()
    }

    /// The first thing that goes wrong names the end.
    pub(super) fn spoil(&mut self, result: RunResult) {
        if self.result == RunResult::Success {
            self.result = result;
        }
    }

    /// Whether what is left over is ended with the run.
    pub(super) fn owns_tree(&self) -> bool {
        match self.def.service.kill.mode {
            KillMode::ControlGroup | KillMode::Mixed => true,
            KillMode::Process | KillMode::None => false,
        }
    }
}

impl Begin {
    pub(super) const fn new(at: Now, cause: StartCause, restarts: u32) -> Self {
        Self { at, cause, restarts, pid: None, ready_at: None }
    }
}

impl Main {
    pub(super) const fn is_alive(self) -> bool {
        matches!(self, Self::Ordered | Self::Alive(_))
    }

    pub(super) const fn pid(self) -> Option<Pid> {
        match self {
            Self::Alive(pid) => Some(pid),
            Self::None | Self::Ordered | Self::Ended { .. } => None,
        }
    }

    pub(super) const fn status(self) -> Option<ExitStatus> {
        match self {
            Self::Ended { status, .. } => Some(status),
            Self::None | Self::Ordered | Self::Alive(_) => None,
        }
    }

    pub(super) const fn usage(self) -> Option<Usage> {
        match self {
            Self::Ended { usage, .. } => usage,
            Self::None | Self::Ordered | Self::Alive(_) => None,
        }
    }
}

impl Phase {
    pub(super) const fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Exited | Self::Reload { .. } | Self::ReloadSignal)
    }

    pub(super) const fn is_reloading(self) -> bool {
        matches!(self, Self::Reload { .. } | Self::ReloadSignal)
    }

    pub(super) const fn is_starting(self) -> bool {
        matches!(self, Self::Condition | Self::StartPre | Self::Start | Self::StartPost)
    }

    /// On the way down.
    pub(super) const fn is_ending(self) -> bool {
        !self.is_up() && !self.is_starting()
    }
}

impl Directive {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Condition => "exec_condition",
            Self::StartPre => "exec_start_pre",
            Self::Start => "exec_start",
            Self::StartPost => "exec_start_post",
            Self::Reload => "exec_reload",
            Self::Stop => "exec_stop",
            Self::StopPost => "exec_stop_post",
            Self::Restart => "restart",
        }
    }

    pub(super) fn command(self, def: &UnitDef, step: u16) -> Option<&Command> {
        let service = &def.service;
        let list = match self {
            Self::Condition => &service.exec_condition,
            Self::StartPre => &service.exec_start_pre,
            Self::Start => &service.exec_start,
            Self::StartPost => &service.exec_start_post,
            Self::Reload => &service.exec_reload,
            Self::Stop => &service.exec_stop,
            Self::StopPost => &service.exec_stop_post,
            Self::Restart => &def.external.as_ref()?.restart,
        };
        list.get(usize::from(step))
    }

    /// How long one command of it may take.
    pub(super) fn timeout(self, def: &UnitDef) -> TimeSpan {
        match self {
            Self::Condition | Self::StartPre | Self::Start | Self::StartPost | Self::Reload => {
                def.service.timeouts.start
            }
            Self::Stop | Self::StopPost => def.service.timeouts.stop,
            Self::Restart => def.service.timeouts.stop.max(def.service.timeouts.start),
        }
    }
}
