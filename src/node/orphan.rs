//! The definition of a unit whose file was removed while no manager ran: enough to stop what is left of it.

use crate::{
    base::{Signal, TimeSpan, UnitName},
    unit::{
        UnitDef,
        spec::{
            Command, ExecSpec, ExitSet, KillMode, KillSpec, NotifyAccess, Relations, Restart, RestartPolicy,
            ServiceKind, ServiceSpec, StartLimit, Timeouts,
        },
    },
};

/// systemd's default for what a unit does not say (DefaultTimeoutStopSec=).
const TIMEOUT: TimeSpan = TimeSpan::from_secs(90);

pub(super) fn def(name: &UnitName) -> UnitDef {
    UnitDef {
        name: name.clone(),
        sources: Vec::new(),
        description: "its file is gone".to_owned(),
        relations: Relations::default(),
        start_limit: StartLimit::default(),
        enabled: false,
        service: service(),
        sockets: Vec::new(),
        health: Vec::new(),
    }
}

fn service() -> ServiceSpec {
    ServiceSpec {
        kind: ServiceKind::Simple,
        exec_start: vec![Command {
            program: "/bin/false".to_owned(),
            argv: vec!["false".to_owned()],
            ignore_failure: false,
            literal: true,
            privileged: false,
        }],
        exec_start_pre: Vec::new(),
        exec_start_post: Vec::new(),
        exec_reload: Vec::new(),
        exec_stop: Vec::new(),
        exec_stop_post: Vec::new(),
        remain_after_exit: false,
        restart: RestartPolicy {
            when: Restart::No,
            delay: TimeSpan::ZERO,
            steps: 0,
            delay_max: TimeSpan::INFINITY,
            jitter: 0.0,
            reset_after: None,
            prevent: ExitSet::default(),
            force: ExitSet::default(),
            success: ExitSet::default(),
        },
        timeouts: Timeouts { start: TIMEOUT, stop: TIMEOUT, abort: TIMEOUT, runtime_max: TimeSpan::INFINITY },
        kill: KillSpec {
            mode: KillMode::ControlGroup,
            signal: Signal::TERM,
            send_sighup: false,
            send_sigkill: true,
            final_signal: Signal::KILL,
            watchdog_signal: Signal::ABRT,
        },
        watchdog: None,
        notify_access: NotifyAccess::None,
        file_descriptor_store_max: 0,
        exec: ExecSpec::default(),
    }
}
