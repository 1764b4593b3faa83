//! A unit's end that is the daemon's.

use super::super::input::{Restored, Verb};
use super::{
    desk::Desk,
    make::{eager, service, with},
};
use crate::{
    base::Signal,
    unit::{
        UnitDef,
        spec::{Actions, EmergencyAction, Restart},
    },
};

fn ends(name: &str, actions: Actions) -> UnitDef {
    with(name, |def| def.actions = actions)
}

fn both(action: EmergencyAction) -> Actions {
    Actions { success: Some(action), failure: Some(action), ..Actions::default() }
}

fn code_after(actions: Actions, end: impl FnOnce(&mut Desk) -> Vec<String>) -> Option<String> {
    let mut desk = Desk::new([ends("web", actions)]);
    desk.up("web");
    end(&mut desk).into_iter().find(|said| said.starts_with("all-stopped"))
}

#[test]
fn the_daemon_ends_with_the_main_process_status_or_the_one_that_is_set() {
    let exit = both(EmergencyAction::Exit);
    let exited = |code| move |desk: &mut Desk| desk.exited("web/1", code);
    let killed = |signal| move |desk: &mut Desk| desk.killed("web/1", signal);
    assert_eq!(code_after(exit, exited(0)).unwrap(), "all-stopped 0");
    assert_eq!(code_after(exit, exited(7)).unwrap(), "all-stopped 7");
    assert_eq!(code_after(exit, killed(Signal::TERM)).unwrap(), "all-stopped 0", "a clean signal is a success");
    assert_eq!(code_after(exit, killed(Signal::KILL)).unwrap(), "all-stopped 137");
    let set = Actions { success_status: Some(3), failure_status: Some(4), ..exit };
    assert_eq!(code_after(set, exited(0)).unwrap(), "all-stopped 3");
    assert_eq!(code_after(set, exited(7)).unwrap(), "all-stopped 4");
    let only_failure = Actions { success: None, ..exit };
    assert_eq!(code_after(only_failure, exited(0)), None);
    assert_eq!(code_after(both(EmergencyAction::None), exited(7)), None);
}

#[test]
fn exit_waits_for_the_others_and_exit_force_for_nobody() {
    for (action, says) in [(EmergencyAction::Exit, false), (EmergencyAction::ExitForce, true)] {
        let mut desk = Desk::new([ends("web", both(action)), service("other")]);
        desk.up("web");
        desk.up("other");
        let said = desk.exited("web/1", 5);
        assert_eq!(said.contains(&"all-stopped 5".to_owned()), says, "{said:?}");
        if !says {
            assert_eq!(desk.killed("other/1", Signal::TERM).last().unwrap(), "all-stopped 5");
        }
    }
}

#[test]
fn a_restart_is_no_end_and_a_stop_is_one() {
    let restarted = UnitDef { actions: both(EmergencyAction::Exit), ..eager("web") };
    let mut desk = Desk::new([restarted]);
    desk.up("web");
    assert!(!desk.exited("web/1", 5).iter().any(|said| said.starts_with("all-stopped")));
    desk.spawned("web/2");
    desk.order(Verb::Restart, &["web"]);
    let said = desk.killed("web/2", Signal::TERM);
    assert!(!said.iter().any(|said| said.starts_with("all-stopped")), "{said:?}");
    desk.spawned("web/3");
    desk.order(Verb::Stop, &["web"]);
    let said = desk.killed("web/3", Signal::TERM);
    assert_eq!(said.last().unwrap(), "all-stopped 0", "{said:?}");
}

#[test]
fn a_manager_that_dies_before_the_daemons_end_leaves_it_to_the_next() {
    let def = || {
        with("web", |def| {
            def.actions = both(EmergencyAction::Exit);
            def.service.restart.when = Restart::No;
        })
    };
    let mut desk = Desk::new([def(), service("other")]);
    desk.up("web");
    desk.up("other");
    desk.exited("web/1", 6);
    let other = Restored { processes: super::takeover::living(&["other/1"]).processes, ..Restored::default() };
    let (mut next, mut said) = desk.takeover([def(), service("other")], other);
    said.extend(next.killed("other/1", Signal::TERM));
    assert_eq!(said.last().unwrap(), "all-stopped 6", "{said:?}");
}
