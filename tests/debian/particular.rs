//! What only some of the daemons have.

use crate::{
    daemon,
    machine::{Machine, eventually},
    record::Observer,
    supervisor::Supervisor,
};

/// The same under both: what `of` finds, systemd's first.
fn both<T>(machine: &Machine, file: &str, of: impl Fn(&Supervisor<'_>) -> T) -> [T; 2] {
    let daemon = daemon::of(file);
    daemon.prepare(machine);
    let theirs = of(&Supervisor::systemd(machine, daemon));
    [theirs, of(&Supervisor::roundsman(machine, daemon))]
}

#[test]
fn who_is_logged_in_by_ssh_stays_when_the_daemon_dies_and_when_it_is_stopped() {
    let daemon = daemon::of("ssh");
    let machine = Machine::boot(&daemon.files());
    let [theirs, ours] = both(&machine, "ssh", |supervisor| {
        let mut observer = Observer::new(&machine, daemon, supervisor);
        assert!(supervisor.order("start"));
        daemon.has_answered(&machine);
        let main = supervisor.state().pid;
        // A connection that is held open has a process of the daemon's.
        let hold =
            "(exec 3<>/dev/tcp/127.0.0.1/22; head -n 1 <&3 > /run/held; exec sleep 1000) > /dev/null 2>&1 & echo $!";
        let holder = machine.run(&["bash", "-c", hold]);
        eventually("it is connected", || machine.path("run/held").metadata().is_ok_and(|held| held.len() > 0));
        observer.mark();
        machine.run(&["kill", "-9", &main.to_string()]);
        assert!(supervisor.comes_back(main));
        daemon.has_answered(&machine);
        let killed = observer.record();
        assert!(supervisor.order("stop"));
        let stopped = observer.record();
        machine.run(&["kill", &holder]);
        eventually("the connection's process ends with it", || observer.record()["processes"].is_empty());
        observer.sweep();
        ["active", "result", "restarts", "survivors", "files"]
            .map(|field| (killed[field].clone(), stopped[field].clone()))
    });
    assert_eq!(ours, theirs);
    let [.., (killed, stopped), _] = &ours;
    assert_eq!((&**killed, &**stopped), ("sleep sshd", "sleep sshd"));
}

#[test]
fn ssh_that_is_not_to_be_run_is_not_and_that_is_no_failure() {
    let mut files = daemon::of("ssh").files();
    files.push(("etc/ssh/sshd_not_to_be_run".to_owned(), String::new()));
    let machine = Machine::boot(&files);
    let [theirs, ours] = both(&machine, "ssh", |supervisor| {
        let starts = supervisor.order("start");
        let state = supervisor.state();
        (starts, state.active, state.pid)
    });
    assert_eq!(ours, theirs);
    assert_eq!((&*ours.1, ours.2), ("inactive", 0));
}

#[test]
fn a_cluster_of_postgresql_stops_and_restarts_with_all_of_them() {
    let daemon = daemon::of("postgresql@");
    let mut files = daemon.files();
    files.push(("etc/roundsman/units/postgresql.toml".to_owned(), daemon::unit_file("postgresql")));
    let machine = Machine::boot(&files);
    let [theirs, ours] = both(&machine, "postgresql@", |supervisor| {
        let all = supervisor.of("postgresql");
        let cluster = || (supervisor.state().active, all.state().active, supervisor.state().pid);
        assert!(supervisor.order("start") && all.order("start"));
        daemon.has_answered(&machine);
        let (_, _, before) = cluster();
        assert!(all.order("restart"));
        daemon.has_answered(&machine);
        let (active, all_active, after) = cluster();
        assert_ne!(before, after, "it is another");
        assert!(all.order("stop"));
        eventually("the cluster stops too", || supervisor.state().active == "inactive");
        let (stopped, all_stopped, _) = cluster();
        [active, all_active, stopped, all_stopped, supervisor.state().result]
    });
    assert_eq!(ours, theirs);
    assert_eq!(ours, ["active", "active", "inactive", "inactive", "success"]);
}
