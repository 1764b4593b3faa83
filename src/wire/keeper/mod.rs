//! The conversation of manager and keeper: orders go down, facts come up.
//!
//! The keeper must never crash on what it is told, so decoding checks every length against what is there, refuses what
//! has no meaning, and allocates no more than the message can fill. One meaning has one encoding. Descriptors travel
//! beside the bytes (SCM_RIGHTS); each message says how many it expects. A change of an order or fact raises [`VERSION`], a
//! change of what one keeper leaves to the next raises [`STATE_VERSION`].

mod codec;
mod confinement;
mod fact;
mod order;
mod spec;
mod state;
mod values;

pub use codec::{DecodeError, Reader, Wire, Writer};
pub use fact::{Clamped, Exit, Fact, ManagerCause, Notified, RunningProcess, UnitRecord};
pub use order::{Order, SpawnOrder};
pub use spec::{
    Control, CpuScheduling, Credentials, Directory, Input, Keyring, Link, Output, Owner, Passed, Privileges,
    ResourceLimit, Schedule, Secret, Secrets, SpawnSpec, Stream,
};
pub use state::{
    AggregatedState, DroppedState, HeldAs, KeeperState, KeptState, KeptWhat, LogState, MirrorHead, MirroredDescriptor,
    MirroredProcess, MirroredStage, MirroredUnit, ProcessState, StoredState, UnitState,
};

/// The version of this conversation; both halves must speak the same. They are of one program, as a keeper that replaced
/// its own starts a manager of the new one.
pub const VERSION: u16 = 7;
/// The version of what a keeper leaves to the next: by exec ([`KeeperState`]), or by its death ([`MirrorHead`]). The next may be
/// of another release, so each change here is a change of what can be upgraded.
pub const STATE_VERSION: u16 = 4;
/// Most bytes of a memo that the keeper holds for a unit.
pub const MEMO_BYTES_MAX: usize = 4096;
/// Most bytes of a name under which a descriptor is stored (systemd allows 255 for FDNAME=).
pub const STORE_NAME_BYTES_MAX: usize = 255;

/// The bytes of a message.
pub fn encode<T: Wire>(message: &T) -> Vec<u8> {
    let mut writer = Writer::default();
    message.put(&mut writer);
    writer.into_bytes()
}

/// The message in `bytes`, all of which must belong to it.
///
/// # Errors
/// When the bytes end too early, go on too long, or say something that has no meaning.
pub fn decode<T: Wire>(bytes: &[u8]) -> Result<T, DecodeError> {
    let mut reader = Reader::new(bytes);
    let message = T::take(&mut reader)?;
    reader.finish()?;
    Ok(message)
}

#[cfg(test)]
mod tests;
