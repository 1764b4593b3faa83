//! The operators' guide: a file server restarts; XMPP servers that hand out its addresses reload, one of them on a host without a
//! daemon; applications that use it restart, one after the other, behind a load balancer that drains each.

use std::collections::BTreeSet;

use super::*;

/// An XMPP server that keeps nothing and speaks to nobody.
pub(super) fn prosody(world: &World) {
    let at = world.path("").display().to_string();
    let config = format!(
        "run_as_root = true\ndaemonize = false\npidfile = \"{at}prosody.pid\"\ndata_path = \"{at}data\"\nlog = \"*console\"\n\
         c2s_ports = {{ {} }}\ns2s_ports = {{}}\nhttp_ports = {{}}\nhttps_ports = {{}}\ninterfaces = {{ \"127.0.0.1\" }}\nmodules_disabled = {{ \"s2s\" }}\nVirtualHost \"localhost\"\n",
        free_port()
    );
    fs::create_dir_all(world.path("data")).unwrap();
    fs::write(world.path("prosody.cfg.lua"), config).unwrap();
    let unit = format!(
        "[service]\nexec_start = \"prosody -F --config {at}prosody.cfg.lua\"\nexec_reload = \"kill -HUP $MAINPID\"\n"
    );
    world.unit("prosody", &unit);
}

/// What makes a host one with ejabberd.
fn ejabberd(ports: [u16; 2]) -> String {
    format!(
        "cat > /etc/ejabberd/ejabberd.yml <<'END'\nhosts:\n  - localhost\nloglevel: info\nlisten:\n  -\n    port: {}\n    ip: \"127.0.0.1\"\n    \
         module: ejabberd_c2s\nmodules: {{}}\nEND\nchmod 644 /etc/ejabberd/ejabberd.yml\n\
         printf 'ERL_DIST_PORT={}\\nINET_DIST_INTERFACE=127.0.0.1\\nERLANG_NODE=ejabberd@localhost\\n' > /etc/ejabberd/ejabberdctl.cfg\n\
         chmod 644 /etc/ejabberd/ejabberdctl.cfg\nejabberdctl foreground &\n",
        ports[0], ports[1]
    )
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn secret(world: &World) {
    fs::write(world.path("secret"), SECRET).unwrap();
    fs::set_permissions(world.path("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// An application that is well as long as what it uploads comes back; where it and the file server listen.
pub(super) fn uploader(world: &World, own: SocketAddr, files: SocketAddr) {
    secret(world);
    let at = world.path("").display().to_string();
    let upload = format!(
        "[[health]]\nname = \"upload\"\ninterval = \"500ms\"\ntimeout = \"400ms\"\non_unhealthy = \"alert\"\n\
         [[health.http]]\nname = \"put\"\nurl = \"http://{files}/probe/${{random}}/check.bin\"\nmethod = \"PUT\"\n\
         random_body = \"1K\"\nsign = {{ secret_file = \"{at}secret\" }}\nexpect_status = 201\n\
         [[health.http]]\nname = \"get\"\nurl = \"http://{files}/probe/${{random}}/check.bin\"\nexpect_body_of = \"put\"\n"
    );
    application(world, &own.to_string(), &format!("url = \"http://{own}/\""));
    let drop_in = world.path("units/app.toml.d");
    fs::create_dir_all(&drop_in).unwrap();
    fs::write(drop_in.join("upload.toml"), upload).unwrap();
}

pub(super) fn file_server(world: &World, own: SocketAddr) {
    let metrics = free_port();
    let at = world.path("").display().to_string();
    fs::create_dir_all(world.path("uploads")).unwrap();
    secret(world);
    let config = format!(
        "[server]\nlisten = \"{own}\"\nmetrics_listen = \"127.0.0.1:{metrics}\"\n[uploads]\nstorage_path = \"{at}uploads\"\n\
         [security]\nsecret_files = [\"{at}secret\"]\n"
    );
    fs::write(world.path("hmac.toml"), config).unwrap();
    let unit = format!(
        "[service]\ntype = \"notify\"\nexec_start = \"{} --config {at}hmac.toml\"\n[[health]]\nname = \"live\"\n\
         http = \"http://{own}/health\"\ninterval = \"500ms\"\n",
        env!("CARGO_BIN_EXE_hmac-file-server")
    );
    world.unit("hmac-file-server", &unit);
}

const SERVICES: &str = "
[[service]]
name = \"hmac-file-server\"
nodes = [\"vm2\"]
[[service]]
name = \"prosody\"
nodes = [\"vm1\"]
depends_on = [{ service = \"hmac-file-server\", on_restart = \"reload_or_restart\" }]
[[service]]
name = \"ejabberd\"
nodes = [\"vm7\"]
depends_on = [{ service = \"hmac-file-server\", on_restart = \"reload\" }]
reload = [\"ejabberdctl\", \"reload-config\"]
restart = [\"ejabberdctl\", \"restart\"]
status = [\"pgrep\", \"-o\", \"-x\", \"beam.smp\"]
[[service]]
name = \"app\"
nodes = [\"vm3\", \"vm4\", \"vm5\"]
behind = [{ pool = \"apps\" }]
depends_on = [{ service = \"hmac-file-server\", on_restart = \"restart\" }]
[[pool]]
name = \"apps\"
kind = \"haproxy\"
hosts = [\"vm6\"]
min_active = 2
";

/// The machines of the guide: the file server on vm2, XMPP servers on vm1 and vm7, which has no daemon, applications on vm3 to vm5
/// behind a load balancer on vm6.
struct Guide {
    fleet: Fleet,
    driver: usize,
    hosts: World,
    front: u16,
    /// What ejabberd says.
    log: PathBuf,
    _sockets: tempfile::TempDir,
}

impl Drop for Guide {
    // Erlang leaves the session of whoever starts it.
    fn drop(&mut self) {
        hosts::cut(&self.hosts, "vm7");
    }
}

impl Guide {
    /// Plans are ordered at the `driver`, where the key of vm7 is known.
    fn begin(driver: usize) -> Self {
        let [front, ssh, files] = [free_port(), free_port(), free_port()];
        let local = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let mut ports = [free_port(), free_port(), free_port()].into_iter();
        let apps: Vec<u16> = ports.by_ref().collect();
        let mut hosts = World::new();
        fs::write(hosts.path("vm7.sh"), ejabberd([free_port(), free_port()])).unwrap();
        hosts::host(&hosts, "vm7", ssh, "ed25519");
        hosts.start();
        let folder = tempfile::Builder::new().prefix("rm-guide-").tempdir_in("/tmp").unwrap();
        let socket = folder.path().join("admin.sock").display().to_string();
        let host = format!("[[node]]\nname = \"vm7\"\naddress = \"127.0.0.1:{ssh}\"\ntransport = \"ssh\"\n");
        let fleet = Fleet::equipped(6, &format!("{host}{SERVICES}socket = \"{socket}\"\n"), |nth, world| match nth {
            1 => prosody(world),
            2 => file_server(world, local(files)),
            3..=5 => uploader(world, local(apps[nth - 3]), local(files)),
            _ => {
                let servers: String =
                    (3..=5).map(|nth| format!("  server vm{nth} 127.0.0.1:{}\n", apps[nth - 3])).collect();
                let config = format!(
                    "global\n  stats socket {socket} mode 600 level admin\ndefaults\n  mode http\n  timeout connect 2s\n  timeout client 30s\n  \
                     timeout server 30s\nfrontend front\n  bind 127.0.0.1:{front}\n  default_backend apps\nbackend apps\n{servers}"
                );
                fs::write(world.path("haproxy.cfg"), config).unwrap();
                world.unit("haproxy", "[service]\nexec_start = \"haproxy -W -f @/haproxy.cfg\"\n");
            }
        });
        let log = PathBuf::from(format!("/proc/{}/root/var/log/ejabberd/ejabberd.log", hosts.pid("vm7")));
        let guide = Self { fleet, driver, hosts, front, log, _sockets: folder };
        until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", ssh)).ok());
        let said = hosts::enrol(guide.hosts.folder.path(), guide.driver(), "vm7", &[]);
        assert_eq!(said.code, 0, "{said:?}");
        for nth in 3..=5 {
            guide.fleet.node(nth).until_status("app", "healthy", |status| status["health"] == "healthy");
        }
        until("haproxy answers", || ask(guide.front).ok());
        until_within(TAKEN_OVER, "ejabberd is up", || (guide.ejabberd_said("is started") > 0).then_some(()));
        guide
    }

    fn driver(&self) -> &World {
        self.fleet.node(self.driver)
    }

    /// How often ejabberd has said so.
    fn ejabberd_said(&self, what: &str) -> usize {
        fs::read_to_string(&self.log).unwrap_or_default().matches(what).count()
    }

    /// How often an XMPP server reloaded, prosody first.
    fn reloads(&self) -> [usize; 2] {
        let said = "Reloading configuration";
        [self.fleet.node(1).captured("prosody").matches(said).count(), self.ejabberd_said(said)]
    }

    /// What becomes of the services when the file server is restarted, each thing once.
    fn each_was_done_once(&self) {
        let fleet = &self.fleet;
        let generations: Vec<u64> = (3..=5).map(|nth| fleet.generation(nth, "app")).collect();
        assert_eq!((fleet.generation(2, "hmac-file-server"), generations), (2, vec![2, 2, 2]));
        assert_eq!(fleet.generation(1, "prosody"), 1, "it was reloaded and not restarted");
        assert_eq!(self.reloads(), [1, 1]);
        let server = fleet.began(2, "hmac-file-server");
        assert!((3..=5).all(|nth| fleet.began(nth, "app") > server), "the file server comes first");
    }

    fn runnable(&self) -> Said {
        until("nothing is in the way", || {
            let said = self.driver().ctl(&["fleet", "restart", "hmac-file-server", "--dry-run"]);
            (said.code == 0).then_some(said)
        })
    }
}

/// What an operator would go through by hand is said before, while it goes on, and after.
const SAID: [&str; 10] = [
    "✓ clients     app@vm3 (restart), app@vm4 (restart), app@vm5 (restart), ejabberd@vm7 (reload), prosody@vm1 (reload or restart)",
    "✓ Redis       it answers; 6 of 6 nodes are heard",
    "✓ under way   hmac-file-server@vm2: serving 127.0.0.1:",
    " in flight",
    "! operations  nobody is told",
    "app@vm4 well",
    "✓ restarted   done, and healthy since: hmac-file-server@vm2 (restart)",
    "✓ pools       requests go to apps/vm3, apps/vm4, apps/vm5 again",
    "app@vm3: probe upload healthy",
    "no probe uploads from ejabberd@vm7, prosody@vm1",
];

pub(crate) fn the_scenario_of_the_operators_guide_goes_as_it_is_written() {
    let guide = Guide::begin(1);
    let runnable = guide.runnable();
    for line in ["reload or restart prosody@vm1", "reload ejabberd@vm7", "restart app@vm4"] {
        assert!(runnable.out.contains(line), "{line}: {}", runnable.out);
    }
    let load = Load::on(guide.front);
    let done = guide.driver().ctl(&["fleet", "restart", "hmac-file-server"]);
    process::pause(300);
    let (went_well, failed) = load.end();
    assert_eq!(done.code, 0, "{done:?}");
    assert!(failed.is_empty(), "{} of {} failed: {}", failed.len(), went_well + failed.len(), failed[0]);
    assert!(went_well > 100, "{went_well} is no load");
    guide.each_was_done_once();
    for line in SAID {
        assert!(done.out.contains(line), "{line}\n{}", done.out);
    }
}

/// Has the file server restarted, and kills the manager that drives whenever there is something new of a task; how often that was.
pub(super) fn restart_killing_the_driver(driver: &World, news: impl Fn(&Value) -> Option<String>) -> usize {
    driver.ok(&["fleet", "restart", "hmac-file-server", "--no-wait"]);
    let id = newest_plan(driver).unwrap()["id"].clone();
    let (mut seen, mut kills) = (BTreeSet::new(), 0);
    until_within(TAKEN_OVER * 3, "the plan is over", || {
        let said = driver.ctl(&["plan", "show", "--json"]);
        // It has just died.
        let plan: Value = serde_json::from_str(&said.out).ok()?;
        let tasks = plan["waves"].as_array()?.iter().flat_map(|wave| wave["tasks"].as_array().unwrap());
        let now: Vec<String> = tasks.filter_map(&news).collect();
        let before = seen.len();
        seen.extend(now);
        let is_news = seen.len() > before;
        if plan["state"] == "running" && is_news {
            driver.kill_manager();
            kills += 1;
        }
        (plan["id"] == id && plan["state"] == "succeeded").then_some(())
    });
    println!("{kills} kills: {seen:#?}");
    kills
}

pub(crate) fn the_scenario_goes_on_though_its_driver_dies_at_each_step() {
    goes_on_though_its_driver_dies(6);
}

pub(crate) fn the_scenario_goes_on_though_its_driver_which_is_one_of_its_machines_dies_at_each_step() {
    goes_on_though_its_driver_dies(1);
}

fn goes_on_though_its_driver_dies(driver: usize) {
    let guide = Guide::begin(driver);
    guide.runnable();
    let load = Load::on(guide.front);
    let driver = guide.driver();
    let kills = restart_killing_the_driver(driver, |task| Some(format!("{} {}", task["instance"], task["stage"])));
    process::pause(300);
    let (went_well, failed) = load.end();
    println!("{went_well} requests");
    assert!(kills >= 6, "{kills} kills");
    assert!(failed.is_empty(), "{} of {} failed: {}", failed.len(), went_well + failed.len(), failed[0]);
    guide.each_was_done_once();
}

pub(crate) fn a_reload_that_lies_is_found_out_and_followed_by_a_restart_where_that_is_wanted() {
    let services = "[[service]]\nname = \"db\"\nnodes = [\"vm1\"]\n\
                    [[service]]\nname = \"liar\"\nnodes = [\"vm1\", \"vm2\"]\nverify_reload = [\"sh\", \"-c\", \"echo it has the old certificate; exit 1\"]\n\
                    depends_on = [{ service = \"db\", on_restart = \"reload_or_restart\" }]\n\
                    [[service]]\nname = \"honest\"\nnodes = [\"vm2\"]\nverify_reload = [\"true\"]\n\
                    depends_on = [{ service = \"db\", on_restart = \"reload\" }]\n";
    let reloads = format!("{APP}exec_reload = \"true\"\n");
    let fleet = Fleet::begin(2, services, &[("db", APP), ("liar", &reloads), ("honest", &reloads)]);
    fleet.node(1).ok(&["fleet", "restart", "db"]);
    let generations = [(1, "liar"), (2, "liar"), (2, "honest")].map(|(nth, unit)| fleet.generation(nth, unit));
    assert_eq!(generations, [2, 2, 1], "who lied was restarted");
    // Where nobody wants a restart someone has to look.
    let said = fleet.node(1).ctl(&["fleet", "reload", "liar"]);
    assert_eq!(said.code, 1, "{said:?}");
    let plan = fleet.until_plan(2, "paused");
    let reason = "at acting: the reload was done and had no effect: sh: exit code 1: it has the old certificate";
    assert!(plan["reason"].as_str().unwrap().ends_with(reason), "{plan:#}");
    assert_eq!(fleet.generation(2, "liar"), 2);
}
