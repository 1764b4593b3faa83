//! What specifiers of unit files stand for on this host. Source: systemd.unit(5), "Specifiers"; os-release(5).

use std::{collections::BTreeMap, fs};

use crate::unit::{HostFacts, env_file::parse_env_file};

/// Asked once for each load of units; what cannot be had is left out.
pub fn facts() -> HostFacts {
    let mut facts = HostFacts::new();
    let mut put = |letter: char, text: Option<String>| {
        if let Some(text) = text {
            facts.insert(letter, text.into());
        }
    };
    let line = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    put('m', line("/etc/machine-id"));
    put('b', line("/proc/sys/kernel/random/boot_id").map(|id| id.replace('-', "")));
    put('v', line("/proc/sys/kernel/osrelease"));
    let hostname = line("/proc/sys/kernel/hostname");
    put('l', hostname.as_ref().map(|name| name.split('.').next().unwrap_or_default().to_owned()));
    put('q', hostname.clone());
    put('H', hostname);
    put('a', Some(std::env::consts::ARCH.replace('_', "-").replace("aarch64", "arm64")));
    let release = line("/etc/os-release").or_else(|| line("/usr/lib/os-release")).unwrap_or_default();
    let release: BTreeMap<String, String> = parse_env_file(&release).into_iter().collect();
    for (letter, name) in [
        ('A', "IMAGE_VERSION"),
        ('B', "BUILD_ID"),
        ('M', "IMAGE_ID"),
        ('o', "ID"),
        ('w', "VERSION_ID"),
        ('W', "VARIANT_ID"),
    ] {
        put(letter, Some(release.get(name).cloned().unwrap_or_default()));
    }
    who(&mut put);
    for (letter, path) in [
        ('t', "/run"),
        ('S', "/var/lib"),
        ('C', "/var/cache"),
        ('L', "/var/log"),
        ('E', "/etc"),
        ('D', "/usr/share"),
        ('T', "/tmp"),
        ('V', "/var/tmp"),
    ] {
        put(letter, Some(path.to_owned()));
    }
    facts
}

/// The manager's user, not the unit's.
fn who(put: &mut impl FnMut(char, Option<String>)) {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    put('U', Some(uid.to_string()));
    put('G', Some(gid.to_string()));
    let user = nix::unistd::User::from_uid(uid).ok().flatten();
    let group = nix::unistd::Group::from_gid(gid).ok().flatten();
    put('u', user.as_ref().map(|user| user.name.clone()));
    put('g', group.map(|group| group.name));
    put('h', user.as_ref().map(|user| user.dir.display().to_string()));
    put('s', user.map(|user| user.shell.display().to_string()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_is_known() {
        let facts = facts();
        for letter in ['H', 'b', 'v', 'u', 't', 'o'] {
            assert!(facts.get(&letter).is_some_and(|text| !text.is_empty()), "{letter}");
        }
        assert_eq!(facts[&'b'].len(), 32, "as systemd shows it");
    }
}
