//! Why a run ended, for people.

use super::service::{Run, Unit};
use crate::base::{ExitStatus, RunResult};

impl Unit {
    /// Why the last run ended so, where more is known than its status.
    pub(super) fn last_why(&self) -> Option<&str> {
        self.ends.last()?.why.as_deref()
    }

    /// How that run ended, for people.
    pub(super) fn last_end_in_words(&self) -> Option<String> {
        let status = self.ends.last()?.status?;
        Some(self.last_why().map_or_else(|| status.to_string(), |why| format!("{status}: {why}")))
    }
}

impl Run {
    /// Why it has ended: what was known before, or that someone sent the signal that ended it.
    pub(super) fn why_ended(&self) -> Option<Box<str>> {
        if self.why.is_some() {
            return self.why.clone();
        }
        match (&self.sent, self.main.status()) {
            (Some((sent, actor)), Some(ExitStatus::Signaled { signal, .. })) if *sent == signal => {
                Some(format!("{actor} sent {signal}").into())
            }
            (Some(_) | None, Some(_)) => self.why_not_started(),
            (Some(_) | None, None) => None,
        }
    }

    /// Of an external service that did not come up only its start command is known.
    fn why_not_started(&self) -> Option<Box<str>> {
        let is_of_command = self.def.external.is_some() && self.begin.ready_at.is_none() && !self.began_elsewhere();
        let command = self.def.service.exec_start.last().filter(|_| is_of_command)?;
        (self.result != RunResult::Success)
            .then(|| format!("so ended its start command: {}", command.argv.join(" ")).into())
    }
}
