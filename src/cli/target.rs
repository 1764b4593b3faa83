//! Where the daemon is, and the token it may ask for.

use std::{
    env, fmt, fs,
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use crate::base::Places;

/// The system daemon's socket.
pub(crate) const SYSTEM_SOCKET: &str = "/run/roundsman/control.sock";
/// The API's port when a url names none.
const DEFAULT_PORT: u16 = 9180;
/// Longest token file that is read.
const TOKEN_BYTES_MAX: u64 = 4096;

/// An address of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP on this machine.
    Tcp(SocketAddr),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => write!(f, "http://{address}"),
        }
    }
}

/// Why there is no way to the daemon.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    /// TLS is asked for.
    #[error("cannot use {0}: supervisorctl speaks plain http to this machine only")]
    Tls(String),
    /// Not a url of ours.
    #[error("cannot read {0:?} as a url (write http://127.0.0.1:9180)")]
    Url(String),
    /// Another machine, where a token would travel in the clear.
    #[error("cannot use {0}: plain http goes to this machine only (127.0.0.1, [::1] or localhost)")]
    Remote(String),
    /// The token file.
    #[error("cannot read the token file {}", .path.display())]
    Token { path: PathBuf, source: io::Error },
    /// Others could have read the token.
    #[error("cannot use the token file {}: others may read it", .0.display())]
    TokenOpen(PathBuf),
    /// No token, or more than a token.
    #[error("cannot use the token file {}: it must hold one line of at most 4096 visible characters", .0.display())]
    TokenText(PathBuf),
}

impl TargetError {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> Option<String> {
        match self {
            Self::Tls(_) | Self::Remote(_) => Some(format!(
                "tunnel it: ssh -L {DEFAULT_PORT}:{SYSTEM_SOCKET} HOST, then --url http://127.0.0.1:{DEFAULT_PORT}"
            )),
            Self::TokenOpen(path) => Some(format!("chmod o= {}", path.display())),
            Self::Url(_) | Self::Token { .. } | Self::TokenText(_) => None,
        }
    }
}

/// What the environment says about where sockets are.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    /// `$ROUNDSMAN_SOCKET`.
    pub(crate) socket: Option<PathBuf>,
    /// Where the user's own daemon has its sockets.
    pub(crate) runtime: PathBuf,
    /// Whether we are root.
    pub(crate) root: bool,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_this_process() -> Self {
        let path = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let uid = nix::unistd::geteuid();
        Self {
            socket: path("ROUNDSMAN_SOCKET"),
            runtime: Places::of(uid.as_raw(), |name| env::var(name).ok()).runtime,
            root: uid.is_root(),
        }
    }

    /// The socket when none is named. An ordinary user's own daemon comes first; without one, whoever is in the group
    /// `roundsman` means the system's.
    pub(crate) fn socket(self, system: &Path) -> PathBuf {
        if let Some(path) = self.socket {
            return path;
        }
        let own = self.runtime.join("control.sock");
        if !self.root && (own.exists() || !system.exists()) { own } else { system.to_owned() }
    }
}

impl Target {
    /// Reads `http://HOST[:PORT]`; HOST must be this machine.
    pub(crate) fn from_url(url: &str) -> Result<Self, TargetError> {
        if url.starts_with("https://") {
            return Err(TargetError::Tls(url.to_owned()));
        }
        let refused = || TargetError::Url(url.to_owned());
        let authority = url.strip_prefix("http://").ok_or_else(refused)?.trim_end_matches('/');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| refused())?),
            Some(_) | None => (authority, DEFAULT_PORT),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || host.contains(['/', '@', '?', '#']) {
            return Err(refused());
        }
        let ip: IpAddr = match host {
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            _ => host.parse().map_err(|_| TargetError::Remote(url.to_owned()))?,
        };
        if ip.is_loopback() {
            Ok(Self::Tcp(SocketAddr::new(ip, port)))
        } else {
            Err(TargetError::Remote(url.to_owned()))
        }
    }
}

/// A bearer token. It never shows itself.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// Reads the one line of `path`, which others must not be able to read.
    pub(crate) fn read(path: &Path) -> Result<Self, TargetError> {
        let failed = |source| TargetError::Token { path: path.to_owned(), source };
        let file = fs::File::open(path).map_err(failed)?;
        // The open file is looked at, not the path: nobody can swap it in between.
        if file.metadata().map_err(failed)?.mode() & 0o007 != 0 {
            return Err(TargetError::TokenOpen(path.to_owned()));
        }
        let mut text = String::new();
        file.take(TOKEN_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        let token = text.trim();
        let fits = u64::try_from(text.len()).is_ok_and(|length| length <= TOKEN_BYTES_MAX);
        if token.is_empty() || !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TargetError::TokenText(path.to_owned()));
        }
        Ok(Self(token.to_owned()))
    }

    /// For the request's header only.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_this_machine_is_reached_over_tcp() {
        let tcp = |text: &str| Target::Tcp(text.parse().unwrap());
        assert_eq!(Target::from_url("http://127.0.0.1:91").unwrap(), tcp("127.0.0.1:91"));
        assert_eq!(Target::from_url("http://localhost/").unwrap(), tcp("127.0.0.1:9180"));
        assert_eq!(Target::from_url("http://[::1]").unwrap(), tcp("[::1]:9180"));
        assert_eq!(Target::from_url("http://[::1]:80").unwrap(), tcp("[::1]:80"));
        assert!(matches!(Target::from_url("https://127.0.0.1"), Err(TargetError::Tls(_))));
        for remote in ["http://10.0.0.1", "http://example.org:80", "http://0.0.0.0:1"] {
            assert!(matches!(Target::from_url(remote), Err(TargetError::Remote(_))), "{remote}");
        }
        for bad in ["127.0.0.1", "http://", "http://127.0.0.1:x", "http://a@127.0.0.1", "ftp://127.0.0.1"] {
            assert!(matches!(Target::from_url(bad), Err(TargetError::Url(_))), "{bad}");
        }
    }

    #[test]
    fn the_users_own_daemon_comes_before_the_systems() {
        let dir = tempfile::tempdir().unwrap();
        let system = dir.path().join("system.sock");
        let user = || Surroundings { runtime: dir.path().join("roundsman"), ..Surroundings::default() };
        let own = dir.path().join("roundsman/control.sock");
        assert_eq!(user().socket(&system), own, "neither runs: say where one's own would be");
        fs::write(&system, "").unwrap();
        assert_eq!(user().socket(&system), system);
        fs::create_dir(dir.path().join("roundsman")).unwrap();
        fs::write(&own, "").unwrap();
        assert_eq!(user().socket(&system), own);
        assert_eq!(Surroundings { root: true, ..user() }.socket(&system), system);
        assert_eq!(Surroundings { socket: Some("/x".into()), ..user() }.socket(&system), Path::new("/x"));
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let with = |text: &str, mode| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Token::read(&path)
        };
        assert_eq!(with("abc\n", 0o640).unwrap().reveal(), "abc");
        assert!(matches!(with("abc\n", 0o644), Err(TargetError::TokenOpen(_))));
        assert!(matches!(with("", 0o600), Err(TargetError::TokenText(_))));
        assert!(matches!(with("a b", 0o600), Err(TargetError::TokenText(_))));
        assert!(with(&"a".repeat(4096), 0o600).is_ok());
        assert!(matches!(with(&"a".repeat(4097), 0o600), Err(TargetError::TokenText(_))));
        assert_eq!(format!("{:?}", with("abc", 0o600).unwrap()), "Token(…)");
    }
}
