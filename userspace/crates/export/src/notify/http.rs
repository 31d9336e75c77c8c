//! One POST of JSON, and what its answer means.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};
use rustls::crypto::{CryptoProvider, ring};

use super::receiver::Failure;
use super::settings::{Endpoint, Secret, Timing};
use super::text::{one_line, without};

/// Longest part of an answer that is read; a reason fits in it.
const MAX_ANSWER_BYTES: usize = 4096;
/// Longest part of an answer that is told, in characters.
const REASON_CHARS: usize = 200;
const USER_AGENT: &str = concat!("modeltap/", env!("CARGO_PKG_VERSION"));

/// A receiver of JSON by HTTP.
#[derive(Debug)]
pub(super) struct Poster {
    client: Client,
    endpoint: Endpoint,
    token: Option<Secret>,
    timing: Timing,
}

impl Poster {
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(
        endpoint: Endpoint,
        token: Option<Secret>,
        timing: Timing,
    ) -> Result<Self, reqwest::Error> {
        if CryptoProvider::get_default().is_none() {
            // Another thread may be as quick: the same provider then.
            let _ = ring::default_provider().install_default();
        }
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            // A secret in the URL would follow to another host, and a 302
            // turns a POST into a GET that means nothing.
            .redirect(Policy::none())
            .referer(false)
            .connect_timeout(timing.connect)
            .timeout(timing.answer)
            // Alerts are rare: a connection kept since the last one is likely
            // closed by the other side, which looks like a failure.
            .pool_max_idle_per_host(0);
        if !endpoint.is_encrypted() {
            // Needs no certificates, which the host may not have.
            builder = builder.tls_certs_only([]);
        }
        if endpoint.is_loopback() {
            builder = builder.no_proxy();
        }
        Ok(Self {
            client: builder.build()?,
            endpoint,
            token,
            timing,
        })
    }

    pub fn target(&self) -> String {
        self.endpoint.target()
    }

    /// Sends `body`; `secrets` are what is secret in it.
    ///
    /// # Errors
    /// It was not taken.
    pub async fn post(&self, body: &serde_json::Value, secrets: &[&str]) -> Result<(), Failure> {
        let mut request = self
            .client
            .post(self.endpoint.url().clone())
            .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
            .body(body.to_string());
        if let Some(token) = &self.token {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.reveal()))
                .map_err(|_| Failure::permanent("the token cannot stand in a header"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        let answer = request.send().await.map_err(|error| self.unsent(error))?;
        let status = answer.status();
        if status.is_success() {
            // What else it says is not waited for.
            return Ok(());
        }
        let retry_after = retry_after(&answer);
        let reason = self.reason(answer, secrets).await;
        let mut text = format!("answered {}", status.as_u16());
        if status.is_redirection() {
            text.push_str(": it redirects, which is not followed; set the final URL");
        } else if !reason.is_empty() {
            text.push_str(": ");
            text.push_str(&reason);
        }
        Err(judge(status, text, retry_after))
    }

    fn unsent(&self, error: reqwest::Error) -> Failure {
        let text = if error.is_timeout() && error.is_connect() {
            format!("no connection within {:?}", self.timing.connect)
        } else if error.is_timeout() {
            format!("no answer within {:?}", self.timing.answer)
        } else {
            // The last cause says what happened; those before it name the
            // URL or say that something did.
            let error = error.without_url();
            let mut cause: &dyn std::error::Error = &error;
            while let Some(next) = cause.source() {
                cause = next;
            }
            let doing = if error.is_connect() {
                "no connection"
            } else {
                "no answer"
            };
            format!("{doing}: {}", self.clean(&cause.to_string(), &[]))
        };
        Failure::of_receiver(text, None)
    }

    /// The beginning of what the receiver says, in one line without secrets.
    async fn reason(&self, mut answer: Response, secrets: &[&str]) -> String {
        let mut bytes = Vec::new();
        // A broken or slow body leaves what came until then.
        while let Ok(Some(chunk)) = answer.chunk().await {
            let free = MAX_ANSWER_BYTES.saturating_sub(bytes.len());
            bytes.extend_from_slice(&chunk[..chunk.len().min(free)]);
            if bytes.len() >= MAX_ANSWER_BYTES {
                break;
            }
        }
        self.clean(&String::from_utf8_lossy(&bytes), secrets)
    }

    fn clean(&self, text: &str, secrets: &[&str]) -> String {
        let url = self.endpoint.url();
        // A path of a slash is in every text, and no secret.
        let path = Some(url.path()).filter(|path| path.len() > 1);
        let own = [
            Some(url.as_str()),
            path,
            url.query(),
            url.password(),
            Some(url.username()),
            self.token.as_ref().map(Secret::reveal),
        ];
        let secrets = own.into_iter().flatten().chain(secrets.iter().copied());
        // First, for no secret may be cut in half and stay.
        one_line(&without(text, secrets), REASON_CHARS)
    }
}

/// Which answers may be others next time. 429 and those of proxies whose
/// server is away are about the receiver, the rest about the message.
fn judge(status: StatusCode, text: String, retry_after: Option<Duration>) -> Failure {
    match status.as_u16() {
        429 | 502 | 503 | 504 => Failure::of_receiver(text, retry_after),
        408 | 425 | 500..=599 => Failure::of_message(text, retry_after),
        _ => Failure::permanent(text),
    }
}

/// RFC 9110 section 10.2.3: seconds, or a date.
fn retry_after(answer: &Response) -> Option<Duration> {
    let text = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    parse_retry_after(text, Timestamp::now())
}

fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-11-24T03:10:00Z".parse().unwrap();
        for (text, expected) in [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Tue, 24 Nov 2026 03:10:30 GMT", Some(30)),
            ("Tue, 24 Nov 2026 03:09:30 GMT", Some(0)),
            ("soon", None),
            ("-5", None),
            ("", None),
        ] {
            assert_eq!(
                parse_retry_after(text, now),
                expected.map(Duration::from_secs),
                "{text:?}"
            );
        }
    }

    #[test]
    fn answers_that_may_change_are_tried_again() {
        for (status, expected) in [
            (400, "permanent"),
            (401, "permanent"),
            (404, "permanent"),
            (301, "permanent"),
            (408, "message"),
            (425, "message"),
            (500, "message"),
            (501, "message"),
            (429, "receiver"),
            (502, "receiver"),
            (503, "receiver"),
            (504, "receiver"),
        ] {
            let failure = judge(StatusCode::from_u16(status).unwrap(), String::new(), None);
            assert_eq!(failure.reach_name(), expected, "{status}");
        }
    }
}
