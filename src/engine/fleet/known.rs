//! What is known of the fleet here: what its nodes have said of late.

use std::collections::BTreeMap;

use super::{drive::span, hosts, member::Member};
use crate::{
    edge::{
        bus::{BusError, Outlook},
        clock,
    },
    fleet::{Facts, NodeName, PoolFact, Reach, Transport},
    wire::fleet::{Beat, Said, Word, read},
};

impl Member {
    /// As far as it was heard.
    pub(super) fn facts(&self) -> Facts {
        let topology = &self.settings.topology;
        let nodes: BTreeMap<NodeName, Reach> =
            topology.nodes.keys().map(|name| (name.clone(), self.reach(name))).collect();
        let mut facts =
            Facts { driver: self.settings.node.clone(), nodes, instances: BTreeMap::new(), pools: BTreeMap::new() };
        for (name, (_, beat)) in &self.beats {
            facts.instances.extend(beat.report.instances.iter().map(|(instance, it)| (instance.clone(), it.condition)));
            for (pool, _) in topology.pools.iter().filter(|(_, pool)| pool.hosts.contains(name)) {
                let fact =
                    beat.report.pools.get(pool).cloned().map_or_else(
                        || PoolFact::No("nothing can be learnt of its servers".to_owned()),
                        PoolFact::Servers,
                    );
                facts.pools.entry(pool.clone()).or_default().insert(name.clone(), fact);
            }
        }
        facts
    }

    /// Whether a node can be told something.
    pub(super) fn reach(&self, name: &NodeName) -> Reach {
        if *name == self.settings.node {
            return Reach::Fresh;
        }
        match self.settings.topology.nodes.get(name).map(|node| node.transport) {
            Some(Transport::Ssh) => match (self.beat_of(name), self.host_trouble(name)) {
                (Some(beat), _) if beat.topology != self.settings.digest.to_string() => Reach::No(format!(
                    "its fleet.toml is another one; supervisorctl fleet enrol {name} brings it there"
                )),
                (Some(_), _) => Reach::Fresh,
                (None, Some(trouble)) => Reach::No(trouble.reason.clone()),
                (None, None) => Reach::No("it has not answered by ssh yet".to_owned()),
            },
            Some(Transport::Agent) => match (self.beat_of(name), &self.trouble) {
                (_, _) if self.bus.is_none() => Reach::No(
                    "no redis is named ([high_availability] redis_url), so only this node is reached".to_owned(),
                ),
                (Some(beat), _) if beat.topology != self.settings.digest.to_string() => {
                    Reach::No("its fleet.toml is another one; bring the same to all nodes".to_owned())
                }
                (Some(_), _) => Reach::Fresh,
                (None, Some(trouble)) => Reach::No(trouble.to_string()),
                (None, None) => Reach::No("nothing was heard from it of late".to_owned()),
            },
            Some(Transport::Local) => Reach::No("it is said to be local, and is another node".to_owned()),
            None => Reach::No("there is no such node".to_owned()),
        }
    }

    pub(super) fn beat_of(&self, name: &NodeName) -> Option<&Beat> {
        let now = clock::now().mono;
        // Hosts say how they are while they are spoken to, however often signs of life come through Redis.
        let stays = if self.is_host(name) { hosts::STAYS } else { self.settings.heartbeat.stays() };
        self.beats.get(name).filter(|(at, _)| now.since(*at) <= stays).map(|(_, beat)| beat)
    }

    pub(super) fn take_outlook(&mut self, outlook: Result<Outlook, BusError>) {
        let Outlook { holder, plan, beats } = match outlook {
            Ok(outlook) => outlook,
            Err(error) => {
                self.miss_redis(error);
                return;
            }
        };
        self.trouble = None;
        let now = clock::now().mono;
        let mut reports = Vec::new();
        for (name, beat) in self.agents().into_iter().zip(beats) {
            let beat = beat.and_then(|(age, text)| Some((age, read::<Beat>(&text).ok()?)));
            let Some((age, beat)) = beat.filter(|(_, beat)| beat.from == name) else {
                self.beats.remove(&name);
                continue;
            };
            // One that has not changed says nothing new of when it was said.
            if self.beats.get(&name).is_none_or(|(_, known)| known.seq < beat.seq) {
                let said = Said::Report(beat.report.clone());
                reports.push((age, Word { from: name.clone(), seq: beat.seq, said }));
                self.beats.insert(name, (now.before(span(age)), beat));
            }
        }
        self.seat.holder = holder;
        self.see_present(plan.and_then(|id| id.parse().ok()));
        self.see_signs();
        self.hear_words(reports);
    }
}
