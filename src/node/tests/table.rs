//! The table of sub-states: what each fact, order and deadline makes of each of them. It is made by running the machine,
//! so it cannot be wrong about it; a change of the machine shows as a change of the table.

use std::fmt::Write;

use super::super::input::Verb;
use super::{
    desk::Desk,
    make::{command, lazy, notifying, service, with},
};
use crate::{
    base::{ExitStatus, Signal, SpawnStep, TimeSpan},
    unit::{UnitDef, spec::ServiceKind},
};

type Step = (&'static str, fn(&mut Desk) -> Vec<String>);

fn full() -> UnitDef {
    let mut def = notifying("u");
    let service = &mut def.service;
    service.exec_start_pre = [command("pre")].into();
    service.exec_start_post = [command("post")].into();
    service.exec_reload = [command("reload")].into();
    service.exec_stop = [command("stop")].into();
    service.exec_stop_post = [command("after")].into();
    service.restart.when = crate::unit::spec::Restart::OnFailure;
    service.restart.delay = TimeSpan::from_secs(1);
    service.watchdog = Some(TimeSpan::from_secs(30));
    def
}

/// A desk whose unit is in the state; each follows from the one before it.
fn reach(sub: &str) -> Desk {
    let mut desk = Desk::cold([full()]);
    let run_to = |desk: &mut Desk, steps: usize| {
        let way: [fn(&mut Desk) -> Vec<String>; 6] = [
            |d| d.order(Verb::Start, &["u"]),
            |d| d.exited("u/1.1", 0),
            |d| {
                d.spawned("u/1");
                d.notify("u/1", |m| m.ready = true)
            },
            |d| d.left("u/1.2", 0),
            |d| d.order(Verb::Stop, &["u"]),
            |d| d.left("u/1.3", 0),
        ];
        for step in way.iter().take(steps) {
            step(desk);
        }
    };
    match sub {
        "dead" => {}
        "start-pre" => run_to(&mut desk, 1),
        "start" => {
            run_to(&mut desk, 2);
            desk.spawned("u/1");
        }
        "start-post" => run_to(&mut desk, 3),
        "running" => run_to(&mut desk, 4),
        "exited" => {
            desk = Desk::cold([with("u", |def| {
                def.service.kind = ServiceKind::Oneshot;
                def.service.remain_after_exit = true;
            })]);
            desk.order(Verb::Start, &["u"]);
            desk.exited("u/1", 0);
        }
        "reload" => {
            run_to(&mut desk, 4);
            desk.order(Verb::Reload, &["u"]);
        }
        "stop" => run_to(&mut desk, 5),
        "stop-watchdog" => {
            run_to(&mut desk, 4);
            desk.pass(30.0);
        }
        "stop-sigterm" => run_to(&mut desk, 6),
        "stop-sigkill" => {
            run_to(&mut desk, 6);
            desk.pass(90.0);
        }
        "stop-post" => {
            run_to(&mut desk, 6);
            desk.killed("u/1", Signal::TERM);
        }
        "final-sigterm" | "final-sigkill" => {
            run_to(&mut desk, 6);
            desk.killed("u/1", Signal::TERM);
            desk.left("u/1.4", 0);
            if sub == "final-sigkill" {
                desk.pass(90.0);
            }
        }
        "auto-restart" | "failed" => {
            run_to(&mut desk, 1);
            desk.exited("u/1.1", 1);
            desk.exited("u/1.2", 0);
            if sub == "failed" {
                desk.order(Verb::Stop, &["u"]);
                desk = Desk::cold([service("u")]);
                desk.order(Verb::Start, &["u"]);
                desk.exited("u/1", 1);
            }
        }
        "listening" => desk = Desk::new([with("u", |def| def.sockets = lazy("u").sockets)]),
        other => panic!("{other}"),
    }
    assert_eq!(desk.sub("u"), sub);
    desk
}

const SUBS: [&str; 17] = [
    "dead",
    "start-pre",
    "start",
    "start-post",
    "running",
    "exited",
    "reload",
    "stop",
    "stop-watchdog",
    "stop-sigterm",
    "stop-sigkill",
    "stop-post",
    "final-sigterm",
    "final-sigkill",
    "auto-restart",
    "failed",
    "listening",
];

fn newest_control(desk: &Desk) -> String {
    // Numbers never repeat; the one under way is the only one that changes anything.
    let sub = desk.sub("u");
    let number = match sub {
        "start-pre" => 1,
        "start-post" => 2,
        "reload" | "stop" => 3,
        _ => 4,
    };
    format!("u/1.{number}")
}

const STEPS: [Step; 17] = [
    ("order start", |d| d.order(Verb::Start, &["u"])),
    ("order stop", |d| d.order(Verb::Stop, &["u"])),
    ("order restart", |d| d.order(Verb::Restart, &["u"])),
    ("order reload", |d| d.order(Verb::Reload, &["u"])),
    ("order reset", |d| d.order(Verb::Reset, &["u"])),
    ("main exits 0", |d| d.exited("u/1", 0)),
    ("main exits 1", |d| d.exited("u/1", 1)),
    ("main killed, others left", |d| d.ended("u/1", ExitStatus::Signaled { signal: Signal::KILL, core: false }, false)),
    ("main cannot be spawned", |d| d.spawn_failed("u/1", SpawnStep::Exec, 2)),
    ("command exits 0", |d| {
        let control = newest_control(d);
        d.exited(&control, 0)
    }),
    ("command exits 1", |d| {
        let control = newest_control(d);
        d.exited(&control, 1)
    }),
    ("traffic", |d| d.traffic("u")),
    ("tree is empty", |d| d.tree_empty("u/1")),
    ("READY=1", |d| d.notify("u/1", |m| m.ready = true)),
    ("RELOADING=1", |d| d.notify("u/1", |m| m.reloading = true)),
    ("STOPPING=1", |d| d.notify("u/1", |m| m.stopping = true)),
    ("deadline", |d| {
        let Some(at) = d.node.next_deadline() else { return Vec::new() };
        d.now.mono = at;
        d.pass(0.0)
    }),
];

#[test]
fn the_table_of_states_is_as_it_is_written_down() {
    let mut table = String::new();
    for sub in SUBS {
        writeln!(table, "{sub}").unwrap();
        let mut ignored = Vec::new();
        for (what, step) in STEPS {
            let mut desk = reach(sub);
            let said = step(&mut desk);
            let after = desk.sub("u");
            let doing: Vec<_> = said
                .iter()
                .filter(|line| line.starts_with("spawn") || line.starts_with("kill"))
                .map(|line| line.split(" MAINPID").next().unwrap().split(" SERVICE").next().unwrap().to_owned())
                .collect();
            let answer =
                said.iter().find(|line| line.starts_with("reply")).map(|line| line.replace("reply u=", "answer "));
            if after == sub && doing.is_empty() && answer.is_none() {
                ignored.push(what);
                continue;
            }
            let parts: Vec<_> = doing.into_iter().chain(answer).collect();
            let then = if after == sub { "stays".to_owned() } else { after.to_owned() };
            writeln!(table, "  {what:26} {then:14} {}", parts.join("; ")).unwrap();
        }
        writeln!(table, "  no change: {}", ignored.join(", ")).unwrap();
    }
    let table: String = table.lines().map(|line| format!("{}\n", line.trim_end())).collect();
    insta::assert_snapshot!("states", table);
}

#[test]
fn an_order_to_a_state_is_always_answered_in_the_end() {
    for sub in SUBS {
        for verb in [Verb::Start, Verb::Stop, Verb::Restart, Verb::Reload, Verb::Reset] {
            let mut desk = reach(sub);
            let mut said = desk.order(verb, &["u"]);
            for _ in 0..40 {
                if said.iter().any(|line| line.starts_with("reply")) {
                    break;
                }
                // Everything that lives goes, what starts becomes ready, and time passes.
                for generation in 1..4 {
                    let run = format!("u/{generation}");
                    said.extend(desk.spawned(&run));
                    said.extend(desk.notify(&run, |m| m.ready = true));
                    if desk.sub("u") == "start" && sub == "exited" {
                        said.extend(desk.exited(&run, 0));
                    }
                    if desk.status("u").active.as_str() == "deactivating" {
                        said.extend(desk.killed(&run, Signal::TERM));
                    }
                    for number in 1..8 {
                        said.extend(desk.exited(&format!("{run}.{number}"), 0));
                    }
                    said.extend(desk.tree_empty(&run));
                }
                said.extend(desk.pass(1.0));
            }
            assert!(said.iter().any(|line| line.starts_with("reply")), "{sub} {verb:?}: {said:#?}");
        }
    }
}
