//! Reloads that bear a name.

use super::{
    super::{
        Input,
        input::{Adopted, Restored, Verb},
        memo::MEMO_MAX,
        once::NAMED_MAX,
    },
    desk::{Desk, key, pid_of},
    make::{command, name, notifying, service, with},
    takeover::living,
};
use crate::{
    base::{InvocationId, SpawnStep},
    unit::{UnitDef, spec::ServiceKind},
};

const RELOADS: &str = "spawn web/1.1 exec_reload MAINPID=1010";

fn reloading() -> UnitDef {
    with("web", |def| def.service.exec_reload = [command("reload")].into())
}

fn up() -> Desk {
    let mut desk = Desk::new([reloading()]);
    desk.up("web");
    desk
}

fn next(desk: &Desk, processes: &[&str]) -> (Desk, Vec<String>) {
    desk.takeover([reloading()], living(processes))
}

fn spawns(said: &[String]) -> usize {
    said.iter().filter(|line| line.contains("exec_reload")).count()
}

#[test]
fn a_reload_that_bears_a_name_is_done_once_and_whoever_asks_again_hears_what_became_of_it() {
    for (code, outcome) in [(0, "reply web=done"), (1, "reply web=Failed(ReloadFailed)")] {
        let mut desk = up();
        assert_eq!(desk.reload_once("web", 1), [RELOADS]);
        assert_eq!(desk.reload_once("web", 1), Vec::<String>::new(), "it is under way");
        let said = desk.left("web/1.1", code);
        assert_eq!(said.iter().filter(|line| *line == outcome).count(), 2, "{said:?}");
        assert_eq!(desk.reload_once("web", 1), [outcome], "it is over");
        assert_eq!(spawns(&desk.reload_once("web", 2)), 1, "another one is another one");
    }
}

#[test]
fn a_new_manager_knows_of_a_reload_whenever_the_one_before_it_died() {
    for (code, outcome) in [(0, "reply web=done"), (1, "reply web=Failed(ReloadFailed)")] {
        let mut desk = up();
        desk.reload_once("web", 1);
        // Under way, and then over.
        let (mut second, said) = next(&desk, &["web/1", "web/1.1"]);
        assert_eq!(spawns(&said), 0);
        assert_eq!(second.reload_once("web", 1), Vec::<String>::new());
        let said = second.left("web/1.1", code);
        assert_eq!(said.last().map(String::as_str), Some(outcome), "{said:?}");
        let (mut third, _) = next(&second, &["web/1"]);
        assert_eq!(third.reload_once("web", 1), [outcome]);
        // It ends before anyone asks.
        let (mut second, _) = next(&desk, &["web/1", "web/1.1"]);
        second.left("web/1.1", code);
        assert_eq!(second.reload_once("web", 1), [outcome]);
        let (mut third, _) = next(&second, &["web/1"]);
        assert_eq!(third.reload_once("web", 1), [outcome]);
        // The keeper had not heard of its command.
        let (mut second, said) = next(&desk, &["web/1"]);
        assert_eq!(spawns(&said), 1, "{said:?}");
        assert_eq!(second.reload_once("web", 1), Vec::<String>::new());
    }
}

#[test]
fn a_reload_that_waits_for_another_one_when_the_manager_dies_was_not_begun() {
    let def = || with("web", |def| def.service.exec_reload = [command("first"), command("second")].into());
    let mut desk = Desk::new([def()]);
    desk.up("web");
    desk.order(Verb::Reload, &["web"]);
    assert_eq!(desk.reload_once("web", 1), Vec::<String>::new());
    assert_eq!(desk.reload_once("web", 1), Vec::<String>::new(), "it waits");
    // A memo leaves while it does.
    assert_eq!(spawns(&desk.left("web/1.1", 0)), 1);
    let (mut second, _) = desk.takeover([def()], living(&["web/1", "web/1.2"]));
    second.left("web/1.2", 0);
    assert_eq!(spawns(&second.reload_once("web", 1)), 1);
    // Where nobody dies it comes next, once.
    assert_eq!(spawns(&desk.left("web/1.2", 0)), 1);
    desk.left("web/1.3", 0);
    let said = desk.left("web/1.4", 0);
    assert_eq!(said.iter().filter(|line| *line == "reply web=done").count(), 2, "{said:?}");
    assert_eq!(desk.reload_once("web", 1), ["reply web=done"]);
}

#[test]
fn of_a_reload_that_a_stop_came_upon_it_is_known_that_nothing_came_of_it() {
    let superseded = ["reply web=Failed(Superseded)"];
    let mut desk = up();
    desk.reload_once("web", 1);
    let said = desk.order(Verb::Stop, &["web"]);
    assert!(said.contains(&superseded[0].to_owned()), "{said:?}");
    assert_eq!(desk.reload_once("web", 1), superseded);
    let (mut second, _) = next(&desk, &["web/1", "web/1.1"]);
    assert_eq!(second.reload_once("web", 1), superseded);
}

#[test]
fn what_cannot_be_reloaded_is_refused_and_may_be_asked_again() {
    let mut desk = Desk::new([reloading(), service("plain")]);
    assert_eq!(desk.reload_once("web", 1), ["reply web=Failed(NotRunning)"]);
    assert!(desk.reload_once("wbe", 1)[0].starts_with("reply wbe=Failed(UnknownUnit"));
    desk.up("plain");
    assert_eq!(desk.reload_once("plain", 1), ["reply plain=Failed(CannotReload)"]);
    desk.up("web");
    assert_eq!(spawns(&desk.reload_once("web", 1)), 1);
    desk.give(Input::Shutdown { actor: crate::base::Actor::Daemon, machine: false });
    assert_eq!(desk.reload_once("web", 2), ["reply web=Failed(ShuttingDown)"]);
}

#[test]
fn a_command_that_cannot_be_made_is_a_reload_that_failed() {
    let mut desk = up();
    desk.reload_once("web", 1);
    desk.spawn_failed("web/1.1", SpawnStep::Exec, 2);
    assert_eq!(desk.reload_once("web", 1), ["reply web=Failed(ReloadFailed)"]);
}

#[test]
fn a_reload_by_signal_is_known_by_its_name_too() {
    let def = || {
        let mut def = notifying("web");
        def.service.kind = ServiceKind::NotifyReload;
        def
    };
    let mut desk = Desk::new([def()]);
    desk.order(Verb::Start, &["web"]);
    desk.spawned("web/1");
    desk.notify("web/1", |message| message.ready = true);
    let asked = desk.now.mono.0 / 1000;
    assert_eq!(desk.reload_once("web", 1), ["kill web/1 SIGHUP"]);
    let key = key("web/1");
    let adopted = Adopted { pid: pid_of(&key), key, invocation: InvocationId::default() };
    let (mut second, _) = desk.takeover([def()], Restored { processes: vec![adopted], ..Restored::default() });
    assert_eq!(second.reload_once("web", 1), Vec::<String>::new());
    let said = second.notify("web/1", |message| {
        message.reloading = true;
        message.ready = true;
        message.monotonic_usec = Some(asked + 5);
    });
    assert_eq!(said.last().map(String::as_str), Some("reply web=done"), "{said:?}");
}

#[test]
fn only_the_newest_names_are_remembered_and_a_memo_has_room_for_them() {
    let mut desk = up();
    for nth in 1..=20 {
        desk.reload_once("web", nth);
        desk.left(&format!("web/1.{nth}"), 0);
    }
    assert!(desk.memos[&name("web")].len() < MEMO_MAX / 4);
    let (mut second, _) = next(&desk, &["web/1"]);
    let is_known = |nth: &u8| second.reload_once("web", *nth) == ["reply web=done"];
    assert_eq!((1..=20).rev().take_while(is_known).count(), NAMED_MAX);
    assert_eq!(desk.reload_once("web", 20), ["reply web=done"]);
}
