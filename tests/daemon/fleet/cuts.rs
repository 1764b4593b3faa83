//! Ways to hosts that are cut after so many bytes: in a greeting, in an order, before its answer.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use super::{hosts::Hosts, *};

/// Cuts of the long test, of all ways together; `ROUNDSMAN_TEST_CUTS` sets another number.
const CUTS: u64 = 20;
/// Of each way in each plan.
const CUTS_OF_PLAN: u64 = 5;
/// Hosts to which something is done at the same time.
const HOSTS: usize = 8;
/// So far it is never cut.
const NEVER: i64 = i64::MAX / 2;

/// Carries what it may, in both directions together, and then ends the connection.
#[derive(Clone, Default)]
struct Wire {
    /// How many bytes may pass yet.
    left: Arc<AtomicI64>,
    /// How many have passed since it was last connected.
    passed: Arc<AtomicI64>,
    /// How many of the next connections are cut, and how many were.
    to_cut: Arc<AtomicU64>,
    cuts: Arc<AtomicU64>,
    /// What a greeting takes.
    greeting: Arc<AtomicI64>,
    /// Of two ways each is cut at other places.
    spread: Arc<AtomicI64>,
}

impl Wire {
    fn to(&self, port: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let wire = self.clone();
        wire.left.store(NEVER, Relaxed);
        wire.spread.store(i64::from(port), Relaxed);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(("127.0.0.1", port))) else { continue };
                let nth = i64::try_from(wire.cuts.load(Relaxed)).unwrap();
                let from = if nth % 5 == 4 { 0 } else { wire.greeting.load(Relaxed) };
                let left = if wire.to_cut.load(Relaxed) > 0 { from + wire.place(nth) % 4_000 } else { NEVER };
                wire.left.store(left, Relaxed);
                wire.passed.store(0, Relaxed);
                let (back_from, back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
                let (to, back) = (wire.clone(), wire.clone());
                std::thread::spawn(move || to.carry(near, far));
                std::thread::spawn(move || back.carry(back_from, back_to));
            }
        });
        own
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut some = [0; 16 << 10];
        while let Ok(count) = from.read(&mut some) {
            let size = i64::try_from(count).unwrap();
            let left = self.left.fetch_sub(size, Relaxed);
            self.passed.fetch_add(size, Relaxed);
            let passes = usize::try_from(left.clamp(0, size)).unwrap();
            if to.write_all(&some[..passes]).is_err() || count == 0 {
                break;
            }
            if left < size {
                // Of the two directions one is the first to see it.
                if left >= 0 {
                    self.cuts.fetch_add(1, Relaxed);
                    self.to_cut.fetch_update(Relaxed, Relaxed, |more| more.checked_sub(1)).ok();
                }
                break;
            }
        }
        for end in [&from, &to] {
            end.shutdown(Shutdown::Both).ok();
        }
    }

    /// The connection that is open is cut soon, and so are those that come after it.
    fn cut(&self, count: u64) {
        self.to_cut.store(count, Relaxed);
        self.left.store(self.place(i64::try_from(self.cuts.load(Relaxed)).unwrap()) % 2_500, Relaxed);
    }

    /// How many bytes pass until the next cut.
    fn place(&self, nth: i64) -> i64 {
        self.spread.load(Relaxed) + nth * 197
    }
}

pub(crate) fn a_step_whose_outcome_is_not_heard_because_the_way_is_cut_is_done_once() {
    let wanted: u64 = std::env::var("ROUNDSMAN_TEST_CUTS").map_or(CUTS, |text| text.parse().unwrap());
    let wires: Vec<Wire> = (0..HOSTS).map(|_| Wire::default()).collect();
    let hosts = Hosts::behind(HOSTS, "max_unavailable = \"100%\"\n", |nth, port| wires[nth].to(port));
    hosts.enrol_all();
    until("all are spoken to", || (hosts.world.ctl(&["fleet", "restart", "app", "--dry-run"]).code == 0).then_some(()));
    wires.iter().for_each(|wire| wire.greeting.store(wire.passed.load(Relaxed), Relaxed));
    let cuts = || wires.iter().map(|wire| wire.cuts.load(Relaxed)).sum::<u64>();
    let mut plans = 0;
    while cuts() < wanted {
        plans += 1;
        wires.iter().for_each(|wire| wire.cut(CUTS_OF_PLAN));
        until_within(TAKEN_OVER * 2, "the plan is ordered", || {
            (hosts.world.ctl(&["fleet", "restart", "app", "--no-wait"]).code == 0).then_some(())
        });
        let plan = until_within(TAKEN_OVER * 5, "the plan is over", || {
            process::pause(100);
            Some(hosts.plan()).filter(|plan| plan["state"] != "running")
        });
        assert_eq!(plan["state"], "succeeded", "{plan:#}");
        for nth in 0..HOSTS {
            assert_eq!(hosts.done(&format!("vm{}", nth + 2)).len(), plans, "after {} cuts", cuts());
        }
    }
    println!("{} cuts in {plans} plans", cuts());
}
