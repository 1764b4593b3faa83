//! Steps that a manager of this node had begun when it died, and that the next one goes on with: what the keeper or the unit's
//! memo knows the outcome of, and what changes nothing when it is done again. The ledger then has their true outcome. Of the
//! rest it is to be seen whether it was done (`fleet::Target`).

use std::{collections::BTreeMap, time::Duration};

use crate::{
    base::Chain,
    edge::store::{Batch, FleetWrite, Write},
    engine::Handle,
    fleet::{Deed, Entry, Row, StepId, StepOrder},
    wire::keeper::ManagerCause,
};

/// How long it may take until the disk has what nobody goes on with.
const KEPT_WITHIN: Duration = Duration::from_secs(30);

/// Whether the next manager can go on with it. A reload bears the name of its step, and the unit's memo knows of it; to look at a
/// configuration changes nothing. A command that tells someone (`notify`) ends with its manager, and how it had ended nobody knows.
pub(super) const fn may_be_gone_on_with(deed: &Deed) -> bool {
    match deed {
        Deed::Validate | Deed::Reload => true,
        // The driver sees at the unit whether it was restarted, and has drains done again.
        Deed::Notify | Deed::Restart | Deed::Drain { .. } | Deed::Undrain { .. } => false,
    }
}

/// Those that this manager goes on with, by the rows of the ledger.
pub(super) async fn steps(handle: &Handle, rows: &[Row]) -> Vec<StepOrder> {
    let store = handle.store();
    let orders = store.fleet_orders().await.unwrap_or_else(|error| {
        tracing::warn!(error = %Chain(&error), "it is not known what was left undone of the fleet");
        BTreeMap::new()
    });
    // With the keeper the memos may be gone, and what a command came to.
    let is_left_by_a_manager = handle.about.cause != ManagerCause::Boot.as_str();
    let mut left = Vec::new();
    let mut given_up = Vec::new();
    for (step, order) in orders {
        match order.filter(|_| is_left_by_a_manager && is_begun(rows, step)) {
            Some(order) => left.push(order),
            None => given_up.push(Write::Fleet(Box::new(FleetWrite::LeftUndone(step)))),
        }
    }
    // Before anyone is told that it was interrupted: a manager after this one must not go on with it after all.
    if !given_up.is_empty() {
        store.submit(Batch { seq: None, writes: given_up });
        store.flush(KEPT_WITHIN).await;
    }
    left
}

fn is_begun(rows: &[Row], step: StepId) -> bool {
    let last = rows.iter().rev().find(|row| matches!(row, Row::Step(of, ..) if *of == step));
    matches!(last, Some(Row::Step(_, _, Entry::Started { .. })))
}
