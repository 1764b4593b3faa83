use super::walk::{Value, Walk};
use crate::{
    base::{ByteSize, TimeSpan},
    unit::{
        draft::Draft,
        similar::did_you_mean,
        spec::{CpuPolicy, IoClass, Limit, Resource},
    },
};

/// `soft:hard` or one value for both; the last one given for a resource counts.
pub(super) fn limit(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>, resource: Resource) {
    let number = value.get_ref().as_integer().map(ToString::to_string);
    let text = match (&number, value.get_ref().as_str()) {
        (Some(number), _) => number,
        (None, Some(text)) => text,
        (None, None) => {
            walk.wrong_type(value, "a limit");
            return;
        }
    };
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let (Some(soft), Some(hard)) = (limit_value(soft, resource), limit_value(hard, resource)) else {
        let help = "write a number, \"infinity\", or \"soft:hard\"".to_owned();
        walk.error(value, format!("{:?} cannot be {text:?}", walk.key), Some(help));
        return;
    };
    if soft.unwrap_or(u64::MAX) > hard.unwrap_or(u64::MAX) {
        walk.error(value, format!("{:?} has a soft limit above the hard one", walk.key), None);
        return;
    }
    draft.limits.retain(|limit| limit.resource != resource);
    draft.limits.push(Limit { resource, soft, hard });
}

/// One side of a limit in its resource's own units; `Some(None)` is no limit.
fn limit_value(text: &str, resource: Resource) -> Option<Option<u64>> {
    let text = text.trim();
    if text == "infinity" {
        return Some(None);
    }
    let value = match resource {
        Resource::As
        | Resource::Core
        | Resource::Data
        | Resource::Fsize
        | Resource::Memlock
        | Resource::Msgqueue
        | Resource::Rss
        | Resource::Stack => text.parse::<ByteSize>().ok()?.0,
        // In whole seconds, rounded up: less than a second is not no time at all.
        Resource::Cpu => text.parse::<TimeSpan>().ok()?.micros()?.div_ceil(1_000_000),
        // A bare number is microseconds here.
        Resource::Rttime => text.parse().ok().or_else(|| text.parse::<TimeSpan>().ok()?.micros())?,
        Resource::Nice => nice_limit(text)?,
        Resource::Locks | Resource::Nofile | Resource::Nproc | Resource::Rtprio | Resource::Sigpending => {
            text.parse().ok()?
        }
    };
    // The kernel's word for no limit.
    (value != u64::MAX).then_some(Some(value))
}

/// RLIMIT_NICE counts from 20 downwards; with a sign the value is a niceness (systemd.exec(5), LimitNICE=).
fn nice_limit(text: &str) -> Option<u64> {
    const NICE_LIMIT_MAX: u64 = 40;
    if text.starts_with(['+', '-']) {
        let nice = text.parse::<i64>().ok().filter(|nice| (-20..=19).contains(nice))?;
        return u64::try_from(20 - nice).ok();
    }
    text.parse().ok().filter(|limit| *limit <= NICE_LIMIT_MAX)
}

/// `cpu_scheduling_policy`
pub(super) const CPU_POLICIES: &[(&str, CpuPolicy)] = &[
    ("other", CpuPolicy::Other),
    ("batch", CpuPolicy::Batch),
    ("idle", CpuPolicy::Idle),
    ("fifo", CpuPolicy::Fifo),
    ("rr", CpuPolicy::Rr),
];

const IO_CLASSES: &[(&str, IoClass)] = &[
    ("none", IoClass::None),
    ("realtime", IoClass::RealTime),
    ("best-effort", IoClass::BestEffort),
    ("idle", IoClass::Idle),
];

/// A class by its name or number.
pub(super) fn io_class(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<IoClass> {
    let is_number = value.get_ref().is_integer()
        || value.get_ref().as_str().is_some_and(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    if !is_number {
        return walk.choice(value, IO_CLASSES);
    }
    let number = usize::try_from(walk.integer(value, 0..=3)?).ok()?;
    IO_CLASSES.get(number).map(|(_, class)| *class)
}

/// The most CPUs that Linux is built for.
const CPUS_MAX: u16 = 8192;

/// CPUs by number and range: 3, "0-3", "0 2 4-5".
pub(super) fn cpu_affinity(draft: &mut Draft, walk: &mut Walk<'_, '_>, value: &Value<'_>) {
    let mut lists = vec![std::mem::take(&mut draft.exec_draft.cpu_affinity)];
    super::value::extend(&mut lists, walk, value, |walk, item| {
        if item.get_ref().is_integer() {
            let number = walk.integer(item, 0..=i64::from(CPUS_MAX - 1))?;
            return u16::try_from(number).ok().map(|number| vec![number]);
        }
        let text = walk.text(item)?;
        if text == "numa" {
            let help = Some("write the numbers of the CPUs".to_owned());
            walk.error(item, "\"numa\" is not supported by this version", help);
            return None;
        }
        let ranges = text.split([' ', '\t', ',']).filter(|word| !word.is_empty());
        let cpus: Option<Vec<Vec<u16>>> = ranges.map(range).collect();
        if cpus.is_none() {
            walk.error(item, format!("{:?} cannot be {text:?}", walk.key), Some("write \"0-3,6\"".to_owned()));
        }
        cpus.map(|cpus| cpus.concat())
    });
    draft.exec_draft.cpu_affinity = lists.concat();
}

fn range(word: &str) -> Option<Vec<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last && last < CPUS_MAX).then(|| (first..=last).collect())
}

/// Nanoseconds as a bare number, or a time span.
pub(super) fn nanoseconds(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<u64> {
    if value.get_ref().is_integer() {
        return walk.integer(value, 0..=i64::MAX).and_then(|number| u64::try_from(number).ok());
    }
    let text = walk.text(value)?;
    let number = text.strip_suffix("nsec").or_else(|| text.strip_suffix("ns")).unwrap_or(text).trim();
    let span = || text.parse::<TimeSpan>().ok()?.micros()?.checked_mul(1000);
    let parsed = number.parse().ok().or_else(span);
    if parsed.is_none() {
        let help = Some("write nanoseconds, or a span such as \"50us\"".to_owned());
        walk.error(value, format!("{:?} cannot be {text:?}", walk.key), help);
    }
    parsed
}

/// systemd's words for what this machine can be seen as, with the kernel's numbers (PER_LINUX, PER_LINUX32).
#[cfg(target_arch = "x86_64")]
const PERSONALITIES: [(&str, u32); 2] = [("x86-64", 0), ("x86", 8)];
#[cfg(target_arch = "aarch64")]
const PERSONALITIES: [(&str, u32); 2] = [("arm64", 0), ("arm", 8)];

pub(super) fn personality(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<u32>> {
    let word = walk.text(value)?;
    if word.is_empty() {
        return Some(None);
    }
    let known = PERSONALITIES.iter().find(|(known, _)| *known == word);
    if known.is_none() {
        let words = PERSONALITIES.iter().map(|(known, _)| *known);
        let help = did_you_mean(word, words.clone())
            .unwrap_or_else(|| format!("on this machine it can be {}", words.collect::<Vec<_>>().join(", ")));
        walk.error(value, format!("{:?} cannot be {word:?}", walk.key), Some(help));
    }
    known.map(|(_, number)| Some(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_have_the_units_of_their_resource() {
        let cases = [
            ("65536", Resource::Nofile, Some(Some(65536))),
            ("infinity", Resource::Core, Some(None)),
            ("4G", Resource::As, Some(Some(4 << 30))),
            ("4G", Resource::Nofile, None),
            ("500ms", Resource::Cpu, Some(Some(1))),
            ("2min", Resource::Cpu, Some(Some(120))),
            ("500", Resource::Rttime, Some(Some(500))),
            ("2ms", Resource::Rttime, Some(Some(2000))),
            ("-5", Resource::Nice, Some(Some(25))),
            ("+5", Resource::Nice, Some(Some(15))),
            ("7", Resource::Nice, Some(Some(7))),
            ("41", Resource::Nice, None),
            ("-1", Resource::Nofile, None),
            ("", Resource::Nproc, None),
        ];
        for (text, resource, value) in cases {
            assert_eq!(limit_value(text, resource), value, "{text} {resource:?}");
        }
    }

    #[test]
    fn ranges_of_cpus_are_read_with_both_ends() {
        assert_eq!(range("3"), Some(vec![3]));
        assert_eq!(range("2-4"), Some(vec![2, 3, 4]));
        for bad in ["4-2", "x", "1-", "8192", "-1", "0-99999"] {
            assert_eq!(range(bad), None, "{bad}");
        }
    }
}
