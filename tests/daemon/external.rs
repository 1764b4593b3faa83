//! Services that others keep: by commands, and Debian's Supervisor.
use std::{
    fs,
    process::{Child, Command, Stdio},
};

use nix::sys::signal::Signal;

use crate::{
    metrics::page,
    support::{
        process::{command, kill, lives, until},
        world::World,
    },
};

/// An init script that keeps a process of its own, whose pid is in `pid`; it notes each order in `orders`.
fn script(world: &World) {
    let text = "#!/bin/sh\nalive() { [ -s @/pid ] && kill -0 $(cat @/pid) 2> /dev/null; }\n\
                [ $1 = status ] || echo $1 >> @/orders\n\
                case $1 in\n\
                start) alive && exit 0; setsid sleep 1000 < /dev/null > /dev/null 2>&1 & echo $! > @/pid ;;\n\
                stop) alive && kill $(cat @/pid); rm -f @/pid ;;\n\
                status) [ -e @/hidden ] && exit 4; alive && exit 0; [ -e @/pid ] && exit 1; exit 3 ;;\n\
                reload) [ ! -e @/refuse ] ;;\n\
                esac\n";
    fs::write(world.path("script"), text.replace('@', &world.path("").display().to_string())).unwrap();
}

const UNIT: &str = "[external]\nstart = \"/bin/sh @/script start\"\nstop = \"/bin/sh @/script stop\"\n\
                    reload = \"/bin/sh @/script reload\"\nstatus = \"/bin/sh @/script status\"\npoll_interval = \"100ms\"\n\
                    [service]\nrestart = \"on-failure\"\nrestart_sec = \"100ms\"\n";

fn pid(world: &World) -> i32 {
    until("it has a pid", || fs::read_to_string(world.path("pid")).ok()?.trim().parse().ok())
}

fn says(world: &World, text: &str) {
    world.until_status("web", text, |status| status["status_text"].as_str().is_some_and(|said| said.starts_with(text)));
}

pub(crate) fn a_service_of_commands_is_kept_up_through_them() {
    let mut world = World::new();
    script(&world);
    world.unit("web", UNIT);
    world.start();
    world.until_active("web", "active");
    says(&world, "up");
    let first = pid(&world);

    kill(first, Signal::SIGKILL);
    let second = until("it is started again", || Some(pid(&world)).filter(|pid| *pid != first && lives(*pid)));
    let rows = world.history("web", 1);
    let row = rows.iter().find(|row| row["generation"] == 1).unwrap();
    assert_eq!((&row["result"], &row["consequence"]), (&"unknown".into(), &"restart".into()), "{row:#}");
    until("it is counted", || (world.status("web")["restarts_total"].as_u64() == Some(1)).then_some(()));

    world.kill_manager();
    world.until_active("web", "active");
    says(&world, "up");
    assert!(lives(second) && pid(&world) == second);
    assert_eq!(world.lines("orders"), ["start", "start"]);

    fs::write(world.path("hidden"), "").unwrap();
    says(&world, "unknown: the status command says nothing");
    assert_eq!(world.status("web")["active"], "active");
    is_not_known(&world, "the status command says nothing");
    fs::remove_file(world.path("hidden")).unwrap();
    until("it is known again", || (world.ctl(&["check", "web"]).code == 0).then_some(()));
    assert!(health(&world).starts_with("{\"status\":\"healthy\""));

    world.ok(&["reload", "web"]);
    fs::write(world.path("refuse"), "").unwrap();
    assert_ne!(world.ctl(&["reload", "web"]).code, 0);
    world.ok(&["restart", "web"]);
    assert!(!lives(second));
    let third = pid(&world);
    assert!(world.stop().success());
    assert!(lives(third), "the daemon's end is not the service's");

    world.start();
    world.until_active("web", "active");
    says(&world, "up");
    assert!(lives(third) && pid(&world) == third);
    world.ok(&["stop", "web"]);
    until("it ends", || (!lives(third)).then_some(()));
    assert_eq!(world.lines("orders"), ["start", "start", "reload", "reload", "stop", "start", "start", "stop"]);
    // Someone else starts it: it is shown as it is.
    says(&world, "down");
    let started = Command::new("/bin/sh").arg(world.path("script")).arg("start").stdin(Stdio::null()).status();
    assert!(started.unwrap().success());
    world.until_active("web", "active");
    until("its row is there", || (world.history("web", 4)[0]["cause"] == "external-start").then_some(()));
    world.ok(&["stop", "web"]);
}

/// What `/health` says.
fn health(world: &World) -> String {
    let mut curl = command("curl");
    curl.args(["--silent", "--max-time", "20", "--unix-socket"]).arg(world.path("run/control.sock"));
    String::from_utf8(curl.arg("http://localhost/health").output().unwrap().stdout).unwrap()
}

/// Nobody can tell how `web` is, and that is told everywhere.
fn is_not_known(world: &World, why: &str) {
    let checked = until("check says so", || Some(world.ctl(&["check", "web"])).filter(|said| said.code == 3));
    assert!(checked.out.contains("it cannot be told how it is") && checked.out.contains(why), "{checked:?}");
    let health = health(world);
    assert!(health.starts_with("{\"status\":\"degraded\"") && health.contains(why), "{health}");
    assert!(page(world, "text/plain").contains("roundsman_unit_up{unit=\"web\"} 0\n"));
    let listed = world.ctl(&["status"]).out;
    let line = listed.lines().find(|line| line.contains("web")).unwrap();
    assert!(line.contains("? ") && line.contains("unknown (last active)") && line.contains(why), "{listed}");
    assert!(listed.contains("1 unknown"), "{listed}");
}

/// Debian's Supervisor, with a program `sleeper` in a group of its own.
struct Supervisor(Child);

impl Supervisor {
    fn start(world: &World) -> Self {
        let root = world.path("");
        let root = root.display();
        let text = format!(
            "[unix_http_server]\nfile={root}/sup.sock\nusername=me\npassword=secret\n\
             [supervisord]\nnodaemon=true\nlogfile={root}/sup.log\npidfile={root}/sup.pid\n\
             [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface\n\
             [supervisorctl]\nserverurl=unix://%(here)s/sup.sock ; ours\nusername=me\npassword=secret\n\
             [program:sleeper]\ncommand=/bin/sh -c 'echo $$ > {root}/pid; exec sleep 1000'\nautostart=false\n\
             autorestart=false\nstartsecs=0\n\
             [program:broken]\ncommand=/bin/false\nautostart=false\nstartretries=0\n[group:pool]\nprograms=sleeper\n"
        );
        fs::write(world.path("sup.conf"), text).unwrap();
        let mut command = Command::new("/usr/bin/supervisord");
        command.arg("-c").arg(world.path("sup.conf")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("Debian's package supervisor");
        until("Supervisor listens", || world.path("sup.sock").exists().then_some(()));
        Self(child)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        kill(i32::try_from(self.0.id()).unwrap(), Signal::SIGTERM);
        self.0.wait().ok();
    }
}

pub(crate) fn a_process_of_supervisor_is_kept_up_through_it() {
    let mut world = World::new();
    let supervisor = Supervisor::start(&world);
    let text = "[external]\nsupervisor = \"pool:sleeper\"\nconfig = \"@/sup.conf\"\npoll_interval = \"200ms\"\n\
                [service]\nrestart = \"on-failure\"\nrestart_sec = \"100ms\"\n";
    world.unit("web", text);
    world.start();
    world.until_active("web", "active");
    says(&world, "RUNNING");
    let first = pid(&world);
    kill(first, Signal::SIGKILL);
    let second = until("it is started again", || Some(pid(&world)).filter(|pid| *pid != first && lives(*pid)));
    let rows = world.history("web", 1);
    assert_eq!(rows.last().unwrap()["result"], "signal", "{rows:#?}");
    world.ok(&["restart", "web"]);
    assert!(!lives(second));
    says(&world, "RUNNING");
    assert!(world.stop().success());
    let third = pid(&world);
    assert!(lives(third));
    world.start();
    world.until_active("web", "active");
    assert!(lives(third));
    world.ok(&["stop", "web"]);
    says(&world, "STOPPED");
    assert!(!lives(third));
    world.ok(&["start", "web"]);
    drop(supervisor);
    says(&world, "unknown: cannot ask Supervisor");
    is_not_known(&world, "cannot ask Supervisor");
}

pub(crate) fn a_process_that_supervisor_cannot_start_says_whose_exit_code_is_shown() {
    let mut world = World::new();
    let _supervisor = Supervisor::start(&world);
    world.unit("web", "[external]\nsupervisor = \"broken\"\nconfig = \"@/sup.conf\"\npoll_interval = \"200ms\"\n");
    world.start();
    let status = world.until_active("web", "failed");
    let cause = status["cause"].as_str().unwrap();
    assert!(cause.contains("so ended its start command: /usr/bin/supervisorctl -c "), "{cause}");
    says(&world, "FATAL: Exited too quickly");
}

/// Where both are installed in one folder, ours has the place that a unit of Supervisor names by default.
pub(crate) fn our_own_program_is_never_taken_for_supervisors() {
    let mut world = World::new();
    world.unit("other", "[service]\nexec_start = \"sleep 1000\"\n");
    world.start();
    world.until_active("other", "active");
    let ours = env!("CARGO_BIN_EXE_supervisorctl");
    std::os::unix::fs::symlink(ours, world.path("supervisorctl")).unwrap();
    world.unit("web", "[external]\nsupervisor = \"web\"\nsupervisorctl = \"@/supervisorctl\"\n");
    let said = world.ctl(&["reload-config"]);
    let told = format!("{}{}", said.out, said.err);
    assert!(said.code != 0 && told.contains("/supervisorctl is this program's and not Supervisor's"), "{told}");
    assert!(told.contains("set supervisorctl in [external]"), "{told}");
    assert!(world.notices("run_starting").iter().all(|notice| notice["unit"] != "web"));
    // Who runs it as Supervisor's is told what it is.
    let output = Command::new(ours).args(["-c", "/etc/supervisor/supervisord.conf", "start", "web"]).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && stderr.contains("not Supervisor's"), "{stderr}");
}

/// Its manager's answer says nothing of what the next daemon has to start.
pub(crate) fn one_that_is_asked_as_the_daemon_ends_is_started_by_the_next() {
    let mut world = World::new();
    let text = "#!/bin/sh\n[ $1 = status ] || echo $1 >> @/orders\ncase $1 in\nstart) touch @/up ;;\nstop) rm -f @/up ;;\n\
                status) [ -e @/slow ] && { touch @/asked; sleep 3; }; [ -e @/up ] || exit 3 ;;\nesac\n";
    fs::write(world.path("script"), text.replace('@', &world.path("").display().to_string())).unwrap();
    world.unit("web", UNIT);
    world.start();
    world.until_active("web", "active");
    says(&world, "up");
    fs::write(world.path("slow"), "").unwrap();
    until("it is asked", || world.path("asked").exists().then_some(()));
    assert!(world.stop().success());
    fs::remove_file(world.path("slow")).unwrap();
    fs::remove_file(world.path("up")).unwrap();
    world.start();
    world.until_active("web", "active");
    assert_eq!(world.lines("orders"), ["start", "start"]);
    world.ok(&["stop", "web"]);
}
