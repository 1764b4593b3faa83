//! A machine whose way to Redis is cut in the middle of a plan: both ways, or one of them.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering::Relaxed},
    },
};

use super::*;

/// Carries bytes to a port and back. What is cut is neither carried nor refused, as by a cable that is out.
#[derive(Clone, Default)]
pub(super) struct Cable {
    to_is_cut: Arc<AtomicBool>,
    back_is_cut: Arc<AtomicBool>,
    far: Arc<AtomicU16>,
}

impl Cable {
    pub(super) fn to(&self, port: u16) -> u16 {
        self.lead_to(port);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let cable = self.clone();
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(("127.0.0.1", cable.far.load(Relaxed)))) else {
                    continue;
                };
                let (back_from, back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
                let (to, back) = (Arc::clone(&cable.to_is_cut), Arc::clone(&cable.back_is_cut));
                std::thread::spawn(move || carry(near, far, &to));
                std::thread::spawn(move || carry(back_from, back_to, &back));
            }
        });
        own
    }

    /// Where connections lead that are made from now on.
    pub(super) fn lead_to(&self, port: u16) {
        self.far.store(port, Relaxed);
    }

    pub(super) fn set(&self, (to, back): (bool, bool)) {
        self.to_is_cut.store(to, Relaxed);
        self.back_is_cut.store(back, Relaxed);
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, is_cut: &AtomicBool) {
    let mut some = [0; 16 << 10];
    while let Ok(count) = from.read(&mut some) {
        while is_cut.load(Relaxed) {
            process::pause(20);
        }
        if count == 0 || to.write_all(&some[..count]).is_err() {
            break;
        }
    }
    to.shutdown(std::net::Shutdown::Both).ok();
}

pub(crate) fn a_machine_that_is_cut_off_in_the_middle_of_a_plan_is_waited_for_and_nothing_is_done_twice() {
    let slow = THREE.replace("name = \"db\"\n", "name = \"db\"\nsoak = \"1s\"\n");
    let mut fleet = Fleet::begin(3, &slow, &[("db", APP), ("app", APP)]);
    let cable = Cable::default();
    let (redis, port) = (fleet.port, cable.to(fleet.port));
    fleet.port = port;
    let world = &fleet.nodes[2];
    fleet.settle(world, 3, "");
    world.ok(&["reload-config"]);
    fleet.port = redis;
    fleet.until_all_are_heard();
    for (nth, cut) in (2..).zip([(true, true), (true, false), (false, true)]) {
        fleet.node(1).ok(&["fleet", "restart", "db", "--no-wait"]);
        until("the database was restarted", || (fleet.generation(1, "db") == nth).then_some(()));
        cable.set(cut);
        process::pause(6_000);
        assert_eq!(fleet.plan(1).unwrap()["state"], "running", "{cut:?}: nobody has heard that vm3 is done");
        let others: u64 = (1..=2).map(|other| fleet.generation(other, "app") - (nth - 1)).sum();
        let own = fleet.generation(3, "app") - (nth - 1);
        assert!(others + own <= 3 && own <= 1, "{cut:?}: {others} of the others, {own} there");
        cable.set((false, false));
        fleet.until_plan(1, "succeeded");
        for (of, unit) in [(1, "db"), (1, "app"), (2, "app"), (3, "app")] {
            assert_eq!(fleet.generation(of, unit), nth, "{cut:?}: {unit} of vm{of}");
        }
        fleet.until_all_are_heard();
    }
}
