//! The last look at one unit: what its values mean together. Makes the definition of the draft.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    accepting,
    diag::{Place, Report},
    draft::{Draft, Places, Relation, RelationKind, TimerDraft, exit_set, pairs},
    external, listening, probing,
    sandbox::contradictions,
    spec::{
        Amount, NotifyAccess, OnUnhealthy, Relations, ResourcesSpec, Restart, ServiceKind, ServiceSpec, TimerSpec,
        UnitDef,
    },
};
use crate::base::{TimeSpan, UnitName};

/// The definition in `draft`, with whatever is wrong with it reported; `begin` is where its first file begins. After an
/// error in its files nothing is called missing: it may be what could not be read.
pub(super) fn finish(
    mut draft: Draft,
    places: &Places,
    begin: Place,
    clean: Clean,
    report: &mut Report<'_>,
) -> UnitDef {
    let check = Check { places, begin, clean };
    let at = listening::At { places, begin, clean };
    check_relations(&draft, report);
    *draft.def.relations = relations(&draft);
    service(&mut draft);
    let is_external = draft.external.is_some();
    external::finish(&mut draft, places, clean, report);
    let timer_of_another = draft.timer.as_ref().and_then(|timer| timer.unit.as_ref());
    let timer_only = timer_of_another.is_some_and(|(unit, _)| *unit != draft.def.name);
    draft.def.sockets.accept = accepting::finish(&mut draft, at, report);
    if draft.def.name.is_target() {
        target(&mut draft.def.service);
    } else if !is_external {
        check.commands(&draft.def.service, timer_only, report);
    }
    check.restart(&draft.def, report);
    check.notify(&draft.def.service, report);
    check.sandbox(&draft.def.service, report);
    check.resources(&draft.def.service.resources, report);
    external::check_probes(&draft, report);
    check.reloads(&draft, is_external, report);
    draft.def.health = draft.health.into_iter().filter_map(|probe| probing::finish(probe, clean, report)).collect();
    let list = listening::finish(draft.sockets, &draft.def.name, at, report);
    // What an instance has of them is its connection.
    draft.def.sockets.list = if draft.def.sockets.is_connection() { Box::default() } else { list };
    listening::check_lazy(&draft.def, at, report);
    listening::probes_of_own_sockets(&draft.def, at, report);
    probing::check_output(&draft.def, at, report);
    check.exec(&draft.def, report);
    draft.def.timer = draft.timer.map(|timer| check.timer(*timer, &draft.def.name, report));
    draft.def
}

fn check_relations(draft: &Draft, report: &mut Report<'_>) {
    let of_conflict = |relation: &&Relation| relation.kind == RelationKind::Conflicts;
    let conflicts: BTreeMap<&UnitName, Place> =
        draft.relations.iter().filter(of_conflict).map(|relation| (&relation.name, relation.place)).collect();
    for Relation { kind, name, place } in &draft.relations {
        let key = kind.as_str();
        if *name == draft.def.name {
            report.error(*place, format!("a unit cannot name itself in {key:?}"), None);
        }
        let Some(conflict) = conflicts.get(name) else { continue };
        let help = Some(format!("the conflict is at {}", report.show(*conflict)));
        match kind {
            RelationKind::Requires | RelationKind::BindsTo => {
                report.error(*place, format!("{name} cannot be both in {key:?} and in \"conflicts\""), help);
            }
            RelationKind::Wants => {
                report.warning(*place, format!("{name} is both wanted and in conflict: it is not started"), help);
            }
            RelationKind::PartOf
            | RelationKind::Conflicts
            | RelationKind::After
            | RelationKind::Before
            | RelationKind::AfterHealthy
            | RelationKind::OnFailure
            | RelationKind::OnSuccess => {}
        }
    }
}

fn relations(draft: &Draft) -> Relations {
    let lists = |kinds: &[RelationKind]| {
        let mut seen = BTreeSet::new();
        let of_kind =
            draft.relations.iter().filter(|relation| kinds.contains(&relation.kind)).map(|relation| &relation.name);
        of_kind.filter(|name| seen.insert(*name)).cloned().collect::<Box<[UnitName]>>()
    };
    let list = |kind: RelationKind| lists(&[kind]);
    Relations {
        requires: list(RelationKind::Requires),
        wants: list(RelationKind::Wants),
        binds_to: list(RelationKind::BindsTo),
        part_of: list(RelationKind::PartOf),
        conflicts: list(RelationKind::Conflicts),
        after: lists(&[RelationKind::After, RelationKind::AfterHealthy]),
        after_healthy: list(RelationKind::AfterHealthy),
        before: list(RelationKind::Before),
        on_failure: list(RelationKind::OnFailure),
        on_success: list(RelationKind::OnSuccess),
    }
}

/// Moves the lists into the definition, and settles the defaults that depend on other values.
fn service(draft: &mut Draft) {
    let service = &mut draft.def.service;
    let exec = std::mem::take(&mut draft.exec);
    service.exec_condition = exec.condition.into();
    service.exec_start = exec.start.into();
    service.exec_start_pre = exec.start_pre.into();
    service.exec_start_post = exec.start_post.into();
    service.exec_reload = exec.reload.into();
    service.exec_stop = exec.stop.into();
    service.exec_stop_post = exec.stop_post.into();
    service.restart.prevent = exit_set(&draft.prevent);
    service.restart.force = exit_set(&draft.force);
    service.restart.success = exit_set(&draft.success);
    service.exec.supplementary_groups = std::mem::take(&mut draft.supplementary_groups).into();
    service.exec.environment = pairs(std::mem::take(&mut draft.environment));
    service.exec.environment_files = std::mem::take(&mut draft.environment_files).into();
    service.exec.limits = std::mem::take(&mut draft.limits).into();
    let oneshot = service.kind == ServiceKind::Oneshot;
    let start_default = if oneshot { TimeSpan::INFINITY } else { service.timeouts.start };
    service.timeouts.start = draft.timeout_start.unwrap_or(start_default);
    service.timeouts.abort = draft.timeout_abort.unwrap_or(service.timeouts.stop);
    // systemd takes the main process at its word wherever it has to listen to it.
    let listens = service.kind.notifies() || service.watchdog.is_some() || service.file_descriptor_store_max > 0;
    let access_default = if listens { NotifyAccess::Main } else { NotifyAccess::None };
    service.notify_access = draft.notify_access.unwrap_or(access_default);
    std::mem::take(&mut draft.exec_draft).finish(service);
}

/// A target runs nothing: it is up once what it is after is, and stays so.
fn target(service: &mut ServiceSpec) {
    service.kind = ServiceKind::Oneshot;
    service.remain_after_exit = true;
}

/// Whether every file of a unit was read without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clean {
    Yes,
    No,
}

pub(super) struct Check<'p> {
    places: &'p Places,
    begin: Place,
    clean: Clean,
}

impl Check<'_> {
    /// Where the key stands that decided, or the begin of the unit file.
    fn at(&self, table: &str, key: &str) -> Place {
        self.places.find(table, key).unwrap_or(self.begin)
    }

    pub(super) fn service_at(&self, key: &str) -> Place {
        self.at("service", key)
    }

    /// A file with nothing but the timer of another unit has no command of its own.
    fn commands(&self, service: &ServiceSpec, timer_only: bool, report: &mut Report<'_>) {
        let place = self.service_at("exec_start");
        // Without a command of its own it is there for what it does at its end.
        let only_stops =
            service.kind == ServiceKind::Oneshot && service.remain_after_exit && !service.exec_stop.is_empty();
        if service.exec_start.is_empty() && !only_stops && !timer_only && self.clean == Clean::Yes {
            report.error(place, "\"exec_start\" in [service] is missing", None);
        }
        if service.exec_start.len() > 1 && service.kind != ServiceKind::Oneshot {
            let help = "use type \"oneshot\"; in a drop-in begin the list with \"\" to replace the earlier command";
            let message = format!(
                "{} commands in \"exec_start\", but only a oneshot has more than one",
                service.exec_start.len()
            );
            report.error(place, message, Some(help.to_owned()));
        }
        let infinite = service.timeouts.runtime_max == TimeSpan::INFINITY;
        if service.kind == ServiceKind::Oneshot && !infinite {
            let help = "use timeout_start_sec".to_owned();
            report.warning(self.service_at("runtime_max_sec"), "a oneshot has no running time to limit", Some(help));
        }
    }

    fn restart(&self, unit: &UnitDef, report: &mut Report<'_>) {
        let service = &unit.service;
        let restart = &service.restart;
        let again_after_success = matches!(restart.when, Restart::Always | Restart::OnSuccess);
        if service.kind == ServiceKind::Oneshot && again_after_success && unit.external.is_none() {
            let help = "a oneshot that succeeded is done: use on-failure, or another type".to_owned();
            report.error(self.service_at("restart"), "a oneshot cannot restart after success", Some(help));
        }
        let max_place = self.service_at("restart_max_delay_sec");
        if restart.delay_max < restart.delay {
            let message = format!(
                "the largest delay ({}) is below the first (restart_sec: {})",
                restart.delay_max, restart.delay
            );
            report.error(max_place, message, None);
        }
        let infinite = restart.delay_max == TimeSpan::INFINITY;
        if restart.steps > 0 && infinite {
            let help = Some("set restart_max_delay_sec".to_owned());
            report.warning(self.service_at("restart_steps"), "the delay does not grow without a largest one", help);
        }
        if restart.steps == 0 && !infinite {
            let help = Some("set restart_steps".to_owned());
            report.warning(max_place, "the delay does not grow without a number of steps", help);
        }
    }

    /// Probes that would have a unit reload that cannot. What it reloads by may be what could not be read.
    fn reloads(&self, draft: &Draft, is_external: bool, report: &mut Report<'_>) {
        let is_unread = self.clean == Clean::No || (is_external && draft.def.external.is_none());
        if is_unread || draft.def.service.can_reload() {
            return;
        }
        let way = if is_external { "reload in [external]" } else { "exec_reload, or type = \"notify-reload\"" };
        for probe in draft.health.iter().filter(|probe| probe.on_unhealthy == Some(OnUnhealthy::Reload)) {
            let message = format!("the probe {:?} wants a reload, and the unit has no way to reload", probe.name);
            let help = format!("give the unit {way}; or set on_unhealthy to \"restart\" or \"alert\"");
            report.error(probe.at("on_unhealthy"), message, Some(help));
        }
    }

    fn notify(&self, service: &ServiceSpec, report: &mut Report<'_>) {
        let place = self.service_at("notify_access");
        if service.notify_access != NotifyAccess::None {
            return;
        }
        if service.kind.notifies() {
            report.error(place, "a type that waits for READY=1 needs a \"notify_access\" other than \"none\"", None);
        } else if service.watchdog.is_some() {
            report.error(place, "\"watchdog_sec\" needs a \"notify_access\" other than \"none\"", None);
        } else if service.file_descriptor_store_max > 0 {
            report.error(place, "\"file_descriptor_store_max\" needs a \"notify_access\" other than \"none\"", None);
        }
    }

    fn resources(&self, resources: &ResourcesSpec, report: &mut Report<'_>) {
        if resources.cpu_quota_period.is_some() && resources.cpu_quota.is_none() {
            let help = Some("set cpu_quota".to_owned());
            report.warning(self.service_at("cpu_quota_period_sec"), "a period without a quota limits nothing", help);
        }
        if let (Some(Amount::Bytes(high)), Some(Amount::Bytes(max))) = (resources.memory_high, resources.memory_max)
            && high > max
        {
            let message = "\"memory_high\" is above \"memory_max\": it is never reached";
            report.warning(self.service_at("memory_high"), message, None);
        }
    }

    fn sandbox(&self, service: &ServiceSpec, report: &mut Report<'_>) {
        for contradiction in contradictions(service) {
            report.warning(self.service_at(contradiction.key), contradiction.message, None);
        }
    }

    fn timer(&self, draft: TimerDraft, unit: &UnitName, report: &mut Report<'_>) -> Box<TimerSpec> {
        let spec = TimerSpec {
            on_calendar: draft.on_calendar.into(),
            cron: draft.cron.into(),
            on_active: draft.on_active.into(),
            on_boot: draft.on_boot.into(),
            on_startup: draft.on_startup.into(),
            on_unit_active: draft.on_unit_active.into(),
            on_unit_inactive: draft.on_unit_inactive.into(),
            unit: draft.unit.map(|(name, _)| name).filter(|name| name != unit),
            ..draft.spec
        };
        if spec.is_empty() && self.clean == Clean::Yes {
            let help = "give it on_calendar, cron, on_boot_sec or another of the on_… keys".to_owned();
            report.error(draft.place, "the timer never elapses", Some(help));
        }
        if spec.randomized_delay == TimeSpan::INFINITY {
            let place = self.at("timer", "randomized_delay_sec");
            report.error(place, "\"randomized_delay_sec\" must be finite", None);
        }
        if spec.persistent && !spec.has_calendar() {
            let help = Some("only what on_calendar or cron says can be missed".to_owned());
            report.warning(self.at("timer", "persistent"), "\"persistent\" has no effect on this timer", help);
        }
        if spec.fixed_random_delay && spec.randomized_delay.is_zero() {
            let help = Some("set randomized_delay_sec".to_owned());
            report.warning(self.at("timer", "fixed_random_delay"), "there is no random delay to be fixed", help);
        }
        Box::new(spec)
    }
}
