//! `[fleet]`, `[high_availability]` and `[heartbeat]`: whether this machine is one of several, and how they reach each other.

use std::{collections::BTreeMap, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};

use super::{Fault, at, path};
use crate::{
    base::{Secret, TimeSpan},
    edge::{bus::BusSettings, ssh::Ssh, zones},
    engine::alerting::Files,
    fleet::{Heartbeat, NodeName, Topology, Transport},
    unit::{
        Digest, Field, Problem, Read,
        calendar::{ZoneName, Zones},
        similar,
    },
};

/// Beside the settings: our key, and those of hosts.
const SSH_DIRECTORY: &str = "ssh";
/// What sentinels call the primary one in Redis' own examples.
const PRIMARY: &str = "mymaster";
/// How long Redis may take, unless the settings say otherwise.
const PATIENCE: TimeSpan = TimeSpan::from_secs(5);
/// How often signs of life may come. A driver believes for 15 s what a node says of its instances, so they may not come seldom.
const INTERVALS: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(5);

/// The machine as one of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    /// Which of them.
    pub node: NodeName,
    /// All of it.
    pub topology: Topology,
    /// Its file.
    pub file: PathBuf,
    /// What stands there.
    pub text: Arc<str>,
    /// Of the file's text: what sha256sum(1) says of it.
    pub digest: Digest,
    /// Where Redis is; without it only this machine and those behind ssh are reached.
    pub bus: Option<BusSettings>,
    /// How signs of life come, and how many may be missing.
    pub heartbeat: Heartbeat,
    /// The time zones that windows name, and the host's.
    pub zones: Arc<Zones>,
    /// How hosts without a daemon are reached.
    pub ssh: Ssh,
}

impl FleetSettings {
    /// What sha256sum(1) says of such a file.
    pub fn digest_of(text: &str) -> Digest {
        Digest(Sha256::digest(text).into())
    }
}

#[derive(Debug, Default)]
pub(super) struct FleetFile {
    file: Option<PathBuf>,
    node: Option<String>,
    ssh_directory: Option<PathBuf>,
}

pub(super) const FLEET: &[Field<FleetFile>] = &[
    Field { name: "file", set: |fleet, r, v| fleet.file = path(r, v) },
    Field { name: "node", set: |fleet, r, v| fleet.node = r.text(v).map(str::to_owned) },
    Field { name: "ssh_directory", set: |fleet, r, v| fleet.ssh_directory = path(r, v) },
];

#[derive(Debug, Default)]
pub(super) struct AvailabilityFile {
    enabled: Option<bool>,
    redis_url: Option<String>,
    redis_password_file: Option<PathBuf>,
    sentinels: Option<Vec<String>>,
    sentinel_primary: Option<String>,
    connection_timeout: Option<TimeSpan>,
}

pub(super) const AVAILABILITY: &[Field<AvailabilityFile>] = &[
    Field { name: "enabled", set: |it, r, v| it.enabled = r.boolean(v) },
    Field { name: "redis_url", set: |it, r, v| it.redis_url = r.text(v).map(str::to_owned) },
    Field { name: "redis_password_file", set: |it, r, v| it.redis_password_file = path(r, v) },
    Field { name: "sentinels", set: |it, r, v| it.sentinels = r.strings(v) },
    Field { name: "sentinel_primary", set: |it, r, v| it.sentinel_primary = r.text(v).map(str::to_owned) },
    Field { name: "connection_timeout", set: |it, r, v| it.connection_timeout = r.span(v) },
];

#[derive(Debug, Default)]
pub(super) struct HeartbeatFile {
    interval: Option<TimeSpan>,
    max_consecutive_failures: Option<u32>,
}

pub(super) const HEARTBEAT: &[Field<HeartbeatFile>] = &[
    Field { name: "interval", set: |it, r, v| it.interval = r.span(v) },
    Field { name: "max_consecutive_failures", set: |it, r, v| it.max_consecutive_failures = r.count(v, 1) },
];

/// What the settings say of the fleet, if they speak of one. Faults of `fleet.toml` have their place there.
pub(super) fn settings(
    fleet: Option<Read<FleetFile>>,
    (availability, heartbeat): (&Read<AvailabilityFile>, &Read<HeartbeatFile>),
    files: &Files,
    host: &str,
    (faults, problems): (&mut Vec<Fault>, &mut Vec<Problem>),
) -> Option<Arc<FleetSettings>> {
    let redis = redis(availability).map_err(|fault| faults.push(fault.within("high_availability"))).ok().flatten();
    let heartbeat =
        self::heartbeat(heartbeat).map_err(|fault| faults.push(fault.within("heartbeat"))).unwrap_or_default();
    let Some(Read { says: FleetFile { file: named, node, ssh_directory }, is_whole: true }) = fleet else {
        if redis.is_some() && fleet.is_none() {
            let message = "[high_availability] connects the nodes of a fleet, and there is no [fleet]; add it, or say enabled = false";
            faults.push(Fault::from(message).within("high_availability"));
        }
        return None;
    };
    let mut wrong = |fault: Fault| faults.push(fault.within("fleet"));
    let name = named.unwrap_or_else(|| "fleet.toml".into());
    let place = files.place(&name);
    let text = files.text(&name).map_err(at("file")).map_err(&mut wrong).ok()?;
    let topology = super::super::fleet::read(&place, &text).map_err(|found| problems.extend(found)).ok()?;
    let zones = zones(&topology).map_err(at("file")).map_err(&mut wrong).ok()?;
    let node = own_node(node.as_deref(), host, &topology).map_err(at("node")).map_err(&mut wrong).ok()?;
    let digest = FleetSettings::digest_of(&text);
    let bus = redis.map(|Redis { url, password_file, sentinels, primary, patience }| BusSettings {
        url,
        password_file: password_file.map(|file| files.place(&file)),
        patience,
        sentinels,
        primary,
        fleet: topology.name.to_string(),
        node: node.to_string(),
    });
    let ssh = Ssh { folder: files.place(&ssh_directory.unwrap_or_else(|| SSH_DIRECTORY.into())) };
    let (zones, text) = (Arc::new(zones), text.into());
    Some(Arc::new(FleetSettings { node, topology, file: place, text, digest, bus, heartbeat, zones, ssh }))
}

/// Of the windows of all services.
fn zones(topology: &Topology) -> Result<Zones, String> {
    let mut named = BTreeMap::new();
    for (service, window) in
        topology.services.iter().flat_map(|(name, it)| it.policy.windows.iter().map(move |at| (name, at)))
    {
        let ZoneName::Named(zone) = window.zone() else { continue };
        let found = zones::find(zone).map_err(|error| format!("windows of {service}: {error}"))?;
        named.insert(zone.clone(), found);
    }
    Ok(Zones { local: zones::local(), named })
}

fn own_node(said: Option<&str>, host: &str, topology: &Topology) -> Result<NodeName, Fault> {
    let name = said.unwrap_or(host);
    let known = || topology.nodes.keys().map(NodeName::as_str);
    let found = topology.nodes.get_key_value(&NodeName::new(name).map_err(|error| error.to_string())?);
    let Some((name, node)) = found else {
        let whose = if said.is_some() { String::new() } else { " (this host's name)".to_owned() };
        let help = similar(name, known()).map_or_else(
            || format!("it has {}; say node = \"…\"", known().collect::<Vec<_>>().join(", ")),
            |word| format!("did you mean {word:?}?"),
        );
        return Err(format!("the fleet has no node {name:?}{whose}: {help}").into());
    };
    match node.transport {
        Transport::Agent | Transport::Local => Ok(name.clone()),
        Transport::Ssh => {
            Err(format!("a daemon runs on {name}, which the fleet reaches by ssh; say transport = \"agent\" there")
                .into())
        }
    }
}

fn heartbeat(file: &Read<HeartbeatFile>) -> Result<Heartbeat, Fault> {
    let usual = Heartbeat::default();
    let HeartbeatFile { interval, max_consecutive_failures } = file.says;
    let interval = interval.map_or(Some(usual.interval), TimeSpan::duration).filter(|span| INTERVALS.contains(span));
    let interval = interval.ok_or_else(|| at("interval")("[heartbeat] interval is from 100ms to 5s"))?;
    Ok(Heartbeat { interval, failures_max: max_consecutive_failures.unwrap_or(usual.failures_max) })
}

/// Where Redis is, and how long it may take.
struct Redis {
    url: Secret,
    password_file: Option<PathBuf>,
    sentinels: Vec<String>,
    primary: String,
    patience: Duration,
}

fn redis(file: &Read<AvailabilityFile>) -> Result<Option<Redis>, Fault> {
    let AvailabilityFile { enabled, redis_url, redis_password_file, sentinels, sentinel_primary, connection_timeout } =
        &file.says;
    if !file.is_whole || *enabled == Some(false) || file.says.is_silent() {
        return Ok(None);
    }
    let Some(url) = redis_url else {
        return Err(Fault::from("[high_availability] needs redis_url, such as \"redis://10.0.0.9:6379\""));
    };
    if !["redis://", "rediss://"].iter().any(|scheme| url.starts_with(scheme)) {
        return Err(at("redis_url")("[high_availability] redis_url begins with redis:// or rediss://"));
    }
    let patience = connection_timeout.unwrap_or(PATIENCE).duration().filter(|span| !span.is_zero());
    let patience = patience.ok_or_else(|| {
        at("connection_timeout")("[high_availability] connection_timeout must be above zero and finite")
    })?;
    let sentinels = sentinels.clone().unwrap_or_default();
    let is_place = |text: &str| {
        text.rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    if let Some(bad) = sentinels.iter().find(|text| !is_place(text)) {
        let reason = format!("[high_availability] sentinels: {bad:?} is no HOST:PORT, such as \"10.0.0.9:26379\"");
        return Err(at("sentinels")(reason));
    }
    if sentinel_primary.is_some() && sentinels.is_empty() {
        let reason = "[high_availability] sentinel_primary is what sentinels call it, and none is named; add sentinels";
        return Err(at("sentinel_primary")(reason));
    }
    Ok(Some(Redis {
        url: Secret::new(url),
        password_file: redis_password_file.clone(),
        sentinels,
        primary: sentinel_primary.clone().unwrap_or_else(|| PRIMARY.to_owned()),
        patience,
    }))
}

impl AvailabilityFile {
    /// Whether it says nothing at all.
    const fn is_silent(&self) -> bool {
        self.enabled.is_none()
            && self.redis_url.is_none()
            && self.redis_password_file.is_none()
            && self.sentinels.is_none()
            && self.sentinel_primary.is_none()
            && self.connection_timeout.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::super::Settings;
    use crate::base::Places;

    const FLEET: &str = "name = \"f\"\n[[node]]\nname = \"vm1\"\n[[node]]\nname = \"vm2\"\ntransport = \"ssh\"\n";

    fn load(settings: &str, fleet: Option<&str>) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roundsman.toml");
        fs::write(&file, settings).unwrap();
        if let Some(fleet) = fleet {
            fs::write(folder.path().join("fleet.toml"), fleet).unwrap();
        }
        let loaded = Settings::load(Some(&file), &Places::of(0, |_| None));
        let own = |path: &Path| format!("{}/", path.display());
        loaded.map_err(|error| error.to_string().replace(&own(folder.path()), ""))
    }

    #[test]
    fn a_fleet_is_read_from_its_own_file() {
        let text =
            "[fleet]\nnode = \"vm1\"\n[high_availability]\nredis_url = \"redis://h\"\nconnection_timeout = \"2s\"\n";
        let fleet = load(text, Some(FLEET)).unwrap().fleet.unwrap();
        assert_eq!((fleet.node.as_str(), fleet.topology.nodes.len()), ("vm1", 2));
        let bus = fleet.bus.as_ref().unwrap();
        assert_eq!((bus.url.expose(), bus.patience.as_secs(), bus.fleet.as_str()), ("redis://h", 2, "f"));
        assert_eq!(load("", Some(FLEET)).unwrap().fleet, None, "nobody speaks of it");
        assert_eq!(load("[fleet]\nnode = \"vm1\"\n", Some(FLEET)).unwrap().fleet.unwrap().bus, None);
    }

    #[test]
    fn signs_of_life_come_as_the_settings_say() {
        let of = |heartbeat: &str| {
            let fleet = load(&format!("[fleet]\nnode = \"vm1\"\n{heartbeat}"), Some(FLEET)).unwrap().fleet.unwrap();
            (fleet.heartbeat.interval.as_millis(), fleet.heartbeat.failures_max, fleet.heartbeat.stays().as_secs())
        };
        assert_eq!(of(""), (5000, 3, 16));
        assert_eq!(of("[heartbeat]\ninterval = \"1s\"\nmax_consecutive_failures = 5\n"), (1000, 5, 6));
    }

    #[test]
    fn what_is_wrong_with_a_fleet_is_said_with_its_place() {
        let broken = FLEET.replace("ssh", "pigeon");
        let of = "[fleet]\nnode = \"vm1\"\n";
        for (settings, fleet, said) in [
            (of, None, "roundsman.toml:1:1: error: cannot read fleet.toml: No such file"),
            (of, Some(broken.as_str()), "fleet.toml:6:13: error: it cannot be \"pigeon\""),
            ("[fleet]\nnode = \"vm3\"\n", Some(FLEET), "roundsman.toml:2:8: error: the fleet has no node \"vm3\""),
            ("[fleet]\nnode = \"vm2\"\n", Some(FLEET), "roundsman.toml:2:8: error: a daemon runs on vm2, which the"),
            ("[fleet]\nnod = \"vm2\"\n", Some(FLEET), "did you mean \"node\"?"),
            (
                "[high_availability]\nredis_url = \"redis://h\"\n",
                Some(FLEET),
                "roundsman.toml:1:1: error: [high_availability] connects the nodes of a fleet, and there is no [fleet]",
            ),
            (
                "[fleet]\nnode = \"vm1\"\n[heartbeat]\ninterval = \"6s\"\n",
                Some(FLEET),
                "roundsman.toml:4:12: error: [heartbeat] interval is from 100ms to 5s",
            ),
            (
                "[fleet]\nnode = \"vm1\"\n[heartbeat]\nmax_consecutive_failures = 0\n",
                Some(FLEET),
                "roundsman.toml:4:28: error",
            ),
            (
                "[fleet]\nnode = \"vm1\"\n[high_availability]\nenabled = true\n",
                Some(FLEET),
                "roundsman.toml:3:1: error: [high_availability] needs redis_url",
            ),
            (
                "[fleet]\nnode = \"vm1\"\n[high_availability]\nredis_url = \"redis://h\"\nsentinels = [\"h\"]\n",
                Some(FLEET),
                "roundsman.toml:5:13: error: [high_availability] sentinels: \"h\" is no HOST:PORT",
            ),
            (
                "[fleet]\nnode = \"vm1\"\n[high_availability]\nredis_url = \"redis://h\"\nsentinel_primary = \"m\"\n",
                Some(FLEET),
                "roundsman.toml:5:20: error: [high_availability] sentinel_primary is what sentinels call it",
            ),
            (
                "[fleet]\nnode = \"vm1\"\n[high_availability]\nredis_url = \"h:6379\"\n",
                Some(FLEET),
                "roundsman.toml:4:13: error: [high_availability] redis_url begins with redis:// or rediss://",
            ),
        ] {
            let error = load(settings, fleet).unwrap_err();
            assert!(error.contains(said), "{settings}: {error}");
        }
    }
}
