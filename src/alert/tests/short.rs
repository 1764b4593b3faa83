//! What runs short, and what becomes of it.

use super::*;
use crate::base::Shortage;

/// The messages of these happenings, a second apart, as "event severity".
fn told(happenings: &[Happening]) -> Vec<String> {
    let mut alerts = Alerts::new(settings(Vec::new()));
    for (second, what) in (1..).zip(happenings) {
        alerts.handle(now(second), &Notice { at: now(second), what: what.clone() });
    }
    let told = std::iter::from_fn(|| alerts.poll_effect()).filter_map(|effect| match effect {
        Effect::Send(message) => Some(format!("{} {}", message.event, message.severity)),
        Effect::Save(_) | Effect::Silence(_) => None,
    });
    told.collect()
}

#[test]
fn what_is_short_is_a_warning_and_what_is_gone_is_critical_whatever_was_told_before() {
    let short = |shortage| Happening::Degraded {
        run: run(1),
        probe: "live".to_owned(),
        shortage,
        reason: "in 3 days".to_owned(),
    };
    let gone = Happening::Unhealthy {
        run: run(1),
        probe: "live".to_owned(),
        reason: "has expired".to_owned(),
        severity: Severity::Critical,
    };
    for (shortage, event) in [(Shortage::Certificate, "certificate_expiring"), (Shortage::Disk, "disk_low")] {
        let warned = format!("{event} warning");
        assert_eq!(told(&[short(shortage), short(shortage), gone.clone()]), [&*warned, "unit_unhealthy critical"]);
    }
    let disk = |is_bad| Happening::DiskLow { path: "/var".to_owned(), free: 1, wanted: 8, is_bad };
    assert_eq!(told(&[disk(false), disk(true)]), ["disk_low warning", "disk_low critical"]);
}
