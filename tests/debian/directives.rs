//! A unit file of ours has every directive of Debian's, or says why not.

use std::{collections::BTreeSet, fs, path::Path};

use roundsman::unit::{self, SourceText};

use crate::daemon::{DAEMONS, unit_file};

/// `ReadWritePaths` is `read_write_paths`; its old name as well.
fn plain(directive: &str) -> String {
    match directive {
        "ReadWriteDirectories" => "readwritepaths".to_owned(),
        other => other.to_ascii_lowercase(),
    }
}

/// The directives of a file of systemd, with their values.
fn directives(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).collect()
}

/// The keys of a TOML unit.
fn keys(text: &str) -> BTreeSet<String> {
    let lines = text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    lines.filter_map(|line| line.split_once(" = ")).map(|(key, _)| key.replace('_', "")).collect()
}

#[test]
fn every_directive_is_kept_or_named_with_its_reason() {
    let mut missing = Vec::new();
    for daemon in DAEMONS {
        let path = Path::new("/lib/systemd/system").join(format!("{}.service", daemon.file));
        let shipped = fs::read_to_string(&path).expect("Debian's packages are there (scripts/test)");
        let ours = unit_file(daemon.file);
        let keys = keys(&ours);
        for (directive, value) in directives(&shipped) {
            // The reason stands behind the directive.
            let named = format!("# {directive}={value}: ");
            if !keys.contains(&plain(directive)) && !ours.contains(&named) {
                missing.push(format!("{}: {directive}={value}", daemon.file));
            }
        }
        // Each word of a value, so that no item of a list is lost.
        let values = directives(&shipped).into_iter().map(|(_, value)| in_toml(value));
        let words = values.flat_map(str::split_whitespace).map(|word| word.trim_matches(['"', '\'', ',']));
        let lost = words.filter(|word| !ours.contains(variable(word)));
        missing.extend(lost.map(|word| format!("{}: {word}", daemon.file)));
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A value as TOML writes it.
fn in_toml(value: &str) -> &str {
    match value {
        "yes" | "on" | "true" => "true",
        "no" => "false",
        other => other,
    }
}

/// What a variable is set to, which has a table in TOML.
fn variable(word: &str) -> &str {
    word.split_once('=').map_or(word, |(_, value)| value)
}

#[test]
fn all_of_them_load_together_without_a_mistake() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("units/debian");
    let source = |entry: fs::DirEntry| {
        let path = entry.path();
        SourceText::new(path.file_name().expect("a name"), fs::read(&path).expect("a file")).expect("a unit's name")
    };
    let sources: Vec<_> = fs::read_dir(folder).expect("a folder").map(|entry| source(entry.expect("a file"))).collect();
    let loaded = unit::load(&sources).unwrap_or_else(|problems| panic!("{problems:#?}"));
    // ssh names the audit daemon, which may be there.
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().all(|warning| warning.contains("auditd")), "{warnings:#?}");
    assert_eq!(loaded.set.units.len(), DAEMONS.len() + 1, "and postgresql, all clusters at once");
}
