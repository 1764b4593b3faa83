//! Why a command could not do its work, and how the user is told.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use super::{
    client::CallError,
    http::{HttpError, Stop},
    screen::many_lines,
    since::SinceError,
    target::TargetError,
};
use crate::base::Chain;

/// Why a command could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// There is no way to the daemon.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The daemon did not answer as hoped.
    #[error(transparent)]
    Call(#[from] CallError),
    /// What the command found could not be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// JSON that we make ourselves.
    #[error("cannot write JSON")]
    Json(#[source] serde_json::Error),
    /// Ctrl-C cannot be watched.
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    /// A time that cannot be read.
    #[error(transparent)]
    Since(#[from] SinceError),
    /// The command line leaves open what is meant.
    #[error("{text}")]
    Usage { text: &'static str, remedy: &'static str },
    /// A check without the daemon that was named.
    #[error("cannot check without the daemon that was named")]
    CheckWhom(#[source] CallError),
    /// A property that a unit does not have.
    #[error("cannot show {0:?}: no such property")]
    Property(String),
    /// The program for work without a daemon.
    #[error("cannot run {}", .path.display())]
    Exec { path: PathBuf, source: io::Error },
    /// A path that cannot be made absolute.
    #[error("cannot make the path absolute")]
    Path(#[source] io::Error),
    /// The daemon's program is what it was.
    #[error("cannot upgrade supervisord: {0}")]
    Upgrade(String),
    /// A service of systemd that does not become a unit of ours.
    #[error("{text}")]
    Adopt { text: String, remedy: String },
    /// The user ended it.
    #[error("interrupted")]
    Interrupted,
}

impl From<Stop> for Failure {
    fn from(_: Stop) -> Self {
        Self::Interrupted
    }
}

impl Failure {
    /// Whether the daemon may come back: the way to it broke, as opposed to a refusal.
    pub(crate) const fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::Call(CallError::Http(
                HttpError::Connect { .. } | HttpError::Send { .. } | HttpError::Receive { .. } | HttpError::Cut(_)
            ))
        )
    }

    /// Whether the user ended it: then there is nothing to tell.
    pub(crate) const fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Call(CallError::Http(HttpError::Interrupted)))
    }

    /// Whether the daemon does not know a unit that was named.
    pub(crate) const fn is_unknown_unit(&self) -> bool {
        matches!(self, Self::Call(error) if error.is_unknown_unit())
    }

    /// What to do about it.
    fn remedy(&self) -> Option<String> {
        match self {
            Self::Target(error) => error.remedy(),
            Self::Call(error) => error.remedy(),
            Self::CheckWhom(_) => {
                Some("start it, or say by --config FILE whose probes are to be asked without a daemon".to_owned())
            }
            Self::Adopt { remedy, .. } => Some(remedy.clone()),
            Self::Usage { remedy, .. } => Some((*remedy).to_owned()),
            Self::Property(_) => Some("`supervisorctl show UNIT` lists all of them".to_owned()),
            Self::Exec { .. } => Some("install supervisord beside supervisorctl, or start the daemon".to_owned()),
            Self::Upgrade(_) => {
                Some("supervisord goes on as before and its services did not notice; its log says more".to_owned())
            }
            Self::Output(_) | Self::Path(_) | Self::Json(_) | Self::Signals(_) | Self::Since(_) | Self::Interrupted => {
                None
            }
        }
    }

    /// What, where and the likely remedy, as lines for standard error.
    pub(crate) fn report(&self) -> String {
        let mut text = format!("supervisorctl: {}\n", many_lines(&Chain(self).to_string()));
        if let Some(remedy) = self.remedy() {
            text.push_str("remedy: ");
            text.push_str(&many_lines(&remedy));
            text.push('\n');
        }
        text
    }
}

/// Says something on standard error. When even that is closed, nobody is left to be told.
pub(crate) fn say(text: &str) {
    io::stderr().write_all(text.as_bytes()).ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::target::Target, wire::v1::Problem};

    #[test]
    fn a_report_says_what_where_and_the_remedy() {
        let connect = |kind: io::ErrorKind| {
            let target = Target::Unix("/run/x.sock".into());
            Failure::Call(CallError::Http(HttpError::Connect { target, source: kind.into() })).report()
        };
        insta::assert_snapshot!(connect(io::ErrorKind::NotFound), @r"
        supervisorctl: cannot reach the daemon at /run/x.sock: entity not found
        remedy: is supervisord running? start it with `supervisord --config /etc/roundsman/roundsman.toml`, or say where it is with --socket PATH or $ROUNDSMAN_SOCKET (the system's is /run/roundsman/control.sock)
        ");
        insta::assert_snapshot!(connect(io::ErrorKind::PermissionDenied), @r"
        supervisorctl: cannot reach the daemon at /run/x.sock: permission denied
        remedy: use sudo, or join the group: usermod -aG roundsman $USER, then log in anew (without that group: groupadd --system roundsman first, and start the daemon anew)
        ");
    }

    #[test]
    fn a_problem_of_the_daemon_is_told_in_its_words_and_steers_no_terminal() {
        let problem = Problem {
            kind: "about:blank".into(),
            title: "Not Found".into(),
            status: 404,
            detail: "no unit \"wbe\"; did you mean web?\x1b[2J".into(),
        };
        let failure = Failure::Call(CallError::Problem(problem));
        assert!(failure.is_unknown_unit());
        assert_eq!(failure.report(), "supervisorctl: no unit \"wbe\"; did you mean web?\\x1b[2J\n");
    }
}
