//! `doctor`: one line for each finding, the worst not first: they stand by topic, as one thing explains the next.

use crate::{
    cli::{
        exit::DoctorExit,
        screen::{BAD, CARE, FAINT, GOOD, Screen, one_line},
    },
    wire::v1::{Diagnosis, Symptom},
};

/// Level, topic, place, what is so, and what to do about it.
pub(crate) fn lines(screen: &Screen, found: &Diagnosis) -> String {
    let lines: String = found.findings.iter().map(|symptom| line(screen, symptom)).collect();
    let count = |level| found.findings.iter().filter(|symptom| DoctorExit::of_level(&symptom.level) == level).count();
    let unknown = found.findings.iter().filter(|symptom| symptom.level == "unknown").count();
    let warned = count(DoctorExit::Warnings) - unknown;
    let (failed, well) = (count(DoctorExit::Failures), count(DoctorExit::Well));
    format!("{lines}{well} well, {warned} warnings, {failed} failures, {unknown} unknown\n")
}

fn line(screen: &Screen, symptom: &Symptom) -> String {
    let style = match DoctorExit::of_level(&symptom.level) {
        DoctorExit::Well => GOOD,
        DoctorExit::Warnings => CARE,
        DoctorExit::Failures => BAD,
    };
    let level = screen.paint(style, &format!("{:<7}", symptom.level.to_uppercase()));
    let (place, message) = (one_line(&symptom.place), one_line(&symptom.message));
    let remedy = symptom.remedy.as_deref().map(|remedy| screen.paint(FAINT, &format!(" -> {}", one_line(remedy))));
    format!("{level} {:<11} {place}: {message}{}\n", symptom.topic, remedy.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_a_line_with_its_remedy() {
        let symptom = |level: &str, topic: &str, place: &str, message: &str, remedy: Option<&str>| Symptom {
            level: level.into(),
            topic: topic.into(),
            place: place.into(),
            message: message.into(),
            remedy: remedy.map(Into::into),
        };
        let found = Diagnosis {
            findings: vec![
                symptom("ok", "database", "/var/lib/roundsman/state.db", "sound", None),
                symptom("fail", "ports", "0.0.0.0:80", "nginx (pid 7) listens there,\nso web cannot", Some("kill 7")),
                symptom("unknown", "limits", "open files", "cannot be seen", Some("run this as root")),
            ],
        };
        insta::assert_snapshot!(lines(&Screen::page(0), &found), @r"
        OK      database    /var/lib/roundsman/state.db: sound
        FAIL    ports       0.0.0.0:80: nginx (pid 7) listens there,\nso web cannot -> kill 7
        UNKNOWN limits      open files: cannot be seen -> run this as root
        1 well, 0 warnings, 1 failures, 1 unknown
        ");
        assert_eq!(DoctorExit::of(&found).code(), 2);
    }
}
