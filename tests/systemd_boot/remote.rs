//! A host without a daemon, as the far end of ssh finds it: its services are systemd's.

use crate::{booted_with, machine::eventually};

const GUEST: &str =
    "[Service]\nExecStart=/bin/sh -c \"echo $$$$ > /run/guest.pid; while :; do sleep 1000 & wait; done\"\n";
const FLEET: &str = "name = 'test'\n[[node]]\nname = 'vm3'\ntransport = 'ssh'\n[[service]]\nname = 'guest'\nnodes = ['vm3']\n\
                     [[service]]\nname = 'absent'\nnodes = ['vm3']\n";

/// A line to the host: an order, or a promise.
fn line(wanted: &str) -> String {
    format!(r#"{{"v":1,"is":{{"from":"vm1","nth":1,"wanted":{wanted}}}}}"#)
}

fn order(step: u8, service: &str, deed: &str) -> String {
    let token = format!(r#"{{"epoch":1,"owner":"{:032x}"}}"#, 7);
    line(&format!(
        r#"{{"step":{{"token":{token},"order":{{"id":"{}","plan":"{:032x}","instance":"{service}@vm3","unit":"{service}","deed":"{deed}","expects":null,"deadline":30000000,"ttl":30000000}}}}}}"#,
        format!("{step:02x}").repeat(16),
        5
    ))
}

#[test]
fn a_host_without_a_daemon_restarts_a_service_of_systemd_and_sees_that_it_did() {
    let files = [("etc/systemd/system/guest.service", GUEST), ("etc/fleet/fleet.toml", FLEET)];
    let machine = booted_with("", files.map(|(path, text)| (path.to_owned(), text.to_owned())));
    machine.systemctl(&["start", "guest"]);
    eventually("it is up", || !machine.pid_of("guest").is_empty());
    let first = machine.pid_of("guest");
    let promise = line(&format!(r#"{{"promise":{{"token":{{"epoch":1,"owner":"{:032x}"}},"plan":"{:032x}"}}}}"#, 7, 5));
    let orders = [
        promise,
        order(1, "guest", "restart"),
        order(1, "guest", "restart"),
        order(2, "guest", "reload"),
        order(3, "absent", "restart"),
    ];
    let said = orders.iter().map(|line| format!("echo '{line}'; sleep 1; ")).collect::<String>();
    let far_end = "supervisord remote --node vm3 --fleet /etc/fleet/fleet.toml --state /var/lib/fleet";
    let heard = machine.run(&["sh", "-c", &format!("{{ sleep 1; {said} sleep 1; }} | {far_end}")]);
    let count = |text: &str| heard.matches(text).count();
    assert!(heard.contains(r#""guest@vm3":{"condition":"healthy","run":""#), "{heard}");
    assert!(heard.contains(r#""absent@vm3":{"condition":"bad","run":null}"#), "{heard}");
    assert_eq!(count(r#""over":{"done":{"before":""#), 2, "once as it was done, once as it was asked again: {heard}");
    assert!(heard.contains("systemctl: exit status: ") && heard.contains("Unit absent.service not found."), "{heard}");
    assert_eq!(count("Job type reload is not applicable for unit guest.service."), 1, "{heard}");
    let second = machine.pid_of("guest");
    assert_ne!(first, second);
    assert_eq!(machine.run(&["systemctl", "show", "guest", "--value", "--property", "MainPID"]), second);
}
