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
    not_known: bool,
}

impl<'u> State<'u> {
    pub(crate) fn of(unit: &'u Unit) -> Self {
        let Unit { active, sub, result, health, not_known, .. } = unit;
        Self { active, sub, result, health, not_known: *not_known }
    }

    pub(crate) fn of_line(unit: &'u UnitLine<'_>) -> Self {
        let UnitLine { active, sub, result, health, not_known, .. } = unit;
        Self { active, sub, result, health, not_known: *not_known }
    }

    /// `active (running)`; a failed unit says how it failed, because "failed (failed)" says nothing.
    pub(crate) fn in_words(&self) -> String {
        if self.not_known {
            return one_line(&format!("unknown (last {})", self.active));
        }
        let more = if self.active == "failed" { self.result } else { self.sub };
        one_line(&format!("{} ({more})", self.active))
    }

    /// A shape per state, for those who see no colours.
    pub(crate) fn mark(&self) -> &'static str {
        match self.active {
            _ if self.not_known => "?",
            "active" => "●",
            "failed" => "×",
            "inactive" => "○",
            _ => "↻",
        }
    }

    /// Its colour: what is up but unhealthy, or waits for its next start, needs care.
    pub(crate) fn style(&self) -> Style {
        match self.active {
            _ if self.not_known => CARE,
            "active" if matches!(self.health, "unhealthy" | "degraded") => CARE,
            "active" => GOOD,
            "failed" => BAD,
            "inactive" => FAINT,
            _ => CARE,
        }
    }
}
