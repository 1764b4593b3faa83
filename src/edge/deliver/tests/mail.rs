//! Mail servers that want a mail later, hang up at the worst moment, or are not who they say.

use std::{process::Command, sync::Arc};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::{
    alert::{Mailbox, Protection},
    base::TimeSpan,
    edge::{clock, tls},
};

/// What the server does with one connection.
#[derive(Debug, Clone, Copy)]
enum Way {
    /// Takes the letter.
    Take,
    /// Answers so once it has the letter.
    Answer(&'static str),
    /// Answers so when it hears for whom it is.
    AnswerReceiver(&'static str),
    /// Answers so when it hears that it is for someone whose address begins so.
    AnswerFor(&'static str, &'static str),
    /// Hangs up once it has the letter.
    HangUp,
    /// Has no TLS to offer: someone on the way has taken that out.
    Stripped,
    /// Offers TLS and says this then.
    Says(&'static [u8]),
    /// Offers TLS with a certificate of its own making.
    Forged,
}

impl Way {
    const fn offer(self) -> &'static str {
        if matches!(self, Self::Says(_) | Self::Forged) {
            "250-mail.example.org\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN"
        } else {
            "250-mail.example.org\r\n250 AUTH PLAIN LOGIN"
        }
    }

    fn after_receiver(self, line: &str) -> &'static str {
        if let Self::AnswerReceiver(reply) = self {
            return reply;
        }
        if let Self::AnswerFor(who, reply) = self
            && line.contains(&format!("<{who}"))
        {
            return reply;
        }
        "250 well"
    }

    /// `None`: it hangs up.
    const fn after_letter(self) -> Option<&'static str> {
        match self {
            Self::HangUp => None,
            Self::Answer(reply) => Some(reply),
            Self::Take
            | Self::AnswerReceiver(_)
            | Self::AnswerFor(..)
            | Self::Stripped
            | Self::Says(_)
            | Self::Forged => Some("250 taken"),
        }
    }
}

/// One connection: when it began, all bytes as they came over the wire, and the letter, if it came to that.
#[derive(Debug, Clone)]
struct Seen {
    at: Instant,
    wire: Vec<u8>,
    letter: Option<String>,
}

impl Seen {
    /// Whom it was asked for, by the first letter of their addresses.
    fn receivers(&self) -> String {
        let wire = String::from_utf8_lossy(&self.wire).into_owned();
        wire.lines().filter_map(|line| line.strip_prefix("RCPT TO:<")?.chars().next()).collect()
    }

    fn message_id(&self) -> &str {
        let letter = self.letter.as_deref().expect("it had the letter");
        letter.lines().find_map(|line| line.strip_prefix("Message-ID: ")).expect("a letter has an id")
    }
}

#[derive(Debug)]
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    /// Treats the n-th connection (from 0) as a function says.
    async fn start(way: impl Fn(usize) -> Way + Send + Sync + 'static, forged: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let shared = Arc::clone(&seen);
        tokio::spawn(async move {
            for nth in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                let at = Instant::now();
                shared.lock().unwrap().push(Seen { at, wire: Vec::new(), letter: None });
                // Nobody is told of what became of a connection but by what it has brought.
                converse(stream, way(nth), forged.as_ref(), &shared).await;
            }
        });
        Self { port, seen }
    }

    fn mailbox(&self) -> Mailbox {
        Mailbox {
            host: "localhost".to_owned(),
            port: self.port,
            protection: Protection::None,
            authorities: None,
            login: None,
            from: "roundsman@example.org".to_owned(),
            to: vec!["ops@example.org".to_owned()],
        }
    }

    fn route(&self) -> Route {
        Route::new(RouteName::new("ops").unwrap(), Target::Email(Box::new(self.mailbox())))
    }

    fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

/// Speaks RFC 5321 as far as it goes.
async fn converse(stream: TcpStream, way: Way, forged: Option<&TlsAcceptor>, seen: &Mutex<Vec<Seen>>) -> Option<()> {
    let note = |bytes: &[u8]| seen.lock().unwrap().last_mut().unwrap().wire.extend_from_slice(bytes);
    let mut stream = BufReader::new(stream);
    stream.write_all(b"220 mail.example.org\r\n").await.ok()?;
    let mut letter: Option<String> = None;
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await.ok()? == 0 {
            return None;
        }
        note(&line);
        let text = String::from_utf8_lossy(&line).into_owned();
        let reply = match (&mut letter, text.trim_end()) {
            (Some(_), ".") => {
                seen.lock().unwrap().last_mut().unwrap().letter = letter.take();
                way.after_letter()?
            }
            (Some(letter), line) => {
                letter.extend([line, "\n"]);
                continue;
            }
            (None, line) if line.starts_with("EHLO") => way.offer(),
            (None, "STARTTLS") => {
                stream.write_all(b"220 go on\r\n").await.ok()?;
                break;
            }
            (None, "DATA") => {
                letter = Some(String::new());
                "354 go on"
            }
            (None, line) if line.starts_with("RCPT") => way.after_receiver(line),
            (None, "QUIT") => "221 bye",
            (None, _) => "250 well",
        };
        stream.write_all(format!("{reply}\r\n").as_bytes()).await.ok()?;
    }
    if let Way::Says(bytes) = way {
        let mut hello = vec![0; 4096];
        let length = stream.read(&mut hello).await.ok()?;
        note(&hello[..length]);
        stream.write_all(bytes).await.ok()?;
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.ok();
        note(&rest);
        return None;
    }
    let mut secured = forged?.accept(stream).await.ok()?;
    let mut inner = Vec::new();
    // Whatever is said to someone who cannot show who they are.
    secured.read_to_end(&mut inner).await.ok();
    note(&inner);
    None
}

fn deliver_by_mail(store: &Store, route: Route) -> Deliveries {
    let (errands, _nobody_runs_them) = mpsc::unbounded_channel();
    let deliveries = Deliveries::new(store.clone(), clock::now, quick(), errands);
    deliveries.set_routes(&[route]);
    deliveries
}

async fn put_now(store: &Store, ids: impl IntoIterator<Item = u32>) {
    let writes = ids.into_iter().map(|id| Write::Message(Box::new(message(id)), clock::now().wall)).collect();
    store.submit(Batch { seq: None, writes });
    assert!(store.flush(SOON).await);
}

#[test]
fn the_waits_of_a_mail_that_is_wanted_later_are_those_of_the_rfc() {
    let minutes = Timing::default().deferrals.map(|wait| wait.as_secs() / 60);
    assert_eq!(minutes, [1, 5, 15, 30]);
}

#[tokio::test]
async fn a_server_that_greylists_gets_the_same_mail_ever_later_until_it_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let server = Server::start(
        |nth| match nth {
            0 => Way::AnswerReceiver("450 4.2.0 greylisted, come again"),
            1..=5 => Way::Answer("451 4.7.1 greylisted"),
            _ => Way::Take,
        },
        None,
    )
    .await;
    put_now(&store, [1, 2]).await;
    let deliveries = deliver_by_mail(&store, server.route());
    emptied(&store).await;
    let seen = server.seen();
    assert_eq!(seen.len(), 8, "six times later, then both");
    let waits: Vec<Duration> = seen.windows(2).map(|pair| pair[1].at - pair[0].at).take(6).collect();
    let [first, second, third, last] = quick().deferrals;
    for (wait, wanted) in waits.iter().zip([first, second, third, last, last, last]) {
        assert!(*wait >= wanted, "{waits:?}");
    }
    let first: Vec<&str> = seen[1..7].iter().map(Seen::message_id).collect();
    assert!(first.iter().all(|id| *id == first[0]) && seen[7].message_id() != first[0], "{first:?}");
    assert_eq!(count(&deliveries, Outcome::Delivered), 2);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn tls_at_a_server_that_wants_starttls_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let server = Server::start(|_| Way::Take, None).await;
    put_now(&store, [1]).await;
    let mailbox = Mailbox { protection: Protection::Tls, ..server.mailbox() };
    let at = format!("localhost:{}: ", mailbox.port);
    let target = Target::Email(Box::new(mailbox));
    let deliveries = deliver_by_mail(&store, Route { target, ..server.route() });
    let failed = async {
        while trouble(&deliveries).is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, failed).await.expect("it fails");
    let reason = trouble(&deliveries).unwrap().reason().to_owned();
    assert!(reason.starts_with(&at), "{reason}");
    assert!(reason.contains("the server spoke no TLS") && reason.contains("tls = \"starttls\""), "{reason}");
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_sender_and_receivers_may_have_names() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let server = Server::start(|_| Way::Take, None).await;
    put_now(&store, [1]).await;
    let (from, to) = ("Ops of vm1 <roundsman@example.org>".to_owned(), vec!["Änne <a@example.org>".to_owned()]);
    assert!(check_address("Ops <ops>").unwrap_err().contains("\"Ops <ops>\" is no mail address"));
    assert!(check_address("ops").is_err());
    check_address(&from).unwrap();
    let target = Target::Email(Box::new(Mailbox { from, to, ..server.mailbox() }));
    let deliveries = deliver_by_mail(&store, Route { target, ..server.route() });
    emptied(&store).await;
    let seen = server.seen().remove(0);
    let letter = seen.letter.as_deref().unwrap();
    assert!(
        letter.contains("From: ") && letter.contains("Ops of vm1") && letter.contains("<roundsman@example.org>"),
        "{letter}"
    );
    assert!(letter.contains("To: =?utf-8?"), "{letter}");
    assert_eq!(seen.receivers(), "a");
    deliveries.stop(SOON).await;
}

fn to_both(server: &Server) -> Route {
    let to = vec!["Ann <a@example.org>".to_owned(), "b@example.org".to_owned()];
    Route { target: Target::Email(Box::new(Mailbox { to, ..server.mailbox() })), ..server.route() }
}

#[tokio::test]
async fn whoever_is_not_refused_gets_the_mail_once_and_the_refusal_of_the_other_is_told() {
    for code in ["550 5.1.1 no such user", "552 5.2.2 mailbox full"] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let server = Server::start(move |_| Way::AnswerFor("a@", code), None).await;
        put_now(&store, [1, 2]).await;
        let deliveries = deliver_by_mail(&store, to_both(&server));
        emptied(&store).await;
        let seen = server.seen();
        assert_eq!(seen.iter().map(Seen::receivers).collect::<Vec<_>>(), ["ab", "ab"], "each is asked for once a mail");
        assert_ne!(seen[0].message_id(), seen[1].message_id());
        assert_eq!(count(&deliveries, Outcome::Delivered), 2);
        let Some(Trouble::Partly { who, reason }) = trouble(&deliveries) else { panic!("{:?}", trouble(&deliveries)) };
        assert_eq!(who, ["a@example.org"]);
        assert!(reason.contains("not for a@example.org: ") && reason.contains(&code[4..]), "{reason}");
        assert!(deliveries.refusing().is_empty(), "the route is alive");
        deliveries.stop(SOON).await;
    }
}

#[tokio::test]
async fn a_mail_that_all_refuse_is_refused_with_the_words_for_each() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let server = Server::start(|_| Way::AnswerReceiver("550 5.1.1 no such user"), None).await;
    put_now(&store, [1]).await;
    let deliveries = deliver_by_mail(&store, to_both(&server));
    let refused = async {
        while deliveries.refusing().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, refused).await.expect("nobody took it");
    let reason = deliveries.refusing().into_values().next().unwrap();
    assert!(reason.contains("a@example.org: ") && reason.contains("b@example.org: "), "{reason}");
    assert!(server.seen().iter().all(|seen| seen.letter.is_none()));
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn who_wants_a_mail_later_gets_it_later_alone_and_delays_no_other_mail_also_over_our_death() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let server =
        Server::start(|nth| if nth < 3 { Way::AnswerFor("a@", "450 4.2.0 greylisted") } else { Way::Take }, None).await;
    put_now(&store, [1, 2]).await;
    let rest = Duration::from_secs(1);
    let (errands, _nobody_runs_them) = mpsc::unbounded_channel();
    let first = Deliveries::new(store.clone(), clock::now, Timing { deferrals: [rest; 4], ..quick() }, errands.clone());
    first.set_routes(&[to_both(&server)]);
    let both_had = async {
        while count(&first, Outcome::Retried) < 2 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, both_had).await.expect("the second mail does not wait for the first");
    assert!(server.seen()[1].at - server.seen()[0].at < rest);
    assert!(matches!(trouble(&first), Some(Trouble::Partly { .. })));
    first.stop(SOON).await;
    assert!(store.flush(SOON).await);
    // Whoever comes after us knows from the outbox alone.
    let second = Deliveries::new(store.clone(), clock::now, Timing { deferrals: [rest; 4], ..quick() }, errands);
    second.set_routes(&[to_both(&server)]);
    emptied(&store).await;
    let seen = server.seen();
    let asked: Vec<_> = seen.iter().map(Seen::receivers).collect();
    assert_eq!(asked, ["ab", "ab", "a", "a", "a"], "b has each once");
    assert!(seen[2].at - seen[0].at >= rest * 9 / 10, "it rests");
    assert_eq!(seen[0].message_id(), seen[4].message_id(), "the first, that was wanted later twice, comes last");
    assert_eq!(trouble(&second), None);
    second.stop(SOON).await;
}

#[tokio::test]
async fn a_mail_that_is_wanted_later_for_too_long_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let server = Server::start(|_| Way::Answer("451 4.7.1 greylisted"), None).await;
    put_now(&store, [1]).await;
    let give_up_after = TimeSpan::from_millis(200);
    let deliveries = deliver_by_mail(&store, Route { give_up_after, ..server.route() });
    emptied(&store).await;
    let tries = server.seen().len();
    assert!(tries <= 5, "at once, then 30, 60 and 120 ms later: {tries}");
    assert_eq!(count(&deliveries, Outcome::Failed), 1);
    deliveries.stop(SOON).await;
}

#[tokio::test]
async fn a_server_that_hangs_up_after_the_letter_gets_the_same_letter_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let server = Server::start(|nth| if nth == 0 { Way::HangUp } else { Way::Take }, None).await;
    put_now(&store, [1]).await;
    let rest = Duration::from_millis(700);
    let (errands, _nobody_runs_them) = mpsc::unbounded_channel();
    let timing = Timing { deferrals: [rest; 4], ..quick() };
    let deliveries = Deliveries::new(store.clone(), clock::now, timing, errands);
    deliveries.set_routes(&[server.route()]);
    emptied(&store).await;
    let seen = server.seen();
    assert_eq!(seen.len(), 2, "once more, and no more");
    assert_eq!(seen[0].message_id(), seen[1].message_id(), "its receiver can tell that it is the same");
    assert!(seen[1].at - seen[0].at >= rest * 9 / 10, "it may have been taken, so it is not sent again at once");
    let again = seen[1].letter.as_deref().unwrap();
    assert!(again.contains("this may be a duplicate") && !seen[0].letter.as_deref().unwrap().contains("duplicate"));
    deliveries.stop(SOON).await;
}

/// A certificate that nobody has signed but its owner.
fn forged(dir: &Path) -> TlsAcceptor {
    tls::provide();
    #[expect(clippy::disallowed_methods, reason = "a test makes a certificate as people do")]
    let made = Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout own.key -out own.pem -days 2"
                .split(' '),
        )
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let certificate = CertificateDer::from_pem_file(dir.join("own.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(dir.join("own.key")).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A ServerHello that settles on TLS 1.0 (RFC 2246): its record, its handshake message, an empty random, no session, a cipher.
const OLD: &[u8] = &[
    0x16, 3, 1, 0, 42, 2, 0, 0, 38, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0x2f, 0, 0,
];

#[tokio::test]
async fn a_server_without_tls_with_a_forged_certificate_or_of_old_tls_is_told_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for way in [Way::Stripped, Way::Forged, Way::Says(OLD), Way::Says(b"\r\n250 no need to hide\r\n")] {
        let folder = tempfile::tempdir_in(dir.path()).unwrap();
        let store = open(folder.path());
        let server = Server::start(move |_| way, Some(forged(folder.path()))).await;
        let login = Some(("the-user".to_owned(), Secret::new("the-password")));
        let mailbox = Mailbox { protection: Protection::StartTls, login, ..server.mailbox() };
        put_now(&store, [1]).await;
        let target = Target::Email(Box::new(mailbox));
        let deliveries = deliver_by_mail(&store, Route { target, ..server.route() });
        let tried = async {
            while server.seen().len() < 3 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, tried).await.expect("it is tried again");
        let Some(Trouble::Fails(reason)) = trouble(&deliveries) else { panic!("{way:?}: {:?}", trouble(&deliveries)) };
        let says = |word: &str| reason.matches(word).count();
        if matches!(way, Way::Stripped) {
            assert_eq!((says("the server offers no STARTTLS"), says("client error")), (1, 0), "{reason}");
        }
        if matches!(way, Way::Forged) {
            assert_eq!((says("onnection error"), says("invalid peer certificate")), (1, 1), "{reason}");
        }
        deliveries.stop(SOON).await;
        for seen in server.seen() {
            let said = String::from_utf8_lossy(&seen.wire).into_owned();
            assert!(said.starts_with("EHLO "), "{way:?}: {said}");
            // What a password is as AUTH PLAIN has it: base64 of \0the-user\0the-password.
            for word in ["AUTH", "MAIL", "DATA", "the-user", "the-password", "AHRoZS11c2Vy"] {
                assert!(!said.contains(word), "{way:?}: {word} in {said:?}");
            }
            assert!(seen.letter.is_none(), "{way:?}");
        }
        assert_eq!(store.outbox_waiting(RouteName::new("ops").unwrap(), 9).await.unwrap().len(), 1, "{way:?}");
    }
}
