use std::{ffi::OsStr, path::Path};

use super::supervisord;
use crate::cli::{
    context::{Context, Named},
    exit::Exit,
    failure::Failure,
    target::Target,
};

/// `doctor`: by `supervisord doctor`, which this process becomes.
pub(super) fn run(context: &Context, config: Option<&Path>) -> Result<Exit, Failure> {
    let mut words: Vec<&OsStr> = vec!["doctor".as_ref()];
    match &context.client.target {
        Target::Tcp(_) => {
            return Err(Failure::Usage {
                text: "cannot look through a --url: doctor looks at this machine",
                remedy: "run it where that daemon runs, with --socket if it is not at the usual place",
            });
        }
        Target::Unix(socket) if context.named != Named::Nowhere => {
            words.extend::<[&OsStr; 2]>(["--socket".as_ref(), socket.as_os_str()]);
        }
        Target::Unix(_) => {}
    }
    if let Some(config) = config {
        words.extend::<[&OsStr; 2]>(["--config".as_ref(), config.as_os_str()]);
    }
    if context.json {
        words.push("--json".as_ref());
    }
    match supervisord::become_it(&words)? {}
}
