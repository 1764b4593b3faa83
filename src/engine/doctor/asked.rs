//! What units ask for and cannot be given: resource limits above the daemon's own, and memory above what is there for all of them.

use std::{fs, path::Path};

use super::{
    Case,
    machine::{hard_limit, number},
    report::Report,
};
use crate::{
    base::{ByteSize, Pid, UnitName},
    edge::cgroup::controllers,
    engine::settings::CgroupMode,
    unit::{
        resources,
        spec::{Limit, Resource},
    },
};

const TOPIC: &str = "limits";
/// CAP_SYS_RESOURCE, capabilities(7): its bit.
const RAISES_LIMITS: u64 = 1 << 24;

/// What whoever starts units may give to them.
#[derive(Debug)]
struct Giver {
    /// Who that is, for people.
    name: &'static str,
    /// Its own limits, as /proc shows them.
    own: String,
    /// Whether it may give more than it has.
    may_raise: bool,
    /// Most descriptors that anyone can have (fs.nr_open).
    descriptors_max: Option<u64>,
}

/// What becomes of a limit that is more than can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excess {
    /// The unit gets this instead.
    Lowered(u64),
    /// The kernel gives nobody more than this: the unit does not start.
    Refused(u64),
}

pub(super) fn look(case: &Case, report: &mut Report) {
    let giver = Giver::of(case.keeper);
    let memory = case.keeper.filter(|_| case.settings.cgroups != CgroupMode::Off).and_then(controllers::least_memory);
    let mut given = 0_u32;
    for (name, unit) in &case.host.units {
        for limit in &unit.service.exec.limits {
            match giver.excess(limit) {
                None => given += 1,
                Some(excess) => tell(report, giver.name, name, limit, excess),
            }
        }
        let wanted = unit.service.resources.memory_max.and_then(|max| resources::bytes(max, controllers::machine().0));
        if let (Some(wanted), Some((above, most))) = (wanted, &memory)
            && wanted > *most
        {
            tell_of_memory(report, name, wanted, above, *most);
        }
    }
    if given > 0 {
        report.ok(TOPIC, "limits of units", format!("{given} can be given"));
    }
}

impl Giver {
    /// The keeper, or else whoever is started as we were.
    fn of(keeper: Option<Pid>) -> Self {
        let whose = keeper.map_or_else(|| "self".to_owned(), |keeper| keeper.to_string());
        let read = |file: &str| fs::read_to_string(format!("/proc/{whose}/{file}")).unwrap_or_default();
        Self {
            name: if keeper.is_some() { "the daemon" } else { "this shell" },
            own: read("limits"),
            may_raise: may_raise(&read("status"), &read("uid_map")),
            descriptors_max: number("/proc/sys/fs/nr_open"),
        }
    }

    fn excess(&self, limit: &Limit) -> Option<Excess> {
        let wanted = limit.hard.unwrap_or(u64::MAX);
        let own = hard_limit(&self.own, name_in_proc(limit.resource)).filter(|own| !self.may_raise && wanted > *own);
        let most = self.descriptors_max.filter(|most| limit.resource == Resource::Nofile && wanted > *most);
        // What is lowered to our own is no more than anyone can have.
        own.map(Excess::Lowered).or_else(|| most.map(Excess::Refused))
    }
}

/// Within a namespace of users nobody may: the kernel asks for the capability outside.
fn may_raise(status: &str, uid_map: &str) -> bool {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let has_it =
        set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & RAISES_LIMITS != 0);
    has_it && uid_map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

fn tell(report: &mut Report, giver: &str, unit: &UnitName, limit: &Limit, excess: Excess) {
    let resource = format!("{:?}", limit.resource);
    let key = format!("limit_{}", resource.to_lowercase());
    let wanted = limit.hard.map_or_else(|| "infinity".to_owned(), |hard| hard.to_string());
    let place = format!("{key} of {unit}");
    match excess {
        Excess::Lowered(own) => {
            let message = format!("it asks for {wanted} and gets {own}, which is all that {giver} has");
            let of_systemd = format!("Limit{}=", resource.to_uppercase());
            let unit = "the unit of systemd that runs supervisord";
            let remedy = format!("{of_systemd} in {unit}, CAP_SYS_RESOURCE for it, or a lower {key}");
            report.warn(TOPIC, place, message, remedy);
        }
        Excess::Refused(most) => {
            let message =
                format!("it asks for {wanted}, the kernel gives nobody more than {most}, and so it cannot start");
            report.fail(TOPIC, place, message, format!("sysctl fs.nr_open, or a lower {key}"));
        }
    }
}

fn tell_of_memory(report: &mut Report, unit: &UnitName, wanted: u64, above: &Path, most: u64) {
    let message = format!(
        "it is {}, and {} has {} for all that is in it: it is never reached",
        ByteSize(wanted).rounded(),
        above.display(),
        ByteSize(most).rounded()
    );
    let remedy =
        "MemoryMax= in the unit of systemd that runs supervisord, more for the container, or a lower memory_max";
    report.warn(TOPIC, format!("memory_max of {unit}"), message, remedy);
}

/// What proc_pid_limits(5) calls it.
const fn name_in_proc(resource: Resource) -> &'static str {
    match resource {
        Resource::As => "Max address space",
        Resource::Core => "Max core file size",
        Resource::Cpu => "Max cpu time",
        Resource::Data => "Max data size",
        Resource::Fsize => "Max file size",
        Resource::Locks => "Max file locks",
        Resource::Memlock => "Max locked memory",
        Resource::Msgqueue => "Max msgqueue size",
        Resource::Nice => "Max nice priority",
        Resource::Nofile => "Max open files",
        Resource::Nproc => "Max processes",
        Resource::Rss => "Max resident set",
        Resource::Rtprio => "Max realtime priority",
        Resource::Rttime => "Max realtime timeout",
        Resource::Sigpending => "Max pending signals",
        Resource::Stack => "Max stack size",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(resource: Resource, hard: Option<u64>) -> Limit {
        Limit { resource, soft: hard, hard }
    }

    #[test]
    fn the_kernel_calls_each_limit_so() {
        let own = fs::read_to_string("/proc/self/limits").unwrap();
        let all = [
            Resource::As,
            Resource::Core,
            Resource::Cpu,
            Resource::Data,
            Resource::Fsize,
            Resource::Locks,
            Resource::Memlock,
            Resource::Msgqueue,
            Resource::Nice,
            Resource::Nofile,
            Resource::Nproc,
            Resource::Rss,
            Resource::Rtprio,
            Resource::Rttime,
            Resource::Sigpending,
            Resource::Stack,
        ];
        for resource in all {
            assert!(hard_limit(&own, name_in_proc(resource)).is_some(), "{resource:?}: {own}");
        }
    }

    #[test]
    fn a_limit_above_our_own_is_lowered_unless_we_may_raise_it_and_nobody_has_more_descriptors_than_the_kernel() {
        let own = "Max open files            1024                 4096                 files     
Max processes unlimited 100";
        let giver =
            |may_raise| Giver { name: "the daemon", own: own.to_owned(), may_raise, descriptors_max: Some(9000) };
        let cases = [
            (Resource::Nofile, Some(4096), None, None),
            (Resource::Nofile, Some(4097), Some(Excess::Lowered(4096)), None),
            (Resource::Nofile, None, Some(Excess::Lowered(4096)), Some(Excess::Refused(9000))),
            (Resource::Nproc, None, Some(Excess::Lowered(100)), None),
            (Resource::Core, None, None, None),
        ];
        for (resource, hard, lowered, raised) in cases {
            let limit = limit(resource, hard);
            assert_eq!((giver(false).excess(&limit), giver(true).excess(&limit)), (lowered, raised), "{limit:?}");
        }
    }

    #[test]
    fn whoever_is_root_in_a_namespace_alone_may_raise_no_limit() {
        let all = "         0          0 4294967295
";
        let has = |set: &str| {
            format!(
                "Name:	x
CapEff:	{set}
"
            )
        };
        assert!(may_raise(&has("000001ffffffffff"), all));
        assert!(!may_raise(&has("000001fffeffffff"), all));
        assert!(!may_raise(
            &has("000001ffffffffff"),
            "         0       1000          1
"
        ));
        assert!(!may_raise("", all));
    }

    #[test]
    fn what_cannot_be_had_is_said_with_the_key_and_what_to_do() {
        let mut report = Report::default();
        let web = UnitName::new("web").unwrap();
        tell(&mut report, "the daemon", &web, &limit(Resource::Nofile, None), Excess::Lowered(4096));
        tell(&mut report, "the daemon", &web, &limit(Resource::Nofile, Some(9001)), Excess::Refused(9000));
        tell_of_memory(&mut report, &web, 4 << 30, Path::new("/sys/fs/cgroup/box"), 2 << 30);
        let said = report.said();
        let level_and_place: Vec<_> = said.iter().map(|(level, place, _)| (*level, *place)).collect();
        let nofile = "limit_nofile of web";
        assert_eq!(level_and_place, [("warn", nofile), ("fail", nofile), ("warn", "memory_max of web")]);
        assert!(said[0].2.contains("asks for infinity and gets 4096"), "{said:?}");
        assert!(said[2].2.starts_with("it is 4G, and /sys/fs/cgroup/box has 2G for all"), "{said:?}");
        let remedies: Vec<_> = report.diagnosis().findings.into_iter().filter_map(|one| one.remedy).collect();
        assert!(remedies[0].starts_with("LimitNOFILE= in the unit of systemd"), "{remedies:?}");
    }
}
