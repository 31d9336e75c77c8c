//! What configures the notifiers, parsed: a value that exists is one that can
//! be used. No message and no `Debug` shows a secret.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use lettre::message::Mailbox;
use reqwest::Url;

/// PagerDuty's Events API in its US region.
const PAGERDUTY_URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Length of a routing key, in characters.
const ROUTING_KEY_CHARS: usize = 32;
/// Most receivers of one email.
const MAX_RECEIVERS: usize = 50;
/// Longest value taken, in bytes.
const MAX_VALUE_BYTES: usize = 4096;

/// The notifiers to start; those that are `None` are not.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// JSON by POST.
    pub webhook: Option<WebhookSettings>,
    /// The URL of a Slack incoming webhook.
    pub slack: Option<Endpoint>,
    /// PagerDuty.
    pub pagerduty: Option<PagerDutySettings>,
    /// Email.
    pub email: Option<EmailSettings>,
    /// The base address of an Alertmanager, without `/api/v2`.
    pub alertmanager: Option<Endpoint>,
    /// This host's name, which tells several daemons apart; may be empty.
    pub host: String,
    /// Where people reach the dashboard, for links.
    pub public_url: Option<Endpoint>,
    /// Times and limits.
    pub timing: Timing,
}

impl Settings {
    /// TCP ports at which the notifiers' receivers are.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<u16> {
        let pagerduty = self.pagerduty.as_ref().map(PagerDutySettings::endpoint);
        let webhook = self.webhook.as_ref().map(|webhook| &webhook.url);
        let endpoints = [
            webhook,
            self.slack.as_ref(),
            pagerduty.as_ref(),
            self.alertmanager.as_ref(),
        ];
        let endpoints = endpoints.into_iter().flatten();
        let email = self.email.as_ref().map(|email| email.server.port);
        endpoints
            .filter_map(|endpoint| endpoint.0.port_or_known_default())
            .chain(email)
            .collect()
    }
}

/// A receiver of JSON.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// Where to.
    pub url: Endpoint,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<Secret>,
}

/// PagerDuty's receiver.
#[derive(Clone, Debug)]
pub struct PagerDutySettings {
    /// The integration's key.
    pub routing_key: RoutingKey,
    /// Another address than the US region's.
    pub url: Option<Endpoint>,
}

impl PagerDutySettings {
    /// Where events are sent to.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        self.url
            .clone()
            .unwrap_or_else(|| Endpoint::parse(PAGERDUTY_URL).expect("the constant is a URL"))
    }
}

/// Email and the server that takes it.
#[derive(Clone, Debug)]
pub struct EmailSettings {
    /// The server.
    pub server: SmtpServer,
    /// The sender.
    pub from: Mailbox,
    /// The receivers, one at least.
    pub to: Vec<Mailbox>,
}

/// Times and limits of delivery; the defaults are what the README says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until an attempt is over, answer included.
    pub answer: Duration,
    /// Wait after the first failure; the jitter takes up to half of it away.
    pub backoff: Duration,
    /// Longest wait between attempts, but for what `Retry-After` asks.
    pub backoff_cap: Duration,
    /// How long a message is tried.
    pub give_up: Duration,
    /// How often an Alertmanager is told again of what fires.
    pub refresh: Duration,
    /// How long the daemon's stop waits for messages under way.
    pub stop: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(15),
            backoff: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(60),
            give_up: Duration::from_secs(60 * 60),
            refresh: Duration::from_secs(60),
            stop: Duration::from_secs(3),
        }
    }
}

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a secret that can stand in a header: printable ASCII.
    ///
    /// # Errors
    /// It is empty, too long or holds other characters.
    pub fn parse(text: &str) -> Result<Self, SettingError> {
        let text = bounded(text)?;
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SettingError::NotPrintable);
        }
        Ok(Self(text.to_owned()))
    }

    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The key of a PagerDuty integration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutingKey(Secret);

impl RoutingKey {
    /// Takes a key.
    ///
    /// # Errors
    /// It is not 32 letters and digits.
    pub fn parse(text: &str) -> Result<Self, SettingError> {
        let text = bounded(text)?;
        if text.len() != ROUTING_KEY_CHARS || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(SettingError::RoutingKey);
        }
        Ok(Self(Secret(text.to_owned())))
    }

    pub(crate) fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

/// An HTTP address; path, query, user and password are secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Takes an `http` or `https` URL.
    ///
    /// # Errors
    /// It is no URL, has another scheme or no host.
    pub fn parse(text: &str) -> Result<Self, SettingError> {
        let url = Url::parse(bounded(text)?).map_err(|_| SettingError::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(SettingError::Scheme("http, https"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(SettingError::NoHost);
        }
        Ok(Self(url))
    }

    /// Takes an `https` URL, or an `http` URL of this host.
    ///
    /// # Errors
    /// As [`Self::parse`], or what it holds would cross a network in clear.
    pub fn parse_encrypted(text: &str) -> Result<Self, SettingError> {
        let endpoint = Self::parse(text)?;
        if !endpoint.is_encrypted() && !endpoint.is_loopback() {
            return Err(SettingError::InClear("https"));
        }
        Ok(endpoint)
    }

    /// The host, and the port where it is not the scheme's own.
    #[must_use]
    pub fn target(&self) -> String {
        target(&self.0)
    }

    /// Whether nobody on the way can read what is sent.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// Whether it is on this very host.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    /// The same place, with more behind its path.
    pub(crate) fn join(&self, path: &str) -> Self {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", url.path().trim_end_matches('/')));
        Self(url)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}://{}/..)", self.0.scheme(), self.target())
    }
}

/// How the connection to a mail server is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protection {
    /// TLS from the first byte (RFC 8314).
    Tls,
    /// STARTTLS, or nothing is sent (RFC 3207).
    StartTls,
    /// None.
    Plain,
}

/// A mail server, written as a URL:
///
/// | URL | is |
/// |---|---|
/// | `smtps://user:password@host` | TLS from the first byte, port 465 |
/// | `smtp://user:password@host` | STARTTLS, port 587; on this very host plain, port 25 |
/// | `smtp://host?tls=required` | STARTTLS, on this very host too |
/// | `smtp://host?tls=none` | plain, whatever the host |
#[derive(Clone, PartialEq, Eq)]
pub struct SmtpServer {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) protection: Protection,
    pub(crate) login: Option<(String, Secret)>,
}

impl SmtpServer {
    /// Takes a URL.
    ///
    /// # Errors
    /// It is no URL, or says something that is not in the table above.
    pub fn parse(text: &str) -> Result<Self, SettingError> {
        let url = Url::parse(bounded(text)?).map_err(|_| SettingError::NoUrl)?;
        let host = url
            .host_str()
            .filter(|host| !host.is_empty())
            .ok_or(SettingError::NoHost)?
            .trim_matches(['[', ']'])
            .to_owned();
        let (mut tls, mut query) = (None, url.query_pairs());
        if let Some((key, value)) = query.next() {
            tls = match (&*key, &*value) {
                ("tls", "required") => Some(Protection::StartTls),
                ("tls", "none") => Some(Protection::Plain),
                _ => return Err(SettingError::TlsParameter),
            };
        }
        if query.next().is_some() || !matches!(url.path(), "" | "/") {
            return Err(SettingError::TlsParameter);
        }
        let protection = match (url.scheme(), tls) {
            ("smtps", None) => Protection::Tls,
            ("smtps", Some(_)) => return Err(SettingError::TlsParameter),
            ("smtp", Some(protection)) => protection,
            ("smtp", None) if is_loopback(&url) => Protection::Plain,
            ("smtp", None) => Protection::StartTls,
            _ => return Err(SettingError::Scheme("smtp, smtps")),
        };
        let port = url.port().unwrap_or(match protection {
            Protection::Tls => 465,
            Protection::StartTls => 587,
            Protection::Plain => 25,
        });
        let login = match (url.username(), url.password()) {
            ("", None) => None,
            (user, Some(password)) if !user.is_empty() => {
                Some((unescaped(user)?, Secret(unescaped(password)?)))
            }
            _ => return Err(SettingError::HalfLogin),
        };
        Ok(Self {
            host,
            port,
            protection,
            login,
        })
    }

    /// Host and port.
    #[must_use]
    pub fn target(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for SmtpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SmtpServer({}, {:?})", self.target(), self.protection)
    }
}

/// Takes one address: `alerts@example.org` or `modeltap <alerts@example.org>`.
///
/// # Errors
/// It is no address.
pub fn address(text: &str) -> Result<Mailbox, SettingError> {
    bounded(text)?.parse().map_err(|_| SettingError::Address)
}

/// Takes addresses with commas between them.
///
/// # Errors
/// One of them is no address, or there are more than 50.
pub fn addresses(text: &str) -> Result<Vec<Mailbox>, SettingError> {
    let all = bounded(text)?
        .split(',')
        .map(address)
        .collect::<Result<Vec<_>, _>>()?;
    if all.len() > MAX_RECEIVERS {
        return Err(SettingError::TooManyAddresses);
    }
    Ok(all)
}

/// What is wrong with a value; never the value itself, which may be secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than any sensible value.
    #[error("is longer than 4096 bytes")]
    TooLong,
    /// Characters that cannot stand in a header.
    #[error("holds a character that is not printable ASCII")]
    NotPrintable,
    /// Not parsed.
    #[error("is no URL")]
    NoUrl,
    /// Of another kind.
    #[error("has another scheme than {0}")]
    Scheme(&'static str),
    /// Nowhere to send to.
    #[error("names no host")]
    NoHost,
    /// A secret would be readable on the way.
    #[error("would be sent unencrypted to another host: use {0}")]
    InClear(&'static str),
    /// Neither of the two.
    #[error("takes nothing behind the host but ?tls=required or ?tls=none (with smtp)")]
    TlsParameter,
    /// One without the other.
    #[error("has a user without a password or a password without a user")]
    HalfLogin,
    /// Broken percent-encoding.
    #[error("is not UTF-8 once its percent signs are decoded")]
    Encoding,
    /// Not 32 letters and digits.
    #[error("is no routing key: 32 letters and digits")]
    RoutingKey,
    /// No address.
    #[error("is no mail address")]
    Address,
    /// More than one message is sent to.
    #[error("names more than 50 addresses")]
    TooManyAddresses,
}

fn bounded(text: &str) -> Result<&str, SettingError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(SettingError::Empty);
    }
    if text.len() > MAX_VALUE_BYTES {
        return Err(SettingError::TooLong);
    }
    Ok(text)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host.eq_ignore_ascii_case("localhost")
        || host
            .trim_matches(['[', ']'])
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn target(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Decodes `%40` and the like, which users and passwords need in a URL.
fn unescaped(text: &str) -> Result<String, SettingError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        rest = match tail {
            [high, low, after @ ..] if *first == b'%' => {
                let (Some(high), Some(low)) = (hex(*high), hex(*low)) else {
                    return Err(SettingError::Encoding);
                };
                bytes.push(u8::try_from(high * 16 + low).map_err(|_| SettingError::Encoding)?);
                after
            }
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
    String::from_utf8(bytes).map_err(|_| SettingError::Encoding)
}

#[cfg(test)]
mod tests;
