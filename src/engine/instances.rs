//! Instances of templates that no file names: whoever asks for one has it made from the texts in force.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Engine,
    config::{self, ConfigError, Host},
    handle::{Ask, Report},
};
use crate::{base::UnitName, keeper::client::ClientError, node::input::Verb};

/// The instances that someone asked for, for whoever reads the units anew.
#[derive(Debug, Clone, Default)]
pub struct Instances(Arc<Mutex<BTreeSet<UnitName>>>);

impl Instances {
    /// Those there are.
    pub fn all(&self) -> BTreeSet<UnitName> {
        self.set().clone()
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<UnitName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Units with instances that were asked for, and what is to be done then.
#[derive(Debug)]
pub struct Made {
    wanted: BTreeSet<UnitName>,
    host: Result<Host, ConfigError>,
    ask: Ask,
}

impl Engine {
    /// The instances among `units` that could be made and are not there.
    pub(super) fn unmade(&self, units: &[UnitName]) -> BTreeSet<UnitName> {
        let could_be = |unit: &&UnitName| {
            let template = unit.template();
            template.is_some_and(|template| self.templates.contains(&template) && !self.connections.accepts(&template))
        };
        units.iter().filter(could_be).filter(|unit| !self.units.contains_key(*unit)).cloned().collect()
    }

    /// Makes the instances beside the loop; the order comes back with them.
    pub(super) fn make_instances(&self, wanted: BTreeSet<UnitName>, ask: Ask) {
        let mut all = self.instances.all();
        all.extend(wanted.iter().cloned());
        let runtime = self.settings.paths.runtime.clone();
        let reporter = self.reporter.clone();
        self.runtime.spawn_blocking(move || {
            // The texts in force, not those of the directories: an order takes no edited file into use.
            let host = config::load_kept(&runtime, &all);
            // Nobody listens once the daemon ends.
            reporter.send(Report::Instances(Box::new(Made { wanted, host, ask }))).ok();
        });
    }

    pub(super) fn take_instances(&mut self, made: Made) -> Result<(), ClientError> {
        let Made { wanted, host, ask } = made;
        match host {
            Ok(host) => {
                self.instances.set().extend(wanted);
                self.take_units(host, None)?;
            }
            Err(error) => tracing::error!(%error, "cannot make an instance of a template"),
        }
        match ask {
            Ask::Order { actor, units, verb, reply } => {
                self.order(actor, units, verb, reply);
                Ok(())
            }
            other @ (Ask::States { .. }
            | Ask::Reload { .. }
            | Ask::Probe { .. }
            | Ask::Unwell { .. }
            | Ask::ReloadOnce { .. }
            | Ask::Alerts(_)
            | Ask::Well { .. }
            | Ask::Upgrade { .. }) => self.take_ask(other),
        }
    }

    pub(super) fn take_host(&mut self, host: &Host) {
        self.units = host.units.clone();
        self.identities = host.identities.clone();
        self.templates = host.templates.clone();
        self.connections.take(host.acceptors.clone());
        self.zones = Arc::clone(&host.zones);
    }

    /// Adds the instances that earlier managers made, or that an operator enabled.
    pub(super) fn remake_instances<'u>(&self, host: Host, known: impl Iterator<Item = &'u UnitName>) -> Host {
        let is_ours = |unit: &&UnitName| {
            let template = unit.template();
            template
                .is_some_and(|template| host.templates.contains(&template) && !host.acceptors.contains_key(&template))
        };
        let missing: BTreeSet<UnitName> =
            known.filter(is_ours).filter(|unit| !host.units.contains_key(*unit)).cloned().collect();
        if missing.is_empty() {
            return host;
        }
        self.instances.set().extend(missing);
        match host.with_instances(&self.instances.all()) {
            Ok(host) => host,
            Err(error) => {
                tracing::error!(%error, "cannot make instances of templates again");
                host
            }
        }
    }
}

/// Whether an order of this kind makes an instance that is not there.
pub(super) const fn makes(verb: Verb) -> bool {
    match verb {
        Verb::Start | Verb::Restart | Verb::Enable => true,
        Verb::Stop | Verb::Reload | Verb::Signal(_) | Verb::Reset | Verb::Clean | Verb::Disable => false,
    }
}
