//! What units and probes run, and the files of variables that they run with: without these nothing can be started, and nothing
//! says of a service how it is.

use std::{
    env,
    path::{Path, PathBuf},
};

use super::{
    super::{
        alerting::program::can_run,
        launch::{LaunchError, PATH_DEFAULT, variables_of},
    },
    Case,
    report::Report,
};
use crate::{
    base::Chain,
    unit::spec::{ExecSpec, ProbeCheck},
};

const TOPIC: &str = "units";

pub(super) fn look(case: &Case, report: &mut Report) {
    let (mut started, mut probing, mut read) = (0, 0, 0);
    for (name, unit) in &case.host.units {
        let exec = &unit.service.exec;
        for command in &unit.service.exec_start {
            match found(&command.program, exec, exec.root_directory.as_deref()) {
                Ok(()) => started += 1,
                Err(why) => {
                    let place = format!("exec_start of {name}");
                    tell(report, exec, place, &why, "install it, or correct exec_start", command.ignore_failure);
                }
            }
        }
        for (path, _) in exec.environment_files.iter().filter(|(_, may_be_missing)| !may_be_missing) {
            match variables_of(path, false, &|_| ()) {
                Ok(_) => read += 1,
                Err(error) => tell_unread(report, format!("environment_file of {name}"), &error),
            }
        }
        for probe in &unit.health {
            let (ProbeCheck::Exec(command) | ProbeCheck::Plugin(command)) = &*probe.check else { continue };
            let root = exec.root_directory.as_deref().filter(|_| !exec.root_directory_start_only);
            match found(&command.program, exec, root) {
                Ok(()) => probing += 1,
                Err(why) => {
                    let place = format!("probe {} of {name}", probe.name);
                    let remedy = format!("install it, or correct the probe; supervisorctl check {name} asks it again");
                    tell(report, exec, place, &why, &remedy, false);
                }
            }
        }
    }
    let all = [("programs of units", started), ("programs of probes", probing), ("files of variables", read)];
    for (whose, count) in all {
        if count > 0 {
            report.ok(TOPIC, whose, format!("{count} are there"));
        }
    }
}

/// That no process of a unit can have its variables.
fn tell_unread(report: &mut Report, place: String, error: &LaunchError) {
    let why = format!("it cannot start: {}", Chain(error));
    if error.is_for_want_of_permission() {
        report.unknown(
            TOPIC,
            place,
            format!("we may not look at it: {}", Chain(error)),
            "run this as the daemon's user",
        );
    } else {
        report.fail(TOPIC, place, why, "put the file there, or write - before its path if the unit can do without");
    }
}

/// That a program cannot be run.
fn tell(report: &mut Report, exec: &ExecSpec, place: String, why: &str, remedy: &str, is_ignored: bool) {
    let sandbox = exec.sandbox.as_ref();
    // What is bound into its sandbox may be elsewhere here, and a PATH may stand in a file of variables.
    if !exec.environment_files.is_empty() && why.contains("is in none of") {
        report.unknown(TOPIC, place, format!("{why}, unless PATH in environment_files names another"), remedy);
    } else if sandbox.is_some_and(|sandbox| !sandbox.bind_paths.is_empty()) {
        report.unknown(TOPIC, place, format!("its program is not here, and may be in its sandbox: {why}"), remedy);
    } else if is_ignored {
        report.warn(TOPIC, place, format!("{why}; the unit goes on without it"), remedy);
    } else {
        report.fail(TOPIC, place, why, remedy);
    }
}

/// Looks where the process does that has `root` as its own.
fn found(program: &str, exec: &ExecSpec, root: Option<&Path>) -> Result<(), String> {
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
