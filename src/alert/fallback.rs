//! Another route for what a route does not take.
//!
//! The message stays with its own route, and a copy of it goes to the other: each is told it once at most. The copy has the id that
//! a message of the other route's own would have, so whoever was told by it already is not told again.
use std::collections::BTreeSet;

use super::{Message, Route, RouteName};
use crate::base::{TimeSpan, Wall};

/// Where messages of a route go too when it does not take them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// Which route.
    pub route: RouteName,
    /// How long a message waits for its own route alone while tries fail.
    pub after: TimeSpan,
}

/// What is wrong with a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Its last try failed, for this reason.
    Fails(String),
    /// It refuses us, for this reason.
    Refuses(String),
    /// It took the last message, but not for all whom it was for.
    Partly {
        /// For whom not.
        who: Vec<String>,
        /// Why not, of each.
        reason: String,
    },
}

impl Trouble {
    /// Why, for people.
    pub fn reason(&self) -> &str {
        match self {
            Self::Fails(reason) | Self::Refuses(reason) | Self::Partly { reason, .. } => reason,
        }
    }
}

impl Fallback {
    /// How long a message that waits since `created` is left to its own route alone. Whatever the clock on the wall did
    /// meanwhile, that is never longer than from the start.
    pub fn left(&self, created: Wall, now: Wall, trouble: &Trouble) -> TimeSpan {
        match (trouble, self.after.micros()) {
            (Trouble::Refuses(_), _) => TimeSpan::ZERO,
            // Someone was told.
            (Trouble::Partly { .. }, _) | (Trouble::Fails(_), None) => TimeSpan::INFINITY,
            (Trouble::Fails(_), Some(after)) => {
                let waited = u64::try_from(now.0.saturating_sub(created.0)).unwrap_or(0);
                TimeSpan::from_micros(after.saturating_sub(waited))
            }
        }
    }
}

impl Message {
    /// The same for another route, which says whose it was and why that did not take it, if it did not.
    #[must_use]
    pub fn for_fallback(&self, to: &RouteName, reason: Option<&str>) -> Self {
        let own = format!("/{}/{}", self.event, self.route);
        let id = match self.id.rfind(&own).map(|at| (self.id.get(..at), self.id.get(at + own.len()..))) {
            Some((Some(begin), Some(end))) => format!("{begin}/{}/{to}{end}", self.event),
            Some(_) | None => format!("{}/{to}", self.id),
        };
        let message = match reason {
            Some(reason) => format!("the route {} did not take this ({reason}): {}", self.route, self.message),
            None => self.message.clone(),
        };
        let fallback_of = Some(self.route.clone());
        Self { id, message, route: to.to_string(), fallback_of, possible_duplicate: false, ..self.clone() }
    }
}

/// What cannot be of the fallbacks of these routes, for people: the route, and why.
pub fn fallback_faults(routes: &[Route]) -> Vec<(RouteName, String)> {
    let next = |name: &RouteName| {
        let route = routes.iter().find(|route| route.name == *name)?;
        route.fallback.as_ref().map(|fallback| &fallback.route)
    };
    let fault = |route: &Route| {
        let first = &route.fallback.as_ref()?.route;
        if routes.iter().all(|known| known.name != *first) {
            let names: Vec<_> = routes.iter().map(|route| route.name.as_str()).collect();
            return Some(format!(
                "there is no route {:?} to fall back to (routes: {})",
                first.as_str(),
                names.join(", ")
            ));
        }
        let (mut seen, mut at) = (BTreeSet::from([&route.name]), Some(first));
        let mut way = vec![route.name.as_str()];
        while let Some(name) = at {
            way.push(name.as_str());
            if !seen.insert(name) {
                // A circle that it only leads into is its members' fault.
                let is_its_own = *name == route.name;
                return is_its_own.then(|| format!("its fallback leads back to it ({})", way.join(" → ")));
            }
            at = next(name);
        }
        None
    };
    routes.iter().filter_map(|route| Some((route.name.clone(), fault(route)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        alert::{Status, Target, Webhook},
        base::{Now, Secret},
    };

    fn name(text: &str) -> RouteName {
        RouteName::new(text).expect("a name")
    }

    fn route(own: &str, fallback: Option<&str>) -> Route {
        let target = Target::Webhook(Box::new(Webhook::new(Secret::new("http://x"))));
        let fallback = fallback.map(|to| Fallback { route: name(to), after: TimeSpan::from_secs(120) });
        Route { fallback, ..Route::new(name(own), target) }
    }

    #[test]
    fn a_message_is_left_to_its_route_for_a_time_while_tries_fail_and_not_at_all_where_it_is_dead() {
        let fallback = Fallback { route: name("b"), after: TimeSpan::from_secs(120) };
        let fails = Trouble::Fails("status 500".to_owned());
        let secs = |created: i64, now: i64, trouble: &Trouble| {
            fallback.left(Wall(created * 1_000_000), Wall(now * 1_000_000), trouble)
        };
        assert_eq!(secs(1000, 1000, &fails), TimeSpan::from_secs(120));
        assert_eq!(secs(1000, 1119, &fails), TimeSpan::from_secs(1));
        assert_eq!(secs(1000, 1120, &fails), TimeSpan::ZERO);
        assert_eq!(secs(1000, 9999, &fails), TimeSpan::ZERO);
        assert_eq!(secs(1000, 1, &fails), TimeSpan::from_secs(120), "the clock was set back");
        assert_eq!(secs(1000, 1000, &Trouble::Refuses("status 404".to_owned())), TimeSpan::ZERO);
        let never = Fallback { after: TimeSpan::INFINITY, ..fallback };
        assert_eq!(never.left(Wall(0), Wall(i64::MAX), &fails), TimeSpan::INFINITY);
    }

    #[test]
    fn a_copy_has_the_id_of_a_message_of_the_routes_own() {
        let of = |id: &str, event: &str, route: &str| Message {
            id: id.to_owned(),
            event: event.to_owned(),
            message: "web failed".to_owned(),
            status: Status::Firing,
            possible_duplicate: true,
            ..Message::test("vm1", &name(route), Now::default())
        };
        let cases = [
            ("vm1/web/3/0/unit_failed/a", "vm1/web/3/0/unit_failed/b"),
            ("vm1/web/3/0/unit_failed/a/reminder-2", "vm1/web/3/0/unit_failed/b/reminder-2"),
            ("vm1/web/3/0/unit_failed/a/escalation", "vm1/web/3/0/unit_failed/b/escalation"),
            ("vm1/unit_failed/a/3/0/unit_failed/a", "vm1/unit_failed/a/3/0/unit_failed/b"),
            ("of another kind", "of another kind/b"),
        ];
        for (id, copy) in cases {
            assert_eq!(of(id, "unit_failed", "a").for_fallback(&name("b"), Some("why")).id, copy);
        }
        let copy = of(cases[0].0, "unit_failed", "a").for_fallback(&name("b"), Some("status 500"));
        assert_eq!(copy.message, "the route a did not take this (status 500): web failed");
        assert_eq!((copy.route.as_str(), copy.fallback_of.as_deref()), ("b", Some("a")));
        assert!(!copy.possible_duplicate, "of the copy nothing was sent yet");
        assert_eq!(Message::from_json(&copy.to_json()).expect("read"), copy);
        // And so for a fallback of the fallback.
        assert_eq!(copy.for_fallback(&name("c"), Some("x")).id, "vm1/web/3/0/unit_failed/c");
    }

    #[test]
    fn a_fallback_is_a_route_that_there_is_and_leads_back_to_nobody() {
        let faults = |routes: &[Route]| fallback_faults(routes);
        assert_eq!(faults(&[route("a", Some("b")), route("b", Some("c")), route("c", None)]), []);
        let missing = faults(&[route("a", Some("b"))]);
        assert!(missing.len() == 1 && missing[0].1.contains("no route \"b\""), "{missing:?}");
        let own = faults(&[route("a", Some("a"))]);
        assert!(own.len() == 1 && own[0].1.contains("a → a"), "{own:?}");
        let circle = faults(&[route("x", Some("a")), route("a", Some("b")), route("b", Some("a"))]);
        let who: Vec<_> = circle.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(who, ["a", "b"], "{circle:?}");
        assert!(circle[0].1.contains("a → b → a"), "{circle:?}");
    }
}
