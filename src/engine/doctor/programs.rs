//! What probes run: a program that is not there says of no service how it is.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::{
    super::{alerting::program::can_run, launch::PATH_DEFAULT},
    Case,
    report::Report,
};
use crate::unit::spec::{ExecSpec, ProbeCheck};

const TOPIC: &str = "units";

pub(super) fn look(case: &Case, report: &mut Report) {
    let mut well = 0;
    for (name, unit) in &case.host.units {
        for probe in &unit.health {
            let (ProbeCheck::Exec(command) | ProbeCheck::Plugin(command)) = &*probe.check else { continue };
            let exec = &unit.service.exec;
            let Err(why) = found(&command.program, exec) else {
                well += 1;
                continue;
            };
            let place = format!("probe {} of {name}", probe.name);
            // What is bound into its sandbox may be elsewhere here.
            if exec.sandbox.as_ref().is_some_and(|sandbox| !sandbox.bind_paths.is_empty()) {
                let message = format!("its program is not here, and may be in its sandbox: {why}");
                report.unknown(TOPIC, place, message, format!("supervisorctl check {name} asks it"));
            } else {
                let remedy = format!("install it, or correct the probe; supervisorctl check {name} asks again");
                report.fail(TOPIC, place, why, remedy);
            }
        }
    }
    if well > 0 {
        report.ok(TOPIC, "programs of probes", format!("{well} are there"));
    }
}

/// Looks where the probe's process does.
fn found(program: &str, exec: &ExecSpec) -> Result<(), String> {
    let root = exec.root_directory.as_deref().filter(|_| !exec.root_directory_start_only);
    let below = |path: &Path| match root {
        Some(root) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => path.to_owned(),
    };
    if program.starts_with('/') {
        return can_run(&below(Path::new(program)));
    }
    let own = env::current_exe().ok().and_then(|own| Some(own.parent()?.to_owned())).filter(|_| root.is_none());
    let variable = (&exec.environment).into_iter().find(|(name, _)| **name == *"PATH").map(|(_, value)| &**value);
    let searched: Vec<PathBuf> = if exec.search_path.is_empty() {
        variable.unwrap_or(PATH_DEFAULT).split(':').map(PathBuf::from).collect()
    } else {
        exec.search_path.iter().map(|folder| folder.to_path_buf()).collect()
    };
    let folders: Vec<PathBuf> = own.into_iter().chain(searched).filter(|folder| folder.is_absolute()).collect();
    if folders.iter().any(|folder| can_run(&below(&folder.join(program))).is_ok()) {
        return Ok(());
    }
    let all: Vec<_> = folders.iter().map(|folder| folder.to_string_lossy()).collect();
    Err(format!("cannot run {program:?}: it is in none of {} (give its path)", all.join(":")))
}
