//! `kind = "command"` of a route: what is run, resolved to a path and to numbers at load.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path};

use crate::{
    alert::{Program, VARIABLE_PREFIX},
    base::{Chain, Identity, Secret, TimeSpan},
    edge::users,
    unit::env_file::is_variable_name,
};

use super::{
    super::{
        launch::PATH_DEFAULT,
        settings::{Fault, at},
    },
    check::Check,
};

/// How long a command may take unless its route says otherwise: as long as any other receiver.
const TIMEOUT: TimeSpan = TimeSpan::from_secs(10);
/// No longer: the messages behind it wait.
const TIMEOUT_MAX: TimeSpan = TimeSpan::from_secs(600);

const NO_COMMAND: &str = "needs a command: command = [\"/usr/local/bin/page\", \"--urgent\"]";

/// The keys of a command.
pub(super) struct ProgramKeys {
    pub(super) command: Option<Vec<String>>,
    pub(super) user: Option<String>,
    pub(super) timeout: Option<TimeSpan>,
    pub(super) environment: Option<BTreeMap<String, String>>,
}

/// Everything that can be known of a command before it is run. What only the host knows may have changed since the settings were
/// read first, so that is no error here.
pub(super) fn program(keys: ProgramKeys, check: &mut Check<'_>) -> Option<Program> {
    let argv = keys.command.or_else(|| check.lacks(NO_COMMAND));
    let program = argv.as_ref().and_then(|argv| argv.first()).filter(|program| !program.is_empty());
    if argv.is_some() && program.is_none() {
        check.fault("command", NO_COMMAND);
    }
    let environment = keys.environment.unwrap_or_default();
    for name in environment.keys() {
        if !is_variable_name(name) {
            let message =
                format!("environment: {name:?} is no name of a variable (letters, digits and _, no digit first)");
            check.fault("environment", message);
        } else if name.starts_with(VARIABLE_PREFIX) {
            let message = format!("environment: {name} is ours to set, as all that begin with {VARIABLE_PREFIX}");
            check.fault("environment", message);
        }
    }
    let timeout = keys.timeout.unwrap_or(TIMEOUT);
    if timeout.is_zero() || timeout > TIMEOUT_MAX {
        check.fault("timeout", format!("its timeout is 0 or longer than {TIMEOUT_MAX}"));
    }
    let (argv, program) = (argv.clone()?, program?);
    let found = found(program, environment.get("PATH").map_or(PATH_DEFAULT, String::as_str));
    let user = keys.user.as_deref().map(identity).transpose().map(Option::flatten);
    if let Err(why) = &found {
        check.host_lacks(Fault::from(why.clone()).nth(0).within("command"));
    }
    if let Err(why) = &user {
        check.host_lacks(at("user")(why.clone()));
    }
    let unfit = found.as_ref().err().or_else(|| user.as_ref().err()).cloned();
    let path = found.unwrap_or_else(|_| program.clone());
    let environment = environment.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
    Some(Program { path, argv, user: user.unwrap_or_default(), environment, timeout, unfit })
}

/// The path of a program that can be run, which is looked for in `folders` where it is named without one.
fn found(program: &str, folders: &str) -> Result<String, String> {
    if program.starts_with('/') {
        return can_run(Path::new(program)).map(|()| program.to_owned());
    }
    if program.contains('/') {
        return Err(format!("cannot run {program:?}: give its absolute path, or its bare name"));
    }
    let paths =
        folders.split(':').filter(|folder| folder.starts_with('/')).map(|folder| Path::new(folder).join(program));
    let mut paths = paths.filter(|path| can_run(path).is_ok());
    let path =
        paths.next().ok_or_else(|| format!("cannot run {program:?}: it is in none of {folders} (give its path)"))?;
    Ok(path.display().to_string())
}

/// Whether there is a program at `path`.
pub(in crate::engine) fn can_run(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let meta = fs::metadata(path).map_err(|error| format!("cannot run {shown}: {error}"))?;
    if !meta.is_file() {
        return Err(format!("cannot run {shown}: it is no file"));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(format!("cannot run {shown}: nobody may execute it (chmod +x {shown})"));
    }
    Ok(())
}

/// Whom a command runs as; `None` is who we are already.
fn identity(user: &str) -> Result<Option<Identity>, String> {
    let identity = users::look_up(user, None, &[]).map_err(|error| Chain(&error).to_string())?;
    let own = nix::unistd::geteuid();
    match own.is_root() {
        true => Ok(Some(identity)),
        false if identity.uid == own.as_raw() => Ok(None),
        false => Err(format!("cannot run a command as {user}: only root can, and supervisord is not root here")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::alerting::{Files, files::Texts};

    /// The program, or the first that is wrong but for what the host has not.
    fn program(keys: ProgramKeys) -> Result<Program, String> {
        let files = Files::of_force(Path::new("/"), Texts::default());
        let mut check = Check::new(&files, true);
        let program = super::program(keys, &mut check);
        check
            .into_faults("it")
            .first()
            .map_or_else(|| Ok(program.expect("nothing is wrong")), |fault| Err(fault.message.clone()))
    }

    fn keys(words: &[&str]) -> ProgramKeys {
        let command = Some(words.iter().map(|word| (*word).to_owned()).collect());
        ProgramKeys { command, user: None, timeout: None, environment: None }
    }

    #[test]
    fn a_program_is_found_by_its_path_or_its_name() {
        let program = program(keys(&["sh", "-c", "exit 0"])).expect("every host has sh");
        assert!(program.path.ends_with("/sh") && program.path.starts_with('/'), "{}", program.path);
        assert_eq!((program.argv[0].as_str(), program.timeout, &program.unfit), ("sh", TIMEOUT, &None));
    }

    #[test]
    fn what_cannot_be_run_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("page");
        fs::write(&file, "#!/bin/sh\n").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("chmod");
        let text = file.display().to_string();
        let path = dir.path().display().to_string();
        let environment = |name: &str, value: &str| Some(BTreeMap::from([(name.to_owned(), value.to_owned())]));
        let sh = || keys(&["/bin/sh"]);
        let wrong = [
            (keys(&[]), "needs a command"),
            (keys(&[""]), "needs a command"),
            (ProgramKeys { environment: environment("1", ""), ..sh() }, "no name of a variable"),
            (ProgramKeys { environment: environment("ROUNDSMAN_UNIT", ""), ..sh() }, "ours to set"),
            (ProgramKeys { timeout: Some(TimeSpan::ZERO), ..sh() }, "timeout"),
            (ProgramKeys { timeout: Some(TimeSpan::from_secs(660)), ..sh() }, "timeout"),
        ];
        for (keys, says) in wrong {
            let error = program(keys).expect_err(says);
            assert!(error.contains(says), "{says}: {error:?}");
        }
        let unfit = [
            (keys(&["/no/such/program"]), "No such file"),
            (keys(&[&text]), "chmod +x"),
            (keys(&[&path]), "no file"),
            (keys(&["bin/page"]), "absolute path"),
            (keys(&["no-such-program-here"]), "give its path"),
            (ProgramKeys { environment: environment("PATH", &path), ..keys(&["sh"]) }, "in none of"),
            (ProgramKeys { user: Some("no-such-user-here".to_owned()), ..sh() }, "cannot find user"),
        ];
        for (keys, says) in unfit {
            let why = program(keys).expect("well formed").unfit.expect(says);
            assert!(why.contains(says), "{says}: {why}");
        }
    }
}
