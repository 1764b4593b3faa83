//! HAProxy by its runtime API (management.txt, "Unix Socket commands"). A command that was done is answered by nothing; whatever
//! it says instead is why not.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use super::{BalanceError, Servers};
use crate::fleet::PoolName;

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// How often it is asked whether connections have ended: the first time soon, as most have none.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_LAST: Duration = Duration::from_secs(1);
/// Of the mask of administrative states: in maintenance, by command or otherwise, or drained, by command or otherwise.
const MAINTENANCE: u32 = 0x01 | 0x02 | 0x20 | 0x40;
/// In maintenance by command: somebody's word.
const BY_COMMAND: u32 = 0x01;
const DRAINED: u32 = 0x08 | 0x10;

/// A backend behind a socket.
type At<'a> = (&'a str, &'a str);

/// One server of a backend, as `show servers state` tells it.
struct Server {
    name: Box<str>,
    is_up: bool,
    admin: u32,
}

impl Server {
    const fn takes(&self) -> bool {
        self.is_up && self.admin & (MAINTENANCE | DRAINED) == 0
    }
}

pub(super) async fn servers(pool: &PoolName, socket: &str, backend: &str) -> Result<Servers, BalanceError> {
    Ok(all(pool, (socket, backend)).await?.into_iter().map(|it| (it.name.clone(), it.takes())).collect())
}

/// One that is drained or not there any more is drained; otherwise enough others must be left.
pub(super) async fn drain(pool: &PoolName, at: At<'_>, server: &str, min: u32) -> Result<(), BalanceError> {
    let all = all(pool, at).await?;
    let own = find(pool, &all, server)?;
    let others = all.iter().filter(|other| other.takes() && *other.name != *server).count();
    let left = u32::try_from(others).unwrap_or(u32::MAX);
    if own.takes() && left < min {
        return Err(BalanceError::TooFew { pool: pool.clone(), server: server.to_owned(), left, min });
    }
    if own.admin & (MAINTENANCE | DRAINED) != 0 {
        return Ok(());
    }
    order(pool, at.0, &format!("set server {}/{server} state drain", at.1)).await
}

/// What somebody put into maintenance at the load balancer stays there.
pub(super) async fn ready(pool: &PoolName, at: At<'_>, server: &str) -> Result<(), BalanceError> {
    if find(pool, &all(pool, at).await?, server)?.admin & BY_COMMAND != 0 {
        return Ok(());
    }
    order(pool, at.0, &format!("set server {}/{server} state ready", at.1)).await
}

pub(super) async fn shut_sessions(pool: &PoolName, at: At<'_>, server: &str) -> Result<(), BalanceError> {
    order(pool, at.0, &format!("shutdown sessions server {}/{server}", at.1)).await
}

pub(super) async fn wait_until_idle(
    pool: &PoolName,
    at: At<'_>,
    server: &str,
    patience: Duration,
) -> Result<(), BalanceError> {
    let began = Instant::now();
    let mut pause = PAUSE_FIRST;
    loop {
        let connections = connections(pool, at, server).await?;
        if connections == 0 {
            return Ok(());
        }
        if began.elapsed() >= patience {
            let (pool, server, waited) = (pool.clone(), server.to_owned(), began.elapsed().as_secs());
            return Err(BalanceError::Busy { pool, server, connections, waited });
        }
        sleep(pause).await;
        pause = PAUSE_LAST.min(pause * 2);
    }
}

async fn all(pool: &PoolName, (socket, backend): At<'_>) -> Result<Vec<Server>, BalanceError> {
    let said = ask(socket, &format!("show servers state {backend}")).await?;
    let refused = || BalanceError::Refused { pool: pool.clone(), said: said.trim().to_owned() };
    // A line with the version, one with the names of the columns.
    let mut lines = said.lines().skip_while(|line| !line.starts_with('#'));
    let names = lines.next().ok_or_else(refused)?;
    let names: Vec<&str> = names.trim_start_matches('#').split_whitespace().collect();
    let column = |name: &str| names.iter().position(|known| *known == name).ok_or_else(refused);
    let [name, op, admin] = [column("srv_name")?, column("srv_op_state")?, column("srv_admin_state")?];
    let mut servers = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let values: Vec<&str> = line.split_whitespace().collect();
        let number = |column: usize| values.get(column).and_then(|value| value.parse::<u32>().ok());
        let (Some(name), Some(op), Some(admin)) = (values.get(name), number(op), number(admin)) else {
            return Err(refused());
        };
        // 0 is stopped, 1 starting, 2 running, 3 stopping.
        servers.push(Server { name: (*name).into(), is_up: op != 0, admin });
    }
    Ok(servers)
}

fn find<'a>(pool: &PoolName, all: &'a [Server], server: &str) -> Result<&'a Server, BalanceError> {
    let found = all.iter().find(|it| *it.name == *server);
    found.ok_or_else(|| super::unknown(pool, server, all.iter().map(|it| &*it.name)))
}

/// Present sessions of a server: `scur` of `show stat`.
async fn connections(pool: &PoolName, (socket, backend): At<'_>, server: &str) -> Result<u64, BalanceError> {
    // 4 is the kind of servers.
    let said = ask(socket, &format!("show stat {backend} 4 -1")).await?;
    let refused = || BalanceError::Refused { pool: pool.clone(), said: said.trim().to_owned() };
    let mut lines = said.lines();
    let names: Vec<&str> =
        lines.next().and_then(|line| line.strip_prefix("# ")).ok_or_else(refused)?.split(',').collect();
    let column = |name: &str| names.iter().position(|known| *known == name).ok_or_else(refused);
    let [name, current] = [column("svname")?, column("scur")?];
    let own = lines.map(|line| line.split(',').collect::<Vec<_>>()).find(|values| values.get(name) == Some(&server));
    own.and_then(|values| values.get(current)?.parse().ok()).ok_or_else(refused)
}

async fn order(pool: &PoolName, socket: &str, command: &str) -> Result<(), BalanceError> {
    let said = ask(socket, command).await?;
    let said = said.trim();
    if said.is_empty() {
        return Ok(());
    }
    let help = if said.contains("Permission denied") { " (its stats socket needs `level admin`)" } else { "" };
    Err(BalanceError::Refused { pool: pool.clone(), said: format!("{said}{help}") })
}

async fn ask(socket: &str, command: &str) -> Result<String, BalanceError> {
    let asked = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let unreached = |why: String| BalanceError::Unreached(format!("cannot ask haproxy at {socket}: {why}"));
    match timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| unreached(error.to_string())),
        Err(_) => Err(unreached(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}
