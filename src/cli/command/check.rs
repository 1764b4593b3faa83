use std::{
    convert::Infallible,
    env,
    ffi::{CString, NulError, OsStr},
    io,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use crate::{
    base::UnitName,
    cli::{
        client::CallError,
        context::Context,
        exit::{CheckExit, Exit},
        failure::Failure,
        interrupt::Interrupt,
        progress::Progress,
        target::Target,
        view,
    },
    wire::v1::{Check, CheckAnswer},
};

/// `check`: by the daemon, or without one by `supervisord check`, which this process becomes.
pub(super) fn run(
    context: &Context,
    units: &[UnitName],
    no_restart: bool,
    config: Option<&Path>,
) -> Result<Exit, Failure> {
    let check = Check { units: units.iter().map(ToString::to_string).collect(), restart: !no_restart };
    match ask(context, &check) {
        // Who names another machine's port does not mean the units here.
        Err(Failure::Call(error)) if error.is_no_daemon() && matches!(context.client.target, Target::Unix(_)) => {
            match become_supervisord(context, &check, config)? {}
        }
        answer => {
            let answer = answer?;
            context.show(&answer, view::check::lines)?;
            Ok(Exit::Check(CheckExit::of(&answer.value)))
        }
    }
}

fn ask(context: &Context, check: &Check) -> Result<crate::cli::client::Answer<CheckAnswer>, Failure> {
    let interrupt = Interrupt::watch().map_err(Failure::Signals)?;
    let mut progress = Progress::new();
    let answer: Result<_, CallError> = context.client.post("/v1/check", check, &mut |ticks| {
        interrupt.check()?;
        progress.show(ticks, "check: probes run, and what is unhealthy is seen to");
        Ok(())
    });
    Ok(answer?)
}

/// Replaces this process by the supervisord beside it. It is never looked for in PATH: another supervisor may bear
/// that name there.
fn become_supervisord(context: &Context, check: &Check, config: Option<&Path>) -> Result<Infallible, Failure> {
    let own = env::current_exe().map_err(|source| Failure::Exec { path: "supervisord".into(), source })?;
    let path = own.with_file_name("supervisord");
    let failed = |source: io::Error| Failure::Exec { path: path.clone(), source };
    let arguments = arguments(context.json, check, config).map_err(|error| failed(error.into()))?;
    let program = CString::new(path.as_os_str().as_bytes()).map_err(|error| failed(error.into()))?;
    nix::unistd::execv(&program, &arguments).map_err(|errno| failed(errno.into()))
}

/// `supervisord check [--config FILE] [--no-restart] [--json] [UNIT…]`
fn arguments(json: bool, check: &Check, config: Option<&Path>) -> Result<Vec<CString>, NulError> {
    let mut words: Vec<&OsStr> = vec!["supervisord".as_ref(), "check".as_ref()];
    if let Some(config) = config {
        words.extend::<[&OsStr; 2]>(["--config".as_ref(), config.as_os_str()]);
    }
    if !check.restart {
        words.push("--no-restart".as_ref());
    }
    if json {
        words.push("--json".as_ref());
    }
    words.extend(check.units.iter().map(OsStr::new));
    words.into_iter().map(|word| CString::new(word.as_bytes())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supervisord_is_told_what_we_were_told() {
        let line = |json, restart, config: Option<&str>, units: &[&str]| {
            let check = Check { units: units.iter().map(ToString::to_string).collect(), restart };
            let words = arguments(json, &check, config.map(Path::new)).unwrap();
            words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line(false, true, None, &[]), "supervisord check");
        assert_eq!(
            line(true, false, Some("/a.toml"), &["web", "redis"]),
            "supervisord check --config /a.toml --no-restart --json web redis"
        );
    }
}
