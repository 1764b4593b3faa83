//! The guide names every key that is read, and the examples in it are read.
#![expect(clippy::panic, reason = "a helper of tests stops the test")]

use std::{collections::BTreeSet, fs, path::Path};

use roundsman::{base::Places, engine::settings::Settings, fileserver, unit};

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between `begin` and the next quote, everywhere in a source file.
fn after(source: &str, begin: &str) -> BTreeSet<String> {
    source.split(begin).skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
}

#[track_caller]
fn all_are_named(keys: &BTreeSet<String>, page: &str, at_least: usize) {
    assert!(keys.len() >= at_least, "only {} keys were found: {keys:?}", keys.len());
    let page_text = text(page);
    let missing: Vec<_> = keys
        .iter()
        .filter(|key| !page_text.contains(&format!("`{key}`")) && !page_text.contains(&format!("`{key} = ")))
        .collect();
    assert!(missing.is_empty(), "{page} does not name {missing:?}");
}

/// The TOML texts of a page, in order.
fn examples(page: &str) -> Vec<String> {
    let page = text(page);
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

#[test]
fn every_key_of_a_unit_is_in_the_guide() {
    let folder = "src/unit/dialect/toml";
    let files = [
        "exec_keys.rs",
        "external_keys.rs",
        "health_checks.rs",
        "health_keys.rs",
        "http_keys.rs",
        "log_keys.rs",
        "resource_keys.rs",
        "sandbox_keys.rs",
        "service_keys.rs",
        "socket_keys.rs",
        "timer_keys.rs",
        "unit_keys.rs",
    ];
    let sources = files.map(|file| text(&format!("{folder}/{file}"))).concat();
    let spread = sources.replace("Key {\n        name", "Key { name");
    all_are_named(&after(&spread, "Key { name: \""), "docs/guide/units.md", 127);
}

#[test]
fn every_key_of_the_daemon_is_in_the_guide() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roundsman.toml");
    let mut keys = BTreeSet::new();
    // The reader itself says what it would have taken.
    for table in [
        "",
        "[paths]",
        "[log]",
        "[cgroup]",
        "[disk]",
        "[health]",
        "[history]",
        "[container]",
        "[fleet]",
        "[high_availability]",
        "[heartbeat]",
        "[alert]",
        "[[alert.route]]",
        "[[alert.rule]]",
        "[alert.heartbeat]",
    ] {
        fs::write(&file, format!("{table}\nno_such_key = 1\n")).expect("written");
        let error = Settings::load(Some(&file), &Places::of(0, |_| None)).expect_err("an unknown key").to_string();
        let (_, known) = error.split_once("help: there are ").unwrap_or_else(|| panic!("{table}: {error}"));
        keys.extend(known.lines().next().unwrap_or_default().split(", ").map(str::to_owned));
    }
    let tables =
        "paths log cgroup disk health history container fleet high_availability heartbeat alert route rule".split(' ');
    let tables: BTreeSet<&str> = tables.collect();
    keys.retain(|key| !tables.contains(key.as_str()));
    all_are_named(&keys, "docs/guide/settings.md", 15);
}

#[test]
fn every_key_of_the_file_server_is_in_the_guide() {
    let source = text("src/fileserver/settings/mod.rs").replace("tree,\n        \"", "tree, \"");
    let mut keys = after(&source, "tree, \"");
    keys.extend(after(&source, "section.read(tree, \""));
    all_are_named(&keys, "docs/guide/settings.md", 30);
    assert!(fileserver::settings::Settings::parse("[server]\nno_such_key = 1\n").is_err());
}

#[test]
fn the_examples_are_read_without_a_complaint() {
    let mut sources = vec![unit::SourceText::new("db.toml", "[service]\nexec_start = \"/bin/db\"\n").expect("a name")];
    let pages = ["docs/guide/units.md", "docs/guide/monitoring.md"];
    for (at, example) in pages.into_iter().flat_map(examples).enumerate() {
        // One that is a template says so in its first line.
        let is_template = example.lines().next().is_some_and(|line| line.ends_with("@.toml"));
        let name = format!("example-{at}{}.toml", if is_template { "@" } else { "" });
        sources.push(unit::SourceText::new(name, example).expect("a name"));
    }
    assert!(sources.len() > 1);
    let loaded = unit::load(&sources).expect("no problem");
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);

    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("roundsman.toml");
    for example in examples("docs/guide/settings.md") {
        fs::write(&file, example.replace("url_file = \"slack-url\"", "url = \"http://127.0.0.1\"")).expect("written");
        Settings::load(Some(&file), &Places::of(0, |_| None)).expect("read");
    }
}
