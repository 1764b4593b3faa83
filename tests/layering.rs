//! The house keeps its shape: who may name whom, where unsafe code and each crate may stand, what pure layers never
//! say, how long a file may be. A rule that makes the code worse is changed here, with its reason.

#[path = "support/rust_source.rs"]
mod rust_source;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use rust_source::{Source, names_behind, sources, words};

/// Each layer, lowest first, and the layers that it may name.
const LAYERS: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("unit", &["base"]),
    ("node", &["base", "unit"]),
    ("fleet", &["base", "unit"]),
    ("alert", &["base"]),
    ("wire", &["base", "unit", "node", "fleet", "alert"]),
    ("sys", &["base"]),
    ("keeper", &["base", "wire", "sys"]),
    ("edge", &["base", "unit", "node", "fleet", "alert", "wire", "sys", "keeper"]),
    ("engine", &["base", "unit", "node", "fleet", "alert", "wire", "sys", "keeper", "edge"]),
    ("web", &["base", "sys"]),
    // unit, node, fleet, alert and edge: what the engine answers with is made of their types, and is turned into wire types here.
    ("api", &["base", "unit", "node", "fleet", "alert", "edge", "wire", "engine", "web"]),
    ("fileserver", &["base", "sys", "web"]),
    // edge: lint asks of this host what a daemon would ask (edge/needs.rs), so that both say the same.
    ("cli", &["base", "unit", "wire", "edge"]),
    // cli: `supervisord check` prints as `supervisorctl check` does.
    ("bin/supervisord.rs", &["api", "base", "cli", "engine", "keeper", "sys", "web"]),
    ("bin/supervisorctl.rs", &["cli"]),
    ("bin/hmac-file-server.rs", &["fileserver"]),
];

/// No clock, no I/O, no async: the layers of decisions.
const PURE: [&str; 5] = ["base", "unit", "node", "fleet", "alert"];
/// What pure layers may name of the standard library. No `fs`, `io`, `env`, `process`, `thread`, `os`.
const PURE_STD: &[&str] = &[
    "array",
    "borrow",
    "cell",
    "cmp",
    "collections",
    "convert",
    "error",
    "fmt",
    "hash",
    "iter",
    "mem",
    "net",
    "num",
    "ops",
    "path",
    "slice",
    "str",
    "string",
    "sync",
    "time",
    "vec",
];
/// What pure layers never say: what waits, reads a clock, runs in another order each time, or asks the kernel.
const IMPURE_WORDS: &[&str] = &[
    "async",
    "await",
    "HashMap",
    "HashSet",
    "RandomState",
    "Instant",
    "SystemTime",
    "UNIX_EPOCH",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "to_socket_addrs",
    "canonicalize",
    "metadata",
    "symlink_metadata",
    "read_dir",
    "read_link",
    "exists",
    "try_exists",
    "is_dir",
    "is_symlink",
    "println",
    "eprintln",
    "dbg",
    "include_str",
    "include_bytes",
    "option_env",
];

/// Each crate and where it may stand; an empty list is anywhere.
const FENCES: &[(&str, &[&str])] = &[
    ("thiserror", &[]),
    ("bytes", &["edge", "web", "fileserver"]),
    ("serde", &["fleet", "alert", "wire", "edge/store/fleet.rs", "engine", "api", "cli"]),
    // unit: a probe's expectation is a JSON pointer.
    ("serde_json", &["unit", "alert", "wire", "edge", "engine", "web", "api", "cli"]),
    // unit: the rules of a time zone are a table; whoever reads them from the disk hands them in. alert writes wall times
    // for people.
    ("jiff", &["base/time.rs", "unit/calendar/zone.rs", "alert", "edge", "fileserver", "cli"]),
    // unit: the digest of a set of units. deliver: the signature of a webhook. probe: the one of an upload.
    (
        "sha2",
        &[
            "unit",
            "engine/settings/fleet.rs",
            "engine/remote",
            "fleet/plan.rs",
            "fleet/step.rs",
            "edge/deliver/route",
            "edge/probe/signing.rs",
            "fileserver",
        ],
    ),
    ("toml", &["unit", "engine/settings/fault.rs", "engine/fleet/file.rs", "fileserver/settings"]),
    // Pure layers do not log: they return notices.
    ("tracing", &["edge", "engine", "web", "fileserver", "bin/supervisord.rs"]),
    ("tracing_subscriber", &["fileserver/run.rs", "bin/supervisord.rs"]),
    // keeper/client.rs is the manager's half; the keeper itself has no runtime. sys/readiness.rs: a descriptor that tokio
    // waits for can only be registered by unsafe code.
    (
        "tokio",
        &["sys/readiness.rs", "keeper/client.rs", "edge", "engine", "web", "api", "fileserver", "bin/supervisord.rs"],
    ),
    ("futures_util", &["web", "api"]),
    // engine: errno of what the kernel refused, as numbers for people.
    ("libc", &["sys", "engine"]),
    ("nix", &["sys", "edge", "engine", "web", "api/access.rs", "fileserver", "cli", "bin/supervisord.rs"]),
    // The store of files opens beneath a directory (openat2).
    ("rustix", &["sys/attribute.rs", "fileserver"]),
    ("sd_notify", &["sys", "fileserver/run.rs"]),
    ("signal_hook", &["cli/interrupt.rs"]),
    ("rusqlite", &["edge/store"]),
    ("reqwest", &["edge/http.rs", "edge/deliver", "edge/balance/consul"]),
    ("rustls", &["edge/tls.rs"]),
    ("rustls_platform_verifier", &["edge/tls.rs"]),
    ("tokio_rustls", &["edge/tls.rs"]),
    ("x509_cert", &["edge/probe/host.rs"]),
    ("redis", &["edge/bus.rs", "edge/probe/redis.rs"]),
    ("lettre", &["edge/deliver/mail.rs"]),
    // One problem document for both servers is an answer of axum's.
    ("axum", &["api", "web/problem.rs"]),
    ("hyper", &["edge/probe", "web", "api", "fileserver"]),
    ("hyper_util", &["edge/probe", "web"]),
    ("http_body_util", &["edge/probe", "web", "fileserver"]),
    ("tower", &["web", "fileserver"]),
    ("hmac", &["edge/deliver/route", "edge/probe/signing.rs", "fileserver/token.rs"]),
    ("subtle", &["fileserver/token.rs"]),
    // probe: a body that no server has seen.
    ("getrandom", &["edge/probe/steps.rs", "fileserver"]),
    // unit: systemd's StandardInputData=. edge: Supervisor wants a password (RFC 7617).
    ("base64", &["unit", "fileserver", "edge/probe/external.rs"]),
    ("flate2", &["edge/log"]),
    ("regex", &["base/line_pattern.rs"]),
    ("clap", &["cli", "fileserver/command"]),
    ("anstream", &["cli"]),
    ("anstyle", &["cli"]),
    ("terminal_size", &["cli"]),
];

/// Lines of a file without its tests.
const LINES_MAX: usize = 600;
/// Files that may be longer, each with its reason.
const LONG_FILES: &[(&str, &str)] = &[];

fn house() -> Vec<Source> {
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

/// The row of `LAYERS` that a file belongs to; `lib.rs` has none.
fn layer(source: &Source) -> Option<&'static (&'static str, &'static [&'static str])> {
    LAYERS.iter().find(|(layer, _)| stands_in(&source.path, layer))
}

fn stands_in(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_pure(source: &Source) -> bool {
    PURE.iter().any(|layer| stands_in(&source.path, layer))
}

/// How many `super::` lead from this file to the crate's root.
fn depth(path: &str) -> usize {
    path.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count()
}

#[track_caller]
fn nothing(faults: &BTreeSet<String>) {
    assert!(faults.is_empty(), "\n{}", faults.iter().cloned().collect::<Vec<_>>().join("\n"));
}

#[test]
fn a_layer_names_only_layers_below_it() {
    let mut faults = BTreeSet::new();
    for source in house() {
        let Some((own, may)) = layer(&source) else {
            if source.path != "lib.rs" {
                faults.insert(format!("src/{} is in no layer", source.path));
            }
            continue;
        };
        let named = names_behind("crate", &source.code).into_iter().chain(names_behind("roundsman", &source.code));
        faults.extend(
            named.filter(|name| name != own && !may.contains(name)).map(|n| format!("src/{} names {n}", source.path)),
        );
        let above = "super::".repeat(depth(&source.path));
        if source.product.contains(&above) || words(&source.code).any(|(_, word)| word == "extern") && *own != "sys" {
            faults.insert(format!("src/{} reaches the crate's root by another way than crate::", source.path));
        }
    }
    nothing(&faults);
}

#[test]
fn every_layer_stands_in_the_map_in_this_order() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).expect("lib.rs");
    let listed: Vec<_> = map.lines().filter_map(|line| line.strip_prefix("pub mod ")?.split(';').next()).collect();
    let known: Vec<_> = LAYERS.iter().map(|(name, _)| *name).filter(|name| !name.starts_with("bin/")).collect();
    assert_eq!(listed, known);
}

#[test]
fn unsafe_code_stands_in_sys_alone() {
    let mut faults = BTreeSet::new();
    let mut forbidding: BTreeSet<_> = LAYERS.iter().map(|(name, _)| *name).filter(|name| *name != "sys").collect();
    for source in house().iter().filter(|source| !stands_in(&source.path, "sys")) {
        if words(&source.code).any(|(_, word)| word == "unsafe") {
            faults.insert(format!("src/{} has unsafe code", source.path));
        }
        if source.code.contains("#![forbid(unsafe_code)]") {
            forbidding.remove(source.path.trim_end_matches("/mod.rs"));
        }
    }
    faults.extend(forbidding.iter().map(|layer| format!("src/{layer} does not forbid unsafe code")));
    nothing(&faults);
}

#[test]
fn pure_layers_do_no_io_and_read_no_clock() {
    let mut faults = BTreeSet::new();
    for source in house().iter().filter(|source| is_pure(source)) {
        let said = words(&source.product).map(|(_, word)| word).filter(|word| IMPURE_WORDS.contains(word));
        faults.extend(said.map(|word| format!("src/{} says {word}", source.path)));
        let named = names_behind("std", &source.product).into_iter().filter(|name| !PURE_STD.contains(name));
        faults.extend(named.map(|name| format!("src/{} names std::{name}", source.path)));
    }
    nothing(&faults);
}

#[test]
fn a_crate_is_named_only_inside_its_fence() {
    let mut faults = BTreeSet::new();
    for source in &house() {
        for (at, word) in words(&source.product) {
            let Some((_, places)) = FENCES.iter().find(|(name, _)| *name == word) else { continue };
            let is_path = source.product[at + word.len()..].trim_start().starts_with("::");
            let is_root = !source.product[..at].trim_end().ends_with("::");
            if is_path && is_root && !places.is_empty() && !places.iter().any(|place| stands_in(&source.path, place)) {
                faults.insert(format!("src/{} names {word}", source.path));
            }
        }
    }
    nothing(&faults);
}

#[test]
fn every_dependency_has_a_fence() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).expect("Cargo.toml");
    let manifest: toml::Table = text.parse().expect("TOML");
    let dependencies: BTreeMap<_, _> = manifest["dependencies"].as_table().expect("a table").iter().collect();
    let names: BTreeSet<_> = dependencies.keys().map(|name| name.replace('-', "_")).collect();
    let fenced: BTreeSet<_> = FENCES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names, fenced);
}

#[test]
fn no_file_is_longer_than_one_can_read_at_once() {
    let mut faults = BTreeSet::new();
    for source in &house() {
        let lines = source.product.lines().count();
        let excused = LONG_FILES.iter().any(|(path, _)| *path == source.path);
        if (lines > LINES_MAX) != excused {
            faults.insert(format!("src/{}: {lines} lines without tests, at most {LINES_MAX}", source.path));
        }
    }
    nothing(&faults);
}

#[test]
fn what_is_read_is_code_and_not_what_code_talks_about() {
    let text = concat!(
        "use crate::{wire::v1, sys::{self, x}, base};\n// crate::no\n/* /* crate::no */ crate::no */\n",
        "const A: &str = \"crate::no \\\" crate::no\"; const B: &str = r#\"crate::no \" crate::no\"#;\n",
        "const C: char = '\"'; fn f<'a>(x: &'a str) { crate :: edge::y(x) }\n",
        "#[cfg(test)]\nmod tests { use crate::engine; #[test] fn t() {} }\nfn g() { crate::unit::z() }\n",
    );
    let source = Source::read("a.rs".to_owned(), text);
    assert_eq!(names_behind("crate", &source.code), ["base", "edge", "engine", "sys", "unit", "wire"].into());
    assert_eq!(names_behind("crate", &source.product), ["base", "edge", "sys", "unit", "wire"].into());
    assert_eq!(source.code.lines().count(), text.lines().count());
}
