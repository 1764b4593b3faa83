//! Mail, through the server of the route (RFC 5321).

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error as _,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lettre::{
    Address, Message,
    message::{Mailbox as Person, MultiPart, header},
    transport::smtp::{
        Error,
        authentication::{Credentials, DEFAULT_MECHANISMS},
        client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
        commands::{Data, Mail, Rcpt},
        extension::{ClientId, Extension, MailBodyParameter, MailParameter},
    },
};
use tokio::time::timeout;

use super::answer::{Answer, each};
use crate::{
    alert::{Letter, Mailbox, Protection},
    base::Chain,
    edge::tls,
};

/// Replies that speak of this mail and not of us: too long, or of a kind that is not taken (RFC 5321, 4.2.3).
const OF_THE_MESSAGE: [u16; 2] = [552, 554];

/// The server goes (RFC 5321, 3.8): it says so of whatever it was asked.
const GOES: u16 = 421;
/// Where TLS comes before anything else (RFC 8314).
const SUBMISSIONS: u16 = 465;
/// How long the end of a connection may take; nothing depends on it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Whether a text is an address that mail can be sent to, with or without a name: `Ops <ops@example.org>`.
pub fn check_address(text: &str) -> Result<(), String> {
    person(text).map(drop)
}

fn person(text: &str) -> Result<Person, String> {
    let fault = |error| format!("{text:?} is no mail address (ops@example.org, or Ops <ops@example.org>): {error}");
    // Of an address alone the parser of addresses says better what is wrong.
    match text.contains('<') {
        true => text.parse::<Person>().map_err(fault),
        false => text.parse::<Address>().map(Person::from).map_err(fault),
    }
}

/// Sends it to all but those who have it.
pub(super) async fn send(mailbox: &Mailbox, letter: &Letter, had: &BTreeSet<String>, deadline: Duration) -> Answer {
    let message = match written(mailbox, letter) {
        Ok(message) => message,
        Err(reason) => return Answer::RefusesUs(reason),
    };
    // Whoever was refused is not among the receivers any more.
    if message.envelope().to().iter().all(|address| has(had, address)) {
        return Answer::Taken;
    }
    let handed_over = AtomicBool::new(false);
    let exchange = async {
        let mut connection = connect(mailbox).await?;
        let answer = transact(&mut connection, &message, had, &handed_over).await;
        Ok((answer, connection))
    };
    match timeout(deadline, exchange).await {
        Ok(Ok((answer, mut connection))) => {
            timeout(FAREWELL, connection.abort()).await.ok();
            answer
        }
        Ok(Err(answer)) => answer,
        Err(_) => {
            let is_silent = mailbox.port == SUBMISSIONS && mailbox.protection != Protection::Tls;
            let remedy = if is_silent { "; port 465 wants tls = \"tls\"" } else { "" };
            let reason = format!("{}: no answer within {} s{remedy}", at(mailbox), deadline.as_secs());
            if handed_over.into_inner() { perhaps_taken(&reason) } else { later(reason) }
        }
    }
}

fn later(reason: String) -> Answer {
    Answer::Later { reason, after: None, maybe_taken: true }
}

/// The server had the whole letter and said nothing: it may have taken it, and whoever asks again soon sends copies (RFC 5321,
/// 6.1).
fn perhaps_taken(reason: &str) -> Answer {
    Answer::Deferred {
        reason: format!("it has the mail, and did not say whether it takes it: {reason}"),
        maybe_taken: true,
    }
}

fn has(had: &BTreeSet<String>, address: &Address) -> bool {
    had.contains(AsRef::<str>::as_ref(address))
}

fn shown(error: &Error) -> String {
    // One around another of the same says nothing that is new.
    let inner = error.source().and_then(|cause| cause.downcast_ref::<Error>());
    inner.map_or_else(|| tls::in_words(error), shown)
}

fn written(mailbox: &Mailbox, letter: &Letter) -> Result<Message, String> {
    let mut builder = Message::builder()
        .from(person(&mailbox.from)?)
        .subject(&letter.subject)
        .message_id(Some(letter.id.clone()))
        .references(letter.thread.clone())
        // RFC 3834: nobody's answering machine is to answer.
        .header(AutoSubmitted);
    for receiver in &mailbox.to {
        builder = builder.to(person(receiver)?);
    }
    let body = MultiPart::alternative_plain_html(letter.text.clone(), letter.html.clone());
    builder.multipart(body).map_err(|error| Chain(&error).to_string())
}

/// A connection to the server, safe and known to it as the route wants.
async fn connect(mailbox: &Mailbox) -> Result<AsyncSmtpConnection, Answer> {
    let failed = |error: &Error| of_failure(mailbox, error);
    let parameters = || parameters(mailbox).map_err(Answer::RefusesUs);
    let (us, server) = (ClientId::default(), (&*mailbox.host, mailbox.port));
    let wrapper = if mailbox.protection == Protection::Tls { Some(parameters()?) } else { None };
    // The deadline is that of the whole.
    let connected = AsyncSmtpConnection::connect_tokio1(server, None, &us, wrapper, None).await;
    let mut connection = connected.map_err(|error| failed(&error))?;
    if mailbox.protection == Protection::StartTls {
        if !connection.can_starttls() {
            timeout(FAREWELL, connection.abort()).await.ok();
            let reason = "the server offers no STARTTLS; no mail goes without it (tls = \"tls\", usually at port 465, or \"none\")";
            return Err(Answer::Later { reason: reason.to_owned(), after: None, maybe_taken: false });
        }
        connection.starttls(parameters()?, &us).await.map_err(|error| failed(&error))?;
    }
    if let Some((user, password)) = &mailbox.login {
        let credentials = Credentials::new(user.clone(), password.expose().to_owned());
        connection.auth(DEFAULT_MECHANISMS, &credentials).await.map_err(|error| failed(&error))?;
    }
    Ok(connection)
}

fn parameters(mailbox: &Mailbox) -> Result<TlsParameters, String> {
    tls::provide();
    let mut parameters = TlsParameters::builder(mailbox.host.clone());
    if let Some(pem) = &mailbox.authorities {
        parameters = parameters.certificate_store(CertificateStore::None);
        parameters = parameters.add_root_certificate(Certificate::from_pem(pem).map_err(|error| shown(&error))?);
    }
    parameters.build_rustls().map_err(|error| shown(&error))
}

/// One mail to all who may have it: a server answers for each receiver alone (RFC 5321, 3.3).
async fn transact(
    connection: &mut AsyncSmtpConnection,
    message: &Message,
    had: &BTreeSet<String>,
    handed_over: &AtomicBool,
) -> Answer {
    let (envelope, bytes) = (message.envelope(), message.formatted());
    let offers = |extension| connection.server_info().supports_feature(extension);
    let mut parameters = Vec::new();
    if !envelope.from().into_iter().chain(envelope.to()).all(|address| AsRef::<str>::as_ref(address).is_ascii()) {
        if !offers(Extension::SmtpUtfEight) {
            return Answer::RefusesUs("an address is not ASCII, and the server offers no SMTPUTF8".to_owned());
        }
        parameters.push(MailParameter::SmtpUtfEight);
    }
    if !bytes.is_ascii() {
        if !offers(Extension::EightBitMime) {
            return Answer::RefusesUs("the mail is not ASCII, and the server offers no 8BITMIME".to_owned());
        }
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    if let Err(error) = connection.command(Mail::new(envelope.from().cloned(), parameters)).await {
        return of_error(&error);
    }
    let (mut taken, mut refusals) = (had.clone(), Refusals::default());
    for address in envelope.to().iter().filter(|address| !has(had, address)) {
        match connection.command(Rcpt::new(address.clone(), Vec::new())).await {
            Ok(_) => drop(taken.insert(address.to_string())),
            Err(error) => match error.status().map(u16::from) {
                Some(code) if code != GOES => refusals.add(address, &error, code),
                _ => return of_error(&error),
            },
        }
    }
    if taken.len() > had.len() {
        if let Err(error) = connection.command(Data).await {
            return of_error(&error);
        }
        handed_over.store(true, Ordering::Relaxed);
        match connection.message(&bytes).await {
            Ok(_) => {}
            Err(error) if error.status().is_none() => return perhaps_taken(&shown(&error)),
            Err(error) => return of_error(&error),
        }
    }
    refusals.answer(taken)
}

/// Receivers whom the server does not take.
#[derive(Debug, Default)]
struct Refusals {
    why: BTreeMap<String, String>,
    /// Of some it is so only now.
    later: bool,
    /// Of some it is not the mail.
    of_us: bool,
}

impl Refusals {
    fn add(&mut self, address: &Address, error: &Error, code: u16) {
        self.why.insert(address.to_string(), shown(error));
        self.later |= !error.is_permanent();
        self.of_us |= !OF_THE_MESSAGE.contains(&code);
    }

    fn answer(self, taken: BTreeSet<String>) -> Answer {
        match (self.why.is_empty(), taken.is_empty()) {
            (true, _) => Answer::Taken,
            (false, false) => Answer::Partly { taken, others: self.why, later: self.later },
            (false, true) if self.later => Answer::Deferred { reason: each(&self.why), maybe_taken: false },
            (false, true) if self.of_us => Answer::RefusesUs(each(&self.why)),
            (false, true) => Answer::RefusesMessage(each(&self.why)),
        }
    }
}

fn at(mailbox: &Mailbox) -> String {
    match mailbox.host.contains(':') {
        true => format!("[{}]:{}", mailbox.host, mailbox.port),
        false => format!("{}:{}", mailbox.host, mailbox.port),
    }
}

/// Reads why there is no connection.
fn of_failure(mailbox: &Mailbox, error: &Error) -> Answer {
    let mut answer = of_error(error);
    if let Answer::Later { reason, .. } = &mut answer {
        reason.insert_str(0, &format!("{}: ", at(mailbox)));
    }
    if let Answer::Later { reason, .. } = &mut answer
        && mailbox.protection == Protection::Tls
        && tls::spoke_no_tls(error)
    {
        reason.push_str("; the server spoke no TLS: if it offers STARTTLS (usually at port 587), tls = \"starttls\"");
    }
    answer
}

fn of_error(error: &Error) -> Answer {
    let reason = shown(error);
    let code = error.status().map(u16::from);
    match code {
        Some(code) if error.is_permanent() && OF_THE_MESSAGE.contains(&code) => Answer::RefusesMessage(reason),
        Some(_) if error.is_permanent() => Answer::RefusesUs(reason),
        Some(_) => Answer::Deferred { reason, maybe_taken: false },
        // Nobody knows how far it came.
        None => Answer::Later { reason, after: None, maybe_taken: !error.is_tls() && !error.is_client() },
    }
}

/// `Auto-Submitted: auto-generated`.
#[derive(Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
