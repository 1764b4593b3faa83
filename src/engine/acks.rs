//! Which exits the keeper may forget: those whose row is on disk, and those that have no row.

use std::collections::BTreeMap;

use super::Engine;
use crate::{
    base::{ProcessKey, Role, RunId},
    keeper::client::ClientError,
    wire::keeper::Order,
};

/// Exits of main processes that wait for their row, in two steps: until the run has ended, and until that is committed.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Main processes of runs that have not ended yet (an ExecStopPost runs, say). A run has several when one took another's
    /// place.
    gone: BTreeMap<RunId, Vec<ProcessKey>>,
    /// The row of the end was handed to the store under this number.
    submitted: BTreeMap<u64, Vec<ProcessKey>>,
}

impl Acks {
    /// A process is gone. The key comes back when it may be forgotten at once.
    pub(super) fn process_gone(&mut self, key: ProcessKey) -> Option<ProcessKey> {
        match key.role {
            Role::Main | Role::Named(_) => {
                self.gone.entry(key.run.clone()).or_default().push(key);
                None
            }
            Role::Control(_) | Role::Probe(_) => Some(key),
        }
    }

    /// The end of a run was handed to the store as `seq`.
    pub(super) fn run_ended(&mut self, seq: u64, run: &RunId) {
        if let Some(keys) = self.gone.remove(run) {
            self.submitted.insert(seq, keys);
        }
    }

    /// `seq` is on disk: what may be forgotten now.
    pub(super) fn committed(&mut self, seq: u64) -> Vec<ProcessKey> {
        self.submitted.remove(&seq).unwrap_or_default()
    }
}

impl Engine {
    /// These rows are on disk: what they tell of may be forgotten.
    pub(super) fn committed(&mut self, seqs: Vec<u64>) -> Result<(), ClientError> {
        let last = seqs.iter().max().copied();
        for key in seqs.into_iter().flat_map(|seq| self.acks.committed(seq)).collect::<Vec<_>>() {
            self.keeper.send(&Order::AckExit { key }, Vec::new())?;
        }
        last.map_or(Ok(()), |last| self.drop_connections(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Generation, UnitName};

    fn key(role: Role) -> ProcessKey {
        let unit = UnitName::new("web").expect("a name");
        ProcessKey { run: RunId { unit, generation: Generation(1) }, role }
    }

    #[test]
    fn a_main_process_is_forgotten_only_when_the_end_of_its_run_is_committed() {
        let mut acks = Acks::default();
        let main = key(Role::Main);
        assert_eq!(acks.process_gone(main.clone()), None);
        assert_eq!(acks.committed(7), []);
        acks.run_ended(7, &main.run);
        assert_eq!(acks.committed(6), []);
        assert_eq!(acks.committed(7), [main]);
        assert_eq!(acks.committed(7), []);
    }

    #[test]
    fn a_control_process_has_no_row_to_wait_for() {
        let control = key(Role::Control(1));
        assert_eq!(Acks::default().process_gone(control.clone()), Some(control));
    }
}
