//! A SIGKILL at each system call from a service's death to its next run: strace(1) finds the calls, and injects it.
use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    process::{Child, Stdio},
};

use crate::{
    actor,
    manager::{Known, compare_with_truth},
    support::{
        process::{self, Signal, kill, lives, need_root, until},
        world::World,
    },
};

/// Of the calls so many are tried, spread over the sequence; `ROUNDSMAN_TEST_SYSCALLS=all` tries each.
const TRIED: usize = 24;

/// A call by its name, and which of its kind it is since the tracer came, within its thread.
type Call = (String, usize);

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Keeper,
    Manager,
}

pub(crate) fn sigkill_at_any_system_call_of_the_keeper_doubles_and_miscounts_nothing() {
    at_each_call(Victim::Keeper, Known::SomeEndsUnknown);
}

pub(crate) fn sigkill_at_any_system_call_of_the_manager_doubles_and_miscounts_nothing() {
    at_each_call(Victim::Manager, Known::Exactly);
}

fn at_each_call(victim: Victim, known: Known) {
    need_root("it traces a daemon");
    let policy = "restart = \"always\"\nrestart_sec = 0\n[unit]\nstart_limit_burst = 0";
    let mut world = World::with(&[("web", &actor::unit("steady @/truth web", policy))]);
    until("it lives", || (!world.lines("truth").is_empty()).then_some(()));
    let calls = calls_of_a_restart(&world, victim);
    let tried = if env::var("ROUNDSMAN_TEST_SYSCALLS").is_ok_and(|which| which == "all") { calls.len() } else { TRIED };
    let step = calls.len().div_ceil(tried).max(1);
    let (mut killed, mut rounds) = (0, 0);
    for call in calls.iter().step_by(step) {
        rounds += 1;
        killed += usize::from(killed_at(&mut world, victim, call));
        // What is up by the word of the one and of the other: of a death that was not told yet the manager knows nothing.
        let status = world.until_status("web", "it runs and says so itself", |status| {
            let lines = world.lines("truth");
            let runs = |pid: &str| lines.last().is_some_and(|line| line.starts_with('S') && line.ends_with(pid));
            status["active"] == "active" && status["pid"].as_i64().is_some_and(|pid| runs(&format!(" {pid}")))
        });
        let pid = i32::try_from(status["pid"].as_i64().unwrap()).unwrap();
        let part = format!("steady {}", world.path("truth").display());
        assert_eq!(process::with_command(&part), [pid], "after a kill at {call:?} exactly one lives");
    }
    println!("{victim:?}: {} calls, {rounds} tried, {killed} killed", calls.len());
    assert!(killed * 3 > rounds, "only {killed} of {rounds} kills came about");
    world.ok(&["stop", "web"]);
    let restarts = world.status("web")["restarts_total"].as_i64().unwrap();
    assert!(world.stop().success());
    compare_with_truth(&world, "web", restarts, known);
}

/// The calls that the victim makes from the death of the service until its next run is known.
fn calls_of_a_restart(world: &World, victim: Victim) -> Vec<Call> {
    let file = world.path("trace");
    let tracer = trace(world, victim, &file, None);
    restart(world);
    end(tracer, Signal::SIGINT);
    let text = fs::read_to_string(&file).unwrap();
    let (mut seen, mut calls): (BTreeMap<(&str, &str), usize>, Vec<Call>) = (BTreeMap::new(), Vec::new());
    for line in text.lines() {
        // With threads each line begins with who called.
        let (thread, rest) =
            line.split_once(' ').filter(|(first, _)| first.parse::<u32>().is_ok()).unwrap_or(("", line));
        let name = rest.trim_start().split('(').next().unwrap_or_default();
        let is_call =
            rest.contains('(') && !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        // What it was in when the tracer came is not seen again.
        if !is_call || name == "restart_syscall" {
            continue;
        }
        let nth = seen.entry((thread, name)).or_default();
        *nth += 1;
        let call = (name.to_owned(), *nth);
        if !calls.contains(&call) {
            calls.push(call);
        }
    }
    assert!(calls.len() > 10, "{text}");
    calls
}

/// Has the victim killed at that call of a restart; whether it came to that.
fn killed_at(world: &mut World, victim: Victim, (name, nth): &Call) -> bool {
    let pid = pid_of(world, victim);
    let file = world.path("trace");
    let tracer = trace(world, victim, &file, Some(&format!("inject={name}:signal=SIGKILL:when={nth}")));
    restart_or(world, || !lives(pid));
    end(tracer, Signal::SIGKILL);
    if lives(pid) {
        return false;
    }
    if victim == Victim::Keeper {
        world.kill_keeper();
        world.start();
    }
    true
}

fn pid_of(world: &World, victim: Victim) -> i32 {
    match victim {
        Victim::Keeper => world.keeper(),
        Victim::Manager => world.manager(),
    }
}

/// strace on all threads of the victim, once it is there.
fn trace(world: &World, victim: Victim, file: &Path, inject: Option<&str>) -> Child {
    let pid = pid_of(world, victim);
    let mut command = process::command("strace");
    command.args(["-qq", "-o"]).arg(file).args(["-p", &pid.to_string()]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    if victim == Victim::Manager {
        command.arg("-f");
    }
    command.args(inject.iter().flat_map(|inject| ["-e", inject]));
    let mut tracer = command.spawn().expect("strace is in the Debian package strace");
    until("it is traced", || {
        // A thread that ends while it is being seized is an error to it.
        if tracer.try_wait().unwrap().is_some() && lives(pid) {
            tracer = command.spawn().unwrap();
        }
        // One that a timer of its own killed already is traced no more, and may be reaped by now.
        if !lives(pid) {
            return Some(());
        }
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let is_traced = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            !status.contains("TracerPid:\t0\n")
        };
        tasks.into_iter().all(is_traced).then_some(())
    });
    tracer
}

/// By SIGINT it writes down what it has seen; but it may then wait for ever for threads that it has killed.
fn end(mut tracer: Child, signal: Signal) {
    kill(i32::try_from(tracer.id()).unwrap(), signal);
    tracer.wait().unwrap();
}

fn restart(world: &World) {
    restart_or(world, || false);
}

/// Ends the service by a signal of which it tells, and waits for its next run, or for `over`.
fn restart_or(world: &World, over: impl Fn() -> bool) {
    let lines = world.lines("truth");
    let last = lines.last().unwrap();
    let pid: i32 = last.split(' ').nth(3).unwrap().parse().unwrap();
    kill(pid, Signal::SIGTERM);
    until("the next run, or a death", || (over() || world.lines("truth").len() > lines.len() + 1).then_some(()));
    // What follows from it: rows, acknowledgements.
    if !over() {
        process::pause(100);
    }
}
