//! How this machine is: its instances, and the load balancers on it.

use std::collections::BTreeMap;

use super::{acts::Doer, pools};
use crate::{
    engine::UnitState,
    fleet::{Condition, Instance, Observed, Report},
    node::status::{Active, Verdict},
};

/// Looks at everything of the fleet that is here.
pub(super) async fn look(doer: &Doer) -> Option<Report> {
    let settings = &doer.settings;
    let states = doer.handle.states().await.ok()?;
    let by_name: BTreeMap<_, &UnitState> = states.iter().map(|state| (&state.status.name, state)).collect();
    let mut instances = BTreeMap::new();
    for (name, service) in &settings.topology.services {
        if service.nodes.contains(&settings.node) {
            let seen =
                by_name.get(&service.unit).map_or(Observed { condition: Condition::Bad, run: None }, |it| seen(it));
            instances.insert(Instance { service: name.clone(), node: settings.node.clone() }, seen);
        }
    }
    let pools = pools::servers(doer, &settings.topology, &settings.node).await;
    Some(Report { promised: None, instances, pools })
}

/// One to which something is being done is not healthy: whoever counts on it would count on what is about to end.
fn seen(state: &UnitState) -> Observed {
    let status = &state.status;
    let is_unwell = |verdict| match verdict {
        Verdict::Unhealthy | Verdict::Unknown => true,
        Verdict::Healthy | Verdict::Degraded => false,
    };
    let is_up = match status.active {
        Active::Active => true,
        Active::Inactive | Active::Activating | Active::Reloading | Active::Deactivating | Active::Failed => false,
    };
    let is_well = is_up && status.job.is_none() && !status.health.iter().any(|probe| is_unwell(probe.verdict));
    Observed { condition: if is_well { Condition::Healthy } else { Condition::Bad }, run: status.invocation }
}
