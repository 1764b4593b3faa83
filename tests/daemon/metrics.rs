//! What Prometheus is told, and what ships for it.
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::support::{
    process,
    world::{World, free_port},
};

/// What /metrics of this daemon says to whoever accepts this.
pub(crate) fn page(world: &World, accept: &str) -> String {
    let mut curl = process::command("curl");
    curl.args(["--silent", "--fail", "--max-time", "20", "--header", &format!("Accept: {accept}")]);
    curl.arg("--unix-socket").arg(world.path("run/control.sock")).arg("http://localhost/metrics");
    let output = curl.output().expect("curl is in the Debian package curl");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A daemon with a unit of each kind of state, and what it says.
fn world() -> World {
    let bad = free_port();
    let probe = |name: &str, port: u16| {
        format!(
            "[[health]]\nname = \"{name}\"\ntcp = \"127.0.0.1:{port}\"\non_unhealthy = \"alert\"\n\
             interval = \"100ms\"\nunhealthy_after = 1\n"
        )
    };
    let sleeps = "[service]\nexec_start = \"sleep 1000\"\n";
    let fails = "[service]\nexec_start = \"false\"\nrestart = \"always\"\nrestart_sec = \"10ms\"\n\
                 [unit]\nstart_limit_burst = 3\n";
    let world = World::with(&[
        ("well", sleeps),
        ("ill", &format!("{sleeps}{}", probe("port", bad))),
        ("given-up", fails),
        ("once", "[service]\ntype = \"oneshot\"\nexec_start = \"true\"\n"),
        ("rests", &format!("{sleeps}[install]\nenabled = false\n")),
    ]);
    world.until_active("given-up", "failed");
    world.until_status("ill", "unhealthy", |status| status["health"] == "unhealthy");
    fs::write(world.unit_path("broken"), "[service]\nno = 1\n").unwrap();
    assert_ne!(world.ctl(&["reload-config"]).code, 0);
    fs::remove_file(world.unit_path("broken")).unwrap();
    world.ok(&["reload-config"]);
    world
}

fn promtool(arguments: &[&str]) -> Command {
    let mut promtool = process::command("promtool");
    promtool.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    promtool
}

pub(crate) fn said_of(text: &str) -> Output {
    let promtool = promtool(&["check", "metrics"]).spawn();
    let mut promtool = promtool.expect("promtool is in the Debian package prometheus");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    promtool.wait_with_output().unwrap()
}

/// A word of PromQL that names one of our metrics.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("roundsman_")).map(str::to_owned).collect()
}

pub(crate) fn promtool_finds_nothing_to_complain_of_and_counts_are_there_from_the_start() {
    let world = world();
    let text = page(&world, "*/*");
    let said = said_of(&text);
    assert!(said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}\n{text}");
    for line in [
        "roundsman_unit_up{unit=\"well\"} 1",
        "roundsman_unit_up{unit=\"once\"} 1",
        "roundsman_unit_up{unit=\"rests\"} 0",
        "roundsman_unit_failed{unit=\"rests\"} 0",
        "roundsman_unit_failed{unit=\"given-up\"} 1",
        "roundsman_unit_restarts_total{unit=\"given-up\",cause=\"auto-restart\"} 2",
        "roundsman_unit_restarts_total{unit=\"well\",cause=\"unhealthy\"} 0",
        "roundsman_unit_start_limit_hit_total{unit=\"given-up\"} 1",
        "roundsman_unit_start_limit_hit_total{unit=\"well\"} 0",
        "roundsman_probe_up{unit=\"ill\",probe=\"port\"} 0",
        "roundsman_store_up 1",
        "roundsman_config_reloads_total{result=\"rejected\"} 1",
        "roundsman_config_reload_duration_seconds_count 2",
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
    let unhelpful: String =
        text.lines().filter(|line| !line.starts_with("# HELP")).map(|l| l.to_owned() + "\n").collect();
    assert!(!said_of(&unhelpful).status.success(), "promtool does look");
}

pub(crate) fn prometheus_itself_is_given_openmetrics() {
    let world = World::with(&[("well", "[service]\nexec_start = \"sleep 1000\"\n")]);
    let text = page(&world, "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5");
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    assert!(text.contains("# TYPE roundsman_unit_restarts counter\n"), "{text}");
    assert!(text.contains("\nroundsman_unit_restarts_total{unit=\"well\",cause=\"auto-restart\"} 0\n"), "{text}");
}

pub(crate) fn what_ships_for_prometheus_and_grafana_asks_for_metrics_that_there_are() {
    let world = World::with(&[("well", "[service]\nexec_start = \"sleep 1000\"\n")]);
    let text = page(&world, "*/*");
    let mut known = BTreeSet::new();
    for family in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = family.split_once(' ').unwrap();
        known.insert(name.to_owned());
        if kind == "histogram" {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        }
    }
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging");
    for file in ["prometheus/roundsman.rules.yml", "prometheus/roundsman.test.yml", "grafana/roundsman.json"] {
        let asked = named(&fs::read_to_string(shipped.join(file)).unwrap());
        assert!(asked.len() > 4, "{file}: {asked:?}");
        let unknown: Vec<_> = asked.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} asks for {unknown:?}; there are {known:?}");
    }
}
