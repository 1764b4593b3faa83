//! Units that wait for traffic.

use super::super::{
    Input,
    input::{Restored, Verb},
};
use super::{
    desk::Desk,
    make::{lazy, name, notifying, service},
};
use crate::{
    base::{RunResult, SpawnFailure, SpawnStep, TimeSpan},
    unit::{UnitDef, spec::Restart},
};

/// Without a start limit, so that the limit on traffic shows.
fn unlimited(text: &str) -> UnitDef {
    let mut def = lazy(text);
    def.start_limit.interval = TimeSpan::ZERO;
    def
}

#[test]
fn a_lazy_unit_starts_with_the_first_traffic_and_listens_again_when_it_has_ended() {
    let mut desk = Desk::cold([lazy("web"), service("db")]);
    let said = desk.give(Input::Boot);
    assert_eq!(said, ["listen web 1", "spawn db/1 exec_start", "Listening web", "RunStarting db/1 Boot 0"]);
    let status = desk.status("web");
    assert_eq!((status.sub.as_str(), status.active.as_str(), status.wanted), ("listening", "active", false));
    assert_eq!(desk.traffic("web"), ["unlisten web", "spawn web/1 exec_start", "RunStarting web/1 Traffic 0"]);
    assert_eq!(desk.traffic("web"), Vec::<String>::new(), "it is being started");
    desk.up("web");
    assert_eq!(desk.traffic("web"), Vec::<String>::new(), "it serves");
    assert_eq!(desk.node.stale_facts(), 2);
    let said = desk.exited("web/1", 0);
    assert_eq!(said, ["listen web 1", "RunEnded web/1 success (exit code 0) rest", "Listening web"]);
    assert_eq!(desk.traffic("web")[1], "spawn web/2 exec_start");
}

#[test]
fn one_that_failed_listens_again_and_tells_who_waits_for_that() {
    let mut def = lazy("web");
    def.relations.on_failure = [name("ops")].into();
    let mut ops = service("ops");
    ops.enabled = false;
    let mut desk = Desk::new([def, ops]);
    desk.traffic("web");
    desk.up("web");
    let said = desk.exited("web/1", 1);
    assert_eq!(desk.sub("web"), "listening");
    assert_eq!(desk.status("web").result, RunResult::ExitCode);
    assert!(said.contains(&"RunEnded web/1 exit-code (exit code 1) fail".to_owned()), "{said:?}");
    assert_eq!(said.iter().filter(|line| line.starts_with("spawn ops/1")).count(), 1, "{said:?}");
    assert!(!said.iter().any(|line| line.starts_with("UnitFailed")), "it does not stay so: {said:?}");
    desk.traffic("web");
    desk.up("web");
    let said = desk.pass(10.0);
    assert_eq!(said, ["Recovered web/2"], "the incident is over");
}

#[test]
fn an_automatic_restart_does_not_wait_for_traffic() {
    let mut def = lazy("web");
    def.service.restart.when = Restart::OnFailure;
    let mut desk = Desk::new([def]);
    desk.traffic("web");
    desk.up("web");
    assert_eq!(desk.exited("web/1", 1)[0], "spawn web/2 exec_start");
    desk.up("web");
    desk.exited("web/2", 0);
    assert_eq!(desk.sub("web"), "listening");
}

#[test]
fn a_stop_ends_the_listening_until_someone_starts_or_enables_it() {
    let mut desk = Desk::new([lazy("web")]);
    let said = desk.order(Verb::Stop, &["web"]);
    assert_eq!(said, ["unlisten web", "UnitStopped web uid 1000", "reply web=done"]);
    assert_eq!(desk.traffic("web"), Vec::<String>::new());
    assert_eq!(desk.sub("web"), "dead");
    assert_eq!(desk.order(Verb::Enable, &["web"]), ["listen web 1", "Listening web", "reply web=done"]);
    desk.traffic("web");
    desk.up("web");
    desk.order(Verb::Stop, &["web"]);
    desk.killed("web/1", crate::base::Signal::TERM);
    assert_eq!(desk.sub("web"), "dead", "a stop while it served");
    assert_eq!(desk.order(Verb::Start, &["web"])[0], "spawn web/2 exec_start", "a start does not wait for traffic");
    desk.up("web");
    desk.exited("web/2", 0);
    assert_eq!(desk.sub("web"), "listening", "and it listens afterwards");
    assert_eq!(desk.order(Verb::Start, &["web"])[..2], ["unlisten web", "spawn web/3 exec_start"]);
    assert_eq!(desk.order(Verb::Restart, &["web"]).len(), 1, "it is stopped first");
}

#[test]
fn a_service_that_takes_nothing_of_what_waits_is_not_started_for_ever() {
    let mut desk = Desk::new([unlimited("web")]);
    for generation in 1..=20 {
        assert_eq!(desk.traffic("web")[1], format!("spawn web/{generation} exec_start"));
        desk.up("web");
        desk.exited(&format!("web/{generation}"), 0);
    }
    let said = desk.traffic("web");
    assert_eq!(said, ["unlisten web", "StartLimitHit web", "UnitFailed web trigger-limit-hit"]);
    assert_eq!(desk.traffic("web"), Vec::<String>::new());
    desk.order(Verb::Start, &["web"]);
    desk.up("web");
    desk.pass(2.1);
    desk.exited("web/21", 0);
    assert_eq!(desk.traffic("web")[1], "spawn web/22 exec_start", "the window is over");
}

#[test]
fn the_start_limit_ends_it_too() {
    let mut desk = Desk::new([lazy("web")]);
    for generation in 1..=5 {
        desk.traffic("web");
        desk.up("web");
        desk.exited(&format!("web/{generation}"), 1);
    }
    let said = desk.traffic("web");
    assert_eq!(said, ["unlisten web", "StartLimitHit web", "UnitFailed web start-limit-hit"]);
    assert_eq!(desk.sub("web"), "failed");
}

#[test]
fn a_unit_that_needs_one_that_cannot_start_waits_for_that_one_and_not_for_traffic() {
    let mut web = lazy("web");
    web.relations.requires = [name("db")].into();
    web.relations.after = [name("db")].into();
    let mut db = notifying("db");
    db.enabled = false;
    let mut desk = Desk::new([web, db]);
    assert!(desk.traffic("web").contains(&"spawn db/1 exec_start".to_owned()));
    assert_eq!(desk.status("web").job, Some("start"));
    desk.spawned("db/1");
    let said = desk.exited("db/1", 1);
    assert!(said.contains(&"DependencyFailed web db".to_owned()), "{said:?}");
    assert_eq!(desk.sub("web"), "dead", "traffic alone would try again at once");
    desk.order(Verb::Start, &["db"]);
    desk.spawned("db/2");
    let said = desk.notify("db/2", |message| message.ready = true);
    assert!(said.contains(&"spawn web/1 exec_start".to_owned()), "{said:?}");
}

#[test]
fn sockets_that_cannot_be_bound_fail_the_unit() {
    let mut desk = Desk::new([lazy("web")]);
    let failure = SpawnFailure { step: SpawnStep::Prepare, errno: 98 };
    let said = desk.give(Input::ListenFailed { unit: name("web"), failure });
    assert_eq!(said, ["unlisten web", "UnitFailed web resources"]);
    assert_eq!(desk.give(Input::ListenFailed { unit: name("web"), failure }), Vec::<String>::new());
}

#[test]
fn a_new_manager_listens_on_and_what_was_triggered_is_started_once() {
    let mut desk = Desk::new([unlimited("web")]);
    let (mut later, said) = desk.takeover([unlimited("web")], Restored::default());
    assert_eq!(said, ["listen web 1"]);
    assert_eq!(later.give(Input::Boot), Vec::<String>::new());
    assert_eq!(later.traffic("web")[1], "spawn web/1 exec_start");
    // The order never reached the keeper.
    let (mut later, said) = later.takeover([unlimited("web")], Restored::default());
    assert_eq!(said, ["spawn web/1 exec_start", "RunStarting web/1 Traffic 0"]);
    assert_eq!(later.traffic("web"), Vec::<String>::new());
    // The window of triggers goes on.
    for generation in 1..=20 {
        desk.traffic("web");
        desk.up("web");
        desk.exited(&format!("web/{generation}"), 0);
        (desk, _) = desk.takeover([unlimited("web")], Restored::default());
    }
    assert_eq!(desk.traffic("web").last().unwrap(), "UnitFailed web trigger-limit-hit");
}

#[test]
fn files_change_while_it_listens() {
    let mut desk = Desk::new([lazy("web")]);
    assert_eq!(desk.set([lazy("web")]), Vec::<String>::new());
    let mut more = lazy("web");
    more.sockets.list = [more.sockets.list[0].clone(), more.sockets.list[0].clone()].into();
    assert_eq!(desk.set([more.clone()]), ["listen web 2"]);
    let (mut later, said) = desk.takeover([service("web")], Restored::default());
    assert_eq!(said[..2], ["unlisten web", "spawn web/1 exec_start"], "the files changed meanwhile");
    later.up("web");
    let mut eager = more.clone();
    eager.sockets.lazy = false;
    let said = desk.set([eager]);
    assert_eq!(said[..2], ["unlisten web", "spawn web/1 exec_start"]);
    let mut desk = Desk::new([more]);
    let said = desk.set([]);
    assert_eq!(said, ["unlisten web", "forget web", "UnitStopped web roundsman"]);
    let mut desk = Desk::new([]);
    assert_eq!(desk.set([lazy("web")]), ["listen web 1", "Listening web"], "a new unit begins as at boot");
}

#[test]
fn a_stop_takes_the_sockets_only_where_the_unit_says_so() {
    let mut def = lazy("web");
    for takes in [false, true] {
        def.sockets.list[0].options.remove_on_stop = takes;
        let mut desk = Desk::new([def.clone()]);
        let releases = |said: &[String]| said.contains(&"release web".to_owned());
        desk.traffic("web");
        desk.up("web");
        desk.order(Verb::Restart, &["web"]);
        assert!(!releases(&desk.killed("web/1", crate::base::Signal::TERM)), "it comes back");
        desk.up("web");
        assert!(!releases(&desk.exited("web/2", 0)));
        assert_eq!(releases(&desk.order(Verb::Stop, &["web"])), takes);
        desk.order(Verb::Start, &["web"]);
        desk.up("web");
        desk.order(Verb::Stop, &["web"]);
        assert_eq!(releases(&desk.killed("web/3", crate::base::Signal::TERM)), takes);
    }
}

#[test]
fn the_end_of_the_daemon_ends_the_listening() {
    let mut desk = Desk::new([lazy("web")]);
    let said = desk.give(Input::Shutdown { actor: crate::base::Actor::Daemon, machine: false });
    assert_eq!(said.last().unwrap(), "all-stopped 0");
    assert!(said.contains(&"unlisten web".to_owned()));
    assert_eq!(desk.traffic("web"), Vec::<String>::new());
}
