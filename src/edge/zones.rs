//! Time zones of this host: its own, and those that are known by name.

use std::{env, fs, path::Path};

use jiff::tz::TimeZone;

use crate::{alert::QuietHours, unit::calendar::Zone};

/// The file that says which zone the host is in, localtime(5).
pub const LOCALTIME: &str = "/etc/localtime";

/// No zone has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no time zone {name:?} ({help})")]
pub struct UnknownZone {
    /// The name.
    pub name: String,
    /// What to write instead.
    pub help: String,
}

/// The zone that this process is in: as TZ says, else as the host's file does, else UTC.
pub fn local() -> Zone {
    // tzset(3): a leading colon is allowed and means nothing here.
    let named = env::var("TZ").ok().map(|text| text.trim_start_matches(':').to_owned());
    let from_variable = named.filter(|name| !name.is_empty()).and_then(|name| match Path::new(&name).is_absolute() {
        true => from_file(Path::new(&name)),
        false => TimeZone::get(&name).or_else(|_| TimeZone::posix(&name)).ok(),
    });
    Zone::new(from_variable.or_else(|| from_file(Path::new(LOCALTIME))).unwrap_or(TimeZone::UTC))
}

/// Reads `22:00-07:00`, of this host's clocks, or `22:00-07:00 Europe/Berlin`.
///
/// # Errors
/// A sentence when it is neither.
pub fn quiet_hours(text: &str) -> Result<QuietHours, String> {
    let (hours, zone) = match text.trim().rsplit_once(' ') {
        Some((hours, name)) if name.starts_with(|c: char| c.is_ascii_alphabetic()) => {
            (hours, find(name).map_err(|error| error.to_string())?)
        }
        Some(_) | None => (text, local()),
    };
    QuietHours::new(hours, zone.rules().clone()).map_err(|error| error.to_string())
}

/// Whether the zone of this process can only change with its environment.
pub fn is_fixed() -> bool {
    env::var_os("TZ").is_some_and(|zone| !zone.is_empty())
}

fn from_file(path: &Path) -> Option<TimeZone> {
    TimeZone::tzif("local", &fs::read(path).ok()?).ok()
}

/// The zone of this name in the IANA database.
///
/// # Errors
/// When there is none; names that differ in case are no names, as in systemd.
pub fn find(name: &str) -> Result<Zone, UnknownZone> {
    let refused = |help: String| UnknownZone { name: name.to_owned(), help };
    let zone = TimeZone::get(name)
        .map_err(|_| refused("write a name of the IANA database such as \"Europe/Berlin\", or \"UTC\"".to_owned()))?;
    match zone.iana_name() {
        Some(real) if real != name => Err(refused(format!("did you mean {real:?}?"))),
        Some(_) | None => Ok(Zone::new(zone)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_known_by_its_exact_name() {
        assert!(find("Europe/Berlin").is_ok());
        let error = find("europe/berlin").expect_err("another case").to_string();
        assert!(error.contains("did you mean \"Europe/Berlin\"?"), "{error}");
        let error = find("Europe/Atlantis").expect_err("no zone").to_string();
        assert!(error.contains("Europe/Atlantis") && error.contains("IANA"), "{error}");
    }

    #[test]
    fn a_file_that_is_no_zone_is_none() {
        assert_eq!(from_file(Path::new("/etc/passwd")), None);
        assert_eq!(from_file(Path::new("/nowhere")), None);
    }
}
