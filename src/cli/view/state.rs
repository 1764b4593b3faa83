//! A unit's state in a word, a sign and a colour.

use anstyle::Style;

use crate::{
    cli::screen::{BAD, CARE, FAINT, GOOD, one_line},
    wire::v1::{Unit, UnitLine},
};

/// What of a unit its state is shown by.
pub(crate) struct State<'u> {
    active: &'u str,
    sub: &'u str,
    result: &'u str,
    health: &'u str,
}

impl<'u> State<'u> {
    pub(crate) fn of(unit: &'u Unit) -> Self {
        Self { active: &unit.active, sub: &unit.sub, result: &unit.result, health: &unit.health }
    }

    pub(crate) fn of_line(unit: &'u UnitLine) -> Self {
        Self { active: &unit.active, sub: &unit.sub, result: &unit.result, health: &unit.health }
    }

    /// `active (running)`; a failed unit says how it failed, because "failed (failed)" says nothing.
    pub(crate) fn in_words(&self) -> String {
        let more = if self.active == "failed" { self.result } else { self.sub };
        one_line(&format!("{} ({more})", self.active))
    }

    /// A shape per state, for those who see no colours.
    pub(crate) fn mark(&self) -> &'static str {
        match self.active {
            "active" => "●",
            "failed" => "×",
            "inactive" => "○",
            _ => "↻",
        }
    }

    /// Its colour: what is up but unhealthy, or waits for its next start, needs care.
    pub(crate) fn style(&self) -> Style {
        match self.active {
            "active" if matches!(self.health, "unhealthy" | "degraded") => CARE,
            "active" => GOOD,
            "failed" => BAD,
            "inactive" => FAINT,
            _ => CARE,
        }
    }
}
