//! What systemd is told about supervisord: a unit that lacks one of these lines works until the day it is needed.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{Case, report::Report};
use crate::edge::cgroup;

const TOPIC: &str = "init";
/// Where units of systemd stand, the strongest first, systemd.unit(5).
const FOLDERS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Its name, unless the daemon runs in another.
const NAME: &str = "roundsman.service";

pub(super) fn look(case: &Case, report: &mut Report) {
    if !Path::new("/run/systemd/system").is_dir() {
        return report.ok(
            TOPIC,
            "systemd",
            "this machine does not run it; whoever starts supervisord has to restart it",
        );
    }
    let runs_in = case.keeper.and_then(cgroup::of_process);
    let mut runs_in = runs_in.iter().flat_map(|dir| dir.iter().filter_map(|part| part.to_str()));
    let own = runs_in.rfind(|part| part.ends_with(".service") && !part.starts_with("user@"));
    if own.is_none() && !nix::unistd::geteuid().is_root() {
        return report.ok(TOPIC, "systemd", "a daemon of your own; whoever starts it has to restart it");
    }
    let folders = FOLDERS.map(PathBuf::from);
    judge(report, &folders, own.unwrap_or(NAME));
}

fn judge(report: &mut Report, folders: &[PathBuf], name: &str) {
    let Some(file) = folders.iter().map(|folder| folder.join(name)).find(|path| path.exists()) else {
        return report.warn(
            TOPIC,
            name,
            "systemd has no unit of this name, so nobody starts supervisord at boot or after a crash",
            "install packaging/roundsman.service, then systemctl enable --now roundsman",
        );
    };
    let mut keys = BTreeMap::new();
    read(&file, &mut keys);
    let mut dropins: BTreeMap<_, PathBuf> = BTreeMap::new();
    for folder in folders.iter().rev() {
        let entries = fs::read_dir(folder.join(format!("{name}.d"))).into_iter().flatten().flatten();
        dropins.extend(entries.map(|entry| (entry.file_name(), entry.path())));
    }
    dropins.values().for_each(|path| read(path, &mut keys));
    let has = |key: &str| keys.get(key).map(String::as_str).unwrap_or_default();
    let is_true = |key: &str| ["1", "yes", "true", "on"].contains(&has(key));
    let place = file.to_string_lossy();
    let mut well = true;
    let mut say = |is_so: bool, message: &str, remedy: &str| {
        if !is_so {
            well = false;
            report.warn(TOPIC, &*place, message, format!("{remedy} (systemctl edit {name})"));
        }
    };
    say(has("KillMode") == "process", "when the keeper dies, systemd kills every service", "KillMode=process");
    say(has("Type").starts_with("notify"), "systemd does not wait until supervisord is up", "Type=notify");
    say(
        ["always", "on-failure", "on-abnormal"].contains(&has("Restart")),
        "nobody starts supervisord again after a crash",
        "Restart=always",
    );
    say(is_true("Delegate"), "units get no cgroups", "Delegate=yes");
    say(
        is_true("RuntimeDirectoryPreserve") || has("RuntimeDirectory").is_empty(),
        "what is written down about running services is removed when the keeper dies",
        "RuntimeDirectoryPreserve=yes",
    );
    say(
        has("FileDescriptorStoreMax").parse().is_ok_and(|most: u32| most > 0),
        "pipes and sockets of services do not outlast a keeper that dies",
        "FileDescriptorStoreMax=8192",
    );
    if well {
        report.ok(TOPIC, &*place, "what supervisord needs of systemd stands there");
    }
}

/// The last word of each key; sections do not matter for the keys that are asked for.
fn read(path: &Path, keys: &mut BTreeMap<String, String>) {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';', '[']));
    keys.extend(
        lines
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_that_ships_is_well_and_a_drop_in_that_spoils_it_is_found() {
        let etc = tempfile::tempdir().unwrap();
        let usr = tempfile::tempdir().unwrap();
        let folders = [etc.path().to_owned(), usr.path().to_owned()];
        let said = || {
            let mut report = Report::default();
            judge(&mut report, &folders, NAME);
            report.said().into_iter().map(|(level, _, message)| format!("{level}: {message}")).collect::<Vec<_>>()
        };
        assert!(said()[0].starts_with("warn: systemd has no unit"));
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/roundsman.service");
        fs::copy(shipped, usr.path().join(NAME)).unwrap();
        assert_eq!(said(), ["ok: what supervisord needs of systemd stands there"]);
        fs::create_dir(etc.path().join("roundsman.service.d")).unwrap();
        let dropin = etc.path().join("roundsman.service.d/local.conf");
        fs::write(dropin, "[Service]\nKillMode = control-group\nDelegate=no\n").unwrap();
        assert_eq!(said(), ["warn: when the keeper dies, systemd kills every service", "warn: units get no cgroups"]);
    }
}
