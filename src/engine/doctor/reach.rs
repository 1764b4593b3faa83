//! Names that have to be found, and servers that have to answer.

use std::collections::{BTreeMap, BTreeSet};

use tokio::{net::lookup_host, task::JoinSet, time::timeout};

use super::{
    ANSWER_MAX, Case,
    report::{Report, Stake},
};
use crate::{
    alert::Target,
    edge::probe::{Prober, RedisTrouble},
    node::input::Finding,
    unit::spec::{CertificatePlace, Forward, ProbeCheck, ProbeSpec, RedisRole},
};

/// Names that are looked up; more are not looked at, and that is said.
const NAMES_MAX: usize = 200;

/// Who needs a name.
#[derive(Debug, Default)]
struct Needs {
    who: BTreeSet<String>,
    stake: Stake,
}

/// Every name, and who needs it.
fn wanted(case: &Case) -> BTreeMap<String, Needs> {
    let mut names: BTreeMap<String, Needs> = BTreeMap::new();
    let mut want = |host: &str, who: String, stake: Stake| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if !host.is_empty() && host.parse::<std::net::IpAddr>().is_err() {
            let needs = names.entry(host.to_owned()).or_default();
            needs.who.insert(who);
            needs.stake = needs.stake.max(stake);
        }
    };
    for route in &case.settings.alert.routes {
        let who = format!("alert route {}", route.name);
        match &route.target {
            Target::Email(mailbox) => want(&mailbox.host, who, Stake::Work),
            Target::SlackBot(bot) => want(host_of_url(&bot.api), who, Stake::Work),
            // Whom it asks, it alone knows.
            Target::Command(_) => {}
            other @ (Target::Webhook(_) | Target::Slack(_) | Target::Alertmanager(_)) => {
                want(other.secret_url().map_or("", |url| host_of_url(url.expose())), who, Stake::Work);
            }
        }
    }
    for (unit, def) in &case.host.units {
        for probe in &def.health {
            for host in hosts_of(probe) {
                want(host, format!("probe {} of {unit}", probe.name), Stake::of(probe));
            }
        }
    }
    let logs = case.host.units.iter().map(|(unit, def)| (format!("output of {unit}"), &*def.log));
    for (who, log) in logs.chain([("output".to_owned(), &case.settings.log)]) {
        for forward in log.forward.iter().flatten() {
            if let Forward::SyslogTcp(address) | Forward::SyslogUdp(address) = forward {
                want(host_of(address), who.clone(), Stake::Work);
            }
        }
    }
    names
}

/// The hosts that a probe asks.
fn hosts_of(probe: &ProbeSpec) -> Vec<&str> {
    match &*probe.check {
        ProbeCheck::Http(steps) => {
            let over_tcp = steps.iter().filter(|step| step.unix_socket.is_none());
            over_tcp.map(|step| host_of_url(&step.url)).collect()
        }
        ProbeCheck::Tcp(tcp) => vec![host_of(&tcp.address)],
        ProbeCheck::Redis(redis) => vec![host_of_url(&redis.url)],
        ProbeCheck::Certificate(certificate) => match &certificate.of {
            CertificatePlace::Presented(address, _) => vec![host_of(address)],
            CertificatePlace::File(_) => Vec::new(),
        },
        ProbeCheck::Exec(_)
        | ProbeCheck::Plugin(_)
        | ProbeCheck::Disk(_)
        | ProbeCheck::Systemd(_)
        | ProbeCheck::File(_)
        | ProbeCheck::Log(_)
        | ProbeCheck::Memory(_)
        | ProbeCheck::Cpu(_) => Vec::new(),
    }
}

/// The host of an address with a port.
fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// The host of a URL; whoever logs in there is not shown.
fn host_of_url(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    // A dollar is where a probe fills something in.
    let authority = rest.split(['/', '?', '#', '$']).next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    if place.ends_with(']') { place } else { host_of(place) }
}

/// Looks up every name, all at once.
pub(super) async fn names(case: &Case) -> Report {
    let mut report = Report::default();
    let wanted = wanted(case);
    let mut lookups = JoinSet::new();
    for name in wanted.keys().take(NAMES_MAX).cloned() {
        lookups.spawn(async move {
            let found = timeout(ANSWER_MAX, lookup_host((name.as_str(), 0))).await;
            let found = found.map(|found| found.map(Iterator::count).map_err(|error| error.to_string()));
            (name, found.map_err(drop))
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(done) = lookups.join_next().await {
        answers.extend(done.ok());
    }
    for (name, Needs { who, stake }) in &wanted {
        let who = who.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        let mut unwell = |message: String, remedy: &str| report.unwell(*stake, "dns", name, message, remedy);
        let remedy = format!("correct the name, or the resolver (/etc/resolv.conf, /etc/hosts; getent ahosts {name})");
        match answers.get(name) {
            Some(Ok(Ok(1..))) => report.ok("dns", name, format!("found, for {who}")),
            Some(Ok(Ok(0))) => unwell(format!("it has no address, and {who} needs one"), &remedy),
            Some(Ok(Err(error))) => unwell(format!("not found, for {who}: {error}"), &remedy),
            Some(Err(())) => unwell(
                format!("no answer within {} s, for {who}", ANSWER_MAX.as_secs()),
                "the resolver hangs: is the server in /etc/resolv.conf there, does a firewall swallow port 53?",
            ),
            None => report.unknown("dns", name, "not looked up: there are too many names", "getent ahosts NAME"),
        }
    }
    let mut is_all = !case.tell_left_out(&mut report, "dns");
    if case.is_salvaged {
        is_all = false;
        let message = "not looked at for alert routes: the settings are refused, and so nobody knows which there are";
        report.unknown("dns", "alert routes", message, "correct what stands under settings, and ask again");
    }
    if wanted.is_empty() && is_all {
        report.ok("dns", "names", "no route, probe or log needs one");
    }
    report
}

/// Asks every Redis that a probe asks.
pub(super) async fn redis(case: &Case) -> Report {
    let mut report = Report::default();
    case.tell_left_out(&mut report, "redis");
    let prober = Prober::default();
    for (unit, def) in &case.host.units {
        for probe in &def.health {
            let ProbeCheck::Redis(redis) = &*probe.check else { continue };
            let place = format!("{} (probe {} of {unit})", host_and_port(&redis.url), probe.name);
            match prober.examine_redis(redis, ANSWER_MAX).await {
                Ok(Finding::Good) => report.ok("redis", place, "it answers, and is what it should be"),
                Ok(Finding::Degraded(reason)) => {
                    report.warn("redis", place, reason, "see the runbook of slow_replication")
                }
                Ok(Finding::Bad(reason)) => report.unwell(Stake::of(probe), "redis", place, reason, UNREACHED),
                Ok(Finding::Unasked(reason)) => report.unknown("redis", place, reason, "ask with redis-cli ping"),
                Err(trouble) => {
                    let remedy = remedy(&trouble);
                    report.unwell(Stake::of(probe), "redis", place, trouble.reason(), remedy);
                }
            }
        }
    }
    report
}

const UNREACHED: &str =
    "is it up (redis-cli ping), does it listen there (bind, port, protected-mode), is the password right?";

const fn remedy(trouble: &RedisTrouble) -> &'static str {
    match trouble {
        RedisTrouble::Unreached(_) => UNREACHED,
        RedisTrouble::Role(RedisRole::Primary) => {
            "after a failover have the probe ask the new primary (master_host of redis-cli info replication), or make this one \
             the primary again (redis-cli replicaof no one)"
        }
        RedisTrouble::Role(RedisRole::Replica) => {
            "have it follow its primary (redis-cli replicaof HOST PORT); if it is to be the primary, correct role in the probe"
        }
        RedisTrouble::Link(_) => {
            "is its primary up and reached from there, and masterauth right (redis-cli info replication, on both)?"
        }
    }
}

fn host_and_port(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, place)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_only_the_host_is_told() {
        for (url, host) in [
            ("https://hooks.example.org/services/SECRET", "hooks.example.org"),
            ("https://user:secret@mail.example.org:8443/x?token=secret", "mail.example.org"),
            ("redis://[::1]:6379/0", "[::1]"),
            ("http://[::1]/", "[::1]"),
            ("http://localhost", "localhost"),
        ] {
            assert_eq!(host_of_url(url), host);
        }
        assert_eq!(host_and_port("rediss://me:secret@redis.example.org:6380/1"), "redis.example.org:6380");
    }
}
