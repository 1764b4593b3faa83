//! The guide's scenario on machines that have networks of their own: vm1 with an XMPP server, vm2 with the file server, vm3
//! without a daemon, under a systemd of its own, with ejabberd as Debian ships it, vm4 to vm6 with applications behind a load
//! balancer on vm4. Redis has a replica and three sentinels.

#[expect(dead_code, reason = "more of it is used by tests of our unit under systemd")]
#[path = "../../support/machine.rs"]
mod machine;

use std::{collections::BTreeMap, path::Path};

use machine::{Machine, eventually};

use super::*;
use crate::support::{namespace::apart, network};

const DAEMONS: [usize; 5] = [1, 2, 4, 5, 6];
/// The one without a daemon.
const HOST: usize = 3;
const APPS: [usize; 3] = [4, 5, 6];
/// Where the first Redis is, and its replica.
const REDIS: [usize; 2] = [2, 4];
const SENTINELS: [usize; 3] = [1, 2, 4];
/// Who balances, at this port.
const FRONT: (usize, u16) = (4, 80);

const SERVICES: &str = "
[[service]]
name = \"hmac-file-server\"
nodes = [\"vm2\"]
soak = \"2s\"
[[service]]
name = \"prosody\"
nodes = [\"vm1\"]
depends_on = [{ service = \"hmac-file-server\", on_restart = \"reload_or_restart\" }]
[[service]]
name = \"ejabberd\"
nodes = [\"vm3\"]
depends_on = [{ service = \"hmac-file-server\", on_restart = \"reload\" }]
validate = [\"sh\", \"-c\", \"grep -c 'Reloading configuration' /var/log/ejabberd/ejabberd.log > /run/reloads; :\"]
verify_reload = [\"sh\", \"-c\", \"for i in 1 2 3 4; do [ $(grep -c 'Reloading configuration' /var/log/ejabberd/ejabberd.log) -eq \
$(cat /run/reloads) ] || exit 0; sleep 0.5; done; echo it has read nothing; exit 1\"]
[[service]]
name = \"app\"
nodes = [\"vm4\", \"vm5\", \"vm6\"]
behind = [{ pool = \"apps\" }]
depends_on = [{ service = \"hmac-file-server\", on_restart = \"restart\" }]
[[pool]]
name = \"apps\"
kind = \"haproxy\"
hosts = [\"vm4\"]
min_active = 2
";

fn place(nth: usize, port: u16) -> SocketAddr {
    format!("{}:{port}", network::address(nth)).parse().unwrap()
}

struct Vms {
    nodes: BTreeMap<usize, World>,
    host: Machine,
    /// What the operator has for their own ssh.
    operator: tempfile::TempDir,
}

impl Vms {
    fn begin() -> Self {
        network::switch();
        let host = Machine::boot(&[]);
        network::adopt(HOST, host.init());
        let operator = tempfile::tempdir().unwrap();
        hosts::equip_operator(operator.path());
        serve(&host, operator.path());
        let worlds = DAEMONS.map(|nth| {
            network::machine(nth);
            (nth, World::on(&format!("vm{nth}")))
        });
        let nodes = BTreeMap::from(worlds);
        let topology = topology(&nodes[&FRONT.0].path("haproxy.sock"));
        let mut this = Self { nodes, host, operator };
        for (nth, world) in &mut this.nodes {
            equip(*nth, world, &topology);
            world.spawn();
        }
        this.nodes.values_mut().for_each(World::await_answer);
        this.nodes.values().for_each(until_all_are_heard);
        // By all at once.
        std::thread::scope(|scope| {
            for nth in DAEMONS {
                let this = &this;
                scope.spawn(move || {
                    let said = this.enrol(nth, &[]);
                    assert_eq!(said.code, 0, "{said:?}");
                });
            }
        });
        for nth in APPS {
            this.node(nth).until_status("app", "healthy", |status| status["health"] == "healthy");
        }
        until("haproxy answers", || ask_at(place(FRONT.0, FRONT.1)).ok());
        eventually("ejabberd is up", || this.property("ActiveState") == "active");
        this
    }

    fn node(&self, nth: usize) -> &World {
        &self.nodes[&nth]
    }

    /// Enrols the host at a node.
    fn enrol(&self, nth: usize, more: &[&str]) -> Said {
        hosts::enrol(self.operator.path(), self.node(nth), &format!("vm{HOST}"), more)
    }

    /// What systemd knows of ejabberd.
    fn property(&self, name: &str) -> String {
        self.host.run(&["systemctl", "show", "ejabberd", "--value", "--property", name])
    }

    /// How often an XMPP server reloaded, prosody first.
    fn reloads(&self) -> [usize; 2] {
        let said = "Reloading configuration";
        let ejabberd = self.host.read("var/log/ejabberd/ejabberd.log").matches(said).count();
        [self.node(1).captured("prosody").matches(said).count(), ejabberd]
    }

    /// How many have come in by a key, by ssh.
    fn let_in(&self) -> usize {
        self.host.run(&["journalctl", "-u", "ssh", "--no-pager"]).matches("Accepted publickey").count()
    }

    /// Orders the restart of the file server, and lets it be restarted.
    fn begin_to_restart(&self, driver: usize) {
        self.runnable(driver);
        let before = generation(self.node(2), "hmac-file-server");
        self.node(driver).ok(&["fleet", "restart", "hmac-file-server", "--no-wait"]);
        until("the file server was restarted", || {
            (generation(self.node(2), "hmac-file-server") > before).then_some(())
        });
    }

    fn runnable(&self, driver: usize) -> Said {
        until("nothing is in the way", || {
            let said = self.node(driver).ctl(&["fleet", "restart", "hmac-file-server", "--dry-run"]);
            (said.code == 0).then_some(said)
        })
    }
}

/// Makes the host one that the operator can log in to, and that serves.
fn serve(host: &Machine, operator: &Path) {
    let key = fs::read_to_string(operator.join("operator.pub")).unwrap();
    let begin = format!(
        "rm -rf /etc/ssh/ssh_host_* /root/.ssh; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key\n\
         mkdir -m 700 /root/.ssh; echo '{}' > /root/.ssh/authorized_keys\n\
         systemd-tmpfiles --create ejabberd.conf\nsystemctl start systemd-journald systemd-user-sessions ssh\n\
         systemctl start --no-block ejabberd",
        key.trim()
    );
    host.run(&["sh", "-ec", &begin]);
}

fn topology(socket: &Path) -> String {
    let nodes = (1..=6).map(|nth| {
        let transport = if nth == HOST { "ssh" } else { "agent" };
        format!("[[node]]\nname = \"vm{nth}\"\naddress = \"{}\"\ntransport = \"{transport}\"\n", network::address(nth))
    });
    format!("name = \"test\"\n{}{SERVICES}socket = \"{}\"\n", nodes.collect::<String>(), socket.display())
}

/// What a machine with a daemon has.
fn equip(nth: usize, world: &World, topology: &str) {
    fs::write(world.path("fleet.toml"), topology).unwrap();
    let sentinels: Vec<String> = SENTINELS.map(|nth| format!("\"{}\"", place(nth, 26379))).into();
    world.settings(&format!(
        "[fleet]\nnode = \"vm{nth}\"\n[high_availability]\nredis_url = \"redis://{}\"\nsentinels = [{}]\nsentinel_primary = \"fleet\"\n\
         connection_timeout = \"2s\"\n[heartbeat]\ninterval = \"1s\"\n",
        place(REDIS[0], 6379),
        sentinels.join(", ")
    ));
    redis(nth, world);
    let files = place(2, 8080);
    match nth {
        1 => guide::prosody(world),
        2 => guide::file_server(world, files),
        nth => {
            guide::uploader(world, place(nth, 8080), files);
            let restarts = "[service]\nrestart = \"always\"\nrestart_sec = \"200ms\"\n";
            fs::write(world.path("units/app.toml.d/restarts.toml"), restarts).unwrap();
        }
    }
    if nth == FRONT.0 {
        balance(world);
    }
}

fn redis(nth: usize, world: &World) {
    let own = network::address(nth);
    let primary = network::address(REDIS[0]);
    if REDIS.contains(&nth) {
        let of = if nth == REDIS[0] { String::new() } else { format!("--replicaof {primary} 6379") };
        let server = format!(
            "[service]\nexec_start = \"redis-server --port 6379 --bind {own} --protected-mode no --save '' --appendonly no \
             --repl-diskless-sync-delay 0 --dir @ {of}\"\n"
        );
        world.unit("redis", &server);
    }
    if SENTINELS.contains(&nth) {
        let at = world.path("").display().to_string();
        let watch = format!(
            "port 26379\nbind {own}\nprotected-mode no\ndir {at}\nsentinel monitor fleet {primary} 6379 2\n\
             sentinel down-after-milliseconds fleet 5000\nsentinel failover-timeout fleet 10000\n"
        );
        fs::write(world.path("sentinel.conf"), watch).unwrap();
        world.unit("sentinel", "[service]\nexec_start = \"redis-server @/sentinel.conf --sentinel\"\n");
    }
}

/// A server that does not answer is tried no more, and what was to go there goes elsewhere.
fn balance(world: &World) {
    let servers: String =
        APPS.map(|nth| format!("  server vm{nth} {} check inter 500ms fall 2 rise 1\n", place(nth, 8080))).concat();
    let config = format!(
        "global\n  stats socket {} mode 600 level admin\ndefaults\n  mode http\n  retries 3\n  option redispatch 1\n  timeout connect 500ms\n  \
         timeout client 30s\n  timeout server 30s\nfrontend front\n  bind {}\n  default_backend apps\nbackend apps\n{servers}",
        world.path("haproxy.sock").display(),
        place(FRONT.0, FRONT.1)
    );
    fs::write(world.path("haproxy.cfg"), config).unwrap();
    world.unit("haproxy", "[service]\nexec_start = \"haproxy -W -f @/haproxy.cfg\"\n");
}

/// What an operator would go through by hand is said before, while it goes on, and after.
const SAID: [&str; 9] = [
    "✓ clients     app@vm4 (restart), app@vm5 (restart), app@vm6 (restart), ejabberd@vm3 (reload), prosody@vm1 (reload or restart)",
    "✓ Redis       it answers; 5 of 5 nodes are heard",
    "✓ under way   hmac-file-server@vm2: serving 10.77.0.2:8080",
    " in flight",
    "app@vm4 well",
    "✓ restarted   done, and healthy since: hmac-file-server@vm2 (restart)",
    "✓ pools       requests go to apps/vm4, apps/vm5, apps/vm6 again",
    "app@vm4: probe upload healthy",
    "no probe uploads from ejabberd@vm3, prosody@vm1",
];

pub(crate) fn the_scenario_of_the_guide_goes_on_machines_of_their_own() {
    apart("fleet::the_scenario_of_the_guide_goes_on_machines_of_their_own", || {
        let vms = Vms::begin();
        as_it_is_written(&vms);
        though_a_machine_is_cut_off(&vms);
        though_a_reload_lies(&vms);
        though_the_host_has_another_key(&vms);
    });
}

pub(crate) fn the_scenario_goes_on_machines_of_their_own_though_who_drives_dies_or_is_cut_off() {
    apart("fleet::the_scenario_goes_on_machines_of_their_own_though_who_drives_dies_or_is_cut_off", || {
        let vms = Vms::begin();
        though_the_drivers_manager_dies(&vms);
        though_the_drivers_machine_is_cut_off(&vms, 1);
    });
}

pub(crate) fn the_scenario_goes_on_machines_of_their_own_though_redis_or_a_host_is_cut_off() {
    apart("fleet::the_scenario_goes_on_machines_of_their_own_though_redis_or_a_host_is_cut_off", || {
        let vms = Vms::begin();
        though_the_host_is_cut_off(&vms);
        until("there is a replica", || redis_says(REDIS[0], "info replication").contains("state=online").then_some(()));
        though_the_drivers_machine_is_cut_off(&vms, REDIS[0]);
        assert!(redis_says(REDIS[1], "role").starts_with("master"), "{}", redis_says(REDIS[1], "role"));
    });
}

fn redis_says(nth: usize, words: &str) -> String {
    let mut command = Command::new("redis-cli");
    let command = command.args(["-h", &network::address(nth)]).args(words.split(' '));
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// What was done so far.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Tally {
    /// Runs of units, by their machines.
    runs: BTreeMap<(usize, &'static str), u64>,
    /// Of prosody and ejabberd.
    reloads: [usize; 2],
    /// The process that is ejabberd to systemd, and its run.
    ejabberd: [String; 2],
}

impl Tally {
    fn of(vms: &Vms) -> Self {
        let units = [(2, "hmac-file-server"), (1, "prosody"), (4, "app"), (5, "app"), (6, "app")];
        Self {
            runs: units.map(|(nth, unit)| ((nth, unit), generation(vms.node(nth), unit))).into(),
            reloads: vms.reloads(),
            ejabberd: ["MainPID", "InvocationID"].map(|name| vms.property(name)),
        }
    }

    /// When the file server was restarted once more and everyone who depends on it was told, each thing once.
    fn and_a_plan(mut self) -> Self {
        self.runs.iter_mut().filter(|((_, unit), _)| *unit != "prosody").for_each(|(_, runs)| *runs += 1);
        self.reloads = self.reloads.map(|reloads| reloads + 1);
        self
    }
}

fn as_it_is_written(vms: &Vms) {
    let driver = 1;
    let before = Tally::of(vms);
    let runnable = vms.runnable(driver);
    for line in ["reload or restart prosody@vm1", "reload ejabberd@vm3", "restart app@vm5"] {
        assert!(runnable.out.contains(line), "{line}: {}", runnable.out);
    }
    let load = Load::at(place(FRONT.0, FRONT.1));
    let done = vms.node(driver).ctl(&["fleet", "restart", "hmac-file-server"]);
    process::pause(300);
    none_failed(load);
    assert_eq!(done.code, 0, "{done:?}");
    assert_eq!(Tally::of(vms), before.and_a_plan(), "{done:?}");
    let server = began(vms.node(2), "hmac-file-server");
    assert!(APPS.iter().all(|nth| began(vms.node(*nth), "app") > server), "the file server comes first");
    for line in SAID {
        assert!(done.out.contains(line), "{line}\n{}", done.out);
    }
}

fn none_failed(load: Load) {
    let (went_well, failed) = load.end();
    assert!(failed.is_empty(), "{} of {} failed: {}", failed.len(), went_well + failed.len(), failed[0]);
    assert!(went_well > 100, "{went_well} is no load");
}

fn though_the_drivers_manager_dies(vms: &Vms) {
    let driver = 6;
    let before = Tally::of(vms);
    vms.runnable(driver);
    let load = Load::at(place(FRONT.0, FRONT.1));
    // Once for each, as that is begun.
    let kills = guide::restart_killing_the_driver(vms.node(driver), |task| {
        (task["stage"] != "waiting").then(|| task["instance"].to_string())
    });
    assert!(kills >= 4, "{kills} kills");
    process::pause(300);
    none_failed(load);
    assert_eq!(Tally::of(vms), before.and_a_plan());
}

fn though_the_drivers_machine_is_cut_off(vms: &Vms, driver: usize) {
    let other = 5;
    let before = Tally::of(vms);
    let load = Load::at(place(FRONT.0, FRONT.1));
    vms.begin_to_restart(driver);
    network::cut(driver);
    let cut = Instant::now();
    let plan = until_within(TAKEN_OVER, "another node drives", || {
        newest_plan(vms.node(other)).filter(|plan| plan["driver"] != *format!("vm{driver}"))
    });
    println!("{} drives after {:?}", plan["driver"], cut.elapsed());
    network::heal(driver);
    until_plan(vms.node(other), "succeeded");
    none_failed(load);
    assert_eq!(Tally::of(vms), before.and_a_plan());
}

fn though_the_host_is_cut_off(vms: &Vms) {
    let driver = 1;
    let before = Tally::of(vms);
    vms.begin_to_restart(driver);
    network::cut(HOST);
    until_within(TAKEN_OVER, "the plan waits, and says for whom", || {
        let plan = newest_plan(vms.node(driver));
        (waits(plan.as_ref()) == ["nothing was heard from node vm3 of late"]).then_some(())
    });
    network::heal(HOST);
    until_plan(vms.node(driver), "succeeded");
    assert_eq!(Tally::of(vms), before.and_a_plan());
}

fn though_a_machine_is_cut_off(vms: &Vms) {
    let (driver, away) = (1, 5);
    let mut before = Tally::of(vms);
    vms.begin_to_restart(driver);
    network::cut(away);
    // It is looked after there all the same.
    let first = vms.node(away).pid("app");
    kill(first, Signal::SIGKILL);
    vms.node(away)
        .until_status("app", "it is up again", |status| status["active"] == "active" && status["pid"] != first);
    before.runs.entry((away, "app")).and_modify(|runs| *runs += 1);
    // The load balancer misses it before the node is missed.
    let reasons = [
        &*format!("1 unavailable, 1 may be; app@vm{away}"),
        "2 servers of pool apps take requests, and 2 have to stay",
    ];
    let mut plan = None;
    let deadline = Instant::now() + TAKEN_OVER / 2;
    while !waits(plan.as_ref()).iter().any(|waits| reasons.iter().any(|reason| waits.starts_with(reason))) {
        assert!(Instant::now() < deadline, "it waits for vm{away}, and says so: {plan:#?}");
        plan = newest_plan(vms.node(driver));
    }
    let load = Load::at(place(FRONT.0, FRONT.1));
    process::pause(4_000);
    none_failed(load);
    assert_eq!(newest_plan(vms.node(driver)).unwrap()["state"], "running");
    let meanwhile = Tally::of(vms);
    for nth in APPS.into_iter().filter(|nth| *nth != away) {
        assert_eq!(meanwhile.runs[&(nth, "app")], before.runs[&(nth, "app")], "one is away, and one may be");
    }
    network::heal(away);
    until_plan(vms.node(driver), "succeeded");
    assert_eq!(Tally::of(vms), before.and_a_plan());
    until_all_are_heard(vms.node(driver));
}

/// What the instances of a plan wait for.
fn waits(plan: Option<&Value>) -> Vec<&str> {
    let waves = plan.and_then(|plan| plan["waves"].as_array()).into_iter().flatten();
    let tasks = waves.flat_map(|wave| wave["tasks"].as_array().unwrap());
    tasks.filter_map(|task| task["waits_for"].as_str()).collect()
}

/// What systemd does for `ejabberd.service` instead of a reload.
const LIE: &str = "[Service]\nExecReload=\nExecReload=/bin/true\n";

fn though_a_reload_lies(vms: &Vms) {
    let driver = 4;
    let before = Tally::of(vms);
    let drop_in = "etc/systemd/system/ejabberd.service.d/lie.conf";
    vms.host.write(drop_in, LIE);
    vms.host.systemctl(&["daemon-reload"]);
    vms.begin_to_restart(driver);
    let plan = until_plan(vms.node(driver), "paused");
    let reason =
        "ejabberd@vm3 failed at acting: the reload was done and had no effect: sh: exit status: 1: it has read nothing";
    assert_eq!(plan["reason"], reason, "{plan:#}");
    assert_eq!(vms.reloads()[1], before.reloads[1]);
    fs::remove_file(vms.host.path(drop_in)).unwrap();
    vms.host.systemctl(&["daemon-reload"]);
    vms.node(driver).ok(&["plan", "resume", plan["id"].as_str().unwrap()]);
    until_plan(vms.node(driver), "succeeded");
    assert_eq!(Tally::of(vms), before.and_a_plan());
}

/// Sessions that are there end, and whoever comes finds a host that was set up anew.
const SET_UP_ANEW: &str = "rm /etc/ssh/ssh_host_*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key
systemctl kill --kill-who=all --signal=KILL ssh; systemctl restart ssh";

fn though_the_host_has_another_key(vms: &Vms) {
    let driver = 1;
    let before = Tally::of(vms);
    vms.begin_to_restart(driver);
    vms.host.run(&["sh", "-ec", SET_UP_ANEW]);
    let let_in = vms.let_in();
    let plan = until_plan(vms.node(driver), "paused");
    let reason = plan["reason"].as_str().unwrap();
    for part in ["the key of vm3 is not the one that is known", "supervisorctl fleet enrol vm3 --anew"] {
        assert!(reason.contains(part), "{reason}");
    }
    process::pause(2_000);
    assert_eq!((vms.let_in(), vms.reloads()[1]), (let_in, before.reloads[1]), "nothing is sent to who has another key");
    fs::remove_file(vms.operator.path().join("known")).unwrap();
    let refused = vms.enrol(driver, &[]);
    assert!(refused.code == 1 && refused.err.contains("say --anew"), "{refused:?}");
    let enrolled = vms.enrol(driver, &["--anew"]);
    assert_eq!(enrolled.code, 0, "{enrolled:?}");
    vms.node(driver).ok(&["plan", "resume", plan["id"].as_str().unwrap()]);
    until_plan(vms.node(driver), "succeeded");
    assert_eq!(Tally::of(vms), before.and_a_plan());
}
