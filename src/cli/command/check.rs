use std::{ffi::OsStr, path::Path};

use super::supervisord;
use crate::{
    base::UnitName,
    cli::{
        client::CallError,
        context::{Context, Named},
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
        // Who names another machine's port does not mean the units here; who names a socket means the units of its daemon, and
        // only settings say which those are.
        Err(Failure::Call(error))
            if error.is_no_daemon()
                && matches!(context.client.target, Target::Unix(_))
                && (context.named != Named::Here || config.is_some()) =>
        {
            match supervisord::become_it(&arguments(context.json, &check, config))? {}
        }
        Err(Failure::Call(error)) if error.is_no_daemon() && context.named == Named::Here => {
            Err(Failure::CheckWhom(error))
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

/// `supervisord check [--config FILE] [--no-restart] [--json] [UNIT…]`
fn arguments<'a>(json: bool, check: &'a Check, config: Option<&'a Path>) -> Vec<&'a OsStr> {
    let mut words: Vec<&OsStr> = vec!["check".as_ref()];
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
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn supervisord_is_told_what_we_were_told() {
        let line = |json, restart, config: Option<&str>, units: &[&str]| {
            let check = Check { units: units.iter().map(ToString::to_string).collect(), restart };
            let words = arguments(json, &check, config.map(Path::new));
            words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(line(false, true, None, &[]), "check");
        assert_eq!(
            line(true, false, Some("/a.toml"), &["web", "redis"]),
            "check --config /a.toml --no-restart --json web redis"
        );
    }
}
