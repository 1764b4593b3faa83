//! A kernel that says no: strace(1) has it do so.
use std::{
    fs,
    path::PathBuf,
    process::{Child, Stdio},
};

use super::{
    process::{self, Signal, kill, need_root, until},
    world::World,
};

/// A system call that fails, from when this is there until it is dropped.
pub(crate) struct Refusal {
    tracer: Child,
    file: PathBuf,
}

impl Refusal {
    /// The call fails with this error where the process makes it.
    pub(crate) fn of(world: &World, pid: i32, call: &str, error: &str) -> Self {
        Self::with(world, pid, call, error, &[])
    }

    /// It fails where those make it that the process starts from now on, too.
    pub(crate) fn of_children(world: &World, pid: i32, call: &str, error: &str) -> Self {
        Self::with(world, pid, call, error, &["-f"])
    }

    fn with(world: &World, pid: i32, call: &str, error: &str, more: &[&str]) -> Self {
        need_root("it traces a daemon");
        let file = world.path("refused");
        let mut strace = process::command("strace");
        strace.args(["-qq", "-o"]).arg(&file).args(more).args(["-p", &pid.to_string()]);
        strace.args(["-e", &format!("trace={call}"), "-e", &format!("inject={call}:error={error}")]);
        let tracer = strace.stderr(Stdio::null()).spawn().expect("strace is in the Debian package strace");
        until("it is traced", || {
            (!fs::read_to_string(format!("/proc/{pid}/status")).unwrap().contains("TracerPid:\t0\n")).then_some(())
        });
        Self { tracer, file }
    }

    /// How many were refused so far.
    pub(crate) fn count(&self) -> usize {
        fs::read_to_string(&self.file).unwrap_or_default().matches("INJECTED").count()
    }
}

impl Drop for Refusal {
    fn drop(&mut self) {
        // By SIGINT it lets go of the process in order.
        kill(i32::try_from(self.tracer.id()).unwrap(), Signal::SIGINT);
        self.tracer.wait().unwrap();
    }
}
