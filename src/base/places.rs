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
    fn nothing_is_ever_where_another_user_could_have_been_first() {
        let places = Places::of(1000, |name| (name == "HOME").then(|| "/home/a".to_owned()));
        assert_eq!(places.runtime, Path::new("/home/a/.local/state/roundsman/run"));
    }
}
