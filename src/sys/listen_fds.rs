use std::{env, io, os::fd::OwnedFd};

use super::take_inherited;

/// A descriptor that the service manager above us holds for this process, and its name there.
#[derive(Debug)]
pub struct Inherited {
    /// `FileDescriptorName=` of the socket unit, or FDNAME= of what was stored; `unknown` when there are no names.
    pub name: String,
    /// The descriptor, close-on-exec from now on.
    pub fd: OwnedFd,
}

/// Why the inherited descriptors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListenFdsError {
    /// A variable that is no number.
    #[error("cannot read {0} as a number")]
    Number(&'static str),
    /// A descriptor is not there, or was taken before.
    #[error("cannot take over descriptor {fd} of LISTEN_FDS")]
    Descriptor {
        /// Which.
        fd: i32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More than the program can want.
    #[error("cannot take over {count} descriptors from LISTEN_FDS (at most {max})")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many the program takes.
        max: usize,
    },
}

/// Takes over the descriptors of `LISTEN_FDS`, at most `max`; none when there is no service manager or they are another
/// process's.
///
/// Source: sd_listen_fds(3). To be called once, before anything else sets close-on-exec on all descriptors.
pub fn take_listen_fds(max: usize) -> Result<Vec<Inherited>, ListenFdsError> {
    let (Some(pid), Some(count)) = (number::<u32>("LISTEN_PID")?, number::<usize>("LISTEN_FDS")?) else {
        return Ok(Vec::new());
    };
    if pid != std::process::id() {
        return Ok(Vec::new());
    }
    if count > max {
        return Err(ListenFdsError::TooMany { count, max });
    }
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let take = |fd| {
        let name = names.next().filter(|name| !name.is_empty()).unwrap_or("unknown").to_owned();
        let fd = take_inherited(fd).map_err(|source| ListenFdsError::Descriptor { fd, source })?;
        Ok(Inherited { name, fd })
    };
    // They begin behind standard error.
    (3..).take(count).map(take).collect()
}

fn number<T: std::str::FromStr>(name: &'static str) -> Result<Option<T>, ListenFdsError> {
    let Some(text) = env::var_os(name) else { return Ok(None) };
    text.to_str().and_then(|text| text.parse().ok()).map(Some).ok_or(ListenFdsError::Number(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_service_manager_nothing_is_inherited() {
        // nextest and cargo test set no LISTEN_PID for us; the cases with descriptors are in tests/upload/life.rs and
        // tests/systemd_boot.rs.
        assert!(take_listen_fds(1).is_ok_and(|fds| fds.is_empty()));
    }
}
