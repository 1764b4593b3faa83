//! There is no memory left: for the group that the daemon lives in, or for the keeper itself.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;

use crate::{
    actor,
    manager::{Known, compare_with_truth},
    support::{
        process::{self, Signal, kill, lives, need_root, pause, until, until_within},
        world::World,
    },
};

/// Processes that are killed for memory in the long test; `ROUNDSMAN_TEST_OOM_KILLS` sets another number.
const OOM_KILLS: usize = 100;
/// What the daemon and a greedy service may have together, bytes; a daemon has about 40 MiB with its pages of files.
const LIMIT: u64 = 160 << 20;

fn score_of(pid: i32) -> i32 {
    fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
}

/// A daemon that this shell script starts, as `"$@"`.
fn start_by(world: &mut World, script: &str, argument: &Path) {
    let plain = world.command();
    let mut command = process::command("sh");
    command.args(["-c", script, "sh"]).arg(argument).arg(plain.get_program()).args(plain.get_args());
    let log = fs::File::options().create(true).append(true).open(world.path("daemon.log")).unwrap();
    let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    world.adopt(child);
    world.await_answer();
}

pub(crate) fn the_keeper_is_the_last_to_be_killed_for_memory_and_its_children_have_their_own_score() {
    // Where it may not be the very last, it comes after all that it has started.
    const STARTED_WITH: i32 = 300;
    let mut world = World::new();
    let says = |more: &str| {
        format!("[service]\nexec_start = \"/bin/sh -c 'cat /proc/self/oom_score_adj; exec sleep 1000'\"\n{more}")
    };
    world.unit("plain", &says(""));
    world.unit("first", &says("oom_score_adjust = 700\n"));
    world.unit("last", &says("oom_score_adjust = -1000\n"));
    start_by(&mut world, "echo 300 > /proc/self/oom_score_adj; shift; exec \"$@\"", Path::new("-"));
    let keeper = score_of(world.keeper());
    let may_be_lowest = has_resource_capability();
    assert!(keeper == -1000 || !may_be_lowest && keeper <= 0, "the keeper's is {keeper}");
    assert_eq!(score_of(world.manager()), STARTED_WITH, "the manager's is what the daemon was started with");
    // What it had when it began, and not what was made of it later.
    for (name, score) in [("plain", 0), ("first", 700), ("last", keeper)] {
        let said = until("it has said it", || Some(world.captured(name)).filter(|text| text.ends_with('\n')));
        assert_eq!(said.trim(), score.to_string(), "{name}");
    }
    let lowered = world.status("last")["lowered"].as_array().is_some_and(|all| !all.is_empty());
    assert_eq!(lowered, keeper != -1000, "what it could not have is said");
    world.kill_manager();
    assert_eq!((score_of(world.manager()), score_of(world.keeper())), (STARTED_WITH, keeper));
    assert!(world.stop().success());
}

/// CAP_SYS_RESOURCE, capabilities(7).
fn has_resource_capability() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:\t")).unwrap();
    u64::from_str_radix(set, 16).unwrap() & (1 << 24) != 0
}

/// A control group whose members may have so much memory together.
struct Narrow(PathBuf);

impl Narrow {
    /// `None` where no controller of memory is to be had.
    fn new(bytes: u64) -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let mount_of = |line: &str| line.split(' ').nth(4).map(PathBuf::from);
        let old = mounts.lines().find(|line| {
            line.split_once(" - cgroup ").is_some_and(|(_, after)| after.split([' ', ',']).any(|word| word == "memory"))
        });
        let name = format!("roundsman-narrow-{}", std::process::id());
        let path_of = |is_it: &dyn Fn(&str) -> bool| {
            own.lines()
                .find(|line| is_it(line))
                .and_then(|line| line.rsplit(':').next())
                .unwrap_or("/")
                .trim_start_matches('/')
        };
        if let Some(mount) = old.and_then(mount_of) {
            let group = mount.join(path_of(&|line| line.split(':').nth(1) == Some("memory"))).join(name);
            fs::create_dir(&group).unwrap();
            let narrow = Self(group);
            fs::write(narrow.0.join("memory.limit_in_bytes"), bytes.to_string()).unwrap();
            // Where swap is counted, it counts.
            fs::write(narrow.0.join("memory.memsw.limit_in_bytes"), bytes.to_string()).ok();
            return Some(narrow);
        }
        let mount = mounts.lines().find(|line| line.contains(" - cgroup2 ")).and_then(mount_of)?;
        let group = mount.join(path_of(&|line| line.starts_with("0::"))).join(name);
        fs::create_dir(&group).ok()?;
        let narrow = Self(group);
        fs::write(narrow.0.join("memory.max"), bytes.to_string()).ok()?;
        fs::write(narrow.0.join("memory.swap.max"), "0").ok();
        Some(narrow)
    }

    /// How many of its members the kernel has killed.
    fn kills(&self) -> usize {
        let read = |name: &str| fs::read_to_string(self.0.join(name)).ok();
        let text = read("memory.oom_control").or_else(|| read("memory.events")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().parse().unwrap()
    }
}

impl Drop for Narrow {
    fn drop(&mut self) {
        let deadline = std::time::Instant::now() + process::PATIENCE;
        while fs::remove_dir(&self.0).is_err() && std::time::Instant::now() < deadline {
            // Who outlives a keeper that did not.
            let left = fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
            left.lines().filter_map(|pid| pid.parse().ok()).for_each(|pid| kill(pid, Signal::SIGKILL));
            pause(20);
        }
    }
}

pub(crate) fn a_keeper_whose_group_runs_out_of_memory_again_and_again_lives_and_restarts() {
    need_root("it makes a control group");
    let kills = env::var("ROUNDSMAN_TEST_OOM_KILLS").map_or(OOM_KILLS, |text| text.parse().unwrap());
    let Some(group) = Narrow::new(LIMIT) else {
        println!("not here: no controller of memory");
        return;
    };
    let mut world = World::new();
    world.settings("[cgroup]\nmode = \"off\"\n");
    let policy = "restart = \"always\"\nrestart_sec = \"10ms\"\n[unit]\nstart_limit_burst = 0\n";
    // tail keeps the last line, and that has no end.
    world.unit(
        "greedy",
        &format!("[service]\nexec_start = \"/usr/bin/tail /dev/zero\"\n{policy}[install]\nenabled = false\n"),
    );
    world.unit("web", &actor::unit("steady @/truth web", policy));
    start_by(&mut world, "echo 0 > \"$1\"/cgroup.procs && shift && exec \"$@\"", &group.0);
    let (keeper, web) = (world.keeper(), world.pid("web"));
    world.ok(&["start", "--no-wait", "greedy"]);
    until_within(process::PATIENCE * 6, "the kernel has killed so often", || {
        assert!(lives(keeper), "the keeper is gone after {} kills:\n{}", group.kills(), world.log());
        (group.kills() >= kills).then_some(())
    });
    // One that dies meanwhile comes back as always.
    kill(world.pid("web"), Signal::SIGTERM);
    until("it is back", || {
        (world.lines("truth").iter().filter(|line| line.starts_with('S')).count() > 1).then_some(())
    });
    world.ok(&["stop", "greedy"]);
    println!("{} kills for memory, the keeper lives", group.kills());
    assert_eq!(world.keeper(), keeper);
    assert!(lives(keeper) && !lives(web));
    let runs = world.status("greedy")["generation"].as_u64().unwrap();
    assert!(usize::try_from(runs).unwrap() >= kills.min(group.kills()) / 2, "{runs} runs");
    world.ok(&["stop", "web"]);
    let restarts = world.status("web")["restarts_total"].as_i64().unwrap();
    assert!(world.stop().success());
    compare_with_truth(&world, "web", restarts, Known::Exactly);
    drop(group);
}

pub(crate) fn a_keeper_that_can_have_no_more_memory_goes_on_reaping_and_restarting() {
    const SERVICES: usize = 20;
    const DEATHS: usize = 400;
    const NEW: usize = 200;
    let mut world = World::new();
    // A child has the keeper's limits unless its unit says otherwise.
    let policy =
        "restart = \"always\"\nrestart_sec = \"10ms\"\nlimit_as = \"infinity\"\n[unit]\nstart_limit_burst = 0\n";
    for number in 0..SERVICES {
        world.unit(&format!("die{number}"), &format!("[service]\nexec_start = \"/bin/sleep 0.1\"\n{policy}"));
    }
    world.unit("web", &actor::unit("steady @/truth web", policy));
    world.start();
    let (keeper, manager) = (world.keeper(), world.manager());
    until("they have died a while", || (restarts(&world) > SERVICES).then_some(()));
    let limit = |limit: &str| {
        let pid = keeper.to_string();
        assert!(
            process::command("prlimit").args(["--pid", &pid, &format!("--as={limit}:")]).status().unwrap().success()
        );
    };
    // Whatever it asks for from here on is refused.
    limit("1");
    let before = restarts(&world);
    until_within(process::PATIENCE * 3, "they die and come back", || {
        assert!(lives(keeper), "the keeper is gone:\n{}", world.log());
        (restarts(&world) >= before + DEATHS).then_some(())
    });
    kill(world.pid("web"), Signal::SIGTERM);
    until("it is back", || {
        (world.lines("truth").iter().filter(|line| line.starts_with('S')).count() > 1).then_some(())
    });
    assert_eq!((world.keeper(), world.manager()), (keeper, manager));
    // It takes in what is new, too, and all that ends while nobody listens.
    let names: Vec<String> = (0..NEW).map(|number| format!("new{number}")).collect();
    for name in &names {
        world.unit(name, &format!("[service]\nexec_start = \"/bin/sleep 1000\"\n{policy}"));
    }
    world.ok(&["reload-config"]);
    let are_up = |generation: i64| {
        let all = world.ctl(&["status", "--json"]).json();
        let is_up = |unit: &Value| unit["generation"].as_i64() >= Some(generation) && unit["pid"].is_i64();
        let new =
            all["units"].as_array().unwrap().iter().filter(|unit| unit["name"].as_str().unwrap().starts_with("new"));
        (new.filter(|unit| is_up(unit)).count() == NEW).then_some(())
    };
    until_within(process::PATIENCE * 3, "they are up", || are_up(1));
    let web = world.pid("web");
    kill(manager, Signal::SIGSTOP);
    // While some end, a list of children may lack others (proc(5)): whoever is seen later is killed then.
    until("all are reaped", || {
        let is_other = |pid: &i32| ![manager, web].contains(pid);
        let others: Vec<i32> = process::children(keeper).into_iter().filter(is_other).collect();
        others.iter().for_each(|pid| kill(*pid, Signal::SIGKILL));
        others.is_empty().then_some(())
    });
    kill(manager, Signal::SIGCONT);
    until_within(process::PATIENCE * 3, "they are up again", || are_up(2));
    assert_eq!((world.keeper(), world.manager()), (keeper, manager));
    // A manager that dies now cannot be replaced at once, as it would have to do with as little.
    world.kill_manager();
    pause(500);
    assert!(lives(keeper), "the keeper is gone:\n{}", world.log());
    limit("unlimited");
    world.await_answer();
    let back = restarts(&world);
    until("they go on", || (restarts(&world) > back).then_some(()));
    world.ok(&["stop", "web"]);
    let restarts = world.status("web")["restarts_total"].as_i64().unwrap();
    assert!(world.stop().success());
    compare_with_truth(&world, "web", restarts, Known::Exactly);
}

/// Of all units together.
fn restarts(world: &World) -> usize {
    let all = world.ctl(&["status", "--json"]).json();
    let counts = all["units"].as_array().unwrap().iter().map(|unit| unit["restarts_total"].as_u64().unwrap());
    usize::try_from(counts.sum::<u64>()).unwrap()
}
