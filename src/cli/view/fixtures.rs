//! A small site as the daemon would describe it: something up, something restarting, something failed, something idle.

use crate::wire::v1::{Probe, Timer, Unit, UnitLines, Units};

/// Sun 2026-03-01 12:00:00 UTC.
pub(crate) const NOW_US: i64 = 1_772_366_400_000_000;
const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;

/// All, in order of name.
pub(crate) fn units() -> Units {
    Units { units: ["backup", "migrate", "redis", "upload", "web", "worker"].map(unit).into() }
}

/// The same as lines: they are read from the same JSON.
pub(crate) fn lines() -> UnitLines<'static> {
    serde_json::from_str(serde_json::to_string(&units()).unwrap().leak()).unwrap()
}

/// One of them.
pub(crate) fn unit(name: &str) -> Unit {
    match name {
        "web" => web(),
        "redis" => Unit {
            name: "redis".into(),
            description: "Cache 大きい".into(),
            since_us: NOW_US - 40 * 86_400 * SECOND,
            health: "none".into(),
            probes: vec![],
            restart_held: None,
            in_maintenance: false,
            status_text: None,
            lowered: Vec::new(),
            n_file_descriptor_store: None,
            file_descriptor_store_max: 0,
            errno: None,
            exit_status: None,
            needs_restart: false,
            output: None,
            start_limit_burst: 0,
            restarts_total: 0,
            ..web()
        },
        "upload" => Unit {
            name: "upload".into(),
            description: "HMAC upload file server".into(),
            active: "failed".into(),
            sub: "failed".into(),
            since_us: NOW_US - 3 * MINUTE,
            up: false,
            starts_in_window: 5,
            restarts_in_row: 4,
            restarts_total: 14,
            result: "start-limit-hit".into(),
            last_exit: Some("exit code 78".into()),
            last_exit_result: Some("exit-code".into()),
            spawn_failure: None,
            waits_for: None,
            health: "unknown".into(),
            cause: "5 starts within 5min, the last run ended with exit code 78".into(),
            kind: "simple".into(),
            enabled: true,
            start_limit_interval_us: Some(300_000_000),
            ..idle()
        },
        "worker" => Unit {
            name: "worker".into(),
            description: "Queue worker".into(),
            active: "activating".into(),
            sub: "auto-restart".into(),
            since_us: NOW_US - 2 * SECOND,
            up: false,
            restarts_in_row: 1,
            restarts_total: 1,
            starts_in_window: 2,
            result: "oom-kill".into(),
            last_exit: Some("killed by SIGKILL".into()),
            last_exit_result: Some("oom-kill".into()),
            spawn_failure: None,
            waits_for: None,
            next_start_us: Some(NOW_US + 4 * SECOND),
            cause: "its main process was killed by SIGKILL (out of memory)".into(),
            kind: "exec".into(),
            enabled: true,
            ..idle()
        },
        "backup" => backup(),
        "migrate" => idle(),
        other => panic!("no such fixture: {other}"),
    }
}

fn web() -> Unit {
    Unit {
        name: "web".into(),
        description: "Front end".into(),
        active: "active".into(),
        sub: "running".into(),
        since_us: NOW_US - 182 * MINUTE,
        kind: "notify".into(),
        up: true,
        not_known: false,
        enabled: true,
        pid: Some(4217),
        generation: 7,
        invocation: Some("0123456789abcdef0123456789abcdef".into()),
        restarts_in_row: 0,
        restarts_total: 2,
        starts_in_window: 1,
        start_limit_burst: 5,
        start_limit_interval_us: Some(300_000_000),
        start_limit_of: None,
        result: "success".into(),
        last_exit: Some("killed by SIGTERM".into()),
        last_exit_result: Some("success".into()),
        spawn_failure: None,
        waits_for: None,
        next_start_us: None,
        health: "unhealthy".into(),
        probes: vec![
            Probe { name: "live".into(), verdict: "healthy".into(), failure: None, took_us: Some(3_400) },
            Probe {
                name: "upload".into(),
                verdict: "unhealthy".into(),
                failure: Some("status 500, expected 401 or 405".into()),
                took_us: Some(12_000),
            },
        ],
        restart_held: None,
        in_maintenance: false,
        status_text: Some("serving 12 clients".into()),
        lowered: vec!["nice".into(), "a hard limit".into()],
        n_file_descriptor_store: Some(2),
        file_descriptor_store_max: 10,
        errno: None,
        exit_status: None,
        memory_bytes: Some(12_900_000),
        cpu_us: Some(1_239_000),
        usage_of: "main-process".into(),
        memory_peak_bytes: None,
        tasks: None,
        io_read_bytes: None,
        io_write_bytes: None,
        resources_unmet: None,
        cause: "restarted by uid 0".into(),
        needs_restart: true,
        sandbox_unmet: None,
        accepted: None,
        output: None,
        timer: None,
    }
}

fn backup() -> Unit {
    Unit {
        name: "backup".into(),
        description: "Nightly backup".into(),
        since_us: NOW_US - 9 * 60 * MINUTE,
        up: true,
        enabled: true,
        generation: 31,
        starts_in_window: 1,
        last_exit: Some("exit code 0".into()),
        last_exit_result: Some("success".into()),
        spawn_failure: None,
        waits_for: None,
        cause: "the last run ended with success (exit code 0)".into(),
        timer: Some(Timer {
            starts: "backup".into(),
            next_us: Some(NOW_US + 14 * 60 * MINUTE),
            last_us: Some(NOW_US - 10 * 60 * MINUTE),
        }),
        ..idle()
    }
}

fn idle() -> Unit {
    Unit {
        name: "migrate".into(),
        description: "Database migration".into(),
        active: "inactive".into(),
        sub: "dead".into(),
        since_us: 0,
        kind: "oneshot".into(),
        up: false,
        not_known: false,
        enabled: false,
        pid: None,
        generation: 0,
        invocation: None,
        restarts_in_row: 0,
        restarts_total: 0,
        starts_in_window: 0,
        start_limit_burst: 5,
        start_limit_interval_us: Some(10_000_000),
        start_limit_of: None,
        result: "success".into(),
        last_exit: None,
        last_exit_result: None,
        spawn_failure: None,
        waits_for: None,
        next_start_us: None,
        health: "none".into(),
        probes: vec![],
        restart_held: None,
        in_maintenance: false,
        status_text: None,
        lowered: Vec::new(),
        n_file_descriptor_store: None,
        file_descriptor_store_max: 0,
        errno: None,
        exit_status: None,
        memory_bytes: None,
        cpu_us: None,
        usage_of: "main-process".into(),
        memory_peak_bytes: None,
        tasks: None,
        io_read_bytes: None,
        io_write_bytes: None,
        resources_unmet: None,
        cause: "never started".into(),
        needs_restart: false,
        sandbox_unmet: None,
        accepted: None,
        output: None,
        timer: None,
    }
}
