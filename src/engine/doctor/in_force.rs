//! Whether what the daemon has in force is what stands in the files: the next start, and the next reload, take those.

use std::{fs, io::ErrorKind};

use super::{
    super::{config, settings::Settings},
    Case,
    report::Report,
};

const TOPIC: &str = "daemon";
const PLACE: &str = "configuration";
/// How many files are named.
const FILES_MAX: usize = 10;

pub(super) fn look(case: &Case, report: &mut Report) {
    // Nobody has anything in force.
    if case.keeper.is_none() {
        return;
    }
    let paths = &case.settings.paths;
    let units = config::differences(&paths.runtime, &paths.units);
    let settings = Settings::kept_text(&paths.runtime);
    let (mut differ, settings) = match (units, settings) {
        (Ok(units), Ok(settings)) => (units, settings),
        (Err(error), _) | (_, Err(error)) => {
            let why = if error.kind() == ErrorKind::PermissionDenied {
                "we may not read the daemon's copy".to_owned()
            } else {
                format!("the daemon's copy cannot be read: {error}")
            };
            return report.unknown(TOPIC, PLACE, why, "run this as the daemon's user, with its settings (--config)");
        }
    };
    if let Some(file) = &case.settings.source {
        let is_same = fs::read_to_string(file).is_ok_and(|now| now == settings);
        differ.extend((!is_same).then(|| format!("{} is changed", file.display())));
    }
    if differ.is_empty() {
        return report.ok(TOPIC, PLACE, "what stands in the files is in force");
    }
    let more = differ.len().saturating_sub(FILES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    differ.truncate(FILES_MAX);
    let message = format!("the files are not what is in force: {}{more}", differ.join(", "));
    report.warn(TOPIC, PLACE, message, "supervisorctl lint, then supervisorctl reload-config takes them");
}
