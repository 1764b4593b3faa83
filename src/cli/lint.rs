//! `lint`: reads unit files as the daemon would, and tells everything that is wrong with them. It needs no daemon.
//!
//! A folder is read as the daemon reads it: `NAME.toml` and `NAME.toml.d/*.toml`, no hidden files. A file is read
//! together with its folder, since units refer to each other, and only its own problems are told.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str,
    sync::Arc,
};

use serde::Serialize;

use super::{
    context::{Context, print},
    exit::{Exit, PlainExit},
    failure::Failure,
    view,
};
use crate::{
    edge::needs::perhaps_lacking,
    unit::{self, FILE_BYTES_MAX, Level, Problem, SourceText, Surroundings, UNITS_MAX, UnitDef},
};

/// Most files that are read; a set cannot have more units, and few units have drop-ins.
const FILES_MAX: usize = 2 * UNITS_MAX;

/// Units as they were read, and what is wrong with them.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What was read.
    pub(crate) sources: Vec<SourceText>,
    /// What is wrong, by file and place.
    pub(crate) problems: Vec<Problem>,
}

/// What was found, as JSON.
#[derive(Debug, Serialize)]
struct Report<'a> {
    files: usize,
    problems: Vec<ReportedProblem<'a>>,
}

#[derive(Debug, Serialize)]
struct ReportedProblem<'a> {
    file: &'a Path,
    line: u32,
    column: u32,
    level: &'static str,
    message: &'a str,
    help: Option<&'a str>,
}

/// `lint`
pub(crate) fn run(context: &Context, paths: &[PathBuf]) -> Result<Exit, Failure> {
    let default = [default_folder()];
    let findings = find(if paths.is_empty() { &default } else { paths });
    if context.json {
        context.print_json(&report(&findings))?;
    } else {
        print(view::lint::problems(&context.screen, &findings).as_bytes())?;
    }
    let refused = findings.problems.iter().any(|problem| problem.level == Level::Error);
    Ok(Exit::Plain(if refused { PlainExit::Failed } else { PlainExit::Done }))
}

fn report(findings: &Findings) -> Report<'_> {
    let problems = findings.problems.iter().map(|problem| ReportedProblem {
        file: &problem.file,
        line: problem.line,
        column: problem.column,
        level: problem.level.as_str(),
        message: &problem.message,
        help: problem.help.as_deref(),
    });
    Report { files: findings.sources.len(), problems: problems.collect() }
}

/// Where the daemon of this user looks for units.
fn default_folder() -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if nix::unistd::geteuid().is_root() {
        return "/etc/roundsman/units".into();
    }
    let config = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config")));
    config.unwrap_or_else(|| "/etc".into()).join("roundsman/units")
}

/// Reads what `paths` name and checks it.
pub(crate) fn find(paths: &[PathBuf]) -> Findings {
    let mut gathered = Gathered::default();
    let mut asked: Vec<&Path> = Vec::new();
    for path in paths {
        if path.is_dir() && !is_dropin_folder(path) {
            asked.push(path);
            gathered.add_folder(path);
        } else if path.exists() {
            asked.push(path);
            gathered.add_file(path);
        } else {
            gathered.problems.push(problem(path, "there is no such file or folder".to_owned()));
        }
    }
    let Gathered { sources, mut problems, .. } = gathered;
    let (loaded, needs) = unit::load_with_needs(&sources, &Surroundings::default());
    problems.extend(match loaded {
        Ok(loaded) => {
            let strangers = loaded.set.units.values().filter_map(|def| stranger(def, &sources));
            strangers.chain(loaded.warnings).collect()
        }
        Err(all) => all,
    });
    problems.extend(perhaps_lacking(&needs));
    // What a file was read together with is not what was asked for.
    problems.retain(|problem| paths.iter().any(|path| *path == *problem.file) || is_asked(&asked, &problem.file));
    problems.sort();
    let sources = sources.into_iter().filter(|source| is_asked(&asked, &source.path)).collect();
    Findings { sources, problems }
}

/// A unit of Supervisor whose program is ours, on this host: the daemon here refuses it.
fn stranger(def: &UnitDef, sources: &[SourceText]) -> Option<Problem> {
    let same = |path: &Path| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let program = unit::supervisors_program(def)?;
    let ours = env::current_exe().ok().and_then(|exe| same(&exe.with_file_name("supervisorctl")))?;
    if same(Path::new(program)) != Some(ours) {
        return None;
    }
    // Where the program is named, or else the table that would have to name it.
    let place = ["supervisorctl", "[external]"].into_iter().find_map(|word| place_of(word, def, sources));
    let (file, line) = place.or_else(|| Some((Arc::clone(def.sources.first()?), 1)))?;
    let (message, help) = unit::not_supervisors(program);
    Some(Problem { file, line, column: 1, level: Level::Error, message, help: Some(help.to_owned()) })
}

/// The first line of the unit's files that begins with a word.
fn place_of(word: &str, def: &UnitDef, sources: &[SourceText]) -> Option<(Arc<Path>, u32)> {
    sources.iter().filter(|source| def.sources.contains(&source.path)).find_map(|source| {
        let text = str::from_utf8(&source.text).ok()?;
        let line = text.lines().position(|line| line.trim_start().starts_with(word))?;
        Some((Arc::clone(&source.path), u32::try_from(line).ok()?.saturating_add(1)))
    })
}

/// Whether `file` is one of those, a drop-in of one, or within one.
fn is_asked(asked: &[&Path], file: &Path) -> bool {
    asked.iter().any(|path| {
        let dropins = path.file_name().map(|name| {
            let mut folder = name.to_owned();
            folder.push(".d");
            path.with_file_name(folder)
        });
        file.starts_with(path) || dropins.is_some_and(|folder| file.starts_with(folder))
    })
}

fn is_dropin_folder(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(".toml.d"))
}

fn problem(path: &Path, message: String) -> Problem {
    Problem { file: path.into(), line: 1, column: 1, level: Level::Error, message, help: None }
}

/// Files as they are found; each is read once, however it was named.
#[derive(Debug, Default)]
struct Gathered {
    sources: Vec<SourceText>,
    problems: Vec<Problem>,
    seen: BTreeSet<PathBuf>,
}

impl Gathered {
    /// A unit file or drop-in, before all that stands beside it: it keeps the name it was given.
    fn add_file(&mut self, path: &Path) {
        let inside = if path.is_dir() { path } else { path.parent().unwrap_or_else(|| Path::new("")) };
        if path.is_dir() {
            let files = self.listed(path).0;
            files.iter().for_each(|file| self.read(file));
        } else {
            self.read(path);
        }
        let folder = if is_dropin_folder(inside) { inside.parent().unwrap_or_else(|| Path::new("")) } else { inside };
        self.add_folder(folder);
    }

    fn add_folder(&mut self, folder: &Path) {
        let (files, dropin_folders) = self.listed(folder);
        files.iter().for_each(|file| self.read(file));
        for dropins in dropin_folders {
            let files = self.listed(&dropins).0;
            files.iter().for_each(|file| self.read(file));
        }
    }

    /// The `*.toml` files and `*.toml.d` folders of `folder`, each in order of name.
    fn listed(&mut self, folder: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
        // The parent of a bare file name is empty, which means here.
        let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let entries = match fs::read_dir(place) {
            Ok(entries) => entries,
            Err(error) => {
                self.problems.push(problem(folder, format!("cannot list this folder: {error}")));
                return Default::default();
            }
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        let with = |ending: &str| {
            let mut found: Vec<PathBuf> =
                names.iter().filter(|name| name.ends_with(ending)).map(|name| folder.join(name)).collect();
            found.sort_unstable();
            found
        };
        (with(".toml"), with(".toml.d"))
    }

    fn read(&mut self, path: &Path) {
        if self.seen.len() >= FILES_MAX || !self.seen.insert(path.canonicalize().unwrap_or_else(|_| path.to_owned())) {
            return;
        }
        match read_file(path) {
            Err(error) => self.problems.push(problem(path, format!("cannot read this file: {error}"))),
            Ok(text) => match SourceText::new(Arc::<Path>::from(path), text) {
                Ok(source) => self.sources.push(source),
                Err(problem) => self.problems.push(problem),
            },
        }
    }
}

/// The bytes of a regular file; a fifo or device is not waited for.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::options().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = Vec::new();
    let limit = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(limit + 1).read_to_end(&mut text)?;
    if text.len() > FILE_BYTES_MAX { Err(io::Error::other("it is larger than 4 MiB")) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[service]\nexec_start = \"/bin/true\"\n";

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn found(dir: &tempfile::TempDir, paths: &[&str]) -> Vec<String> {
        let paths: Vec<PathBuf> = paths.iter().map(|path| dir.path().join(path)).collect();
        let shown = |problem: &Problem| {
            let file = problem.file.strip_prefix(dir.path()).unwrap().display().to_string();
            format!("{file}:{}: {}", problem.line, problem.message)
        };
        find(&paths).problems.iter().map(shown).collect()
    }

    #[test]
    fn a_folder_tells_all_and_a_file_only_its_own() {
        let dir = folder(&[
            ("web.toml", "[unit]\nafter = [\"redis\"]\n[service]\nexec_start = \"/bin/web\"\nrestrat = \"no\"\n"),
            ("web.toml.d/more.toml", "[service]\ncolour = 1\n"),
            ("redis.toml", "[servcie]\n"),
            ("good.toml", GOOD),
            (".hidden.toml", "nonsense"),
        ]);
        let own = [
            "web.toml:5: unknown key \"restrat\" in [service]",
            "web.toml.d/more.toml:2: unknown key \"colour\" in [service]",
        ];
        let all = found(&dir, &["."]);
        assert!(all.iter().any(|line| line.contains("servcie")), "{all:?}");
        assert_eq!(found(&dir, &["web.toml"]), own);
        assert_eq!(found(&dir, &["web.toml.d"]), own[1..]);
        assert_eq!(found(&dir, &["web.toml.d/more.toml"]), own[1..]);
        assert_eq!(found(&dir, &["good.toml"]), [""; 0]);
        assert_eq!(found(&dir, &["good.toml", ".", "web.toml"]), all, "no file is read twice");
    }

    #[test]
    fn what_this_host_has_not_is_a_warning_at_its_place() {
        let text = "[service]\nexec_start = \"/bin/true\"\nuser = \"no-such-user\"\ngroup = \"no-such-group\"\n\
                    supplementary_groups = [\"root\", \"nor-this\"]\n[timer]\non_calendar = \"daily Europe/Nowhere\"\n\
                    [[health]]\nname = \"r\"\nredis = { url = \"redis://a\", password_file = \"/no/such/secret\" }\n\
                    [[health]]\nname = \"t\"\ntcp = { address = \"a:1\", tls = { ca_file = \"/no/such/ca\" } }\n";
        let dir =
            folder(&[("web.toml", text), ("other@.toml", "[service]\nexec_start = \"/bin/true\"\nuser = \"%u\"\n")]);
        let problems = find(&[dir.path().to_owned()]).problems;
        assert!(problems.iter().all(|problem| problem.level == Level::Warning), "{problems:?}");
        let said: Vec<_> = problems.iter().map(|p| (p.line, p.column, p.message.as_str())).collect();
        let expected = [
            (3, 8, "user \"no-such-user\""),
            (4, 9, "group \"no-such-group\""),
            (5, 24, "group \"nor-this\""),
            (7, 15, "Europe/Nowhere"),
            (10, 46, "the probe \"r\" cannot ask: cannot read /no/such/secret"),
            (13, 44, "the probe \"t\" cannot ask: cannot use ca_file /no/such/ca"),
        ];
        assert_eq!(said.len(), expected.len(), "{said:?}");
        for ((line, column, message), (of_line, of_column, part)) in said.into_iter().zip(expected) {
            assert!((line, column) == (of_line, of_column) && message.contains(part), "{line}:{column}: {message}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_problem_and_waited_for_by_nobody() {
        let dir = folder(&[("good.toml", GOOD), ("odd.txt", "")]);
        nix::unistd::mkfifo(&dir.path().join("pipe.toml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(found(&dir, &["."]), ["pipe.toml:1: cannot read this file: it is not a regular file"]);
        assert_eq!(found(&dir, &["gone.toml"]), ["gone.toml:1: there is no such file or folder"]);
        assert_eq!(found(&dir, &["odd.txt"]), ["odd.txt:1: this is not the path of a unit file"]);
        fs::write(dir.path().join("big.toml"), vec![b'#'; FILE_BYTES_MAX + 1]).unwrap();
        assert_eq!(found(&dir, &["big.toml"]), ["big.toml:1: cannot read this file: it is larger than 4 MiB"]);
    }
}
