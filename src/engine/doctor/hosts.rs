//! Hosts of the fleet that are reached by ssh: whether this node could speak to them. That they answer is `fleet status`' matter.

use std::{fs, os::unix::fs::MetadataExt};

use super::{Case, report::Report};
use crate::fleet::{NodeName, Transport};

const TOPIC: &str = "ssh";

pub(super) fn look(case: &Case, report: &mut Report) {
    let Some(fleet) = &case.settings.fleet else { return };
    let hosts = fleet.topology.nodes.iter().filter(|(_, node)| node.transport == Transport::Ssh);
    let hosts: Vec<&NodeName> = hosts.map(|(name, _)| name).collect();
    let Some(first) = hosts.first() else { return };
    let identity = fleet.ssh.identity();
    let place = identity.display().to_string();
    match fs::metadata(&identity) {
        Ok(meta) if meta.mode() & 0o077 != 0 => {
            let message = format!("others can read it (mode {:04o}), so ssh does not use it", meta.mode() & 0o7777);
            report.fail(
                TOPIC,
                &*place,
                message,
                format!("chmod 600 {place}; if someone has read it, delete it and enrol all hosts again"),
            );
        }
        Ok(_) => report.ok(TOPIC, &*place, "this node's key"),
        Err(error) => {
            let message = format!("this node has no key ({error}), and reaches {} host(s) by ssh", hosts.len());
            return report.fail(TOPIC, &*place, message, format!("supervisorctl fleet enrol {first}"));
        }
    }
    let known = fs::read_to_string(fleet.ssh.known_hosts()).unwrap_or_default();
    for name in hosts {
        let is_known = known.lines().any(|line| line.split(' ').next() == Some(name.as_str()));
        if is_known {
            report.ok(TOPIC, name.as_str(), "it is enrolled");
        } else {
            report.fail(TOPIC, name.as_str(), "it is not enrolled here", format!("supervisorctl fleet enrol {name}"));
        }
    }
}
