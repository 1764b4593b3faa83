//! The manager is killed, again and again, under load.
use std::{collections::BTreeMap, env};

use crate::{
    actor,
    support::{
        process::{self, Signal, kill, pause, until},
        world::World,
    },
};

/// Kills in the long test; `ROUNDSMAN_TEST_KILLS` sets another number.
const KILLS: u32 = 200;
const CRASHING: [&str; 4] = ["crash-a", "crash-b", "crash-c", "crash-d"];
const STEADY: [&str; 4] = ["steady-a", "steady-b", "steady-c", "steady-d"];

/// A run as the service itself wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Lived {
    invocation: String,
    pid: i64,
    /// How it said it would end.
    end: Option<(String, i64)>,
}

/// A run as the database has it.
#[derive(Debug)]
struct Row {
    generation: i64,
    invocation: Option<String>,
    pid: Option<i64>,
    cause: Option<String>,
    ended: bool,
    status: Option<(String, i64)>,
}

pub(crate) fn a_manager_that_finds_its_settings_broken_goes_on_with_those_in_force() {
    let mut world = World::new();
    world.unit("web", "[service]\nexec_start = \"sleep 1000\"\nrestart = \"always\"\nrestart_sec = 0\n");
    world.start();
    let pid = world.pid("web");
    let sound = std::fs::read(world.path("roundsman.toml")).unwrap();
    std::fs::write(world.path("roundsman.toml"), "[path]\nnonsense\n").unwrap();
    world.kill_manager();
    world.await_answer();
    assert_eq!(world.pid("web"), pid);
    kill(pid, Signal::SIGKILL);
    world.until_status("web", "it is back", |status| status["generation"] == 2);
    assert!(world.log().contains("roundsman.toml:2:"), "says what is wrong and where:\n{}", world.log());
    assert!(world.ctl(&["reload-config"]).code == 1);
    std::fs::write(world.path("roundsman.toml"), sound).unwrap();
    world.ok(&["reload-config"]);
}

pub(crate) fn kill_9_of_the_manager_200_times_doubles_orphans_and_miscounts_nothing() {
    let mut world = World::new();
    let policy = "restart = \"always\"\nrestart_sec = \"10ms\"\nlimit_core = 0\n[unit]\nstart_limit_burst = 0";
    for name in CRASHING {
        world.unit(name, &actor::unit(&format!("crash @/truth {name} 10 100"), policy));
    }
    for name in STEADY {
        world.unit(name, &actor::unit(&format!("steady @/truth {name}"), policy));
    }
    world.start();
    let steady: Vec<i32> = STEADY.iter().map(|name| world.pid(name)).collect();
    let kills = env::var("ROUNDSMAN_TEST_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut up = 0;
    for round in 0..kills {
        // At any moment of its life: while it takes over, while it works, while it commits. Two of three get ready, as
        // the keeper gives those that never do ever more time.
        let manager = world.manager();
        if round % 3 != 0 {
            until("the manager is up", || (world.managers_up() > up || !process::lives(manager)).then_some(()));
        }
        pause(u64::from(round * 37 % 60));
        kill(manager, Signal::SIGKILL);
        until("the manager is dead", || (!process::lives(manager)).then_some(()));
        up = world.managers_up();
    }
    for (name, pid) in STEADY.iter().zip(&steady) {
        assert_eq!(world.pid(name), *pid, "{name} is what it was before the first kill");
    }
    let names: Vec<&str> = CRASHING.into_iter().chain(STEADY).collect();
    world.ok(&[["stop"].as_slice(), &names].concat());
    let left = process::with_command(&world.path("truth").display().to_string());
    assert!(left.is_empty(), "orphans: {left:?}");
    let restarts: BTreeMap<&str, i64> =
        names.iter().map(|name| (*name, world.status(name)["restarts_total"].as_i64().unwrap())).collect();
    assert!(world.stop().success(), "the daemon ends in order");
    for name in names {
        compare_with_truth(&world, name, restarts[name], Known::Exactly);
    }
    let truth = truth(&world);
    let deaths: usize = CRASHING.iter().map(|name| truth[*name].len()).sum();
    assert!(deaths > kills as usize, "only {deaths} deaths in {kills} kills: no load");
}

/// Compares what a service wrote down with its rows and with its count of restarts.
pub(crate) fn compare_with_truth(world: &World, unit: &str, restarts: i64, known: Known) {
    compare(unit, &truth(world)[unit], &rows(world, unit), restarts, known);
}

/// How much the rows must know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// Everything.
    Exactly,
    /// The keeper was killed: how a run ended meanwhile may be unknown, and a start that it was about may have come to
    /// nothing. Nothing may be wrong.
    SomeEndsUnknown,
}

/// What the services wrote down. One that is started while it lives shows here: its lines do not alternate.
fn truth(world: &World) -> BTreeMap<String, Vec<Lived>> {
    let mut all: BTreeMap<String, Vec<Lived>> = BTreeMap::new();
    for line in world.lines("truth") {
        let words: Vec<&str> = line.split(' ').collect();
        let runs = all.entry(words[1].to_owned()).or_default();
        let (invocation, pid) = (words[2].to_owned(), words[3].parse().unwrap());
        match words[0] {
            "S" => {
                assert!(runs.last().is_none_or(|last| last.end.is_some()), "doubled: {line} after {:?}", runs.last());
                runs.push(Lived { invocation, pid, end: None });
            }
            _ => {
                let run = runs.last_mut().expect("a start");
                assert_eq!((&run.invocation, run.pid), (&invocation, pid), "doubled: {line}");
                run.end = Some((words[4].to_owned(), words[5].parse().unwrap()));
            }
        }
    }
    all
}

fn rows(world: &World, unit: &str) -> Vec<Row> {
    let database = world.database();
    let sql = "SELECT generation, invocation, pid, cause, ended_at IS NOT NULL, status_kind, status_code
               FROM invocations WHERE unit = ?1 ORDER BY generation";
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([unit], |row| {
        let (kind, code): (Option<String>, Option<i64>) = (row.get(5)?, row.get(6)?);
        Ok(Row {
            generation: row.get(0)?,
            invocation: row.get(1)?,
            pid: row.get(2)?,
            cause: row.get(3)?,
            ended: row.get(4)?,
            status: kind.zip(code),
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

fn is_unknown(row: &Row) -> bool {
    row.status.as_ref().is_none_or(|(kind, _)| kind == "unknown")
}

fn is_stopped(row: &Row) -> bool {
    row.status.as_ref().is_some_and(|(kind, code)| kind == "signaled" && *code == 15)
}

fn compare(unit: &str, lived: &[Lived], rows: &[Row], restarts: i64, known_so_far: Known) {
    let generations: Vec<i64> = rows.iter().map(|row| row.generation).collect();
    let wanted: Vec<i64> = (1..=i64::try_from(rows.len()).unwrap()).collect();
    assert_eq!(generations, wanted, "{unit}: generations are contiguous");
    let known: BTreeMap<&str, &Lived> = lived.iter().map(|run| (run.invocation.as_str(), run)).collect();
    for (at, row) in rows.iter().enumerate() {
        let is_last = at + 1 == rows.len();
        let is_vague = known_so_far == Known::SomeEndsUnknown;
        assert!(row.ended, "{unit}: {row:?} has no end");
        let invocation = row.invocation.as_deref().unwrap_or_else(|| panic!("{unit}: {row:?} has no invocation"));
        match known.get(invocation) {
            Some(run) => {
                assert!(row.pid == Some(run.pid) || (row.pid.is_none() && is_vague), "{unit}: {row:?} of {run:?}");
                match &run.end {
                    Some(_) if is_vague && is_unknown(row) => {}
                    // It has said how it ends, and the stop came before it did.
                    Some(_) if is_last && is_stopped(row) => {}
                    Some(end) => assert_eq!(row.status.as_ref(), Some(end), "{unit}: {row:?}"),
                    None => assert!(is_last, "{unit}: {row:?} did not say how it ends and was not stopped"),
                }
            }
            None if is_vague && is_unknown(row) => {}
            // The stop may come before the service has written a word.
            None => assert!(is_last, "{unit}: {row:?} never lived"),
        }
    }
    assert_eq!(known.len(), lived.len(), "{unit}: an invocation stands twice");
    let unseen = lived.iter().filter(|run| !rows.iter().any(|row| row.invocation.as_ref() == Some(&run.invocation)));
    assert_eq!(unseen.collect::<Vec<_>>(), Vec::<&Lived>::new(), "{unit}: lived without a row");
    let automatic = rows.iter().filter(|row| row.cause.as_deref() == Some("auto-restart")).count();
    assert_eq!(rows.len(), automatic + 1, "{unit}: all but the first are restarts");
    assert_eq!(restarts, i64::try_from(automatic).unwrap(), "{unit}: restarts in status");
}
