//! A unit file of ours has every directive of Debian's, or says why not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use roundsman::unit::{self, SourceText};
use toml::Value;

use crate::daemon::{DAEMONS, unit_file};

/// `ReadWritePaths` is `readwritepaths`, as `read_write_paths` without its lines.
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

/// The words of a value, without quotes; both languages say yes in ways of their own.
fn words(value: &str) -> BTreeSet<String> {
    let words = value.split_whitespace().map(|word| word.trim_matches(['"', '\'', ',']));
    let same = |word| match word {
        "yes" | "on" => "true",
        "no" | "off" => "false",
        other => other,
    };
    words.map(|word| same(word).to_owned()).collect()
}

/// The words of a TOML unit by key.
fn said(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let tables: toml::Table = text.parse().expect("TOML");
    let keys = tables.into_iter().filter_map(|(_, table)| table.as_table().cloned());
    let told = |(key, value): (String, Value)| (key.replace('_', ""), words(&in_one(&value)));
    keys.flatten().map(told).collect()
}

fn in_one(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(in_one).collect::<Vec<_>>().join(" "),
        Value::Table(table) => {
            table.iter().map(|(name, value)| format!("{name}={}", in_one(value))).collect::<Vec<_>>().join(" ")
        }
        Value::Boolean(_) | Value::Integer(_) | Value::Float(_) | Value::Datetime(_) => value.to_string(),
    }
}

#[test]
fn every_directive_is_kept_or_named_with_its_reason() {
    let mut missing = Vec::new();
    for daemon in DAEMONS {
        let path = Path::new("/lib/systemd/system").join(format!("{}.service", daemon.file));
        let shipped = fs::read_to_string(&path).expect("Debian's packages are there (scripts/test)");
        let text = unit_file(daemon.file);
        let said = said(&text);
        for (directive, value) in directives(&shipped) {
            let kept = said.get(&plain(directive)).is_some_and(|said| words(value).is_subset(said));
            // The reason stands behind the directive.
            if !kept && !text.contains(&format!("# {directive}={value}: ")) {
                missing.push(format!("{}: {directive}={value}", daemon.file));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
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
