//! What is under way, as it is kept: a plan that is not over, and those that supersede it. Which one may be driven follows from
//! that alone, so whoever dies in between, the next one goes on with the same.

use std::collections::BTreeSet;

use crate::{
    base::{Chain, Wall},
    edge::{bus::Bus, store::KeptPlan},
    fleet::{End, Event, PlanId},
    wire::fleet::{FleetError, JournalWord, PlanDocument},
};

use super::Refusal;

/// A plan that is not over, and those that take its place once it is.
#[derive(Debug, Clone)]
pub(super) struct Standing {
    pub(super) document: PlanDocument,
    pub(super) journal: Vec<(Wall, Event)>,
    /// The newest first: each supersedes the next one, and the last one the plan itself.
    pub(super) next: Vec<PlanDocument>,
}

impl Standing {
    pub(super) const fn new(document: PlanDocument, journal: Vec<(Wall, Event)>) -> Self {
        Self { document, journal, next: Vec::new() }
    }

    /// The newest of them: the one that people want.
    pub(super) fn newest(&self) -> &PlanDocument {
        self.next.first().unwrap_or(&self.document)
    }

    pub(super) fn has(&self, plan: PlanId) -> bool {
        self.document.id == plan || self.next.iter().any(|next| next.id == plan)
    }

    /// What has to come to its end before this one may begin. One of which something was said has begun.
    fn supersedes(&self) -> Option<PlanId> {
        self.document.supersedes.filter(|_| self.journal.is_empty())
    }

    /// That one is not over.
    fn after(self, document: PlanDocument, journal: Vec<(Wall, Event)>) -> Self {
        let Self { document: later, journal: _, mut next } = self;
        next.push(later);
        Self { document, journal, next }
    }
}

/// The newest plan of Redis, if that is not over, and what it supersedes as long as that is not.
pub(super) async fn of_redis(bus: &Bus, newest: PlanId) -> Result<Option<Standing>, Refusal> {
    let wrong = |error: FleetError| Refusal::Wrong(Chain(&error).to_string());
    let look = async |plan: PlanId| {
        let Some((text, words)) = bus.plan(&plan.to_string()).await? else { return Ok(None) };
        let journal = journal_of(&words).map_err(wrong)?;
        if ended(&journal).is_some() {
            return Ok(None);
        }
        Ok::<_, Refusal>(Some((PlanDocument::read(&text).map_err(wrong)?, journal)))
    };
    let Some((document, journal)) = look(newest).await? else { return Ok(None) };
    let mut standing = Standing::new(document, journal);
    while let Some(before) = standing.supersedes() {
        let Some((document, journal)) = look(before).await? else { break };
        standing = standing.after(document, journal);
    }
    Ok(Some(standing))
}

/// The same of what this node keeps, the newest first.
pub(super) fn of_kept(kept: &[KeptPlan]) -> Option<Standing> {
    let mut open = kept.iter().filter(|plan| ended(&plan.journal).is_none());
    let read = |plan: &KeptPlan| Some((PlanDocument::read(&plan.document).ok()?, plan.journal.clone()));
    let (document, journal) = open.find_map(read)?;
    let mut standing = Standing::new(document, journal);
    while let Some(before) = standing.supersedes() {
        let mut others = kept.iter().filter(|plan| plan.id == before && ended(&plan.journal).is_none());
        let Some((document, journal)) = others.find_map(read) else { break };
        standing = standing.after(document, journal);
    }
    Some(standing)
}

/// Ids of plans that are over, of those.
pub(super) fn over(kept: &[KeptPlan]) -> BTreeSet<PlanId> {
    kept.iter().filter(|plan| ended(&plan.journal).is_some()).map(|plan| plan.id).collect()
}

pub(super) fn journal_of(words: &[String]) -> Result<Vec<(Wall, Event)>, FleetError> {
    let words = JournalWord::read_all(words)?;
    Ok(words.into_iter().map(|word| (Wall(word.at_us), word.event)).collect())
}

pub(super) fn ended(journal: &[(Wall, Event)]) -> Option<End> {
    journal.iter().find_map(|(_, event)| match event {
        Event::Ended(end) => Some(*end),
        Event::Approved { .. }
        | Event::Paused { .. }
        | Event::Resumed { .. }
        | Event::Aborting { .. }
        | Event::Quarantined { .. }
        | Event::Retried { .. }
        | Event::Done(_)
        | Event::Failed(..)
        | Event::Taken { .. } => None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        fleet::{Intent, NodeName, Plan, Verb},
        unit::Digest,
        wire::fleet::write,
    };

    fn kept(id: u128, supersedes: Option<u128>, journal: &[Event]) -> KeptPlan {
        let (services, nodes) = (BTreeSet::new(), BTreeSet::new());
        let intent = Intent { verb: Verb::Restart, services, nodes, cascade: true, at_any_time: false };
        let plan = Plan { intent, topology: Digest([1; 32]), waves: Vec::new(), blockers: Vec::new() };
        let document = PlanDocument {
            id: PlanId(id),
            by: "uid 0".to_owned(),
            node: NodeName::new("vm1").unwrap(),
            at_us: 0,
            digest: plan.digest().to_string(),
            plan,
            fleet_toml: String::new(),
            supersedes: supersedes.map(PlanId),
            is_agreed: false,
        };
        let journal = journal.iter().map(|event| (Wall(0), event.clone())).collect();
        KeptPlan { id: PlanId(id), at: Wall(0), document: write(&document), shown: None, journal }
    }

    /// Which one is driven, and which come then.
    fn stands(kept: &[KeptPlan]) -> Option<(u128, Vec<u128>)> {
        let standing = of_kept(kept)?;
        Some((standing.document.id.0, standing.next.iter().map(|next| next.id.0).collect()))
    }

    #[test]
    fn what_is_superseded_comes_to_its_end_before_what_supersedes_it_begins() {
        let over = [Event::Ended(End::Aborted)];
        let begun = [Event::Resumed { by: "uid 0".to_owned() }];
        for (first, second, third, expected) in [
            (&[][..], &[][..], &[][..], Some((1, vec![3, 2]))),
            (&over, &[], &[], Some((2, vec![3]))),
            (&over, &begun, &[], Some((2, vec![3]))),
            (&over, &over, &[], Some((3, vec![]))),
            // What has begun may not have its end before it known, as Redis forgot.
            (&[], &begun, &[], Some((2, vec![3]))),
            (&[], &[], &begun, Some((3, vec![]))),
            // As these were begun, the newest one alone says what is under way.
            (&over, &over, &over, None),
        ] {
            let plans = [kept(3, Some(2), third), kept(2, Some(1), second), kept(1, None, first)];
            assert_eq!(stands(&plans), expected, "{first:?} {second:?} {third:?}");
        }
        // One that is kept no more is over.
        assert_eq!(stands(&[kept(3, Some(2), &[])]), Some((3, vec![])));
    }
}
