//! What a unit needs that only its host can have: users, files of secrets and certificates. Whether they are there is asked
//! by whoever knows the host, and told at their place.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    calendar::ZoneName,
    diag::{Level, Place, Problem, Report},
    draft::Places,
    spec::{ProbeCheck, ProbeSpec, TlsCheck, UnitDef},
};

/// One of those, and where a file says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// What.
    pub what: Needed,
    file: Arc<Path>,
    line: u32,
    column: u32,
}

/// What is needed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needed {
    /// A user, by name or number.
    User(Box<str>),
    /// A group, by name or number.
    Group(Box<str>),
    /// The rules of a time zone.
    Zone(Box<str>),
    /// A file that others must not read, and the probe that shows what stands in it.
    Secret(Box<str>, Box<Path>),
    /// A PEM file of authorities, and the probe that trusts them.
    Authorities(Box<str>, Box<Path>),
    /// PEM files of a certificate and its key, and the probe that shows it.
    Identity(Box<str>, Box<Path>, Box<Path>),
}

impl Needed {
    /// Whether it is of a probe: without it the unit can run all the same.
    pub const fn is_of_probe(&self) -> bool {
        match self {
            Self::User(_) | Self::Group(_) | Self::Zone(_) => false,
            Self::Secret(..) | Self::Authorities(..) | Self::Identity(..) => true,
        }
    }
}

impl Need {
    /// That it is not there.
    pub fn problem(&self, level: Level, message: String, help: Option<String>) -> Problem {
        Problem { file: Arc::clone(&self.file), line: self.line, column: self.column, level, message, help }
    }
}

/// What `unit` needs; `places` is where its keys stand, `begin` where its first file begins.
pub(super) fn of(unit: &UnitDef, places: &Places, begin: Place, report: &Report<'_>) -> Vec<Need> {
    let mut found: BTreeMap<Needed, Place> = BTreeMap::new();
    let mut add = |what: Needed, place: Option<Place>| {
        found.insert(what, place.unwrap_or(begin));
    };
    let exec = &unit.service.exec;
    let names = [("user", &exec.user, Needed::User as fn(Box<str>) -> Needed), ("group", &exec.group, Needed::Group)];
    for (key, name, what) in names {
        name.iter().for_each(|name| add(what(name.clone()), places.find("service", key)));
    }
    for name in &exec.supplementary_groups {
        add(Needed::Group(name.clone()), places.find("service", "supplementary_groups"));
    }
    for socket in &unit.sockets.list {
        let options = &socket.options;
        options.user.iter().for_each(|n| add(Needed::User(n.clone()), places.find("socket", "socket_user")));
        options.group.iter().for_each(|n| add(Needed::Group(n.clone()), places.find("socket", "socket_group")));
    }
    for event in unit.timer.iter().flat_map(|timer| &timer.on_calendar) {
        if let ZoneName::Named(zone) = event.zone() {
            add(Needed::Zone(zone.as_ref().into()), places.find("timer", "on_calendar"));
        }
    }
    for probe in &unit.health {
        of_probe(probe, places, &mut add);
    }
    let located = |(what, place)| {
        let (file, line, column) = report.located(place)?;
        Some(Need { what, file, line, column })
    };
    found.into_iter().filter_map(located).collect()
}

fn of_probe(probe: &ProbeSpec, places: &Places, add: &mut impl FnMut(Needed, Option<Place>)) {
    let name = &probe.name;
    for file in probe.check.secret_files() {
        add(Needed::Secret(name.clone(), file.into()), places.file(file));
    }
    let mut tls = |tls: &TlsCheck| {
        if let Some(file) = &tls.ca_file {
            add(Needed::Authorities(name.clone(), file.clone()), places.file(file));
        }
        if let Some((cert, key)) = &tls.identity {
            add(Needed::Identity(name.clone(), cert.clone(), key.clone()), places.file(key));
        }
    };
    match &*probe.check {
        ProbeCheck::Http(steps) => steps.iter().for_each(|step| tls(&step.tls)),
        ProbeCheck::Tcp(tcp) => tcp.tls.iter().for_each(tls),
        ProbeCheck::Exec(_)
        | ProbeCheck::Plugin(_)
        | ProbeCheck::Disk(_)
        | ProbeCheck::Certificate(_)
        | ProbeCheck::Redis(_)
        | ProbeCheck::File(_)
        | ProbeCheck::Systemd(_)
        | ProbeCheck::Log(_)
        | ProbeCheck::Memory(_)
        | ProbeCheck::Cpu(_) => {}
    }
}
