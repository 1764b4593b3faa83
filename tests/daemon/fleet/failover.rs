//! Redis with a replica and a sentinel, whose primary one dies in the middle of a plan.

use super::*;

pub(crate) fn a_plan_goes_on_when_redis_fails_over_to_its_replica() {
    let [first, second, sentinel] = [free_port(), free_port(), free_port()];
    let server = |port: u16, more: &str| {
        format!(
            "[service]\nexec_start = \"redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no --repl-diskless-sync-delay 0 --dir @ {more}\"\n"
        )
    };
    let mut redis = World::new();
    let at = redis.path("").display().to_string();
    let watch = format!(
        "port {sentinel}\nbind 127.0.0.1\ndir {at}\nsentinel monitor fleet 127.0.0.1 {first} 1\nsentinel down-after-milliseconds fleet 1000\n\
         sentinel failover-timeout fleet 5000\nsentinel parallel-syncs fleet 1\n"
    );
    fs::write(redis.path("sentinel.conf"), watch).unwrap();
    redis.unit("first", &server(first, ""));
    redis.unit("second", &server(second, &format!("--replicaof 127.0.0.1 {first}")));
    redis.unit("sentinel", "[service]\nexec_start = \"redis-server @/sentinel.conf --sentinel\"\n");
    redis.start();
    let ask = |port: u16, words: &[&str]| {
        let mut command = Command::new("redis-cli");
        String::from_utf8(command.args(["-p", &port.to_string()]).args(words).output().unwrap().stdout).unwrap()
    };
    until("the replica is linked", || {
        ask(second, &["info", "replication"]).contains("master_link_status:up").then_some(())
    });
    until("the sentinel knows it", || {
        ask(sentinel, &["sentinel", "replicas", "fleet"]).contains("127.0.0.1").then_some(())
    });
    let slow = THREE.replace("name = \"db\"\n", "name = \"db\"\nsoak = \"3s\"\n");
    let nodes: String = (1..=3).map(|nth| format!("[[node]]\nname = \"vm{nth}\"\n")).collect();
    let topology = format!("name = \"test\"\n{nodes}{slow}");
    let worlds = (1..=3).map(|nth| {
        let mut world = World::new();
        fs::write(world.path("fleet.toml"), &topology).unwrap();
        // Nothing listens at the address: they are told where it is.
        world.settings(&format!(
            "[fleet]\nnode = \"vm{nth}\"\n[high_availability]\nredis_url = \"redis://127.0.0.1:1\"\nsentinels = [\"127.0.0.1:1\", \"127.0.0.1:{sentinel}\"]\n\
             sentinel_primary = \"fleet\"\nconnection_timeout = \"2s\"\n"
        ));
        ["db", "app"].iter().for_each(|unit| world.unit(unit, APP));
        world.start();
        world
    });
    let fleet = Fleet { nodes: worlds.collect(), redis, port: first };
    fleet.until_all_are_heard();
    fleet.node(2).ok(&["fleet", "restart", "db", "--no-wait"]);
    until("the database was restarted", || (fleet.generation(1, "db") == 2).then_some(()));
    fleet.redis.ok(&["stop", "first"]);
    fleet.until_plan(2, "succeeded");
    for (nth, unit) in [(1, "db"), (1, "app"), (2, "app"), (3, "app")] {
        assert_eq!(fleet.generation(nth, unit), 2, "{unit} of vm{nth} was restarted once");
    }
    assert!(ask(second, &["role"]).starts_with("master"), "{}", ask(second, &["role"]));
    // The one of before comes back as a replica, and the next plan goes by the new one.
    fleet.redis.ok(&["start", "first"]);
    let next = fleet.node(3).ctl(&["fleet", "restart", "app", "--node", "vm1"]);
    assert_eq!(next.code, 0, "{next:?}");
}
