//! Orders for processes: which command, with which variables, and what is known of the tree around it.

use super::{
    Effect, Node,
    effect::SpawnOrder,
    graph::Place,
    service::{Control, Directive, Main, Monitor, Phase, Run},
};
use crate::{
    base::{ExitStatus, Now, ProcessKey, Role},
    unit::{
        connection,
        spec::{Command, ServiceKind},
    },
};

impl Node {
    /// Orders the directive's command number `step` and enters `phase`; false when there is no such command.
    pub(super) fn run_command(
        &mut self,
        now: Now,
        place: Place,
        directive: Directive,
        step: u16,
        phase: Phase,
    ) -> bool {
        let Some(run) = self.run_mut(place) else { return false };
        let Some(command) = directive.command(&run.def, step).cloned() else { return false };
        run.controls += 1;
        let control = Control { number: run.controls, directive, step, pid: None };
        run.control = Some(control);
        run.expect_process();
        let order = control_order(run, control, command);
        let timeout = directive.timeout(&run.def);
        self.enter(now, place, phase, timeout);
        self.order(place, Effect::Spawn(Box::new(order)));
        true
    }

    /// Orders the main process and enters *Start*.
    pub(super) fn run_main(&mut self, now: Now, place: Place, command: Command) {
        let Some(run) = self.run_mut(place) else { return };
        run.main = Main::Ordered;
        run.expect_process();
        let order = main_order(run, command);
        let timeout = run.def.service.timeouts.start;
        self.enter(now, place, Phase::Start, timeout);
        self.order(place, Effect::Spawn(Box::new(order)));
    }

    /// Orders once more what was ordered by a manager that died before the keeper heard of it. The keys are the same, so
    /// a keeper that did hear starts nothing twice.
    pub(super) fn order_again(&mut self, place: Place, main: bool, control: bool) {
        let Some(run) = self.run(place) else { return };
        let mut orders = Vec::new();
        let command = run.def.service.exec_start.last().cloned();
        if let (true, Some(command)) = (main, command) {
            orders.push(main_order(run, command));
        }
        if let (true, Some(control)) = (control, run.control)
            && let Some(command) = control.directive.command(&run.def, control.step).cloned()
        {
            orders.push(control_order(run, control, command));
        }
        for order in orders {
            self.order(place, Effect::Spawn(Box::new(order)));
        }
    }
}

impl Run {
    /// A process is about to exist.
    const fn expect_process(&mut self) {
        self.empty_before = self.empty;
        self.empty = false;
    }
}

fn main_order(run: &Run, command: Command) -> SpawnOrder {
    SpawnOrder {
        key: run.main_key(),
        invocation: run.invocation,
        def: run.def.clone(),
        directive: Directive::Start.as_str(),
        is_start: true,
        command,
        environment: run.environment(),
        confirm_exec: run.def.service.kind == ServiceKind::Exec,
        is_first: run.controls == 0,
    }
}

fn control_order(run: &Run, control: Control, command: Command) -> SpawnOrder {
    let mut environment = run.environment();
    if let Some(pid) = run.main.pid() {
        environment.push(("MAINPID".to_owned(), pid.to_string()));
    }
    match control.directive {
        Directive::Stop | Directive::StopPost => {
            environment.push(("SERVICE_RESULT".to_owned(), run.result.to_string()));
            environment.extend(exit_environment("EXIT_CODE", "EXIT_STATUS", run.main.status()));
        }
        Directive::Condition
        | Directive::StartPre
        | Directive::Start
        | Directive::StartPost
        | Directive::Reload
        | Directive::Restart => {}
    }
    SpawnOrder {
        key: ProcessKey { run: run.id(), role: Role::Control(control.number) },
        invocation: run.invocation,
        def: run.def.clone(),
        directive: control.directive.as_str(),
        is_start: control.directive == Directive::Start,
        command,
        environment,
        confirm_exec: false,
        is_first: control.number == 1 && run.main == Main::None,
    }
}

impl Run {
    /// What every process of the run is told besides its unit's variables.
    fn environment(&self) -> Vec<(String, String)> {
        let mut environment = monitor_environment(self.monitor.as_deref());
        let remote = connection::remote(&self.def.name).filter(|_| self.def.sockets.is_connection());
        if let Some(remote) = remote {
            environment.push(("REMOTE_ADDR".to_owned(), remote.ip().to_string()));
            environment.push(("REMOTE_PORT".to_owned(), remote.port().to_string()));
        }
        environment
    }
}

fn monitor_environment(monitor: Option<&Monitor>) -> Vec<(String, String)> {
    let Some(monitor) = monitor else { return Vec::new() };
    let mut environment = vec![
        ("MONITOR_SERVICE_RESULT".to_owned(), monitor.result.to_string()),
        ("MONITOR_INVOCATION_ID".to_owned(), monitor.invocation.to_string()),
        // systemd's form of the name: every unit here is a service.
        ("MONITOR_UNIT".to_owned(), format!("{}.service", monitor.unit)),
    ];
    environment.extend(exit_environment("MONITOR_EXIT_CODE", "MONITOR_EXIT_STATUS", monitor.status));
    environment
}

/// `exited` with the code, `killed` or `dumped` with the signal's name without SIG; nothing when it is not known.
fn exit_environment(code: &str, value: &str, status: Option<ExitStatus>) -> Vec<(String, String)> {
    let (how, what) = match status {
        Some(ExitStatus::Exited(number)) => ("exited", number.to_string()),
        Some(ExitStatus::Signaled { signal, core }) => {
            let name = signal.to_string();
            (if core { "dumped" } else { "killed" }, name.strip_prefix("SIG").unwrap_or(&name).to_owned())
        }
        Some(ExitStatus::Unknown) | None => return Vec::new(),
    };
    vec![(code.to_owned(), how.to_owned()), (value.to_owned(), what)]
}
