//! Directories and credentials that services have: made before they start, gone when they stop. They are where the host
//! has them, so names are this test's own.
use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use crate::support::{
    process::{Signal, kill, need_root, until},
    world::World,
};

/// A name that nobody else has; what is called so under /run goes with it.
struct Own(String);

impl Own {
    fn new(what: &str) -> Self {
        Self(format!("rm-test-{}-{what}", std::process::id()))
    }

    fn in_run(&self) -> PathBuf {
        PathBuf::from("/run").join(&self.0)
    }

    fn credentials(&self) -> PathBuf {
        PathBuf::from("/run/credentials").join(format!("{}.service", self.0))
    }

    /// Waits until nothing of it is left.
    fn until_gone(&self) {
        until("its directory is gone", || (!self.in_run().exists()).then_some(()));
        until("its credentials are gone", || (!self.credentials().exists()).then_some(()));
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        fs::remove_dir_all(self.in_run()).ok();
        while nix::mount::umount2(&self.credentials(), nix::mount::MntFlags::MNT_DETACH).is_ok() {}
        fs::remove_dir_all(self.credentials()).ok();
    }
}

/// Says what it finds in its directory, puts its process id there, and lives.
fn unit(own: &Own, more: &str) -> String {
    let script = "echo found $(ls $$RUNTIME_DIRECTORY); touch $$RUNTIME_DIRECTORY/$$$$; exec sleep 1000";
    format!(
        "[service]\nexec_start = '/bin/sh -c \"{script}\"'\nruntime_directory = '{}'\nrestart = 'always'\nrestart_sec = 0\n\
         [unit]\nstart_limit_burst = 0\n",
        own.0
    )
    .replace("[unit]", &format!("{more}\n[unit]"))
}

fn found(world: &World, own: &Own, count: usize) -> Vec<String> {
    until("it has looked", || {
        let said = world.captured(&own.0);
        let lines: Vec<String> = said.lines().filter(|line| line.starts_with("found")).map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

pub(crate) fn a_runtime_directory_is_new_for_each_run_and_gone_with_the_last() {
    need_root("it makes a directory below /run");
    let own = Own::new("each");
    let world = World::with(&[(&own.0, &unit(&own, "user = 'nobody'\nruntime_directory_mode = '0700'"))]);
    for run in 1..=4 {
        let lines = found(&world, &own, run);
        assert_eq!(lines[run - 1], "found", "run {run} begins with an empty one");
        let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap().uid.as_raw();
        let meta = fs::metadata(own.in_run()).unwrap();
        assert_eq!((meta.uid(), meta.mode() & 0o777), (nobody, 0o700));
        let pid = world.pid(&own.0);
        kill(pid, Signal::SIGKILL);
        world.until_status(&own.0, "it is back", |status| status["active"] == "active" && status["pid"] != pid);
    }
    world.ok(&["stop", &own.0]);
    own.until_gone();
}

pub(crate) fn a_runtime_directory_is_kept_over_restarts_and_the_managers_death_where_the_unit_says_so() {
    need_root("it makes a directory below /run");
    let own = Own::new("kept");
    let world = World::with(&[(&own.0, &unit(&own, "runtime_directory_preserve = 'restart'"))]);
    let first = world.pid(&own.0);
    let has_written = |pid: i32| until("it has written", || own.in_run().join(pid.to_string()).exists().then_some(()));
    has_written(first);
    world.kill_manager();
    kill(first, Signal::SIGKILL);
    assert_eq!(found(&world, &own, 2)[1], format!("found {first}"));
    has_written(world.pid(&own.0));
    world.ok(&["restart", &own.0]);
    assert_eq!(found(&world, &own, 3)[2].split(' ').count(), 3);
    world.ok(&["stop", &own.0]);
    own.until_gone();
}

pub(crate) fn a_manager_that_is_killed_leaves_no_directory_behind() {
    need_root("it makes a directory below /run");
    let owns = ["a", "b", "c"].map(|what| Own::new(&format!("crash-{what}")));
    let slow = "exec_stop = '/bin/sleep 0.2'\nset_credential = 'key:value'";
    let mut world = World::new();
    for (own, preserve) in owns.iter().zip(["no", "restart", "no"]) {
        world.unit(&own.0, &unit(own, &format!("{slow}\nruntime_directory_preserve = '{preserve}'")));
    }
    world.start();
    for round in 0..5_u64 {
        for own in &owns {
            world.pid(&own.0);
            until("it has its directory", || own.in_run().exists().then_some(()));
            until("it has its credentials", || own.credentials().join("key").exists().then_some(()));
        }
        let names: Vec<&str> = owns.iter().map(|own| own.0.as_str()).collect();
        let stops: Vec<&str> = ["stop"].into_iter().chain(names.iter().copied()).collect();
        let up = world.managers_up();
        std::thread::scope(|scope| {
            // The order may get no answer, as whoever would give it is killed.
            scope.spawn(|| drop(world.ctl(&stops)));
            until("one of them is being stopped, or is", || {
                let active = world.status(names[0]);
                (active["active"] != "active").then_some(())
            });
            crate::support::process::pause(50 * round);
            world.kill_manager();
        });
        until("another manager took over", || (world.managers_up() > up).then_some(()));
        world.ok(&stops);
        for own in &owns {
            own.until_gone();
        }
        let starts: Vec<&str> = ["start"].into_iter().chain(names.iter().copied()).collect();
        world.ok(&starts);
    }
    world.stop();
    for own in &owns {
        own.until_gone();
    }
    let leftovers = || fs::read_dir("/run").unwrap().flatten().filter(is_leftover).count();
    until("nothing that was moved out of the way is left", || (leftovers() == 0).then_some(()));
}

fn is_leftover(entry: &fs::DirEntry) -> bool {
    entry.file_name().to_string_lossy().starts_with(".roundsman-gone.")
}

pub(crate) fn credentials_are_for_the_service_alone_and_nobody_else_says_them() {
    need_root("it gives files to another user");
    let own = Own::new("secret");
    let secret = format!("hush-{}", std::process::id());
    let mut world = World::new();
    fs::write(world.path("source"), &secret).unwrap();
    fs::set_permissions(world.path("source"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let script = "echo -n $$(tr a-z A-Z < $$CREDENTIALS_DIRECTORY/key); stat -c :%%U:%%a $$CREDENTIALS_DIRECTORY/key; exec sleep 1000";
    world.unit(
        &own.0,
        &format!(
            "[service]\nexec_start = '/bin/sh -c \"{script}\"'\nuser = 'nobody'\nload_credential = 'key:@/source'\n\
             exec_stop_post = '/bin/sh -c \"ls $CREDENTIALS_DIRECTORY\"'\n"
        ),
    );
    world.start();
    let wanted = format!("{}:nobody:400", secret.to_uppercase());
    until("it has read its credential", || world.captured(&own.0).contains(&wanted).then_some(()));
    let said =
        [&["show", &own.0][..], &["status", &own.0, "--json"], &["why", &own.0], &["events", "-n", "100", "--json"]]
            .map(|arguments| format!("{:?}", world.ctl(arguments)));
    for text in said.into_iter().chain([world.log()]) {
        assert!(!text.contains(&secret), "{text}");
    }
    let environment = fs::read_to_string(format!("/proc/{}/environ", world.pid(&own.0))).unwrap();
    assert!(!environment.contains(&secret));
    world.ok(&["stop", &own.0]);
    own.until_gone();
    until("the last command had them too", || world.captured(&own.0).contains("\nkey\n").then_some(()));
    assert!(world.path("source").exists());
}

pub(crate) fn its_directories_can_be_written_where_all_else_cannot() {
    need_root("it makes a mount namespace");
    let own = Own::new("strict");
    let script = "touch $$RUNTIME_DIRECTORY/mine && echo mine; ls /mnt; touch /etc/rm-test || echo shut";
    let covered = "temporary_file_system = ['/mnt', '/run']";
    let world = World::with(&[(
        &own.0,
        &format!(
            "[service]\nexec_start = '/bin/sh -c \"{script}; exec sleep 1000\"'\nruntime_directory = '{}'\n\
             protect_system = 'strict'\n{covered}\nset_credential = 'key:value'\nexec_start_post = '/bin/cat /run/credentials/{0}.service/key'\n",
            own.0
        ),
    )]);
    until("it has tried", || world.captured(&own.0).contains("shut").then_some(()));
    let said = world.captured(&own.0);
    assert!(said.contains("mine\n") && !std::path::Path::new("/etc/rm-test").exists(), "{said}");
    until("its credentials are there", || world.captured(&own.0).contains("value").then_some(()));
    world.ok(&["stop", &own.0]);
    own.until_gone();
}

pub(crate) fn what_a_service_cannot_have_fails_its_start_by_name() {
    need_root("it starts services with directories below /run");
    let own = Own::new("missing");
    fs::write(own.in_run(), "in the way").unwrap();
    let cases = [
        ("a", format!("runtime_directory = '{}'", own.0), "runtime-directory: not a directory"),
        ("b", "load_credential = 'key:/nonexistent'".to_owned(), "credentials: no such file or directory"),
        ("c", "root_directory = '/nonexistent'".to_owned(), "chroot: no such file or directory"),
        ("d", "standard_input = 'file:/nonexistent'".to_owned(), "stdin: no such file or directory"),
        ("e", "standard_output = 'append:/nonexistent/x'".to_owned(), "stdout: no such file or directory"),
        ("f", "cpu_affinity = 8191".to_owned(), "cpu-affinity: invalid argument"),
        ("g", "working_directory = '/nonexistent'".to_owned(), "chdir: no such file or directory"),
    ];
    let mut world = World::new();
    for (name, more, _) in &cases {
        world.unit(&format!("{}-{name}", own.0), &format!("[service]\nexec_start = '/bin/true'\n{more}\n"));
    }
    world.start();
    for (name, _, failure) in &cases {
        let unit = format!("{}-{name}", own.0);
        world.until_active(&unit, "failed");
        until("the reason is told", || world.ok(&["why", &unit]).out.contains(failure).then_some(()));
    }
    world.stop();
    fs::remove_file(own.in_run()).unwrap();
}
