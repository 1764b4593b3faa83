//! How this machine is: its instances, and the load balancers on it.

use std::collections::BTreeMap;

use super::{acts::Doer, pools};
use crate::{
    engine::UnitState,
    fleet::{Condition, Instance, Observed, Report},
    node::status::{Active, ProbeStatus, Verdict},
    unit::spec::ProbeSpec,
    wire::fleet::{Check, Detail, Details},
};

/// Of what a service says of itself so much is told.
const SAYS_BYTES_MAX: usize = 160;
/// Of a service so many probes are told.
const CHECKS_MAX: usize = 16;

/// Looks at everything of the fleet that is here.
pub(super) async fn look(doer: &Doer) -> Option<(Report, Details)> {
    let settings = &doer.settings;
    let states = doer.handle.states().await.ok()?;
    let by_name: BTreeMap<_, &UnitState> = states.iter().map(|state| (&state.status.name, state)).collect();
    let (mut instances, mut details) = (BTreeMap::new(), Details::new());
    for (name, service) in &settings.topology.services {
        if service.nodes.contains(&settings.node) {
            let instance = Instance { service: name.clone(), node: settings.node.clone() };
            let state = by_name.get(&service.unit);
            details.extend(state.map(|it| (instance.clone(), detail(it))));
            instances.insert(instance, state.map_or(Observed { condition: Condition::Bad, run: None }, |it| seen(it)));
        }
    }
    let pools = pools::servers(doer, &settings.topology, &settings.node).await;
    Some((Report { promised: None, instances, pools }, details))
}

fn detail(state: &UnitState) -> Detail {
    let says =
        state.status.status_text.as_ref().map(|text| text[..text.floor_char_boundary(SAYS_BYTES_MAX)].to_owned());
    let check = |(spec, probe): (&ProbeSpec, &ProbeStatus)| Check {
        name: spec.name.to_string(),
        kind: spec.check.kind().to_owned(),
        verdict: probe.verdict.as_str().to_owned(),
    };
    Detail { says, checks: state.def.health.iter().zip(&state.status.health).take(CHECKS_MAX).map(check).collect() }
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
