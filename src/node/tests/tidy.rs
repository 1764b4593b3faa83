//! What goes with a run, and what is kept for the next.

use super::super::input::Verb;
use super::{
    desk::Desk,
    make::{eager, name, service},
};
use crate::{
    base::TimeSpan,
    unit::{
        UnitDef,
        spec::{DirectoryName, Preserve},
    },
};

fn keeping(mut def: UnitDef, preserve: Preserve) -> UnitDef {
    def.service.file_descriptor_store_max = 3;
    def.service.file_descriptor_store_preserve = preserve;
    def
}

fn closes(said: &[String]) -> bool {
    let count = said.iter().filter(|line| *line == "tidy web descriptors").count();
    assert!(count < 2, "{said:?}");
    count == 1
}

#[test]
fn descriptors_outlive_what_their_unit_says() {
    for (preserve, at_restart, at_stop) in
        [(Preserve::No, true, true), (Preserve::Restart, false, true), (Preserve::Yes, false, false)]
    {
        let mut desk = Desk::new([keeping(eager("web"), preserve)]);
        desk.up("web");
        assert_eq!(closes(&desk.exited("web/1", 1)), at_restart, "{preserve:?}");
        desk.up("web");
        desk.order(Verb::Restart, &["web"]);
        assert_eq!(closes(&desk.killed("web/2", crate::base::Signal::TERM)), at_restart, "{preserve:?}");
        desk.up("web");
        desk.order(Verb::Stop, &["web"]);
        assert_eq!(closes(&desk.killed("web/3", crate::base::Signal::TERM)), at_stop, "{preserve:?}");
    }
}

#[test]
fn descriptors_of_a_unit_that_fails_are_closed_at_once_or_when_its_restart_is_called_off() {
    let mut desk = Desk::new([keeping(service("web"), Preserve::Restart)]);
    desk.up("web");
    assert!(closes(&desk.exited("web/1", 1)));
    let mut def = keeping(eager("web"), Preserve::Restart);
    def.service.restart.delay = TimeSpan::from_secs(9);
    let mut desk = Desk::new([def]);
    desk.up("web");
    assert!(!closes(&desk.exited("web/1", 1)));
    assert!(closes(&desk.order(Verb::Stop, &["web"])));
}

#[test]
fn descriptors_and_directories_are_kept_each_by_its_own_word() {
    let mut def = keeping(eager("web"), Preserve::Restart);
    let directories = &mut def.service.exec.directories;
    directories.runtime.names = [DirectoryName { path: "web".into(), links: [].into() }].into();
    directories.preserve = Preserve::No;
    let mut desk = Desk::new([def]);
    desk.up("web");
    let said = desk.exited("web/1", 1);
    assert_eq!(said[0], "tidy web directories", "{said:?}");
    desk.up("web");
    desk.order(Verb::Stop, &["web"]);
    let said = desk.killed("web/2", crate::base::Signal::TERM);
    assert_eq!(said[0], "tidy web directories descriptors", "{said:?}");
}

#[test]
fn a_unit_that_may_keep_none_any_more_is_passed_none() {
    let mut desk = Desk::new([keeping(eager("web"), Preserve::Restart)]);
    desk.up("web");
    desk.set([eager("web")]);
    assert!(closes(&desk.exited("web/1", 1)), "the next run takes none");
    assert_eq!(desk.node.status(&name("web")).unwrap().generation.0, 2);
}
