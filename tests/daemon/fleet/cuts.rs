//! A way to a host that is cut after so many bytes: in a greeting, in an order, before its answer.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
    },
};

use super::{hosts::Hosts, *};

/// Cuts of the long test; `ROUNDSMAN_TEST_CUTS` sets another number.
const CUTS: u64 = 8;
/// In each plan.
const CUTS_OF_PLAN: u64 = 5;
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
}

impl Wire {
    fn to(&self, port: u16) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = listener.local_addr().unwrap().port();
        let wire = self.clone();
        wire.left.store(NEVER, Relaxed);
        std::thread::spawn(move || {
            for near in listener.incoming() {
                let (Ok(near), Ok(far)) = (near, TcpStream::connect(("127.0.0.1", port))) else { continue };
                let nth = i64::try_from(wire.cuts.load(Relaxed)).unwrap();
                let from = if nth % 5 == 4 { 0 } else { wire.greeting.load(Relaxed) };
                let left = if wire.to_cut.load(Relaxed) > 0 { from + nth * 197 % 4_000 } else { NEVER };
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
        self.left.store(i64::try_from(self.cuts.load(Relaxed)).unwrap() * 197 % 2_500, Relaxed);
    }
}

pub(crate) fn a_step_whose_outcome_is_not_heard_because_the_way_is_cut_is_done_once() {
    let wanted: u64 = std::env::var("ROUNDSMAN_TEST_CUTS").map_or(CUTS, |text| text.parse().unwrap());
    let wire = Wire::default();
    let hosts = Hosts::behind(1, |port| wire.to(port));
    hosts.enrol_all();
    until("it is spoken to", || (hosts.world.ctl(&["fleet", "restart", "app", "--dry-run"]).code == 0).then_some(()));
    wire.greeting.store(wire.passed.load(Relaxed), Relaxed);
    let mut plans = 0;
    while wire.cuts.load(Relaxed) < wanted {
        plans += 1;
        wire.cut(CUTS_OF_PLAN);
        until_within(TAKEN_OVER * 2, "the plan is ordered", || {
            (hosts.world.ctl(&["fleet", "restart", "app", "--no-wait"]).code == 0).then_some(())
        });
        let plan = until_within(TAKEN_OVER * 5, "the plan is over", || {
            process::pause(100);
            Some(hosts.plan()).filter(|plan| plan["state"] != "running")
        });
        assert_eq!(plan["state"], "succeeded", "{plan:#}");
        assert_eq!(hosts.done("vm2").len(), plans, "after {} cuts", wire.cuts.load(Relaxed));
    }
}
