//! A manager that dies while something of a plan is done on its own machine, or is about to be.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
};

use super::*;

/// A database on the second machine; on the first an application that reloads when that was restarted, which takes a while, as do
/// the looks before and after.
const RELOADER: &str = "
[[service]]
name = \"db\"
nodes = [\"vm2\"]
[[service]]
name = \"app\"
nodes = [\"vm1\"]
validate = [\"sleep\", \"0.2\"]
verify_reload = [\"sleep\", \"0.2\"]
depends_on = [{ service = \"db\", on_restart = \"reload_or_restart\" }]
";

fn reloads_slowly(code: u8) -> String {
    format!("{APP}exec_reload = \"sh -c 'echo begun >> @/reloads; sleep 0.5; echo ended >> @/reloads; exit {code}'\"\n")
}

fn until_in_the_middle(world: &World, reloads: usize) {
    until("the reload is under way", || (world.lines("reloads").len() == 2 * reloads - 1).then_some(()));
}

pub(crate) fn a_reload_is_done_once_and_no_restart_follows_whenever_the_manager_of_its_machine_dies() {
    let kills: usize = std::env::var("ROUNDSMAN_TEST_RELOAD_KILLS").ok().map_or(8, |text| text.parse().unwrap());
    let fleet = Fleet::begin(2, RELOADER, &[("db", APP), ("app", &reloads_slowly(0))]);
    let world = fleet.node(1);
    for round in 1..=kills {
        // Driven from the machine itself, and from another one.
        let driver = 1 + round % 2;
        fleet.node(driver).ok(&["fleet", "restart", "db", "--no-wait"]);
        let id = fleet.plan(driver).unwrap()["id"].clone();
        if round % 4 < 2 {
            until_in_the_middle(world, round);
        } else {
            process::pause((round as u64 * 137) % 1_300);
        }
        world.kill_manager();
        until_within(TAKEN_OVER, "the plan is over", || {
            fleet.plan(2).filter(|plan| plan["id"] == id && plan["state"] == "succeeded")
        });
        assert_eq!(world.lines("reloads"), ["begun", "ended"].repeat(round), "in round {round}");
        assert_eq!(fleet.generation(1, "app"), 1, "in round {round}");
    }
}

pub(crate) fn a_reload_that_fails_after_the_manager_has_died_has_failed_and_is_not_tried_again() {
    let services = RELOADER.replace("reload_or_restart", "reload");
    let fleet = Fleet::begin(2, &services, &[("db", APP), ("app", &reloads_slowly(1))]);
    let world = fleet.node(1);
    world.ok(&["fleet", "restart", "db", "--no-wait"]);
    until_in_the_middle(world, 1);
    world.kill_manager();
    let plan = fleet.until_plan(2, "paused");
    assert_eq!(plan["reason"], "app@vm1 failed at acting: app: its reload failed", "{plan:#}");
    assert_eq!(world.lines("reloads"), ["begun", "ended"]);
}

/// A database on the first machine that comes back by itself, and on the second what is restarted then.
const FOLLOWED: &str = "
[[service]]
name = \"db\"
nodes = [\"vm1\"]
[[service]]
name = \"app\"
nodes = [\"vm2\"]
depends_on = [{ service = \"db\", on_restart = \"restart\" }]
";

fn followed() -> Fleet {
    let db = format!("{APP}restart = \"always\"\nrestart_sec = \"200ms\"\n");
    Fleet::begin(2, FOLLOWED, &[("db", &db), ("app", APP)])
}

/// What Redis says is the present plan, asked as quickly as can be.
struct Present(BufReader<TcpStream>);

impl Present {
    fn of(fleet: &Fleet) -> Self {
        Self(BufReader::new(TcpStream::connect(("127.0.0.1", fleet.port)).unwrap()))
    }

    fn plan(&mut self) -> String {
        self.0.get_mut().write_all(b"GET roundsman:{test}:plan\r\n").unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        if line.starts_with("$-") {
            return "-".to_owned();
        }
        line.clear();
        self.0.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// The one that comes after that.
    fn after(&mut self, before: &str) -> String {
        let deadline = Instant::now() + TAKEN_OVER;
        loop {
            let now = self.plan();
            if now != before {
                return now;
            }
            assert!(Instant::now() < deadline, "no plan was ordered");
        }
    }
}

/// How many plans there were ever.
fn plans(fleet: &Fleet) -> usize {
    let said = fleet.node(2).ctl(&["fleet", "plans", "--json"]);
    if said.code == 0 { said.json()["plans"].as_array().unwrap().len() } else { 0 }
}

fn until_followed(fleet: &Fleet, times: usize) {
    until_within(TAKEN_OVER, "those that depend on it were told", || {
        let is_over = plans(fleet) >= times && fleet.plan(2).is_some_and(|plan| plan["state"] == "succeeded");
        is_over.then_some(())
    });
    assert_eq!((plans(fleet), fleet.generation(2, "app")), (times, times as u64 + 1));
}

/// Nobody is told of anything for longer than it takes until someone would be.
fn nobody_is_told_again(fleet: &Fleet, times: usize) {
    fleet.node(1).kill_manager();
    process::pause(8_000);
    assert_eq!((plans(fleet), fleet.generation(2, "app")), (times, times as u64 + 1));
}

pub(crate) fn a_restart_that_its_manager_died_at_is_followed_once() {
    let fleet = followed();
    let world = fleet.node(1);
    let db = || kill(world.pid("db"), Signal::SIGKILL);
    let kills: [&dyn Fn(); 4] = [
        // At the same moment, in either order.
        &|| {
            db();
            world.kill_manager();
        },
        &|| {
            let pid = world.pid("db");
            world.kill_manager();
            kill(pid, Signal::SIGKILL);
        },
        // While it has to stay well, once, and again and again.
        &|| {
            db();
            process::pause(3_000);
            world.kill_manager();
        },
        &|| {
            db();
            for _ in 0..3 {
                process::pause(1_500);
                world.kill_manager();
            }
        },
    ];
    for (round, kill) in (1..).zip(kills) {
        kill();
        until_followed(&fleet, round);
        assert_eq!(fleet.generation(1, "db"), round as u64 + 1);
    }
    nobody_is_told_again(&fleet, kills.len());
}

pub(crate) fn who_was_told_of_a_restart_is_not_told_again_though_the_manager_dies_as_it_tells_them() {
    let fleet = followed();
    let world = fleet.node(1);
    let (rounds, mut present) = (4, "-".to_owned());
    let mut redis = Present::of(&fleet);
    for round in 1..=rounds {
        let manager = world.manager();
        kill(world.pid("db"), Signal::SIGKILL);
        process::pause(4_800);
        present = redis.after(&present);
        // Whatever that manager wanted to write down of it may not be written.
        kill(manager, Signal::SIGKILL);
        until_followed(&fleet, round);
    }
    nobody_is_told_again(&fleet, rounds);
}

fn empty(fleet: &Fleet) {
    let said = Command::new("redis-cli").args(["-p", &fleet.port.to_string(), "FLUSHALL"]).output().unwrap();
    assert!(said.status.success(), "{said:?}");
}

/// The second machine drives a plan that has begun and stands for a while.
fn driven(fleet: &Fleet, nth: u64) -> String {
    fleet.node(2).ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (fleet.generation(1, "db") == nth).then_some(()));
    fleet.plan(2).unwrap()["id"].as_str().unwrap().to_owned()
}

pub(crate) fn a_plan_that_redis_and_the_manager_lost_at_once_waits_for_someone_and_can_be_gone_on_with_or_ended() {
    let slow = THREE.replace("name = \"db\"\n", "name = \"db\"\nsoak = \"8s\"\n");
    let fleet = Fleet::begin(3, &slow, &[("db", APP), ("app", APP)]);
    for (nth, verb, state) in [(2, "resume", "succeeded"), (3, "abort", "aborted")] {
        let id = driven(&fleet, nth);
        empty(&fleet);
        fleet.node(2).kill_manager();
        let plan = fleet.until_plan(2, "paused");
        assert_eq!((&plan["id"], &plan["driver"]), (&id.clone().into(), &"vm2".into()), "{plan:#}");
        assert!(plan["reason"].as_str().unwrap().starts_with("redis had forgotten it"), "{plan:#}");
        process::pause(2_000);
        assert_eq!(fleet.generation(2, "app"), 2 - u64::from(nth == 2), "nothing goes on by itself");
        // From there, and from another machine that sees it again.
        let from = if nth == 2 { 2 } else { 1 };
        until("it is seen there", || fleet.plan(from).filter(|plan| plan["id"] == id));
        fleet.node(from).ok(&["plan", verb, &id]);
        let plan = fleet.until_plan(2, state);
        assert_eq!(plan["id"], id);
        assert_eq!(fleet.generation(1, "db"), nth, "what was done is not done again");
        assert_eq!(fleet.generation(2, "app"), 2, "what was not was done by whoever resumed it");
    }
}

pub(crate) fn a_plan_that_another_machine_ended_is_not_told_to_redis_again() {
    let slow = THREE.replace("name = \"db\"\n", "name = \"db\"\nsoak = \"8s\"\n");
    let mut fleet = Fleet::begin(3, &slow, &[("db", APP), ("app", APP)]);
    let id = driven(&fleet, 2);
    let mut driver = fleet.nodes.remove(1);
    driver.kill_keeper();
    until_within(TAKEN_OVER, "another one drives", || {
        let said = fleet.nodes[0].ctl(&["plan", "show", &id, "--json"]);
        let plan: Value = serde_json::from_str(&said.out).ok()?;
        (plan["driver"] != "vm2").then_some(())
    });
    fleet.nodes[0].ok(&["plan", "abort", &id]);
    driver.start();
    fleet.nodes.insert(1, driver);
    assert_eq!(fleet.until_plan(1, "aborted")["id"], id);
    fleet.until_all_are_heard();
    // It has heard of the end from Redis, which then forgets it.
    process::pause(3_000);
    empty(&fleet);
    fleet.node(2).kill_manager();
    process::pause(5_000);
    let plan = fleet.plan(2).unwrap();
    assert!(plan["state"] != "paused", "{plan:#}");
    fleet.until_all_are_heard();
    fleet.node(1).ok(&["fleet", "restart", "app", "--node", "vm3"]);
}
