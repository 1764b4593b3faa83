//! Pools of Consul that this node has a part in: whether its agent obeys, and knows what is to be drained.

use super::{Case, report::Report};
use crate::{edge::balance, fleet::PoolKind};

const TOPIC: &str = "consul";

pub(super) async fn look(case: &Case) -> Report {
    let mut report = Report::default();
    let Some(fleet) = &case.settings.fleet else { return report };
    let node = &fleet.node;
    for (name, pool) in fleet.topology.pools.iter().filter(|(_, pool)| pool.hosts.contains(node)) {
        let PoolKind::Consul(consul) = &pool.kind else { continue };
        let known = match balance::at_agent(node, name, consul).await {
            Ok(known) => known,
            Err(error) => {
                let remedy = "is the agent up (consul info), do url, ca_file and token_file of the pool fit it?";
                report.fail(TOPIC, format!("pool {name}"), error.to_string(), remedy);
                continue;
            }
        };
        let own = fleet.topology.services.values().filter(|service| service.nodes.contains(node));
        let behind = own.flat_map(|service| &service.behind).filter(|(pool, _)| pool == name);
        for server in behind.map(|(_, server)| server.replace("{node}", node.as_str())) {
            let place = format!("{server} of pool {name}");
            match known.get(server.as_str()) {
                Some(None) => report.ok(TOPIC, place, "its agent knows it"),
                Some(Some(reason)) if balance::is_ours(reason) => {
                    report.ok(TOPIC, place, format!("its agent knows it, and it is in maintenance by {reason}"));
                }
                Some(Some(reason)) => {
                    let message = format!("it is in maintenance by somebody else's word, and stays so: {reason}");
                    report.warn(TOPIC, place, message, format!("consul maint -disable -service={server}"));
                }
                None => {
                    let ids = known.keys().map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
                    let message =
                        format!("its agent has nothing of that ID registered as {} (it has: {ids})", consul.service);
                    let remedy = "say the ID in server of behind, or service of the pool; while a plan has it deregistered, wait for its end";
                    report.fail(TOPIC, place, message, remedy);
                }
            }
        }
    }
    report
}
