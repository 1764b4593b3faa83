use std::collections::BTreeMap;

use crate::base::{Remedy, Severity};

/// What the unhealthy probes of a unit said, and what was decided.
#[derive(Debug, Default)]
pub(super) struct Fallen(BTreeMap<String, Said>);

#[derive(Debug)]
struct Said {
    severity: Severity,
    text: String,
    remedy: Remedy,
}

impl Fallen {
    pub(super) fn fell(&mut self, probe: &str, severity: Severity, text: &str, remedy: Remedy) {
        self.0.insert(probe.to_owned(), Said { severity, text: text.to_owned(), remedy });
    }

    pub(super) fn rose(&mut self, probe: &str) {
        self.0.remove(probe);
    }

    pub(super) fn retain(&mut self, is_there: impl Fn(&str) -> bool) {
        self.0.retain(|probe, _| is_there(probe));
    }

    pub(super) fn decided(&mut self, probe: &str, remedy: Remedy) {
        if let Some(said) = self.0.get_mut(probe) {
            said.remedy = remedy;
        }
    }

    /// What was said that matters most, and what is done about it.
    pub(super) fn worst(&self) -> Option<(&str, Remedy)> {
        self.0.values().max_by_key(|said| said.severity).map(|said| (&*said.text, said.remedy))
    }

    /// What is done about the unit where `remedy` is done about one of its probes: a restart that another probe waits for is
    /// still to come.
    pub(super) fn remedy_beside(&self, remedy: Remedy) -> Remedy {
        let awaited = self.0.values().map(|said| said.remedy).find(|known| matches!(known, Remedy::Held(_)));
        match remedy {
            Remedy::Restart => remedy,
            Remedy::Reload | Remedy::Held(_) | Remedy::Nothing => awaited.unwrap_or(remedy),
        }
    }
}
