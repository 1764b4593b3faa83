//! Several daemons, each as a machine of its own, and a real Redis between them.

mod carrier; // Redis, which is none to be relied upon
mod clocks;
mod consul; // as a pool
mod cuts; // of the way to a host
mod died; // a manager in the middle of something
mod failover; // of Redis
mod guide; // the whole of it
mod hosts; // without a daemon
mod outdated; // plans of another fleet.toml
mod partition; // a way that is cut
mod pools; // load balancers besides HAProxy
mod take; // who drives, and which plan
mod triggers; // the API, and time
mod vigil; // who is alive
mod vms; // the whole of it on machines with networks of their own
mod windows; // when
mod witness; // who is asked to look

use std::{
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) use carrier::{
    a_redis_that_goes_back_to_what_it_knew_takes_no_plan_and_no_number_back,
    what_comes_twice_late_or_in_another_order_is_done_once,
};
pub(crate) use clocks::clocks_that_differ_by_hours_change_no_decision;
pub(crate) use consul::{
    an_instance_that_is_deregistered_is_registered_again_though_the_managers_die_in_between,
    instances_behind_consul_are_drained_before_they_are_restarted_and_offered_when_they_are_well,
};
pub(crate) use cuts::a_step_whose_outcome_is_not_heard_because_the_way_is_cut_is_done_once;
pub(crate) use died::{
    a_plan_that_another_machine_ended_is_not_told_to_redis_again,
    a_plan_that_redis_and_the_manager_lost_at_once_waits_for_someone_and_can_be_gone_on_with_or_ended,
    a_reload_is_done_once_and_no_restart_follows_whenever_the_manager_of_its_machine_dies,
    a_reload_that_fails_after_the_manager_has_died_has_failed_and_is_not_tried_again,
    a_restart_that_its_manager_died_at_is_followed_once,
    who_was_told_of_a_restart_is_not_told_again_though_the_manager_dies_as_it_tells_them,
};
pub(crate) use failover::a_plan_goes_on_when_redis_fails_over_to_its_replica;
pub(crate) use guide::{
    a_reload_that_lies_is_found_out_and_followed_by_a_restart_where_that_is_wanted,
    the_scenario_goes_on_though_its_driver_dies_at_each_step,
    the_scenario_goes_on_though_its_driver_which_is_one_of_its_machines_dies_at_each_step,
    the_scenario_of_the_operators_guide_goes_as_it_is_written,
};
pub(crate) use hosts::{
    a_host_that_hangs_or_floods_is_out_of_reach_in_time_and_no_ssh_is_left,
    a_host_with_another_key_is_spoken_to_only_when_someone_says_that_it_was_set_up_anew,
    a_host_without_a_daemon_is_enrolled_and_restarted_in_its_turn,
    a_step_at_a_host_is_done_once_though_the_manager_dies_while_it_is_done,
    however_often_the_way_to_a_host_is_cut_each_step_is_done_once,
    the_key_of_a_node_opens_nothing_but_our_program_and_twenty_copies_of_a_step_are_done_once,
    what_is_not_sound_is_left_alone_and_who_is_to_be_notified_is_told_by_its_command,
};
pub(crate) use outdated::{
    a_machine_that_still_has_the_fleet_toml_of_a_plan_takes_it_over_and_goes_on,
    a_plan_whose_driver_died_and_whose_fleet_toml_changed_waits_for_someone_and_says_so,
    without_redis_a_plan_of_another_fleet_toml_is_not_gone_on_with_and_can_be_ended,
};
pub(crate) use partition::a_machine_that_is_cut_off_in_the_middle_of_a_plan_is_waited_for_and_nothing_is_done_twice;
pub(crate) use pools::{
    a_load_balancer_behind_a_command_is_asked_told_and_believed,
    no_request_fails_while_servers_behind_nginx_are_restarted,
};
pub(crate) use take::{
    a_plan_is_driven_from_where_someone_wants_it_and_each_step_is_done_once,
    a_plan_takes_the_place_of_another_one_wherever_that_is_driven_and_whoever_dies,
    without_redis_a_plan_takes_the_place_of_another_one_too,
};
pub(crate) use triggers::{
    a_plan_is_ordered_watched_and_ended_through_the_api, a_timer_orders_a_plan_that_nobody_has_to_agree_to_any_more,
    a_timer_orders_nothing_outside_of_windows_and_its_unit_fails_with_the_reason,
};
pub(crate) use vigil::{
    a_fleet_without_redis_says_so_and_nothing_of_its_machines_and_touches_no_service,
    a_machine_that_stands_still_is_told_of_once_and_so_is_its_return,
    a_plan_that_waits_for_someone_is_told_of_and_so_is_that_it_goes_on,
};
pub(crate) use vms::{
    the_scenario_goes_on_machines_of_their_own_though_redis_or_a_host_is_cut_off,
    the_scenario_goes_on_machines_of_their_own_though_who_drives_dies_or_is_cut_off,
    the_scenario_of_the_guide_goes_on_machines_of_their_own,
};
pub(crate) use windows::{
    a_plan_whose_window_closes_waits_for_the_next_one, outside_of_windows_nothing_is_begun_unless_someone_says_so,
};
pub(crate) use witness::a_machine_that_another_one_reaches_is_cut_off_and_has_failed_once_nobody_reaches_it;

use crate::support::{
    process::{self, Signal, kill, until, until_within},
    world::{Said, World, free_port},
};

/// What a driver's death costs at most: its lease, and a look at whether anyone drives.
const TAKEN_OVER: Duration = Duration::from_secs(60);

/// Machines `vm1` … with the same `fleet.toml`.
struct Fleet {
    redis: World,
    port: u16,
    nodes: Vec<World>,
}

const APP: &str = "[service]\nexec_start = \"sleep 100000\"\n";

/// Three machines: a database on the first, and what depends on it on all of them.
const THREE: &str = "
[[service]]
name = \"db\"
nodes = [\"vm1\"]
[[service]]
name = \"app\"
nodes = [\"vm1\", \"vm2\", \"vm3\"]
depends_on = [{ service = \"db\", on_restart = \"restart\" }]
";

impl Fleet {
    /// `services` is what fleet.toml says of them; each machine gets `units`.
    fn begin(count: usize, services: &str, units: &[(&str, &str)]) -> Self {
        Self::equipped(count, services, |_, world| units.iter().for_each(|(name, text)| world.unit(name, text)))
    }

    /// The same where each machine is another one.
    fn equipped(count: usize, services: &str, equip: impl Fn(usize, &mut World)) -> Self {
        Self::told(count, services, "", "", equip)
    }

    /// The same with more in each `[[node]]`, and in the settings of each.
    fn told(count: usize, services: &str, node: &str, settings: &str, equip: impl Fn(usize, &mut World)) -> Self {
        let port = free_port();
        let server = format!(
            "[service]\nexec_start = \"redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no --dir @\"\n"
        );
        let redis = World::with(&[("redis", &server)]);
        until("redis answers", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let nodes: String = (1..=count).map(|nth| format!("[[node]]\nname = \"vm{nth}\"\n{node}")).collect();
        let topology = format!("name = \"test\"\n{nodes}{services}");
        let mut fleet = Self { redis, port, nodes: Vec::new() };
        for nth in 1..=count {
            let mut world = World::new();
            fs::write(world.path("fleet.toml"), &topology).unwrap();
            fleet.settle(&world, nth, settings);
            equip(nth, &mut world);
            world.start();
            fleet.nodes.push(world);
        }
        fleet.until_all_are_heard();
        fleet
    }

    fn settle(&self, world: &World, nth: usize, more: &str) {
        let port = self.port;
        world.settings(&format!(
            "[fleet]\nnode = \"vm{nth}\"\n[high_availability]\nredis_url = \"redis://127.0.0.1:{port}\"\nconnection_timeout = \"2s\"\n{more}"
        ));
    }

    fn node(&self, nth: usize) -> &World {
        &self.nodes[nth - 1]
    }

    fn until_all_are_heard(&self) {
        self.nodes.iter().for_each(until_all_are_heard);
    }

    /// The newest plan, as a machine sees it.
    fn plan(&self, nth: usize) -> Option<Value> {
        newest_plan(self.node(nth))
    }

    fn until_plan(&self, nth: usize, state: &str) -> Value {
        until_plan(self.node(nth), state)
    }

    /// How many runs a unit of a machine has had.
    fn generation(&self, nth: usize, unit: &str) -> u64 {
        generation(self.node(nth), unit)
    }

    /// When the last run of a unit of a machine began.
    fn began(&self, nth: usize, unit: &str) -> i64 {
        began(self.node(nth), unit)
    }
}

fn until_all_are_heard(world: &World) {
    until("every node is heard everywhere", || {
        let said = world.ctl(&["fleet", "status", "--json"]).json();
        let agents = said["nodes"].as_array().unwrap().iter().filter(|node| node["transport"] == "agent");
        agents.clone().all(|node| node["trouble"].is_null()).then_some(())
    });
}

fn newest_plan(world: &World) -> Option<Value> {
    let said = world.ctl(&["fleet", "plans", "--json"]);
    if said.code != 0 { None } else { said.json()["plans"].as_array()?.first().cloned() }
}

fn until_plan(world: &World, state: &str) -> Value {
    let deadline = Instant::now() + TAKEN_OVER;
    loop {
        let plan = newest_plan(world);
        if let Some(plan) = plan.as_ref().filter(|plan| plan["state"] == state) {
            return plan.clone();
        }
        assert!(Instant::now() < deadline, "the plan is not {state}: {plan:#?}");
        process::pause(5);
    }
}

fn generation(world: &World, unit: &str) -> u64 {
    world.status(unit)["generation"].as_u64().unwrap()
}

fn began(world: &World, unit: &str) -> i64 {
    world.history(unit, 1)[0]["started_us"].as_i64().unwrap()
}

/// In which class each instance is, by name.
fn class<'a>(plan: &'a Value, instance: &str) -> &'a str {
    let waves = plan["waves"].as_array().unwrap();
    let mut tasks = waves.iter().flat_map(|wave| wave["tasks"].as_array().unwrap());
    tasks.find(|task| task["instance"] == instance).unwrap()["class"].as_str().unwrap()
}

fn lines(said: &Said) -> Vec<&str> {
    said.out.lines().collect()
}

pub(crate) fn a_restart_goes_over_the_machines_in_order_and_each_is_restarted_once() {
    let fleet = Fleet::begin(3, THREE, &[("db", APP), ("app", APP)]);
    let shown = fleet.node(2).ok(&["fleet", "restart", "db", "--dry-run"]);
    assert!(shown.out.contains("it depends on db, which has to be healthy first"), "{}", shown.out);
    assert_eq!(fleet.generation(1, "db"), 1, "it was only shown");
    let done = fleet.node(2).ok(&["fleet", "restart", "db"]);
    assert!(lines(&done).contains(&"  done: db@vm1, app@vm1, app@vm3, app@vm2"), "{}", done.out);
    let order = [(1, "db"), (1, "app"), (3, "app"), (2, "app")];
    for (nth, unit) in order {
        assert_eq!(fleet.generation(nth, unit), 2, "{unit} of vm{nth}");
        let newest = &fleet.node(nth).ok(&["history", unit, "--json"]).json()["runs"][0];
        assert_eq!(newest["cause"], "manual", "{newest:#}");
    }
    let began: Vec<i64> = order.iter().map(|(nth, unit)| fleet.began(*nth, unit)).collect();
    assert!(began.is_sorted(), "{began:?}");
    for nth in 1..=3 {
        assert_eq!(fleet.until_plan(nth, "succeeded")["by"], "uid 0", "every machine shows the plan");
    }
}

pub(crate) fn what_is_in_the_way_of_a_plan_is_said_and_nothing_begins() {
    let fleet = Fleet::begin(3, THREE, &[("db", APP), ("app", APP)]);
    let unknown = fleet.node(1).ctl(&["fleet", "restart", "dbb"]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("did you mean db?"), "{}", unknown.err);
    assert_eq!(fleet.node(1).ctl(&["fleet", "restart", "app", "--node", "vm9"]).code, 1);
    let nothing = fleet.node(1).ctl(&["fleet", "restart", "db", "--node", "vm2"]);
    assert_eq!(nothing.code, 3, "{nothing:?}");
    fleet.node(2).ok(&["stop", "app"]);
    until("the stop is known", || {
        let said = fleet.node(1).ctl(&["fleet", "restart", "app", "--node", "vm3", "--dry-run"]);
        (said.code == 2).then_some(said)
    });
    let blocked = fleet.node(1).ctl(&["fleet", "restart", "app", "--node", "vm3"]);
    assert_eq!(blocked.code, 2, "{blocked:?}");
    assert!(blocked.out.contains("1 of app are unavailable already (app@vm2), 1 may be"), "{}", blocked.out);
    assert_eq!(fleet.generation(3, "app"), 1);
    let stale = fleet.node(1).ctl(&["fleet", "restart", "app", "--digest", &"ab".repeat(32)]);
    assert!(stale.code == 1 && stale.err.contains("the plan is another one by now"), "{stale:?}");
}

pub(crate) fn another_machine_goes_on_with_a_plan_whose_driver_died() {
    let slow = THREE.replace("name = \"db\"\n", "name = \"db\"\nsoak = \"8s\"\n");
    let mut fleet = Fleet::begin(3, &slow, &[("db", APP), ("app", APP)]);
    fleet.node(3).ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (fleet.generation(1, "db") == 2).then_some(()));
    let mut driver = fleet.nodes.pop().unwrap();
    driver.kill_keeper();
    until_within(TAKEN_OVER, "another one drives, and knows what was done", || {
        let drives = |plan: &Value| plan["driver"] == "vm1" || plan["driver"] == "vm2";
        fleet.plan(1).filter(|plan| drives(plan) && class(plan, "db@vm1") == "done")
    });
    driver.start();
    fleet.nodes.push(driver);
    fleet.until_plan(2, "succeeded");
    for (nth, unit) in [(1, "db"), (1, "app"), (2, "app")] {
        assert_eq!(fleet.generation(nth, unit), 2, "{unit} of vm{nth} was restarted once");
    }
}

pub(crate) fn a_fleet_that_loses_redis_does_nothing_and_goes_on_when_it_is_back() {
    let slow = THREE.replace("name = \"db\"\n", "name = \"db\"\nsoak = \"6s\"\n");
    let fleet = Fleet::begin(3, &slow, &[("db", APP), ("app", APP)]);
    fleet.node(2).ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (fleet.generation(1, "db") == 2).then_some(()));
    kill(fleet.redis.pid("redis"), Signal::SIGSTOP);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(12) {
        for nth in 2..=3 {
            assert_eq!(fleet.generation(nth, "app"), 1, "nothing is begun by who is not heard");
        }
        process::pause(500);
    }
    kill(fleet.redis.pid("redis"), Signal::SIGCONT);
    fleet.until_plan(2, "succeeded");
    for (nth, unit) in [(1, "db"), (1, "app"), (2, "app"), (3, "app")] {
        assert_eq!(fleet.generation(nth, unit), 2, "{unit} of vm{nth} was restarted once");
    }
}

pub(crate) fn a_plan_that_met_a_failure_waits_for_someone_and_says_what_became_of_each() {
    let fleet = Fleet::begin(3, THREE, &[("db", APP), ("app", APP)]);
    // Its next start fails.
    let world = fleet.node(3);
    world.unit("app", "[service]\nexec_start = \"sleep 100000\"\nexec_start_pre = \"false\"\nrestart = \"no\"\n");
    world.ok(&["reload-config"]);
    let paused = fleet.node(1).ctl(&["fleet", "restart", "db"]);
    assert_eq!(paused.code, 1, "{paused:?}");
    let plan = fleet.until_plan(2, "paused");
    assert_eq!(plan["reason"], "app@vm3 failed at acting: app: its start failed (exit-code)");
    assert_eq!(class(&plan, "app@vm3"), "failed");
    assert_eq!((class(&plan, "db@vm1"), class(&plan, "app@vm2")), ("done", "done"), "{plan:#}");
    assert_eq!(class(&plan, "app@vm1"), "untouched");
    let id = plan["id"].as_str().unwrap().to_owned();
    world.unit("app", APP);
    world.ok(&["reload-config"]);
    // From a machine that does not drive it.
    let resumed = fleet.node(2).ctl(&["plan", "resume", &id[..8]]);
    assert_eq!(resumed.code, 0, "{resumed:?}");
    let plan = fleet.until_plan(1, "succeeded");
    let words: Vec<&str> =
        plan["journal"].as_array().unwrap().iter().map(|word| word["text"].as_str().unwrap()).collect();
    assert!(words.contains(&"resumed by uid 0"), "{words:#?}");
    assert_eq!(fleet.generation(2, "app"), 2, "what was done is not done again");
}

pub(crate) fn an_aborted_plan_leaves_alone_what_it_had_not_begun() {
    let slow = THREE.replace("name = \"db\"\n", "name = \"db\"\nsoak = \"1min\"\n");
    let fleet = Fleet::begin(3, &slow, &[("db", APP), ("app", APP)]);
    fleet.node(2).ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (fleet.generation(1, "db") == 2).then_some(()));
    let second = fleet.node(3).ctl(&["fleet", "restart", "app", "--no-wait"]);
    assert!(second.code == 1 && second.err.contains("vm2 drives a plan"), "{second:?}");
    let id = fleet.plan(1).unwrap()["id"].as_str().unwrap().to_owned();
    let aborted = fleet.node(1).ctl(&["plan", "abort", &id, "--reason", "not today"]);
    assert_eq!(aborted.code, 0, "{aborted:?}");
    let plan = fleet.until_plan(3, "aborted");
    assert_eq!(plan["reason"], "not today");
    assert_eq!((class(&plan, "db@vm1"), class(&plan, "app@vm2")), ("done", "untouched"), "{plan:#}");
    assert_eq!(fleet.generation(2, "app"), 1);
    // And the next one may begin.
    let next = fleet.node(3).ctl(&["fleet", "restart", "app", "--node", "vm2"]);
    assert_eq!(next.code, 0, "{next:?}");
    // One may take the place of another, from any machine.
    fleet.node(2).ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (fleet.generation(1, "db") == 3).then_some(()));
    fleet.node(1).ok(&["fleet", "restart", "app", "--node", "vm3", "--supersede"]);
    assert_eq!((fleet.generation(3, "app"), fleet.generation(2, "app")), (2, 2));
    let plans = fleet.node(1).ok(&["fleet", "plans", "--json"]).json()["plans"].clone();
    let why = format!("plan {} supersedes it", &plans[0]["id"].as_str().unwrap()[..8]);
    assert_eq!((&plans[1]["state"], &plans[1]["reason"]), (&"aborted".into(), &why.into()));
}

/// A web application that takes a while to come up, on a port or a socket in the file system.
const APPLICATION: &str = "
import http.server, os, socket, sys, time
time.sleep(0.3)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.01)
        self.send_response(200)
        self.end_headers()
    def address_string(self): return ''
    def log_message(self, *_): pass
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
class Local(Server):
    address_family = socket.AF_UNIX
    def server_bind(self):
        if os.path.exists(self.server_address): os.unlink(self.server_address)
        self.socket.bind(self.server_address)
place = sys.argv[1]
at, _, port = place.rpartition(':')
server = Local(place, Handler) if '/' in place else Server((at or '127.0.0.1', int(port)), Handler)
server.serve_forever()
";

/// `probe` is how its health is asked for.
fn application(world: &World, place: &str, probe: &str) {
    let program = world.path("app.py");
    fs::write(&program, APPLICATION).unwrap();
    let unit = format!(
        "[service]\nexec_start = \"python3 {} {place}\"\n[[health]]\nname = \"live\"\n\
         http = {{ {probe} }}\ninterval = \"500ms\"\ntimeout = \"400ms\"\n",
        program.display()
    );
    world.unit("app", &unit);
}

fn application_on(world: &World, port: u16) {
    application(world, &port.to_string(), &format!("url = \"http://127.0.0.1:{port}/\""));
}

fn ask(port: u16) -> Result<String, String> {
    ask_at(([127, 0, 0, 1], port).into())
}

fn ask_at(place: SocketAddr) -> Result<String, String> {
    use std::io::{Read, Write};
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = std::net::TcpStream::connect(place).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).map_err(failed)?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: x\r\n\r\n").map_err(failed)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(failed)?;
    if answer.contains(" 200 ") { Ok(answer) } else { Err(answer) }
}

/// Asks for ever from several sides; what failed, and how often it went well.
struct Load {
    is_over: std::sync::Arc<std::sync::atomic::AtomicBool>,
    askers: Vec<std::thread::JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    fn on(port: u16) -> Self {
        Self::at(([127, 0, 0, 1], port).into())
    }

    fn at(place: SocketAddr) -> Self {
        let is_over = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let askers = (0..4).map(|_| {
            let is_over = std::sync::Arc::clone(&is_over);
            std::thread::spawn(move || {
                let (mut went_well, mut failed) = (0, Vec::new());
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    match ask_at(place) {
                        Ok(_) => went_well += 1,
                        Err(reason) => failed.push(reason),
                    }
                }
                (went_well, failed)
            })
        });
        Self { askers: askers.collect(), is_over }
    }

    fn end(self) -> (usize, Vec<String>) {
        self.is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        self.askers.into_iter().fold((0, Vec::new()), |(went_well, mut failed), asker| {
            let (more, others) = asker.join().unwrap();
            failed.extend(others);
            (went_well + more, failed)
        })
    }
}

/// vm1 balances two applications on vm2 and vm3.
fn balanced() -> (Fleet, u16) {
    let [front, one, other] = [free_port(), free_port(), free_port()];
    let folder = tempfile::Builder::new().prefix("rm-ha-").tempdir_in("/tmp").unwrap().keep();
    let socket = folder.join("admin.sock");
    let services = format!(
        "
[[service]]
name = \"app\"
nodes = [\"vm2\", \"vm3\"]
behind = [{{ pool = \"apps\" }}]
[[pool]]
name = \"apps\"
kind = \"haproxy\"
hosts = [\"vm1\"]
socket = \"{}\"
",
        socket.display()
    );
    let fleet = Fleet::equipped(3, &services, |nth, world| match nth {
        1 => {
            let config = format!(
                "global\n  stats socket {} mode 600 level admin\ndefaults\n  mode http\n  timeout connect 2s\n  timeout client 30s\n  \
                 timeout server 30s\nfrontend front\n  bind 127.0.0.1:{front}\n  default_backend apps\nbackend apps\n  \
                 server vm2 127.0.0.1:{one}\n  server vm3 127.0.0.1:{other}\n",
                socket.display()
            );
            fs::write(world.path("haproxy.cfg"), config).unwrap();
            let file = world.path("haproxy.cfg");
            let unit = format!(
                "[service]\nexec_start = \"haproxy -Ws -f {0}\"\nexec_reload = \"kill -USR2 $MAINPID\"\n",
                file.display()
            );
            world.unit("haproxy", &unit);
        }
        2 => application_on(world, one),
        _ => application_on(world, other),
    });
    for nth in 2..=3 {
        fleet.node(nth).until_status("app", "healthy", |status| status["health"] == "healthy");
    }
    until("haproxy answers", || ask(front).ok());
    until("its servers are known", || {
        let said = fleet.node(3).ctl(&["fleet", "status", "--json"]).json();
        said["pools"][0]["servers"][0].is_array().then_some(())
    });
    (fleet, front)
}

pub(crate) fn no_request_fails_while_servers_behind_a_load_balancer_are_restarted() {
    let (fleet, front) = balanced();
    let load = Load::on(front);
    let done = fleet.node(3).ctl(&["fleet", "restart", "app"]);
    process::pause(500);
    let (went_well, failed) = load.end();
    assert_eq!(done.code, 0, "{done:?}");
    assert!(failed.is_empty(), "{} of {} failed: {}", failed.len(), went_well + failed.len(), failed[0]);
    assert!(went_well > 100, "{went_well} is no load");
    for nth in 2..=3 {
        assert_eq!(fleet.generation(nth, "app"), 2);
    }
}

pub(crate) fn what_depends_on_a_service_that_restarted_by_itself_is_told_once_that_is_well() {
    let reload = THREE.replace("on_restart = \"restart\"", "on_restart = \"reload_or_restart\"");
    let app = format!("{APP}exec_reload = \"true\"\n");
    let db = format!("{APP}restart = \"always\"\nrestart_sec = \"1s\"\n");
    let fleet = Fleet::begin(3, &reload, &[("db", &db), ("app", &app)]);
    kill(fleet.node(1).pid("db"), Signal::SIGKILL);
    let plan = fleet.until_plan(2, "succeeded");
    assert_eq!((plan["verb"].as_str(), plan["driver"].as_str()), (Some("follow"), Some("vm1")), "{plan:#}");
    assert_eq!(plan["by"], "roundsman, as db@vm1 was restarted by its restart policy");
    assert_eq!(fleet.generation(1, "db"), 2, "it is not restarted again");
    for nth in 1..=3 {
        assert_eq!(fleet.generation(nth, "app"), 1, "a reload is enough");
        assert_eq!(fleet.node(nth).until_notices("reloaded", 1).len(), 1);
    }
    // What someone restarts is followed when someone says so.
    fleet.node(1).ok(&["restart", "db"]);
    process::pause(8_000);
    assert_eq!(fleet.node(2).ok(&["fleet", "plans", "--json"]).json()["plans"].as_array().unwrap().len(), 1);
    fleet.node(2).ok(&["fleet", "follow", "db"]);
    assert_eq!(fleet.node(1).until_notices("reloaded", 2).len(), 2);
}

pub(crate) fn no_step_is_done_twice_or_left_out_however_often_the_manager_that_drives_dies() {
    let kills: u64 = std::env::var("ROUNDSMAN_TEST_DRIVER_KILLS").ok().map_or(8, |text| text.parse().unwrap());
    let fleet = Fleet::begin(3, THREE, &[("db", APP), ("app", APP)]);
    let all = [(1, "db"), (1, "app"), (2, "app"), (3, "app")];
    for round in 1..=kills {
        fleet.node(2).ok(&["fleet", "restart", "db", "--no-wait"]);
        let id = fleet.plan(2).unwrap()["id"].clone();
        // From before the first promise to after the last act.
        process::pause((round * 37) % 260);
        fleet.node(2).kill_manager();
        until_within(TAKEN_OVER, "the plan is over", || {
            fleet.plan(1).filter(|plan| plan["id"] == id && plan["state"] == "succeeded")
        });
        for (nth, unit) in all {
            assert_eq!(fleet.generation(nth, unit), round + 1, "{unit} of vm{nth} in round {round}");
        }
    }
}

pub(crate) fn a_plan_that_someone_has_to_agree_to_waits_and_what_is_agreed_to_is_that_plan() {
    let careful = THREE.replace("name = \"app\"\n", "name = \"app\"\napprove = \"each_wave\"\n");
    let fleet = Fleet::begin(2, &careful.replace(", \"vm3\"", ""), &[("db", APP), ("app", APP)]);
    let waits = fleet.node(1).ctl(&["fleet", "restart", "db"]);
    assert!(waits.code == 1 && waits.out.contains("plan approve"), "{waits:?}");
    let plan = fleet.until_plan(2, "unapproved");
    let (id, digest) = (plan["id"].as_str().unwrap(), plan["digest"].as_str().unwrap());
    let other = fleet.node(1).ctl(&["plan", "approve", id, "--digest", &"0".repeat(64)]);
    assert!(other.code == 1 && other.err.contains("the plan's digest is"), "{other:?}");
    assert_eq!(fleet.generation(1, "db"), 1, "nothing was begun");
    fleet.node(2).ok(&["plan", "approve", id, "--digest", &digest[..12]]);
    until("the database was restarted", || (fleet.generation(1, "db") == 2).then_some(()));
    until("the next wave waits for someone", || {
        let plan = fleet.plan(1)?;
        let waits = plan["waves"][1]["tasks"][0]["waits_for"].as_str()?.to_owned();
        waits.starts_with("nobody has agreed to wave 2").then_some(())
    });
    assert_eq!(fleet.node(1).ctl(&["plan", "approve", id, "--wave", "9"]).code, 1);
    for wave in ["2", "3"] {
        fleet.node(1).ok(&["plan", "approve", id, "--wave", wave]);
    }
    fleet.until_plan(2, "succeeded");
    assert_eq!((fleet.generation(1, "app"), fleet.generation(2, "app")), (2, 2));
}
