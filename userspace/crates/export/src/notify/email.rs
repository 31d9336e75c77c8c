//! Email: what a message says, and the conversation that hands it over.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message as Mail};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use modeltap_core::alert::{Alert, AlertState};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::message::{Message, Sender, began, digest, readable, rule, service, summary};
use super::receiver::Failure;
use super::settings::{EmailSettings, Protection, Secret, Timing};
use super::text::{one_line, without};

/// Longest subject, in characters.
const SUBJECT_CHARS: usize = 160;
/// Longest answer that is told, in characters.
const REASON_CHARS: usize = 200;
/// What a server may send in one conversation, certificates included.
const MAX_CONVERSATION_BYTES: usize = 256 * 1024;

/// Sends email.
pub(super) struct Mailer {
    settings: EmailSettings,
    tls: Option<TlsParameters>,
    timing: Timing,
}

impl Mailer {
    /// # Errors
    /// The host's certificates cannot be read.
    pub fn new(settings: EmailSettings, timing: Timing) -> Result<Self, Error> {
        let tls = match settings.server.protection {
            Protection::Plain => None,
            Protection::StartTls | Protection::Tls => {
                Some(TlsParameters::new(settings.server.host.clone())?)
            }
        };
        Ok(Self {
            settings,
            tls,
            timing,
        })
    }

    pub fn target(&self) -> String {
        self.settings.server.target()
    }

    /// Sends to each receiver on their own: one whose mailbox is gone costs
    /// the others nothing. Those who took it are not asked again:
    /// `message.told` counts them from the first.
    ///
    /// # Errors
    /// Not all took it.
    pub async fn send(&self, sender: &Sender, message: &mut Message) -> Result<(), Failure> {
        let mail = self.compose(sender, message)?.formatted();
        let mut connection = None;
        let mut refused = Vec::new();
        for (index, to) in self.settings.to.iter().enumerate() {
            if message.told.contains(&index) {
                continue;
            }
            // lettre ends a conversation in which something was refused.
            let mut live = match connection.take() {
                Some(live) => live,
                // A login that fails is not tried for each receiver again.
                None => self.in_time(self.connect(sender)).await?,
            };
            let sent = self.in_time(self.hand_over(&mut live, to, &mail)).await;
            if !live.has_broken() {
                connection = Some(live);
            }
            match sent {
                Ok(()) => message.told.push(index),
                Err(failure) if failure.reach.is_none() => {
                    message.told.push(index);
                    refused.push(format!("{}: {}", to.email, failure.text));
                }
                Err(failure) => return Err(failure),
            }
        }
        if let Some(connection) = &mut connection {
            // The mail is taken; how they part does not matter.
            let _ = timeout(self.timing.connect, connection.quit()).await;
        }
        match refused.as_slice() {
            [] => Ok(()),
            refused => Err(Failure::permanent(one_line(
                &format!("refused for {}", refused.join("; ")),
                REASON_CHARS * 2,
            ))),
        }
    }

    async fn in_time<T>(
        &self,
        doing: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        timeout(self.timing.answer, doing)
            .await
            .unwrap_or_else(|_| {
                let text = format!("no answer within {:?}", self.timing.answer);
                Err(Failure::of_receiver(text, None))
            })
    }

    async fn hand_over(
        &self,
        connection: &mut AsyncSmtpConnection,
        to: &Mailbox,
        mail: &[u8],
    ) -> Result<(), Failure> {
        let from = Some(self.settings.from.email.clone());
        let envelope = Envelope::new(from, vec![to.email.clone()])
            .map_err(|_| Failure::permanent("the addresses make no envelope"))?;
        connection
            .send(&envelope, mail)
            .await
            .map_err(|error| self.failure(&error))?;
        Ok(())
    }

    async fn connect(&self, sender: &Sender) -> Result<AsyncSmtpConnection, Failure> {
        let failure = |error: Error| self.failure(&error);
        let server = &self.settings.server;
        let address = (server.host.as_str(), server.port);
        let hello = hello(&sender.host);
        let mut connection = if server.protection == Protection::Tls {
            AsyncSmtpConnection::connect_tokio1(
                address,
                Some(self.timing.connect),
                &hello,
                self.tls.clone(),
                None,
            )
            .await
            .map_err(failure)?
        } else {
            let stream = timeout(self.timing.connect, TcpStream::connect(address))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                .map_err(|error| Failure::of_receiver(format!("no connection: {error}"), None))?;
            let stream = Box::new(Bounded {
                stream,
                left: MAX_CONVERSATION_BYTES,
            });
            AsyncSmtpConnection::connect_with_transport(stream, &hello)
                .await
                .map_err(failure)?
        };
        if let (Protection::StartTls, Some(tls)) = (server.protection, &self.tls) {
            if !connection.can_starttls() {
                connection.abort().await;
                // Nothing is sent in clear; the server may be mended.
                let text = "the server offers no STARTTLS; ?tls=none sends without".to_owned();
                return Err(Failure::of_receiver(text, None));
            }
            connection
                .starttls(tls.clone(), &hello)
                .await
                .map_err(failure)?;
        }
        if let Some((user, password)) = &server.login {
            let credentials = Credentials::new(user.clone(), password.reveal().to_owned());
            connection
                .auth(&[Mechanism::Plain, Mechanism::Login], &credentials)
                .await
                .map_err(failure)?;
        }
        Ok(connection)
    }

    /// RFC 5321 section 4.2.1: 4yz may go well later, 5yz will not. 421 ends
    /// the conversation, as does everything that is no answer.
    fn failure(&self, error: &Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let reason = cause.to_string();
        let password = self
            .settings
            .server
            .login
            .as_ref()
            .map(|(_, password)| password);
        let reason = without(&reason, password.map(Secret::reveal));
        let reason = one_line(&reason, REASON_CHARS);
        match error.status() {
            Some(code) => {
                let text = format!("answered {code}: {reason}");
                if error.is_permanent() {
                    Failure::permanent(text)
                } else if code.to_string() == "421" {
                    Failure::of_receiver(text, None)
                } else {
                    Failure::of_message(text, None)
                }
            }
            None if error.is_client() => Failure::permanent(reason),
            None => Failure::of_receiver(format!("no answer: {reason}"), None),
        }
    }

    fn compose(&self, sender: &Sender, message: &Message) -> Result<Mail, Failure> {
        let domain = self.settings.from.email.domain();
        let mut builder = Mail::builder()
            .from(self.settings.from.clone())
            .subject(subject(message))
            .message_id(Some(message_id(message, domain)))
            .date_now()
            .user_agent(concat!("modeltap/", env!("CARGO_PKG_VERSION")).to_owned())
            // RFC 3834: no answer from somebody's holiday.
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ));
        for to in &self.settings.to {
            builder = builder.to(to.clone());
        }
        // What is over stands in one thread with what began.
        for alert in &message.alerts {
            if alert.state == AlertState::Resolved && message.alerts.len() == 1 {
                let began = Alert {
                    state: AlertState::Firing,
                    ..alert.clone()
                };
                let first = episode_id(&[began], domain);
                builder = builder.in_reply_to(first.clone()).references(first);
            }
        }
        builder
            .header(ContentType::TEXT_PLAIN)
            .body(text(sender, message))
            .map_err(|_| Failure::permanent("the message cannot be written as a mail"))
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mailer").field(&self.settings).finish()
    }
}

/// `[modeltap] Firing: critical: api: Error rate`
fn subject(message: &Message) -> String {
    let what = |alert: &Alert| match alert.state {
        AlertState::Resolved => "Resolved",
        _ => "Firing",
    };
    let line = match message.alerts.as_slice() {
        [alert] => format!(
            "[modeltap] {}: {}: {}: {}",
            what(alert),
            alert.severity.as_str(),
            service(alert),
            rule(alert)
        ),
        alerts => {
            let n = |state: &str| alerts.iter().filter(|alert| what(alert) == state).count();
            let counts: Vec<_> = [("firing", n("Firing")), ("resolved", n("Resolved"))]
                .into_iter()
                .filter(|(_, n)| *n > 0)
                .map(|(word, n)| format!("{n} {word}"))
                .collect();
            let service = one_line(&message.service, SUBJECT_CHARS);
            format!("[modeltap] {service}: {}", counts.join(", "))
        }
    };
    one_line(&line, SUBJECT_CHARS)
}

fn text(sender: &Sender, message: &Message) -> String {
    let mut text = String::new();
    for alert in &message.alerts {
        let state = match alert.state {
            AlertState::Resolved => "RESOLVED",
            _ => "FIRING",
        };
        text.push_str(&format!(
            "{state}  {}  {}\n{}\n\n  Rule:      {}\n  Since:     {}\n",
            alert.severity.as_str(),
            service(alert),
            summary(alert),
            rule(alert),
            readable(began(alert)),
        ));
        if let Some(resolved) = alert.resolved {
            text.push_str(&format!("  Until:     {}\n", readable(resolved)));
        }
        for (name, figure) in [("Value:", alert.value), ("Threshold:", alert.threshold)] {
            if let Some(figure) = figure {
                text.push_str(&format!("  {name:<11}{figure}\n"));
            }
        }
        text.push('\n');
    }
    if let Some(link) = sender.link(&message.service) {
        text.push_str(&format!("{link}\n\n"));
    }
    text.push_str("-- \nmodeltap");
    if !sender.host.is_empty() {
        text.push_str(&format!(" on {}", one_line(&sender.host, SUBJECT_CHARS)));
    }
    text.push('\n');
    text
}

/// The same for each attempt, so that a mail that came twice is seen as one.
fn message_id(message: &Message, domain: &str) -> String {
    episode_id(&message.alerts, domain)
}

fn episode_id(alerts: &[Alert], domain: &str) -> String {
    let told: Vec<_> = alerts
        .iter()
        .map(|alert| format!("{}\n{:?}\n", alert.id, alert.state))
        .collect();
    let since = alerts.first().map_or(0, |alert| alert.since.0);
    format!("<{since}.{:016x}@{domain}>", digest(&told.concat()))
}

/// RFC 5321 section 4.1.1.1 wants a name; a host's own is the best there is.
fn hello(host: &str) -> ClientId {
    let is_name = !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    if is_name {
        ClientId::Domain(host.to_owned())
    } else {
        ClientId::default()
    }
}

/// A connection that ends when the server has said too much: lettre bounds
/// lines once it has read them, and one without an end is never read.
#[derive(Debug)]
struct Bounded {
    stream: TcpStream,
    left: usize,
}

impl AsyncTokioStream for Bounded {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let n_read = buffer.filled().len().saturating_sub(before);
        match self.left.checked_sub(n_read) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::Error::other("the server says too much"))),
        }
        result
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
