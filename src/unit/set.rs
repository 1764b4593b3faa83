use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    str::FromStr,
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use super::{
    check::{self, Clean},
    connection, cross,
    diag::{Place, Problem, Report},
    dialect,
    draft::{Draft, Places, Relation},
    dropin::{self, Files, Groups},
    graph,
    needs::{self, Need},
    shared::Pool,
    source::{SourceText, UNITS_MAX},
    spec::{ExecSpec, LogSpec, MainProcess, Relations, ResourcesSpec, RestartPolicy, Sockets, Timeouts, UnitDef},
    specifier::HostFacts,
};
use crate::base::UnitName;

/// Checked units that fit together.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitSet {
    /// By name.
    pub units: BTreeMap<UnitName, Arc<UnitDef>>,
    /// From which instances can be made.
    pub templates: BTreeSet<UnitName>,
    /// The templates that accept connections: each is a unit too, which listens.
    pub acceptors: BTreeMap<UnitName, Acceptor>,
    /// Of the files they were read from.
    pub digest: Digest,
}

impl UnitSet {
    /// [`graph::start_order`] of this set.
    pub fn start_order<'n>(&self, wanted: impl IntoIterator<Item = &'n UnitName>) -> Vec<UnitName> {
        graph::start_order(&self.units, wanted)
    }

    /// [`graph::pulled_in`] of this set.
    pub fn pulled_in<'n>(&self, roots: impl IntoIterator<Item = &'n UnitName>) -> BTreeSet<UnitName> {
        graph::pulled_in(&self.units, roots)
    }

    /// [`graph::pulled_down`] of this set.
    pub fn pulled_down<'n>(&self, roots: impl IntoIterator<Item = &'n UnitName>) -> BTreeSet<UnitName> {
        graph::pulled_down(&self.units, roots)
    }
}

/// A template whose instances are made by connections.
#[derive(Debug, Clone, PartialEq)]
pub struct Acceptor {
    name: UnitName,
    /// Its own files only, in the order in which they apply.
    sources: Box<[SourceText]>,
    host: HostFacts,
}

impl Acceptor {
    /// The instance for one connection, made from the texts in memory: nothing else is read.
    #[must_use]
    pub fn instance(&self, ends: &str) -> Option<UnitDef> {
        self.instance_named(self.name.with_instance(ends)?)
    }

    /// The instance of this name, if it is one of ours.
    #[must_use]
    pub fn instance_named(&self, name: UnitName) -> Option<UnitDef> {
        let mut report = Report::new(&self.sources);
        let groups = dropin::group(&self.sources, &mut report);
        let files = groups.files(&name, &self.sources).filter(|_| name.template().as_ref() == Some(&self.name))?;
        let (sources, host, parts) = (&*self.sources, &self.host, Parts::default());
        let read = Reading { sources, groups: &groups, host, report: &mut report, parts }.one(name, &files);
        let mut def = Arc::unwrap_or_clone(read.def);
        report.finish().ok()?;
        if let Some(client) = connection::client(&def.name) {
            let said = &def.description;
            def.description = if said.is_empty() { client.into() } else { format!("{said} ({client})").into() };
        }
        def.sockets.is_connection().then_some(def)
    }
}

/// SHA-256 over names and texts of a set's files, in the order in which they apply; where they lie does not matter.
/// Shown as lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no digest (64 hex digits)");
        let mut digest = [0; 32];
        if text.len() != 2 * digest.len() || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(refused());
        }
        for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| refused())?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| refused())?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set, and what is odd about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The units.
    pub set: UnitSet,
    /// What was probably not meant.
    pub warnings: Vec<Problem>,
}

/// A unit with the places of its relations and sockets, for the checks between units.
pub(super) struct Read {
    /// Where it stays: a map of whole definitions would leave holes as large as itself.
    pub def: Arc<UnitDef>,
    pub relations: Vec<Relation>,
    pub sockets: Vec<Place>,
    pub instances: Vec<Box<str>>,
    pub install: Install,
    /// Where its timer names another unit.
    pub timer_unit: Option<Place>,
    /// Where its probes name others, in their order.
    pub depends_on: Vec<Place>,
    pub needs: Vec<Need>,
}

/// The `[install]` table.
pub(super) struct Install {
    pub wanted_by: Vec<(UnitName, Place)>,
    pub required_by: Vec<(UnitName, Place)>,
    pub enabled: Option<bool>,
}

/// Reads and checks all units at once; any error refuses them all, and the list then has the warnings too. Problems come
/// by file, then by place.
///
/// ```
/// use roundsman::unit::{SourceText, load};
///
/// let text = "[service]\nexec_start = \"/bin/web\"\nrestrat_sec = 1\n";
/// let problems = load(&[SourceText::new("units/web.toml", text)?]).unwrap_err();
/// assert_eq!(
///     problems[0].to_string(),
///     "units/web.toml:3:1: error: unknown key \"restrat_sec\" in [service]\n  help: did you mean \"restart_sec\"?"
/// );
/// # Ok::<(), roundsman::unit::Problem>(())
/// ```
pub fn load(sources: &[SourceText]) -> Result<Loaded, Vec<Problem>> {
    load_in(sources, &Surroundings::default())
}

/// What units are made for.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Instances of templates that someone asked for.
    pub instances: BTreeSet<UnitName>,
    /// What the specifiers of the host stand for.
    pub host: HostFacts,
}

/// As [`load`], for a host and with instances that no file names.
///
/// # Errors
/// As [`load`].
pub fn load_in(sources: &[SourceText], around: &Surroundings) -> Result<Loaded, Vec<Problem>> {
    load_with_needs(sources, around).0
}

/// The same, and what the units need that only a host can have; where they are refused, as far as it could be read.
pub fn load_with_needs(sources: &[SourceText], around: &Surroundings) -> (Result<Loaded, Vec<Problem>>, Vec<Need>) {
    let mut report = Report::new(sources);
    let groups = dropin::group(sources, &mut report);
    let digest = digest(sources, &groups);
    let parts = Parts::default();
    let mut reading = Reading { sources, groups: &groups, host: &around.host, report: &mut report, parts };
    let mut read = reading.all(&around.instances);
    cross::install(&mut read, &mut report);
    cross::check(&read, &mut report);
    let needs = read.values_mut().flat_map(|read| std::mem::take(&mut read.needs)).collect();
    let accepts = |name: &UnitName| read.get(name).is_some_and(|read| read.def.sockets.connection_limits().is_some());
    let accepting = groups.templates().filter(|(name, _)| accepts(name));
    let acceptor = |name: &UnitName, files: &Files| Acceptor {
        name: name.clone(),
        sources: files.in_order().filter_map(|at| sources.get(at).cloned()).collect(),
        host: around.host.clone(),
    };
    let acceptors = accepting.map(|(name, files)| (name.clone(), acceptor(name, files))).collect();
    let mut units: BTreeMap<UnitName, Arc<UnitDef>> = read.into_iter().map(|(name, read)| (name, read.def)).collect();
    share_names(&mut units);
    let mut relations = Pool::default();
    units.values_mut().for_each(|unit| relations.share(&mut Arc::make_mut(unit).relations));
    let templates = groups.templates().map(|(name, _)| name.clone()).collect();
    let loaded = |warnings| Loaded { set: UnitSet { units, templates, acceptors, digest }, warnings };
    (report.finish().map(loaded), needs)
}

struct Reading<'r, 's> {
    sources: &'s [SourceText],
    groups: &'r Groups,
    host: &'r HostFacts,
    report: &'r mut Report<'s>,
    parts: Parts,
}

impl Reading<'_, '_> {
    /// Every unit: those with files of their own, and the instances that are asked for, that templates name, or that
    /// others have to do with.
    fn all(&mut self, asked: &BTreeSet<UnitName>) -> BTreeMap<UnitName, Read> {
        let mut wanted: VecDeque<UnitName> = self.groups.units().cloned().collect();
        let mut read = BTreeMap::new();
        for (template, files) in self.groups.templates() {
            // As an instance without a name, for what is wrong with it and for the instances that it names.
            let unit = self.one(template.clone(), files);
            if unit.def.sockets.connection_limits().is_some() {
                read.insert(template.clone(), unit);
            } else {
                wanted.extend(unit.instances.iter().filter_map(|instance| template.with_instance(instance)));
            }
        }
        wanted.extend(asked.iter().cloned());
        while let Some(name) = wanted.pop_front() {
            if read.contains_key(&name) || name.is_template() || read.len() >= UNITS_MAX {
                continue;
            }
            let Some(files) = self.groups.files(&name, self.sources) else { continue };
            let mut unit = self.one(name.clone(), &files);
            if unit.def.sockets.is_connection() {
                let place = Place { file: files.unit.unwrap_or_default(), offset: 0 };
                let message =
                    format!("{name} cannot be there: connections make the instances of a template that accepts");
                self.report.error(place, message, Some("remove its files, and its name from other units".to_owned()));
                continue;
            }
            // At once: what a thousand units had of their own for a while would leave as many holes between what stays.
            self.parts.share(Arc::make_mut(&mut unit.def));
            let related = unit.relations.iter().map(|relation| &relation.name).chain(unit.def.timer_target());
            wanted.extend(related.filter(|name| name.template().is_some()).cloned());
            read.insert(name, unit);
        }
        read
    }

    fn one(&mut self, name: UnitName, files: &Files) -> Read {
        let Self { sources, report, host, .. } = self;
        let mut draft = Draft::new(name);
        let mut places = Places::default();
        let errors_before = report.errors();
        let mut paths = Vec::new();
        for (at, source) in files.in_order().filter_map(|at| sources.get(at).map(|source| (at, source))) {
            dialect::toml::read(source, at, &mut draft, &mut places, report, host);
            // A copy, which lies beside what stays and not among the texts.
            paths.push(Arc::from(&*source.path));
        }
        draft.def.sources = paths.into();
        let clean = if report.errors() == errors_before { Clean::Yes } else { Clean::No };
        let begin = Place { file: files.unit.unwrap_or_default(), offset: 0 };
        let relations = draft.relations.clone();
        let sockets = draft.sockets.listen.iter().map(|(_, place)| *place).collect();
        let instances = draft.instances.iter().map(|(instance, _)| instance.clone()).collect();
        let install = Install {
            wanted_by: std::mem::take(&mut draft.wanted_by),
            required_by: std::mem::take(&mut draft.required_by),
            enabled: draft.enabled,
        };
        let timer_unit = draft.timer.as_ref().and_then(|timer| timer.unit.as_ref()).map(|(_, place)| *place);
        let depends_on = draft.health.iter().flat_map(|probe| &probe.depends_on).map(|(_, place)| *place).collect();
        let def = check::finish(draft, &places, begin, clean, report);
        let needs = needs::of(&def, &places, begin, report);
        Read { def: Arc::new(def), relations, sockets, instances, install, timer_unit, depends_on, needs }
    }
}

/// Lets relations use the names of the units they mean: a name then exists once.
fn share_names(units: &mut BTreeMap<UnitName, Arc<UnitDef>>) {
    let names: BTreeSet<UnitName> = units.keys().cloned().collect();
    for unit in units.values_mut().map(Arc::make_mut) {
        if *unit.relations != Relations::default() {
            for name in unit.relations.lists_mut().into_iter().flatten() {
                if let Some(shared) = names.get(name) {
                    *name = shared.clone();
                }
            }
        }
        if let Some(shared) = names.get(&unit.name) {
            unit.name = shared.clone();
        }
    }
}

/// What units that are set up alike share: on a host with many, most differ in name and command alone.
#[derive(Default)]
struct Parts {
    relations: Pool<Relations>,
    restarts: Pool<RestartPolicy>,
    timeouts: Pool<Timeouts>,
    mains: Pool<MainProcess>,
    execs: Pool<ExecSpec>,
    sockets: Pool<Sockets>,
    logs: Pool<LogSpec>,
    resources: Pool<ResourcesSpec>,
}

impl Parts {
    fn share(&mut self, unit: &mut UnitDef) {
        self.relations.share(&mut unit.relations);
        self.restarts.share(&mut unit.service.restart);
        self.timeouts.share(&mut unit.service.timeouts);
        self.mains.share(&mut unit.service.main);
        self.execs.share(&mut unit.service.exec);
        self.sockets.share(&mut unit.sockets);
        self.logs.share(&mut unit.log);
        self.resources.share(&mut unit.service.resources);
    }
}

fn digest(sources: &[SourceText], groups: &Groups) -> Digest {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update(bytes.len().to_le_bytes());
        hash.update(bytes);
    };
    for (name, files) in groups.iter() {
        add(name.as_str().as_bytes());
        add(&files.dropins.len().to_le_bytes());
        files.in_order().filter_map(|at| sources.get(at)).for_each(|source| add(&source.text));
    }
    Digest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::unit::{FILE_BYTES_MAX, PROBLEMS_MAX};

    const WEB: &str = include_str!("../../tests/units/every_key/all.toml");

    fn sources(files: &[(&str, &str)]) -> Vec<SourceText> {
        files.iter().map(|(path, text)| SourceText::new(path, *text).unwrap()).collect()
    }

    fn messages(files: &[SourceText]) -> Vec<String> {
        load(files).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_digest_is_of_names_and_texts_alone() {
        let digest = |files: &[(&str, &str)]| load(&sources(files)).unwrap().set.digest;
        let (a, b) = ("service.exec_start = 'a'", "service.exec_start = 'b'");
        let plain = digest(&[("x/a.toml", a), ("x/b.toml", b)]);
        assert_eq!(plain, digest(&[("y/b.toml", b), ("y/a.toml", a)]));
        assert_ne!(plain, digest(&[("x/a.toml", b), ("x/b.toml", a)]));
        assert_ne!(plain, digest(&[("x/a.toml", a), ("x/b.toml", b), ("x/b.toml.d/c.toml", "")]));
        // A byte that moves from one file to the next makes another set.
        let split = |first: &str, second: &str| digest(&[("x/a.toml", first), ("x/a.toml.d/c.toml", second)]);
        assert_ne!(split("service.exec_start = 'a'\n", "\n"), split("service.exec_start = 'a'\n\n", ""));
        assert_eq!(plain.to_string().len(), 64);
    }

    #[test]
    fn a_set_orders_and_finds_its_units() {
        let files = sources(&[
            ("a.toml", "unit.requires = ['b']\nunit.after = ['b']\nservice.exec_start = 'a'"),
            ("b.toml", "service.exec_start = 'b'"),
            ("c.toml", "unit.before = ['b']\nservice.exec_start = 'c'"),
        ]);
        let set = load(&files).unwrap().set;
        let names = |list: Vec<UnitName>| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let (a, b) = (UnitName::new("a").unwrap(), UnitName::new("b").unwrap());
        assert_eq!(names(set.start_order(set.units.keys())), "c b a");
        assert_eq!(names(set.pulled_in([&a]).into_iter().collect()), "a b");
        assert_eq!(names(set.pulled_down([&b]).into_iter().collect()), "a b");
    }

    #[test]
    fn what_is_no_text_is_refused_at_its_byte() {
        let bad = SourceText::new("a.toml", b"[service]\nexec_start = '\xff'".as_slice()).unwrap();
        assert_eq!(messages(&[bad]), ["a.toml:2:15: error: the file is not text in UTF-8"]);
        let large = SourceText::new("a.toml", vec![b'#'; FILE_BYTES_MAX + 1]).unwrap();
        assert_eq!(messages(&[large]), ["a.toml:1:1: error: the file has 4194305 bytes, more than 4194304"]);
    }

    #[test]
    fn editors_habits_do_no_harm() {
        let files = sources(&[("a.toml", "\u{feff}[service]\r\nexec_start = \"a\"\r\n")]);
        assert_eq!(load(&files).unwrap().warnings, []);
    }

    #[test]
    fn nesting_without_end_is_an_error() {
        for text in
            ["[".repeat(100_000), "a = ".to_owned() + &"[".repeat(100_000), "a = ".to_owned() + &"{a=".repeat(100_000)]
        {
            let found = messages(&sources(&[("a.toml", &text)]));
            assert!(!found.is_empty() && found.len() <= PROBLEMS_MAX + 1);
        }
    }

    #[test]
    fn a_circle_of_many_is_shown_in_part() {
        let unit = |n: usize| format!("unit.after = 'u{:03}'\nservice.exec_start = 'x'", (n + 1) % 100);
        let files: Vec<_> = (0..100).map(|n| SourceText::new(format!("u{n:03}.toml"), unit(n)).unwrap()).collect();
        let found = messages(&files);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("u018 -> u019 -> (80 more) -> u000"), "{}", found[0]);
    }

    #[test]
    fn one_unit_too_many_is_refused() {
        let mut files: Vec<SourceText> =
            (0..UNITS_MAX).map(|n| SourceText::new(format!("u{n}.toml"), "service.exec_start='x'").unwrap()).collect();
        assert_eq!(load(&files).map(|loaded| loaded.set.units.len()), Ok(UNITS_MAX));
        files.push(SourceText::new("one-more.toml", "service.exec_start='x'").unwrap());
        assert_eq!(messages(&files), ["one-more.toml:1:1: error: more than 10000 units"]);
    }

    #[test]
    fn who_is_pulled_in_by_a_unit_of_ours_does_not_start_by_itself() {
        let files = sources(&[
            ("web.target.toml", ""),
            ("a.toml", "service.exec_start='a'\ninstall.wanted_by='web.target'"),
            ("b.toml", "service.exec_start='b'\ninstall.wanted_by=['web.target', 'multi-user.target']"),
            ("c.toml", "service.exec_start='c'\ninstall.required_by='web.target'\ninstall.enabled=true"),
            ("d.toml", "service.exec_start='d'\ninstall.wanted_by='multi-user.target'"),
        ]);
        let units = load(&files).unwrap().set.units;
        let enabled: Vec<&str> = units.values().filter(|unit| unit.enabled).map(|unit| unit.name.as_str()).collect();
        assert_eq!(enabled, ["b", "c", "d", "web.target"]);
    }

    #[test]
    fn an_instance_is_made_for_whoever_asks() {
        let files = sources(&[("pool@.toml", "service.exec_start='worker %i'")]);
        let name = |text| UnitName::new(text).unwrap();
        assert_eq!(load(&files).unwrap().set.units.len(), 0);
        let around =
            Surroundings { instances: BTreeSet::from([name("pool@x"), name("other@x")]), ..Surroundings::default() };
        let set = load_in(&files, &around).unwrap().set;
        assert_eq!(set.units.keys().collect::<Vec<_>>(), [&name("pool@x")]);
        assert_eq!(&*set.units[&name("pool@x")].service.exec_start[0].argv[1], "x");
        assert!(set.templates.contains(&name("pool@")));
    }

    #[test]
    fn names_are_stored_once() {
        let files =
            sources(&[("a.toml", "unit.after = 'b'\nservice.exec_start='a'"), ("b.toml", "service.exec_start='b'")]);
        let units = load(&files).unwrap().set.units;
        let a = &units[&UnitName::new("a").unwrap()];
        let (b, _) = units.get_key_value(&UnitName::new("b").unwrap()).unwrap();
        assert!(std::ptr::eq(a.relations.after[0].as_str(), b.as_str()));
    }

    #[test]
    fn units_that_are_set_up_alike_share_what_says_so() {
        let text = |more: &str| format!("service.exec_start='x'\nservice.restart='always'\n{more}");
        let (a, b) = (text("service.user='u'\nunit.wants='c'"), text("service.nice=1\nunit.wants='c'"));
        let files = sources(&[("a.toml", &a), ("b.toml", &b), ("c.toml", "service.exec_start='c'")]);
        let units = load(&files).unwrap().set.units;
        let [a, b, c] = ["a", "b", "c"].map(|name| &units[&UnitName::new(name).unwrap()]);
        assert!(std::ptr::eq(&*a.service.restart, &*b.service.restart));
        assert!(std::ptr::eq(&*a.relations, &*b.relations));
        assert_ne!(a.service.exec, b.service.exec);
        assert_ne!(a.service.restart, c.service.restart);
    }

    #[test]
    fn a_definition_is_small() {
        // A thousand of them stay in memory for as long as the daemon runs.
        const DEF_BYTES_MAX: usize = 312;
        const PROBE_BYTES_MAX: usize = 200;
        assert!(size_of::<UnitDef>() <= DEF_BYTES_MAX, "{}", size_of::<UnitDef>());
        assert!(size_of::<crate::unit::spec::ProbeSpec>() <= PROBE_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(load(&[SourceText::new("a.toml", text).unwrap()]));
        }

        #[test]
        fn no_damage_to_a_good_file_panics(
            at in 0..WEB.len(),
            length in 0_usize..40,
            put in "([\\[\\]{}=\"'#.,\\\\ \n0-9a-z_]|\\PC){0,12}",
        ) {
            let mut text = WEB.as_bytes().to_vec();
            let end = (at + length).min(text.len());
            text.splice(at..end, put.into_bytes());
            let lines = text.split(|byte| *byte == b'\n').count();
            let file = SourceText::new("a.toml", text).unwrap();
            for problem in load(&[file]).map_or_else(|all| all, |loaded| loaded.warnings) {
                prop_assert!((1..=lines).contains(&(problem.line as usize)), "{}", problem);
                prop_assert!(problem.column >= 1);
            }
        }
    }
}
