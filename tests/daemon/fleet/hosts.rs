//! Hosts without a daemon, each a real sshd in a mount namespace of its own, so that what is enrolled there is there alone.

use std::{path::Path, process::Stdio};

use super::*;

/// What becomes a host: its own /etc, /root, /run, /var and /usr/local/lib, a host key, the operator's key, and what else is done.
const HOST: &str = r#"set -e
here=$1 port=$2 kind=$3
mount -t tmpfs tmpfs "$here"
for place in etc var; do
    mkdir "$here/$place" "$here/work-$place"
    mount -t overlay overlay -o "lowerdir=/$place,upperdir=$here/$place,workdir=$here/work-$place" "/$place"
done
for place in /etc/ssh /root /run /usr/local/lib; do mount -t tmpfs tmpfs "$place"; done
mkdir -p /run/sshd /root/.ssh
chmod 700 /root /root/.ssh
cp "$4" /root/.ssh/authorized_keys
ssh-keygen -q -t "$kind" -N '' -f "/etc/ssh/ssh_host_${kind}_key"
date +%s%N > /run/app
[ ! -e "$5" ] || . "$5"
exec /usr/sbin/sshd -D -e -f /dev/null -p "$port" -h "/etc/ssh/ssh_host_${kind}_key" \
    -o ListenAddress=127.0.0.1 -o UsePAM=no -o PidFile=none -o StrictModes=yes -o PermitRootLogin=prohibit-password
"#;

/// A database with a daemon; on hosts without one an application that writes down what is done to it.
const APPS: &str = r#"
[[service]]
name = "db"
nodes = ["vm1"]
[[service]]
name = "app"
nodes = [HOSTS]
depends_on = [{ service = "db", on_restart = "restart" }]
validate = ["sh", "-c", "while [ -e /run/hold ]; do sleep 0.1; done; ! [ -e /run/unsound ] || { echo line 7 is wrong; exit 1; }"]
restart = ["sh", "-c", "sleep 0.3; echo restart >> /run/done; date +%s%N > /run/app"]
reload = ["sh", "-c", "echo reload >> /run/done"]
status = ["cat", "/run/app"]
"#;

pub(super) struct Hosts {
    /// The daemon that drives, without Redis.
    pub(super) world: World,
    /// Runs the hosts.
    hosts: World,
    ports: Vec<u16>,
}

impl Hosts {
    /// `vm1` with a daemon, `vm2` … without.
    fn begin(count: usize) -> Self {
        Self::behind(count, "", |_, port| port)
    }

    /// The same where each is reached at another port than it listens at, and with more settings of the application.
    pub(super) fn behind(count: usize, settings: &str, way: impl Fn(usize, u16) -> u16) -> Self {
        let hosts = World::new();
        let ports: Vec<u16> = (0..count).map(|_| free_port()).collect();
        let mut this = Self { world: World::new(), hosts, ports };
        (0..count).for_each(|nth| this.host(nth, "ed25519"));
        this.hosts.start();
        (0..count).for_each(|nth| this.until_listening(nth));
        let nodes: String = (this.ports.iter().enumerate())
            .map(|(nth, port)| {
                let port = way(nth, *port);
                format!("[[node]]\nname = \"vm{}\"\naddress = \"127.0.0.1:{port}\"\ntransport = \"ssh\"\n", nth + 2)
            })
            .collect();
        let names: Vec<String> = (0..count).map(|nth| format!("\"vm{}\"", nth + 2)).collect();
        let apps = APPS.replace("HOSTS", &names.join(", ")) + settings;
        let topology = format!("name = \"test\"\n[[node]]\nname = \"vm1\"\n{nodes}{apps}");
        fs::write(this.world.path("fleet.toml"), topology).unwrap();
        // Signs of life through Redis may come often; that says nothing of hosts.
        this.world.settings("[fleet]\nnode = \"vm1\"\n[heartbeat]\ninterval = \"200ms\"\n");
        this.world.unit("db", APP);
        this.world.start();
        this
    }

    /// A host with a key of this kind.
    fn host(&self, nth: usize, kind: &str) {
        host(&self.hosts, &format!("vm{}", nth + 2), self.ports[nth], kind);
    }

    fn enrol(&self, node: &str, more: &[&str]) -> Said {
        enrol(self.hosts.folder.path(), &self.world, node, more)
    }

    fn until_listening(&self, nth: usize) {
        until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", self.ports[nth])).ok());
    }

    fn until_doing(&self, node: &str) {
        let doing = self.file(node, "/var/lib/roundsman/remote/doing");
        until("something is being done there", || fs::read_dir(&doing).ok()?.next().map(drop));
    }

    pub(super) fn enrol_all(&self) {
        for nth in 0..self.ports.len() {
            let name = format!("vm{}", nth + 2);
            let said = self.enrol(&name, &[]);
            assert!(said.code == 0 && said.out.contains(&format!("{name} is enrolled")), "{said:?}");
        }
    }

    /// A file of a host, as it has it.
    fn file(&self, node: &str, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.hosts.pid(node)))
    }

    /// What was done there.
    pub(super) fn done(&self, node: &str) -> Vec<String> {
        let text = fs::read_to_string(self.file(node, "/run/done")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    pub(super) fn plan(&self) -> Value {
        self.world.ok(&["fleet", "plans", "--json"]).json()["plans"][0].clone()
    }

    /// As a node whose key is stolen would.
    fn by_key(&self, nth: usize, asked: &str) -> Command {
        let folder = self.world.path("ssh");
        let mut command = Command::new("ssh");
        command.args(["-T", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o"]);
        command.arg(format!("UserKnownHostsFile={}/known_hosts", folder.display()));
        command.args(["-o", &format!("HostKeyAlias=vm{}", nth + 2), "-i"]).arg(folder.join("id_ed25519"));
        command.args(["-p", &self.ports[nth].to_string(), "root@127.0.0.1", asked]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A unit that is a host whose sshd listens there; `NAME.sh` of that world is run there first, if there is one.
pub(super) fn host(hosts: &World, name: &str, port: u16, kind: &str) {
    fs::write(hosts.path("host.sh"), HOST).unwrap();
    if !hosts.path("operator").exists() {
        equip_operator(hosts.folder.path());
    }
    fs::create_dir_all(hosts.path(name)).unwrap();
    let script = format!("@/host.sh @/{name} {port} {kind} @/operator.pub @/{name}.sh");
    hosts.unit(name, &format!("[service]\nexec_start = \"unshare -m --propagation private sh {script}\"\n"));
}

/// By what the operator has for their own ssh, in a folder.
pub(super) fn enrol(operator: &Path, world: &World, node: &str, more: &[&str]) -> Said {
    let config = operator.join("ssh_config").display().to_string();
    let settings = world.path("roundsman.toml").display().to_string();
    let mut words = vec!["fleet", "enrol", node, "--ssh-config", &config, "--config", &settings];
    words.extend(more);
    world.ctl(&words)
}

/// Ends everything that lives in the mount namespace of a host, but its first process.
pub(super) fn cut(hosts: &World, node: &str) {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
    let Some(main) = hosts.try_pid(node) else { return };
    let own = namespace(main);
    let all = process::all().into_iter().filter(|pid| *pid != main && namespace(*pid) == own);
    all.for_each(|pid| kill(pid, Signal::SIGKILL));
}

/// Makes the operator's key, and settings of their own ssh.
pub(super) fn equip_operator(folder: &Path) {
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(folder.join("operator"))
        .status()
        .expect("ssh-keygen runs (openssh-client)");
    assert!(made.success());
    let text = format!(
        "IdentityFile {0}/operator\nUserKnownHostsFile {0}/known\nGlobalKnownHostsFile /dev/null\nStrictHostKeyChecking accept-new\nLogLevel ERROR\n",
        folder.display()
    );
    fs::write(folder.join("ssh_config"), text).unwrap();
}

pub(crate) fn a_host_without_a_daemon_is_enrolled_and_restarted_in_its_turn() {
    let hosts = Hosts::begin(2);
    let before = hosts.world.ctl(&["fleet", "restart", "db", "--dry-run"]);
    assert_eq!(before.code, 2, "{before:?}");
    assert!(before.out.contains("supervisorctl fleet enrol vm2"), "{}", before.out);
    let diagnosis = |level: &str| -> Vec<String> {
        let said = hosts.world.ctl(&["doctor", "--json"]).json();
        let found = said["findings"].as_array().unwrap().iter();
        let found = found.filter(|it| it["topic"] == "ssh" && it["level"] == level);
        found.map(|it| it["message"].as_str().unwrap().to_owned()).collect()
    };
    assert!(diagnosis("fail")[0].contains("this node has no key"), "{:?}", diagnosis("fail"));
    hosts.enrol_all();
    assert_eq!(diagnosis("fail"), Vec::<String>::new());
    assert_eq!(diagnosis("ok"), ["this node's key", "it is enrolled", "it is enrolled"]);
    let began = Instant::now();
    for _ in 0..4 {
        let said = hosts.world.ctl(&["fleet", "restart", "db", "--dry-run"]);
        assert_eq!(said.code, 0, "{said:?}");
        process::pause(1_000);
    }
    assert!(began.elapsed() < Duration::from_secs(9), "nobody waits for a host that is known: {:?}", began.elapsed());
    let said = hosts.world.ok(&["fleet", "restart", "db"]);
    assert!(said.out.contains("app@vm3"), "{}", said.out);
    assert_eq!(hosts.world.status("db")["generation"], 2);
    assert_eq!((hosts.done("vm2"), hosts.done("vm3")), (vec!["restart".to_owned()], vec!["restart".to_owned()]));
    let plan = hosts.plan();
    assert_eq!((class(&plan, "app@vm2"), class(&plan, "app@vm3")), ("done", "done"), "{plan:#}");
    // What is there to be run is what the file says, and a configuration that is not sound is left alone.
    fs::write(hosts.file("vm2", "/run/unsound"), "").unwrap();
    let refused = hosts.world.ctl(&["fleet", "reload", "app"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let plan = hosts.plan();
    assert_eq!(plan["reason"], "app@vm2 failed at validating: sh: exit status: 1: line 7 is wrong", "{plan:#}");
    assert_eq!(hosts.done("vm2").len(), 1);
}

pub(crate) fn the_key_of_a_node_opens_nothing_but_our_program_and_twenty_copies_of_a_step_are_done_once() {
    let hosts = Hosts::begin(1);
    hosts.enrol_all();
    let mut evil = hosts.by_key(0, "touch /run/evil; id").spawn().unwrap();
    drop(evil.stdin.take());
    let said = evil.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&said.stdout).contains("uid="), "{said:?}");
    assert!(!hosts.file("vm2", "/run/evil").exists());
    let token = format!(r#"{{"epoch":900,"owner":"{:032x}"}}"#, 7);
    let plan = format!("{:032x}", 5);
    let order = |service: &str, step: u8, deed: &str| {
        format!(
            r#"{{"v":1,"is":{{"from":"vm1","nth":2,"wanted":{{"step":{{"token":{token},"order":{{"id":"{}","plan":"{plan}","instance":"{service}@vm2","unit":"{service}","deed":"{deed}","expects":null,"deadline":30000000,"ttl":30000000}}}}}}}}}}"#,
            format!("{step:02x}").repeat(16)
        )
    };
    let promise = format!(
        r#"{{"v":1,"is":{{"from":"vm1","nth":1,"wanted":{{"promise":{{"token":{token},"plan":"{plan}"}}}}}}}}"#
    );
    let ask = |lines: &[&str]| {
        use std::io::Write;
        let mut child = hosts.by_key(0, "x").spawn().unwrap();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child
    };
    let heard = |child: std::process::Child| String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(heard(ask(&[&promise])).contains(r#""promised":{"token""#));
    let restart = order("app", 1, "restart");
    // Fewer at once than sshd lets in that have not shown who they are (MaxStartups 10).
    let mut answers = Vec::new();
    for _ in 0..4 {
        let some: Vec<_> = (0..5).map(|_| ask(&[&restart])).collect();
        answers.extend(some.into_iter().map(heard));
    }
    assert_eq!(hosts.done("vm2"), ["restart"]);
    let accepted = answers.iter().filter(|said| said.contains(r#""verdict":"accepted""#)).count();
    let known = answers.iter().filter(|said| said.contains(r#""verdict":{"known""#)).count();
    assert_eq!((accepted, known), (1, 19), "{answers:#?}");
    let other = heard(ask(&[&order("ssh", 2, "restart")]));
    assert!(other.contains("ssh@vm2 is not in fleet.toml of vm2"), "{other}");
    let unknown = heard(ask(&["{\"v\":9}"]));
    assert!(unknown.contains("it is of version 9, and this program speaks 1"), "{unknown}");
}

pub(crate) fn a_host_with_another_key_is_spoken_to_only_when_someone_says_that_it_was_set_up_anew() {
    let hosts = Hosts::begin(1);
    hosts.enrol_all();
    fs::write(hosts.file("vm2", "/run/hold"), "").unwrap();
    hosts.world.ok(&["fleet", "restart", "app", "--no-wait"]);
    hosts.until_doing("vm2");
    cut(&hosts.hosts, "vm2");
    hosts.host(0, "ecdsa");
    hosts.hosts.ok(&["reload-config"]);
    hosts.hosts.ok(&["restart", "vm2"]);
    fs::remove_file(hosts.hosts.path("known")).unwrap();
    hosts.until_listening(0);
    let plan = until_within(TAKEN_OVER, "the plan waits for someone", || {
        Some(hosts.plan()).filter(|plan| plan["state"] == "paused")
    });
    assert!(plan["reason"].as_str().unwrap().contains("someone is in between"), "{plan:#}");
    hosts.world.ok(&["plan", "abort", plan["id"].as_str().unwrap()]);
    let blocked = until("its key is seen to be another one", || {
        let said = hosts.world.ctl(&["fleet", "restart", "db", "--dry-run"]);
        said.out.contains("the key of vm2").then_some(said)
    });
    assert_eq!(blocked.code, 2, "{blocked:?}");
    let refused = hosts.enrol("vm2", &[]);
    assert!(refused.code == 1 && refused.err.contains("say --anew"), "{refused:?}");
    let said = hosts.enrol("vm2", &["--anew"]);
    assert_eq!(said.code, 0, "{said:?}");
    until("it is spoken to again", || {
        (hosts.world.ctl(&["fleet", "restart", "db", "--dry-run"]).code == 0).then_some(())
    });
    assert_eq!(hosts.done("vm2").len(), 0);
}

pub(crate) fn a_step_at_a_host_is_done_once_though_the_manager_dies_while_it_is_done() {
    let hosts = Hosts::begin(1);
    hosts.enrol_all();
    hosts.world.ok(&["fleet", "restart", "app", "--no-wait"]);
    hosts.until_doing("vm2");
    hosts.world.kill_manager();
    until_within(TAKEN_OVER, "the plan is over", || {
        let said = hosts.world.ctl(&["fleet", "plans", "--json"]);
        (said.code == 0 && said.json()["plans"][0]["state"] == "succeeded").then_some(())
    });
    assert_eq!(hosts.done("vm2"), ["restart"]);
}

/// What is validated and notified where a daemon runs is a child of its keeper as well.
pub(crate) fn what_is_not_sound_is_left_alone_and_who_is_to_be_notified_is_told_by_its_command() {
    let topology = "
[[service]]
name = \"db\"
nodes = [\"vm1\"]
validate = [\"sh\", \"-c\", \"[ -e @/sound ] || { echo no such table >&2; exit 3; }\"]
[[service]]
name = \"app\"
nodes = [\"vm1\"]
notify = [\"sh\", \"-c\", \"echo told >> @/told\"]
depends_on = [{ service = \"db\", on_restart = \"notify\" }]
";
    let mut world = World::new();
    let here = world.path("").display().to_string();
    let text =
        format!("name = \"test\"\n[[node]]\nname = \"vm1\"\n{}", topology.replace('@', here.trim_end_matches('/')));
    fs::write(world.path("fleet.toml"), text).unwrap();
    world.settings("[fleet]\nnode = \"vm1\"\n");
    ["db", "app"].iter().for_each(|unit| world.unit(unit, APP));
    world.start();
    let refused = world.ctl(&["fleet", "restart", "db"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let plan = world.ok(&["fleet", "plans", "--json"]).json()["plans"][0].clone();
    assert_eq!(plan["reason"], "db@vm1 failed at validating: sh: exit code 3: no such table", "{plan:#}");
    assert_eq!(world.status("db")["generation"], 1);
    fs::write(world.path("sound"), "").unwrap();
    world.ok(&["plan", "resume", plan["id"].as_str().unwrap()]);
    until("the plan is over", || {
        let plans = world.ok(&["fleet", "plans", "--json"]).json();
        (plans["plans"][0]["state"] == "succeeded").then_some(())
    });
    assert_eq!(
        (world.status("db")["generation"].clone(), world.status("app")["generation"].clone()),
        (2.into(), 1.into())
    );
    assert_eq!(world.lines("told"), ["told"]);
    // People are told when a plan begins, and when it is over, without Redis as well.
    world.until_notices("rollout_running", 1);
    world.until_notices("rollout_ended", 1);
}

/// Whoever is at the other end: one that takes a connection and says nothing, one that never stops talking, one whose helper hangs.
pub(crate) fn a_host_that_hangs_or_floods_is_out_of_reach_in_time_and_no_ssh_is_left() {
    let hosts = Hosts::begin(1);
    hosts.enrol_all();
    let keys = hosts.file("vm2", "/root/.ssh/authorized_keys");
    let text = fs::read_to_string(&keys).unwrap();
    fs::write(&keys, text.replace("/usr/local/lib/roundsman/supervisord remote --node vm2", "sleep 1000")).unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let flood = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = flood.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::Write;
        let lines = b"\x1b[2Jwelcome to this host\r\n".repeat(4096);
        for peer in flood.incoming() {
            let mut peer = peer.unwrap();
            // 100 MB each, or as much as anyone takes.
            (0..1000).try_for_each(|_| peer.write_all(&lines)).ok();
        }
    });
    let more = [("vm8", silent.local_addr().unwrap().port()), ("vm9", port)].map(|(name, port)| {
        format!("[[node]]\nname = \"{name}\"\naddress = \"127.0.0.1:{port}\"\ntransport = \"ssh\"\n")
    });
    let file = hosts.world.path("fleet.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("nodes = [\"vm2\"]", "nodes = [\"vm2\", \"vm8\", \"vm9\"]") + &more.concat())
        .unwrap();
    hosts.world.ok(&["reload-config"]);
    let began = Instant::now();
    let said = hosts.world.ctl(&["fleet", "restart", "app", "--dry-run"]);
    assert!(began.elapsed() < Duration::from_secs(15), "whoever asks does not wait for ever");
    assert_eq!(said.code, 2, "{said:?}");
    let reasons = until_within(Duration::from_secs(60), "each says why", || {
        let said = hosts.world.ctl(&["fleet", "restart", "app", "--dry-run"]).out;
        let of = |node: &str| {
            said.lines().find(|line| line.contains(node) && line.contains("in the way")).map(str::to_owned)
        };
        let all = [of("node vm2")?, of("node vm8")?, of("node vm9")?];
        (!all.iter().any(|line| line.contains("has not answered"))).then_some(all)
    });
    assert!(reasons[0].contains("said nothing for 20 s"), "{reasons:#?}");
    assert!(reasons[1].contains("out during banner exchange"), "{reasons:#?}");
    assert!(reasons[2].contains("no way to vm9") && !reasons[2].contains('\x1b'), "{reasons:#?}");
    let manager = hosts.world.manager();
    let status = fs::read_to_string(format!("/proc/{manager}/status")).unwrap();
    let peak: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap();
    assert!(peak < 150_000, "the manager had {peak} KiB");
    let mut hosts = hosts;
    hosts.world.stop();
    let known = hosts.world.path("ssh/known_hosts").display().to_string();
    let left = || process::all().into_iter().filter(|pid| process::command_line(*pid).contains(&known)).count();
    assert_eq!(left(), 0, "every ssh has ended with the daemon");
}

pub(crate) fn however_often_the_way_to_a_host_is_cut_each_step_is_done_once() {
    const PLANS: usize = 4;
    let hosts = Hosts::begin(2);
    hosts.enrol_all();
    let known = hosts.world.path("ssh/known_hosts").display().to_string();
    let mut cuts = 0;
    for nth in 1..=PLANS {
        hosts.world.ok(&["fleet", "restart", "app", "--no-wait"]);
        until_within(TAKEN_OVER * 2, "the plan is over", || {
            // At another moment of it each time.
            process::pause(150 + 90 * u64::try_from(nth).unwrap());
            let ssh = process::all().into_iter().find(|pid| process::command_line(*pid).contains(&known));
            if let Some(pid) = ssh.filter(|_| cuts < 5 * nth) {
                cuts += 1;
                kill(pid, Signal::SIGKILL);
            }
            (hosts.plan()["state"] == "succeeded").then_some(())
        });
    }
    assert!(cuts >= 2 * PLANS, "only {cuts} cuts");
    for node in ["vm2", "vm3"] {
        assert_eq!(hosts.done(node).len(), PLANS, "{node} after {cuts} cuts");
    }
}
