//! What timers know of the machine's clocks and zones.

use std::{fs, path::Path, sync::Arc};

use super::{Engine, config, handle::Report};
use crate::{
    base::Mono,
    edge::{
        clock,
        clock_watch::{Change, ClockWatch},
        zones,
    },
    node::{self, Input},
    unit::calendar::{Zone, Zones},
};

impl Engine {
    /// From now on timers hear when the clock is set, and when the host comes into another zone.
    pub(super) fn watch_clock(&self) {
        let reports = self.reporter.clone();
        let in_runtime = self.runtime.enter();
        let file = (!zones::is_fixed()).then(|| Path::new(zones::LOCALTIME));
        let watch = ClockWatch::new(file);
        drop(in_runtime);
        let watch = match watch {
            Ok(watch) => watch,
            Err(error) => {
                tracing::warn!(%error, "nobody tells when the clock is set; timers will be late after that");
                return;
            }
        };
        self.runtime.spawn(async move {
            while let Ok(change) = watch.changed().await {
                let report = match change {
                    Change::Clock => Report::ClockSet,
                    Change::Zone => Report::Zone(zones::local()),
                };
                if reports.send(report).is_err() {
                    return;
                }
            }
        });
    }

    pub(super) fn clock_set(&mut self) {
        tracing::info!("the clock was set; timers are planned anew");
        self.node.handle(clock::now(), Input::ClockSet);
    }

    pub(super) fn take_local_zone(&mut self, local: Zone) {
        let named = self.zones.named.clone();
        self.take_zones(Arc::new(Zones { local, named }));
    }

    /// Rules of time zones, if they are other ones.
    pub(super) fn take_zones(&mut self, zones: Arc<Zones>) {
        if self.zones != zones {
            self.zones = Arc::clone(&zones);
            self.node.handle(clock::now(), Input::Zones(zones));
        }
    }
}

/// What timers need to know of the machine. A container came up with us: how long its host was up before is not its affair.
pub(super) fn timer_host(host: &config::Host, keeper: u32) -> node::input::Host {
    // machine-id(5): 32 hex digits.
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let identity = id.get(..16).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0);
    let boot = (keeper != 1).then_some(Mono(0));
    node::input::Host { zones: Arc::clone(&host.zones), boot, identity }
}
