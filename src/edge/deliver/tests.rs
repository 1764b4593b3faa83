//! Deliveries to real servers that answer well, badly or never, out of a real outbox.

mod fallback; // what a route does not take
mod mail; // servers that are slow, rude or forged

use std::path::Path;

use tokio::sync::mpsc;

use super::*;
use crate::{
    alert::{Target, Trouble, Webhook},
    base::{Mono, Secret, Wall},
    edge::{
        peer::{Peer, Reply},
        store::{self, Batch, Options, OutboxState, OutboxUpdate, Retention, Write},
    },
};

const SOON: Duration = Duration::from_secs(20);

fn clock() -> Now {
    Now { mono: Mono(1), wall: Wall(1_700_000_000_000_000) }
}

fn quick() -> Timing {
    Timing {
        deadline: Duration::from_millis(500),
        gap: Duration::ZERO,
        backoff_min: Duration::from_millis(20),
        backoff_max: Duration::from_millis(80),
        retry_after_max: Duration::from_millis(1500),
        refused_min: Duration::from_millis(400),
        refused_max: Duration::from_millis(400),
        refused_beside: Duration::ZERO,
        blamed_after: Duration::ZERO,
        deferrals: [30, 60, 120, 240].map(Duration::from_millis),
    }
}

fn open(path: &Path) -> Store {
    let options =
        Options { path: path.join("state.db"), boot_id: "boot".to_owned(), retention: Retention::default(), clock };
    let (store, opening) = Store::open(options, |_| ()).unwrap();
    std::thread::spawn(move || opening.blocking_recv().unwrap()).join().unwrap();
    store
}

fn webhook(url: Secret) -> Target {
    Target::Webhook(Box::new(Webhook::new(url)))
}

fn route(url: &str, target: fn(Secret) -> Target) -> Route {
    Route::new(RouteName::new("ops").unwrap(), target(Secret::new(url)))
}

fn message(id: u32) -> Message {
    let test = Message::test("vm1", &RouteName::new("ops").unwrap(), clock());
    Message { id: format!("m{id}"), message: format!("message {id}"), ..test }
}

fn put(store: &Store, ids: impl IntoIterator<Item = u32>) {
    let writes = ids.into_iter().map(|id| Write::Message(Box::new(message(id)), clock().wall)).collect();
    store.submit(Batch { seq: None, writes });
}

fn deliver(store: &Store, route: Route, timing: Timing) -> Deliveries {
    let (errands, _nobody_runs_them) = mpsc::unbounded_channel();
    let deliveries = Deliveries::new(store.clone(), clock, timing, errands);
    deliveries.set_routes(&[route]);
    deliveries
}

/// (id, possible duplicate) of each request, in order.
fn ids(peer: &Peer) -> Vec<(String, bool)> {
    let read = |request: &crate::edge::peer::Request| Message::from_json(&request.body).unwrap();
    peer.requests().iter().map(read).map(|message| (message.id, message.possible_duplicate)).collect()
}

async fn emptied(store: &Store) {
    let empty = async {
        while !store.outbox_waiting(RouteName::new("ops").unwrap(), 100).await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, empty).await.expect("the outbox was not emptied");
}

fn count(deliveries: &Deliveries, outcome: Outcome) -> u64 {
    deliveries.counts().get(&(RouteName::new("ops").unwrap(), outcome)).copied().unwrap_or(0)
}

fn trouble(deliveries: &Deliveries) -> Option<Trouble> {
    deliveries.troubles().remove(&RouteName::new("ops").unwrap())
}

#[tokio::test]
async fn messages_arrive_once_and_in_order_also_those_that_come_later() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|_| Reply::status(200, "", "ok")).await;
    put(&store, 1..=3);
    let deliveries = deliver(&store, route(&peer.url("/hook"), webhook), quick());
    peer.arrived(3).await;
    put(&store, 3..=5);
    peer.arrived(5).await;
    emptied(&store).await;
    let expected: Vec<_> = (1..=5).map(|n| (format!("m{n}"), false)).collect();
    assert_eq!(ids(&peer), expected);
    let first = &peer.requests()[0];
    assert!(first.head.starts_with("POST /hook HTTP/1.1"), "{}", first.head);
    assert!(first.head.to_lowercase().contains("content-type: application/json"), "{}", first.head);
    assert_eq!(count(&deliveries, Outcome::Delivered), 5);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn an_alertmanager_at_the_wrong_path_is_told_with_the_right_one() {
    for status in [404, 405] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let peer = Peer::start(move |_| Reply::status(status, "", "no")).await;
        put(&store, [1]);
        let deliveries = deliver(&store, route(&peer.url("/alerts"), Target::Alertmanager), quick());
        let refused = async {
            while deliveries.refusing().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, refused).await.expect("it is refused");
        let reason = trouble(&deliveries).unwrap().reason().to_owned();
        assert_eq!(reason, format!("status {status}: no; its url is the whole path, http://HOST:9093/api/v2/alerts"));
        deliveries.stop(SOON).await;
    }
}

#[tokio::test]
async fn slack_gets_its_own_form() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|_| Reply::status(200, "", "ok")).await;
    put(&store, [1]);
    let deliveries = deliver(&store, route(&peer.url("/services/T/B/X"), Target::Slack), quick());
    peer.arrived(1).await;
    let body: serde_json::Value = serde_json::from_str(&peer.requests()[0].body).unwrap();
    assert_eq!(body["text"], "[INFO] vm1: message 1");
    assert!(body["blocks"].as_array().is_some_and(|blocks| blocks.len() == 2), "{body:#}");
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn an_answer_that_may_hide_success_makes_a_possible_duplicate() {
    let cases: [(&str, Reply, bool); 5] = [
        ("500", Reply::status(500, "", "oops"), true),
        ("hang", Reply::Hang(String::new()), true),
        ("cut", Reply::Say("HTTP/1.1 200".to_owned()), true),
        ("429", Reply::status(429, "", ""), false),
        ("garbage", Reply::Say("what?\r\n\r\n".to_owned()), true),
    ];
    for (name, first, duplicate) in cases {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let peer = Peer::start(move |nth| if nth == 0 { first.clone() } else { Reply::status(204, "", "") }).await;
        put(&store, [1, 2]);
        let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
        peer.arrived(3).await;
        emptied(&store).await;
        let expected = [("m1", false), ("m1", duplicate), ("m2", false)].map(|(id, dup)| (id.to_owned(), dup));
        assert_eq!(ids(&peer), expected, "{name}");
        assert_eq!(count(&deliveries, Outcome::Retried), 1, "{name}");
        deliveries.stop(SOON).await;
    }
}

#[tokio::test]
async fn a_refused_connection_is_no_possible_duplicate() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    put(&store, [1]);
    let deliveries = deliver(&store, route(&format!("http://{address}/"), webhook), quick());
    let failed = async {
        while count(&deliveries, Outcome::Retried) < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, failed).await.unwrap();
    assert!(store.flush(SOON).await);
    let row = store.outbox_waiting(RouteName::new("ops").unwrap(), 1).await.unwrap().remove(0);
    assert!(row.attempts >= 3 && !row.possible_duplicate, "{row:?}");
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn retry_after_is_honoured_and_capped() {
    for (header, at_least, at_most) in [("retry-after: 1\r\n", 1000, 1400), ("retry-after: 999999999\r\n", 1500, 1900)]
    {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let peer =
            Peer::start(move |nth| if nth == 0 { Reply::status(429, header, "") } else { Reply::status(200, "", "") })
                .await;
        put(&store, [1, 2]);
        let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
        let requests = peer.arrived(3).await;
        let waited = requests[1].at - requests[0].at;
        assert!(waited >= Duration::from_millis(at_least), "{header}: {waited:?}");
        assert!(waited <= Duration::from_millis(at_most), "{header}: {waited:?}");
        deliveries.stop(SOON).await;
    }
}

#[tokio::test]
async fn people_get_at_most_one_message_per_gap() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|_| Reply::status(200, "", "")).await;
    put(&store, 1..=4);
    let gap = Duration::from_millis(150);
    let deliveries = deliver(&store, route(&peer.url("/"), Target::Slack), Timing { gap, ..quick() });
    let requests = peer.arrived(4).await;
    assert!(requests.windows(2).all(|pair| pair[1].at - pair[0].at >= gap * 9 / 10), "{requests:?}");
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_thousand_alerts_to_who_is_told_too_much_all_arrive_once_and_none_within_a_wait() {
    // In seconds, as a date a second from our now, and beyond what anyone may ask for.
    let waits = [
        (10, "retry-after: 1\r\n", 1000),
        (300, "retry-after: Tue, 14 Nov 2023 22:13:21 GMT\r\n", 1000),
        (700, "retry-after: 99999999999999999999\r\n", 1500),
        (900, "", 15),
    ];
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(move |nth| match waits.iter().find(|wait| wait.0 == nth) {
        Some((_, header, _)) => Reply::status(429, header, ""),
        None => Reply::status(200, "", ""),
    })
    .await;
    put(&store, 1..=1000);
    let gap = Duration::from_millis(2);
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), Timing { gap, ..quick() });
    for part in 1..10 {
        peer.arrived(100 * part).await;
    }
    let requests = peer.arrived(1000 + waits.len()).await;
    let paced = requests[waits[0].0..].windows(2);
    assert!(paced.into_iter().all(|pair| pair[1].at - pair[0].at >= gap), "after it said so");
    for (nth, header, at_least) in waits {
        let waited = requests[nth + 1].at - requests[nth].at;
        assert!(waited >= Duration::from_millis(at_least), "{header}: {waited:?}");
    }
    emptied(&store).await;
    let mut arrived: Vec<_> = ids(&peer).into_iter().map(|(id, _)| id).collect();
    assert_eq!(arrived.len(), 1000 + waits.len());
    arrived.dedup();
    assert_eq!(arrived, (1..=1000).map(|n| format!("m{n}")).collect::<Vec<_>>());
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_crowd_is_told_as_fast_as_its_receiver_answers_and_what_is_critical_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|_| Reply::status(200, "", "")).await;
    // Of one thing two, of which the later is critical.
    let about = |n: u32| {
        let severity = if n == 120 { "critical" } else { "warning" }.to_owned();
        let unit = Some(if n == 120 { "web60".to_owned() } else { format!("web{n}") });
        Message { severity, unit, ..message(n) }
    };
    let writes = (1..=120).map(|n| Write::Message(Box::new(about(n)), clock().wall)).collect();
    store.submit(Batch { seq: None, writes });
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), Timing { deadline: SOON, ..Timing::default() });
    let requests = peer.arrived(120).await;
    emptied(&store).await;
    assert!(requests[119].at - requests[0].at < Duration::from_secs(15), "not one a second");
    let ids: Vec<_> = ids(&peer).into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids[..3], ["m60", "m120", "m1"], "in the order of their thing");
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_body_of_any_form_comes_with_a_header_that_says_that_it_may_be_there_already() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|nth| Reply::status(if nth == 0 { 500 } else { 200 }, "", "")).await;
    put(&store, [1]);
    let template = Some(crate::alert::Template::new("{{ id }} {{ possible_duplicate }}").unwrap());
    let target = Target::Webhook(Box::new(Webhook { template, ..Webhook::new(Secret::new(peer.url("/"))) }));
    let deliveries = deliver(&store, Route::new(RouteName::new("ops").unwrap(), target), quick());
    let requests = peer.arrived(2).await;
    let bodies: Vec<_> = requests.iter().map(|request| request.body.as_str()).collect();
    assert_eq!(bodies, ["m1 false", "m1 true"]);
    let says = |nth: usize| requests[nth].head.to_lowercase().contains("x-roundsman-possible-duplicate: 1\r\n");
    assert!(!says(0) && says(1), "{requests:?}");
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn it_is_known_how_many_wait_for_whom() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, 1..=3);
    assert!(store.flush(SOON).await);
    assert_eq!(store.waiting().await.unwrap(), BTreeMap::from([("ops".to_owned(), 3)]));
    let peer = Peer::start(|_| Reply::status(200, "", "")).await;
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
    emptied(&store).await;
    assert!(store.waiting().await.unwrap().is_empty());
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_dead_route_is_asked_now_and_then_and_loses_nothing() {
    for status in [404, 302] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let trap = Peer::start(|_| Reply::status(200, "", "")).await;
        let location = format!("location: {}\r\n", trap.url("/meta-data"));
        let peer = Peer::start(move |nth| {
            if nth < 2 { Reply::status(status, &location, "no_service") } else { Reply::status(200, "", "") }
        })
        .await;
        put(&store, 1..=3);
        let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
        peer.arrived(1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let why = if status == 302 { " (redirects are not followed: name the place itself)" } else { "" };
        assert_eq!(trouble(&deliveries), Some(Trouble::Refuses(format!("status {status}: no_service{why}"))));
        let requests = peer.arrived(5).await;
        assert!(requests[1].at - requests[0].at >= Duration::from_millis(380), "{status}");
        emptied(&store).await;
        let order: Vec<_> = ids(&peer).into_iter().map(|(id, _)| id).collect();
        assert_eq!(order, ["m1", "m1", "m1", "m2", "m3"]);
        assert_eq!(trouble(&deliveries), None);
        assert!(trap.requests().is_empty(), "a redirect was followed");
        deliveries.stop(SOON).await;
    }
}

#[tokio::test]
async fn a_route_that_refused_is_asked_soon_then_ever_more_seldom_and_at_once_when_someone_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let taken = Arc::new(AtomicBool::new(false));
    let (flag, is_test) = (Arc::clone(&taken), |nth: usize| nth == 3);
    let peer = Peer::start(move |nth| {
        let status = if flag.load(Ordering::SeqCst) || is_test(nth) { 200 } else { 404 };
        Reply::status(status, "", "")
    })
    .await;
    let url = peer.url("/");
    put(&store, [1]);
    let timing = Timing { refused_min: Duration::from_millis(300), refused_max: Duration::from_secs(3600), ..quick() };
    let deliveries = deliver(&store, route(&url, webhook), timing);
    let requests = peer.arrived(3).await;
    let pauses = [requests[1].at - requests[0].at, requests[2].at - requests[1].at];
    assert!(pauses[0] >= Duration::from_millis(290) && pauses[1] >= Duration::from_millis(590), "{pauses:?}");
    // A test that is taken says that it is mended, so the message that waits follows; it is refused once more.
    deliveries.try_once(message(9)).await.unwrap();
    let requests = peer.arrived(5).await;
    assert!(requests[4].at - requests[3].at < Duration::from_millis(250), "the message did not follow the test");
    // So does a person who has the settings read again.
    taken.store(true, Ordering::SeqCst);
    while trouble(&deliveries).is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    deliveries.ask_refusing_again();
    let requests = peer.arrived(6).await;
    assert!(requests[5].at - requests[4].at < Duration::from_millis(250), "nobody asked again");
    emptied(&store).await;
    assert_eq!(trouble(&deliveries), None);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_dead_route_is_known_as_such_in_the_next_life_which_asks_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|nth| match nth {
        0 | 1 => Reply::status(404, "", "no_service"),
        _ => Reply::status(200, "", ""),
    })
    .await;
    put(&store, [1]);
    let refused_min = Duration::from_secs(3600);
    let timing = Timing { refused_min, refused_max: refused_min, ..quick() };
    for life in 1..=2 {
        let deliveries = deliver(&store, route(&peer.url("/"), webhook), timing);
        peer.arrived(life).await;
        let refused = async {
            let row = || store.outbox_waiting(RouteName::new("ops").unwrap(), 1);
            while row().await.unwrap().remove(0).refused < u32::try_from(life).unwrap() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, refused).await.expect("the refusal was not written down");
        assert_eq!(trouble(&deliveries), Some(Trouble::Refuses("status 404: no_service".to_owned())));
        deliveries.stop(SOON).await;
    }
    let row = store.outbox_waiting(RouteName::new("ops").unwrap(), 1).await.unwrap().remove(0);
    assert_eq!((row.refused, row.reason.as_deref()), (2, Some("status 404: no_service")));
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), timing);
    peer.arrived(3).await;
    emptied(&store).await;
    assert_eq!(trouble(&deliveries), None);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn reminders_that_a_later_message_has_overtaken_are_not_sent_after_an_outage() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|_| Reply::status(200, "", "")).await;
    let of =
        |id: u32, incident: &str, reminder: u32| Message { incident: incident.to_owned(), reminder, ..message(id) };
    let messages = [of(1, "a", 0), of(2, "b", 0), of(3, "a", 1), of(4, "a", 2), of(5, "b", 1), of(6, "a", 0)];
    let writes = messages.map(|message| Write::Message(Box::new(message), clock().wall)).into();
    store.submit(Batch { seq: None, writes });
    assert!(store.flush(SOON).await);
    let told = async || {
        let told = store.told(vec!["a".to_owned(), "b".to_owned()]).await.unwrap();
        told.into_iter().map(|told| (told.incident, told.waits, told.taken)).collect::<Vec<_>>()
    };
    assert_eq!(told().await, [("a".to_owned(), true, false), ("b".to_owned(), true, false)]);
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
    peer.arrived(4).await;
    emptied(&store).await;
    let order: Vec<_> = ids(&peer).into_iter().map(|(id, _)| id).collect();
    assert_eq!(order, ["m1", "m2", "m5", "m6"]);
    assert_eq!(told().await, [("a".to_owned(), false, true), ("b".to_owned(), false, true)]);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn what_is_critical_goes_before_what_is_not_and_what_is_about_one_unit_stays_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|_| Reply::status(200, "", "")).await;
    // An incident each: the end of one must not come after the beginning of the next.
    let of = |id: u32, unit: &str, severity: &str| Message {
        unit: Some(unit.to_owned()),
        incident: format!("{unit}/{id}/0"),
        severity: severity.to_owned(),
        ..message(id)
    };
    let messages = [of(1, "a", "warning"), of(2, "b", "warning"), of(3, "c", "critical"), of(4, "b", "critical")];
    let writes = messages.map(|message| Write::Message(Box::new(message), clock().wall)).into();
    store.submit(Batch { seq: None, writes });
    assert!(store.flush(SOON).await);
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
    peer.arrived(4).await;
    emptied(&store).await;
    let order: Vec<_> = ids(&peer).into_iter().map(|(id, _)| id).collect();
    assert_eq!(order, ["m2", "m3", "m4", "m1"]);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_message_that_is_refused_does_not_hold_up_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::answering(|_, request| {
        let is_bad = request.body.contains("\"m1\"");
        Reply::status(if is_bad { 400 } else { 200 }, "", "")
    })
    .await;
    put(&store, 1..=2);
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
    peer.arrived(3).await;
    emptied(&store).await;
    assert_eq!((count(&deliveries, Outcome::Failed), count(&deliveries, Outcome::Delivered)), (1, 1));
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_message_that_is_refused_beside_others_waits_until_its_receiver_may_have_been_mended() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // Of one unit it understands nothing at first.
    let peer = Peer::answering(|nth, request| {
        let is_bad = request.body.contains("\"m1\"") && nth < 6;
        Reply::status(if is_bad { 400 } else { 200 }, "", "")
    })
    .await;
    let timing = Timing { refused_beside: Duration::from_millis(20), blamed_after: SOON, ..quick() };
    put(&store, 1..=4);
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), timing);
    peer.arrived(7).await;
    emptied(&store).await;
    assert_eq!((count(&deliveries, Outcome::Failed), count(&deliveries, Outcome::Delivered)), (0, 4));
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn what_a_receiver_that_is_broken_refuses_is_lost_neither_before_nor_after_that_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // Each of six messages is refused, one of them several times.
    let peer = Peer::start(|nth| Reply::status(if nth < 9 { 400 } else { 200 }, "", "")).await;
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
    for nth in 1..=6 {
        put(&store, [nth]);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    emptied(&store).await;
    assert_eq!((count(&deliveries, Outcome::Failed), count(&deliveries, Outcome::Delivered)), (0, 6));
    deliveries.stop(SOON).await;
}

/// The beginning of an incident, which a broken receiver refuses; it is mended; then the end comes.
#[tokio::test]
async fn what_was_refused_is_told_before_what_came_later_about_the_same_thing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|nth| Reply::status(if nth < 2 { 400 } else { 200 }, "", "")).await;
    let about = |id: u32, unit: &str| Message { unit: Some(unit.to_owned()), ..message(id) };
    let put = |message: Message| {
        store.submit(Batch { seq: None, writes: vec![Write::Message(Box::new(message), clock().wall)] });
    };
    let slow = Timing { refused_min: SOON, refused_max: SOON, ..quick() };
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), slow);
    put(about(1, "web"));
    peer.arrived(1).await;
    put(about(2, "db"));
    peer.arrived(2).await;
    // Two that were refused: the route rests for long, until someone says that it is mended.
    put(about(3, "web"));
    assert!(store.flush(SOON).await);
    tokio::time::sleep(Duration::from_millis(50)).await;
    deliveries.ask_refusing_again();
    emptied(&store).await;
    let order: Vec<_> = ids(&peer).into_iter().map(|(id, _)| id).skip(2).collect();
    assert_eq!(order, ["m1", "m2", "m3"]);
    assert_eq!((count(&deliveries, Outcome::Failed), count(&deliveries, Outcome::Delivered)), (0, 3));
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn one_message_that_is_refused_again_and_again_holds_up_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::answering(|_, request| {
        let is_bad = request.body.contains("\"m1\"");
        Reply::status(if is_bad { 400 } else { 200 }, "", "")
    })
    .await;
    let put = |id: u32, unit: &str| {
        let message = Message { unit: Some(unit.to_owned()), ..message(id) };
        store.submit(Batch { seq: None, writes: vec![Write::Message(Box::new(message), clock().wall)] });
    };
    let timing = Timing { refused_min: Duration::from_millis(300), refused_max: SOON, ..quick() };
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), timing);
    put(1, "web");
    peer.arrived(3).await;
    assert!(matches!(trouble(&deliveries), Some(Trouble::Refuses(_))), "who looks sees that it waits");
    put(2, "db");
    let requests = timeout(Duration::from_millis(500), peer.arrived(4)).await.expect("it waited");
    assert!(requests[3].body.contains("\"m2\""));
    emptied(&store).await;
    assert_eq!((count(&deliveries, Outcome::Failed), count(&deliveries, Outcome::Delivered)), (1, 1));
    assert_eq!(trouble(&deliveries), None);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn what_comes_new_is_sent_at_once_to_who_refuses_what_came_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::answering(|_, request| {
        let is_good = request.body.contains("\"unit\":\"good\"");
        Reply::status(if is_good { 200 } else { 400 }, "", "")
    })
    .await;
    let put = |id: u32, unit: &str| {
        let message = Message { unit: Some(unit.to_owned()), ..message(id) };
        store.submit(Batch { seq: None, writes: vec![Write::Message(Box::new(message), clock().wall)] });
    };
    let slow = Timing { refused_min: SOON, refused_max: SOON, ..quick() };
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), slow);
    for (id, unit) in [(1, "web"), (2, "db"), (3, "web"), (4, "bad"), (5, "good")] {
        put(id, unit);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let sent: Vec<_> = peer.arrived(5).await.iter().map(|it| Message::from_json(&it.body).unwrap().id).collect();
    assert_eq!(sent[..4], ["m1", "m2", "m4", "m5"], "{sent:?}");
    deliveries.stop(SOON).await;
}

/// The receiver is mended between a beginning and its end.
#[tokio::test]
async fn what_a_mended_receiver_took_too_early_is_said_again_after_what_was_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|nth| Reply::status(if nth < 2 { 400 } else { 200 }, "", "")).await;
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
    put(&store, [1]);
    peer.arrived(1).await;
    put(&store, [2]);
    peer.arrived(5).await;
    emptied(&store).await;
    let expected = [("m1", false), ("m1", false), ("m2", false), ("m1", false), ("m2-again", true)];
    assert_eq!(ids(&peer), expected.map(|(id, double)| (id.to_owned(), double)));
    assert_eq!((count(&deliveries, Outcome::Failed), count(&deliveries, Outcome::Delivered)), (0, 3));
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|nth| match nth {
        0 => Reply::Flood("HTTP/1.1 500 X\r\ncontent-length: 10000000000\r\n\r\n".to_owned()),
        1 => Reply::Trickle("HTTP/1.1 500 X\r\ncontent-length: 10000000000\r\n\r\n".to_owned()),
        _ => Reply::status(200, "", ""),
    })
    .await;
    put(&store, [1]);
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
    let requests = peer.arrived(3).await;
    assert!(requests[1].at - requests[0].at < Duration::from_millis(400), "the flood was read to the deadline");
    assert!(requests[2].at - requests[1].at < Duration::from_secs(2));
    emptied(&store).await;
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn what_was_under_way_at_our_death_is_sent_again_as_a_possible_duplicate() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, [1, 2]);
    let update = OutboxUpdate {
        id: "m1".to_owned(),
        state: OutboxState::Sending,
        attempts: 1,
        refused: 0,
        possible_duplicate: false,
        receipt: None,
    };
    store.submit(Batch { seq: None, writes: vec![Write::Outbox(update)] });
    assert!(store.flush(SOON).await);
    let peer = Peer::start(|_| Reply::status(200, "", "")).await;
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
    peer.arrived(2).await;
    assert_eq!(ids(&peer), [("m1".to_owned(), true), ("m2".to_owned(), false)]);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_try_without_an_answer_yet_is_no_failure_that_the_next_life_would_wait_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    put(&store, [1]);
    let peer = Peer::start(|_| Reply::Hang(String::new())).await;
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), Timing { deadline: SOON, ..quick() });
    peer.arrived(1).await;
    assert!(store.flush(SOON).await);
    let row = store.outbox_waiting(RouteName::new("ops").unwrap(), 1).await.unwrap().remove(0);
    assert!(row.sending && row.attempts == 0, "{row:?}");
    deliveries.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn an_urgent_message_goes_past_the_store_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|_| Reply::status(200, "", "")).await;
    let lock = store::lock(&dir.path().join("state.db"));
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
    put(&store, [1]);
    deliveries.send_now(message(1));
    peer.arrived(1).await;
    drop(lock);
    put(&store, [2]);
    peer.arrived(2).await;
    emptied(&store).await;
    assert_eq!(ids(&peer), [("m1".to_owned(), false), ("m2".to_owned(), false)]);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn who_has_not_taken_what_the_store_does_not_have_either_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let peer = Peer::start(|nth| Reply::status(if nth < 2 { 503 } else { 200 }, "", "")).await;
    let _full = store::lock(&dir.path().join("state.db"));
    let deliveries = deliver(&store, route(&peer.url("/"), webhook), quick());
    deliveries.send_now(message(1));
    let waiting: Vec<_> = deliveries.waiting_here().into_iter().map(|told| (told.route, told.waits)).collect();
    assert_eq!(waiting, [("ops".to_owned(), true)]);
    peer.arrived(3).await;
    timeout(SOON, async {
        while !deliveries.waiting_here().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it was taken");
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_changed_route_takes_over_where_the_old_one_was() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let old = Peer::start(|_| Reply::status(404, "", "")).await;
    let new = Peer::start(|_| Reply::status(200, "", "")).await;
    put(&store, [1]);
    let refused_min = Duration::from_secs(3600);
    let deliveries = deliver(&store, route(&old.url("/"), webhook), Timing { refused_min, ..quick() });
    old.arrived(1).await;
    deliveries.set_routes(&[route(&new.url("/"), webhook)]);
    new.arrived(1).await;
    assert_eq!(trouble(&deliveries), None);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn no_error_text_shows_the_url() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let own = Arc::new(std::sync::OnceLock::<String>::new());
    let said = Arc::clone(&own);
    let peer = Peer::start(move |_| Reply::status(404, "", &format!("no hook at {}", said.get().unwrap()))).await;
    own.set(peer.url("/t0psecret")).unwrap();
    for url in ["http://127.0.0.1:1/t0psecret", "http://[bad/t0psecret", own.get().unwrap()] {
        let (_stop, stopped) = watch::channel(false);
        let (errands, _nobody_runs_them) = mpsc::unbounded_channel();
        let common =
            Common { store: store.clone(), clock, timing: quick(), errands, logs: None, seen: Mutex::default() };
        let route = route(url, webhook);
        let mut worker = route::Worker::new(Arc::new(common), route, Arc::default(), stopped);
        let text = format!("{:?} {worker:?}", worker.deliver(&message(1), &BTreeSet::new()).await);
        assert!(text.contains("reason") || text.contains("Refuses"), "{text}");
        assert!(!text.contains("t0psecret"), "{text}");
    }
}

#[tokio::test]
async fn a_crowd_is_sent_to_people_as_one_and_to_programs_one_by_one() {
    for (target, most) in [(Target::Slack as fn(Secret) -> Target, 2), (webhook, 40)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let peer = Peer::start(|_| Reply::status(200, "", "")).await;
        put(&store, 1..=40);
        assert!(store.flush(SOON).await);
        let deliveries = deliver(&store, route(&peer.url("/"), target), quick());
        emptied(&store).await;
        assert_eq!(count(&deliveries, Outcome::Delivered), 40);
        let requests = peer.requests().len();
        assert!(if most == 2 { requests <= 2 } else { requests == 40 }, "{requests}");
        deliveries.stop(SOON).await;
    }
}

#[tokio::test]
async fn a_crowd_that_is_refused_loses_only_the_message_that_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    // Whatever has the seventh in it is refused.
    let peer = Peer::answering(|_, request| {
        let bad = request.body.contains("message 7\"") || request.body.contains("message 7\\n");
        if bad { Reply::status(400, "", "invalid_blocks") } else { Reply::status(200, "", "ok") }
    })
    .await;
    put(&store, 1..=40);
    assert!(store.flush(SOON).await);
    let deliveries = deliver(&store, route(&peer.url("/"), Target::Slack), quick());
    emptied(&store).await;
    assert_eq!((count(&deliveries, Outcome::Delivered), count(&deliveries, Outcome::Failed)), (39, 1));
    deliveries.stop(SOON).await;
}
