//! The settings file of hmac-file-server: TOML, read whole, with all problems at once.
//!
//! A key is never ignored: what we do not know is an error, and so is a wish for a feature that this version lacks.
//! A change here usually breaks the names that operators know; they are promises.

mod suggest; // the intended word
mod tree; // TOML with places

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

pub use tree::{Problem, Problems};

use crate::base::TimeSpan;

use super::{
    decide::Rules,
    path::BasePath,
    secret::{SecretError, SecretSource},
    store::SyncPolicy,
    token::Scheme,
};
use tree::{Section, Tree, boolean, integer, size, span, string, strings};

/// Where the settings are unless `--config` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/roundsman/hmac-file-server.toml";
/// Larger settings files are taken for a mistake.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What "infinity" is to a timer.
const FOREVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// All settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `[server]`.
    pub server: ServerSettings,
    /// `[uploads]`.
    pub uploads: UploadSettings,
    /// `[security]`: where the secrets are.
    pub secrets: SecretSource,
    /// `[logging]`.
    pub logging: LogSettings,
}

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Where uploads and downloads are served, unless a socket named "http" is inherited.
    pub listen: SocketAddr,
    /// Where metrics and health are served, unless a socket named "metrics" is inherited.
    pub metrics_listen: SocketAddr,
    /// Where the files lie.
    pub base_path: BasePath,
    /// From SIGTERM to the end of the process, whatever happens.
    pub graceful_shutdown_timeout: Duration,
    /// From the end of accepting until requests in flight are cut.
    pub connection_drain_timeout: Duration,
    /// From "not ready" until the end of accepting.
    pub shutdown_delay: Duration,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a kept connection may be silent.
    pub idle_conn_timeout: Duration,
    /// How long a body or its reader may stand still.
    pub client_timeout: Duration,
    /// Connections open at once.
    pub max_connections: usize,
}

/// `[uploads]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadSettings {
    /// The directory of the files.
    pub storage_path: PathBuf,
    /// Largest file, bytes.
    pub max_upload_size: u64,
    /// What an upload must leave free, bytes.
    pub min_free_bytes: u64,
    /// What a 201 promises.
    pub sync: SyncPolicy,
    /// Schemes that count.
    pub schemes: Vec<Scheme>,
}

/// `[logging]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// What is worth a line.
    pub level: tracing::Level,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read the settings file {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// Not a settings file at all.
    #[error("cannot read the settings file {0}: it has more than {FILE_BYTES_MAX} bytes")]
    Long(PathBuf),
    /// What is written in it is wrong.
    #[error("{0}")]
    Problems(Problems),
}

impl Settings {
    /// Reads the file; a missing one means the defaults.
    pub fn load(path: &Path) -> Result<Self, SettingsError> {
        let failed = |source| SettingsError::Read { path: path.into(), source };
        match fs::metadata(path) {
            Ok(status) if status.len() > FILE_BYTES_MAX => return Err(SettingsError::Long(path.into())),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::defaults()),
            Err(error) => return Err(failed(error)),
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        Self::parse(&text).map_err(|list| SettingsError::Problems(Problems { path: path.into(), list }))
    }

    /// What holds where nothing is set.
    pub fn defaults() -> Self {
        let mut tree = Tree::parse("");
        Self::read(&mut tree)
    }

    /// Reads a settings file's text.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let mut tree = Tree::parse(text);
        let settings = Self::read(&mut tree);
        let problems = tree.into_problems();
        if problems.is_empty() { Ok(settings) } else { Err(problems) }
    }

    fn read(tree: &mut Tree<'_>) -> Self {
        let server = read_server(tree);
        let uploads = read_uploads(tree);
        let secrets = read_security(tree);
        let logging = read_logging(tree);
        read_redis(tree);
        Self { server, uploads, secrets, logging }
    }

    /// What requests are judged by; reads the secrets.
    pub fn rules(&self) -> Result<Rules, SecretError> {
        Ok(Rules {
            base_path: self.server.base_path.clone(),
            schemes: self.uploads.schemes.clone(),
            secrets: self.secrets.load()?,
            max_upload_size: self.uploads.max_upload_size,
            min_free_bytes: self.uploads.min_free_bytes,
            client_timeout: self.server.client_timeout,
            sync: self.uploads.sync,
        })
    }

    /// The keys whose change needs a restart, where `newer` differs.
    pub fn fixed_keys_changed(&self, newer: &Self) -> Vec<&'static str> {
        let (old, new) = (&self.server, &newer.server);
        [
            ("listen", old.listen == new.listen),
            ("metrics_listen", old.metrics_listen == new.metrics_listen),
            ("header_timeout", old.header_timeout == new.header_timeout),
            ("idle_conn_timeout", old.idle_conn_timeout == new.idle_conn_timeout),
            ("max_connections", old.max_connections == new.max_connections),
            ("storage_path", self.uploads.storage_path == newer.uploads.storage_path),
            ("logging", self.logging == newer.logging),
        ]
        .into_iter()
        .filter_map(|(key, same)| (!same).then_some(key))
        .collect()
    }
}

impl Settings {
    /// These settings as they can be in force without a restart: the fixed keys are those of `old`.
    #[must_use]
    pub fn with_fixed_keys_of(self, old: &Self) -> Self {
        let server = ServerSettings {
            listen: old.server.listen,
            metrics_listen: old.server.metrics_listen,
            header_timeout: old.server.header_timeout,
            idle_conn_timeout: old.server.idle_conn_timeout,
            max_connections: old.server.max_connections,
            ..self.server
        };
        let uploads = UploadSettings { storage_path: old.uploads.storage_path.clone(), ..self.uploads };
        Self { server, uploads, secrets: self.secrets, logging: old.logging }
    }
}

fn read_server(tree: &mut Tree<'_>) -> ServerSettings {
    let mut section = tree.section("server");
    let s = &mut section;
    let settings = ServerSettings {
        // The name that PlusOne's hmac-file-server has for it is read too.
        listen: address(s, tree, "listen")
            .or_else(|| address(s, tree, "listen_address"))
            .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 8080))),
        metrics_listen: address(s, tree, "metrics_listen").unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9090))),
        base_path: s
            .read(tree, "base_path", |value| BasePath::new(&string(value)?).map_err(|e| format!("is wrong: {e}")))
            .map_or_else(BasePath::root, toml::Spanned::into_inner),
        graceful_shutdown_timeout: seconds(s, tree, "graceful_shutdown_timeout", 300),
        connection_drain_timeout: seconds(s, tree, "connection_drain_timeout", 120),
        shutdown_delay: seconds(s, tree, "shutdown_delay", 0),
        header_timeout: seconds(s, tree, "header_timeout", 10),
        idle_conn_timeout: seconds(s, tree, "idle_conn_timeout", 90),
        client_timeout: seconds(s, tree, "client_timeout", 300),
        max_connections: s
            .read(tree, "max_connections", |value| {
                let number = usize::try_from(integer(value)?).ok().filter(|number| (1..=1 << 20).contains(number));
                number.ok_or_else(|| "must be from 1 to 1048576".to_owned())
            })
            .map_or(4096, toml::Spanned::into_inner),
    };
    // There are no outgoing connections and no sessions to recover in this version.
    s.only(tree, "max_idle_conns_per_host", 5, integer);
    s.only(tree, "restart_grace_period", TimeSpan::from_secs(60), span);
    tree.finish(section);
    settings
}

fn read_uploads(tree: &mut Tree<'_>) -> UploadSettings {
    let mut section = tree.section("uploads");
    let s = &mut section;
    let settings = UploadSettings {
        storage_path: s
            .read(tree, "storage_path", |value| {
                let path = PathBuf::from(string(value)?);
                if path.is_absolute() { Ok(path) } else { Err("must be an absolute path".to_owned()) }
            })
            .map_or_else(|| PathBuf::from("/var/lib/hmac-file-server"), toml::Spanned::into_inner),
        max_upload_size: s.read(tree, "max_upload_size", size).map_or(10 << 30, toml::Spanned::into_inner),
        min_free_bytes: s.read(tree, "min_free_bytes", size).map_or(256 << 20, toml::Spanned::into_inner),
        sync: word(
            s,
            tree,
            "sync",
            &[("none", SyncPolicy::None), ("data", SyncPolicy::Data), ("full", SyncPolicy::Full)],
        )
        .unwrap_or(SyncPolicy::Data),
        schemes: read_schemes(s, tree),
    };
    s.only(tree, "session_persistence", false, boolean);
    s.only(tree, "session_recovery_timeout", TimeSpan::from_secs(300), span);
    s.only(tree, "client_reconnect_window", TimeSpan::from_secs(120), span);
    s.only(tree, "upload_slot_ttl", TimeSpan::from_secs(3600), span);
    s.only(tree, "retry_failed_uploads", false, boolean);
    s.only(tree, "max_upload_retries", 3, integer);
    tree.finish(section);
    settings
}

fn read_schemes<'i>(section: &mut Section<'i>, tree: &mut Tree<'i>) -> Vec<Scheme> {
    let schemes = section.read(tree, "schemes", |value| {
        let names = strings(value)?;
        if names.is_empty() {
            return Err("must name at least one of \"v\", \"v2\"".to_owned());
        }
        let known = |name: &String| {
            Scheme::from_str(name)
                .map_err(|()| format!("has {name:?}, which this version does not support (\"v\", \"v2\")"))
        };
        names.iter().map(known).collect()
    });
    schemes.map_or_else(|| Scheme::ALL.to_vec(), toml::Spanned::into_inner)
}

fn read_security(tree: &mut Tree<'_>) -> SecretSource {
    let mut section = tree.section("security");
    let files = section.read(tree, "secret_files", strings).map(toml::Spanned::into_inner).unwrap_or_default();
    let environment = section.read(tree, "secret_environment", strings).map(toml::Spanned::into_inner);
    // Asked for so that the remedy can be told.
    if let Some(found) = section.read(tree, "secret", |_| Ok(())) {
        let text = "secret does not belong in this file: put it in a file of its own, mode 0600, and name that in secret_files";
        tree.problem(&found.span(), text.to_owned());
    }
    tree.finish(section);
    SecretSource { files: files.into_iter().map(PathBuf::from).collect(), environment: environment.unwrap_or_default() }
}

fn read_logging(tree: &mut Tree<'_>) -> LogSettings {
    use tracing::Level;
    let mut section = tree.section("logging");
    let levels = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    let level = word(&mut section, tree, "level", &levels).unwrap_or(Level::INFO);
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let format = word(&mut section, tree, "format", &formats).unwrap_or(LogFormat::Text);
    tree.finish(section);
    LogSettings { level, format }
}

/// Redis is not built into this version. Its other keys mean nothing while it is off, which is what they may say.
fn read_redis(tree: &mut Tree<'_>) {
    let mut section = tree.section("redis");
    section.only(tree, "redisenabled", false, boolean);
    let _unused = section.read(tree, "redisaddr", string);
    let _unused = section.read(tree, "redishealthcheckinterval", span);
    tree.finish(section);
}

/// `host:port` or `:port` for all addresses.
fn address<'i>(section: &mut Section<'i>, tree: &mut Tree<'i>, key: &'static str) -> Option<SocketAddr> {
    let found = section.read(tree, key, |value| {
        let text = string(value)?;
        let full = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text };
        full.parse().map_err(|_| format!("must be an address and port such as \"127.0.0.1:8080\", not {full:?}"))
    });
    found.map(toml::Spanned::into_inner)
}

fn seconds<'i>(section: &mut Section<'i>, tree: &mut Tree<'i>, key: &'static str, default: u64) -> Duration {
    let found = section.read(tree, key, span).map_or_else(|| TimeSpan::from_secs(default), toml::Spanned::into_inner);
    found.duration().unwrap_or(FOREVER).min(FOREVER)
}

fn word<'i, T: Copy>(
    section: &mut Section<'i>,
    tree: &mut Tree<'i>,
    key: &'static str,
    words: &[(&'static str, T)],
) -> Option<T> {
    let found = section.read(tree, key, |value| {
        let text = string(value)?;
        let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
        let hint = || match suggest::suggest(&text, &known) {
            Some(meant) => format!("cannot be {text:?}; did you mean {meant:?}?"),
            None => format!("cannot be {text:?} (known are: {})", known.join(", ")),
        };
        words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| *meaning).ok_or_else(hint)
    });
    found.map(toml::Spanned::into_inner)
}

#[cfg(test)]
mod tests;
