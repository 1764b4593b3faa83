//! Probes of real servers on loopback, well-behaved and not.

use std::time::Duration;

use super::*;
use crate::{
    base::ByteSize,
    edge::peer::{Peer, Reply},
    unit::spec::{DiskCheck, FileCheck, HttpBody, HttpCheck, TcpCheck, TlsCheck},
};

fn check(url: String) -> HttpCheck {
    HttpCheck {
        name: "1".into(),
        url: url.into(),
        method: "GET",
        body: HttpBody::None,
        sign: None,
        tls: TlsCheck::default(),
        headers: Box::default(),
        unix_socket: None,
        expect_status: Box::default(),
        expect_body: None,
        expect_json: Box::default(),
        expect_body_of: None,
        capture: Box::default(),
        body_max: ByteSize(64 << 10),
    }
}

async fn asked(prober: &Prober, check: &HttpCheck, deadline: TimeSpan) -> Option<String> {
    let outcome = prober.ask(&ProbeCheck::Http([check.clone()].into()), None, deadline).await;
    outcome.finding.reason().map(str::to_owned)
}

async fn tcp(prober: &Prober, address: &str, deadline: TimeSpan) -> Option<String> {
    let check = TcpCheck { address: address.into(), ..TcpCheck::default() };
    prober.ask(&ProbeCheck::Tcp(check), None, deadline).await.finding.reason().map(str::to_owned)
}

const SECOND: TimeSpan = TimeSpan::from_secs(1);

/// What the probe says of a peer that always answers so.
async fn verdict(reply: Reply, change: impl FnOnce(&mut HttpCheck)) -> Option<String> {
    let peer = Peer::start(move |_| reply.clone()).await;
    let mut check = check(peer.url("/health"));
    change(&mut check);
    asked(&Prober::default(), &check, SECOND).await
}

#[tokio::test]
async fn a_status_is_good_or_not() {
    let reply = |status| Reply::status(status, "", "");
    assert_eq!(verdict(reply(204), |_| ()).await, None);
    assert_eq!(verdict(reply(401), |check| check.expect_status = [401, 405].into()).await, None);
    assert_eq!(verdict(reply(503), |_| ()).await.as_deref(), Some("status 503, expected 2xx"));
    let no = verdict(reply(200), |check| check.expect_status = [401, 405].into()).await;
    assert_eq!(no.as_deref(), Some("status 200, expected 401, 405"));
}

#[tokio::test]
async fn a_body_and_its_json_are_judged() {
    let json = || Reply::status(200, "", r#"{"status":"healthy","ready":true,"n":[1,2]}"#);
    let expect = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        move |check: &mut HttpCheck| check.expect_json = pairs
    };
    assert_eq!(verdict(json(), expect(&[("/status", "\"healthy\""), ("/ready", "true"), ("/n/1", "2")])).await, None);
    assert_eq!(verdict(json(), expect(&[("/status", "healthy")])).await, None);
    let wrong = verdict(json(), expect(&[("/ready", "false")])).await;
    assert_eq!(wrong.as_deref(), Some("/ready is true, expected false"));
    let missing = verdict(json(), expect(&[("/gone", "1")])).await;
    assert_eq!(missing.as_deref(), Some("/gone is not in the body, expected 1"));
    let no_json = verdict(Reply::status(200, "", "hello"), expect(&[("/a", "1")])).await.unwrap();
    assert!(no_json.starts_with("the body is no JSON"), "{no_json}");
    assert_eq!(verdict(json(), |check| check.expect_body = Some("healthy".into())).await, None);
    let absent = verdict(json(), |check| check.expect_body = Some("sick".into())).await;
    assert_eq!(absent.as_deref(), Some("\"sick\" is not in the body"));
}

#[tokio::test]
async fn the_request_is_what_the_unit_says() {
    let peer = Peer::start(|_| Reply::status(200, "", "")).await;
    let mut check = check(peer.url("/upload?x=1"));
    check.method = "HEAD";
    check.headers = [("X-Token".into(), "abc".into())].into();
    assert_eq!(asked(&Prober::default(), &check, SECOND).await, None);
    let head = peer.requests()[0].head.to_lowercase();
    assert!(head.starts_with("head /upload?x=1 http/1.1\r\n"), "{head}");
    for line in ["x-token: abc", "connection: close", &format!("host: {}", peer.address)] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} is not in {head}");
    }
}

#[tokio::test]
async fn a_unix_socket_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let peer = Peer::start_unix(&path, |_| Reply::status(200, "", "ok"));
    let mut check = check("http://localhost/healthz".to_owned());
    check.unix_socket = Some(path.clone().into());
    assert_eq!(asked(&Prober::default(), &check, SECOND).await, None);
    assert!(peer.requests()[0].head.to_lowercase().contains("host: localhost"));
    check.unix_socket = Some(dir.path().join("gone.sock").into());
    let gone = asked(&Prober::default(), &check, SECOND).await.unwrap();
    assert!(gone.starts_with("cannot connect to "), "{gone}");
}

#[tokio::test]
async fn no_answer_holds_a_probe_beyond_its_deadline() {
    let short = TimeSpan::from_millis(200);
    let head = "HTTP/1.1 200 X\r\ncontent-length: 10000000000\r\n\r\n";
    let replies = [
        Reply::Hang(String::new()),
        Reply::Hang("HTTP/1.1 200".to_owned()),
        Reply::Hang(head.to_owned()),
        Reply::Trickle(head.to_owned()),
        Reply::Trickle("HTTP/1.1 200 X\r\nx: ".to_owned()),
    ];
    for reply in replies {
        let shown = format!("{reply:?}");
        let peer = Peer::start(move |_| reply.clone()).await;
        let outcome = Prober::default().ask(&ProbeCheck::Http([check(peer.url("/"))].into()), None, short).await;
        assert_eq!(outcome.finding.reason(), Some("no answer within 200ms"), "{shown}");
        assert!(outcome.took < Duration::from_millis(600), "{shown}: {:?}", outcome.took);
    }
}

#[tokio::test]
async fn an_endless_body_is_read_to_its_limit_only() {
    let flood = || Reply::Flood("HTTP/1.1 200 X\r\ncontent-length: 10000000000\r\n\r\n".to_owned());
    assert_eq!(verdict(flood(), |_| ()).await, None);
    let absent = verdict(flood(), |check| check.expect_body = Some("yes".into())).await;
    assert_eq!(absent.as_deref(), Some("\"yes\" is not in the first 64K of the body"));
    let json = verdict(flood(), |check| {
        check.expect_json = [("/a".into(), "1".into())].into();
    })
    .await;
    assert_eq!(json.as_deref(), Some("the body is longer than 64K, so its JSON cannot be read"));
    let endless_head = verdict(Reply::Flood("HTTP/1.1 200 X\r\nx: ".to_owned()), |_| ()).await.unwrap();
    assert!(endless_head.starts_with("the answer is broken"), "{endless_head}");
}

#[tokio::test]
async fn a_broken_answer_is_a_failure_with_a_reason() {
    for text in ["what?\r\n\r\n", "", "HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\nshort"] {
        let failure = verdict(Reply::Say(text.to_owned()), |_| ()).await.unwrap();
        assert!(failure.starts_with("the answer is broken: "), "{text:?}: {failure}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let trap = Peer::start(|_| Reply::status(200, "", "")).await;
    let location = format!("location: {}\r\n", trap.url("/"));
    let redirected = verdict(Reply::status(302, &location, ""), |_| ()).await;
    assert_eq!(redirected.as_deref(), Some("status 302, expected 2xx"));
    assert!(trap.requests().is_empty());
}

#[tokio::test]
async fn a_url_or_header_that_cannot_be_is_a_failure() {
    for (url, header) in [("ftp://x/", "a"), ("not a url", "a"), ("/only/path", "a"), ("http://127.0.0.1:1/", "a b")] {
        let mut check = check(url.to_owned());
        check.headers = [(header.into(), "1".into())].into();
        assert!(asked(&Prober::default(), &check, SECOND).await.is_some(), "{url}");
    }
}

#[tokio::test]
async fn a_tcp_probe_wants_a_connection() {
    let peer = Peer::start(|_| Reply::status(200, "", "")).await;
    let prober = Prober::default();
    assert_eq!(tcp(&prober, &peer.address.to_string(), SECOND).await, None);
    assert_eq!(tcp(&prober, &format!("localhost:{}", peer.address.port()), SECOND).await, None);
    let refused = tcp(&prober, "127.0.0.1:1", SECOND).await.unwrap();
    assert!(refused.starts_with("cannot connect to 127.0.0.1:1: "), "{refused}");
    let unknown = tcp(&prober, "no.such.host.invalid:80", TimeSpan::from_secs(5)).await.unwrap();
    assert!(unknown.contains("no.such.host.invalid") || unknown.starts_with("no answer"), "{unknown}");
    assert!(tcp(&prober, "nonsense", SECOND).await.is_some());
}

#[tokio::test]
async fn slots_bound_the_probes_under_way_and_the_wait_for_one_is_no_failure() {
    let peer =
        Peer::start(|nth| if nth < PROBES_MAX { Reply::Hang(String::new()) } else { Reply::status(200, "", "") }).await;
    let prober = Arc::new(Prober::default());
    let mut hanging = tokio::task::JoinSet::new();
    for _ in 0..PROBES_MAX {
        let (prober, check) = (Arc::clone(&prober), check(peer.url("/")));
        hanging.spawn(async move { asked(&prober, &check, TimeSpan::from_millis(600)).await });
    }
    peer.arrived(PROBES_MAX).await;
    let waited = asked(&prober, &check(peer.url("/")), TimeSpan::from_millis(300)).await;
    assert_eq!(waited, None);
    assert_eq!(peer.requests().len(), PROBES_MAX + 1);
    assert!(hanging.join_all().await.iter().all(Option::is_some));
}

#[tokio::test]
async fn what_does_not_speak_tls_is_no_healthy_https_service() {
    let peer = Peer::start(|_| Reply::status(200, "", "")).await;
    let url = format!("https://{}/", peer.address);
    let failure = asked(&Prober::default(), &check(url), SECOND).await;
    assert!(failure.is_some());
}

async fn finding(check: ProbeCheck) -> Finding {
    Prober::default().ask(&check, None, SECOND).await.finding
}

#[tokio::test]
async fn a_disk_is_degraded_below_its_least_and_bad_below_a_quarter_of_it() {
    let free = crate::edge::disk::free(std::path::Path::new("/")).unwrap().0;
    let disk = |least| {
        let (path, min_free_inodes) = (std::path::Path::new("/").into(), None);
        finding(ProbeCheck::Disk(DiskCheck { path, min_free_bytes: Some(ByteSize(least)), min_free_inodes }))
    };
    assert_eq!(disk(1).await, Finding::Good);
    assert!(matches!(disk(free * 2).await, Finding::Degraded(reason) if reason.contains("free at /, less than")));
    assert!(matches!(disk(free * 5).await, Finding::Bad(_)));
    let gone = DiskCheck { path: std::path::Path::new("/no/such").into(), min_free_bytes: None, min_free_inodes: None };
    assert!(matches!(finding(ProbeCheck::Disk(gone)).await, Finding::Bad(reason) if reason.contains("/no/such")));
}

#[tokio::test]
async fn a_file_is_there_and_young_and_long_enough() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("backup");
    let file = |max_age, min_size| {
        let path = path.clone().into_boxed_path();
        finding(ProbeCheck::File(FileCheck { path, max_age, min_size }))
    };
    assert!(matches!(file(None, None).await, Finding::Bad(_)));
    let written = std::fs::File::create(&path).unwrap();
    assert_eq!(file(Some(SECOND), None).await, Finding::Good);
    assert!(
        matches!(file(None, Some(ByteSize(1))).await, Finding::Bad(reason) if reason.contains(" has 0, less than "))
    );
    let then = written.metadata().unwrap().modified().unwrap() - Duration::from_secs(3600);
    written.set_modified(then).unwrap();
    assert!(matches!(file(Some(SECOND), None).await, Finding::Bad(reason) if reason.contains("written 3600 s ago")));
}

#[tokio::test]
async fn a_tcp_server_says_what_is_expected() {
    let peer = Peer::start(|_| Reply::status(204, "", "")).await;
    let say = |send: &str, expect: &str| TcpCheck {
        address: peer.address.to_string().into(),
        send: Some(send.into()),
        expect: Some(expect.into()),
        tls: None,
    };
    let request = "GET / HTTP/1.0\r\n\r\n";
    assert_eq!(finding(ProbeCheck::Tcp(say(request, "204"))).await, Finding::Good);
    let other = finding(ProbeCheck::Tcp(say(request, "PONG"))).await;
    assert!(other.reason().is_some_and(|reason| reason.starts_with("\"PONG\" is not in the answer")), "{other:?}");
    let silent = finding(ProbeCheck::Tcp(say("", "PONG"))).await;
    assert_eq!(silent.reason(), Some("no answer within 1s"));
}

#[tokio::test]
async fn a_look_that_hangs_is_not_begun_again_and_takes_no_second_thread() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("secret");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let prober = Prober::default();
    // Nobody writes into the pipe: who opens it hangs, as on a server that is gone.
    let hang = || {
        let path = pipe.clone();
        prober.beside(pipe.clone(), move || std::fs::read(&path).map_err(|error| error.to_string()))
    };
    assert!(timeout(Duration::from_millis(1200), hang()).await.is_err());
    for _ in 0..LOOKS_MAX * 2 {
        let refused = timeout(Duration::from_millis(500), hang()).await.expect("at once").unwrap_err();
        assert!(refused.contains("has hung for 1 s"), "{refused}");
    }
    let elsewhere = prober.beside(dir.path().to_path_buf(), || Ok(1)).await;
    assert_eq!(elsewhere, Ok(1), "another place is looked at");
    // It lets go, and is looked at again.
    std::fs::write(&pipe, "x").unwrap();
    let again = async {
        while prober.beside(pipe.clone(), || Ok(())).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), again).await.expect("it is not forgotten");
}

/// Three requests: one names a place, the next puts something there, the last wants it back.
fn steps(peer: &Peer) -> [HttpCheck; 3] {
    let named = |name: &str, path: &str| HttpCheck { name: name.into(), ..check(peer.url(path)) };
    let mut slot = named("slot", "/slots");
    slot.capture = [("id".into(), "/slot/id".into()), ("token".into(), "X-Token".into())].into();
    let mut put = named("put", "/files/${id}/${random}?x=1");
    (put.method, put.body) = ("PUT", HttpBody::Text("${random} $${id}".into()));
    put.headers = [("Authorization".into(), "Bearer ${token}".into())].into();
    let mut get = named("get", "/files/${id}/${random}");
    // Shorter than what is to come back.
    (get.expect_body_of, get.body_max) = (Some("put".into()), ByteSize(10));
    [slot, put, get]
}

/// A server that keeps one text, and gives it back as `spoil` makes it.
async fn keeper_of_one(spoil: fn(&str) -> String) -> Peer {
    let kept = Mutex::new(String::new());
    Peer::answering(move |_, request| {
        let mut kept = kept.lock().unwrap();
        if request.head.starts_with("GET /slots") {
            return Reply::status(200, "x-token: geheim\r\n", r#"{"slot":{"id":7}}"#);
        }
        if request.head.starts_with("PUT") {
            kept.clone_from(&request.body);
            return Reply::status(201, "", "");
        }
        Reply::status(200, "", &spoil(&kept))
    })
    .await
}

async fn asked_in_order(steps: &[HttpCheck], deadline: TimeSpan) -> Option<String> {
    let outcome = Prober::default().ask(&ProbeCheck::Http(steps.into()), None, deadline).await;
    outcome.finding.reason().map(str::to_owned)
}

#[tokio::test]
async fn a_step_uses_what_an_earlier_one_captured() {
    let peer = keeper_of_one(str::to_owned).await;
    assert_eq!(asked_in_order(&steps(&peer), SECOND).await, None);
    let requests = peer.requests();
    let put = &requests[1];
    let random = put.body.strip_suffix(" ${id}").unwrap();
    assert!(random.len() == 32 && random.bytes().all(|b| b.is_ascii_hexdigit()), "{random}");
    assert!(put.head.starts_with(&format!("PUT /files/7/{random}?x=1 ")), "{}", put.head);
    assert!(put.head.to_lowercase().contains("\r\nauthorization: bearer geheim\r\n"), "{}", put.head);
    assert!(requests[2].head.starts_with(&format!("GET /files/7/{random} ")), "{}", requests[2].head);
    assert_eq!(asked_in_order(&steps(&peer), SECOND).await, None);
    assert_ne!(peer.requests()[4].body, put.body, "each look has values of its own");
}

#[tokio::test]
async fn random_bytes_are_others_each_time_and_as_many_as_wanted() {
    let peer = keeper_of_one(str::to_owned).await;
    let mut put = check(peer.url("/"));
    (put.method, put.body) = ("PUT", HttpBody::Random(ByteSize(4099)));
    assert_eq!(asked_in_order(&[put.clone(), HttpCheck { name: "2".into(), ..put }], SECOND).await, None);
    let requests = peer.requests();
    assert!(requests.iter().all(|it| it.head.to_lowercase().contains("content-length: 4099\r\n")), "{requests:?}");
    assert_ne!(requests[0].body, requests[1].body);
}

#[tokio::test]
async fn what_comes_back_must_be_what_was_sent_bit_for_bit() {
    type Spoil = fn(&str) -> String;
    let cases: [(Spoil, &str); 3] = [
        (|kept| kept.replace(" ", "_"), "step get: the body is not the one that put sent: it differs at byte 32"),
        (|kept| kept[..30].to_owned(), "step get: the body has 30 of the 38 bytes that put sent"),
        (|kept| format!("{kept}x"), "step get: the body is longer than the 38 bytes that put sent"),
    ];
    for (spoil, reason) in cases {
        let peer = keeper_of_one(spoil).await;
        assert_eq!(asked_in_order(&steps(&peer), SECOND).await.as_deref(), Some(reason));
    }
}

#[tokio::test]
async fn a_reason_names_the_step_and_nothing_that_was_filled_in() {
    let refusing = Peer::answering(|_, request| match request.head.starts_with("PUT") {
        true => Reply::status(403, "", "geheim"),
        false => Reply::status(200, "x-token: geheim\r\n", r#"{"slot":{"id":"a b"}}"#),
    })
    .await;
    let reason = asked_in_order(&steps(&refusing), SECOND).await.unwrap();
    assert!(reason.starts_with("step put: cannot read the url") && reason.contains("${id}"), "{reason}");
    assert!(!reason.contains("a b"), "{reason}");
    let mut all = steps(&refusing);
    all[1].url = refusing.url("/${random}").into();
    let reason = asked_in_order(&all, SECOND).await;
    assert_eq!(reason.as_deref(), Some("step put: status 403, expected 2xx"));
    all[0].capture = [("id".into(), "/slot".into())].into();
    let reason = asked_in_order(&all, SECOND).await;
    assert_eq!(reason.as_deref(), Some("step slot: there is no text or number at /slot to be captured"));
    // One host is meant, whatever a server says.
    let elsewhere = keeper_of_one(str::to_owned).await;
    let mut away = steps(&elsewhere);
    away[1].url = elsewhere.url("${id}.example.org/").into();
    away[1].headers = Box::default();
    let reason = asked_in_order(&away, SECOND).await.unwrap();
    assert!(reason.starts_with("step put: what is filled into ") && reason.ends_with(" is no path"), "{reason}");
    assert_eq!(elsewhere.requests().len(), 1, "nobody else was asked");
}

#[tokio::test]
async fn all_steps_have_one_deadline_and_the_last_one_begun_is_named() {
    let peer = Peer::start(|nth| match nth {
        0 => Reply::status(200, "x-token: x\r\n", r#"{"slot":{"id":1}}"#),
        _ => Reply::Hang("HTTP/1.1 200".to_owned()),
    })
    .await;
    let reason = asked_in_order(&steps(&peer), TimeSpan::from_millis(300)).await;
    assert_eq!(reason.as_deref(), Some("step put: no answer within 300ms since the first began"));
}
