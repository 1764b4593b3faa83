//! What a unit's definition says, directive by directive, as `supervisorctl show` prints it.

use crate::{
    base::{TimeSpan, UnitName},
    unit::{
        UnitDef,
        spec::{
            Amount, At, Command, CpuWeight, DeviceAllow, DeviceName, DevicePolicy, DirectoryKind, EmergencyAction,
            ExitSet, ExternalManager, ExternalSpec, KillMode, NotifyAccess, OomPolicy, Preserve, Restart,
            SupervisorServer, TasksMax, TimerSpec, WorkingDirectory,
        },
    },
};

/// Names and values, in the order of the manual.
pub(super) fn of(def: &UnitDef) -> Vec<(String, String)> {
    let mut all = Vec::new();
    unit(def, &mut all);
    service(def, &mut all);
    if let Some(spec) = &def.external {
        external(spec, &mut all);
    }
    exec(def, &mut all);
    if let Some(sandbox) = &def.service.exec.sandbox {
        all.extend(super::sandbox::of(sandbox));
    }
    resources(def, &mut all);
    if let Some(spec) = &def.timer {
        timer(spec, &mut all);
    }
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

type List = Vec<(&'static str, String)>;

fn unit(def: &UnitDef, all: &mut List) {
    let sources: Vec<_> = def.sources.iter().map(|path| path.display().to_string()).collect();
    let relations = &def.relations;
    all.push(("sources", sources.join(" ")));
    for (name, list) in [
        ("requires", &relations.requires),
        ("wants", &relations.wants),
        ("binds_to", &relations.binds_to),
        ("part_of", &relations.part_of),
        ("conflicts", &relations.conflicts),
        ("after", &relations.after),
        ("after_healthy", &relations.after_healthy),
        ("before", &relations.before),
        ("on_failure", &relations.on_failure),
        ("on_success", &relations.on_success),
    ] {
        all.push((name, names(list)));
    }
    all.push(("start_limit_interval_sec", span(def.start_limit.interval)));
    all.push(("start_limit_burst", def.start_limit.burst.to_string()));
    all.push(("start_limit_action", def.start_limit.action.as_str().to_owned()));
    let status = |status: Option<u8>| status.map_or_else(String::new, |status| status.to_string());
    for (name, action) in [("success_action", def.actions.success), ("failure_action", def.actions.failure)] {
        all.push((name, action.unwrap_or(EmergencyAction::None).as_str().to_owned()));
    }
    all.push(("success_action_exit_status", status(def.actions.success_status)));
    all.push(("failure_action_exit_status", status(def.actions.failure_status)));
}

fn external(spec: &ExternalSpec, all: &mut List) {
    match &spec.manager {
        ExternalManager::Systemd(unit) => all.push(("external_systemd", unit.to_string())),
        ExternalManager::Supervisor { process, server } => {
            all.push(("external_supervisor", process.to_string()));
            all.push(match server {
                SupervisorServer::Config(path) => ("external_config", path.display().to_string()),
                SupervisorServer::Url(url) => ("external_server", url.to_string()),
            });
        }
        ExternalManager::Commands { status } => all.push(("external_status", commands(std::slice::from_ref(status)))),
    }
    all.push(("external_restart", commands(&spec.restart)));
    all.push(("external_poll_interval", span(spec.poll_interval)));
}

fn service(def: &UnitDef, all: &mut List) {
    let service = &def.service;
    for (name, list) in [
        ("exec_start_pre", &service.exec_start_pre),
        ("exec_start", &service.exec_start),
        ("exec_start_post", &service.exec_start_post),
        ("exec_reload", &service.exec_reload),
        ("exec_stop", &service.exec_stop),
        ("exec_stop_post", &service.exec_stop_post),
    ] {
        all.push((name, commands(list)));
    }
    all.push(("remain_after_exit", service.remain_after_exit.to_string()));
    let restart = &service.restart;
    let when = match restart.when {
        Restart::No => "no",
        Restart::Always => "always",
        Restart::OnSuccess => "on-success",
        Restart::OnFailure => "on-failure",
        Restart::OnAbnormal => "on-abnormal",
        Restart::OnAbort => "on-abort",
        Restart::OnWatchdog => "on-watchdog",
    };
    all.push(("restart", when.to_owned()));
    all.push(("restart_sec", span(restart.delay)));
    all.push(("restart_steps", restart.steps.to_string()));
    all.push(("restart_max_delay_sec", span(restart.delay_max)));
    all.push(("restart_jitter", restart.jitter.to_string()));
    all.push(("restart_reset_after_sec", restart.reset_after.map_or_else(|| "infinity".to_owned(), span)));
    all.push(("restart_prevent_exit_status", exits(&restart.prevent)));
    all.push(("restart_force_exit_status", exits(&restart.force)));
    all.push(("success_exit_status", exits(&restart.success)));
    all.push(("timeout_start_sec", span(service.timeouts.start)));
    all.push(("timeout_stop_sec", span(service.timeouts.stop)));
    all.push(("timeout_abort_sec", span(service.timeouts.abort)));
    all.push(("runtime_max_sec", span(service.timeouts.runtime_max)));
    let mode = match service.kill.mode {
        KillMode::ControlGroup => "control-group",
        KillMode::Mixed => "mixed",
        KillMode::Process => "process",
        KillMode::None => "none",
    };
    all.push(("kill_mode", mode.to_owned()));
    all.push(("kill_signal", service.kill.signal.to_string()));
    all.push(("send_sighup", service.kill.send_sighup.to_string()));
    all.push(("send_sigkill", service.kill.send_sigkill.to_string()));
    all.push(("final_kill_signal", service.kill.final_signal.to_string()));
    all.push(("watchdog_signal", service.kill.watchdog_signal.to_string()));
    all.push(("watchdog_sec", service.watchdog.map_or_else(|| "0".to_owned(), span)));
    let access = match service.notify_access {
        NotifyAccess::None => "none",
        NotifyAccess::Main => "main",
        NotifyAccess::Exec => "exec",
        NotifyAccess::All => "all",
    };
    all.push(("notify_access", access.to_owned()));
    all.push(("file_descriptor_store_max", service.file_descriptor_store_max.to_string()));
    let preserve = match service.file_descriptor_store_preserve {
        Preserve::No => "no",
        Preserve::Restart => "restart",
        Preserve::Yes => "yes",
    };
    all.push(("file_descriptor_store_preserve", preserve.to_owned()));
}

/// The kinds of sockets and the keys that name them.
const LISTEN: [(&str, &str); 4] = [
    ("stream", "listen_stream"),
    ("datagram", "listen_datagram"),
    ("sequential_packet", "listen_sequential_packet"),
    ("fifo", "listen_fifo"),
];

/// Variables may hold secrets, so only their names are shown.
fn exec(def: &UnitDef, all: &mut List) {
    let exec = &def.service.exec;
    let or_default = |text: Option<String>| text.unwrap_or_default();
    all.push(("user", or_default(exec.user.as_ref().map(ToString::to_string))));
    all.push(("group", or_default(exec.group.as_ref().map(ToString::to_string))));
    let root = exec.root_directory.as_ref().map(|dir| dir.display().to_string());
    all.push(("root_directory", or_default(root)));
    all.push(("working_directory", working_directory(&exec.working_directory)));
    let variables: Vec<_> = exec.environment.iter().map(|(name, _)| name.to_string()).collect();
    all.push(("environment", variables.join(" ")));
    let files: Vec<_> = exec.environment_files.iter().map(|(path, _)| path.display().to_string()).collect();
    all.push(("environment_file", files.join(" ")));
    all.push(("umask", exec.umask.map_or_else(|| "0022".to_owned(), |mask| format!("{mask:04o}"))));
    all.push(("nice", or_default(exec.nice.map(|nice| nice.to_string()))));
    all.push(("oom_score_adjust", or_default(exec.oom_score_adjust.map(|score| score.to_string()))));
    all.push(("no_new_privileges", exec.no_new_privileges.to_string()));
    let bounding = exec.capability_bounding_set.map(|set| set.to_string());
    all.push(("capability_bounding_set", or_default(bounding)));
    all.push(("ambient_capabilities", exec.ambient_capabilities.to_string()));
    for kind in DirectoryKind::ALL {
        let names = exec.directories.of(kind).names.iter().map(|name| &*name.path);
        all.push((kind.as_str(), names.collect::<Vec<_>>().join(" ")));
    }
    let credentials: Vec<_> = exec.credentials.iter().map(|credential| &*credential.id).collect();
    all.push(("credentials", credentials.join(" ")));
    for (kind, key) in LISTEN {
        let of_kind = def.sockets.list.iter().filter(|socket| socket.listen.kind() == kind);
        let places: Vec<_> = of_kind.map(|socket| socket.listen.to_string()).collect();
        // The usual kind is shown even where there is none.
        if !places.is_empty() || kind == "stream" {
            all.push((key, places.join(" ")));
        }
    }
    if !def.sockets.list.is_empty() {
        all.push(("lazy", def.sockets.lazy.to_string()));
    }
    let probes: Vec<_> = def.health.iter().map(|probe| probe.name.to_string()).collect();
    all.push(("health", probes.join(" ")));
}

fn working_directory(directory: &WorkingDirectory) -> String {
    let place = match &directory.at {
        At::Root => String::new(),
        At::Home => "~".to_owned(),
        At::Path(path) => path.display().to_string(),
    };
    if directory.may_miss { format!("-{place}") } else { place }
}

/// Those that are set; most units have none.
fn resources(def: &UnitDef, all: &mut List) {
    let resources = &def.service.resources;
    for (name, amount) in [
        ("memory_min", resources.memory_min),
        ("memory_low", resources.memory_low),
        ("memory_high", resources.memory_high),
        ("memory_max", resources.memory_max),
        ("memory_swap_max", resources.memory_swap_max),
    ] {
        all.extend(amount.map(|amount| {
            let text = match amount {
                Amount::Infinity => "infinity".to_owned(),
                Amount::Bytes(bytes) => bytes.to_string(),
                Amount::Share(share) => percent(share),
            };
            (name, text)
        }));
    }
    let tasks = resources.tasks_max.map(|max| match max {
        TasksMax::Infinity => "infinity".to_owned(),
        TasksMax::Count(count) => count.to_string(),
        TasksMax::Share(share) => percent(share),
    });
    let weight = resources.cpu_weight.map(|weight| match weight {
        CpuWeight::Idle => "idle".to_owned(),
        CpuWeight::Weight(weight) => weight.to_string(),
    });
    let policy = match resources.oom_policy() {
        OomPolicy::Continue => "continue",
        OomPolicy::Stop => "stop",
        OomPolicy::Kill => "kill",
    };
    let some = [
        ("tasks_max", tasks),
        ("cpu_weight", weight),
        ("cpu_quota", resources.cpu_quota.map(percent)),
        ("cpu_quota_period_sec", resources.cpu_quota_period.map(span)),
        ("allowed_cpus", resources.allowed_cpus.as_deref().map(str::to_owned)),
        ("allowed_memory_nodes", resources.allowed_memory_nodes.as_deref().map(str::to_owned)),
        ("io_weight", resources.io_weight.map(|weight| weight.to_string())),
        ("delegate", resources.delegate.then(|| "true".to_owned())),
        ("oom_policy", Some(policy.to_owned())),
    ];
    all.extend(some.into_iter().filter_map(|(name, value)| Some((name, value?))));
    for (name, list) in [
        ("io_device_weight", &resources.io_device_weight),
        ("io_read_bandwidth_max", &resources.io_read_bandwidth_max),
        ("io_write_bandwidth_max", &resources.io_write_bandwidth_max),
        ("io_read_iops_max", &resources.io_read_iops_max),
        ("io_write_iops_max", &resources.io_write_iops_max),
    ] {
        let shown = list.iter().map(|limit| {
            let value = limit.value.map_or_else(|| "infinity".to_owned(), |value| value.to_string());
            (name, format!("{} {value}", limit.path.display()))
        });
        all.extend(shown);
    }
    if resources.restricts_devices() {
        let policy = match resources.device_policy {
            DevicePolicy::Auto => "auto",
            DevicePolicy::Closed => "closed",
            DevicePolicy::Strict => "strict",
        };
        all.push(("device_policy", policy.to_owned()));
        all.extend(resources.device_allow.iter().map(|allow| ("device_allow", device(allow))));
    }
}

fn device(allow: &DeviceAllow) -> String {
    let DeviceAllow { device, read, write, make } = allow;
    let name = match device {
        DeviceName::Path(path) => path.display().to_string(),
        DeviceName::Char(group) => format!("char-{group}"),
        DeviceName::Block(group) => format!("block-{group}"),
    };
    let access = [(*read, 'r'), (*write, 'w'), (*make, 'm')];
    let access: String = access.into_iter().filter(|(may, _)| *may).map(|(_, letter)| letter).collect();
    format!("{name} {access}")
}

/// Of hundredths of a percent.
fn percent(share: u32) -> String {
    match share % 100 {
        0 => format!("{}%", share / 100),
        rest => format!("{}.{rest:02}%", share / 100),
    }
}

fn timer(timer: &TimerSpec, all: &mut List) {
    let spans = |list: &[TimeSpan]| list.iter().map(TimeSpan::to_string).collect::<Vec<_>>().join("; ");
    let calendar: Vec<_> = timer.on_calendar.iter().map(ToString::to_string).collect();
    let cron: Vec<_> = timer.cron.iter().map(ToString::to_string).collect();
    all.push(("on_calendar", calendar.join("; ")));
    all.push(("cron", cron.join("; ")));
    all.push(("on_active_sec", spans(&timer.on_active)));
    all.push(("on_boot_sec", spans(&timer.on_boot)));
    all.push(("on_startup_sec", spans(&timer.on_startup)));
    all.push(("on_unit_active_sec", spans(&timer.on_unit_active)));
    all.push(("on_unit_inactive_sec", spans(&timer.on_unit_inactive)));
    all.push(("randomized_delay_sec", span(timer.randomized_delay)));
    all.push(("fixed_random_delay", timer.fixed_random_delay.to_string()));
    all.push(("accuracy_sec", span(timer.accuracy)));
    all.push(("persistent", timer.persistent.to_string()));
    all.push(("remain_after_elapse", timer.remain_after_elapse.to_string()));
    all.push(("on_clock_change", timer.on_clock_change.to_string()));
    all.push(("on_timezone_change", timer.on_timezone_change.to_string()));
    all.push(("unit", timer.unit.as_ref().map(ToString::to_string).unwrap_or_default()));
}

fn span(span: TimeSpan) -> String {
    span.to_string()
}

fn names(list: &[UnitName]) -> String {
    list.iter().map(UnitName::as_str).collect::<Vec<_>>().join(" ")
}

fn commands(list: &[Command]) -> String {
    let lines = list.iter().map(|command| {
        command
            .argv
            .iter()
            .map(|word| if word.contains(' ') { format!("{word:?}") } else { word.to_string() })
            .collect::<Vec<_>>()
            .join(" ")
    });
    lines.collect::<Vec<_>>().join(" ; ")
}

fn exits(set: &ExitSet) -> String {
    let codes = set.codes.iter().map(ToString::to_string);
    codes.chain(set.signals.iter().map(ToString::to_string)).collect::<Vec<_>>().join(" ")
}
