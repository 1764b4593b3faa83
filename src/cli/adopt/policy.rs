//! What the files of a service say of its restarts, our own drop-in left out: what systemd itself says has that in it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::base::UnitName;

/// Where systemd looks for units, the strongest first (systemd.unit(5)).
const PLACES: [&str; 9] = [
    "etc/systemd/system",
    "run/systemd/transient",
    "run/systemd/generator.early",
    "run/systemd/system",
    "run/systemd/generator",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
    "run/systemd/generator.late",
];

/// Whether systemd restarts the service after any end, without the file `ours`.
pub(super) fn restarts(root: &Path, service: &UnitName, ours: &Path) -> bool {
    let mut names: Vec<String> =
        [service.clone()].into_iter().chain(service.template()).map(|name| name.full()).collect();
    let places: Vec<PathBuf> = PLACES.iter().map(|place| root.join(place)).collect();
    let found = |name: &String| places.iter().map(|place| place.join(name)).find(|path| path.exists());
    // A file of its own name, else the template's.
    let fragment = names.iter().find_map(found);
    // An alias has the drop-ins of what it stands for.
    let target = fragment.as_ref().and_then(|path| fs::canonicalize(path).ok());
    names.extend(target.and_then(|path| Some(path.file_name()?.to_str()?.to_owned())));
    let mut dropins: BTreeMap<String, PathBuf> = BTreeMap::new();
    for place in &places {
        for folder in names.iter().map(|name| place.join(format!("{name}.d"))) {
            for file in fs::read_dir(folder).into_iter().flatten().flatten() {
                let (name, path) = (file.file_name().to_string_lossy().into_owned(), file.path());
                if name.ends_with(".conf") && path != ours {
                    dropins.entry(name).or_insert(path);
                }
            }
        }
    }
    let texts = dropins.values().rev().chain(&fragment).filter_map(|path| fs::read_to_string(path).ok());
    let policy = texts.filter_map(|text| policy_in(&text)).next();
    policy.is_some_and(|policy| !policy.is_empty() && policy != "no")
}

/// The last `Restart=` of a file.
fn policy_in(text: &str) -> Option<String> {
    let mut section = "";
    let mut policy = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if let Some((key, value)) = line.split_once('=')
            && section == "[Service]"
            && key.trim_end() == "Restart"
        {
            policy = Some(value.trim().to_owned());
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_file_and_the_last_drop_in_say_what_is_restarted() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let service = UnitName::new("web").unwrap();
        let ours = root.path().join("etc/systemd/system/web.service.d/roundsman.conf");
        let restarts = || restarts(root.path(), &service, &ours);
        assert!(!restarts(), "there is no file");
        write("usr/lib/systemd/system/web.service", "[Unit]\nRestart=always\n[Service]\nExecStart=/bin/web\n");
        write("etc/systemd/system/web.service.d/roundsman.conf", "[Service]\nRestart=on-failure\n");
        assert!(!restarts(), "another section, and a file of ours");
        write("usr/lib/systemd/system/web.service", "[Service]\nRestart = always\n");
        assert!(restarts());
        write("run/systemd/system/web.service.d/50.conf", "[Service]\nRestart=no\n");
        assert!(!restarts());
        write("etc/systemd/system/web.service.d/50.conf", "[Service]\nRestart=on-abort\n");
        assert!(restarts(), "the stronger drop-in of two that have one name");
        write("etc/systemd/system/web.service", "[Service]\n");
        write("etc/systemd/system/web.service.d/60.conf", "[Service]\nRestart=\n");
        assert!(!restarts(), "what is empty is the default");
    }

    #[test]
    fn an_alias_and_an_instance_are_what_they_are_made_from() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("usr/lib/systemd/system");
        fs::create_dir_all(folder.join("true.service.d")).unwrap();
        fs::write(folder.join("true.service"), "[Service]\n").unwrap();
        fs::write(folder.join("true.service.d/a.conf"), "[Service]\nRestart=always\n").unwrap();
        fs::write(folder.join("pool@.service"), "[Service]\nRestart=on-failure\n").unwrap();
        std::os::unix::fs::symlink("true.service", folder.join("other.service")).unwrap();
        for (name, wanted) in [("true", true), ("other", true), ("pool@1", true), ("none", false)] {
            assert_eq!(restarts(root.path(), &UnitName::new(name).unwrap(), Path::new("/")), wanted, "{name}");
        }
    }
}
