//! Redis between the nodes of a fleet: a stream of commands to each node, one of what nodes say, signs of life that go by
//! themselves, a lock, plans. Nothing of it is the truth: whatever is lost here is asked for again.
//!
//! Keys are `roundsman:{FLEET}:…`, so that all of a fleet are in one slot of a cluster (redis.io, cluster specification).
//! A change here usually blocks a connection that others use: reading with BLOCK has one of its own.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, FromRedisValue, IntoConnectionInfo, RedisError,
    aio::MultiplexedConnection,
};
use tokio::{
    sync::{Mutex, mpsc},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep, timeout},
};

use super::{secret, tls};
use crate::base::{Chain, Secret};

/// How long a stream is read before it is asked again whether something is there.
const BLOCK: Duration = Duration::from_secs(25);
/// A command that is older when we come to read is not read any more: whoever drives asks again.
const BACKLOG: Duration = Duration::from_secs(60);
/// Entries of a stream that stay, about.
const COMMANDS_KEPT: u32 = 1_000;
const WORDS_KEPT: u32 = 20_000;
/// Plans that are listed.
const PLANS_KEPT: u32 = 200;
/// How long a stream stays that nobody adds to, and a plan that is over.
const STREAM_STAYS: Duration = Duration::from_secs(24 * 3600);
const PLAN_STAYS: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long what is known of Redis' clock holds.
const CLOCK_HOLDS: Duration = Duration::from_secs(600);
/// Entries that are taken at one time.
const READ_MAX: u32 = 256;
/// The first and the longest pause before Redis is tried again.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LAST: Duration = Duration::from_secs(5);

/// Where Redis is, and whose keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusSettings {
    /// `redis://` or `rediss://`, with user, password and number of the database where they are needed.
    pub url: Secret,
    /// A file with the password, where the URL has none.
    pub password_file: Option<PathBuf>,
    /// How long to wait for a connection, and for an answer.
    pub patience: Duration,
    /// Who knows which Redis is the primary one, as `host:port`; none where it is the one of `url`.
    pub sentinels: Vec<String>,
    /// What they call it.
    pub primary: String,
    /// The fleet's name.
    pub fleet: String,
    /// Our own node's name.
    pub node: String,
}

/// Why Redis was of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// There is no way to it.
    #[error("cannot reach redis: {0}")]
    Unreached(String),
    /// It refuses.
    #[error("redis refuses: {0}")]
    Refused(String),
}

/// What comes through Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A command to this node.
    Command {
        /// How long it was under way, by Redis' clock.
        age: Duration,
        /// It.
        text: String,
    },
    /// What a node said.
    Word {
        /// How long it was under way.
        age: Duration,
        /// It.
        text: String,
    },
    /// Redis answers, or it does not, for this reason.
    Link(Result<(), BusError>),
}

/// What became of an attempt to get the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locked {
    /// It is ours, with this number.
    Ours(u64),
    /// Another one has it, for so long yet.
    Theirs {
        /// Who, as it was taken.
        holder: String,
        /// How long yet.
        left: Duration,
    },
}

/// What everyone may want to know at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outlook {
    /// Who has the lock.
    pub holder: Option<String>,
    /// Which plan is the present one.
    pub plan: Option<String>,
    /// The signs of life and how old they are, in the order in which nodes were named; none where there is none.
    pub beats: Vec<Option<(Duration, String)>>,
}

/// The way to Redis; clones are the same.
#[derive(Debug, Clone)]
pub struct Bus(Arc<Shared>);

struct Shared {
    settings: BusSettings,
    connection: Mutex<Option<Connection>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[derive(Clone)]
struct Connection {
    to: MultiplexedConnection,
    /// Redis' clock when it was made, and ours.
    clock: (Duration, Instant),
}

impl Connection {
    /// By Redis' clock, about.
    fn now(&self) -> Duration {
        self.clock.0 + self.clock.1.elapsed()
    }

    /// Two clocks go apart by seconds in a day.
    fn is_clock_old(&self) -> bool {
        self.clock.1.elapsed() > CLOCK_HOLDS
    }
}

/// Redis' clock, and ours.
async fn clocks(to: &mut MultiplexedConnection) -> Result<(Duration, Instant), BusError> {
    let asked = Instant::now();
    let (secs, micros): (u64, u32) = redis::cmd("TIME").query_async(to).await.map_err(|error| failed(&error))?;
    Ok((Duration::from_secs(secs) + Duration::from_micros(micros.into()), asked))
}

/// A plan that nobody drove for so long waits for someone who says that it goes on.
pub const DRIVEN_STAYS: Duration = Duration::from_secs(600);

/// Takes the lock if it is free, with a number above `floor` and all before: whoever had it before is told apart by that.
const ACQUIRE: &str = "
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[1] and held ~= ARGV[4] then return {0, held, redis.call('PTTL', KEYS[1])} end
local epoch = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[3])) + 1
redis.call('SET', KEYS[2], string.format('%d', epoch))
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[5])
return {epoch, '', 0}";
/// Keeps the lock, if it is ours still.
const RENEW: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return redis.call('PEXPIRE', KEYS[1], ARGV[2])";
/// Lets it go, if it is ours still.
const RELEASE: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";
/// Makes a plan the present one, if the lock is ours and nobody was quicker.
const REPLACE: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] or (redis.call('GET', KEYS[2]) or '') ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[2], ARGV[3])
return 1";
/// Gives it to another one, if it is ours still.
const HAND_OVER: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

impl Bus {
    /// A way that is not gone yet.
    pub fn new(settings: BusSettings) -> Self {
        Self(Arc::new(Shared { settings, connection: Mutex::new(None) }))
    }

    fn key(&self, rest: &str) -> String {
        format!("roundsman:{{{}}}:{rest}", self.0.settings.fleet)
    }

    /// Sends a command to a node.
    pub async fn send(&self, node: &str, text: &str) -> Result<(), BusError> {
        self.add(&self.key(&format!("to:{node}")), COMMANDS_KEPT, text).await
    }

    /// Says something to whoever drives.
    pub async fn say(&self, text: &str) -> Result<(), BusError> {
        self.add(&self.key("said"), WORDS_KEPT, text).await
    }

    async fn add(&self, key: &str, kept: u32, text: &str) -> Result<(), BusError> {
        let mut both = redis::pipe();
        both.cmd("XADD").arg(key).arg("MAXLEN").arg("~").arg(kept).arg("*").arg("m").arg(text).ignore();
        both.cmd("PEXPIRE").arg(key).arg(millis(STREAM_STAYS)).ignore();
        self.ask_all(&both).await
    }

    /// Leaves a sign of life.
    pub async fn beat(&self, text: &str, stays: Duration) -> Result<(), BusError> {
        let key = self.key(&format!("beat:{}", self.0.settings.node));
        // By Redis' clock, so that nobody has to trust another node's.
        let text = format!("{} {text}", millis(self.connection().await?.now()));
        self.ask(redis::cmd("SET").arg(key).arg(text).arg("PX").arg(millis(stays))).await
    }

    /// Whoever drives, the present plan, and signs of life.
    pub async fn outlook(&self, nodes: &[&str]) -> Result<Outlook, BusError> {
        let mut ask = redis::cmd("MGET");
        ask.arg(self.key("lock")).arg(self.key("plan"));
        nodes.iter().for_each(|node| {
            ask.arg(self.key(&format!("beat:{node}")));
        });
        let mut found: Vec<Option<String>> = self.ask(&ask).await?;
        let beats = found.split_off(found.len().min(2));
        let now = self.connection().await?.now();
        let beats = beats.into_iter().map(|beat| {
            let (at, text) = beat.as_deref()?.split_once(' ')?;
            Some((now.saturating_sub(Duration::from_millis(at.parse().ok()?)), text.to_owned()))
        });
        let beats = beats.collect();
        let mut found = found.into_iter();
        let (holder, plan) = (found.next().flatten(), found.next().flatten());
        Ok(Outlook { holder, plan, beats })
    }

    /// Tries to get the lock for `lease`, with a number above `floor`; whoever is `gone` has it no more.
    pub async fn acquire(
        &self,
        owner: &str,
        lease: Duration,
        floor: u64,
        gone: Option<&str>,
    ) -> Result<Locked, BusError> {
        let mut script = redis::cmd("EVAL");
        script.arg(ACQUIRE).arg(3).arg(self.key("lock")).arg(self.key("epoch")).arg(self.key("driven"));
        script.arg(owner).arg(millis(lease)).arg(floor).arg(gone.unwrap_or_default()).arg(millis(DRIVEN_STAYS));
        let (epoch, holder, left): (u64, String, i64) = self.ask(&script).await?;
        Ok(match epoch {
            0 => Locked::Theirs { holder, left: Duration::from_millis(u64::try_from(left).unwrap_or(0)) },
            epoch => Locked::Ours(epoch),
        })
    }

    /// Keeps the lock for `lease` from now on; whether it was ours still.
    pub async fn renew(&self, owner: &str, lease: Duration) -> Result<bool, BusError> {
        let mut script = redis::cmd("EVAL");
        script.arg(RENEW).arg(2).arg(self.key("lock")).arg(self.key("driven"));
        script.arg(owner).arg(millis(lease)).arg(millis(DRIVEN_STAYS));
        self.ask(&script).await
    }

    /// Lets the lock go, if it is ours still.
    pub async fn release(&self, owner: &str) -> Result<bool, BusError> {
        self.ask(redis::cmd("EVAL").arg(RELEASE).arg(1).arg(self.key("lock")).arg(owner)).await
    }

    /// Gives the lock to another owner for `lease`, if it is ours still.
    pub async fn hand_over(&self, owner: &str, to: &str, lease: Duration) -> Result<(), BusError> {
        let mut script = redis::cmd("EVAL");
        script.arg(HAND_OVER).arg(1).arg(self.key("lock")).arg(owner).arg(to).arg(millis(lease));
        self.ask(&script).await
    }

    /// Has this node tell of something for `lease`, unless another one does: whether it does.
    pub async fn claim(&self, what: &str, lease: Duration) -> Result<bool, BusError> {
        let node = &self.0.settings.node;
        let mut ask = redis::cmd("SET");
        ask.arg(self.key(&format!("told:{what}"))).arg(node).arg("NX").arg("GET").arg("PX").arg(millis(lease));
        let before: Option<String> = self.ask(&ask).await?;
        Ok(before.is_none_or(|teller| teller == *node))
    }

    /// Nobody has told of it any more.
    pub async fn disclaim(&self, what: &[String]) -> Result<(), BusError> {
        let mut ask = redis::cmd("DEL");
        what.iter().for_each(|what| {
            ask.arg(self.key(&format!("told:{what}")));
        });
        self.ask(&ask).await
    }

    /// Keeps a plan, and makes it the present one in the place of `before`, if that is it still and the lock is ours: whether it is.
    pub async fn keep_plan(&self, id: &str, document: &str, owner: &str, before: &str) -> Result<bool, BusError> {
        let mut all = redis::pipe();
        all.cmd("SET").arg(self.key(&format!("plan:{id}"))).arg(document).arg("PX").arg(millis(PLAN_STAYS)).ignore();
        all.cmd("LREM").arg(self.key("plans")).arg(0).arg(id).ignore();
        all.cmd("LPUSH").arg(self.key("plans")).arg(id).ignore();
        all.cmd("LTRIM").arg(self.key("plans")).arg(0).arg(PLANS_KEPT - 1).ignore();
        let () = self.ask_all(&all).await?;
        let mut script = redis::cmd("EVAL");
        script.arg(REPLACE).arg(2).arg(self.key("lock")).arg(self.key("plan")).arg(owner).arg(before).arg(id);
        self.ask(&script).await
    }

    /// Keeps a plan as people see it.
    pub async fn show_plan(&self, id: &str, text: &str) -> Result<(), BusError> {
        let key = self.key(&format!("shown:{id}"));
        self.ask(redis::cmd("SET").arg(key).arg(text).arg("PX").arg(millis(PLAN_STAYS))).await
    }

    /// A plan as people saw it last.
    pub async fn shown_plan(&self, id: &str) -> Result<Option<String>, BusError> {
        self.ask(redis::cmd("GET").arg(self.key(&format!("shown:{id}")))).await
    }

    /// Plans as people see them, the newest first.
    pub async fn shown_plans(&self) -> Result<Vec<String>, BusError> {
        let ids: Vec<String> = self.ask(redis::cmd("LRANGE").arg(self.key("plans")).arg(0).arg(-1)).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = redis::cmd("MGET");
        ids.iter().for_each(|id| {
            ask.arg(self.key(&format!("shown:{id}")));
        });
        let found: Vec<Option<String>> = self.ask(&ask).await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// Adds words to the journal of a plan, whose place there they say themselves, and how people see it with them: both or none.
    pub async fn keep_words(&self, id: &str, words: &[String], shown: Option<&str>) -> Result<(), BusError> {
        let key = self.key(&format!("journal:{id}"));
        let mut all = redis::pipe();
        all.atomic();
        if let Some(text) = shown {
            all.cmd("SET").arg(self.key(&format!("shown:{id}"))).arg(text).arg("PX").arg(millis(PLAN_STAYS)).ignore();
        }
        all.cmd("RPUSH").arg(&key).arg(words).ignore();
        all.cmd("PEXPIRE").arg(&key).arg(millis(PLAN_STAYS)).ignore();
        self.ask_all(&all).await
    }

    /// A plan, and its journal.
    pub async fn plan(&self, id: &str) -> Result<Option<(String, Vec<String>)>, BusError> {
        let mut both = redis::pipe();
        both.cmd("GET").arg(self.key(&format!("plan:{id}")));
        both.cmd("LRANGE").arg(self.key(&format!("journal:{id}"))).arg(0).arg(-1);
        let (document, journal): (Option<String>, Vec<String>) = self.ask_all(&both).await?;
        Ok(document.map(|document| (document, journal)))
    }

    /// Whether anybody has had the lock within [`DRIVEN_STAYS`], by Redis' clock.
    pub async fn was_driven(&self) -> Result<bool, BusError> {
        self.ask(redis::cmd("EXISTS").arg(self.key("driven"))).await
    }

    /// Reads commands to this node, for ever.
    pub fn hear_commands(&self, to: mpsc::Sender<Heard>) -> JoinHandle<()> {
        let key = self.key(&format!("to:{}", self.0.settings.node));
        tokio::spawn(self.clone().read_on(key, to, |age, text| Heard::Command { age, text }))
    }

    /// Reads what nodes say, for ever.
    pub fn hear_words(&self, to: mpsc::Sender<Heard>) -> JoinHandle<()> {
        tokio::spawn(self.clone().read_on(self.key("said"), to, |age, text| Heard::Word { age, text }))
    }

    async fn read_on(self, key: String, to: mpsc::Sender<Heard>, made: fn(Duration, String) -> Heard) {
        let mut cursor: Option<String> = None;
        let mut pause = PAUSE_FIRST;
        loop {
            let Err(error) = self.read_until_failure(&key, &mut cursor, &to, made, &mut pause).await else { return };
            if to.send(Heard::Link(Err(error))).await.is_err() {
                return;
            }
            sleep(pause).await;
            pause = PAUSE_LAST.min(pause * 2);
        }
    }

    /// Ends well when nobody hears any more.
    async fn read_until_failure(
        &self,
        key: &str,
        cursor: &mut Option<String>,
        to: &mpsc::Sender<Heard>,
        made: fn(Duration, String) -> Heard,
        pause: &mut Duration,
    ) -> Result<(), BusError> {
        let patience = self.0.settings.patience;
        let mut connection = self.connect(BLOCK + patience).await?;
        if to.send(Heard::Link(Ok(()))).await.is_err() {
            return Ok(());
        }
        let from = cursor.get_or_insert_with(|| format!("{}-0", millis(connection.now().saturating_sub(BACKLOG))));
        loop {
            let mut ask = redis::cmd("XREAD");
            ask.arg("COUNT").arg(READ_MAX).arg("BLOCK").arg(millis(BLOCK)).arg("STREAMS").arg(key).arg(&*from);
            type Entries = Vec<(String, Vec<(String, Vec<String>)>)>;
            let found: Option<Entries> = ask.query_async(&mut connection.to).await.map_err(|error| failed(&error))?;
            *pause = PAUSE_FIRST;
            if connection.is_clock_old() {
                connection.clock = clocks(&mut connection.to).await?;
            }
            for (id, fields) in found.into_iter().flatten().flat_map(|(_, entries)| entries) {
                let written = id.split('-').next().and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
                let age = written.map_or(Duration::ZERO, |written| connection.now().saturating_sub(written));
                *from = id;
                if let Some(text) = fields.into_iter().nth(1)
                    && to.send(made(age, text)).await.is_err()
                {
                    return Ok(());
                }
            }
            if to.is_closed() {
                return Ok(());
            }
        }
    }

    async fn ask<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, BusError> {
        let mut connection = self.connection().await?;
        let answer = timeout(self.0.settings.patience, command.query_async(&mut connection.to)).await;
        self.judge(answer.unwrap_or_else(|_| Err(late()))).await
    }

    async fn ask_all<T: FromRedisValue>(&self, commands: &redis::Pipeline) -> Result<T, BusError> {
        let mut connection = self.connection().await?;
        let answer = timeout(self.0.settings.patience, commands.query_async(&mut connection.to)).await;
        self.judge(answer.unwrap_or_else(|_| Err(late()))).await
    }

    /// A connection on which something went wrong that is no answer is not used again.
    async fn judge<T>(&self, answer: Result<T, RedisError>) -> Result<T, BusError> {
        // Of a server that is the primary one no more, or not yet.
        let is_other = |error: &RedisError| matches!(error.code(), None | Some("READONLY" | "LOADING" | "MASTERDOWN"));
        if answer.as_ref().is_err_and(is_other) {
            self.0.connection.lock().await.take();
        }
        answer.map_err(|error| failed(&error))
    }

    async fn connection(&self) -> Result<Connection, BusError> {
        let mut connection = self.0.connection.lock().await;
        if connection.as_ref().is_some_and(Connection::is_clock_old) {
            // A new one brings a new look at the clock.
            connection.take();
        }
        if let Some(connection) = &*connection {
            return Ok(connection.clone());
        }
        Ok(connection.insert(self.connect(self.0.settings.patience).await?).clone())
    }

    /// Where the primary one is, as the first sentinel says that answers; reached as `like` is.
    async fn primary(&self, like: &ConnectionAddr) -> Result<ConnectionAddr, BusError> {
        let BusSettings { sentinels, primary, patience, .. } = &self.0.settings;
        let mut asked = JoinSet::new();
        for sentinel in sentinels.iter().cloned() {
            asked.spawn(ask_sentinel(sentinel, primary.clone(), *patience));
        }
        let mut faults = Vec::new();
        while let Some(said) = asked.join_next().await {
            match said.unwrap_or_else(|error| Err(error.to_string())) {
                Ok((host, port)) => {
                    let ConnectionAddr::TcpTls { insecure, tls_params, .. } = like else {
                        return Ok(ConnectionAddr::Tcp(host, port));
                    };
                    let (insecure, tls_params) = (*insecure, tls_params.clone());
                    return Ok(ConnectionAddr::TcpTls { host, port, insecure, tls_params });
                }
                Err(fault) => faults.push(fault),
            }
        }
        faults.sort();
        Err(BusError::Unreached(format!("no sentinel says where {primary} is ({})", faults.join("; "))))
    }

    /// A new connection, whose answers may take so long.
    async fn connect(&self, answer: Duration) -> Result<Connection, BusError> {
        tls::provide();
        let BusSettings { url, password_file, patience, .. } = &self.0.settings;
        let mut info = url.expose().into_connection_info().map_err(|error| failed(&error))?;
        if let Some(file) = password_file.clone() {
            let read = tokio::task::spawn_blocking(move || secret::read(&file)).await;
            let bytes = read.map_err(|error| error.to_string()).and_then(|read| read).map_err(BusError::Refused)?;
            let password = String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned();
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        if !self.0.settings.sentinels.is_empty() {
            info = info.clone().set_addr(self.primary(info.addr()).await?);
        }
        let limits =
            AsyncConnectionConfig::new().set_connection_timeout(Some(*patience)).set_response_timeout(Some(answer));
        let client = Client::open(info).map_err(|error| failed(&error))?;
        let connected = timeout(*patience, client.get_multiplexed_async_connection_with_config(&limits)).await;
        let mut to = connected.unwrap_or_else(|_| Err(late())).map_err(|error| failed(&error))?;
        if !self.0.settings.sentinels.is_empty() {
            must_be_primary(&mut to).await?;
        }
        // Not as long as an answer may take: what it says is held against the moment at which it was asked.
        let clock = timeout(*patience, clocks(&mut to)).await.unwrap_or_else(|_| Err(failed(&late())))?;
        Ok(Connection { to, clock })
    }
}

/// Asks a sentinel where the primary one of this name is (redis.io, "Redis Sentinel client spec").
async fn ask_sentinel(sentinel: String, name: String, patience: Duration) -> Result<(String, u16), String> {
    let wrong = |error: &RedisError| format!("{sentinel}: {}", Chain(error));
    let asked = async {
        let client = Client::open(format!("redis://{sentinel}")).map_err(|error| wrong(&error))?;
        let limits = AsyncConnectionConfig::new().set_response_timeout(Some(patience));
        let to = client.get_multiplexed_async_connection_with_config(&limits).await;
        let mut to = to.map_err(|error| wrong(&error))?;
        let mut ask = redis::cmd("SENTINEL");
        ask.arg("get-master-addr-by-name").arg(&name);
        ask.query_async::<Option<(String, u16)>>(&mut to).await.map_err(|error| wrong(&error))
    };
    let found = timeout(patience, asked).await.map_err(|_| format!("{sentinel}: it does not answer"))??;
    found.ok_or_else(|| format!("{sentinel}: it knows no {name:?}"))
}

/// What a sentinel says may be over.
async fn must_be_primary(to: &mut MultiplexedConnection) -> Result<(), BusError> {
    let role: Vec<redis::Value> = redis::cmd("ROLE").query_async(to).await.map_err(|error| failed(&error))?;
    let role = role.into_iter().next().and_then(|role| redis::from_redis_value::<String>(role).ok());
    match role.as_deref() {
        Some("master") => Ok(()),
        _ => Err(BusError::Unreached("the redis that sentinels name is not the primary one yet".to_owned())),
    }
}

fn late() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

/// Of a server's own word, as it has said it; of anything else, what kept us.
fn failed(error: &RedisError) -> BusError {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => BusError::Refused(format!("{code} {detail}")),
        (Some(code), None) => BusError::Refused(code.to_owned()),
        (None, _) => BusError::Unreached(Chain(error).to_string()),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
