//! What is sent by HTTP.

use hmac::{Hmac, KeyInit, Mac};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use sha2::Sha256;
use tokio::time::timeout;

use super::{Worker, reason_in, shown};
use crate::{
    alert::{Message, SlackBot, Status, Template, Webhook},
    base::{Secret, Wall},
    edge::{
        deliver::answer::{self, Answer},
        http::{self, Reach, Tls},
    },
};

/// What is read of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// Bears the signature of a webhook's body.
const SIGNATURE: HeaderName = HeaderName::from_static("x-roundsman-signature");
/// An earlier delivery may have arrived: whatever the body is, a receiver can know it.
const POSSIBLE_DUPLICATE: HeaderName = HeaderName::from_static("x-roundsman-possible-duplicate");
/// Threads that are remembered; of older incidents the store knows them.
const THREADS_MAX: usize = 256;

impl Worker {
    /// A webhook's body, signed where that is wanted.
    pub(super) async fn post_signed(&mut self, webhook: &Webhook, body: String, may_be_twice: bool) -> Answer {
        let is_json = webhook.template.as_ref().is_none_or(Template::is_json);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(if is_json { JSON } else { TEXT }));
        if may_be_twice {
            headers.insert(POSSIBLE_DUPLICATE, HeaderValue::from_static("1"));
        }
        let signature = webhook.key.as_ref().map(|key| sign(key, &body, (self.common.clock)().wall));
        if let Some(Ok(value)) = signature.map(|text| HeaderValue::from_str(&text)) {
            headers.insert(SIGNATURE, value);
        }
        let reach = if webhook.allow_private { Reach::Anywhere } else { Reach::Public };
        self.post(&webhook.url, body, headers, reach).await
    }

    /// chat.postMessage: the first message of an incident begins a thread, the others are in it.
    pub(super) async fn post_as_bot(&mut self, bot: &SlackBot, message: &Message) -> Answer {
        let known = self.threads.get(&message.incident).cloned();
        let thread = match known {
            Some(thread) => Some(thread),
            None => self.common.store.receipt(self.route.name.clone(), message.incident.clone()).await.ok().flatten(),
        };
        let mut body = message.slack();
        if let Some(fields) = body.as_object_mut() {
            fields.insert("channel".to_owned(), bot.channel.clone().into());
            fields.insert("unfurl_links".to_owned(), false.into());
            if let Some(thread) = &thread {
                fields.insert("thread_ts".to_owned(), thread.clone().into());
                // That it gets worse, and its end, are for those too who do not read threads.
                let is_for_all = message.status == Status::Resolved || message.reminder == 0;
                fields.insert("reply_broadcast".to_owned(), is_for_all.into());
            }
        }
        let mut headers = json();
        let Ok(mut token) = HeaderValue::from_str(&format!("Bearer {}", bot.token.expose())) else {
            return Answer::RefusesUs("the token has characters that no header may have".to_owned());
        };
        token.set_sensitive(true);
        headers.insert(AUTHORIZATION, token);
        let url = Secret::new(format!("{}/chat.postMessage", bot.api.trim_end_matches('/')));
        let (answer, said) = self.exchange(&url, body.to_string(), headers, Reach::Anywhere).await;
        if answer != Answer::Taken {
            return answer;
        }
        let answer = answer::of_slack(&said);
        if let (Answer::Taken, None, Some(receipt)) = (&answer, thread, answer::slack_receipt(&said)) {
            self.receipt = Some(receipt.clone());
            self.threads.insert(message.incident.clone(), receipt);
            while self.threads.len() > THREADS_MAX {
                self.threads.pop_first();
            }
        }
        answer
    }

    /// Whoever has no such path is most likely asked at the wrong one.
    pub(super) async fn post_to_alertmanager(&mut self, url: &Secret, body: String) -> Answer {
        let mut answer = self.post(url, body, json(), Reach::Anywhere).await;
        if let Answer::RefusesUs(reason) = &mut answer
            && ["status 404", "status 405"].iter().any(|status| reason.starts_with(status))
        {
            reason.push_str("; its url is the whole path, http://HOST:9093/api/v2/alerts");
        }
        answer
    }

    pub(super) async fn post(&mut self, url: &Secret, body: String, headers: HeaderMap, reach: Reach) -> Answer {
        self.exchange(url, body, headers, reach).await.0
    }

    /// A POST: what came of it, and the beginning of what was said.
    async fn exchange(&mut self, url: &Secret, body: String, headers: HeaderMap, reach: Reach) -> (Answer, String) {
        let url = url.expose();
        let client = match &self.client {
            Some(client) => client.clone(),
            None => match http::client_within(Tls::of(url), reach) {
                Ok(client) => self.client.insert(client).clone(),
                // No certificate authorities today may be some tomorrow.
                Err(error) => {
                    let reason = crate::base::Chain(&error.without_url()).to_string();
                    return (Answer::Later { reason, after: None, maybe_taken: false }, String::new());
                }
            },
        };
        let request = client.post(url).headers(headers).body(body);
        let exchange = async {
            let mut response = request.send().await?;
            let status = response.status();
            let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let retry_after = retry_after.map(str::to_owned);
            // Taken is taken, whatever becomes of the rest.
            let said = http::body(&mut response, ANSWER_BYTES_MAX).await.unwrap_or_default().0;
            Ok((status, retry_after, String::from_utf8_lossy(&said).into_owned()))
        };
        let now = (self.common.clock)().wall;
        match timeout(self.common.timing.deadline, exchange).await {
            Ok(Ok((status, retry_after, said))) => {
                let reason = reason_in(&said).replace(url, "(secret)");
                (answer::of_response(status, retry_after.as_deref(), &reason, now), said)
            }
            Ok(Err(error)) => (answer::of_error(error), String::new()),
            Err(_) => {
                let reason = format!("no answer within {}", shown(self.common.timing.deadline));
                (Answer::Later { reason, after: None, maybe_taken: true }, String::new())
            }
        }
    }
}

pub(super) fn json() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(JSON))])
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 over `SECONDS.BODY`, so that who checks it can refuse what is old.
fn sign(key: &Secret, body: &str, now: Wall) -> String {
    let seconds = now.0 / 1_000_000;
    // A key of any length will do (RFC 2104).
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose().as_bytes()) else { return String::new() };
    mac.update(format!("{seconds}.{body}").as_bytes());
    let digest: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("t={seconds},v1={digest}")
}
