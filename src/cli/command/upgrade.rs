use std::{
    io::{self, Write as _},
    path::{Path, absolute},
};

use crate::{
    cli::{
        client::{Answer, CallError},
        context::Context,
        exit::Exit,
        failure::Failure,
        http::{HttpError, TICK, Wait},
        interrupt::Interrupt,
        progress::Progress,
        view,
    },
    wire::v1::{Alerts, Daemon, Problem, Upgrade},
};

/// How often it is asked who is there, a [`TICK`] apart: for 10 seconds, or longer while there is no manager, as askers then
/// wait at its socket, which the keeper holds.
const ASKS_MAX: u32 = 100;

/// `upgrade`: the daemon answers only if it refuses; otherwise who answers next says how it went.
pub(super) fn run(context: &Context, to: Option<&Path>) -> Result<Exit, Failure> {
    let to = to.map(|path| absolute(path).map(|path| path.display().to_string())).transpose().map_err(Failure::Path)?;
    let before: Answer<Daemon> = context.client.get("/v1/daemon")?;
    let interrupt = Interrupt::watch().map_err(Failure::Signals)?;
    let mut progress = Progress::new();
    let mut wait = |ticks| {
        interrupt.check()?;
        progress.show(ticks, "upgrade: the new program is asked whether it can take over, and does");
        Ok(())
    };
    match context.client.post::<serde_json::Value>("/admin/upgrade", &Upgrade { to }, &mut wait) {
        Err(error) if is_cut(&error) => {}
        Err(CallError::Problem(problem)) if problem.status == 409 => return Err(Failure::Upgrade(problem.detail)),
        Err(error) => return Err(error.into()),
        Ok(_) => return Err(Failure::Upgrade("the daemon did not say what became of it".to_owned())),
    }
    let after = next_manager(context, &before.value, &interrupt, &mut wait)?;
    drop(progress);
    if after.value.cause == "upgrade" && after.value.manager_pid != before.value.manager_pid {
        context.show(&after, |_, after| view::unit::upgraded(&before.value, after))?;
        return Ok(warn_of_files(context));
    }
    let reason = after.value.upgrade_failure.unwrap_or_else(|| {
        format!(
            "the manager that answers was started by {:?}, and not by the upgrade; the log says why",
            after.value.cause
        )
    });
    Err(Failure::Upgrade(reason))
}

/// A program that finds files which it cannot use goes on with what was in force: so does whoever upgraded, and knows it.
fn warn_of_files(context: &Context) -> Exit {
    // It took over; whatever cannot be asked now changes nothing of that.
    let open: Result<Answer<Alerts>, _> = context.client.get("/v1/alerts");
    let open = open.map(|answer| answer.value.incidents).unwrap_or_default();
    if let Some(rejected) = open.iter().find(|incident| incident.event == "config_rejected") {
        let text = format!("warning: it goes on with the units and settings of before: {}\n", rejected.message);
        // Nobody may read it.
        io::stderr().write_all(text.as_bytes()).ok();
    }
    Exit::DONE
}

/// Who answers after `before`, which may do so itself while it goes.
fn next_manager(
    context: &Context,
    before: &Daemon,
    interrupt: &Interrupt,
    wait: Wait<'_>,
) -> Result<Answer<Daemon>, Failure> {
    let mut asks = 0;
    loop {
        asks += 1;
        match context.client.get_patiently::<Daemon>("/v1/daemon", wait) {
            Err(error) if is_cut(&error) && asks < ASKS_MAX => {}
            Ok(answer) if answer.value.manager_pid == before.manager_pid && asks < ASKS_MAX => {}
            answer => return Ok(answer?),
        }
        interrupt.pause(TICK)?;
    }
}

/// Whether the manager that was asked is gone, or is just going.
const fn is_cut(error: &CallError) -> bool {
    matches!(
        error,
        CallError::Http(HttpError::Cut(_) | HttpError::Receive { .. } | HttpError::Send { .. })
            | CallError::Problem(Problem { status: 503, .. })
    )
}
