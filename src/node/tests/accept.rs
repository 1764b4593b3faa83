//! Units that accept connections.

use std::{net::IpAddr, sync::Arc};

use super::super::{
    Input,
    accept::FAILED_MAX,
    input::{Adopted, Restored, Verb},
    status::Accepted,
};
use super::{
    desk::{Desk, key, pid_of},
    make::{acceptor, connection, name, service},
};
use crate::{
    base::{Generation, InvocationId, RunResult, SpawnFailure, SpawnStep, TimeSpan},
    unit::{UnitDef, spec::ConnectionLimits},
};

fn echo() -> UnitDef {
    acceptor("echo@", ConnectionLimits { max: 3, per_source: 2 })
}

/// The instance of connection `number`, of client `host`.
fn instance(number: u64, host: u8) -> String {
    format!("echo@{number}-127.0.0.1:7-127.0.0.{host}:9")
}

impl Desk {
    /// It boots and listens.
    fn accepting() -> Self {
        let mut desk = Self::new([echo()]);
        desk.listens();
        desk
    }

    fn listens(&mut self) -> Vec<String> {
        self.give(Input::Listens { unit: name("echo@") })
    }

    fn connect(&mut self, host: u8) -> Vec<String> {
        let source: IpAddr = [127, 0, 0, host].into();
        self.give(Input::Connected { unit: name("echo@"), source: Some(source) })
    }

    /// Someone connects and is let in; the name of the instance.
    fn serve(&mut self, number: u64, host: u8) -> String {
        assert_eq!(self.connect(host), [format!("accept echo@ {number}")]);
        let unit = instance(number, host);
        let said = self.give(Input::Instance { number, def: Arc::new(connection(&unit)) });
        let run = format!("{unit}/{}", number + 1);
        let environment = format!(" REMOTE_ADDR=127.0.0.{host} REMOTE_PORT=9");
        assert_eq!(
            said,
            [format!("spawn {run} exec_start{environment}"), format!("RunStarting {run} Connection({unit}) 0")]
        );
        self.up(&unit);
        unit
    }

    fn counts(&self) -> (u64, u32, u64) {
        let Accepted { accepted, connections, refused } = self.status("echo@").accepted.expect("it accepts");
        (accepted, connections, refused)
    }
}

#[test]
fn a_unit_that_accepts_listens_and_runs_nothing_itself() {
    let mut desk = Desk::cold([echo()]);
    assert_eq!(desk.give(Input::Boot), ["listen echo@ 1", "Listening echo@"]);
    desk.listens();
    let status = desk.status("echo@");
    assert_eq!((status.sub.as_str(), status.active.as_str(), status.wanted), ("listening", "active", true));
    assert_eq!(desk.order(Verb::Start, &["echo@"]), ["reply echo@=already"]);
}

#[test]
fn who_needs_it_starts_when_it_listens() {
    let mut def = service("front");
    def.relations.requires = [name("echo@")].into();
    def.relations.after = [name("echo@")].into();
    let mut acceptor = echo();
    acceptor.enabled = false;
    let mut desk = Desk::cold([acceptor, def]);
    assert_eq!(desk.give(Input::Boot), ["listen echo@ 1", "Listening echo@"]);
    assert_eq!(desk.listens()[0], "spawn front/1 exec_start");
}

#[test]
fn each_connection_is_an_instance_that_leaves_when_it_is_over() {
    let mut desk = Desk::accepting();
    let first = desk.serve(0, 1);
    let second = desk.serve(1, 2);
    assert_eq!(desk.counts(), (2, 2, 0));
    let said = desk.exited(&format!("{first}/1"), 0);
    let ended = format!("RunEnded {first}/1 success (exit code 0) rest");
    assert_eq!(said, [format!("release {first}"), format!("forget {first}"), ended]);
    assert!(desk.node.status(&name(&first)).is_none());
    assert_eq!((desk.sub("echo@"), desk.sub(&second)), ("listening", "running"));
    assert_eq!(desk.counts(), (2, 1, 0));
}

#[test]
fn one_that_failed_is_shown_until_it_is_reset_and_is_never_started_again() {
    let mut desk = Desk::accepting();
    let unit = desk.serve(0, 1);
    let said = desk.exited(&format!("{unit}/1"), 3);
    assert!(said.contains(&format!("release {unit}")), "its client is not left waiting: {said:?}");
    assert_eq!((desk.sub(&unit), desk.counts()), ("failed", (1, 0, 0)));
    let refused = format!("reply {unit}=Failed(OneConnection)");
    assert_eq!(desk.order(Verb::Start, &[&unit]), [&*refused]);
    assert_eq!(desk.order(Verb::Restart, &[&unit]), [refused]);
    assert_eq!(desk.order(Verb::Reset, &[&unit])[0], format!("forget {unit}"));
    assert!(desk.node.status(&name(&unit)).is_none());
}

#[test]
fn only_the_newest_failures_are_kept() {
    let mut desk = Desk::accepting();
    let count = FAILED_MAX as u64 + 3;
    for number in 0..count {
        let unit = desk.serve(number, 1);
        desk.exited(&format!("{unit}/{}", number + 1), 1);
    }
    assert_eq!(desk.node.statuses().len(), FAILED_MAX + 1);
    assert!(desk.node.status(&name(&instance(2, 1))).is_none());
    assert_eq!(desk.sub(&instance(3, 1)), "failed");
}

#[test]
fn more_than_the_limits_allow_are_closed_at_once() {
    let mut desk = Desk::accepting();
    let first = desk.serve(0, 1);
    desk.serve(1, 1);
    assert_eq!(desk.connect(1), ["hang-up echo@ MaxConnectionsPerSource"]);
    desk.serve(2, 2);
    assert_eq!(desk.connect(2), ["hang-up echo@ MaxConnections"], "the limit on all is asked first");
    assert_eq!(desk.counts(), (3, 3, 2));
    desk.exited(&format!("{first}/1"), 0);
    desk.serve(3, 1);
    assert_eq!(desk.connect(1), ["hang-up echo@ MaxConnections"]);
}

#[test]
fn connections_of_unix_sockets_have_no_source() {
    let mut desk = Desk::new([acceptor("echo@", ConnectionLimits { max: 9, per_source: 1 })]);
    for number in 0..3 {
        assert_eq!(
            desk.give(Input::Connected { unit: name("echo@"), source: None }),
            [format!("accept echo@ {number}")]
        );
        let unit = format!("echo@{number}-10-0");
        desk.give(Input::Instance { number, def: Arc::new(connection(&unit)) });
    }
    assert_eq!(desk.counts(), (3, 3, 0));
}

#[test]
fn too_many_connections_in_a_while_make_it_fail_and_close_its_sockets() {
    let mut def = echo();
    def.sockets.trigger_limit.burst = 2;
    let mut desk = Desk::new([def]);
    let running = desk.serve(0, 1);
    desk.serve(1, 2);
    let said = desk.connect(3);
    assert_eq!(
        said,
        [
            "unlisten echo@",
            "release echo@",
            "hang-up echo@ TriggerLimit",
            "StartLimitHit echo@",
            "UnitFailed echo@ trigger-limit-hit"
        ]
    );
    assert_eq!((desk.sub("echo@"), desk.sub(&running)), ("failed", "running"));
    desk.order(Verb::Reset, &["echo@"]);
    desk.pass(3.0);
    desk.order(Verb::Start, &["echo@"]);
    desk.serve(2, 3);
}

#[test]
fn its_stop_closes_the_sockets_and_leaves_the_instances_alone() {
    let mut desk = Desk::accepting();
    let unit = desk.serve(0, 1);
    let said = desk.order(Verb::Stop, &["echo@"]);
    assert_eq!(said, ["unlisten echo@", "release echo@", "UnitStopped echo@ uid 1000", "reply echo@=done"]);
    assert_eq!(desk.connect(1), ["hang-up echo@ NotListening"], "one that was on its way");
    assert_eq!(desk.sub(&unit), "running");
    assert_eq!(desk.exited(&format!("{unit}/1"), 0)[1], format!("forget {unit}"));
}

#[test]
fn sockets_that_cannot_be_had_fail_it() {
    let mut desk = Desk::accepting();
    let failure = SpawnFailure { step: SpawnStep::Prepare, errno: 98 };
    desk.give(Input::ListenFailed { unit: name("echo@"), failure });
    assert_eq!((desk.sub("echo@"), desk.status("echo@").result), ("failed", RunResult::Resources));
    // Whoever starts it is answered when that is known.
    let wait = ["listen echo@ 1", "Listening echo@"];
    assert_eq!(desk.order(Verb::Start, &["echo@"]), wait);
    let said = desk.give(Input::ListenFailed { unit: name("echo@"), failure });
    assert_eq!(
        said.last().unwrap(),
        "reply echo@=Failed(CannotListen { failure: SpawnFailure { step: Prepare, errno: 98 } })"
    );
    assert_eq!(desk.order(Verb::Start, &["echo@"]), wait);
    assert_eq!(desk.listens(), ["reply echo@=done"]);
    assert_eq!(desk.listens(), [""; 0], "a second word changes nothing");
}

#[test]
fn an_instance_ends_with_what_it_is_bound_to_and_does_not_come_back() {
    let mut desk = Desk::new([echo(), service("db")]);
    desk.up("db");
    assert_eq!(desk.connect(1), ["accept echo@ 0"]);
    let unit = instance(0, 1);
    let mut def = connection(&unit);
    def.relations.binds_to = [name("db")].into();
    def.relations.after = [name("db")].into();
    desk.give(Input::Instance { number: 0, def: Arc::new(def) });
    desk.up(&unit);
    let said = desk.order(Verb::Restart, &["db"]);
    assert!(said.contains(&format!("kill-tree {unit}/1 SIGTERM")), "{said:?}");
    let said = desk.killed(&format!("{unit}/1"), crate::base::Signal::TERM);
    assert!(said.contains(&format!("forget {unit}")), "{said:?}");
    desk.killed("db/1", crate::base::Signal::TERM);
    desk.up("db");
    assert!(desk.node.status(&name(&unit)).is_none());
}

#[test]
fn one_that_cannot_start_is_closed() {
    let mut desk = Desk::accepting();
    desk.connect(1);
    let unit = instance(0, 1);
    let mut def = connection(&unit);
    def.relations.requires = [name("nobody")].into();
    let said = desk.give(Input::Instance { number: 0, def: Arc::new(def) });
    assert_eq!(said[..2], [format!("release {unit}"), format!("forget {unit}")]);
    assert_eq!(desk.counts(), (1, 0, 0));
}

#[test]
fn new_files_leave_instances_alone_until_their_template_is_gone() {
    let mut desk = Desk::accepting();
    let unit = desk.serve(0, 1);
    let mut changed = echo();
    changed.description = "changed".into();
    changed.sockets.accept = crate::unit::spec::Accept::Each(ConnectionLimits { max: 1, per_source: 0 });
    assert_eq!(desk.set([changed]), ["listen echo@ 1"]);
    assert_eq!((desk.sub(&unit), desk.connect(2)), ("running", vec!["hang-up echo@ MaxConnections".to_owned()]));
    let said = desk.set([service("other")]);
    assert!(said.contains(&format!("kill-tree {unit}/1 SIGTERM")), "{said:?}");
    desk.killed(&format!("{unit}/1"), crate::base::Signal::TERM);
    assert_eq!(desk.node.statuses().len(), 1, "both are gone");
}

#[test]
fn the_next_manager_goes_on_with_the_connections() {
    let mut desk = Desk::accepting();
    let (first, failed) = (desk.serve(0, 1), desk.serve(1, 2));
    desk.exited(&format!("{failed}/2"), 1);
    let run = format!("{first}/1");
    let adopted = Adopted { key: key(&run), invocation: InvocationId::default(), pid: pid_of(&key(&run)) };
    // The manager died before it had told its last memo: the numbers go on all the same.
    desk.memos.remove(&name("echo@"));
    let orphan = instance(2, 3);
    let defs = || [echo(), connection(&first), connection(&failed), connection(&orphan)];
    let restored = Restored { processes: vec![adopted], ..Restored::default() };
    let (mut next, said) = desk.takeover(defs(), restored);
    assert!(said.contains(&format!("release {orphan}")), "nobody serves it: {said:?}");
    assert!(said.contains(&format!("forget {orphan}")), "{said:?}");
    assert_eq!((next.sub(&first), next.sub(&failed)), ("running", "failed"));
    next.give(Input::Boot);
    assert_eq!(next.counts(), (3, 1, 0));
    next.serve(3, 1);
    assert_eq!(next.connect(1), ["hang-up echo@ MaxConnectionsPerSource"], "the first counts too");
    let said = next.exited(&run, 0);
    assert!(said.contains(&format!("forget {first}")), "{said:?}");
}

#[test]
fn numbers_go_on_where_the_store_ends() {
    let desk = Desk::cold([echo()]);
    let generations = [(name("echo@"), Generation(41))].into();
    let (mut next, _) = desk.takeover([echo()], Restored { generations, ..Restored::default() });
    next.give(Input::Boot);
    next.serve(41, 1);
}

#[test]
fn thousands_in_turn_leave_no_trace() {
    let mut def = echo();
    def.sockets.trigger_limit.interval = TimeSpan::ZERO;
    let mut desk = Desk::new([def, service("db")]);
    for number in 0..3000 {
        let unit = desk.serve(number, 1);
        desk.exited(&format!("{unit}/{}", number + 1), 0);
    }
    assert_eq!((desk.node.statuses().len(), desk.memos.len()), (2, 2));
    assert!(desk.node.units.len() <= 3, "places are used again: {}", desk.node.units.len());
    assert_eq!(desk.counts(), (3000, 0, 0));
}
