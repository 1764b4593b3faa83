//! A machine that one node cannot reach, and another one can. Each node has a mount namespace, with an /etc/hosts of its own.

use std::net::TcpListener;

use super::{
    partition::Cable,
    vigil::{HEARTBEAT, state, told, until_told},
    *,
};
use crate::support::hook::Hook;

/// What begins a daemon: the hosts that it knows, and what it runs.
const BEGIN: &str = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";

fn spawn(world: &mut World, hosts: &str) {
    fs::write(world.path("hosts"), hosts).unwrap();
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", BEGIN, "sh"]).arg(world.path("hosts"));
    let daemon = world.command();
    command.arg(daemon.get_program()).args(daemon.get_args());
    let log = fs::File::options().create(true).append(true).open(world.path("daemon.log")).unwrap();
    world.adopt(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    world.await_answer();
}

pub(crate) fn a_machine_that_another_one_reaches_is_cut_off_and_has_failed_once_nobody_reaches_it() {
    let port = free_port();
    let server = format!(
        "[service]\nexec_start = \"redis-server --port {port} --bind 127.0.0.1 --save '' --appendonly no --dir @\"\n"
    );
    let redis = World::with(&[("redis", &server)]);
    until("redis answers", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let (hook, cable) = (Hook::new(0), Cable::default());
    let cut = cable.to(port);
    // The machine of the third node. The first one is told that it is elsewhere, where nothing listens.
    let machine = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = machine.local_addr().unwrap().port();
    let nodes: String =
        (1..=3).map(|nth| format!("[[node]]\nname = \"vm{nth}\"\naddress = \"vm{nth}.test:{place}\"\n")).collect();
    let route = format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url);
    let mut fleet = Fleet { redis, port, nodes: Vec::new() };
    for (nth, vm3, port) in [(1, "127.0.0.2", port), (2, "127.0.0.1", port), (3, "127.0.0.1", cut)] {
        let mut world = World::new();
        fs::write(world.path("fleet.toml"), format!("name = \"test\"\n{nodes}{THREE}")).unwrap();
        fleet.port = port;
        fleet.settle(&world, nth, &format!("{HEARTBEAT}{route}"));
        ["db", "app"].iter().for_each(|unit| world.unit(unit, APP));
        spawn(&mut world, &format!("127.0.0.1 localhost vm1.test vm2.test\n{vm3} vm3.test\n"));
        fleet.nodes.push(world);
    }
    fleet.until_all_are_heard();
    cable.set((true, true));
    // It says so of itself as well.
    let cut_off = until_told(&hook, "bus_unreachable", 2);
    let is_cut = || ([1, 2].iter().all(|nth| state(&fleet, *nth, "vm3") == "cut off")).then_some(());
    until("both take it for one that is cut off", is_cut);
    assert!(cut_off.iter().all(|[_, key]| key == "bus_unreachable:vm3"), "{cut_off:?}");
    process::pause(10_000);
    assert_eq!(told(&hook), cut_off, "nobody says that it has failed");
    let said = &fleet.node(1).notices("bus_unreachable")[0];
    assert!(said.to_string().contains("its machine answers vm2, though not the node that says this"), "{said:#}");
    drop(machine);
    until_told(&hook, "node_failed", 1);
    assert_eq!(fleet.node(1).notices("node_failed").len(), 1, "by the first that is alive");
    until("both see it", || ([1, 2].iter().all(|nth| state(&fleet, *nth, "vm3") == "failed")).then_some(()));
    cable.set((false, false));
    fleet.until_all_are_heard();
    for (nth, unit) in [(1, "db"), (1, "app"), (2, "app"), (3, "app")] {
        assert_eq!(fleet.generation(nth, unit), 1, "{unit} of vm{nth} was not touched");
    }
}
