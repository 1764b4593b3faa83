//! Mail, through the server of the route (RFC 5321).

use std::time::Duration;

use lettre::{
    Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor,
    message::{Mailbox as Person, MultiPart, header},
    transport::smtp::{
        Error,
        authentication::Credentials,
        client::{Certificate, CertificateStore, Tls, TlsParameters},
    },
};
use tokio::time::timeout;

use super::answer::Answer;
use crate::{
    alert::{Letter, Mailbox, Protection},
    base::Chain,
    edge::tls,
};

/// Replies that speak of this mail and not of us: too long, or of a kind that is not taken (RFC 5321, 4.2.3).
const OF_THE_MESSAGE: [u16; 2] = [552, 554];

/// Whether a text is an address that mail can be sent to.
pub fn check_address(text: &str) -> Result<(), String> {
    text.parse::<Address>().map(|_| ()).map_err(|error| format!("{text:?} is no mail address: {error}"))
}

pub(super) async fn send(mailbox: &Mailbox, letter: &Letter, deadline: Duration) -> Answer {
    let (message, transport) = match prepare(mailbox, letter) {
        Ok(ready) => ready,
        Err(reason) => return Answer::RefusesUs(reason),
    };
    match timeout(deadline, transport.send(message)).await {
        Ok(Ok(_)) => Answer::Taken,
        Ok(Err(error)) => of_error(&error),
        Err(_) => Answer::Later {
            reason: format!("no answer within {} s", deadline.as_secs()),
            after: None,
            maybe_taken: true,
        },
    }
}

fn prepare(mailbox: &Mailbox, letter: &Letter) -> Result<(Message, AsyncSmtpTransport<Tokio1Executor>), String> {
    let shown = |error: &(dyn std::error::Error + 'static)| Chain(error).to_string();
    let person = |text: &str| text.parse::<Address>().map(|address| Person::new(None, address));
    let mut builder = Message::builder()
        .from(person(&mailbox.from).map_err(|error| shown(&error))?)
        .subject(&letter.subject)
        .message_id(Some(letter.id.clone()))
        .references(letter.thread.clone())
        // RFC 3834: nobody's answering machine is to answer.
        .header(AutoSubmitted);
    for receiver in &mailbox.to {
        builder = builder.to(person(receiver).map_err(|error| shown(&error))?);
    }
    let body = MultiPart::alternative_plain_html(letter.text.clone(), letter.html.clone());
    let message = builder.multipart(body).map_err(|error| shown(&error))?;
    tls::provide();
    let parameters = || -> Result<TlsParameters, String> {
        let mut parameters = TlsParameters::builder(mailbox.host.clone());
        if let Some(pem) = &mailbox.authorities {
            parameters = parameters.certificate_store(CertificateStore::None);
            parameters = parameters.add_root_certificate(Certificate::from_pem(pem).map_err(|error| shown(&error))?);
        }
        parameters.build_rustls().map_err(|error| shown(&error))
    };
    let tls = match mailbox.protection {
        Protection::StartTls => Tls::Required(parameters()?),
        Protection::Tls => Tls::Wrapper(parameters()?),
        Protection::None => Tls::None,
    };
    let mut transport =
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mailbox.host).port(mailbox.port).tls(tls);
    if let Some((user, password)) = &mailbox.login {
        transport = transport.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
    }
    Ok((message, transport.build()))
}

fn of_error(error: &Error) -> Answer {
    let reason = Chain(error).to_string();
    let code = error.status().map(u16::from);
    match code {
        Some(code) if error.is_permanent() && OF_THE_MESSAGE.contains(&code) => Answer::RefusesMessage(reason),
        Some(_) if error.is_permanent() => Answer::RefusesUs(reason),
        Some(_) => Answer::Deferred(reason),
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
