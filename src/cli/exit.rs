//! Exit codes. Scripts depend on each number; each family has one table.

use crate::wire::v1::{CheckAnswer, Diagnosis, FleetPlan, OrderAnswer};

/// How a command ended, as its caller will see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Of `status`.
    Status(StatusExit),
    /// Of the commands that change units.
    Order(OrderExit),
    /// Of `check`.
    Check(CheckExit),
    /// Of `fleet` and `plan`.
    Fleet(FleetExit),
    /// Of all others.
    Plain(PlainExit),
    /// `doctor` could not look, or not say what it saw.
    CannotLook,
    /// Asked for in a form that cannot be meant.
    Usage,
    /// Ended by the user.
    Interrupted,
}

/// LSB's codes of a `status` action, as far as they apply to several units at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusExit {
    AllUp,
    SomeDown,
    UnknownUnit,
    CannotAsk,
}

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderExit {
    AllDone,
    SomeFailed,
    UnknownUnit,
}

/// The exit codes of a monitoring plugin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckExit {
    Ok,
    Warning,
    Critical,
    Unknown,
}

/// Done or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlainExit {
    Done,
    Failed,
}

impl Exit {
    /// A command that did what it was asked.
    pub(crate) const DONE: Self = Self::Plain(PlainExit::Done);

    /// The number for the shell.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Status(status) => status.code(),
            Self::Order(order) => order.code(),
            Self::Check(check) => check.code(),
            Self::Fleet(fleet) => fleet.code(),
            Self::Plain(PlainExit::Done) => 0,
            Self::Plain(PlainExit::Failed) => 1,
            Self::CannotLook => 3,
            Self::Usage => 2,
            Self::Interrupted => 130,
        }
    }
}

/// What became of a plan, or what it would meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FleetExit {
    Done,
    NotWell,
    Blocked,
    Nothing,
}

impl FleetExit {
    /// Of a plan as it stands.
    pub(crate) fn of(plan: &FleetPlan) -> Self {
        match plan.state.as_str() {
            "nothing" => Self::Nothing,
            _ if !plan.blockers.is_empty() => Self::Blocked,
            "planned" | "succeeded" => Self::Done,
            _ => Self::NotWell,
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::NotWell => 1,
            Self::Blocked => 2,
            Self::Nothing => 3,
        }
    }
}

impl StatusExit {
    /// What the units shown amount to.
    pub(crate) fn of(ups: impl IntoIterator<Item = bool>) -> Self {
        if ups.into_iter().all(|up| up) { Self::AllUp } else { Self::SomeDown }
    }

    const fn code(self) -> u8 {
        match self {
            Self::AllUp => 0,
            Self::CannotAsk => 1,
            Self::SomeDown => 3,
            Self::UnknownUnit => 4,
        }
    }
}

impl OrderExit {
    /// What the outcomes amount to. A mistyped name outweighs a failure: the whole command was not what was meant.
    pub(crate) fn of(answer: &OrderAnswer) -> Self {
        if answer.outcomes.iter().any(|outcome| outcome.code == "unknown-unit") {
            Self::UnknownUnit
        } else if answer.outcomes.iter().all(|outcome| outcome.ok) {
            Self::AllDone
        } else {
            Self::SomeFailed
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::AllDone => 0,
            Self::SomeFailed => 1,
            Self::UnknownUnit => 4,
        }
    }
}

impl CheckExit {
    /// The level of one check; a number that we do not know is unknown.
    pub(crate) const fn of_level(level: u8) -> Self {
        match level {
            0 => Self::Ok,
            1 => Self::Warning,
            2 => Self::Critical,
            _ => Self::Unknown,
        }
    }

    /// The worst of all checks; nothing checked is unknown.
    pub(crate) fn of(answer: &CheckAnswer) -> Self {
        let levels = answer.checks.iter().map(|check| Self::of_level(check.level));
        levels.max_by_key(|level| level.weight()).unwrap_or(Self::Unknown)
    }

    /// How bad it is: monitoring plugins let UNKNOWN weigh less than WARNING, because a known problem is the news.
    pub(crate) const fn weight(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Unknown => 1,
            Self::Warning => 2,
            Self::Critical => 3,
        }
    }

    /// The word that a monitoring plugin's line begins with.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }

    const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }
}

/// What `doctor` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DoctorExit {
    /// All is well.
    Well,
    /// Something will not be well for ever, or could not be seen.
    Warnings,
    /// Something does not work.
    Failures,
}

impl DoctorExit {
    /// What one level amounts to; one that we do not know is unknown.
    pub(crate) fn of_level(level: &str) -> Self {
        match level {
            "ok" => Self::Well,
            "fail" => Self::Failures,
            _ => Self::Warnings,
        }
    }

    /// The worst of all.
    pub(crate) fn of(found: &Diagnosis) -> Self {
        found.findings.iter().map(|symptom| Self::of_level(&symptom.level)).max().unwrap_or(Self::Warnings)
    }

    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Well => 0,
            Self::Warnings => 1,
            Self::Failures => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::{UnitCheck, UnitOutcome};

    #[test]
    fn each_end_has_its_number() {
        let table = [
            (Exit::Status(StatusExit::AllUp), 0),
            (Exit::Status(StatusExit::CannotAsk), 1),
            (Exit::Status(StatusExit::SomeDown), 3),
            (Exit::Status(StatusExit::UnknownUnit), 4),
            (Exit::Order(OrderExit::AllDone), 0),
            (Exit::Order(OrderExit::SomeFailed), 1),
            (Exit::Order(OrderExit::UnknownUnit), 4),
            (Exit::Check(CheckExit::Ok), 0),
            (Exit::Check(CheckExit::Warning), 1),
            (Exit::Check(CheckExit::Critical), 2),
            (Exit::Check(CheckExit::Unknown), 3),
            (Exit::Fleet(FleetExit::Done), 0),
            (Exit::Fleet(FleetExit::NotWell), 1),
            (Exit::Fleet(FleetExit::Blocked), 2),
            (Exit::Fleet(FleetExit::Nothing), 3),
            (Exit::DONE, 0),
            (Exit::Plain(PlainExit::Failed), 1),
            (Exit::CannotLook, 3),
            (Exit::Usage, 2),
            (Exit::Interrupted, 130),
        ];
        for (exit, code) in table {
            assert_eq!(exit.code(), code, "{exit:?}");
        }
    }

    #[test]
    fn an_unknown_unit_outweighs_a_failure() {
        let outcome = |ok, code: &str| UnitOutcome { unit: "a".into(), ok, code: code.into(), message: String::new() };
        let exit = |outcomes: Vec<UnitOutcome>| OrderExit::of(&OrderAnswer { outcomes });
        assert_eq!(exit(vec![outcome(true, "done"), outcome(true, "already")]), OrderExit::AllDone);
        assert_eq!(exit(vec![outcome(true, "done"), outcome(false, "start-failed")]), OrderExit::SomeFailed);
        let both = vec![outcome(false, "start-failed"), outcome(false, "unknown-unit")];
        assert_eq!(exit(both), OrderExit::UnknownUnit);
    }

    #[test]
    fn the_worst_check_decides() {
        let worst = |levels: &[u8]| {
            let check = |level: &u8| UnitCheck {
                unit: "a".into(),
                level: *level,
                message: String::new(),
                probes: vec![],
                action: None,
            };
            CheckExit::of(&CheckAnswer { checks: levels.iter().map(check).collect() })
        };
        assert_eq!(worst(&[0, 0]), CheckExit::Ok);
        assert_eq!(worst(&[0, 3]), CheckExit::Unknown);
        assert_eq!(worst(&[3, 1, 0]), CheckExit::Warning);
        assert_eq!(worst(&[1, 2, 3]), CheckExit::Critical);
        assert_eq!(worst(&[9]), CheckExit::Unknown);
        assert_eq!(worst(&[]), CheckExit::Unknown);
    }
}
