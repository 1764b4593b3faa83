use std::collections::BTreeMap;

use super::{Alerts, Open, Report, Subject, Topic};
use crate::base::{Happening, Notice, Now, Remedy, RunId, Severity, UnitName};

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

    fn says_now(&mut self, probe: &str, text: &str) {
        if let Some(said) = self.0.get_mut(probe) {
            text.clone_into(&mut said.text);
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
            Remedy::Reload | Remedy::Held(_) | Remedy::Nothing | Remedy::Recovering => awaited.unwrap_or(remedy),
        }
    }
}

impl Alerts {
    /// What a probe found before this machine began, of a unit whose incident it knows: it is told already.
    pub fn recall(&mut self, notice: &Notice) {
        let Happening::Unhealthy { run, probe, severity, remedy, .. } = &notice.what else { return };
        let text = Report::of(notice).text;
        self.fell(run, probe, *severity, &text, *remedy);
        let subject = Subject::Unit(run.unit.clone());
        // Its row may be of before that.
        let is_stale = self.open.get(&subject).is_some_and(|open| open.incident.remedy == Some(Remedy::Recovering));
        if let (true, Some(probes)) = (is_stale, self.fallen.get(&run.unit)) {
            let remedy = probes.remedy_beside(*remedy);
            self.update(&subject, &text, remedy);
        }
    }

    /// Has open incidents say what their probes say by now; nobody is told for that alone, and no row is written for it. `so` is
    /// what would be told of each probe that is not well.
    pub fn refresh(&mut self, now: Now, so: impl Iterator<Item = Happening>) {
        for mut what in so {
            let text = Report::of(&Notice { at: now, what: what.clone() }).text;
            if let Happening::Unhealthy { reason, .. } | Happening::Degraded { reason, .. } = &mut what {
                reason.clear();
            }
            let beginning = what.message();
            let (Happening::Unhealthy { run, probe, .. } | Happening::Degraded { run, probe, .. }) = &what else {
                continue;
            };
            if let (Happening::Unhealthy { .. }, Some(probes)) = (&what, self.fallen.get_mut(&run.unit)) {
                probes.says_now(probe, &text);
            }
            for subject in [Subject::Unit(run.unit.clone()), Subject::Probe(run.unit.clone(), probe.clone())] {
                // Of several things that are not well an incident speaks of one.
                let open = self.open.get_mut(&subject);
                if let Some(open) = open.filter(|open| open.incident.text.starts_with(&beginning)) {
                    open.incident.text.clone_from(&text);
                }
            }
        }
    }

    pub(super) fn fell(&mut self, run: &RunId, probe: &str, severity: Severity, text: &str, remedy: Remedy) {
        if severity != Severity::Info {
            self.fallen.entry(run.unit.clone()).or_default().fell(probe, severity, text, remedy);
        }
    }

    /// A probe is healthy again: an incident that others keep open speaks of them from now on.
    pub(super) fn rose(&mut self, unit: &UnitName, probe: &str) {
        let Some(probes) = self.fallen.get_mut(unit) else { return };
        probes.rose(probe);
        let Some((text, remedy)) = probes.worst() else {
            self.fallen.remove(unit);
            self.recovers(&Subject::Unit(unit.clone()));
            return;
        };
        let (text, remedy) = (text.to_owned(), probes.remedy_beside(remedy));
        let subject = Subject::Unit(unit.clone());
        if self.open.get(&subject).is_some_and(|open| open.incident.topic == Topic::UnitUnhealthy) {
            self.update(&subject, &text, remedy);
        }
    }

    /// Nothing of what the incident was about is so any more; it is not over before that has lasted.
    pub(super) fn recovers(&mut self, subject: &Subject) {
        if let Some(text) = self.open.get(subject).map(|open| open.incident.text.clone()) {
            self.update(subject, &text, Remedy::Recovering);
        }
    }

    /// A run that is younger than what its unit's incident is about has begun, or is up.
    pub(super) fn comes_back(&mut self, run: &RunId, is_up: bool) {
        let subject = Subject::Unit(run.unit.clone());
        let Some(open) = self.open.get(&subject) else { return };
        if self.is_over(run) || run.generation <= open.incident.generation {
            return;
        }
        if is_up {
            self.recovers(&subject);
        } else if open.incident.topic.is_final() {
            let text = open.incident.text.clone();
            self.update(&subject, &text, Remedy::Restart);
        }
    }

    /// Something else is done about a probe that is unhealthy than was decided before. Whose incident speaks of a restart that is
    /// held back hears it.
    pub(super) fn decided(&mut self, run: &RunId, probe: &str, remedy: Remedy) {
        if self.is_over(run) {
            return;
        }
        if let Some(probes) = self.fallen.get_mut(&run.unit) {
            probes.decided(probe, remedy);
        }
        for subject in [Subject::Unit(run.unit.clone()), Subject::Probe(run.unit.clone(), probe.to_owned())] {
            let is_held = |open: &&Open| matches!(open.incident.remedy, Some(Remedy::Held(_)));
            if let Some(text) = self.open.get(&subject).filter(is_held).map(|open| open.incident.text.clone()) {
                self.update(&subject, &text, remedy);
            }
        }
    }
}
