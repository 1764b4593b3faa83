use std::{ffi::OsStr, path::Path};

use super::supervisord;
use crate::cli::{context::Context, exit::Exit, failure::Failure};

/// `doctor`: by `supervisord doctor`, which this process becomes.
pub(super) fn run(context: &Context, config: Option<&Path>) -> Result<Exit, Failure> {
    let mut words: Vec<&OsStr> = vec!["doctor".as_ref()];
    if let Some(config) = config {
        words.extend::<[&OsStr; 2]>(["--config".as_ref(), config.as_os_str()]);
    }
    if context.json {
        words.push("--json".as_ref());
    }
    match supervisord::become_it(&words)? {}
}
