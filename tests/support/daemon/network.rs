//! Machines on a switch: a network namespace each, and a cable. The switch is in namespaces of the test's own
//! ([`super::namespace::apart`]), where the test has a cable too, as who uses what runs on the machines.
use std::process::Command;

use super::process;

/// Where a machine is.
pub(crate) fn address(nth: usize) -> String {
    format!("10.77.0.{nth}")
}

/// Makes the switch.
pub(crate) fn switch() {
    ip("link add switch type bridge forward_delay 0 stp_state 0");
    ip("addr add 10.77.0.100/24 dev switch");
    ip("link set switch up");
}

/// Makes machine `vm{nth}` and plugs it in.
pub(crate) fn machine(nth: usize) {
    ip(&format!("netns add vm{nth}"));
    plug_in(nth);
}

/// The network of whoever has that pid is that of machine `vm{nth}`, which is plugged in.
pub(crate) fn adopt(nth: usize, pid: &str) {
    ip(&format!("netns attach vm{nth} {pid}"));
    plug_in(nth);
}

fn plug_in(nth: usize) {
    ip(&format!("link add vm{nth} type veth peer name eth0 netns vm{nth}"));
    ip(&format!("link set vm{nth} master switch up"));
    ip(&format!("-n vm{nth} link set lo up"));
    ip(&format!("-n vm{nth} addr add {}/24 dev eth0", address(nth)));
    ip(&format!("-n vm{nth} link set eth0 up"));
}

/// Pulls the cable out.
pub(crate) fn cut(nth: usize) {
    ip(&format!("link set vm{nth} down"));
}

/// Plugs it in again.
pub(crate) fn heal(nth: usize) {
    ip(&format!("link set vm{nth} up"));
}

/// A program on a machine: in its network, where /sys has nothing but what belongs to that, so no cgroups.
pub(crate) fn on(machine: &str, program: &str) -> Command {
    let mut command = process::command("ip");
    command.args(["netns", "exec", machine, program]);
    command
}

fn ip(words: &str) {
    let status = process::command("ip").args(words.split(' ')).status();
    assert!(status.expect("ip is in iproute2").success(), "ip {words}");
}
