//! Descriptors that are kept for services themselves.
use std::{
    fs,
    io::{PipeReader, pipe},
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    time::Duration,
};

use roundsman::wire::keeper::{Fact, Order};

use crate::world::{Manager, World, unit, until};

fn keep(manager: &mut Manager<'_>, name: &str, reader: &PipeReader) {
    let order = Order::Keep { unit: unit("a"), name: name.into(), max: 3, polled: true };
    manager.order_with(order, vec![reader.try_clone().unwrap().into()]);
}

/// How often the keeper has the pipe open.
fn held(world: &World, reader: &PipeReader) -> usize {
    let file = fs::File::from(OwnedFd::from(reader.try_clone().unwrap()));
    let inode = file.metadata().unwrap().ino();
    let entries = fs::read_dir(format!("/proc/{}/fd", world.keeper.id())).unwrap().flatten();
    entries.filter(|entry| fs::metadata(entry.path()).is_ok_and(|seen| seen.ino() == inode)).count()
}

/// CPU time of the keeper so far, in clock ticks (a hundredth of a second).
fn ticks(world: &World) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", world.keeper.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

pub(crate) fn what_hangs_up_is_closed_and_nobody_waits_for_it_any_more() {
    let world = World::new();
    let mut manager = world.ready_manager();
    // The service has them open too, so that closing them ends no wait.
    let ((gone, writer), (forgotten, other_writer)) = (pipe().unwrap(), pipe().unwrap());
    keep(&mut manager, "gone", &gone);
    keep(&mut manager, "gone", &gone);
    keep(&mut manager, "forgotten", &forgotten);
    until("they are kept", || (held(&world, &forgotten) == 1).then_some(()));
    assert_eq!(held(&world, &gone), 1, "once");
    drop(writer);
    until("it is closed", || (held(&world, &gone) == 0).then_some(()));
    manager.order(Order::Forget { unit: unit("a"), name: "forgotten".into() });
    until("it is closed", || (held(&world, &forgotten) == 0).then_some(()));
    drop(other_writer);
    let before = ticks(&world);
    std::thread::sleep(Duration::from_millis(400));
    let used = ticks(&world) - before;
    assert!(used < 10, "the keeper rests: {used} of 40 ticks");
}

pub(crate) fn a_store_that_is_full_and_a_name_of_ours_are_refused() {
    let world = World::new();
    let mut manager = world.ready_manager();
    let pipes: Vec<_> = (0..4).map(|_| pipe().unwrap()).collect();
    for (reader, _) in &pipes {
        keep(&mut manager, "x", reader);
    }
    let refused = |fact: &Fact| match fact {
        Fact::Refused { reason } => Some(reason.clone()),
        _ => None,
    };
    let reason = manager.wait(|fact, _| refused(fact));
    assert!(reason.contains("store is full (it may have 3)"), "{reason}");
    assert_eq!(held(&world, &pipes[3].0), 0);
    // What is the manager's own does not count.
    manager.order_with(
        Order::Store { unit: unit("a"), name: "stream:x".into() },
        vec![pipes[3].0.try_clone().unwrap().into()],
    );
    until("it is stored", || (held(&world, &pipes[3].0) == 1).then_some(()));
    keep(&mut manager, "stream:y", &pipes[3].0);
    let reason = manager.wait(|fact, _| refused(fact));
    assert!(reason.contains("under the name \"stream:y\""), "{reason}");
    manager.order(Order::Release { unit: unit("a") });
    until("what was kept is closed", || (held(&world, &pipes[0].0) == 0).then_some(()));
    assert_eq!(held(&world, &pipes[3].0), 1, "and nothing else");
}
