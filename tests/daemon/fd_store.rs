//! Descriptors that services keep with us over their restarts.
use crate::{
    actor,
    support::{
        process::{Signal, kill, until},
        world::World,
    },
};

/// A unit that plays `stash` with these steps.
fn unit(steps: &str, more: &str) -> String {
    let policy = "type = \"notify\"\nrestart = \"always\"\nrestart_sec = 0\n";
    format!(
        "{}[unit]\nstart_limit_burst = 0\n",
        actor::unit(&format!("stash @/log {steps}"), &format!("{policy}{more}"))
    )
}

/// What the last run was passed, as soon as there were so many.
fn passed(world: &World, runs: usize) -> String {
    let lines = until("the next run is there", || Some(world.lines("log")).filter(|lines| lines.len() >= runs));
    assert_eq!(lines.len(), runs);
    world.until_active("web", "active");
    lines.last().unwrap().splitn(3, ' ').nth(2).unwrap_or_default().to_owned()
}

fn die(world: &World) {
    kill(world.pid("web"), Signal::SIGKILL);
}

/// Whether the keeper or the manager has a file of that name open.
fn is_held(world: &World, name: &str) -> bool {
    let holds = |pid: i32| {
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        links
            .filter_map(|entry| std::fs::read_link(entry.path()).ok())
            .any(|link| link.to_string_lossy().contains(name))
    };
    holds(world.keeper()) || holds(world.manager())
}

fn until_closed(world: &World, name: &str) {
    until("it is closed", || (!is_held(world, name)).then_some(()));
}

pub(crate) fn what_a_service_stores_is_passed_to_its_next_run_whoever_died_meanwhile() {
    let port = crate::support::world::free_port();
    let steps = "memfd:memory again pipe:pipe pair:pair memfd: memfd:gone remove:gone";
    let socket = format!("[socket]\nlisten_stream = \"127.0.0.1:{port}\"\nfile_descriptor_name = \"door\"\n");
    let mut world = World::with(&[("web", &(unit(steps, "file_descriptor_store_max = 20") + &socket))]);
    assert_eq!(passed(&world, 1), "door=");
    // As systemd 252 passes them: sockets first, then the newest first.
    let all = "door= stored= pair=pair pair= pipe= pipe=pipe memory=memory";
    let sorted = |text: &str| {
        let mut words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        words.sort();
        words
    };
    die(&world);
    let second = passed(&world, 2);
    let names = |text: &str| text.split(' ').map(|word| word.split('=').next().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&second), names(all), "{second}");
    assert_eq!(sorted(&second), sorted(all), "with what was in them");
    world.kill_manager();
    world.await_answer();
    die(&world);
    assert_eq!(sorted(&passed(&world, 3)), sorted(all), "after a manager's death");
    world.ok(&["upgrade"]);
    die(&world);
    let fourth = passed(&world, 4);
    assert_eq!((names(&fourth), sorted(&fourth)), (names(all), sorted(all)), "after an upgrade");
    // Its own death while there is no manager.
    let manager = world.manager();
    kill(world.keeper(), Signal::SIGSTOP);
    kill(manager, Signal::SIGKILL);
    kill(world.lines("log")[3].split(' ').nth(1).unwrap().parse().unwrap(), Signal::SIGKILL);
    kill(world.keeper(), Signal::SIGCONT);
    assert_eq!(sorted(&passed(&world, 5)), sorted(all), "after both deaths at once");
    world.ok(&["restart", "web"]);
    assert_eq!(sorted(&passed(&world, 6)), sorted(all), "a restart is no stop");
    assert!(is_held(&world, "memfd:memory"));
    until_closed(&world, "memfd:gone");
    world.ok(&["stop", "web"]);
    until_closed(&world, "memfd:memory");
    world.ok(&["start", "web"]);
    assert_eq!(passed(&world, 7), "door=");
}

pub(crate) fn a_store_ends_with_what_the_unit_says() {
    for (preserve, over_restart, over_stop) in [("no", "", ""), ("restart", "a=a", ""), ("yes", "a=a", "a=a")] {
        let more = format!("file_descriptor_store_max = 4\nfile_descriptor_store_preserve = \"{preserve}\"");
        let mut world = World::with(&[("web", &unit("memfd:a", &more))]);
        assert_eq!(passed(&world, 1), "");
        die(&world);
        assert_eq!(passed(&world, 2), over_restart, "{preserve}");
        world.ok(&["stop", "web"]);
        world.kill_manager();
        world.await_answer();
        world.ok(&["start", "web"]);
        assert_eq!(passed(&world, 3), over_stop, "{preserve}");
    }
}

pub(crate) fn status_counts_a_store_and_one_that_is_kept_for_good_is_emptied_by_clean() {
    let more = "file_descriptor_store_max = 4\nfile_descriptor_store_preserve = \"yes\"";
    let mut world = World::with(&[
        ("web", &unit("memfd:a memfd:b memfd:c remove:c", more)),
        ("plain", "[service]\nexec_start = \"sleep 1000\"\n"),
    ]);
    assert_eq!(passed(&world, 1), "");
    let count = |world: &World| world.status("web")["n_file_descriptor_store"].clone();
    until("it is counted", || (count(&world) == 2).then_some(()));
    let shown = world.ok(&["status", "web"]).out;
    assert!(shown.contains("FD store: 2 (limit 4)"), "{shown}");
    assert!(!world.ok(&["status", "plain"]).out.contains("FD store"));
    let clean = |world: &World| world.ctl(&["clean", "web", "--what", "fdstore"]);
    let refused = clean(&world);
    assert!(refused.code == 1 && refused.out.contains("web is not down"), "{refused:?}");
    world.ok(&["stop", "web"]);
    world.kill_manager();
    world.await_answer();
    assert_eq!(count(&world), 2, "the next manager counts what it finds");
    assert_eq!(clean(&world).code, 0);
    until_closed(&world, "memfd:a");
    until("none is counted", || (count(&world) == 0).then_some(()));
    world.ok(&["start", "web"]);
    assert_eq!(passed(&world, 2), "");
}

pub(crate) fn a_service_that_fails_for_good_keeps_nothing() {
    let more = "file_descriptor_store_max = 4\nrestart_prevent_exit_status = \"SIGKILL\"";
    let world = World::with(&[("web", &unit("memfd:a", more))]);
    assert_eq!(passed(&world, 1), "");
    assert!(is_held(&world, "memfd:a"));
    die(&world);
    world.until_active("web", "failed");
    until_closed(&world, "memfd:a");
}

pub(crate) fn one_too_many_is_closed_at_once_and_a_unit_that_may_keep_none_keeps_none() {
    let world = World::with(&[("web", &unit("memfd:a memfd:b memfd:c again", "file_descriptor_store_max = 2"))]);
    assert_eq!(passed(&world, 1), "");
    assert!(is_held(&world, "memfd:a") && is_held(&world, "memfd:b"));
    until_closed(&world, "memfd:c");
    until("it is said", || world.log().contains("store is full").then_some(()));
    die(&world);
    assert_eq!(passed(&world, 2), "b=b a=a");
    let world = World::with(&[("web", &unit("memfd:a", ""))]);
    assert_eq!(passed(&world, 1), "");
    until_closed(&world, "memfd:a");
}

pub(crate) fn what_has_hung_up_is_closed_unless_the_service_wants_it_kept() {
    // The first two other sides are gone while the service lives, the rest with it.
    let steps = "reader:early reader:early-kept! hang-up reader:late reader:late-kept! memfd:file";
    let world = World::with(&[("web", &unit(steps, "file_descriptor_store_max = 20"))]);
    assert_eq!(passed(&world, 1), "");
    die(&world);
    let kept = "file=file late-kept=late-kept early-kept=early-kept";
    assert_eq!(passed(&world, 2), kept);
    // What was asked for holds on after an upgrade: all of it has hung up by now.
    world.ok(&["upgrade"]);
    die(&world);
    assert_eq!(passed(&world, 3), "file=file late-kept= early-kept=");
}

pub(crate) fn what_hangs_up_after_an_upgrade_is_closed() {
    let world = World::with(&[("web", &unit("reader:late reader:late-kept!", "file_descriptor_store_max = 20"))]);
    assert_eq!(passed(&world, 1), "");
    world.ok(&["upgrade"]);
    die(&world);
    assert_eq!(passed(&world, 2), "late-kept=late-kept");
}

pub(crate) fn what_comes_when_the_service_is_down_is_not_kept() {
    let more = "file_descriptor_store_max = 4\nnotify_access = \"all\"\nkill_mode = \"process\"\nsend_sigkill = false";
    let world = World::with(&[("web", &unit("late:late", more))]);
    assert_eq!(passed(&world, 1), "");
    world.ok(&["stop", "web"]);
    std::fs::write(world.path("log.go"), "").unwrap();
    until("it was taken in", || (!world.lines("log.late").is_empty()).then_some(()));
    until_closed(&world, "memfd:late");
    world.ok(&["start", "web"]);
    assert_eq!(passed(&world, 2), "");
}
