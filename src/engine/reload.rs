//! A new configuration, taken while we run.

use std::sync::Arc;

use super::{Engine, config, handle::Reloaded, settings::Settings};
use crate::{
    base::{Actor, Happening, Mono, Notice, TimeSpan, UnitName},
    edge::{clock, log},
    keeper::client::ClientError,
    node::Input,
};

impl Engine {
    /// All or nothing: with a problem anywhere, what is in force stays.
    pub(super) fn take_reload(
        &mut self,
        actor: Actor,
        loaded: Result<Box<config::Reload>, config::ConfigError>,
    ) -> Result<Result<Reloaded, String>, ClientError> {
        let config::Reload { settings, host } = match loaded {
            Ok(loaded) => *loaded,
            Err(error) => {
                let what = Happening::ConfigRejected { problems: error.0.clone() };
                self.fan_out(Notice { at: clock::now(), what });
                return Ok(Err(error.0));
            }
        };
        let lasting = self.take_settings(settings);
        Ok(Ok(Reloaded { units: self.take_units(host, Some(actor))?, lasting }))
    }

    pub(super) fn count_reload(&self, begun: Mono) {
        let took = clock::now().mono.0.saturating_sub(begun.0) / 1000;
        self.counters().reload_times.add(TimeSpan::from_micros(took));
    }

    /// Takes what can be taken while we run: who is told of what, and where units are. The rest is named.
    fn take_settings(&mut self, newer: Settings) -> Vec<&'static str> {
        let lasting = self.settings.lasting_differences(&newer);
        for key in &lasting {
            tracing::warn!(key, "changed in roundsman.toml; it holds once supervisord was stopped and started");
        }
        if let (Some(fleet), Some(settings)) = (&self.fleet, newer.fleet.clone()) {
            fleet.take_settings(settings);
        }
        let beats = newer.alert.heartbeat != self.settings.alert.heartbeat;
        if newer.alert != self.settings.alert {
            self.alerts.configure(clock::now(), newer.alert.clone());
            let _in_runtime = self.runtime.enter();
            self.deliveries.set_routes(&newer.alert.routes);
        }
        self.deliveries.ask_refusing_again();
        let mut settings = (*self.settings).clone();
        settings.source = newer.source;
        settings.paths.units = newer.paths.units;
        settings.alert = newer.alert;
        settings.container = newer.container;
        if settings.fleet.is_some() == newer.fleet.is_some() {
            settings.fleet = newer.fleet;
        }
        settings.restart_budget = newer.restart_budget;
        self.node.handle(clock::now(), Input::RestartBudget(newer.restart_budget));
        // The text of before still says what the keys say that hold to the end.
        let before = std::mem::replace(&mut settings.text, newer.text);
        settings.lasting.get_or_insert(before);
        self.settings = Arc::new(settings);
        self.leave_what_is_gone_of_fleet();
        if beats {
            self.begin_heartbeat();
        }
        self.keep_settings();
        lasting
    }

    /// Keeps a copy of `roundsman.toml`, for a manager that has to start while the file is broken.
    pub(super) fn keep_settings(&self) {
        if let Err(error) = self.settings.keep() {
            tracing::warn!(%error, "cannot keep a copy of roundsman.toml; after a crash it must be sound");
        }
    }

    /// Takes them into force; `reloaded_by` is who had the files read anew, if that is why.
    pub(super) fn take_units(&mut self, host: config::Host, reloaded_by: Option<Actor>) -> Result<u32, ClientError> {
        for warning in &host.warnings {
            tracing::warn!("{warning}");
        }
        let count = u32::try_from(host.units.len()).unwrap_or(u32::MAX);
        if let Err(error) = config::keep(&host, &self.settings.paths.runtime) {
            tracing::warn!(%error, "cannot keep a copy of the units; after a crash the directories must be sound");
        }
        self.sockets.owners = host.owners;
        for (name, unit) in &host.units {
            if self.units.get(name).is_some_and(|old| old.sockets != unit.sockets) {
                self.renew_sockets(name, unit)?;
            }
        }
        // Definitions of units that are gone are still needed until their last process has ended.
        for (name, unit) in &host.units {
            let former = self.units.insert(name.clone(), Arc::clone(unit));
            if former.is_some_and(|former| former.log != unit.log) {
                self.pump.rule(name.clone(), self.log_rules(name));
            }
        }
        self.take_identities(host.identities);
        self.templates = host.templates;
        self.connections.take(host.acceptors);
        self.alerts.keep_units(clock::now(), |unit, probe| super::known::is_there(&host.units, unit, probe));
        self.take_zones(host.zones);
        let units = host.units;
        let input = match reloaded_by {
            Some(actor) => Input::Reload { units, actor },
            None => Input::Units(units),
        };
        self.node.handle(clock::now(), input);
        self.note_maintained();
        self.fan_out(Notice { at: clock::now(), what: Happening::ConfigLoaded { units: count } });
        Ok(count)
    }

    /// How output of a unit is kept.
    pub(super) fn log_rules(&self, unit: &UnitName) -> log::Rules {
        log::Rules::of(unit, self.units.get(unit).map(|def| &**def), &self.settings.log)
    }
}
