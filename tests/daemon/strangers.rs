//! The kernel gives a pid out again: who has one now is not who had it. In a pid namespace of their own, where a pid can be
//! chosen, and where the test is the init system that the dead are left to.
use std::{
    collections::BTreeMap,
    env, fs,
    process::{Child, Stdio},
};

use nix::{sys::wait::waitpid, unistd::Pid};

use crate::{
    actor,
    support::{
        namespace::in_a_pid_namespace,
        process::{self, Signal, kill, lives, pause, until},
        world::World,
    },
};

/// Strangers in the long test, at least; `ROUNDSMAN_TEST_STRANGERS` sets another number.
const STRANGERS: usize = 160;
/// Services that die at once.
const SERVICES: usize = 20;

/// Who lives under the pid of another that is gone, and writes down each signal that it gets.
struct Stranger(Child);

impl Stranger {
    fn with(world: &World, pid: i32) -> Self {
        let mut command = process::command(env::current_exe().unwrap().to_str().unwrap());
        command.args(["actor", "stranger"]).arg(world.path("strangers")).stdin(Stdio::null());
        // Whoever else is born in between takes the pid, for a while.
        until("the pid is given out again", || {
            process::stat(pid).is_none().then_some(())?;
            fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).unwrap();
            let stranger = Self(command.spawn().unwrap());
            (stranger.pid() == pid).then_some(stranger)
        })
    }

    fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Strangers with these pids, each of which notices a signal by now.
fn strangers(world: &World, pids: &[i32]) -> Vec<Stranger> {
    let listens = |pid: &i32| {
        let said = || world.lines("strangers").iter().filter(|line| **line == format!("S {pid}")).count();
        let before = said();
        let stranger = Stranger::with(world, *pid);
        until("it listens", || (said() > before).then_some(()));
        stranger
    };
    pids.iter().map(listens).collect()
}

fn are_unharmed(world: &World, all: &[Stranger]) {
    assert!(all.iter().all(|stranger| lives(stranger.pid())), "a stranger was killed");
    let told: Vec<String> = world.lines("strangers").into_iter().filter(|line| !line.starts_with('S')).collect();
    assert!(told.is_empty(), "strangers were signalled: {told:?}");
}

/// SIGKILL to the keeper, whose manager goes with it; both are reaped.
fn kill_keeper(world: &mut World) -> [i32; 2] {
    let both = [world.keeper(), world.manager()];
    world.kill_keeper();
    reap(both[1]);
    both
}

/// Takes the end of one that was left to us.
fn reap(pid: i32) {
    waitpid(Pid::from_raw(pid), None).unwrap();
}

pub(crate) fn who_has_the_pid_of_a_dead_service_is_neither_taken_over_nor_signalled() {
    in_a_pid_namespace("strangers::who_has_the_pid_of_a_dead_service_is_neither_taken_over_nor_signalled", || {
        let wanted = env::var("ROUNDSMAN_TEST_STRANGERS").map_or(STRANGERS, |text| text.parse().unwrap());
        let rounds = wanted.div_ceil(SERVICES * 4);
        let met: usize = ["on", "off"].iter().map(|mode| meet_strangers(mode, rounds)).sum();
        println!("{met} strangers under pids of the dead");
        assert!(met >= wanted, "{met} of {wanted}");
    });
}

/// Twice in each round all services die and strangers have their pids: once without a keeper, once without a manager.
fn meet_strangers(mode: &str, rounds: usize) -> usize {
    let mut world = World::new();
    world.settings(&format!("[cgroup]\nmode = \"{mode}\"\n"));
    let names: Vec<String> = (0..SERVICES).map(|number| format!("web{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let policy = "restart = \"always\"\nrestart_sec = 0\n[unit]\nstart_limit_burst = 0\n";
    names.iter().for_each(|name| world.unit(name, &format!("[service]\nexec_start = \"/bin/sleep 1000\"\n{policy}")));
    world.start();
    let mut met = 0;
    for round in 1..=rounds * 2 {
        let before = until_up(&world, |_, generation| generation > 0);
        let pids: Vec<i32> = before.values().map(|(pid, _)| *pid).collect();
        let mut gone = pids.clone();
        let without_keeper = round % 2 == 1;
        let manager = world.manager();
        if without_keeper {
            gone.extend(kill_keeper(&mut world));
            pids.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
            pids.iter().for_each(|pid| reap(*pid));
        } else {
            // It learns of nothing from here on. The keeper takes the ends.
            kill(manager, Signal::SIGSTOP);
            pids.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
        }
        let all = strangers(&world, &gone);
        if without_keeper {
            world.start();
        } else {
            kill(manager, Signal::SIGKILL);
        }
        let after = until_up(&world, |name, generation| generation > before[name].1);
        for (name, (pid, generation)) in &after {
            assert_eq!(*generation, before[name].1 + 1, "{name} was started once");
            assert!(!gone.contains(pid), "{name}: a stranger is taken for it");
        }
        // What is left of a run is looked for when the next one is up, and at a stop.
        world.ok(&[["restart"].as_slice(), &names[..2]].concat());
        world.ok(&[["stop"].as_slice(), &names[2..]].concat());
        are_unharmed(&world, &all);
        met += all.len();
        drop(all);
        world.ok(&[["start"].as_slice(), &names].concat());
    }
    assert!(world.stop().success());
    met
}

/// Pid and generation of each service, as soon as all are up in a run that is meant.
fn until_up(world: &World, is_meant: impl Fn(&str, i64) -> bool) -> BTreeMap<String, (i32, i64)> {
    let run = |unit: &serde_json::Value| {
        let (name, pid) = (unit["name"].as_str()?, unit["pid"].as_i64()?);
        let generation = unit["generation"].as_i64().filter(|generation| is_meant(name, *generation))?;
        Some((name.to_owned(), (i32::try_from(pid).ok()?, generation)))
    };
    until("all are up", || {
        let said = world.ctl(&["status", "--json"]);
        let all: serde_json::Value = serde_json::from_str(&said.out).ok()?;
        all["units"].as_array()?.iter().map(run).collect()
    })
}

pub(crate) fn who_has_the_pid_in_a_pid_file_is_neither_taken_over_nor_signalled() {
    in_a_pid_namespace("strangers::who_has_the_pid_in_a_pid_file_is_neither_taken_over_nor_signalled", || {
        ["on", "off"].into_iter().for_each(meet_the_named);
    });
}

fn meet_the_named(mode: &str) {
    let mut world = World::new();
    world.settings(&format!("[cgroup]\nmode = \"{mode}\"\n"));
    // Its file is there late, so that what is read first would be the old one.
    fs::write(world.path("script"), format!("sleep 0.3\necho $$ > {}\nexec sleep 1000\n", world.path("pid").display()))
        .unwrap();
    let policy = "type = \"forking\"\npid_file = \"@/pid\"\nrestart = \"always\"\nrestart_sec = 0\n[unit]\nstart_limit_burst = 0\n";
    world.unit("web", &actor::unit("daemon @/script", policy));
    world.start();
    let up = |world: &World, generation: u64| {
        let status = world.until_status("web", "it is up", |status| {
            status["generation"] == generation && status["active"] == "active" && !status["pid"].is_null()
        });
        i32::try_from(status["pid"].as_i64().unwrap()).unwrap()
    };
    let first = up(&world, 1);
    let mut gone = kill_keeper(&mut world).to_vec();
    kill(first, Signal::SIGKILL);
    reap(first);
    gone.push(first);
    let named = [world.lines("pid"), world.lines("run/lock")];
    assert_eq!(named, [[first.to_string()], [gone[0].to_string()]], "both files name who is gone");
    let all = strangers(&world, &gone);
    world.start();
    let second = up(&world, 2);
    assert_ne!(second, first, "a stranger is taken for the service");
    are_unharmed(&world, &all);
    // The same while the keeper lives and no manager listens.
    let manager = world.manager();
    kill(manager, Signal::SIGSTOP);
    kill(second, Signal::SIGKILL);
    let more = strangers(&world, &[second]);
    kill(manager, Signal::SIGKILL);
    assert_ne!(up(&world, 3), second, "a stranger is taken for the service");
    world.ok(&["stop", "web"]);
    pause(100);
    are_unharmed(&world, &all);
    are_unharmed(&world, &more);
    assert!(world.stop().success());
    are_unharmed(&world, &more);
}
