//! Consul that does what it should, and Consul that does not.

use std::{
    collections::BTreeSet,
    fs,
    future::ready,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
};

use agents::{Agents, Fault};
use serde_json::{Value, json};

use super::*;
use crate::{
    base::{TimeSpan, UnitName},
    edge::balance,
    fleet::{AfterDrain, Argv, PoolKind},
};

#[expect(
    clippy::disallowed_methods,
    reason = "it stands for other programs, which have clocks and threads of their own"
)]
#[path = "../../../../tests/support/consul.rs"]
mod agents; // agents to speak to

const PLAN: PlanId = PlanId(0x3f2a);
const WITHIN: Duration = Duration::from_secs(3);

/// The machine `vm1`, and what it has to remember.
struct Vm1 {
    node: NodeName,
    kept: Mutex<BTreeMap<Box<str>, String>>,
    is_full: bool,
}

impl Machine for Vm1 {
    fn node(&self) -> &NodeName {
        &self.node
    }

    fn reload(&self, _: &UnitName) -> impl Future<Output = Result<(), String>> + Send {
        ready(Err("nothing is reloaded".to_owned()))
    }

    fn run(
        &self,
        _: (&PoolName, &'static str),
        _: Argv,
        _: Duration,
    ) -> impl Future<Output = Result<(bool, Vec<u8>), String>> + Send {
        ready(Err("nothing is run".to_owned()))
    }

    fn keep(
        &self,
        (_, server): (&PoolName, &str),
        definition: Option<String>,
    ) -> impl Future<Output = Result<(), String>> + Send {
        if self.is_full {
            return ready(Err("the disk is full".to_owned()));
        }
        let mut kept = self.kept.lock().unwrap();
        match definition {
            Some(definition) => kept.insert(server.into(), definition),
            None => kept.remove(server),
        };
        ready(Ok(()))
    }

    fn kept(&self, _: &PoolName) -> impl Future<Output = Result<BTreeMap<Box<str>, String>, String>> + Send {
        ready(Ok(self.kept.lock().unwrap().clone()))
    }
}

/// Two instances, `app-vm1` here and `app-vm2` elsewhere, and a pool of them.
struct Bench {
    agents: Agents,
    vm1: Vm1,
    name: PoolName,
    pool: Pool,
}

fn defined(server: &str) -> Value {
    json!({"ID": server, "Name": "app", "Tags": ["v1"], "Meta": {"a": "b"}, "Port": 8080, "Address": "10.0.0.1"})
}

impl Bench {
    fn new(change: impl FnOnce(&mut Consul)) -> Self {
        let agents = Agents::start();
        agents.has("vm1", defined("app-vm1"));
        agents.has("vm2", defined("app-vm2"));
        let mut consul = Consul {
            url: agents.url.as_str().into(),
            service: "app".into(),
            mode: ConsulMode::Maintenance,
            propagation: TimeSpan::from_millis(1),
            token_file: None,
            ca_file: None,
            event: None,
        };
        change(&mut consul);
        let kind = PoolKind::Consul(consul);
        let pool =
            Pool { hosts: BTreeSet::new(), balancer: None, kind, min_active: 1, after_drain: AfterDrain::Proceed };
        let node = NodeName::new("vm1").unwrap();
        let vm1 = Vm1 { node, kept: Mutex::new(BTreeMap::new()), is_full: false };
        Self { agents, vm1, name: PoolName::new("apps").unwrap(), pool }
    }

    fn deregistering(file: Option<&str>) -> Self {
        Self::new(|consul| consul.mode = ConsulMode::Deregister(file.map(Box::from)))
    }

    async fn drain(&self, server: &str) -> Result<(), String> {
        let drained = balance::drain(&self.vm1, (&self.name, &self.pool), server, Some(PLAN), WITHIN).await;
        drained.map_err(|error| error.to_string())
    }

    async fn undrain(&self, server: &str) -> Result<(), String> {
        let undrained = balance::undrain(&self.vm1, &self.name, &self.pool.kind, server, PLAN).await;
        undrained.map_err(|error| error.to_string())
    }

    async fn servers(&self) -> Servers {
        balance::servers(&self.vm1, &self.name, &self.pool.kind).await.unwrap()
    }

    fn ordered(&self) -> Vec<String> {
        self.agents.orders().into_iter().map(|(_, order)| order).collect()
    }
}

fn servers(vm1: bool, vm2: bool) -> Servers {
    [("app-vm1".into(), vm1), ("app-vm2".into(), vm2)].into()
}

#[tokio::test]
async fn an_instance_is_drained_by_maintenance_with_the_plan_as_its_reason_and_undrained_by_its_end() {
    let bench = Bench::new(|consul| consul.event = Some("app-restarted".into()));
    assert_eq!(bench.servers().await, servers(true, true));
    bench.drain("app-vm1").await.unwrap();
    let reason = format!("roundsman plan {PLAN}");
    assert_eq!(bench.agents.maintenance("vm1", "app-vm1"), Some(reason));
    assert_eq!(bench.servers().await, servers(false, true));
    bench.drain("app-vm1").await.unwrap();
    assert_eq!(bench.ordered().len(), 1, "what is done is not done again: {:?}", bench.ordered());
    bench.undrain("app-vm1").await.unwrap();
    assert_eq!(bench.servers().await, servers(true, true));
    let event = ("app-restarted".to_owned(), format!("{PLAN} app-vm1"));
    assert_eq!(bench.agents.events(), std::slice::from_ref(&event));
    bench.undrain("app-vm1").await.unwrap();
    assert_eq!(bench.agents.events(), [event.clone(), event], "whoever watches knows it by its words");
    assert_eq!(bench.agents.least(), 1);
}

#[tokio::test]
async fn the_last_instance_is_not_drained() {
    let bench = Bench::new(|_| ());
    bench.agents.maintain("vm2", "app-vm2", Some("disk"));
    let said = bench.drain("app-vm1").await.unwrap_err();
    assert_eq!(said, "pool apps would have 0 active servers without app-vm1, and must keep 1");
    let bench = Bench::deregistering(None);
    bench.agents.loses("vm2", "app-vm2");
    assert!(bench.drain("app-vm1").await.unwrap_err().contains("must keep 1"));
    assert!(bench.agents.definition("vm1", "app-vm1").is_some() && bench.ordered().is_empty());
}

#[tokio::test]
async fn somebody_elses_maintenance_is_drained_enough_and_stays() {
    for bench in [Bench::new(|_| ()), Bench::deregistering(None)] {
        bench.agents.maintain("vm1", "app-vm1", Some("a new disk"));
        bench.drain("app-vm1").await.unwrap();
        bench.undrain("app-vm1").await.unwrap();
        assert_eq!(bench.agents.maintenance("vm1", "app-vm1").as_deref(), Some("a new disk"));
        assert!(bench.ordered().is_empty(), "{:?}", bench.ordered());
    }
}

#[tokio::test]
async fn what_an_agent_says_is_done_and_does_not_show_is_not_done() {
    let bench = Bench::new(|_| ());
    bench.agents.fails("maintenance", Fault::Forgets, 1);
    let said = bench.drain("app-vm1").await.unwrap_err();
    assert!(said.contains("app-vm1 was taken out at http://") && said.contains("is still offered after 2 s"), "{said}");
    bench.drain("app-vm1").await.unwrap();
    bench.agents.fails("maintenance", Fault::Forgets, 2);
    bench.undrain("app-vm1").await.unwrap();
    assert_eq!(bench.agents.maintenance("vm1", "app-vm1"), None, "it was told again");
    bench.agents.catalog_stands_still(true);
    let said = bench.drain("app-vm1").await.unwrap_err();
    assert!(said.contains("does the agent reach its servers (consul members)?"), "{said}");
}

#[tokio::test]
async fn propagation_is_waited_for() {
    let bench = Bench::new(|consul| consul.propagation = TimeSpan::from_secs(1));
    let began = Instant::now();
    bench.drain("app-vm1").await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_deregistered_instance_is_registered_again_as_it_was() {
    let bench = Bench::deregistering(None);
    bench.drain("app-vm1").await.unwrap();
    assert_eq!(bench.agents.definition("vm1", "app-vm1"), None);
    assert_eq!(bench.servers().await, servers(false, true), "it is known, and takes nothing");
    bench.drain("app-vm1").await.unwrap();
    // The agent loses what it was given.
    bench.agents.fails("register", Fault::Forgets, 2);
    bench.undrain("app-vm1").await.unwrap();
    let again = bench.agents.definition("vm1", "app-vm1").unwrap();
    for (key, value) in defined("app-vm1").as_object().unwrap() {
        assert_eq!(again[key], *value, "{key} of {again}");
    }
    assert!(again["ContentHash"].is_null() && again["Service"].is_null(), "{again}");
    assert!(bench.vm1.kept.lock().unwrap().is_empty());
    bench.undrain("app-vm1").await.unwrap();
}

#[tokio::test]
async fn nothing_is_deregistered_before_how_it_was_registered_is_on_the_disk() {
    let mut bench = Bench::deregistering(None);
    bench.vm1.is_full = true;
    let said = bench.drain("app-vm1").await.unwrap_err();
    assert_eq!(said, "app-vm1 of pool apps stays registered: cannot keep how it is: the disk is full");
    assert!(bench.ordered().is_empty());
}

#[tokio::test]
async fn an_instance_with_checks_is_deregistered_only_if_a_file_says_how_they_are_done() {
    let mut with_check = defined("app-vm1");
    with_check["Check"] = json!({"HTTP": "http://10.0.0.1:8080/health", "Interval": "30s"});
    let bench = Bench::deregistering(None);
    bench.agents.has("vm1", with_check.clone());
    let said = bench.drain("app-vm1").await.unwrap_err();
    assert!(said.contains("app-vm1 has checks, and no agent says how they are done; say definition"), "{said}");
    assert!(bench.ordered().is_empty());
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::deregistering(Some(&format!("{}/{{server}}.json", folder.path().display())));
    bench.agents.has("vm1", with_check.clone());
    assert!(bench.drain("app-vm1").await.unwrap_err().contains("app-vm1.json: No such file"));
    fs::write(folder.path().join("app-vm1.json"), defined("app-vm2").to_string()).unwrap();
    assert!(bench.drain("app-vm1").await.unwrap_err().contains("its ID is Some(\"app-vm2\")"));
    fs::write(folder.path().join("app-vm1.json"), with_check.to_string()).unwrap();
    bench.drain("app-vm1").await.unwrap();
    fs::remove_file(folder.path().join("app-vm1.json")).unwrap();
    bench.undrain("app-vm1").await.unwrap();
    assert_eq!(bench.agents.definition("vm1", "app-vm1"), Some(with_check));
    assert_eq!(bench.servers().await, servers(false, true), "it is offered when its check has passed");
}

#[tokio::test]
async fn whatever_an_agent_does_instead_is_said_with_what_is_to_be_done() {
    let cases = [
        ("maintenance", Fault::Says(500), "answers 500: rpc error: No cluster leader"),
        ("maintenance", Fault::Says(301), "redirects are not followed, say the url of the agent itself"),
        ("maintenance", Fault::Says(403), "; say token_file"),
        ("agent/health", Fault::Forgets, "that is no answer of a consul agent, look at url"),
        ("v1/health", Fault::Endless, "its answer has more than 8388608 bytes"),
        ("v1/health", Fault::Hangs, "no answer within 5 s"),
        ("maintenance", Fault::Late, "no answer within 5 s"),
    ];
    for (part, fault, expected) in cases {
        let bench = Bench::new(|_| ());
        bench.agents.fails(part, fault, 1);
        let said = bench.drain("app-vm1").await.unwrap_err();
        assert!(said.contains(expected) && said.contains("pool apps"), "{fault:?}: {said}");
        bench.drain("app-vm1").await.unwrap();
    }
    let bench = Bench::new(|consul| consul.url = "http://127.0.0.1:1".into());
    let said = bench.drain("app-vm1").await.unwrap_err();
    assert!(said.starts_with("cannot ask the consul agent of pool apps at http://127.0.0.1:1: "), "{said}");
    let bench = Bench::new(|_| ());
    let said = bench.drain("app").await.unwrap_err();
    assert!(
        said.contains("pool apps has no server \"app\" (at http://") && said.contains("app-vm1 is registered as app"),
        "{said}"
    );
    let bench = Bench::new(|consul| consul.service = "apps".into());
    let said = bench.drain("app-vm1").await.unwrap_err();
    assert!(said.contains("nothing is registered as apps at http://"), "{said}");
}

#[tokio::test]
async fn a_token_is_read_from_a_file_of_its_own_and_said_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("token");
    let shown = file.display().to_string();
    fs::write(&file, "b1gs-ecret\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let bench = Bench::new(|consul| consul.token_file = Some(shown.as_str().into()));
    bench.agents.wants("b1gs-ecret");
    let said = bench.drain("app-vm1").await.unwrap_err();
    assert!(said.contains("token_file") && said.contains(&format!("chmod 0600 {shown}")), "{said}");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    bench.agents.fails("maintenance", Fault::Blabs, 1);
    let said = bench.drain("app-vm1").await.unwrap_err();
    assert!(said.contains("ACL not found: …; the token in") && said.contains("needs service:write of app"), "{said}");
    bench.drain("app-vm1").await.unwrap();
    fs::write(&file, "another").unwrap();
    assert!(bench.undrain("app-vm1").await.unwrap_err().contains("answers 403: Permission denied"));
}

#[tokio::test]
async fn an_event_that_is_not_fired_fails_the_step_and_the_instance_is_offered() {
    let bench = Bench::new(|consul| consul.event = Some("app-restarted".into()));
    bench.drain("app-vm1").await.unwrap();
    bench.agents.fails("event", Fault::Says(403), 1);
    let said = bench.undrain("app-vm1").await.unwrap_err();
    assert!(said.contains("app-vm1 is offered again, and the event app-restarted is not fired"), "{said}");
    assert_eq!(bench.servers().await, servers(true, true));
}

/// Ends with the test, however that ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[expect(clippy::disallowed_methods, reason = "a test makes a certificate, and a server, as people do")]
fn openssl(folder: &Path, words: &str) -> Server {
    let mut command = Command::new("openssl");
    command
        .args(words.split(' '))
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Server(command.spawn().unwrap())
}

#[tokio::test]
async fn over_tls_an_agent_is_believed_by_the_authorities_of_its_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::write(at.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for words in [
        format!("req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority"),
        format!("req -x509 {key} -keyout other.key -out other.pem -subj /CN=other"),
        format!("req {key} -keyout own.key -out own.csr -subj /CN=localhost"),
        "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out own.pem -extfile names".to_owned(),
    ] {
        assert!(openssl(at, &words).0.wait().unwrap().success(), "openssl {words}");
    }
    let server = openssl(at, &format!("s_server -accept 127.0.0.1:{port} -cert own.pem -key own.key -www -quiet"));
    let bench = |file: Option<&str>| {
        Bench::new(|consul| {
            consul.url = format!("https://localhost:{port}").into();
            consul.ca_file = file.map(|file| at.join(file).display().to_string().into());
        })
    };
    let believed = bench(Some("ca.pem"));
    // It is somebody's page, and he has shown who he is.
    while !believed.drain("app-vm1").await.unwrap_err().contains("that is no answer of a consul agent") {
        sleep(PAUSE).await;
    }
    for file in [None, Some("other.pem")] {
        let said = bench(file).drain("app-vm1").await.unwrap_err();
        assert!(said.starts_with("cannot ask the consul agent") && said.contains("certificate"), "{said}");
    }
    let said = bench(Some("names")).drain("app-vm1").await.unwrap_err();
    assert!(said.contains("cannot use ca_file") && said.contains("it holds no certificate"), "{said}");
    drop(server);
}
