//! nginx by a file with the servers of an upstream, which it includes, and a reload (ngx_http_upstream_module: `down` "marks the
//! server as permanently unavailable"). Connections that are open stay with the workers of before, which end with the last of them.

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, OpenOptionsExt, fchown},
    path::Path,
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, sleep, timeout},
};

use super::{BalanceError, Machine, Servers};
use crate::{
    base::UnitName,
    fleet::{Pool, PoolName},
};

/// The word that keeps requests away.
const DOWN: &str = "down";
/// What a worker calls itself that only ends its connections.
const ENDING: &str = "worker process is shutting down";
static WRITING: Mutex<()> = Mutex::const_new(());
/// How soon after a reload workers of before call themselves so, and how often it is looked.
const PAUSE: Duration = Duration::from_millis(300);

/// A line of the file that names a server: its words with what follows them.
struct Line<'a> {
    indent: &'a str,
    words: Vec<&'a str>,
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let text = line.trim_start();
        let (statement, rest) = text.split_once(';')?;
        let words: Vec<&str> = statement.split_whitespace().collect();
        let is_server = words.first() == Some(&"server") && words.len() > 1;
        let indent = line.get(..line.len() - text.len()).unwrap_or_default();
        is_server.then_some(Self { indent, words, rest })
    }

    fn name(&self) -> &'a str {
        self.words.get(1).copied().unwrap_or_default()
    }

    fn is_down(&self) -> bool {
        self.words.contains(&DOWN)
    }
}

fn read(text: &str) -> Servers {
    text.lines().filter_map(Line::read).map(|line| (line.name().into(), !line.is_down())).collect()
}

/// The same text but for whether a server is down.
fn marked(text: &str, server: &str, is_down: bool) -> String {
    let mark = |line: &str| match Line::read(line).filter(|known| known.name() == server) {
        None => line.to_owned(),
        Some(Line { indent, words, rest }) => {
            let kept: Vec<&str> = words.into_iter().filter(|word| *word != DOWN).collect();
            let down = if is_down { " down" } else { "" };
            format!("{indent}{}{down};{rest}", kept.join(" "))
        }
    };
    let end = if text.ends_with('\n') { "\n" } else { "" };
    text.lines().map(mark).collect::<Vec<_>>().join("\n") + end
}

fn load(file: &str) -> Result<String, BalanceError> {
    fs::read_to_string(file).map_err(|error| BalanceError::Unreached(format!("cannot read {file}: {error}")))
}

/// All of it or nothing, as who it was.
fn store(file: &str, text: &str) -> io::Result<()> {
    let path = Path::new(file);
    let before = fs::metadata(path)?;
    let beside = path.with_extension("roundsman-new");
    let new = fs::OpenOptions::new().create(true).write(true).truncate(true).mode(before.mode()).open(&beside)?;
    fchown(&new, Some(before.uid()), Some(before.gid()))?;
    io::Write::write_all(&mut &new, text.as_bytes())?;
    new.sync_all()?;
    fs::rename(&beside, path)
}

pub(super) fn servers(file: &str) -> Result<Servers, BalanceError> {
    load(file).map(|text| read(&text))
}

/// Marks it, and has nginx read that. What nginx does not take is put back.
async fn set(
    machine: &impl Machine,
    (pool, file, unit): (&PoolName, &str, &UnitName),
    server: &str,
    is_down: bool,
) -> Result<(), BalanceError> {
    // Another server of the same file may be marked at the same time.
    let _alone = WRITING.lock().await;
    let before = load(file)?;
    let text = marked(&before, server, is_down);
    let unwritten = |error: io::Error| BalanceError::Unreached(format!("cannot write {file}: {error}"));
    store(file, &text).map_err(unwritten)?;
    let reloaded = machine.reload(unit).await;
    reloaded.or_else(|said| {
        store(file, &before).map_err(unwritten)?;
        Err(BalanceError::Refused { pool: pool.clone(), said })
    })
}

pub(super) async fn drain(
    machine: &impl Machine,
    name: &PoolName,
    (file, unit): (&str, &UnitName),
    (pool, server): (&Pool, &str),
    patience: Duration,
) -> Result<(), BalanceError> {
    let all = servers(file)?;
    let takes = super::find(name, &all, server)?;
    super::leaves_enough(name, &all, (server, takes), pool.min_active)?;
    if takes {
        set(machine, (name, file, unit), server, true).await?;
        sleep(PAUSE).await;
    }
    let began = Instant::now();
    let ended = timeout(patience, async {
        while ending_workers() > 0 {
            sleep(PAUSE).await;
        }
    });
    ended.await.map_err(|_| BalanceError::Busy {
        pool: name.clone(),
        server: server.to_owned(),
        connections: ending_workers(),
        waited: began.elapsed().as_secs(),
    })
}

pub(super) async fn undrain(
    machine: &impl Machine,
    name: &PoolName,
    (file, unit): (&str, &UnitName),
    server: &str,
) -> Result<(), BalanceError> {
    if super::find(name, &servers(file)?, server)? {
        return Ok(());
    }
    set(machine, (name, file, unit), server, false).await
}

/// Workers of before that still have connections.
fn ending_workers() -> u64 {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_ending = |place: &fs::DirEntry| {
        let is_process = place.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()));
        is_process && fs::read_to_string(place.path().join("cmdline")).is_ok_and(|words| words.contains(ENDING))
    };
    u64::try_from(all.filter(is_ending).count()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# ours\nupstream apps {\n    server 10.0.0.4:8080 weight=2; # old\n\tserver 10.0.0.5:8080 down max_fails=1;\n    #server 10.0.0.6:8080;\n    keepalive 16;\n}\n";

    #[test]
    fn servers_are_those_that_stand_in_the_file_and_take_requests_unless_they_are_down() {
        assert_eq!(read(FILE), Servers::from([("10.0.0.4:8080".into(), true), ("10.0.0.5:8080".into(), false)]));
    }

    #[test]
    fn a_mark_changes_one_word_and_nothing_else() {
        let drained = marked(FILE, "10.0.0.4:8080", true);
        assert_eq!(drained, FILE.replace("weight=2;", "weight=2 down;"));
        assert_eq!(marked(&drained, "10.0.0.4:8080", true), drained);
        assert_eq!(marked(&drained, "10.0.0.4:8080", false), FILE);
        assert_eq!(marked(FILE, "10.0.0.5:8080", false), FILE.replace(" down max", " max"));
        assert_eq!(marked(FILE, "10.0.0.6:8080", true), FILE);
    }
}
