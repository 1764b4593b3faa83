//! A route that takes nothing, and another that does.

use std::sync::atomic::{AtomicU16, Ordering};

use super::*;
use crate::{
    alert::{Fallback, Status},
    base::TimeSpan,
    edge::{clock, store::Told},
};

/// Longer than a message too many takes.
const SILENCE: Duration = Duration::from_millis(400);

fn name(text: &str) -> RouteName {
    RouteName::new(text).unwrap()
}

/// A receiver whose answers have the status that is set, and the route to it.
struct Receiver {
    peer: Peer,
    status: Arc<AtomicU16>,
}

impl Receiver {
    async fn answering(status: u16) -> Self {
        let status = Arc::new(AtomicU16::new(status));
        let shared = Arc::clone(&status);
        let peer = Peer::start(move |_| Reply::status(shared.load(Ordering::SeqCst), "", "so be it")).await;
        Self { peer, status }
    }

    fn now_answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn route(&self, own: &str) -> Route {
        Route::new(name(own), webhook(Secret::new(self.peer.url("/hook"))))
    }

    fn messages(&self) -> Vec<Message> {
        self.peer.requests().iter().map(|request| Message::from_json(&request.body).unwrap()).collect()
    }

    /// The messages, once there are so many; and that there are no more.
    async fn exactly(&self, count: usize) -> Vec<Message> {
        self.peer.arrived(count).await;
        tokio::time::sleep(SILENCE).await;
        let messages = self.messages();
        assert_eq!(messages.len(), count, "{messages:#?}");
        messages
    }
}

fn of_incident(incident: &str, status: Status) -> Message {
    let event = if status == Status::Firing { "unit_failed" } else { "recovered" };
    let id = format!("vm1/{incident}/{event}/a");
    let test = Message::test("vm1", &name("a"), clock::now());
    let unit = incident.split_once("/").map(|(unit, _)| unit.to_owned());
    Message {
        id,
        event: event.to_owned(),
        incident: incident.to_owned(),
        status,
        message: event.to_owned(),
        unit,
        ..test
    }
}

fn put_one(store: &Store, message: Message) {
    store.submit(Batch { seq: None, writes: vec![Write::Message(Box::new(message), clock::now().wall)] });
}

/// Delivers to `a`, which falls back to `b` after this, and to `b`.
fn deliver_to_both(store: &Store, a: &Receiver, b: &Receiver, after: TimeSpan) -> Deliveries {
    let (errands, _nobody_runs_them) = mpsc::unbounded_channel();
    let deliveries = Deliveries::new(store.clone(), clock::now, quick(), errands);
    let first = Route { fallback: Some(Fallback { route: name("b"), after }), ..a.route("a") };
    deliveries.set_routes(&[first, b.route("b")]);
    deliveries
}

#[tokio::test]
async fn what_a_route_does_not_take_in_time_goes_to_another_and_each_is_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b) = (Receiver::answering(503).await, Receiver::answering(200).await);
    let begun = tokio::time::Instant::now();
    put_one(&store, of_incident("web/1/0", Status::Firing));
    let deliveries = deliver_to_both(&store, &a, &b, TimeSpan::from_millis(500));
    b.peer.arrived(1).await;
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    assert!(a.messages().len() > 2, "its own route is tried all the while");
    // The next manager knows nothing of what was handed over.
    deliveries.stop(SOON).await;
    assert!(store.flush(SOON).await);
    let deliveries = deliver_to_both(&store, &a, &b, TimeSpan::from_millis(500));
    let told = b.exactly(1).await;
    assert_eq!(told[0].id, "vm1/web/1/0/unit_failed/b");
    assert_eq!(told[0].message, "the route a did not take this (status 503: so be it): unit_failed");
    assert_eq!((told[0].fallback_of.as_deref(), told[0].possible_duplicate), (Some("a"), false));
    let known = |route: &str, fallback_of: Option<&str>, waits: bool, taken: bool| Told {
        incident: "web/1/0".to_owned(),
        route: route.to_owned(),
        fallback_of: fallback_of.map(str::to_owned),
        waits,
        taken,
    };
    let of_incident_one = || store.told(vec!["web/1/0".to_owned()]);
    assert_eq!(of_incident_one().await.unwrap(), [known("a", None, true, false), known("b", Some("a"), false, true)]);
    a.now_answers(200);
    let before = a.messages().len();
    a.peer.arrived(before + 1).await;
    tokio::time::sleep(SILENCE).await;
    let last = a.messages().pop().unwrap();
    assert_eq!((last.id.as_str(), last.possible_duplicate), ("vm1/web/1/0/unit_failed/a", true));
    assert_eq!(a.messages().len(), before + 1, "once it has taken it, it is told no more");
    // Who was told of it by the other route is told of its end there.
    put_one(&store, of_incident("web/1/0", Status::Resolved));
    put_one(&store, of_incident("web/2/0", Status::Resolved));
    let told = b.exactly(2).await;
    assert_eq!((told[1].id.as_str(), told[1].message.as_str()), ("vm1/web/1/0/recovered/b", "recovered"));
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_dead_route_and_a_message_that_is_refused_go_to_another_at_once() {
    for (status, more) in [(404, "a second waits with it"), (400, "a second is asked for itself")] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let (a, b) = (Receiver::answering(status).await, Receiver::answering(200).await);
        put_one(&store, of_incident("web/1/0", Status::Firing));
        put_one(&store, of_incident("db/1/0", Status::Firing));
        let deliveries = deliver_to_both(&store, &a, &b, TimeSpan::from_secs(3600));
        b.peer.arrived(2).await;
        let told: Vec<_> = b.messages().iter().map(|message| message.id.clone()).collect();
        assert_eq!(told, ["vm1/web/1/0/unit_failed/b", "vm1/db/1/0/unit_failed/b"], "{status}: {more}");
        assert!(b.messages()[0].message.contains(&format!("status {status}")), "{:?}", b.messages());
        let tries = a.messages().len();
        assert_eq!(tries, if status == 404 { 1 } else { 2 }, "{more}");
        b.exactly(2).await;
        deliveries.stop(SOON).await;
    }
}

#[tokio::test]
async fn whom_a_rule_tells_anyway_is_not_told_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b) = (Receiver::answering(404).await, Receiver::answering(200).await);
    let own = of_incident("web/1/0", Status::Firing);
    put_one(&store, Message { id: "vm1/web/1/0/unit_failed/b".to_owned(), route: "b".to_owned(), ..own.clone() });
    put_one(&store, own);
    let deliveries = deliver_to_both(&store, &a, &b, TimeSpan::ZERO);
    let told = b.exactly(1).await;
    assert_eq!(told[0].fallback_of, None, "by its own message");
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_route_that_delivers_falls_back_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b) = (Receiver::answering(200).await, Receiver::answering(200).await);
    put_one(&store, of_incident("web/1/0", Status::Firing));
    put_one(&store, of_incident("web/1/0", Status::Resolved));
    let deliveries = deliver_to_both(&store, &a, &b, TimeSpan::ZERO);
    a.exactly(2).await;
    assert_eq!(b.messages(), []);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn what_is_given_up_goes_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (a, b) = (Receiver::answering(503).await, Receiver::answering(200).await);
    put_one(&store, of_incident("web/1/0", Status::Firing));
    let (errands, _nobody_runs_them) = mpsc::unbounded_channel();
    let deliveries = Deliveries::new(store.clone(), clock::now, quick(), errands);
    let fallback = Some(Fallback { route: name("b"), after: TimeSpan::INFINITY });
    let first = Route { fallback, give_up_after: TimeSpan::from_millis(300), ..a.route("a") };
    deliveries.set_routes(&[first, b.route("b")]);
    let told = b.exactly(1).await;
    assert!(told[0].message.contains("status 503"), "{told:?}");
    let tries = a.messages().len();
    tokio::time::sleep(SILENCE).await;
    assert_eq!(a.messages().len(), tries, "it is over");
    assert_eq!(deliveries.counts().get(&(name("a"), Outcome::Failed)), Some(&1));
    deliveries.stop(SOON).await;
}
