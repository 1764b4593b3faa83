use std::path::{Path, absolute};

use crate::{
    cli::{
        client::{Answer, CallError},
        context::Context,
        exit::Exit,
        failure::Failure,
        http::HttpError,
        interrupt::Interrupt,
        progress::Progress,
        view,
    },
    wire::v1::{Daemon, Problem, Upgrade},
};

/// How often it is asked who is there after the old manager is gone: askers wait at its socket, which the keeper holds, so
/// each time takes as long as there is no manager.
const ASKS_MAX: u32 = 10;

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
    let after = next_manager(context, &mut wait)?;
    drop(progress);
    if after.value.cause == "upgrade" && after.value.manager_pid != before.value.manager_pid {
        context.show(&after, |_, after| view::unit::upgraded(&before.value, after))?;
        return Ok(Exit::DONE);
    }
    let reason = after.value.upgrade_failure.unwrap_or_else(|| format!("its cause is now {:?}", after.value.cause));
    Err(Failure::Upgrade(reason))
}

fn next_manager(
    context: &Context,
    wait: &mut dyn FnMut(u32) -> Result<(), crate::cli::http::Stop>,
) -> Result<Answer<Daemon>, CallError> {
    let mut asks = 0;
    loop {
        asks += 1;
        match context.client.get_patiently("/v1/daemon", wait) {
            Err(error) if is_cut(&error) && asks < ASKS_MAX => {}
            answer => return answer,
        }
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
