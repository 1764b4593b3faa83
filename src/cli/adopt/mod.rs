//! `adopt`: services of the host's systemd become external units, and systemd tells us when one of them has failed.
//!
//! It never starts or stops a service, and never has systemd restart one after fewer ends than before. A file whose first line does not say that we wrote it is never touched.

mod files;
mod host;
mod policy;

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use clap::Args;
use serde::Serialize;

use self::files::{MARK, Values};
use super::{
    client::CallError,
    context::{Context, print},
    exit::Exit,
    failure::{Failure, say},
    target::{SYSTEM_SOCKET, Target},
};
use crate::base::{TimeSpan, UnitName};

/// Where systemd has the host's own units and drop-ins.
const SYSTEMD_FOLDER: &str = "etc/systemd/system";
/// Where our units are.
const UNITS_FOLDER: &str = "etc/roundsman/units";
const DROPIN: &str = "roundsman.conf";
/// Units of systemd that are no services (systemd.unit(5)).
const OTHER_KINDS: [&str; 10] =
    ["socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"];

/// What `adopt` takes.
#[derive(Debug, Default, Args)]
pub(crate) struct AdoptArgs {
    /// Services of the host's systemd; none is started or stopped
    #[arg(value_name = "SERVICE", required = true)]
    pub(crate) services: Vec<UnitName>,
    /// Print the files and write none
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Remove what an earlier adopt has written
    #[arg(long)]
    pub(crate) undo: bool,
    /// Replace or remove files of an earlier adopt that were edited since
    #[arg(long)]
    pub(crate) force: bool,
    /// RestartSec= of the service [default: as an earlier adopt has it, else 10s]
    #[arg(long, value_name = "SPAN")]
    pub(crate) restart_sec: Option<TimeSpan>,
    /// StartLimitBurst= of the service: starts within the interval [default: as an earlier adopt has it, else 5]
    #[arg(long, value_name = "N")]
    pub(crate) start_limit: Option<u32>,
    /// StartLimitIntervalSec= of the service [default: as an earlier adopt has it, else 5min]
    #[arg(long, value_name = "SPAN")]
    pub(crate) start_limit_interval: Option<TimeSpan>,
    /// How often its state is asked besides [default: as an earlier adopt has it, else 5s]
    #[arg(long, value_name = "SPAN")]
    pub(crate) poll_interval: Option<TimeSpan>,
    /// Folder of our units [default: /etc/roundsman/units]
    #[arg(long, value_name = "DIR")]
    pub(crate) units: Option<PathBuf>,
    /// Write below this folder, and have nobody read it anew
    #[arg(long, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
}

/// A file and what it holds.
#[derive(Debug)]
struct File {
    path: PathBuf,
    text: String,
}

/// What was done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Deed {
    WouldWrite,
    Wrote,
    Unchanged,
    WouldRemove,
    Removed,
}

impl Deed {
    const fn as_str(self) -> &'static str {
        match self {
            Self::WouldWrite => "would write",
            Self::Wrote => "wrote",
            Self::Unchanged => "unchanged",
            Self::WouldRemove => "would remove",
            Self::Removed => "removed",
        }
    }

    const fn changes(self) -> bool {
        matches!(self, Self::Wrote | Self::Removed)
    }
}

#[derive(Debug, Serialize)]
struct Done {
    path: String,
    action: Deed,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Debug, Serialize)]
struct Report {
    files: Vec<Done>,
}

/// `adopt`
pub(crate) fn run(context: &Context, args: &AdoptArgs) -> Result<Exit, Failure> {
    let folders = Folders::of(args);
    if let Some(service) = args.services.iter().find(|service| is_no_service(service)) {
        let remedy = "name services, and of a template its instances".to_owned();
        return Err(failure(format!("cannot adopt {service}: it is no service"), remedy));
    }
    if let Some(service) = args.services.iter().find(|service| is_ours(service)) {
        let remedy = "systemd keeps it, and its unit file says how".to_owned();
        return Err(failure(format!("cannot adopt {service}: this daemon would watch itself"), remedy));
    }
    let files = if args.undo { take_back(args, &folders)? } else { set_up(context, args, &folders)? };
    let changed = files.iter().any(|done| done.action.changes());
    let report = Report { files };
    if context.json {
        context.print_json(&report)?;
    } else {
        print(shown(&report).as_bytes())?;
    }
    if changed && args.root.is_none() {
        host::daemon_reload()?;
        read_anew(context)?;
    }
    Ok(Exit::DONE)
}

/// Whether it names a unit of systemd of another kind, or many at once.
fn is_no_service(name: &UnitName) -> bool {
    let kind = name.as_str().rsplit_once('.').map(|(_, kind)| kind);
    name.is_template() || kind.is_some_and(|kind| OTHER_KINDS.contains(&kind))
}

/// Whether it is this daemon, or the unit by which systemd tells it of failures.
fn is_ours(service: &UnitName) -> bool {
    let hook = files::HOOK.trim_end_matches(".service");
    service.as_str() == "roundsman" || service.as_str().starts_with(hook)
}

fn shown(report: &Report) -> String {
    let line = |done: &Done| match &done.text {
        Some(text) => format!("# {}\n{text}\n", done.path),
        None => format!("{} {}\n", done.action.as_str(), done.path),
    };
    if report.files.is_empty() { "nothing to undo\n".to_owned() } else { report.files.iter().map(line).collect() }
}

/// Where files go.
#[derive(Debug)]
struct Folders {
    root: PathBuf,
    systemd: PathBuf,
    units: PathBuf,
}

impl Folders {
    fn of(args: &AdoptArgs) -> Self {
        let root = args.root.as_deref().unwrap_or_else(|| Path::new("/"));
        let units = args.units.clone().unwrap_or_else(|| root.join(UNITS_FOLDER));
        Self { root: root.to_owned(), systemd: root.join(SYSTEMD_FOLDER), units }
    }

    fn dropin_folder(&self, service: &UnitName) -> PathBuf {
        self.systemd.join(format!("{}.d", service.full()))
    }

    fn dropin(&self, service: &UnitName) -> PathBuf {
        self.dropin_folder(service).join(DROPIN)
    }

    fn hook(&self) -> PathBuf {
        self.systemd.join(files::HOOK)
    }

    fn own_dropins(&self, service: &UnitName) -> PathBuf {
        self.units.join(format!("{service}.toml.d"))
    }

    fn unit(&self, service: &UnitName) -> PathBuf {
        self.units.join(format!("{service}.toml"))
    }
}

fn set_up(context: &Context, args: &AdoptArgs, folders: &Folders) -> Result<Vec<Done>, Failure> {
    if args.root.is_none() {
        for service in &args.services {
            host::must_know(service)?;
        }
    }
    let program = std::env::current_exe().map_err(Failure::Path)?;
    let socket = match &context.client.target {
        Target::Unix(path) if path.as_os_str() != SYSTEM_SOCKET => Some(path.as_path()),
        Target::Unix(_) | Target::Tcp(_) => None,
    };
    let mut files = vec![File { path: folders.hook(), text: files::summed(&files::hook(&program, socket)) }];
    // All or nothing: what stands in the way is found first.
    let mut found = vec![as_written(&folders.hook(), args)?];
    for service in &args.services {
        let is_restarted = policy::restarts(&folders.root, service, &folders.dropin(service));
        let (dropin, unit) = (folders.dropin(service), folders.unit(service));
        let before = [as_written(&dropin, args)?, as_written(&unit, args)?];
        let [of_dropin, of_unit] = before.each_ref().map(Option::as_deref);
        let values = Values::of(args, of_dropin, of_unit);
        files.push(File { path: dropin, text: files::summed(&files::dropin(&values, is_restarted)) });
        files.push(File { path: unit, text: files::summed(&files::unit(service, &values)) });
        found.extend(before);
    }
    let mut done = Vec::new();
    for (file, found) in files.into_iter().zip(found) {
        let path = file.path.display().to_string();
        let action = if found.as_deref() == Some(&file.text) {
            Deed::Unchanged
        } else if args.dry_run {
            Deed::WouldWrite
        } else {
            write(&file)?;
            Deed::Wrote
        };
        done.push(Done { path, action, text: args.dry_run.then_some(file.text) });
    }
    Ok(done)
}

fn take_back(args: &AdoptArgs, folders: &Folders) -> Result<Vec<Done>, Failure> {
    for service in &args.services {
        // Without the unit they would be faults, and no configuration could be loaded any more.
        let beside = folders.own_dropins(service);
        if ours(&folders.unit(service))?.is_some()
            && fs::read_dir(&beside).is_ok_and(|mut found| found.next().is_some())
        {
            let text = format!("cannot undo the adoption of {service}: {} holds drop-ins for it", beside.display());
            return Err(failure(
                text,
                "keep what you want of them elsewhere, remove that folder, and undo then".to_owned(),
            ));
        }
    }
    let mut paths: Vec<PathBuf> =
        args.services.iter().flat_map(|service| [folders.dropin(service), folders.unit(service)]).collect();
    if !others_use_the_hook(folders, &args.services)? {
        paths.push(folders.hook());
    }
    let mut there = Vec::new();
    for path in paths {
        if as_written(&path, args)?.is_some() {
            there.push(path);
        }
    }
    let mut done = Vec::new();
    for path in there {
        let action = if args.dry_run {
            Deed::WouldRemove
        } else {
            fs::remove_file(&path).map_err(|error| cannot("remove", &path, &error))?;
            Deed::Removed
        };
        done.push(Done { path: path.display().to_string(), action, text: None });
    }
    if !args.dry_run {
        for service in &args.services {
            // One that holds something else stays.
            fs::remove_dir(folders.dropin_folder(service)).ok();
        }
    }
    Ok(done)
}

/// Whether a service that is not named has a drop-in of ours, which names the hook.
fn others_use_the_hook(folders: &Folders, named: &[UnitName]) -> Result<bool, Failure> {
    let entries = match fs::read_dir(&folders.systemd) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(cannot("read", &folders.systemd, &error)),
    };
    for entry in entries {
        let folder = entry.map_err(|error| cannot("read", &folders.systemd, &error))?.path();
        let dropin = folder.join(DROPIN);
        let is_named = named.iter().any(|service| folders.dropin(service) == dropin);
        if !is_named && ours(&dropin).is_ok_and(|text| text.is_some()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The text of a file that we wrote, `None` where there is none. One that someone else wrote stands in the way.
fn ours(path: &Path) -> Result<Option<String>, Failure> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(cannot("read", path, &error)),
    };
    if text.lines().next() == Some(MARK) {
        return Ok(Some(text));
    }
    let remedy = format!("its first line is not {MARK:?}: move it away, or write what adopt would by hand (--dry-run)");
    Err(failure(format!("cannot replace {}: adopt did not write it", path.display()), remedy))
}

/// The same where nobody has edited it since, or that is no matter.
fn as_written(path: &Path, args: &AdoptArgs) -> Result<Option<String>, Failure> {
    let text = ours(path)?;
    if args.force || text.as_deref().is_none_or(files::is_as_written) {
        return Ok(text);
    }
    let what = if args.undo { "remove" } else { "replace" };
    let remedy = format!("keep what you have changed in a file of its own beside it; --force {what}s this one");
    Err(failure(format!("cannot {what} {}: someone has edited it since adopt wrote it", path.display()), remedy))
}

/// Whoever reads it finds the whole of it or the file before.
fn write(file: &File) -> Result<(), Failure> {
    let failed = |error| cannot("write", &file.path, &error);
    let folder = file.path.parent().unwrap_or_else(|| Path::new("/"));
    fs::create_dir_all(folder).map_err(failed)?;
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    // Hidden, so that neither systemd nor we read it.
    let beside = folder.join(format!(".{name}.new"));
    let written = fs::write(&beside, &file.text).and_then(|()| fs::rename(&beside, &file.path));
    if written.is_err() {
        fs::remove_file(&beside).ok();
    }
    written.map_err(failed)
}

/// Has the daemon take the units into use. One that does not run reads them when it starts.
fn read_anew(context: &Context) -> Result<(), Failure> {
    let body = serde_json::json!({ "notifyOtherInstances": true });
    match context.client.post::<serde_json::Value>("/admin/reload", &body, &mut |_| Ok(())) {
        Ok(_) => Ok(()),
        Err(error) if error.is_no_daemon() => {
            say("supervisord is not running: it reads the units when it starts\n");
            Ok(())
        }
        Err(
            error @ (CallError::Http(_) | CallError::Problem(_) | CallError::Status { .. } | CallError::Json { .. }),
        ) => Err(error.into()),
    }
}

fn cannot(what: &str, path: &Path, error: &io::Error) -> Failure {
    let remedies = [
        (ErrorKind::PermissionDenied, "run it as root: sudo supervisorctl adopt …"),
        (ErrorKind::ReadOnlyFilesystem, "write elsewhere with --root DIR, and copy it"),
    ];
    let known = remedies.into_iter().find(|(kind, _)| *kind == error.kind());
    let remedy = known.map_or("look at the folder and its file system", |(_, remedy)| remedy);
    failure(format!("cannot {what} {}: {error}", path.display()), remedy.to_owned())
}

const fn failure(text: String, remedy: String) -> Failure {
    Failure::Adopt { text, remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_service_is_not_adopted() {
        let is_no_service = |name: &str| is_no_service(&UnitName::new(name).unwrap());
        for name in ["nginx.socket", "data.mount", "apt-daily.timer", "multi-user.target", "getty@"] {
            assert!(is_no_service(name), "{name}");
        }
        for name in ["nginx", "nginx.service", "getty@tty1", "org.freedesktop.thing", "php8.2-fpm"] {
            assert!(!is_no_service(name), "{name}");
        }
    }
}
