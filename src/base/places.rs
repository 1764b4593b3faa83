//! Where things are when nobody says: the system's directories for root, the XDG ones for everyone else.

use std::path::PathBuf;

/// Our directories. Source: Filesystem Hierarchy Standard 3.0; XDG Base Directory Specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// Settings and units.
    pub config: PathBuf,
    /// What lasts.
    pub state: PathBuf,
    /// What lives as long as the boot.
    pub runtime: PathBuf,
    /// Captured output.
    pub logs: PathBuf,
}

impl Places {
    /// Those of a user: `uid`, with the environment variables that `variable` knows; an empty one is as good as none.
    pub fn of(uid: u32, variable: impl Fn(&str) -> Option<String>) -> Self {
        if uid == 0 {
            return Self {
                config: "/etc/roundsman".into(),
                state: "/var/lib/roundsman".into(),
                runtime: "/run/roundsman".into(),
                logs: "/var/log/roundsman".into(),
            };
        }
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = variable("HOME").unwrap_or_else(|| "/".into());
        let xdg = |name: &str, fallback: &str| variable(name).unwrap_or_else(|| home.join(fallback)).join("roundsman");
        let state = xdg("XDG_STATE_HOME", ".local/state");
        Self {
            config: xdg("XDG_CONFIG_HOME", ".config"),
            logs: state.join("log"),
            // Never below /tmp, where another user may have been first.
            runtime: variable("XDG_RUNTIME_DIR").map_or_else(|| state.join("run"), |dir| dir.join("roundsman")),
            state,
        }
    }
}

/// Where systemd has the directories that services ask for. Source: systemd.exec(5), "RuntimeDirectory="; for users as of
/// version 254.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePlaces {
    /// Of runtime directories.
    pub runtime: PathBuf,
    /// Of state directories.
    pub state: PathBuf,
    /// Of cache directories.
    pub cache: PathBuf,
    /// Of logs directories.
    pub logs: PathBuf,
    /// Of configuration directories.
    pub configuration: PathBuf,
    /// Of credentials.
    pub credentials: PathBuf,
}

impl ServicePlaces {
    /// Those of a user, as [`Places::of`] has its own.
    pub fn of(uid: u32, variable: impl Fn(&str) -> Option<String>) -> Self {
        if uid == 0 {
            return Self {
                runtime: "/run".into(),
                state: "/var/lib".into(),
                cache: "/var/cache".into(),
                logs: "/var/log".into(),
                configuration: "/etc".into(),
                credentials: "/run/credentials".into(),
            };
        }
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = variable("HOME").unwrap_or_else(|| "/".into());
        let state = variable("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state"));
        let runtime = variable("XDG_RUNTIME_DIR").unwrap_or_else(|| state.join("run"));
        Self {
            logs: state.join("log"),
            cache: variable("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache")),
            configuration: variable("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config")),
            credentials: runtime.join("credentials"),
            runtime,
            state,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn an_ordinary_user_gets_the_xdg_directories() {
        let given = |name: &str| match name {
            "HOME" => Some("/home/a".to_owned()),
            "XDG_RUNTIME_DIR" => Some("/run/user/1000".to_owned()),
            "XDG_CONFIG_HOME" => Some(String::new()),
            _ => None,
        };
        let places = Places::of(1000, given);
        assert_eq!(places.state, Path::new("/home/a/.local/state/roundsman"));
        assert_eq!(places.runtime, Path::new("/run/user/1000/roundsman"));
        assert_eq!(places.config, Path::new("/home/a/.config/roundsman"));
    }

    #[test]
    fn services_of_an_ordinary_user_get_the_xdg_directories_too() {
        let places = ServicePlaces::of(1000, |name| (name == "HOME").then(|| "/home/a".to_owned()));
        assert_eq!(places.logs, Path::new("/home/a/.local/state/log"));
        assert_eq!(places.credentials, Path::new("/home/a/.local/state/run/credentials"));
        assert_eq!(ServicePlaces::of(0, |_| None).credentials, Path::new("/run/credentials"));
    }

    #[test]
    fn nothing_is_ever_where_another_user_could_have_been_first() {
        let places = Places::of(1000, |name| (name == "HOME").then(|| "/home/a".to_owned()));
        assert_eq!(places.runtime, Path::new("/home/a/.local/state/roundsman/run"));
    }
}
