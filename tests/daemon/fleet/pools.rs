//! Load balancers besides HAProxy: nginx by its file, and any by a command.

use super::*;

pub(crate) fn no_request_fails_while_servers_behind_nginx_are_restarted() {
    let front = free_port();
    let folder = tempfile::Builder::new().prefix("rm-ng-").tempdir_in("/tmp").unwrap();
    let at = folder.path().display().to_string();
    let services = format!(
        "
[[service]]
name = \"app\"
nodes = [\"vm2\", \"vm3\"]
behind = [{{ pool = \"apps\", server = \"unix:{at}/{{node}}.sock\" }}]
[[pool]]
name = \"apps\"
kind = \"nginx\"
hosts = [\"vm1\"]
file = \"{at}/apps.conf\"
unit = \"nginx\"
"
    );
    let upstream = format!("upstream apps {{\n    server unix:{at}/vm2.sock;\n    server unix:{at}/vm3.sock;\n}}\n");
    fs::write(folder.path().join("apps.conf"), &upstream).unwrap();
    let fleet = Fleet::equipped(3, &services, |nth, world| match nth {
        1 => {
            let config = format!(
                "daemon off;\nuser root;\npid {at}/nginx.pid;\nerror_log stderr;\nworker_processes 2;\nevents {{}}\nhttp {{\n  access_log off;\n  \
                 include {at}/apps.conf;\n  server {{\n    listen 127.0.0.1:{front};\n    location / {{\n      proxy_pass http://apps;\n      \
                 proxy_next_upstream off;\n    }}\n  }}\n}}\n"
            );
            fs::write(world.path("nginx.conf"), config).unwrap();
            let file = world.path("nginx.conf").display().to_string();
            let unit = format!(
                "[service]\nexec_start = \"nginx -c {file}\"\nexec_reload = [\"nginx -t -q -c {file}\", \"kill -HUP $MAINPID\"]\n"
            );
            world.unit("nginx", &unit);
        }
        _ => {
            let socket = format!("{at}/vm{nth}.sock");
            application(world, &socket, &format!("url = \"http://localhost/\", unix_socket = \"{socket}\""));
        }
    });
    for nth in 2..=3 {
        fleet.node(nth).until_status("app", "healthy", |status| status["health"] == "healthy");
    }
    until("nginx answers", || ask(front).ok());
    let load = Load::on(front);
    let done = fleet.node(3).ctl(&["fleet", "restart", "app"]);
    process::pause(500);
    let (went_well, failed) = load.end();
    assert_eq!(done.code, 0, "{done:?}");
    assert!(failed.is_empty(), "{} of {} failed: {}", failed.len(), went_well + failed.len(), failed[0]);
    assert!(went_well > 100, "{went_well} is no load");
    assert_eq!((fleet.generation(2, "app"), fleet.generation(3, "app")), (2, 2));
    assert_eq!(
        fs::read_to_string(folder.path().join("apps.conf")).unwrap(),
        upstream,
        "all of them take requests again"
    );
    // What nginx does not take is not left there.
    let broken = format!("{upstream}nonsense;\n");
    fs::write(folder.path().join("apps.conf"), &broken).unwrap();
    let refused = fleet.node(3).ctl(&["fleet", "restart", "app"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let plan = fleet.until_plan(1, "paused");
    let reason = plan["reason"].as_str().unwrap();
    assert!(reason.contains("failed at draining") && reason.contains("its reload failed"), "{reason}");
    assert_eq!(fs::read_to_string(folder.path().join("apps.conf")).unwrap(), broken);
    assert_eq!((fleet.generation(2, "app"), fleet.generation(3, "app")), (2, 2));
}

pub(crate) fn a_load_balancer_behind_a_command_is_asked_told_and_believed() {
    let folder = tempfile::Builder::new().prefix("rm-hook-").tempdir_in("/tmp").unwrap();
    let at = folder.path().display().to_string();
    let hook = format!(
        "#!/bin/sh\ncd {at} || exit 1\ncase $1 in\nstatus) cat servers ;;\n\
         drain) echo \"drain $2\" >> calls; [ ! -e stuck ] || {{ echo the balancer is on fire; exit 1; }}; sed -i \"s/^$2 up/$2 drained/\" servers ;;\n\
         undrain) echo \"undrain $2\" >> calls; sed -i \"s/^$2 drained/$2 up/\" servers ;;\nesac\n"
    );
    fs::write(folder.path().join("hook"), hook).unwrap();
    fs::write(folder.path().join("servers"), "app-vm1 up\napp-vm2 up\n").unwrap();
    let services = format!(
        "
[[service]]
name = \"app\"
nodes = [\"vm1\", \"vm2\"]
behind = [{{ pool = \"apps\", server = \"app-{{node}}\" }}]
[[pool]]
name = \"apps\"
kind = \"hook\"
hosts = [\"vm1\"]
command = [\"sh\", \"{at}/hook\"]
"
    );
    let fleet = Fleet::begin(2, &services, &[("app", APP)]);
    let calls = || fs::read_to_string(folder.path().join("calls")).unwrap_or_default();
    let done = fleet.node(1).ctl(&["fleet", "restart", "app"]);
    assert_eq!(done.code, 0, "{done:?}");
    let expected = ["drain app-vm1", "undrain app-vm1", "drain app-vm2", "undrain app-vm2"];
    let mut turns: Vec<&str> = expected.to_vec();
    if calls().starts_with(expected[2]) {
        turns.rotate_left(2);
    }
    assert_eq!(calls().lines().collect::<Vec<_>>(), turns, "one after the other");
    assert_eq!((fleet.generation(1, "app"), fleet.generation(2, "app")), (2, 2));
    fs::write(folder.path().join("stuck"), "").unwrap();
    let refused = fleet.node(1).ctl(&["fleet", "restart", "app"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let plan = fleet.until_plan(1, "paused");
    let reason = plan["reason"].as_str().unwrap();
    assert!(reason.contains("the load balancer of pool apps refuses: the balancer is on fire"), "{reason}");
    assert_eq!((fleet.generation(1, "app"), fleet.generation(2, "app")), (2, 2));
    fs::write(folder.path().join("servers"), "app-vm1 up\n").unwrap();
    fleet.node(1).ok(&["plan", "abort", plan["id"].as_str().unwrap()]);
    let blocked = until("the missing server is seen", || {
        let said = fleet.node(1).ctl(&["fleet", "restart", "app", "--dry-run"]);
        said.out.contains("has no server \"app-vm2\" in pool apps").then_some(said)
    });
    assert_eq!(blocked.code, 2, "{blocked:?}");
}
