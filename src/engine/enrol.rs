//! A host without a daemon becomes a node of the fleet: our program and `fleet.toml` are brought there, this node's key may run the
//! one and nothing else, and the host's key is known here.
//!
//! The way there is the operator's own ssh, as they are used to it: it asks them for what it needs, and they have decided
//! whether that is the host. So its keys, read over that way, are taken for its.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::{
    base::Chain,
    edge::ssh::{self, Ssh},
    engine::settings::FleetSettings,
    fleet::{Node, NodeName, Transport},
    wire::fleet::{FromHost, read},
};

/// Where our program lies on hosts.
const PROGRAM: &str = "/usr/local/lib/roundsman/supervisord";
/// What is done at the host. `BYTES` of standard input are `fleet.toml`, the rest is the program.
const SCRIPT: &str = include_str!("enrol.sh");

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnrolOptions {
    /// Which node.
    pub node: String,
    /// Whom the operator logs in as.
    pub login: String,
    /// A file for ssh(1) instead of the operator's usual one.
    pub ssh_config: Option<PathBuf>,
    /// Whether another key of the host may take the place of the one that is known.
    pub anew: bool,
}

/// Why it did not come about.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// What was asked for.
    #[error("{0}")]
    Wrong(String),
    /// A file here.
    #[error("cannot read {0}")]
    Unreadable(PathBuf, #[source] io::Error),
    /// A file here.
    #[error("cannot write {0}")]
    File(PathBuf, #[source] io::Error),
    /// A program here.
    #[error("cannot run {0}; install openssh-client")]
    Run(&'static str, #[source] io::Error),
    /// At the host.
    #[error("{0} at {1} has failed (exit code {2}); nothing was changed here")]
    Remote(&'static str, String, i32),
}

/// Enrols a host and speaks to it once; what was done, for people.
///
/// # Errors
/// See [`EnrolError`].
pub fn enrol(settings: Option<&FleetSettings>, options: &EnrolOptions) -> Result<String, EnrolError> {
    let wrong = |reason: String| EnrolError::Wrong(reason);
    let settings =
        settings.ok_or_else(|| wrong("this daemon is in no fleet: add [fleet] to its settings".to_owned()))?;
    let name = NodeName::new(&options.node).map_err(|error| wrong(error.to_string()))?;
    let node = settings.topology.nodes.get(&name);
    let node = node.ok_or_else(|| wrong(format!("there is no node {name} in fleet.toml")))?;
    if node.transport != Transport::Ssh {
        let reason = format!("{name} is reached by {}; say transport = \"ssh\" in fleet.toml", node.transport.as_str());
        return Err(wrong(reason));
    }
    let fleet =
        fs::read_to_string(&settings.file).map_err(|error| EnrolError::Unreadable(settings.file.clone(), error))?;
    let key = own_key(&settings.ssh, &settings.node)?;
    let known = known_keys(&settings.ssh, &name);
    let keys = bring(settings, (&name, node), &fleet, &key, options)?;
    if let Some(changed) = known.iter().find(|known| !keys.contains(known))
        && !options.anew
    {
        let reason = format!(
            "{name} has another key than the one that is known here ({changed}); if it was set up anew, say --anew"
        );
        return Err(wrong(reason));
    }
    keep_keys(&settings.ssh, &name, &keys)?;
    greet(&settings.ssh, &name, node)
}

/// This node's public key, made if there is none.
fn own_key(ssh: &Ssh, own: &NodeName) -> Result<String, EnrolError> {
    let identity = ssh.identity();
    let failed = |error| EnrolError::File(identity.clone(), error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&ssh.folder).map_err(failed)?;
    if !identity.exists() {
        let comment = format!("roundsman@{own}");
        let made = program("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", &comment, "-f"])
            .arg(&identity)
            .status()
            .map_err(|error| EnrolError::Run("ssh-keygen", error))?;
        if !made.success() {
            return Err(failed(io::Error::other("ssh-keygen has failed")));
        }
    }
    let public = identity.with_extension("pub");
    fs::read_to_string(&public).map(|key| key.trim().to_owned()).map_err(|error| EnrolError::Unreadable(public, error))
}

/// Brings everything to the host; its keys.
fn bring(
    settings: &FleetSettings,
    (name, node): (&NodeName, &Node),
    fleet: &str,
    key: &str,
    options: &EnrolOptions,
) -> Result<Vec<String>, EnrolError> {
    let own = fs::read("/proc/self/exe").map_err(|error| EnrolError::Unreadable("/proc/self/exe".into(), error))?;
    let words = [
        ("NODE", name.to_string()),
        ("DRIVER", settings.node.to_string()),
        ("LOGIN", node.user.to_string()),
        ("PROGRAM", PROGRAM.to_owned()),
        ("BYTES", fleet.len().to_string()),
        ("KEY", key.to_owned()),
    ];
    // Names have no quotes, and neither has a key.
    let set: String = words.iter().map(|(word, value)| format!("{word}='{value}'; ")).collect();
    let script = format!("{set}{SCRIPT}");
    let login = &options.login;
    let script = if login == "root" { script } else { format!("exec sudo -n sh -c {}", quoted(&script)) };
    let (host, port) = ssh::parts(&node.address);
    let mut command = program("ssh");
    command.args(["-T", "-l", login]);
    command.args(options.ssh_config.iter().flat_map(|file| [Path::new("-F"), file]));
    command.args(port.into_iter().flat_map(|port| ["-p", port]));
    command.args(["--", host]).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| EnrolError::Run("ssh", error))?;
    if let Some(mut input) = child.stdin.take() {
        // What stops it before the end says why itself.
        input.write_all(fleet.as_bytes()).and_then(|()| input.write_all(&own)).ok();
    }
    let out = child.wait_with_output().map_err(|error| EnrolError::Run("ssh", error))?;
    if !out.status.success() {
        return Err(EnrolError::Remote("enrolling", name.to_string(), out.status.code().unwrap_or(-1)));
    }
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let keys: Vec<String> = text.lines().filter_map(key_of).collect();
    if keys.is_empty() {
        return Err(EnrolError::Wrong(format!("{name} has told no host key (/etc/ssh/ssh_host_*_key.pub)")));
    }
    Ok(keys)
}

/// Type and key of a line of a public key's file.
fn key_of(line: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let is_word = |word: &str| word.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=-@.".contains(&b));
    (is_word(kind) && is_word(key) && key.len() > 40).then(|| format!("{kind} {key}"))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The keys of a host that are known, without its name.
fn known_keys(ssh: &Ssh, name: &NodeName) -> Vec<String> {
    let text = fs::read_to_string(ssh.known_hosts()).unwrap_or_default();
    let own = text.lines().filter_map(|line| line.split_once(' ')).filter(|(host, _)| *host == name.as_str());
    own.map(|(_, key)| key.to_owned()).collect()
}

/// Its keys and no others from now on.
fn keep_keys(ssh: &Ssh, name: &NodeName, keys: &[String]) -> Result<(), EnrolError> {
    let path = ssh.known_hosts();
    let before = fs::read_to_string(&path).unwrap_or_default();
    let others = before.lines().filter(|line| line.split(' ').next() != Some(name.as_str())).map(str::to_owned);
    let text: String = others.chain(keys.iter().map(|key| format!("{name} {key}"))).map(|line| line + "\n").collect();
    let beside = path.with_extension("new");
    let written = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&beside);
    let written = written.and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.and_then(|()| fs::rename(&beside, &path)).map_err(|error| EnrolError::File(path, error))
}

/// Speaks to it as a plan does.
fn greet(ssh: &Ssh, name: &NodeName, node: &Node) -> Result<String, EnrolError> {
    let argv = ssh.program(name, node).argv;
    let mut command = program("ssh");
    command.args(argv.iter().skip(1)).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|error| EnrolError::Run("ssh", error))?;
    let said = first_line(&mut child);
    drop(child.stdin.take());
    let status = child.wait().map_err(|error| EnrolError::Run("ssh", error))?;
    match said.as_deref().map(read::<FromHost>) {
        Some(Ok(FromHost::Beat(beat))) => {
            let services: BTreeMap<_, _> =
                beat.report.instances.iter().map(|(it, seen)| (it, seen.condition)).collect();
            let services: Vec<String> = services.iter().map(|(it, how)| format!("{it} {}", how.as_str())).collect();
            Ok(format!("{name} is enrolled (supervisord {}): {}", beat.version, services.join(", ")))
        }
        Some(Err(error)) => {
            Err(EnrolError::Wrong(format!("{name} is enrolled, and says what is not understood: {}", Chain(&error))))
        }
        Some(Ok(FromHost::Word(_))) | None => {
            Err(EnrolError::Remote("the first conversation", name.to_string(), status.code().unwrap_or(-1)))
        }
    }
}

fn first_line(child: &mut Child) -> Option<String> {
    let mut line = String::new();
    BufReader::new(child.stdout.take()?).read_line(&mut line).ok()?;
    line.starts_with('{').then_some(line)
}

#[expect(
    clippy::disallowed_methods,
    reason = "ssh asks the operator on their terminal, and nothing of it outlives this command"
)]
fn program(name: &str) -> Command {
    Command::new(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_host_take_the_place_of_those_before_and_leave_others_alone() {
        let dir = tempfile::tempdir().unwrap();
        let ssh = Ssh { folder: dir.path().to_owned() };
        let (vm3, vm33) = (NodeName::new("vm3").unwrap(), NodeName::new("vm33").unwrap());
        let keys = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        keep_keys(&ssh, &vm33, &keys(&["ssh-rsa AAA"])).unwrap();
        keep_keys(&ssh, &vm3, &keys(&["ssh-rsa BBB", "ssh-ed25519 CCC"])).unwrap();
        keep_keys(&ssh, &vm3, &keys(&["ssh-ed25519 DDD"])).unwrap();
        assert_eq!(known_keys(&ssh, &vm3), ["ssh-ed25519 DDD"]);
        assert_eq!(known_keys(&ssh, &vm33), ["ssh-rsa AAA"]);
    }

    #[test]
    fn only_what_is_a_key_is_taken_for_one() {
        let key = "A".repeat(68);
        assert_eq!(key_of(&format!("ssh-ed25519 {key} root@vm3")), Some(format!("ssh-ed25519 {key}")));
        for bad in ["", "ssh-ed25519", "Welcome to vm3, have a nice day", "ssh-ed25519 short"] {
            assert_eq!(key_of(bad), None, "{bad}");
        }
    }
}
