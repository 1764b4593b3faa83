use std::sync::Arc;

use super::super::{
    input::{Allowed, Life, LifeEnd, ReloadName},
    limit::StartWindow,
    once::{Named, Reloads},
    probe::Probe,
    service::{Begin, Claim, Control, End, Main, Monitor, Naming, Reloading, Run, State, Unit},
    status::Verdict,
    timer::{Planned, Timer},
    watch::Watch,
    wish::Ending,
};
use super::{CALLERS, DIRECTIVES, PHASES, RELOAD_STAGES, RESULTS};
use crate::{
    base::{
        Actor, Consequence, ExitStatus, Generation, HeldBack, InvocationId, Mono, Now, Pid, Role, RunResult, Signal,
        StartCause, TimeSpan, UnitName, Usage, Wall,
    },
    unit::UnitDef,
};

pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The tag of the next part and what is in it.
    pub(super) fn part(&mut self) -> Option<(u8, Self)> {
        let tag = self.byte()?;
        let length = self.index()?;
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, Self(part)))
    }

    pub(super) fn listening_part(&mut self, unit: &mut Unit) -> Option<()> {
        if self.flag()? {
            unit.state = State::Listening;
        }
        let window = StartWindow { begin: self.option(Self::mono)?, count: self.small()? };
        unit.triggers = (window != StartWindow::default()).then(|| Box::new(window));
        Some(())
    }

    pub(super) fn faded_part(&mut self, unit: &mut Unit) -> Option<()> {
        for _ in 0..self.number()? {
            let generation = Generation(unit.generation.0.checked_sub(self.number()?)?);
            unit.faded.keep(generation, self.result()?);
        }
        self.0.is_empty().then_some(())
    }

    pub(super) fn probes_part(&mut self, unit: &mut Unit) -> Option<()> {
        let [maintained, budget, maintenance, _] = self.flags()?;
        let held = match (budget, maintenance) {
            (true, _) => Some(HeldBack::Budget),
            (false, true) => Some(HeldBack::Maintenance),
            (false, false) => None,
        };
        (unit.maintained, unit.held_back) = (maintained, held);
        let mut at = Mono::default();
        for _ in 0..self.number()? {
            at = Mono(at.0.checked_add(self.number()?)?);
            unit.probe_restarts.push(at);
        }
        self.0.is_empty().then_some(())
    }

    pub(super) fn reloads_part(&mut self, unit: &mut Unit) -> Option<()> {
        let mut reloads = Reloads::default();
        for _ in 0..self.number()? {
            let name = ReloadName(self.bytes()?);
            reloads.0.push(Named { name, stage: RELOAD_STAGES.get(self.index()?).copied()? });
        }
        unit.reloads = Some(Box::new(reloads));
        self.0.is_empty().then_some(())
    }

    pub(super) fn main_part(&mut self, run: &mut Run) -> Option<()> {
        run.claims = self.small()?;
        if let Some(number) = self.option(Self::small)? {
            run.main_role = Role::Named(number);
        }
        run.claim = self.option(Self::claim)?.map(Box::new);
        if let Some(at) = self.option(Self::mono)? {
            let asked = Reloading { signalled: Some(at), ..Reloading::new(Actor::Daemon) };
            run.reload = Some(Box::new(asked));
        }
        self.0.is_empty().then_some(())
    }

    pub(super) fn oom_part(&mut self, run: &mut Run) -> Option<()> {
        run.oom_kills = self.number()?;
        self.0.is_empty().then_some(())
    }

    pub(super) fn fallen_part(&mut self, run: &mut Run) -> Option<()> {
        for _ in 0..self.number()? {
            let (index, since) = (self.index()?, self.now()?);
            let reason = self.option(|input| input.text())?;
            let probe = run.probes.get_mut(index)?;
            *probe = Probe::fallen(probe.verdict, since, reason.map(Into::into));
        }
        self.0.is_empty().then_some(())
    }

    pub(super) fn reasons_part(&mut self, unit: &mut Unit) -> Option<()> {
        let sent = self.option(|input| Some((Signal::new(i32::from(input.byte()?))?, input.actor()?)))?;
        let (own, same) = match self.byte()? {
            0 => (None, None),
            1 => (Some(self.text()?), None),
            2 => (None, Some(self.index()?)),
            _ => return None,
        };
        let mut all = Vec::new();
        for _ in 0..self.number()? {
            all.push(self.option(Self::text)?.map(String::into_boxed_str));
        }
        let failure = own.map(String::into_boxed_str).or_else(|| all.get(same?)?.clone());
        unit.spawn_failure = failure;
        let mut all = all.into_iter();
        let why = all.next()?;
        if let Some(run) = unit.run_mut() {
            (run.why, run.sent) = (why, sent);
        }
        for (end, why) in unit.ends.iter_mut().rev().zip(all) {
            end.why = why;
        }
        self.0.is_empty().then_some(())
    }

    pub(super) fn watch(&mut self) -> Option<Watch> {
        let [seen_down, owes_stop, has_given_up, _] = self.flags()?;
        let life =
            self.option(|input| Some(Life { id: input.text()?.into(), restarts: input.option(Self::small)? }))?;
        let end = self.option(|input| Some(LifeEnd { result: input.result()?, status: input.status()? }))?;
        let mut watch = Watch::known(life, end, seen_down, owes_stop);
        if has_given_up {
            watch.gave_up = Some(Allowed { burst: self.small()?, interval: self.span()?, decides: true });
        }
        self.0.is_empty().then_some(watch)
    }

    fn claim(&mut self) -> Option<Claim> {
        let number = self.small()?;
        let naming = match self.byte()? {
            0 => Naming::PidFile,
            1 => Naming::Guess,
            trusted @ 2..=3 => Naming::Message { pid: self.pid()?, trusted: trusted == 3 },
            _ => return None,
        };
        Some(Claim { number, naming, ended: self.option(Self::result)?, tries: self.small()? })
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn small(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    pub(super) fn index(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    pub(super) fn flags(&mut self) -> Option<[bool; 4]> {
        let bits = self.byte()?;
        Some([0, 1, 2, 3].map(|bit| bits & (1 << bit) != 0))
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    #[expect(clippy::option_option, reason = "bytes that end too soon differ from a value that is not there")]
    pub(super) fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = self.index()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }

    pub(super) fn unit(&mut self) -> Option<UnitName> {
        UnitName::new(&self.text()?).ok()
    }

    pub(super) fn mono(&mut self) -> Option<Mono> {
        self.number().map(Mono)
    }

    pub(super) fn now(&mut self) -> Option<Now> {
        Some(Now { mono: self.mono()?, wall: self.wall()? })
    }

    pub(super) fn wall(&mut self) -> Option<Wall> {
        self.bytes().map(|bytes| Wall(i64::from_le_bytes(bytes)))
    }

    pub(super) fn timer(&mut self) -> Option<Timer> {
        Some(Timer {
            since: self.now()?,
            startup: self.mono()?,
            last: self.option(Self::now)?,
            mono: self.option(|input| Some(Planned { moment: input.mono()?, due: input.mono()? }))?,
            wall: self.option(|input| Some(Planned { moment: input.wall()?, due: input.wall()? }))?,
            owes: self.flag()?,
        })
    }

    pub(super) fn span(&mut self) -> Option<TimeSpan> {
        Some(self.option(Self::number)?.map_or(TimeSpan::INFINITY, TimeSpan::from_micros))
    }

    pub(super) fn result(&mut self) -> Option<RunResult> {
        RESULTS.get(self.index()?).copied()
    }

    #[expect(clippy::option_option, reason = "bytes that end too soon differ from a status that is not there")]
    pub(super) fn status(&mut self) -> Option<Option<ExitStatus>> {
        Some(match self.byte()? {
            0 => None,
            1 => Some(ExitStatus::Exited(self.byte()?)),
            tag @ (2 | 3) => {
                Some(ExitStatus::Signaled { signal: Signal::new(i32::from(self.byte()?))?, core: tag == 3 })
            }
            4 => Some(ExitStatus::Unknown),
            _ => return None,
        })
    }

    #[expect(clippy::option_option, reason = "bytes that end too soon differ from a usage that is not there")]
    pub(super) fn usage(&mut self) -> Option<Option<Usage>> {
        self.option(|input| {
            let micros = |number| std::time::Duration::from_micros(number);
            let (user, system) = (micros(input.number()?), micros(input.number()?));
            Some(Usage { user, system, max_rss_kib: input.number()? })
        })
    }

    pub(super) fn end(&mut self) -> Option<End> {
        Some(End {
            generation: Generation(self.number()?),
            invocation: InvocationId(self.bytes()?),
            begin: self.option(Self::begin)?,
            status: self.status()?,
            usage: self.usage()?,
            result: self.result()?,
            wanted: self.flag()?,
            consequence: match self.byte()? {
                0 => Consequence::Restart,
                1 => Consequence::Rest,
                2 => Consequence::Fail,
                3 => Consequence::StartLimit,
                4 => Consequence::Left,
                _ => return None,
            },
            why: None,
        })
    }

    pub(super) fn actor(&mut self) -> Option<Actor> {
        Some(match self.byte()? {
            0 => Actor::Daemon,
            1 => Actor::User(self.small()?),
            2 => Actor::Automatic(CALLERS.get(self.index()?)?),
            _ => return None,
        })
    }

    pub(super) fn cause(&mut self) -> Option<StartCause> {
        Some(match self.byte()? {
            0 => StartCause::Boot,
            1 => StartCause::Manual(self.actor()?),
            2 => StartCause::Dependency(self.unit()?),
            3 => StartCause::AutoRestart,
            4 => StartCause::Unhealthy { probe: self.text()? },
            5 => StartCause::Triggered(self.unit()?),
            6 => StartCause::Traffic,
            7 => StartCause::Timer(self.unit()?),
            8 => StartCause::Connection(self.unit()?),
            9 => StartCause::ExternalStart,
            10 => StartCause::ExternalRestart,
            11 => StartCause::Reload(self.actor()?),
            _ => return None,
        })
    }

    pub(super) fn ending(&mut self) -> Option<Ending> {
        Some(match self.byte()? {
            0 => Ending::Stop(self.actor()?),
            1 => Ending::Restart(self.actor()?),
            2 => Ending::Shutdown(self.actor()?),
            3 => Ending::Conflict(self.unit()?),
            4 => Ending::Bound(self.unit()?),
            5 => Ending::Removed,
            6 => Ending::Unhealthy { probe: self.text()? },
            _ => return None,
        })
    }

    pub(super) fn begin(&mut self) -> Option<Begin> {
        Some(Begin {
            at: self.now()?,
            cause: self.cause()?,
            restarts: self.small()?,
            pid: self.option(Self::pid)?,
            ready_at: self.option(Self::now)?,
        })
    }

    pub(super) fn run(&mut self, def: &Arc<UnitDef>) -> Option<Run> {
        let generation = Generation(self.number()?);
        let invocation = InvocationId(self.bytes()?);
        let mut run = Run::new(def.clone(), generation, invocation, self.begin()?);
        run.phase = PHASES.get(self.index()?).copied()?;
        run.main = self.main()?;
        run.control = self.option(Self::control)?;
        run.controls = self.small()?;
        run.result = self.result()?;
        run.ending = self.option(Self::ending)?;
        [run.empty, run.empty_before, run.unkillable, run.transient] = self.flags()?;
        run.watchdog = self.option(Self::span)?;
        for _ in 0..self.number()? {
            let verdict = match self.byte()? {
                0 => Verdict::Unknown,
                1 => Verdict::Healthy,
                2 => Verdict::Unhealthy,
                3 => Verdict::Degraded,
                _ => return None,
            };
            run.probes.push(Probe::known(verdict));
        }
        run.monitor = self.option(Self::monitor)?.map(Box::new);
        Some(run)
    }

    pub(super) fn monitor(&mut self) -> Option<Monitor> {
        Some(Monitor {
            unit: self.unit()?,
            invocation: InvocationId(self.bytes()?),
            result: self.result()?,
            status: self.status()?,
        })
    }

    pub(super) fn main(&mut self) -> Option<Main> {
        Some(match self.byte()? {
            0 => Main::None,
            1 => Main::Ordered,
            2 => Main::Alive(self.pid()?),
            3 => Main::Ended { status: self.status()??, usage: self.usage()? },
            _ => return None,
        })
    }

    pub(super) fn control(&mut self) -> Option<Control> {
        Some(Control {
            number: self.small()?,
            directive: DIRECTIVES.get(self.index()?).copied()?,
            step: u16::try_from(self.number()?).ok()?,
            pid: self.option(Self::pid)?,
        })
    }

    pub(super) fn pid(&mut self) -> Option<Pid> {
        Pid::new(i32::try_from(self.number()?).ok()?)
    }
}
