//! What is written down after each step: how the unit stands, what runs, what lies about.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
    time::Duration,
};

use crate::{
    daemon::{Daemon, Difference},
    machine::Machine,
    process,
    supervisor::{State, Supervisor},
};

/// One step's outcome, by what it is about: `active`, `sub`, `result`, `kind` and `restarts` as systemd says them; `exit`, how
/// the main process ended, while there is none; `main`, that process by its command line, and whose child it is;
/// `processes`, the names of those that were not there before; `survivors`, those of them that were there before the
/// step; `files`, what is new in /run, and in /tmp and /var/tmp while it is down; and what `process` tells of the main one.
pub(crate) type Record = BTreeMap<String, String>;

/// Looks at the machine, and knows what was there before.
pub(crate) struct Observer<'a> {
    machine: &'a Machine,
    supervisor: &'a Supervisor<'a>,
    passing: &'static [&'static str],
    before: BTreeSet<u32>,
    files_before: BTreeSet<String>,
    marked: BTreeSet<u32>,
}

/// So many looks that find the same, one after the other: it stays so.
const LOOKS_SAME: u32 = 8;
/// Then it has to be as it should.
const LOOKS_MAX: u32 = 100;

#[expect(clippy::disallowed_methods, reason = "a test of real processes waits for them")]
fn pause() {
    thread::sleep(Duration::from_millis(20));
}

/// The fields that are not the same after a step, but those that are known to differ.
pub(crate) fn differences<'r>(
    step: &'r str,
    ours: &'r Record,
    theirs: &'r Record,
    known: &'r [Difference],
) -> impl Iterator<Item = &'r str> {
    let fields =
        theirs.iter().filter(|(field, value)| ours.get(*field) != Some(value)).map(|(field, _)| field.as_str());
    fields.filter(move |field| !known.iter().any(|known| known.covers(step, field)))
}

/// Of systemd and of us.
const OTHERS: &[&str] =
    &["run/systemd", "run/roundsman", "run/credentials", "run/supervisord.log", "run/log", "run/seed", "run/user"];

impl<'a> Observer<'a> {
    pub(crate) fn new(machine: &'a Machine, daemon: &Daemon, supervisor: &'a Supervisor<'a>) -> Self {
        let mut new = Self {
            machine,
            supervisor,
            passing: daemon.passing,
            before: BTreeSet::new(),
            files_before: BTreeSet::new(),
            marked: BTreeSet::new(),
        };
        new.before = new.processes().into_keys().collect();
        new.files_before = new.files(true);
        new
    }

    /// Removes the files that are new, as a boot would.
    pub(crate) fn sweep(&self) {
        for file in self.files(true).difference(&self.files_before) {
            self.machine.run(&["rm", "-rf", &format!("/{file}")]);
        }
    }

    /// What lives now and later lives still is a survivor.
    pub(crate) fn mark(&mut self) {
        self.marked = self.processes().into_keys().collect();
    }

    /// The record while it runs, as soon as it is `like` that one, or in the end: a reload goes on after it is ordered. Without
    /// one to be like, once it stays the same.
    pub(crate) fn settled(&self, step: &str, like: Option<&Record>, differs: &[Difference]) -> Record {
        let mut record = self.record();
        let mut same = 0;
        for _ in 0..LOOKS_MAX {
            let settled = match like {
                Some(like) => differences(step, &record, like, differs).next().is_none(),
                None => same == LOOKS_SAME,
            };
            if settled {
                break;
            }
            pause();
            let next = self.record();
            same = if next == record { same + 1 } else { 0 };
            record = next;
        }
        record
    }

    pub(crate) fn record(&self) -> Record {
        let State { kind, active, sub, result, restarts, pid, exit } = self.supervisor.state();
        let processes = self.processes();
        let names = |all: BTreeMap<u32, String>| {
            let names: Vec<_> = all.into_values().collect::<BTreeSet<_>>().into_iter().collect();
            names.join(" ")
        };
        let survivors = processes.iter().filter(|(pid, _)| self.marked.contains(pid));
        let survivors = survivors.map(|(pid, name)| (*pid, name.clone())).collect();
        let files = self.files(pid == 0);
        let files: Vec<_> = files.difference(&self.files_before).cloned().collect();
        let mut record = process::seen(self.machine, pid);
        let told = [
            ("kind", kind),
            ("active", active),
            ("sub", sub),
            ("result", result),
            ("restarts", restarts.to_string()),
            ("exit", if pid == 0 { exit } else { String::new() }),
            ("main", self.main(pid)),
            ("survivors", names(survivors)),
            ("processes", names(processes)),
            ("files", files.join(" ")),
        ];
        record.extend(told.map(|(field, value)| (field.to_owned(), value)));
        record
    }

    fn main(&self, pid: u32) -> String {
        if pid == 0 {
            return String::new();
        }
        let line = self.machine.read(&format!("proc/{pid}/cmdline")).replace('\0', " ");
        let parent = self.stat(pid).map(|(_, _, parent)| parent).unwrap_or_default();
        let parent = match self.stat(parent) {
            Some((name, ..)) if name == "systemd" || name == "supervisord" => "the supervisor".to_owned(),
            other => format!("{other:?}"),
        };
        // sshd has a count of its connections in it.
        let line = line.split(" [").next().unwrap_or_default();
        format!("{}, child of {parent}", line.trim_end())
    }

    /// Living processes that are not of the machine itself.
    fn processes(&self) -> BTreeMap<u32, String> {
        let entries = fs::read_dir(self.machine.path("proc")).expect("processes");
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let new = pids.filter(|pid| !self.before.contains(pid));
        let with_name = new.filter_map(|pid| {
            let (name, state, _) = self.stat(pid)?;
            let counts = state != "Z" && !name.starts_with("systemd") && !self.passing.contains(&&*name);
            counts.then_some((pid, name))
        });
        with_name.collect()
    }

    /// Name, state and parent, proc_pid_stat(5).
    fn stat(&self, pid: u32) -> Option<(String, String, u32)> {
        let stat = fs::read_to_string(self.machine.path(&format!("proc/{pid}/stat"))).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(')')?;
        let mut rest = rest.split_whitespace();
        Some((name.to_owned(), rest.next()?.to_owned(), rest.next()?.parse().ok()?))
    }

    fn files(&self, with_tmp: bool) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let tops: &[&str] = if with_tmp { &["run", "tmp", "var/tmp"] } else { &["run"] };
        for top in tops {
            self.walk(Path::new(top), &mut found);
        }
        found
    }

    fn walk(&self, folder: &Path, found: &mut BTreeSet<String>) {
        // What goes away meanwhile is not there.
        let Ok(entries) = fs::read_dir(self.machine.path("").join(folder)) else { return };
        for entry in entries.flatten() {
            let path = folder.join(entry.file_name());
            let shown = path.to_string_lossy().into_owned();
            if OTHERS.contains(&&*shown) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.walk(&path, found);
            }
            found.insert(shown);
        }
    }
}
