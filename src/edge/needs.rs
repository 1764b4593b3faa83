//! Whether this host has what units need of it.

use std::{collections::BTreeMap, path::Path};

use nix::{
    errno::Errno,
    unistd::{AccessFlags, access},
};

use super::{secret, tls, users, zones};
use crate::{
    base::Chain,
    unit::{Level, Need, Needed, Problem},
};

/// What is not here, each at its place: an error for a daemon of this host.
pub fn lacking<'n>(needs: impl IntoIterator<Item = &'n Need>) -> Vec<Problem> {
    told(needs, Level::Error, |_| true)
}

/// The same for someone who looks at files that may be of another host, and may not see all of this one.
pub fn perhaps_lacking<'n>(needs: impl IntoIterator<Item = &'n Need>) -> Vec<Problem> {
    told(needs, Level::Warning, is_seen)
}

fn told<'n>(needs: impl IntoIterator<Item = &'n Need>, level: Level, can_ask: fn(&Needed) -> bool) -> Vec<Problem> {
    // Many units have one user.
    let mut known: BTreeMap<&Needed, Option<String>> = BTreeMap::new();
    let mut problems = Vec::new();
    for need in needs {
        let why =
            known.entry(&need.what).or_insert_with(|| if can_ask(&need.what) { unmet(&need.what).err() } else { None });
        let help = (level == Level::Warning)
            .then(|| "a daemon of this host would refuse it; of another it may be right".to_owned());
        problems.extend(why.clone().map(|why| need.problem(level, why, help)));
    }
    problems
}

fn unmet(what: &Needed) -> Result<(), String> {
    let of_probe = |probe: &str| {
        let probe = probe.to_owned();
        move |why: String| format!("the probe {probe:?} cannot ask: {why}")
    };
    match what {
        Needed::User(name) => users::look_up(name, None, &[]).map(drop).map_err(|error| Chain(&error).to_string()),
        Needed::Group(name) => users::look_up_group(name).map(drop).map_err(|error| Chain(&error).to_string()),
        Needed::Zone(name) => zones::find(name).map(drop).map_err(|error| error.to_string()),
        Needed::Secret(probe, file) => secret::read(file).map(drop).map_err(of_probe(probe)),
        Needed::Authorities(probe, file) => tls::check_ca_file(file).map_err(of_probe(probe)),
        Needed::Identity(probe, cert, key) => tls::check_identity(cert, key).map_err(of_probe(probe)),
    }
}

/// Whether it can be told: what is root's alone says nothing to others, and a specifier is filled in elsewhere.
fn is_seen(what: &Needed) -> bool {
    let is_seen =
        |file: &Path| access(file, AccessFlags::R_OK) != Err(Errno::EACCES) && !file.to_string_lossy().contains('%');
    match what {
        Needed::User(name) | Needed::Group(name) | Needed::Zone(name) => !name.contains('%'),
        Needed::Secret(_, file) | Needed::Authorities(_, file) => is_seen(file),
        Needed::Identity(_, cert, key) => is_seen(cert) && is_seen(key),
    }
}
