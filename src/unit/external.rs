//! The last look at a unit that another manager keeps. It becomes a service without a main process, which is up once the start
//! command of that manager has ended well; whether it still is, the watch says (`node/watch.rs`).

use std::path::Path;

use super::{
    UnitDef,
    check::Clean,
    diag::Report,
    draft::{CheckDraft, Draft, ExternalDraft, Places},
    spec::{
        Command, ExternalManager, ExternalSpec, KillMode, Privilege, ProbeCheck, ServiceKind, SupervisorServer,
        TIMEOUT_DEFAULT,
    },
};

/// Where Debian's Supervisor has its settings and its program.
const SUPERVISOR_CONFIG: &str = "/etc/supervisor/supervisord.conf";
const SUPERVISORCTL: &str = "/usr/bin/supervisorctl";
/// What `[service]` may say of a service that is not ours: when it is started again, and how long an order may take.
const SERVICE_KEYS: [&str; 12] = [
    "restart",
    "restart_force_exit_status",
    "restart_jitter",
    "restart_max_delay_sec",
    "restart_prevent_exit_status",
    "restart_reset_after_sec",
    "restart_sec",
    "restart_steps",
    "timeout_sec",
    "timeout_start_sec",
    "timeout_stop_sec",
    "timeout_abort_sec",
];

/// Makes the service of the draft that of another manager, if it has an `[external]` table.
pub(super) fn finish(draft: &mut Draft, places: &Places, clean: Clean, report: &mut Report<'_>) {
    let Some(external) = draft.external.take() else { return };
    let owner = owner(&external);
    for (key, place) in places.of("service") {
        if !SERVICE_KEYS.contains(&key) {
            let message = format!("{key:?} has no effect on an external service: {owner} runs it");
            report.error(place, message, Some(format!("remove it, or set it where {owner} reads it")));
        }
    }
    if let Some(place) = places.of("socket").into_values().min() {
        let help = Some(format!("remove [socket], or let {owner} hold the sockets"));
        report.error(place, "an external service cannot be passed sockets", help);
    }
    let place = external.place;
    let timeout_start = draft.timeout_start;
    let Some(plan) = plan(*external, clean, report) else { return };
    if draft.def.name.is_template() && draft.sockets.accept {
        report.error(place, "what serves a connection cannot be external", None);
    }
    let service = &mut draft.def.service;
    service.kind = ServiceKind::Oneshot;
    service.remain_after_exit = true;
    service.exec_start = plan.start;
    service.exec_stop = plan.stop.into_iter().collect();
    service.exec_reload = plan.reload.into_iter().collect();
    // What the start command leaves behind is the service, and not ours to end.
    service.kill.mode = KillMode::Process;
    service.timeouts.start = timeout_start.unwrap_or(TIMEOUT_DEFAULT);
    draft.def.external = Some(Box::new(plan.spec));
}

/// The program that a unit of Supervisor is steered with.
pub fn supervisors_program(def: &UnitDef) -> Option<&str> {
    let external = def.external.as_ref()?;
    let is_supervisors = matches!(external.manager, ExternalManager::Supervisor { .. });
    is_supervisors.then(|| def.service.exec_start.first().map(|command| &*command.program)).flatten()
}

/// What is wrong where that program is ours, and the remedy: its orders would fail, and the service would seem to.
pub fn not_supervisors(program: &str) -> (String, &'static str) {
    let message = format!("{program} is this program's and not Supervisor's (supervisord.org)");
    let help = "set supervisorctl in [external] to where that is, or install this program elsewhere (README, \"Beside \
                Supervisor\")";
    (message, help)
}

/// Probes that look at processes of ours.
pub(super) fn check_probes(draft: &Draft, report: &mut Report<'_>) {
    if draft.def.external.is_none() {
        return;
    }
    for probe in &draft.health {
        if let Some(CheckDraft::Ready(check @ (ProbeCheck::Memory(_) | ProbeCheck::Cpu(_)))) = &probe.check {
            let key = if matches!(check, ProbeCheck::Memory(_)) { "memory" } else { "cpu" };
            let message =
                format!("the probe {:?} looks at processes of ours, and an external service has none", probe.name);
            report.error(probe.at(key), message, Some("ask the service itself, or write a plugin".to_owned()));
        }
        if let Some(CheckDraft::Ready(ProbeCheck::Log(_))) = &probe.check {
            let message =
                format!("the probe {:?} reads captured output, and that of an external service is not", probe.name);
            report.error(probe.at("log"), message, Some("ask the service itself, or write a plugin".to_owned()));
        }
    }
}

struct Plan {
    spec: ExternalSpec,
    start: Box<[Command]>,
    stop: Option<Command>,
    reload: Option<Command>,
}

/// For messages.
const fn owner(external: &ExternalDraft) -> &'static str {
    match (&external.systemd, &external.supervisor) {
        (Some(_), _) => "systemd",
        (None, Some(_)) => "Supervisor",
        (None, None) => "the start command",
    }
}

fn plan(external: ExternalDraft, clean: Clean, report: &mut Report<'_>) -> Option<Plan> {
    let place = external.place;
    let has_commands = [&external.start, &external.stop, &external.restart, &external.reload, &external.status]
        .into_iter()
        .any(Option::is_some);
    let kinds = [external.systemd.is_some(), external.supervisor.is_some(), has_commands];
    match kinds.into_iter().filter(|is_given| *is_given).count() {
        0 => {
            if clean == Clean::Yes {
                let help = Some("give one of systemd, supervisor, or start, stop and status".to_owned());
                report.error(place, "[external] does not say who keeps the service", help);
            }
            return None;
        }
        1 => {}
        _ => {
            let help = Some("give one of systemd, supervisor, or commands".to_owned());
            report.error(place, "[external] names more than one manager", help);
            return None;
        }
    }
    if external.supervisor.is_none() {
        let lone = [
            ("config", external.config.is_some()),
            ("server", external.server.is_some()),
            ("supervisorctl", external.supervisorctl.is_some()),
        ];
        for (key, _) in lone.into_iter().filter(|(_, is_given)| *is_given) {
            report.error(place, format!("{key:?} has no effect without \"supervisor\""), None);
        }
    }
    if let Some(unit) = external.systemd {
        return Some(of_systemd(unit, external.poll_interval));
    }
    if external.supervisor.is_some() {
        return of_supervisor(external, report);
    }
    of_commands(external, clean, report)
}

fn of_systemd(unit: Box<str>, poll_interval: crate::base::TimeSpan) -> Plan {
    let verb = |verb: &str| command(&["systemctl", "--no-ask-password", verb, "--", &unit]);
    // systemd counts the starts that it is asked for too, and would refuse one after many. One that it has not loaded has not
    // failed.
    let reset = || Command { ignore_failure: true, ..verb("reset-failed") };
    Plan {
        start: [reset(), verb("start")].into(),
        stop: Some(verb("stop")),
        reload: Some(verb("reload")),
        spec: ExternalSpec {
            restart: [reset(), verb("restart")].into(),
            manager: ExternalManager::Systemd(unit),
            poll_interval,
        },
    }
}

fn of_supervisor(external: ExternalDraft, report: &mut Report<'_>) -> Option<Plan> {
    let process = external.supervisor?;
    if external.config.is_some() && external.server.is_some() {
        let help = Some("give one of them".to_owned());
        report.error(external.place, "\"config\" and \"server\" both say where Supervisor listens", help);
        return None;
    }
    let server = match (external.server, external.config) {
        (Some(url), _) => SupervisorServer::Url(url),
        (None, config) => SupervisorServer::Config(config.unwrap_or_else(|| Path::new(SUPERVISOR_CONFIG).into())),
    };
    let program = external.supervisorctl.as_deref().unwrap_or(SUPERVISORCTL);
    // Never without one of these: a supervisorctl of ours would take the order as one for this unit.
    let (option, place) = match &server {
        SupervisorServer::Url(url) => ("-s", url.to_string()),
        SupervisorServer::Config(path) => ("-c", path.display().to_string()),
    };
    let verb = |verb: &str| command(&[program, option, &place, verb, &process]);
    Some(Plan {
        start: [verb("start")].into(),
        stop: Some(verb("stop")),
        reload: None,
        spec: ExternalSpec {
            restart: [verb("restart")].into(),
            manager: ExternalManager::Supervisor { process, server },
            poll_interval: external.poll_interval,
        },
    })
}

fn of_commands(external: ExternalDraft, clean: Clean, report: &mut Report<'_>) -> Option<Plan> {
    let given =
        [("start", external.start.is_some()), ("stop", external.stop.is_some()), ("status", external.status.is_some())];
    let lacks = |key: &str| given.contains(&(key, false));
    let help = if lacks("status") {
        "status ends with 0 while the service is up, with 1 to 3 when it is down"
    } else {
        "without it a stop here leaves it running"
    };
    let (Some(start), Some(stop), Some(status)) = (external.start, external.stop, external.status) else {
        if clean == Clean::Yes {
            let missing: Vec<_> =
                given.iter().filter(|(_, is_there)| !is_there).map(|(key, _)| format!("{key:?}")).collect();
            let text = format!(
                "an external service of commands needs \"start\", \"stop\" and \"status\": it lacks {}",
                missing.join(" and ")
            );
            report.error(external.place, text, Some(help.to_owned()));
        }
        return None;
    };
    Some(Plan {
        start: [start].into(),
        stop: Some(stop),
        reload: external.reload,
        spec: ExternalSpec {
            manager: ExternalManager::Commands { status },
            poll_interval: external.poll_interval,
            restart: external.restart.into_iter().collect(),
        },
    })
}

/// A command whose words are meant as they stand.
fn command(words: &[&str]) -> Command {
    Command {
        program: words.first().copied().unwrap_or_default().into(),
        argv: words.iter().map(|word| (*word).into()).collect(),
        ignore_failure: false,
        literal: true,
        privilege: Privilege::Unit,
    }
}
