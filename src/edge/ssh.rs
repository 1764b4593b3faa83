//! ssh(1) to hosts without a daemon of ours: how it is called, and what its end means.
//!
//! The operators' own program, so that jump hosts, certificates and hardware keys work as they are used to; never their
//! settings, unless they are given for this (`config` in our directory). A host is known by its name in the fleet, and its
//! key is never taken on trust.

use std::{collections::BTreeMap, path::PathBuf};

use super::errand::ErrandEnd;
use crate::{
    alert::Program,
    base::{ExitStatus, TimeSpan},
    fleet::{FailureKind, Node, NodeName},
};

/// ssh(1): "exits with the exit status of the remote command or with 255 if an error occurred".
const OF_SSH: u8 = 255;
/// What a shell says of a program that is not there, sh(1).
const NOT_FOUND: u8 = 127;
/// What is asked for at a host. Whoever was enrolled has a command of its own there (`command=` in `authorized_keys`), so that
/// this is never looked for.
const ASKED_FOR: &str = "roundsman-remote";
/// The options that everyone who speaks to hosts for us needs, ssh_config(5).
const OPTIONS: [&str; 15] = [
    "BatchMode=yes",
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "IdentitiesOnly=yes",
    "ConnectTimeout=5",
    "ServerAliveInterval=5",
    "ServerAliveCountMax=3",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "PermitLocalCommand=no",
    "EscapeChar=none",
    "ControlPath=none",
    "LogLevel=ERROR",
];

/// What we have for it, in one directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// Where `id_ed25519`, `known_hosts` and perhaps `config` are.
    pub folder: PathBuf,
}

/// Why there is no conversation with a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshTrouble {
    /// What kind.
    pub kind: FailureKind,
    /// Why, and the likely remedy, for people.
    pub reason: String,
}

impl Ssh {
    /// The key that this node shows.
    pub fn identity(&self) -> PathBuf {
        self.folder.join("id_ed25519")
    }

    /// The keys of hosts, each by its name in the fleet.
    pub fn known_hosts(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }

    /// A conversation with a host: a line there is a line here, until one of both ends it.
    pub fn program(&self, name: &NodeName, node: &Node) -> Program {
        let config = self.folder.join("config");
        let config = if config.is_file() { config.display().to_string() } else { "none".to_owned() };
        let (host, port) = parts(&node.address);
        let own = [
            format!("HostKeyAlias={name}"),
            format!("UserKnownHostsFile={}", self.known_hosts().display()),
            format!("IdentityFile={}", self.identity().display()),
        ];
        let mut argv: Vec<String> = ["ssh", "-T", "-F", &config].map(str::to_owned).into();
        for option in OPTIONS.into_iter().map(str::to_owned).chain(own) {
            argv.extend(["-o".to_owned(), option]);
        }
        argv.extend(port.into_iter().flat_map(|port| ["-p".to_owned(), port.to_owned()]));
        argv.extend(["-l", &node.user, "--", host, ASKED_FOR].map(str::to_owned));
        Program {
            path: "ssh".to_owned(),
            argv,
            user: None,
            environment: BTreeMap::new(),
            // It is told to end by whoever holds the conversation.
            timeout: TimeSpan::INFINITY,
            unfit: None,
        }
    }
}

/// Host and port of an address: `host`, `host:port`, `[v6]:port`, `v6`.
pub fn parts(address: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    match address.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        Some(_) | None => (address, None),
    }
}

/// What the end of a conversation means; `words` is what was said that is none of ours.
pub fn trouble(name: &NodeName, end: Option<ErrandEnd>, words: &[String]) -> SshTrouble {
    let says = |what: &str| words.iter().any(|line| line.contains(what));
    let last = words.iter().rev().find(|line| !line.trim().is_empty()).map_or("", |line| line.trim());
    let enrol = format!("supervisorctl fleet enrol {name}");
    let trouble = |kind, reason: String| SshTrouble { kind, reason };
    match end {
        Some(ErrandEnd::Ended(ExitStatus::Exited(OF_SSH))) if says("Host key verification failed") => {
            let reason = if says("IDENTIFICATION HAS CHANGED") {
                format!(
                    "the key of {name} is not the one that is known: it was set up anew, or someone is in between; if you know why, {enrol} --anew"
                )
            } else {
                format!("the key of {name} is not known here; {enrol}")
            };
            trouble(FailureKind::HostKey, reason)
        }
        Some(ErrandEnd::Ended(ExitStatus::Exited(OF_SSH))) if says("Permission denied") => {
            trouble(FailureKind::Connection, format!("{name} does not let this node in ({last}); {enrol}"))
        }
        Some(ErrandEnd::Ended(ExitStatus::Exited(NOT_FOUND))) => trouble(
            FailureKind::Connection,
            format!("{name} has no helper of ours for this node's key ({last}); {enrol}"),
        ),
        Some(ErrandEnd::Ended(status)) if last.is_empty() => {
            trouble(FailureKind::Connection, format!("the conversation with {name} has ended ({status})"))
        }
        Some(ErrandEnd::Ended(status)) => {
            trouble(FailureKind::Connection, format!("no way to {name}: {last} ({status})"))
        }
        Some(ErrandEnd::Late) => trouble(FailureKind::Connection, format!("{name} took too long to answer")),
        Some(ErrandEnd::NotRun(failure)) => {
            trouble(FailureKind::Internal, format!("cannot run ssh: {failure}; install openssh-client"))
        }
        Some(ErrandEnd::Busy) | None => {
            trouble(FailureKind::Connection, format!("an earlier conversation with {name} has not ended"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Transport;

    fn node(address: &str) -> Node {
        Node { transport: Transport::Ssh, address: address.into(), user: "root".into(), zone: None, last: false }
    }

    #[test]
    fn an_address_is_a_host_and_perhaps_a_port() {
        for (address, host, port) in [
            ("vm3", "vm3", None),
            ("vm3:2222", "vm3", Some("2222")),
            ("10.0.0.1:22", "10.0.0.1", Some("22")),
            ("fe80::1%eth0", "fe80::1%eth0", None),
            ("[2001:db8::1]:22", "2001:db8::1", Some("22")),
            ("[2001:db8::1]", "2001:db8::1", None),
        ] {
            assert_eq!(parts(address), (host, port), "{address}");
        }
    }

    #[test]
    fn nothing_of_the_operators_settings_counts_and_no_key_is_taken_on_trust() {
        let ssh = Ssh { folder: "/etc/roundsman/ssh".into() };
        let argv = ssh.program(&NodeName::new("vm3").unwrap(), &node("10.0.0.3:2222")).argv;
        let text = argv.join(" ");
        assert!(text.starts_with("ssh -T -F none -o BatchMode=yes -o StrictHostKeyChecking=yes "), "{text}");
        assert!(text.contains(" -o HostKeyAlias=vm3 -o UserKnownHostsFile=/etc/roundsman/ssh/known_hosts "), "{text}");
        assert!(text.ends_with(" -p 2222 -l root -- 10.0.0.3 roundsman-remote"), "{text}");
    }

    #[test]
    fn an_end_says_what_is_to_be_done() {
        let name = NodeName::new("vm3").unwrap();
        let of = |code, words: &[&str]| {
            let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
            trouble(&name, Some(ErrandEnd::Ended(ExitStatus::Exited(code))), &words)
        };
        let changed =
            of(255, &["@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @", "Host key verification failed."]);
        assert!(
            changed.kind == FailureKind::HostKey && changed.reason.contains("someone is in between"),
            "{changed:?}"
        );
        let unknown = of(255, &["No ED25519 host key is known for vm3", "Host key verification failed."]);
        assert!(unknown.kind == FailureKind::HostKey && unknown.reason.ends_with("; supervisorctl fleet enrol vm3"));
        let refused = of(255, &["root@10.0.0.3: Permission denied (publickey)."]);
        assert!(refused.reason.contains("(publickey)") && refused.reason.contains("fleet enrol vm3"), "{refused:?}");
        let away = of(255, &["ssh: connect to host 10.0.0.3 port 22: Connection refused"]);
        assert_eq!((away.kind, away.reason.contains("Connection refused")), (FailureKind::Connection, true));
        assert!(of(127, &["sh: 1: roundsman-remote: not found"]).reason.contains("no helper"));
    }
}
