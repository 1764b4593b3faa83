//! Redis as a carrier that doubles, mixes up, loses, and goes back to what it knew some time ago.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use super::{partition::Cable, *};

const ALL: [(usize, &str); 4] = [(1, "db"), (1, "app"), (2, "app"), (3, "app")];

fn ask(port: u16, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    let said = command.args(["--raw", "-p", &port.to_string()]).args(words).output().unwrap();
    String::from_utf8(said.stdout).unwrap()
}

/// Whatever stands in a stream comes again, later, in another order, and as if it had just been said: what was said in an earlier
/// plan comes in the middle of the next one.
fn echo(port: u16, key: &str, is_over: &AtomicBool) -> usize {
    let (mut last, mut said, mut own) = ("-".to_owned(), Vec::new(), BTreeSet::new());
    while !is_over.load(Relaxed) {
        let found = ask(port, &["XRANGE", key, &last, "+"]);
        for entry in found.lines().collect::<Vec<_>>().chunks_exact(3) {
            if !own.contains(entry[0]) {
                said.push(entry[2].to_owned());
            }
            last = format!("({}", entry[0]);
        }
        for text in said.iter().rev().step_by(2).take(20) {
            own.insert(ask(port, &["XADD", key, "*", "m", text]).trim().to_owned());
        }
        process::pause(70);
    }
    own.len()
}

pub(crate) fn what_comes_twice_late_or_in_another_order_is_done_once() {
    const PLANS: u64 = 4;
    let fleet = Fleet::begin(3, THREE, &[("db", APP), ("app", APP)]);
    let is_over = Arc::new(AtomicBool::new(false));
    let echoes = ["to:vm1", "to:vm2", "to:vm3", "said"].map(|stream| {
        let (port, is_over) = (fleet.port, Arc::clone(&is_over));
        std::thread::spawn(move || echo(port, &format!("roundsman:{{test}}:{stream}"), &is_over))
    });
    for nth in 1..=PLANS {
        let from = 1 + usize::try_from(nth).unwrap() % 3;
        fleet.node(from).ok(&["fleet", "restart", "db", "--no-wait"]);
        fleet.until_plan(from, "succeeded");
        process::pause(1_000);
        for (of, unit) in ALL {
            assert_eq!(fleet.generation(of, unit), nth + 1, "{unit} of vm{of} in plan {nth}");
        }
    }
    is_over.store(true, Relaxed);
    let echoed = echoes.map(|echo| echo.join().unwrap());
    assert!(echoed.iter().all(|count| *count > 20), "{echoed:?}");
}

/// A replica that heard nothing since the first plan takes over in the middle of the third one, and knows neither that nor the second.
pub(crate) fn a_redis_that_goes_back_to_what_it_knew_takes_no_plan_and_no_number_back() {
    let [first, second] = [free_port(), free_port()];
    let server = |port: u16, more: &str| {
        format!(
            "[service]\nexec_start = \"redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no --repl-diskless-sync-delay 0 --dir @ {more}\"\n"
        )
    };
    let redis = World::with(&[
        ("first", &server(first, "")),
        ("second", &server(second, &format!("--replicaof 127.0.0.1 {first}"))),
    ]);
    until("the replica is linked", || {
        ask(second, &["info", "replication"]).contains("master_link_status:up").then_some(())
    });
    let cable = Cable::default();
    let mut fleet = Fleet { redis, port: cable.to(first), nodes: Vec::new() };
    let slow = THREE.replace("name = \"db\"\n", "name = \"db\"\nsoak = \"8s\"\n");
    let nodes: String = (1..=3).map(|nth| format!("[[node]]\nname = \"vm{nth}\"\n")).collect();
    for nth in 1..=3 {
        let mut world = World::new();
        fs::write(world.path("fleet.toml"), format!("name = \"test\"\n{nodes}{slow}")).unwrap();
        fleet.settle(&world, nth, "");
        ["db", "app"].iter().for_each(|unit| world.unit(unit, APP));
        world.start();
        fleet.nodes.push(world);
    }
    fleet.until_all_are_heard();
    let number = |port: u16| ask(port, &["GET", "roundsman:{test}:epoch"]).trim().parse::<u64>().unwrap();
    fleet.node(1).ok(&["fleet", "restart", "db"]);
    until("the replica has heard of it", || (number(second) == number(first)).then_some(()));
    ask(second, &["REPLICAOF", "NO", "ONE"]);
    fleet.node(3).ok(&["fleet", "restart", "db"]);
    fleet.node(2).ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (fleet.generation(1, "db") == 4).then_some(()));
    let id = fleet.plan(2).unwrap()["id"].clone();
    let before = number(first);
    assert!(number(second) < before);
    cable.lead_to(second);
    fleet.redis.ok(&["stop", "first"]);
    let plan = fleet.until_plan(2, "succeeded");
    assert_eq!((&plan["id"], &plan["driver"]), (&id, &"vm2".into()), "{plan:#}");
    assert!(number(second) > before, "{} and {before}", number(second));
    fleet.until_all_are_heard();
    for (of, unit) in ALL {
        assert_eq!(fleet.generation(of, unit), 4, "{unit} of vm{of} was restarted once in each plan");
    }
    assert_eq!(fleet.plan(1).map(|plan| plan["id"].clone()), Some(id), "the others see it too");
    // Emptied, as when it has no disk and begins anew.
    fleet.node(3).ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (fleet.generation(1, "db") == 5).then_some(()));
    let before = number(second);
    ask(second, &["FLUSHALL"]);
    fleet.until_plan(3, "succeeded");
    assert!(number(second) > before, "{} and {before}", number(second));
    for (of, unit) in ALL {
        assert_eq!(fleet.generation(of, unit), 5, "{unit} of vm{of} was restarted once in each plan");
    }
}
