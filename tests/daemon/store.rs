//! The database is damaged, the disk is full: services do not notice.
use std::{fs, path::PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::{
    actor,
    support::{
        hook::Hook,
        process::{Signal, kill, need_root, pause, until},
        world::World,
    },
};

pub(crate) fn a_damaged_database_is_set_aside_and_services_come_up() {
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url));
    world.unit("web", &actor::unit("notify READY=1", "type = \"notify\""));
    world.start();
    world.until_active("web", "active");
    assert!(world.stop().success());
    let database = world.path("state/state.db");
    let mut bytes = fs::read(&database).unwrap();
    assert!(bytes.len() > 8192, "a clean end leaves everything in the file itself");
    bytes[100..8192].fill(0x5a);
    fs::write(&database, bytes).unwrap();
    world.start();
    world.until_active("web", "active");
    let notices = world.until_notices("store_replaced", 1);
    assert_eq!(notices.len(), 1);
    let kept = notices[0]["fields"]["kept"].as_str().unwrap();
    assert_eq!(fs::read(kept).unwrap()[100..8192], [0x5a; 8092], "what was damaged is kept as it was");
    let alert = until("someone is told", || hook.taken().first().cloned());
    assert_eq!(alert["event"], "store_replaced", "{alert:#}");
    world.ok(&["restart", "web"]);
    assert!(world.history("web", 1).len() >= 2, "the new database counts");
}

/// A small file system, for as long as the test lives.
pub(crate) struct Small(PathBuf);

impl Small {
    pub(crate) fn new(path: PathBuf, size: &str) -> Self {
        need_root("it mounts a small file system");
        fs::create_dir_all(&path).unwrap();
        mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(format!("size={size}").as_str())).unwrap();
        Self(path)
    }

    /// From now on who opens a file finds it read-only, until what comes back is dropped.
    pub(crate) fn read_only(&self) -> Lid {
        let on_itself =
            |flags| mount(Some(&self.0), &self.0, None::<&str>, MsFlags::MS_BIND | flags, None::<&str>).unwrap();
        on_itself(MsFlags::empty());
        on_itself(MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        Lid(self.0.clone())
    }

    /// Takes all that is left; gives it back when the file is removed.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut ballast = fs::File::options().create(true).append(true).open(&path).unwrap();
        let piece = [0_u8; 4096];
        while std::io::Write::write(&mut ballast, &piece).is_ok_and(|written| written > 0) {}
        path
    }
}

/// A mount on top of another.
pub(crate) struct Lid(PathBuf);

impl Drop for Lid {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _busy = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

pub(crate) fn a_full_disk_delays_no_restart_and_loses_no_count() {
    let mut world = World::new();
    let state = Small::new(world.path("state"), "4m");
    let more = "restart = \"always\"\nrestart_sec = \"20ms\"\n[unit]\nstart_limit_burst = 0";
    world.unit("web", &actor::unit("crash @/truth web 20 40", more));
    world.start();
    let starts = || world.lines("truth").iter().filter(|line| line.starts_with('S')).count();
    until("it dies and comes back", || (starts() > 5).then_some(()));
    let ballast = state.fill();
    let before = starts();
    until("it goes on dying and coming back", || (starts() > before + 20).then_some(()));
    let health = world.log();
    assert!(health.contains("store_degraded"), "it says so");
    // The next manager finds the disk as full as the last.
    world.kill_manager();
    let before = starts();
    until("and under the next manager", || (starts() > before + 10).then_some(()));
    fs::remove_file(ballast).unwrap();
    until("it is written again", || world.log().contains("store_recovered").then_some(()));
    world.ok(&["stop", "web"]);
    let restarts = world.status("web")["restarts_total"].as_i64().unwrap();
    assert!(world.stop().success());
    super::manager::compare_with_truth(&world, "web", restarts, super::manager::Known::Exactly);
}

/// What was open is told of its end by the same name, and what was over long ago is told to nobody anew.
pub(crate) fn of_a_database_that_is_lost_while_it_is_open_nothing_is_told_twice_and_no_end_is_missed() {
    let hook = Hook::new(0);
    let mut world = World::new();
    world.settings(&format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url));
    let again = "type = \"notify\"\nrestart = \"always\"\nrestart_sec = \"30ms\"\nrestart_reset_after_sec = \"300ms\"";
    world.unit("over", &actor::unit("notify READY=1", again));
    world.unit("open", "[service]\nexec_start = \"/bin/sh -c 'test -e @/well && exec sleep 1000; exit 3'\"\nrestart_reset_after_sec = \"300ms\"\n");
    world.start();
    world.until_active("over", "active");
    kill(world.pid("over"), Signal::SIGKILL);
    let told = || {
        let of = |unit: &str| {
            let all = hook.taken().into_iter().filter(move |message| message["unit"] == unit);
            all.map(|message| message["event"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        (of("over"), of("open"))
    };
    let words = |events: &[&str]| events.iter().map(|event| (*event).to_owned()).collect::<Vec<_>>();
    let (over, begun) = (words(&["unit_restarted", "recovered"]), words(&["unit_failed"]));
    until("one is over, the other is open", || (told() == (over.clone(), begun.clone())).then_some(()));
    for name in ["state.db", "state.db-wal"] {
        let path = world.path("state").join(name);
        let mut bytes = fs::read(&path).unwrap();
        let whole = bytes.len();
        bytes[100.min(whole)..].fill(0x5a);
        fs::write(path, bytes).unwrap();
    }
    until("a new one is begun", || {
        // Whoever reads finds the damage; what the writer has in its cache it does not read.
        world.ctl(&["history", "over"]);
        hook.taken().iter().any(|message| message["event"] == "store_replaced").then_some(())
    });
    world.kill_manager();
    world.await_answer();
    fs::write(world.path("well"), "").unwrap();
    world.ok(&["start", "open"]);
    let ended = words(&["unit_failed", "recovered"]);
    until("the end is told", || (told().1 == ended).then_some(()));
    pause(1500);
    assert_eq!(told(), (over, ended), "{:#?}", hook.taken());
    let incidents: Vec<_> =
        hook.taken().iter().filter(|it| it["unit"] == "open").map(|it| it["incident"].clone()).collect();
    assert_eq!(incidents[0], incidents[1]);
}

/// The first row that the disk has no room for is the one that people want to hear of.
pub(crate) fn the_alert_that_meets_a_full_disk_is_told_at_once_and_a_second_time_as_a_possible_double() {
    let hook = Hook::new(0);
    let mut world = World::new();
    let state = Small::new(world.path("state"), "4m");
    world.settings(&format!("[[alert.route]]\nname = \"ops\"\nkind = \"webhook\"\nurl = \"{}\"\n", hook.url));
    world.unit("web", "[service]\nexec_start = \"sleep 1000\"\nrestart = \"no\"\n");
    world.start();
    world.until_active("web", "active");
    until("its start is written down", || (!world.history("web", 0).is_empty()).then_some(()));
    let ballast = state.fill();
    kill(world.pid("web"), Signal::SIGKILL);
    let told = || hook.taken().into_iter().filter(|message| message["unit"] == "web").collect::<Vec<_>>();
    until("it is told", || (!told().is_empty()).then_some(()));
    assert_eq!(told()[0]["event"], "unit_failed");
    world.kill_manager();
    world.await_answer();
    fs::remove_file(ballast).unwrap();
    let waiting = "SELECT count(*) FROM outbox WHERE state != 'delivered'";
    until("nothing waits", || {
        (world.database().query_row(waiting, [], |row| row.get::<_, u32>(0)) == Ok(0)).then_some(())
    });
    pause(500);
    let doubles: Vec<_> = told().iter().skip(1).map(|message| message["possible_duplicate"].clone()).collect();
    assert!(doubles.iter().all(|double| *double == true), "{:#?}", told());
}
