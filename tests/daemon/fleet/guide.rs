//! The operators' guide: a file server restarts; XMPP servers that hand out its addresses reload, one of them on a host without a
//! daemon; applications that use it restart, one after the other, behind a load balancer that drains each.

use super::*;

/// An XMPP server that keeps nothing and speaks to nobody.
fn prosody(world: &World) {
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

fn file_server(world: &World) {
    let (port, metrics) = (free_port(), free_port());
    let at = world.path("").display().to_string();
    fs::create_dir_all(world.path("uploads")).unwrap();
    fs::write(world.path("secret"), "0123456789abcdef0123456789abcdef").unwrap();
    fs::set_permissions(world.path("secret"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let config = format!(
        "[server]\nlisten = \"127.0.0.1:{port}\"\nmetrics_listen = \"127.0.0.1:{metrics}\"\n[uploads]\nstorage_path = \"{at}uploads\"\n\
         [security]\nsecret_files = [\"{at}secret\"]\n"
    );
    fs::write(world.path("hmac.toml"), config).unwrap();
    let unit = format!(
        "[service]\ntype = \"notify\"\nexec_start = \"{} --config {at}hmac.toml\"\n[[health]]\nname = \"live\"\n\
         http = \"http://127.0.0.1:{port}/health\"\ninterval = \"500ms\"\n",
        env!("CARGO_BIN_EXE_hmac-file-server")
    );
    world.unit("hmac-file-server", &unit);
}

/// Erlang leaves the session of whoever starts it: it ends with the test, however that ends.
struct Ends<'a>(&'a World);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        hosts::cut(self.0, "vm7");
    }
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

pub(crate) fn the_scenario_of_the_operators_guide_goes_as_it_is_written() {
    let [front, ssh] = [free_port(), free_port()];
    let mut ports = [free_port(), free_port(), free_port()].into_iter();
    let apps: Vec<u16> = ports.by_ref().collect();
    let mut hosts = World::new();
    fs::write(hosts.path("vm7.sh"), ejabberd([free_port(), free_port()])).unwrap();
    hosts::host(&hosts, "vm7", ssh, "ed25519");
    hosts.start();
    let _ends = Ends(&hosts);
    let folder = tempfile::Builder::new().prefix("rm-guide-").tempdir_in("/tmp").unwrap();
    let socket = folder.path().join("admin.sock").display().to_string();
    let host = format!("[[node]]\nname = \"vm7\"\naddress = \"127.0.0.1:{ssh}\"\ntransport = \"ssh\"\n");
    let fleet = Fleet::equipped(6, &format!("{host}{SERVICES}socket = \"{socket}\"\n"), |nth, world| match nth {
        1 => prosody(world),
        2 => file_server(world),
        3..=5 => application_on(world, apps[nth - 3]),
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
    let driver = fleet.node(1);
    until("sshd listens", || std::net::TcpStream::connect(("127.0.0.1", ssh)).ok());
    let said = hosts::enrol(&hosts, driver, "vm7", &[]);
    assert_eq!(said.code, 0, "{said:?}");
    for nth in 3..=5 {
        fleet.node(nth).until_status("app", "healthy", |status| status["health"] == "healthy");
    }
    until("haproxy answers", || ask(front).ok());
    let root = PathBuf::from(format!("/proc/{}/root", hosts.pid("vm7")));
    let log = || fs::read_to_string(root.join("var/log/ejabberd/ejabberd.log")).unwrap_or_default();
    until_within(TAKEN_OVER, "ejabberd is up", || log().contains("is started").then_some(()));
    let runnable = until("nothing is in the way", || {
        let said = driver.ctl(&["fleet", "restart", "hmac-file-server", "--dry-run"]);
        (said.code == 0).then_some(said)
    });
    for line in ["reload or restart prosody@vm1", "reload ejabberd@vm7", "restart app@vm4"] {
        assert!(runnable.out.contains(line), "{line}: {}", runnable.out);
    }
    let prosody_pid = driver.pid("prosody");
    let load = Load::on(front);
    let done = driver.ctl(&["fleet", "restart", "hmac-file-server"]);
    process::pause(300);
    let (went_well, failed) = load.end();
    assert_eq!(done.code, 0, "{done:?}");
    assert!(failed.is_empty(), "{} of {} failed: {}", failed.len(), went_well + failed.len(), failed[0]);
    assert!(went_well > 100, "{went_well} is no load");
    let generations: Vec<u64> = (3..=5).map(|nth| fleet.generation(nth, "app")).collect();
    assert_eq!((fleet.generation(2, "hmac-file-server"), generations), (2, vec![2, 2, 2]));
    assert_eq!(driver.pid("prosody"), prosody_pid, "it was reloaded and not restarted");
    assert!(driver.captured("prosody").contains("Reloading configuration"), "{}", driver.captured("prosody"));
    assert!(log().contains("Reloading configuration"), "{}", log());
    let server = fleet.began(2, "hmac-file-server");
    assert!((3..=5).all(|nth| fleet.began(nth, "app") > server), "the file server comes first");
}
