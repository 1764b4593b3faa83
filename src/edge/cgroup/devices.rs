//! Which devices a unit may use: names of devices as the kernel's numbers. Source: systemd.resource-control(5),
//! DeviceAllow= and DevicePolicy=.

use std::{
    fs, io,
    os::{
        fd::AsFd,
        unix::fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use crate::{
    sys::{DeviceKind, DeviceRule, filter_devices},
    unit::spec::{DeviceAllow, DeviceName, DevicePolicy, ResourcesSpec},
};

const ALL: u8 = DeviceRule::MAKE | DeviceRule::READ | DeviceRule::WRITE;
/// What `closed` leaves, major and minor: null, zero, full, random, urandom, tty, ptmx.
const PSEUDO: [(u32, u32); 7] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)];
/// Pseudo terminals, by their group in /proc/devices.
const PSEUDO_TERMINALS: &str = "pts";

/// Lets the processes in `cgroup` (of version 2) use only the devices of the unit.
///
/// # Errors
/// As bpf(2).
pub fn restrict(cgroup: impl AsFd, spec: &ResourcesSpec) -> io::Result<()> {
    filter_devices(cgroup.as_fd(), &rules(spec, &fs::read_to_string("/proc/devices").unwrap_or_default()))
}

/// A device that is not there is not allowed.
fn rules(spec: &ResourcesSpec, groups: &str) -> Vec<DeviceRule> {
    let mut rules = Vec::new();
    if spec.device_policy != DevicePolicy::Strict {
        let pseudo = |(major, minor)| DeviceRule { kind: DeviceKind::Char, major, minor: Some(minor), access: ALL };
        rules.extend(PSEUDO.map(pseudo));
        let access = DeviceRule::READ | DeviceRule::WRITE;
        rules.extend(of_groups(groups, DeviceKind::Char, PSEUDO_TERMINALS, access));
    }
    for allow in &spec.device_allow {
        let access = access(allow);
        match &allow.device {
            DeviceName::Path(path) => rules.extend(of_path(path, access)),
            DeviceName::Char(name) => rules.extend(of_groups(groups, DeviceKind::Char, name, access)),
            DeviceName::Block(name) => rules.extend(of_groups(groups, DeviceKind::Block, name, access)),
        }
    }
    rules
}

fn access(allow: &DeviceAllow) -> u8 {
    let DeviceAllow { device: _, read, write, make } = allow;
    let bits = [(*make, DeviceRule::MAKE), (*read, DeviceRule::READ), (*write, DeviceRule::WRITE)];
    bits.into_iter().filter(|(is, _)| *is).map(|(_, bit)| bit).sum()
}

fn of_path(path: &Path, access: u8) -> Option<DeviceRule> {
    let meta = fs::metadata(path).ok()?;
    let kind = match meta.file_type() {
        kind if kind.is_block_device() => DeviceKind::Block,
        kind if kind.is_char_device() => DeviceKind::Char,
        _ => return None,
    };
    let number = |part: u64| u32::try_from(part).ok();
    let (major, minor) = (nix::sys::stat::major(meta.rdev()), nix::sys::stat::minor(meta.rdev()));
    Some(DeviceRule { kind, major: number(major)?, minor: Some(number(minor)?), access })
}

/// The groups of /proc/devices whose name fits.
fn of_groups(groups: &str, kind: DeviceKind, pattern: &str, access: u8) -> Vec<DeviceRule> {
    let mut of = None;
    let mut rules = Vec::new();
    for line in groups.lines() {
        match line.trim() {
            "Character devices:" => of = Some(DeviceKind::Char),
            "Block devices:" => of = Some(DeviceKind::Block),
            line => {
                let Some((major, name)) = line.split_once(' ') else { continue };
                let Ok(major) = major.parse() else { continue };
                if of == Some(kind) && fits(pattern.as_bytes(), name.as_bytes()) {
                    rules.push(DeviceRule { kind, major, minor: None, access });
                }
            }
        }
    }
    rules
}

/// Whether a name fits a pattern with `*` and `?`.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => fits(rest, name) || (!name.is_empty() && fits(pattern, &name[1..])),
        ([b'?', rest @ ..], [_, name @ ..]) => fits(rest, name),
        ([one, rest @ ..], [other, name @ ..]) => one == other && fits(rest, name),
        ([], _) | (_, []) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: &str = "Character devices:\n  1 mem\n136 pts\n 10 misc\n\nBlock devices:\n  7 loop\n259 blkext\n";

    fn shown(spec: &ResourcesSpec) -> Vec<String> {
        let show = |rule: DeviceRule| {
            let minor = rule.minor.map_or_else(|| "*".to_owned(), |minor| minor.to_string());
            format!("{:?} {}:{minor} {}", rule.kind, rule.major, rule.access)
        };
        rules(spec, GROUPS).into_iter().map(show).collect()
    }

    fn allow(device: DeviceName) -> DeviceAllow {
        DeviceAllow { device, read: true, write: false, make: false }
    }

    #[test]
    fn a_list_leaves_the_pseudo_devices_unless_it_is_strict() {
        let listed = vec![
            allow(DeviceName::Path(Path::new("/dev/zero").into())),
            allow(DeviceName::Path(Path::new("/dev/no-such-device").into())),
            allow(DeviceName::Path(Path::new("/etc/passwd").into())),
            allow(DeviceName::Block("l*p".into())),
            allow(DeviceName::Char("loop".into())),
            allow(DeviceName::Block("blk?xt".into())),
        ];
        let own = ["Char 1:5 2", "Block 7:* 2", "Block 259:* 2"];
        let mut spec =
            ResourcesSpec { device_policy: DevicePolicy::Strict, device_allow: listed, ..Default::default() };
        assert_eq!(shown(&spec), own);
        for policy in [DevicePolicy::Closed, DevicePolicy::Auto] {
            spec.device_policy = policy;
            let all = shown(&spec);
            assert_eq!(all.len(), 7 + 1 + own.len());
            assert_eq!((all[0].as_str(), all[7].as_str()), ("Char 1:3 7", "Char 136:* 6"));
        }
    }

    #[test]
    fn patterns_are_those_of_a_shell() {
        for (pattern, name, does) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("?", "a", true),
            ("?", "", false),
            ("ab", "a", false),
        ] {
            assert_eq!(fits(pattern.as_bytes(), name.as_bytes()), does, "{pattern} {name}");
        }
    }
}
