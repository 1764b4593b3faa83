use crate::{
    sys::{
        niceness, oom_score_adj, permitted_capabilities, resource_limit, set_niceness, set_oom_score_adj,
        set_resource_limit, spawn::Limit,
    },
    wire::keeper::{Clamped, Privileges, ResourceLimit, SpawnSpec},
};

/// What the keeper may give to a child, found by trying at start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ceiling {
    /// The keeper's own OOM score, the lowest it may have.
    pub(super) oom_floor: i16,
    /// The OOM score that the daemon was started with.
    pub(super) oom_initial: i16,
    nice_floor: i32,
    /// The keeper's capabilities.
    permitted: u64,
    may_raise_limits: bool,
    /// A child's limit of open files where its unit says none, if that is not what it inherits.
    open_files: Option<Limit>,
}

/// What a child has of open files where its unit says nothing: systemd's DefaultLimitNOFILE=. select(2) knows no descriptor
/// above the first number, and whoever can do with more raises it up to the second.
const OPEN_FILES_SOFT: u64 = 1024;
const OPEN_FILES_HARD: u64 = 524_288;
/// The lowest OOM score, proc(5).
const OOM_MIN: i16 = -1000;
/// The lowest niceness, setpriority(2).
const NICE_MIN: i32 = -20;
/// RLIMIT_NOFILE on the machines we build for.
const OPEN_FILES: u32 = 7;

impl Ceiling {
    /// Takes what the keeper needs itself: all the descriptors there are to be had, as each service takes some, and the
    /// lowest OOM score.
    pub(super) fn take(oom_initial: Option<i16>) -> Self {
        if let Ok((soft, hard)) = resource_limit(OPEN_FILES)
            && soft < hard
        {
            // What cannot be had is told when a service needs it.
            set_resource_limit(OPEN_FILES, hard, hard).ok();
        }
        Self::probe(oom_initial)
    }

    /// Takes the lowest OOM score, and finds the rest without keeping it.
    fn probe(oom_initial: Option<i16>) -> Self {
        let own = oom_score_adj().unwrap_or(0);
        let oom_floor = lowest(OOM_MIN.into(), own.into(), |score| {
            i16::try_from(score).is_ok_and(|score| set_oom_score_adj(score).is_ok())
        });
        let nice = niceness().unwrap_or(0);
        let nice_floor = lowest(NICE_MIN, nice, |nice| set_niceness(nice).is_ok());
        // Going back up is always allowed.
        let restored = set_niceness(nice);
        let nice_floor = if restored.is_ok() { nice_floor } else { nice };
        Self {
            oom_floor: i16::try_from(oom_floor).unwrap_or(own),
            oom_initial: oom_initial.unwrap_or(own),
            nice_floor,
            permitted: permitted_capabilities(),
            may_raise_limits: may_raise_limits(),
            open_files: open_files(),
        }
    }

    /// What could not be had, for people.
    pub(super) fn degraded(&self) -> Vec<String> {
        let mut lacking = Vec::new();
        if self.oom_floor > OOM_MIN {
            lacking.push(format!("the kernel may kill the keeper for memory (oom_score_adj is {})", self.oom_floor));
        }
        lacking
    }

    /// The OOM score of a child; `None` when it is the keeper's own, which it inherits.
    pub(super) fn oom_score(&self, wanted: i16, clamped: &mut Clamped) -> Option<i32> {
        let score = wanted.max(self.oom_floor);
        clamped.oom_score |= score != wanted;
        (score != self.oom_floor).then_some(score.into())
    }

    pub(super) fn nice(&self, spec: &SpawnSpec, clamped: &mut Clamped) -> Option<i32> {
        let wanted = i32::from(spec.nice?);
        let nice = wanted.max(self.nice_floor);
        clamped.nice |= nice != wanted;
        Some(nice)
    }

    /// What a child has beyond its user; systemd leaves out ambient capabilities that it lacks, too.
    pub(super) fn privileges(&self, spec: &SpawnSpec, clamped: &mut Clamped) -> Privileges {
        let ambient = spec.privileges.ambient & self.permitted;
        clamped.ambient |= ambient != spec.privileges.ambient;
        Privileges { ambient, ..spec.privileges }
    }

    pub(super) fn limits(&self, spec: &SpawnSpec, clamped: &mut Clamped) -> Vec<Limit> {
        let unsaid = |limit: &Limit| spec.limits.iter().all(|said| u32::from(said.resource) != limit.resource);
        let said = spec.limits.iter().map(|limit| self.limit(*limit, clamped));
        said.chain(self.open_files.filter(unsaid)).collect()
    }

    fn limit(&self, limit: ResourceLimit, clamped: &mut Clamped) -> Limit {
        let resource = u32::from(limit.resource);
        let mut hard = limit.hard;
        // A number that is no resource is left to the child, whose failure names the step.
        if !self.may_raise_limits
            && let Ok((_, own)) = resource_limit(resource)
        {
            hard = hard.min(own);
        }
        clamped.limits |= hard != limit.hard;
        Limit { resource, soft: limit.soft.min(hard), hard }
    }
}

fn open_files() -> Option<Limit> {
    let (own_soft, own_hard) = resource_limit(OPEN_FILES).ok()?;
    let hard = own_hard.min(OPEN_FILES_HARD);
    let soft = hard.min(OPEN_FILES_SOFT);
    ((own_soft, own_hard) != (soft, hard)).then_some(Limit { resource: OPEN_FILES, soft, hard })
}

/// The lowest number from `min` to `own` that `try_set` takes; it is set last.
fn lowest(min: i32, own: i32, try_set: impl Fn(i32) -> bool) -> i32 {
    if try_set(min) {
        return min;
    }
    // Between a number that is refused and one that is held.
    let (mut refused, mut held) = (min, own);
    while held - refused > 1 {
        let middle = i32::midpoint(refused, held);
        if try_set(middle) {
            held = middle;
        } else {
            refused = middle;
        }
    }
    held
}

/// Whether hard limits may be raised: tried on one of our own that is finite, and undone.
fn may_raise_limits() -> bool {
    let finite = |resource: &u32| resource_limit(*resource).is_ok_and(|(_, hard)| hard != u64::MAX);
    // Open files come last: fs.nr_open bounds them for everyone, so a refusal there says little.
    let mut resources = (0..RESOURCES).filter(|resource| *resource != OPEN_FILES).chain([OPEN_FILES]);
    let Some(resource) = resources.find(finite) else { return true };
    let Ok((soft, hard)) = resource_limit(resource) else { return false };
    let raised = set_resource_limit(resource, soft, hard + 1).is_ok();
    raised && set_resource_limit(resource, soft, hard).is_ok()
}

/// How many resources the kernel knows, RLIM_NLIMITS.
const RESOURCES: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_number_that_is_allowed_is_found() {
        for allowed in -20..=0 {
            assert_eq!(lowest(-20, 0, |number| number >= allowed), allowed);
        }
    }

    #[test]
    fn a_limit_above_what_may_be_given_is_lowered_and_said() {
        let (oom_floor, oom_initial, nice_floor, permitted) = (-10, 0, -5, 1);
        let open_files = Some(Limit { resource: OPEN_FILES, soft: 1, hard: 2 });
        let may_raise_limits = false;
        let ceiling = Ceiling { oom_floor, oom_initial, nice_floor, permitted, may_raise_limits, open_files };
        let mut clamped = Clamped::default();
        let (_, own) = resource_limit(OPEN_FILES).unwrap();
        let wanted = ResourceLimit { resource: 7, soft: 5, hard: u64::MAX };
        let given = ceiling.limit(wanted, &mut clamped);
        assert_eq!((given.soft, given.hard, clamped.limits), (5, own, own != u64::MAX));
        assert_eq!(ceiling.oom_score(-900, &mut clamped), None);
        assert!(clamped.oom_score);
        let mut clamped = Clamped::default();
        assert_eq!(ceiling.oom_score(5, &mut clamped), Some(5));
        let mut spec = SpawnSpec::new(c"/bin/true".to_owned(), Vec::new(), Vec::new());
        let softs = |spec: &SpawnSpec| -> Vec<u64> {
            ceiling.limits(spec, &mut Clamped::default()).iter().map(|limit| limit.soft).collect()
        };
        assert_eq!(softs(&spec), [1], "who says nothing of open files has the default");
        spec.limits = vec![ResourceLimit { resource: 4, soft: 0, hard: 0 }];
        assert_eq!(softs(&spec), [0, 1]);
        spec.limits = vec![wanted];
        assert_eq!(softs(&spec), [5]);
        spec.privileges.ambient = 1;
        assert_eq!(ceiling.privileges(&spec, &mut clamped).ambient, 1);
        assert_eq!(clamped, Clamped::default());
        spec.privileges.ambient = 3;
        assert_eq!(ceiling.privileges(&spec, &mut clamped).ambient, 1);
        assert!(clamped.ambient);
    }

    #[test]
    fn probing_changes_nothing_but_the_oom_score() {
        let before = (niceness().unwrap(), resource_limit(OPEN_FILES).unwrap());
        let ceiling = Ceiling::probe(None);
        assert_eq!((niceness().unwrap(), resource_limit(OPEN_FILES).unwrap()), before);
        assert_eq!(oom_score_adj().unwrap(), ceiling.oom_floor);
    }
}
