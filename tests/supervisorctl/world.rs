//! A server on a unix socket, and supervisorctl run against it.
#![expect(clippy::expect_used, reason = "a helper of tests stops the test")]

use std::{
    path::PathBuf,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use axum::{Router, extract::Request, middleware, response::Response};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use roundsman::wire::v1::{Problem, Unit, Units};
use tempfile::TempDir;
use tokio::{net::UnixListener, runtime::Runtime};

/// How long a command may take to end once nothing holds it.
const END_WITHIN: Duration = Duration::from_secs(20);

/// The server and where it listens. What it was asked is kept.
pub(crate) struct World {
    dir: TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    runtime: Option<Runtime>,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl World {
    /// Serves `router`.
    pub(crate) fn serving(router: Router) -> Self {
        let mut world = Self::empty();
        world.serve(router);
        world
    }

    /// No daemon.
    pub(crate) fn empty() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        Self { dir, asked: Arc::default(), runtime: None }
    }

    /// Serves `router` from now on, in place of what was served before.
    pub(crate) fn serve(&mut self, router: Router) {
        self.stop();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let asked = Arc::clone(&self.asked);
        let router = router.layer(middleware::from_fn(move |request: Request, next: middleware::Next| {
            asked.lock().expect("unpoisoned").push(format!("{} {}", request.method(), request.uri()));
            next.run(request)
        }));
        let listener = runtime.block_on(async { UnixListener::bind(self.socket()) }).expect("a socket");
        runtime.spawn(async move { axum::serve(listener, router).await });
        self.runtime = Some(runtime);
    }

    /// Ends the server and every connection.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
            std::fs::remove_file(self.socket()).expect("the socket was there");
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    /// Method and target of each request so far.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("unpoisoned").clone()
    }

    /// supervisorctl with these words, on this server.
    #[expect(clippy::disallowed_methods, reason = "the program under test is started as its users start it")]
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervisorctl"));
        command.args(line.split_whitespace()).env_clear().env("ROUNDSMAN_SOCKET", self.socket()).env("TZ", "UTC");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn start(&self, line: &str) -> Running {
        Running(Some(self.command(line).spawn().expect("supervisorctl")))
    }

    /// Runs it to its end.
    /// Its standard output, which may be no text.
    pub(crate) fn run_bytes(&self, line: &str) -> Vec<u8> {
        self.command(line).output().expect("supervisorctl").stdout
    }

    pub(crate) fn run(&self, line: &str) -> Ended {
        self.command(line).output().expect("supervisorctl").into()
    }
}

/// supervisorctl while it runs; a test that fails leaves none behind.
pub(crate) struct Running(Option<Child>);

impl Running {
    fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("it has not been waited for")
    }

    fn pid(&mut self) -> Pid {
        Pid::from_raw(i32::try_from(self.child().id()).expect("a pid"))
    }

    /// What it prints, from now on ours.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.child().stdout.take().expect("nobody has taken it")
    }

    /// As Ctrl-C does.
    pub(crate) fn interrupt(&mut self) {
        kill(self.pid(), Signal::SIGINT).expect("it is ours");
    }

    /// Waits for its end, and kills it when that does not come.
    pub(crate) fn ended(mut self) -> Ended {
        let pid = self.pid();
        let (done, is_done) = mpsc::channel::<()>();
        let guard = thread::spawn(move || {
            if is_done.recv_timeout(END_WITHIN) == Err(RecvTimeoutError::Timeout) {
                kill(pid, Signal::SIGKILL).ok();
            }
        });
        let child = self.0.take().expect("it has not been waited for");
        let output = child.wait_with_output().expect("its output");
        drop(done);
        guard.join().expect("no panic");
        output.into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }
}

/// A unit in this state.
pub(crate) fn unit(name: &str, active: &str) -> Unit {
    let up = active == "active";
    let text = serde_json::json!({
        "name": name, "description": "a service", "active": active, "sub": if up { "running" } else { "dead" },
        "since_us": 1_772_366_400_000_000_i64, "kind": "notify", "up": up, "enabled": true, "pid": 4217,
        "generation": 7, "invocation": "0123456789abcdef0123456789abcdef", "restarts_in_row": 0, "restarts_total": 2,
        "starts_in_window": 1, "start_limit_burst": 5, "start_limit_interval_us": 300_000_000, "result": "exit-code",
        "last_exit": "exit code 1", "next_start_us": null, "health": "healthy", "probes": [], "status_text": null,
        "memory_bytes": 12_900_000, "cpu_us": 1_239_000, "cause": "started when the daemon came up",
        "needs_restart": false
    });
    serde_json::from_value(text).expect("a unit")
}

pub(crate) fn units(units: &[(&str, &str)]) -> Units {
    Units { units: units.iter().map(|(name, active)| unit(name, active)).collect() }
}

/// A problem document.
pub(crate) fn problem(status: u16, detail: &str) -> Response {
    let problem = Problem { kind: "about:blank".into(), title: "a problem".into(), status, detail: detail.into() };
    Response::builder()
        .status(status)
        .header("content-type", "application/problem+json")
        .body(serde_json::to_vec(&problem).expect("json").into())
        .expect("a response")
}
