use std::{
    io,
    os::fd::{FromRawFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// Most descriptors we take over from the service manager; a larger number is taken for a mistake.
const LISTEN_FDS_MAX: usize = 64;

/// Whether the descriptors of this process have been taken: they can have one owner only.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// A descriptor that the service manager opened for us, and its name there.
#[derive(Debug)]
pub struct Inherited {
    /// `FileDescriptorName=` of the socket unit; `unknown` when the manager gave no names.
    pub name: String,
    /// The descriptor, close-on-exec from now on.
    pub fd: OwnedFd,
}

/// Why the inherited descriptors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListenFdsError {
    /// `LISTEN_FDS` and its companions contradict each other, or a descriptor is not open.
    #[error("cannot take over the sockets in LISTEN_FDS")]
    Environment(#[source] io::Error),
    /// Asked for twice.
    #[error("cannot take over the sockets in LISTEN_FDS a second time")]
    Taken,
    /// More than a program of ours can want.
    #[error("cannot take over {0} sockets from LISTEN_FDS (at most {LISTEN_FDS_MAX})")]
    TooMany(usize),
}

/// Takes over the descriptors of `LISTEN_FDS`; none when there is no service manager or they are another process's.
///
/// Source: sd_listen_fds(3). To be called once, before anything else opens descriptors.
pub fn take_listen_fds() -> Result<Vec<Inherited>, ListenFdsError> {
    let found = sd_notify::listen_fds_with_names().map_err(ListenFdsError::Environment)?;
    if found.len() > LISTEN_FDS_MAX {
        return Err(ListenFdsError::TooMany(found.len()));
    }
    if found.len() > 0 && TAKEN.swap(true, Ordering::Relaxed) {
        return Err(ListenFdsError::Taken);
    }
    Ok(found
        .map(|(number, name)| {
            // No safe call makes an owner of a number. SAFETY: the manager opened the number for this process and
            // sd_notify has just set a flag on it, so it is open; TAKEN makes us its only owner.
            let fd = unsafe { OwnedFd::from_raw_fd(number) };
            Inherited { name, fd }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_service_manager_nothing_is_inherited() {
        // nextest and cargo test set no LISTEN_PID for us; the case with sockets is in tests/upload/life.rs.
        assert!(take_listen_fds().is_ok_and(|fds| fds.is_empty()));
    }
}
