use std::collections::BTreeSet;

use toml::de::DeValue;

use super::{
    value::{extend, items, put},
    walk::{Key, Value, Walk},
};
use crate::{
    base::ByteSize,
    unit::{
        draft::Draft,
        spec::{
            Amount, CpuWeight, DeviceAllow, DeviceLimit, DeviceName, DevicePolicy, OomPolicy, ResourcesFallback,
            ResourcesSpec, TasksMax,
        },
    },
};

/// `[service]`, as systemd.resource-control(5) has it, and OOMPolicy= of systemd.service(5).
pub(super) const RESOURCES: &[Key<Draft>] = &[
    Key { name: "allowed_cpus", set: |d, w, v| put(&mut of(d).allowed_cpus, set_of_numbers(w, v)) },
    Key { name: "allowed_memory_nodes", set: |d, w, v| put(&mut of(d).allowed_memory_nodes, set_of_numbers(w, v)) },
    Key { name: "cpu_accounting", set: |d, w, v| put(&mut of(d).accounting.cpu, w.boolean(v)) },
    Key { name: "cpu_quota", set: |d, w, v| put(&mut of(d).cpu_quota, cpu_quota(w, v)) },
    Key {
        name: "cpu_quota_period_sec",
        set: |d, w, v| put(&mut of(d).cpu_quota_period, unless_empty(w, v, |w, v| w.span(v))),
    },
    Key { name: "cpu_weight", set: |d, w, v| put(&mut of(d).cpu_weight, cpu_weight(w, v)) },
    Key { name: "delegate", set: |d, w, v| put(&mut of(d).delegate, delegate(w, v)) },
    Key { name: "device_allow", set: |d, w, v| extend(&mut of(d).device_allow, w, v, device_allow) },
    Key { name: "device_policy", set: |d, w, v| put(&mut of(d).device_policy, w.choice(v, DEVICE_POLICIES)) },
    Key { name: "io_accounting", set: |d, w, v| put(&mut of(d).accounting.io, w.boolean(v)) },
    Key { name: "io_device_weight", set: |d, w, v| extend(&mut of(d).io_device_weight, w, v, device_weight) },
    Key { name: "io_read_bandwidth_max", set: |d, w, v| extend(&mut of(d).io_read_bandwidth_max, w, v, device_max) },
    Key { name: "io_read_iops_max", set: |d, w, v| extend(&mut of(d).io_read_iops_max, w, v, device_max) },
    Key { name: "io_weight", set: |d, w, v| put(&mut of(d).io_weight, unless_empty(w, v, |w, v| w.weight(v))) },
    Key { name: "io_write_bandwidth_max", set: |d, w, v| extend(&mut of(d).io_write_bandwidth_max, w, v, device_max) },
    Key { name: "io_write_iops_max", set: |d, w, v| extend(&mut of(d).io_write_iops_max, w, v, device_max) },
    Key { name: "memory_accounting", set: |d, w, v| put(&mut of(d).accounting.memory, w.boolean(v)) },
    Key { name: "memory_high", set: |d, w, v| put(&mut of(d).memory_high, amount_above_zero(w, v)) },
    Key { name: "memory_low", set: |d, w, v| put(&mut of(d).memory_low, amount(w, v)) },
    Key { name: "memory_max", set: |d, w, v| put(&mut of(d).memory_max, amount_above_zero(w, v)) },
    Key { name: "memory_min", set: |d, w, v| put(&mut of(d).memory_min, amount(w, v)) },
    Key { name: "memory_swap_max", set: |d, w, v| put(&mut of(d).memory_swap_max, amount(w, v)) },
    Key { name: "oom_policy", set: |d, w, v| put(&mut of(d).oom_policy, w.choice(v, OOM_POLICIES).map(Some)) },
    Key { name: "resources_fallback", set: |d, w, v| put(&mut of(d).fallback, w.choice(v, FALLBACKS).map(Some)) },
    Key { name: "tasks_accounting", set: |d, w, v| put(&mut of(d).accounting.tasks, w.boolean(v)) },
    Key { name: "tasks_max", set: |d, w, v| put(&mut of(d).tasks_max, tasks_max(w, v)) },
];

const DEVICE_POLICIES: &[(&str, DevicePolicy)] =
    &[("auto", DevicePolicy::Auto), ("closed", DevicePolicy::Closed), ("strict", DevicePolicy::Strict)];

const OOM_POLICIES: &[(&str, OomPolicy)] =
    &[("continue", OomPolicy::Continue), ("stop", OomPolicy::Stop), ("kill", OomPolicy::Kill)];

const FALLBACKS: &[(&str, ResourcesFallback)] =
    &[("refuse", ResourcesFallback::Refuse), ("warn", ResourcesFallback::Warn)];

/// Controllers that systemd can delegate, systemd.resource-control(5); all that there are is what a unit gets.
const CONTROLLERS: [&str; 11] = [
    "bpf-devices",
    "bpf-firewall",
    "bpf-foreign",
    "bpf-socket-bind",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "io",
    "memory",
    "pids",
];

/// The largest CPU or node that is believed.
const NUMBER_MAX: u16 = 8191;
/// The least and the largest weight, cgroups(7).
const WEIGHTS: std::ops::RangeInclusive<i64> = 1..=10_000;

fn of(draft: &mut Draft) -> &mut ResourcesSpec {
    &mut draft.def.service.resources
}

/// An empty string unsets the value.
fn unless_empty<T>(
    walk: &mut Walk<'_, '_>,
    value: &Value<'_>,
    read: impl FnOnce(&mut Walk<'_, '_>, &Value<'_>) -> Option<T>,
) -> Option<Option<T>> {
    if value.get_ref().as_str() == Some("") { Some(None) } else { read(walk, value).map(Some) }
}

impl Walk<'_, '_> {
    fn weight(&mut self, value: &Value<'_>) -> Option<u16> {
        self.integer(value, WEIGHTS).and_then(|number| u16::try_from(number).ok())
    }

    /// A value as it is written: a string, or a whole number.
    fn word(&mut self, value: &Value<'_>, expected: &str) -> Option<String> {
        match value.get_ref() {
            DeValue::String(text) => Some(text.trim().to_owned()),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Array(_)
            | DeValue::Table(_) => {
                self.wrong_type(value, expected);
                None
            }
        }
    }
}

fn refuse<T>(walk: &mut Walk<'_, '_>, value: &Value<'_>, text: &str, help: &str) -> Option<T> {
    walk.error(value, format!("{:?} cannot be {text:?}", walk.key), Some(help.to_owned()));
    None
}

/// A size, a percentage of the machine's memory, or `infinity`.
fn amount(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Amount>> {
    unless_empty(walk, value, |walk, value| {
        let text = walk.word(value, "a size")?;
        if text == "infinity" {
            return Some(Amount::Infinity);
        }
        let share = text.strip_suffix('%').map(|number| hundredths(number).filter(|share| *share <= 10_000));
        let amount = match share {
            Some(share) => share.map(Amount::Share),
            None => text.parse::<ByteSize>().ok().map(|size| Amount::Bytes(size.0)),
        };
        let help =
            "write a size such as \"512M\", a percentage of the machine's memory such as \"20%\", or \"infinity\"";
        amount.or_else(|| refuse(walk, value, &text, help))
    })
}

/// A limit of nothing would end the service before it begins.
fn amount_above_zero(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Amount>> {
    let amount = amount(walk, value)?;
    if matches!(amount, Some(Amount::Bytes(0) | Amount::Share(0))) {
        walk.error(value, format!("{:?} must be above zero", walk.key), None);
        return None;
    }
    Some(amount)
}

fn tasks_max(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<TasksMax>> {
    unless_empty(walk, value, |walk, value| {
        let text = walk.word(value, "a number of tasks")?;
        if text == "infinity" {
            return Some(TasksMax::Infinity);
        }
        let max = match text.strip_suffix('%') {
            Some(number) => hundredths(number).filter(|share| (1..=10_000).contains(share)).map(TasksMax::Share),
            None => text.parse().ok().filter(|count| *count > 0).map(TasksMax::Count),
        };
        let help = "write a number above zero, a percentage of what the machine can have, or \"infinity\"";
        max.or_else(|| refuse(walk, value, &text, help))
    })
}

/// A percentage of one CPU; more than 100% is more than one.
fn cpu_quota(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<u32>> {
    unless_empty(walk, value, |walk, value| {
        let text = walk.word(value, "a percentage")?;
        let quota = text.strip_suffix('%').and_then(hundredths).filter(|quota| *quota > 0);
        quota.or_else(|| refuse(walk, value, &text, "write a percentage of one CPU above zero, such as \"150%\""))
    })
}

fn cpu_weight(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<CpuWeight>> {
    unless_empty(walk, value, |walk, value| match value.get_ref().as_str() {
        Some("idle") => Some(CpuWeight::Idle),
        Some(_) | None => walk.weight(value).map(CpuWeight::Weight),
    })
}

/// Hundredths of a percent: at most two digits after the point, as systemd reads them.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "00"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 2 {
        return None;
    }
    let fraction: u32 = format!("{fraction:0<2}").parse().ok()?;
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(fraction)
}

/// `"0-3 5"`, `"0-3,5"`, a number, or a list of those; an empty string unsets it. Written as the kernel writes sets.
fn set_of_numbers(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<Option<Box<str>>> {
    let mut words: Vec<String> = Vec::new();
    let items = items(value);
    for item in items {
        let text = walk.word(item, "a set of numbers")?;
        let split = text.split(|c: char| c == ',' || c.is_whitespace());
        words.extend(split.filter(|word| !word.is_empty()).map(str::to_owned));
    }
    let mut numbers = BTreeSet::new();
    for word in &words {
        let (first, last) = word.split_once('-').unwrap_or((word, word));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last && last <= NUMBER_MAX => numbers.extend(first..=last),
            _ => return refuse(walk, value, word, "write numbers and ranges such as \"0-3,6\""),
        }
    }
    Some((!numbers.is_empty()).then(|| ranges(&numbers).into()))
}

fn ranges(numbers: &BTreeSet<u16>) -> String {
    let mut all: Vec<(u16, u16)> = Vec::new();
    for number in numbers {
        match all.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            Some(_) | None => all.push((*number, *number)),
        }
    }
    let shown =
        all.iter().map(|(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") });
    shown.collect::<Vec<_>>().join(",")
}

/// A truth, or the controllers that are wanted: the service gets what there is either way.
fn delegate(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<bool> {
    let words: Vec<&str> = match value.get_ref() {
        DeValue::Array(items) => items.iter().map(|item| item.get_ref().as_str().unwrap_or_default()).collect(),
        DeValue::String(text) if text.split_whitespace().all(|word| CONTROLLERS.contains(&word)) => {
            text.split_whitespace().collect()
        }
        DeValue::String(_)
        | DeValue::Boolean(_)
        | DeValue::Integer(_)
        | DeValue::Float(_)
        | DeValue::Datetime(_)
        | DeValue::Table(_) => return walk.boolean(value),
    };
    match words.iter().find(|word| !CONTROLLERS.contains(word)) {
        Some(word) => refuse(walk, value, word, &format!("write true, or some of {}", CONTROLLERS.join(", "))),
        None => Some(true),
    }
}

/// `"PATH VALUE"`: the path of a device or of any file on it.
fn device<'v>(walk: &mut Walk<'_, '_>, value: &'v Value<'_>, example: &str) -> Option<(Box<std::path::Path>, &'v str)> {
    let text = walk.line(value)?;
    let Some((path, number)) = text.trim().rsplit_once(char::is_whitespace) else {
        return refuse(walk, value, text, &format!("write a path and a value, such as {example:?}"));
    };
    Some((walk.path(value, path.trim_end())?, number))
}

fn device_weight(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<DeviceLimit> {
    let (path, number) = device(walk, value, "/dev/sda 200")?;
    match number.parse::<i64>().ok().filter(|weight| WEIGHTS.contains(weight)) {
        Some(weight) => Some(DeviceLimit { path, value: u64::try_from(weight).ok() }),
        None => refuse(walk, value, number, "a weight is a number from 1 to 10000"),
    }
}

/// Suffixes count by 1000 here, systemd.resource-control(5).
fn device_max(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<DeviceLimit> {
    let (path, number) = device(walk, value, "/dev/sda 5M")?;
    if number == "infinity" {
        return Some(DeviceLimit { path, value: None });
    }
    let (digits, scale) = [("K", 1_000), ("M", 1_000_000), ("G", 1_000_000_000), ("T", 1_000_000_000_000)]
        .into_iter()
        .find_map(|(suffix, scale)| number.strip_suffix(suffix).map(|digits| (digits, scale)))
        .unwrap_or((number, 1));
    match digits.parse::<u64>().ok().and_then(|max| max.checked_mul(scale)).filter(|max| *max > 0) {
        Some(max) => Some(DeviceLimit { path, value: Some(max) }),
        None => refuse(
            walk,
            value,
            number,
            "write a number above zero a second, with K, M, G or T by 1000, or \"infinity\"",
        ),
    }
}

/// `"/dev/NODE rwm"`, `"char-GROUP rw"`, `"block-GROUP"`; all three accesses unless some are named.
fn device_allow(walk: &mut Walk<'_, '_>, value: &Value<'_>) -> Option<DeviceAllow> {
    let text = walk.line(value)?;
    let mut words = text.split_whitespace();
    let (name, access, more) = (words.next().unwrap_or_default(), words.next().unwrap_or("rwm"), words.next());
    let device = match (name.strip_prefix("char-"), name.strip_prefix("block-")) {
        (Some(group), _) if !group.is_empty() => DeviceName::Char(group.into()),
        (_, Some(group)) if !group.is_empty() => DeviceName::Block(group.into()),
        _ if name.starts_with("/dev/") => DeviceName::Path(walk.path(value, name)?),
        _ => {
            return refuse(
                walk,
                value,
                text,
                "a device is a path in /dev, or \"char-\" or \"block-\" and a name of /proc/devices",
            );
        }
    };
    if more.is_some() || access.contains(|c| !matches!(c, 'r' | 'w' | 'm')) {
        return refuse(walk, value, text, "what may be done is some of r (read), w (write) and m (mknod)");
    }
    let has = |letter| access.contains(letter);
    Some(DeviceAllow { device, read: has('r'), write: has('w'), make: has('m') })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_two_digits_at_most() {
        let cases =
            [("20", Some(2000)), ("150", Some(15000)), ("0.5", Some(50)), ("12.34", Some(1234)), ("0", Some(0))];
        for (text, value) in cases {
            assert_eq!(hundredths(text), value, "{text}");
        }
        for bad in ["", ".", "1.", ".5", "1.234", "-1", "+1", "1e2", "99999999999"] {
            assert_eq!(hundredths(bad), None, "{bad}");
        }
    }

    #[test]
    fn sets_are_written_as_the_kernel_writes_them() {
        assert_eq!(ranges(&BTreeSet::from([0, 1, 2, 5, 7, 8])), "0-2,5,7-8");
    }
}
