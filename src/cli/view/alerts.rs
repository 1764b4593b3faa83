//! `alerts`: what is open, what is hushed, and what became of an order about them.

use std::fmt::Write;

use crate::{
    base::counted,
    cli::screen::{BAD, CARE, FAINT, GOOD, STRONG, Screen, one_line},
    wire::v1::{Alerts, Incident, Incidents, RouteTest, Silence, Silences},
};

/// Open incidents, silences, and routes that refuse us.
pub(crate) fn list(screen: &Screen, alerts: &Alerts) -> String {
    let mut out = String::new();
    if alerts.incidents.is_empty() {
        out.push_str("Nothing is open.\n");
    }
    alerts.incidents.iter().for_each(|incident| open(screen, &mut out, incident));
    if !alerts.silences.is_empty() {
        writeln!(out, "\nSilences:").ok();
    }
    alerts.silences.iter().for_each(|silence| hushed(screen, &mut out, silence));
    for dead in &alerts.dead_routes {
        let text = format!("the route {} refuses alerts: {}", one_line(&dead.route), one_line(&dead.reason));
        writeln!(out, "\n{}", screen.paint(BAD, &text)).ok();
    }
    for waiting in &alerts.waiting {
        let (messages, wait) =
            (counted(waiting.messages, "message"), if waiting.messages == 1 { "waits" } else { "wait" });
        let gone =
            if waiting.gone { ", a route that there is no more: nobody sends them until it is back" } else { "" };
        writeln!(out, "\n{messages} {wait} for {}{gone}", one_line(&waiting.route)).ok();
    }
    for failing in &alerts.failing_routes {
        let text = format!(
            "the route {} has not taken all that was sent: {}",
            one_line(&failing.route),
            one_line(&failing.reason)
        );
        writeln!(out, "\n{}", screen.paint(CARE, &text)).ok();
    }
    out
}

fn open(screen: &Screen, out: &mut String, incident: &Incident) {
    let style = if incident.severity == "critical" { BAD } else { CARE };
    let name = format!("{}:{}", one_line(&incident.event), one_line(&incident.about));
    let word = screen.paint(style, &format!("{:<8}", one_line(&incident.severity)));
    writeln!(out, "{word}  {}  since {}", screen.paint(STRONG, &name), screen.local(incident.opened_us)).ok();
    writeln!(out, "          {}", one_line(&incident.message)).ok();
    // A daemon of before says nothing of it.
    if !incident.action.is_empty() {
        writeln!(out, "          done: {}", one_line(&incident.action)).ok();
    }
    let mut known = Vec::new();
    if incident.restarts > 0 {
        known.push(counted(incident.restarts, "restart"));
    }
    if incident.held {
        let by = incident.hushed_by.as_ref().map(|by| format!(" by {}", one_line(by))).unwrap_or_default();
        let until = incident.hushed_until_us.map(|until| format!(" until {}", screen.local(until))).unwrap_or_default();
        let told = if incident.told.is_empty() { "nobody was told" } else { "nobody was told what it has come to" };
        known.push(format!("hushed{by}{until}, {told}"));
    } else if incident.told.is_empty() {
        known.push("no route is for it".to_owned());
    } else {
        known.extend(taken(incident));
    }
    if incident.escalated {
        known.push("escalated".to_owned());
    }
    if incident.reminders > 0 {
        known.push(format!("{} since", counted(incident.reminders, "message")));
    }
    if let Some(by) = &incident.acknowledged_by {
        known.push(format!("taken on by {}", one_line(by)));
    }
    writeln!(out, "          {}", screen.paint(FAINT, &known.join(", "))).ok();
}

/// Who has been told, and who has not.
fn taken(incident: &Incident) -> Vec<String> {
    let is_told = |name: &&String| !incident.untaken.contains(name) && !incident.given_up.contains(name);
    let mut told: Vec<String> = incident.told.iter().filter(is_told).map(|name| one_line(name)).collect();
    let instead = incident.fallbacks.iter();
    told.extend(instead.map(|one| format!("{} in place of {}", one_line(&one.route), one_line(&one.fallback_of))));
    let names = |names: &[String]| names.iter().map(|name| one_line(name)).collect::<Vec<_>>();
    [("told", told), ("not taken yet by", names(&incident.untaken)), ("given up for", names(&incident.given_up))]
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(what, names)| format!("{what} {}", names.join(", ")))
        .collect()
}

fn hushed(screen: &Screen, out: &mut String, silence: &Silence) {
    let comment = if silence.comment.is_empty() { String::new() } else { format!(": {}", one_line(&silence.comment)) };
    let work = if silence.maintenance { ", in maintenance" } else { "" };
    let (id, pattern) = (silence.id, one_line(&silence.pattern));
    let until = screen.local(silence.until_us);
    writeln!(
        out,
        "  {id}  {}  until {until}, by {}{work}{comment}",
        screen.paint(STRONG, &pattern),
        one_line(&silence.by)
    )
    .ok();
}

/// Who takes what on.
pub(crate) fn acknowledged(screen: &Screen, taken: &Incidents) -> String {
    let mut out = String::new();
    for incident in &taken.incidents {
        let name = format!("{}:{}", one_line(&incident.event), one_line(&incident.about));
        let by = incident.acknowledged_by.as_deref().unwrap_or("someone");
        writeln!(
            out,
            "{} is taken on by {}: no reminders until it gets worse",
            screen.paint(STRONG, &name),
            one_line(by)
        )
        .ok();
    }
    out
}

/// A new silence.
pub(crate) fn silenced(screen: &Screen, silence: &Silence) -> String {
    let mut out = String::from("Nobody is told of:\n");
    hushed(screen, &mut out, silence);
    if silence.matches_nothing {
        let hint = "It matches no unit, probe or event that there is now: `supervisorctl list` shows the units, `alerts \
                    unsilence` takes it back. What comes under that name while it lasts is hushed.";
        writeln!(out, "{}", screen.paint(CARE, hint)).ok();
    }
    out
}

/// Silences that ended.
pub(crate) fn unsilenced(screen: &Screen, ended: &Silences) -> String {
    let mut out = String::new();
    for silence in &ended.silences {
        writeln!(out, "{} is told again", screen.paint(STRONG, &one_line(&silence.pattern))).ok();
    }
    out
}

/// What became of a test.
pub(crate) fn tested(screen: &Screen, test: &RouteTest) -> String {
    let route = one_line(&test.route);
    match &test.reason {
        None => format!("{}\n", screen.paint(GOOD, &format!("{route} has taken the test"))),
        Some(reason) => {
            // Some of those whom it is for have it.
            let text = match reason.strip_prefix("taken, ") {
                Some(but) => format!("{route} has taken the test, {}", one_line(but)),
                None => format!("{route} has not taken the test: {}", one_line(reason)),
            };
            format!("{}\n", screen.paint(BAD, &text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::{DeadRoute, ToldInstead, WaitingRoute};

    fn incident() -> Incident {
        Incident {
            id: "web/3/0".to_owned(),
            dedup_key: Some("unit_failed:web@vm1".to_owned()),
            event: "unit_failed".to_owned(),
            about: "web".to_owned(),
            severity: "critical".to_owned(),
            message: "web is failed: exit-code\u{1b}[31m".to_owned(),
            action: "it stays down: nothing starts it again but a person".to_owned(),
            opened_us: -60_000_000,
            told_us: -60_000_000,
            restarts: 4,
            reminders: 1,
            told: vec!["ops".to_owned(), "boss".to_owned()],
            untaken: vec!["boss".to_owned()],
            given_up: Vec::new(),
            fallbacks: Vec::new(),
            held: false,
            hushed_by: None,
            hushed_until_us: None,
            acknowledged_by: Some("uid 0".to_owned()),
            acknowledged_us: Some(0),
            escalated: true,
        }
    }

    #[test]
    fn what_is_open_and_hushed_is_a_page() {
        let held = Incident {
            event: "disk_low".to_owned(),
            about: "db/root".to_owned(),
            severity: "warning".to_owned(),
            message: "probe root of db is degraded: 1G free".to_owned(),
            action: String::new(),
            told: Vec::new(),
            untaken: Vec::new(),
            given_up: Vec::new(),
            fallbacks: Vec::new(),
            held: true,
            hushed_by: Some("silence 7 of uid 0".to_owned()),
            hushed_until_us: Some(3_600_000_000),
            restarts: 0,
            reminders: 0,
            acknowledged_by: None,
            escalated: false,
            ..incident()
        };
        let silence = Silence {
            id: 7,
            pattern: "*:db".to_owned(),
            since_us: 0,
            until_us: 3_600_000_000,
            by: "uid 0".to_owned(),
            comment: "new disk".to_owned(),
            maintenance: true,
            matches_nothing: false,
        };
        let failing_routes = vec![DeadRoute { route: "boss".to_owned(), reason: "status 500".to_owned() }];
        let waiting = |route: &str, messages, gone| WaitingRoute { route: route.to_owned(), messages, gone };
        let waiting = vec![waiting("ops", 30, false), waiting("pager", 1, true)];
        let (incidents, silences) = (vec![incident(), held], vec![silence]);
        let alerts = Alerts { incidents, silences, dead_routes: Vec::new(), failing_routes, waiting };
        insta::assert_snapshot!(list(&Screen::page(0), &alerts));
        let none = Alerts {
            incidents: Vec::new(),
            silences: Vec::new(),
            dead_routes: Vec::new(),
            failing_routes: Vec::new(),
            waiting: Vec::new(),
        };
        assert_eq!(list(&Screen::page(0), &none), "Nothing is open.\n");
    }

    #[test]
    fn whoever_was_told_in_place_of_another_is_named() {
        let fallback = |route: &str, of: &str| ToldInstead { route: route.to_owned(), fallback_of: of.to_owned() };
        let one = Incident { fallbacks: vec![fallback("log", "boss")], ..incident() };
        assert_eq!(taken(&one), ["told ops, log in place of boss", "not taken yet by boss"]);
        let all = ["ops", "boss"].map(str::to_owned);
        let given_up = Incident { untaken: Vec::new(), given_up: all.into(), ..one };
        assert_eq!(taken(&given_up), ["told log in place of boss", "given up for ops, boss"]);
        let none = Incident { fallbacks: Vec::new(), ..given_up };
        assert_eq!(taken(&none), ["given up for ops, boss"]);
    }

    #[test]
    fn a_test_says_how_it_went() {
        let test = |reason: Option<&str>| RouteTest {
            route: "ops".to_owned(),
            ok: reason.is_none(),
            reason: reason.map(str::to_owned),
        };
        assert_eq!(tested(&Screen::page(0), &test(None)), "ops has taken the test\n");
        assert_eq!(tested(&Screen::page(0), &test(Some("no service"))), "ops has not taken the test: no service\n");
        let partly = tested(&Screen::page(0), &test(Some("taken, but not for b@x: 550 no such user")));
        assert_eq!(partly, "ops has taken the test, but not for b@x: 550 no such user\n");
    }
}
