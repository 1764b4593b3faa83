//! What a manager stands on: units that can be used, and a database that this program knows.
use std::collections::BTreeSet;

use super::{
    boot::BootError,
    config::{self, ConfigError, Host},
    settings::Settings,
};
use crate::{edge::store, wire::keeper::ManagerCause};

/// Whether this program could go on with what is in force, which is in the runtime directory: settings, units, database. Asked
/// before it takes the place of another.
pub fn could_go_on(settings: &Settings) -> Result<(), BootError> {
    store::fits(&settings.paths.state.join("state.db")).map_err(BootError::Store)?;
    units(settings, ManagerCause::Upgrade).map(drop).map_err(BootError::Config)
}

/// The units, and a database that this program can use. One that it cannot is only waited for once there are services.
pub(super) fn sound(settings: &Settings, cause: ManagerCause) -> Result<(Host, Option<String>), BootError> {
    if cause == ManagerCause::Boot {
        store::fits(&settings.paths.state.join("state.db")).map_err(BootError::Store)?;
    }
    units(settings, cause).map_err(BootError::Config)
}

/// The units of the directories; after a crash, those that were in force, with the problems of the new ones.
fn units(settings: &Settings, cause: ManagerCause) -> Result<(Host, Option<String>), ConfigError> {
    let error = match config::load_for(settings, &BTreeSet::new()) {
        Ok(host) => return Ok((host, None)),
        Err(error) => error,
    };
    if cause == ManagerCause::Boot {
        return Err(error);
    }
    let kept = config::load_kept(&settings.paths.runtime, &BTreeSet::new());
    let kept = kept.and_then(|host| host.in_container(&settings.container)).map_err(|_| error.clone())?;
    Ok((kept, Some(error.0)))
}
