//! Who may read what is secret, and who may change what the daemon believes or runs.

use std::{
    collections::BTreeSet,
    fs::{self, Metadata},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};

use super::{Case, report::Report};
use crate::{
    edge::secret,
    unit::spec::{CredentialSource, ProbeCheck, TlsCheck},
};

const TOPIC: &str = "permissions";

/// Bits of a mode, chmod(1).
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_READ: u32 = 0o004;

pub(super) fn look(case: &Case, report: &mut Report) {
    believed(case, report);
    secrets(case, report);
    let paths = &case.settings.paths;
    for (what, path) in [("state", &paths.state), ("output", &paths.logs), ("runtime", &paths.runtime)] {
        kept(report, what, path);
    }
}

/// What says what runs, and as whom.
fn believed(case: &Case, report: &mut Report) {
    let files = case.host.units.values().flat_map(|unit| unit.sources.iter().map(|path| path.to_path_buf()));
    let settings = case.settings.source.clone().filter(|path| path.exists());
    let folders = case.settings.paths.units.iter().filter(|path| path.exists()).cloned();
    let all: BTreeSet<PathBuf> = settings.into_iter().chain(folders).chain(files).collect();
    let mut well = 0;
    for path in &all {
        let place = path.to_string_lossy();
        match fs::metadata(path) {
            Err(error) => unseen(report, &place, &error),
            Ok(meta) => match whoever_changes(&meta) {
                None => well += 1,
                Some((message, remedy)) => report.fail(TOPIC, &*place, message, format!("{remedy} {place}")),
            },
        }
    }
    if well == all.len() {
        report.ok(TOPIC, "settings and units", format!("nobody else can change these {well} files and folders"));
    }
    let open = case.settings.source.as_ref().and_then(|path| Some((path, fs::metadata(path).ok()?.mode())));
    if let Some((path, _)) = open.filter(|(_, mode)| mode & OTHERS_READ != 0) {
        for route in case.settings.routes_with_open_secrets() {
            let place = path.to_string_lossy();
            report.fail(
                TOPIC,
                &*place,
                format!("the secret of alert route {route} stands in it, and everyone can read it"),
                format!("put it into a file of mode 0600 and name that by url_file; or chmod o-r {place}"),
            );
        }
    }
}

/// Someone but its owner, root or us, who could change it; and what is to be done.
fn whoever_changes(meta: &Metadata) -> Option<(String, &'static str)> {
    let mode = meta.permissions().mode();
    let own = nix::unistd::geteuid().as_raw();
    if meta.uid() != 0 && meta.uid() != own {
        let message = format!("it belongs to uid {}, who can have the daemon run anything", meta.uid());
        return Some((message, if own == 0 { "chown root" } else { "chown $USER" }));
    }
    if mode & OTHERS_WRITE != 0 {
        return Some(("everyone can change it, and so what the daemon runs".to_owned(), "chmod o-w"));
    }
    if mode & GROUP_WRITES != 0 && meta.gid() != 0 && meta.gid() != nix::unistd::getegid().as_raw() {
        return Some((format!("the group {} can change it, and so what the daemon runs", meta.gid()), "chmod g-w"));
    }
    None
}

/// Files that hold what others must not know.
fn secrets(case: &Case, report: &mut Report) {
    case.tell_left_out(report, TOPIC);
    let (mut all, mut shown) = (BTreeSet::<(&Path, &str)>::new(), BTreeSet::<(&Path, Shown, &str)>::new());
    for (name, unit) in &case.host.units {
        for credential in &unit.service.exec.credentials {
            if let Some(CredentialSource::Path(path)) = &credential.source {
                all.insert((path, name.as_str()));
            }
        }
        for probe in &unit.health {
            shown.extend(probe.check.secret_files().into_iter().map(|path| (path, Shown::Secret, name.as_str())));
            shown.extend(keys(&probe.check).into_iter().map(|path| (path, Shown::Key, name.as_str())));
        }
    }
    for (path, what, unit) in shown {
        shown_by_probe(report, path, what, unit);
    }
    for (path, unit) in all {
        let place = path.to_string_lossy();
        match fs::metadata(path) {
            Err(error) => unseen(report, &place, &error),
            Ok(meta) if meta.is_dir() => report.ok(TOPIC, &*place, format!("credentials of {unit}")),
            Ok(meta) if meta.mode() & (OTHERS_READ | OTHERS_WRITE) != 0 => report.fail(
                TOPIC,
                &*place,
                format!("everyone can read or change this secret of {unit} (mode {:04o})", meta.mode() & 0o7777),
                format!("chmod 0600 {place}, and replace the secret: it may be known"),
            ),
            Ok(_) => report.ok(TOPIC, &*place, format!("a secret of {unit}, and not everyone's")),
        }
    }
}

/// What a probe has of its own when it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    Secret,
    /// Of its certificate.
    Key,
}

/// The private keys of what a probe shows of itself.
fn keys(check: &ProbeCheck) -> Vec<&Path> {
    fn key(tls: &TlsCheck) -> Option<&Path> {
        tls.identity.as_ref().map(|(_, key)| &**key)
    }
    match check {
        ProbeCheck::Http(steps) => steps.iter().filter_map(|step| key(&step.tls)).collect(),
        ProbeCheck::Tcp(tcp) => tcp.tls.iter().filter_map(key).collect(),
        ProbeCheck::Redis(_)
        | ProbeCheck::Exec(_)
        | ProbeCheck::Plugin(_)
        | ProbeCheck::Disk(_)
        | ProbeCheck::Certificate(_)
        | ProbeCheck::Systemd(_)
        | ProbeCheck::File(_)
        | ProbeCheck::Log(_)
        | ProbeCheck::Memory(_)
        | ProbeCheck::Cpu(_) => Vec::new(),
    }
}

/// A secret that a probe shows to whom it asks: no unit file is taken into use while it cannot be used.
fn shown_by_probe(report: &mut Report, path: &Path, what: Shown, unit: &str) {
    let place = path.to_string_lossy();
    let seen = fs::metadata(path).and_then(|meta| access(path, AccessFlags::R_OK).map(|()| meta).map_err(Into::into));
    let meta = match seen {
        Ok(meta) => meta,
        Err(error) => return unseen(report, &place, &error),
    };
    let read = match what {
        Shown::Secret => secret::read(path),
        Shown::Key => secret::read_key(path),
    };
    let Err(why) = read else {
        return report.ok(TOPIC, &*place, format!("a secret of a probe of {unit}, and nobody else's"));
    };
    let is_open = meta.mode() & secret::FOREIGN_BITS != 0;
    let remedy = if is_open {
        format!("chmod 0600 {place}, and replace the secret: it may be known")
    } else {
        "put the secret there: a file of mode 0600 that belongs to root or to the daemon's user".to_owned()
    };
    report.fail(TOPIC, &*place, format!("a probe of {unit} cannot ask, and so no unit is read anew: {why}"), remedy);
}

fn unseen(report: &mut Report, place: &str, error: &io::Error) {
    if error.kind() == io::ErrorKind::PermissionDenied {
        report.unknown(TOPIC, place, "we may not look at it", "run this as the daemon's user");
    } else {
        report.fail(TOPIC, place, format!("cannot look at it: {error}"), "put it there, or correct who names it");
    }
}

/// A directory that the daemon writes in.
fn kept(report: &mut Report, what: &str, path: &Path) {
    let place = path.to_string_lossy();
    let meta = match fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return report.ok(TOPIC, &*place, format!("the {what} directory is not there yet; the daemon makes it"));
        }
        Err(error) => return unseen(report, &place, &error),
    };
    if !meta.is_dir() {
        return report.fail(TOPIC, &*place, format!("the {what} directory is none"), "move away what is there");
    }
    if meta.mode() & OTHERS_WRITE != 0 {
        let message = format!("everyone can write in the {what} directory, and so put their own in place of ours");
        return report.fail(TOPIC, &*place, message, format!("chmod o-w {place}"));
    }
    if let Err(errno) = access(path, AccessFlags::W_OK | AccessFlags::X_OK) {
        let message = format!("we cannot write in the {what} directory: {}", errno.desc());
        let remedy = format!("run this as the daemon's user; if this is it: chown $USER {place}, or mount it writable");
        return report.fail(TOPIC, &*place, message, remedy);
    }
    report.ok(TOPIC, &*place, format!("the {what} directory can be written"));
}
