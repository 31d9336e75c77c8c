//! The notifiers' settings: from the environment, or from files that it
//! names, because they are secrets.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::{env, fs};

use anyhow::{Context, bail};
use modeltap_export::notify::{
    Channel, EmailSettings, Endpoint, PagerDutySettings, RoutingKey, Secret, SettingError,
    Settings, SmtpServer, WebhookSettings, address, addresses,
};

use crate::config::Config;

const FILE_SUFFIX: &str = "_FILE";
/// Variables that name a proxy, also in small letters.
const PROXIES: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
const DNS_PORT: u16 = 53;
/// Longest file of a secret that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Reads what configures the notifiers.
///
/// # Errors
/// A value has no meaning, a file cannot be read, or a variable is set whose
/// companion is not; the message names the variable and never the value.
pub fn settings(config: &Config) -> anyhow::Result<Settings> {
    let mut settings = Variables(|name: &str| env::var_os(name)).settings()?;
    settings.public_url = config
        .public_url
        .as_deref()
        .map(|url| Endpoint::parse(url).with_context(|| format!("public_url {url:?}")))
        .transpose()?;
    settings.host = fs::read_to_string("/proc/sys/kernel/hostname")
        .unwrap_or_default()
        .trim()
        .to_owned();
    for (channel, endpoint) in in_clear(&settings) {
        tracing::warn!(
            notifier = channel.as_str(),
            target = endpoint.target(),
            "a secret is sent unencrypted to another host"
        );
    }
    Ok(settings)
}

/// Variables that mean something here.
pub fn variables() -> impl Iterator<Item = String> {
    Channel::ALL
        .into_iter()
        .flat_map(Channel::variables)
        .flat_map(|name| [(*name).to_owned(), format!("{name}{FILE_SUFFIX}")])
}

/// Each configured notifier and its host, a comment line each.
pub fn describe(settings: &Settings) -> String {
    let hosts = [
        (
            Channel::Webhook,
            settings
                .webhook
                .as_ref()
                .map(|webhook| webhook.url.target()),
        ),
        (
            Channel::Slack,
            settings.slack.as_ref().map(Endpoint::target),
        ),
        (
            Channel::PagerDuty,
            settings
                .pagerduty
                .as_ref()
                .map(|pagerduty| pagerduty.endpoint().target()),
        ),
        (
            Channel::Email,
            settings.email.as_ref().map(|email| email.server.target()),
        ),
        (
            Channel::Alertmanager,
            settings.alertmanager.as_ref().map(Endpoint::target),
        ),
    ];
    hosts
        .into_iter()
        .filter_map(|(channel, host)| Some(format!("# notifier {channel}: {}\n", host?)))
        .collect()
}

/// TCP ports that telling of alerts connects to: the receivers', or a proxy's,
/// and that of name servers. `None` if that cannot be told.
pub fn ports(settings: &Settings) -> Option<BTreeSet<u16>> {
    ports_through(settings, |name| env::var(name).ok())
}

fn ports_through(
    settings: &Settings,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<BTreeSet<u16>> {
    let mut ports = settings.ports();
    if ports.is_empty() {
        return Some(ports);
    }
    // An answer that is too long for UDP is asked for by TCP.
    ports.insert(DNS_PORT);
    for name in PROXIES {
        let names = [name.to_owned(), name.to_lowercase()];
        for proxy in names.iter().filter_map(|name| variable(name)) {
            let (_, port) = proxy.trim_end_matches('/').rsplit_once(':')?;
            ports.insert(port.parse().ok()?);
        }
    }
    Some(ports)
}

/// Receivers that are told a secret in clear.
fn in_clear(settings: &Settings) -> Vec<(Channel, &Endpoint)> {
    let webhook = settings
        .webhook
        .as_ref()
        .filter(|webhook| webhook.token.is_some())
        .map(|webhook| (Channel::Webhook, &webhook.url));
    webhook
        .into_iter()
        .filter(|(_, endpoint)| !endpoint.is_encrypted() && !endpoint.is_loopback())
        .collect()
}

/// The environment, or what stands for it.
struct Variables<F>(F);

impl<F: Fn(&str) -> Option<OsString>> Variables<F> {
    fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings {
            webhook: self.webhook()?,
            slack: self.parsed("MODELTAP_SLACK_WEBHOOK_URL", Endpoint::parse_encrypted)?,
            pagerduty: self.pagerduty()?,
            email: self.email()?,
            alertmanager: self.parsed("MODELTAP_ALERTMANAGER_URL", Endpoint::parse)?,
            ..Settings::default()
        })
    }

    fn webhook(&self) -> anyhow::Result<Option<WebhookSettings>> {
        const URL: &str = "MODELTAP_WEBHOOK_URL";
        const TOKEN: &str = "MODELTAP_WEBHOOK_TOKEN";
        let token = self.parsed(TOKEN, Secret::parse)?;
        match self.parsed(URL, Endpoint::parse)? {
            Some(url) => Ok(Some(WebhookSettings { url, token })),
            None if token.is_some() => bail!("{TOKEN} is set, but {URL} is not"),
            None => Ok(None),
        }
    }

    fn pagerduty(&self) -> anyhow::Result<Option<PagerDutySettings>> {
        const KEY: &str = "MODELTAP_PAGERDUTY_ROUTING_KEY";
        const URL: &str = "MODELTAP_PAGERDUTY_URL";
        let url = self.parsed(URL, Endpoint::parse_encrypted)?;
        match self.parsed(KEY, RoutingKey::parse)? {
            Some(routing_key) => Ok(Some(PagerDutySettings { routing_key, url })),
            None if url.is_some() => bail!("{URL} is set, but {KEY} is not"),
            None => Ok(None),
        }
    }

    fn email(&self) -> anyhow::Result<Option<EmailSettings>> {
        let [url, from, to] = [
            "MODELTAP_SMTP_URL",
            "MODELTAP_EMAIL_FROM",
            "MODELTAP_EMAIL_TO",
        ];
        let server = self.parsed(url, SmtpServer::parse)?;
        let sender = self.parsed(from, address)?;
        let receivers = self.parsed(to, addresses)?;
        match (server, sender, receivers) {
            (Some(server), Some(sender), Some(receivers)) => Ok(Some(EmailSettings {
                server,
                from: sender,
                to: receivers,
            })),
            (None, None, None) => Ok(None),
            (server, sender, receivers) => {
                let is_set = [
                    (url, server.is_some()),
                    (from, sender.is_some()),
                    (to, receivers.is_some()),
                ];
                let names = |wanted: bool| {
                    let names = is_set.iter().filter(|(_, set)| *set == wanted);
                    names
                        .map(|(name, _)| *name)
                        .collect::<Vec<_>>()
                        .join(" and ")
                };
                bail!("email needs {} beside {}", names(false), names(true))
            }
        }
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, SettingError>,
    ) -> anyhow::Result<Option<T>> {
        let Some((origin, text)) = self.value(name)? else {
            return Ok(None);
        };
        // Its own words: the value is secret.
        match parse(&text) {
            Ok(value) => Ok(Some(value)),
            Err(error) => bail!("{origin} {error}"),
        }
    }

    /// The value, and the variable it came from. An empty variable is not
    /// set: that is how Compose hands on what its user left out.
    fn value(&self, name: &str) -> anyhow::Result<Option<(String, String)>> {
        let read = |name: &str| (self.0)(name).filter(|value| !value.is_empty());
        let file_name = format!("{name}{FILE_SUFFIX}");
        match (read(name), read(&file_name)) {
            (Some(_), Some(_)) => bail!("both {name} and {file_name} are set: leave one out"),
            (Some(value), None) => match value.into_string() {
                Ok(value) => Ok(Some((name.to_owned(), value))),
                Err(_) => bail!("{name} is not UTF-8"),
            },
            (None, Some(file)) => {
                let text = read_file(Path::new(&file))
                    .with_context(|| format!("cannot read {file_name} {:?}", file.display()))?;
                Ok(Some((file_name, text)))
            }
            (None, None) => Ok(None),
        }
    }
}

fn read_file(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    fs::File::open(file)?
        .take(MAX_FILE_BYTES)
        .read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let variables: HashMap<String, OsString> = variables
            .iter()
            .map(|(name, value)| (format!("MODELTAP_{name}"), (*value).into()))
            .collect();
        Variables(|name: &str| variables.get(name).cloned()).settings()
    }

    #[track_caller]
    fn check_error(variables: &[(&str, &str)], expected: &str) {
        let error = format!("{:#}", read(variables).unwrap_err());
        assert_eq!(error, expected);
    }

    #[test]
    fn nothing_set_is_no_notifier() {
        let settings = read(&[("SLACK_WEBHOOK_URL", ""), ("EMAIL_TO", "")]).unwrap();
        assert_eq!(describe(&settings), "");
    }

    #[test]
    fn each_notifier_is_read_and_described_by_its_host() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let settings = read(&[
            ("WEBHOOK_URL", "http://receiver.example.org:8080/sesame"),
            ("WEBHOOK_TOKEN", "sesame"),
            (
                "SLACK_WEBHOOK_URL",
                "https://hooks.slack.com/services/sesame",
            ),
            ("PAGERDUTY_ROUTING_KEY_FILE", file.to_str().unwrap()),
            ("SMTP_URL", "smtps://me:sesame@mail.example.org"),
            ("EMAIL_FROM", "modeltap <alerts@example.org>"),
            ("EMAIL_TO", "a@example.org,b@example.org"),
            ("ALERTMANAGER_URL", "http://127.0.0.1:9093"),
        ])
        .unwrap();
        assert_eq!(
            describe(&settings),
            "# notifier webhook: receiver.example.org:8080\n\
             # notifier slack: hooks.slack.com\n\
             # notifier pagerduty: events.pagerduty.com\n\
             # notifier email: mail.example.org:465\n\
             # notifier alertmanager: 127.0.0.1:9093\n"
        );
        assert_eq!(in_clear(&settings).len(), 1);
    }

    #[test]
    fn ports_are_the_receivers_and_the_proxys_and_name_servers() {
        let none = ports_through(&Settings::default(), |_| Some("http://p:3128".into()));
        assert_eq!(none, Some(BTreeSet::new()));
        let settings = read(&[
            ("WEBHOOK_URL", "https://hooks.example.org/x"),
            ("ALERTMANAGER_URL", "http://127.0.0.1:9093"),
            ("SMTP_URL", "smtp://mail.example.org"),
            ("EMAIL_FROM", "a@example.org"),
            ("EMAIL_TO", "b@example.org"),
        ])
        .unwrap();
        let direct = ports_through(&settings, |_| None);
        assert_eq!(direct, Some(BTreeSet::from([53, 443, 587, 9093])));
        let proxied = |value: &'static str| {
            ports_through(&settings, move |name| {
                (name == "https_proxy").then(|| value.to_owned())
            })
        };
        let expected = BTreeSet::from([53, 443, 587, 3128, 9093]);
        assert_eq!(proxied("http://proxy:3128/"), Some(expected));
        // Its port is its protocol's own: too much to guess.
        assert_eq!(proxied("proxy"), None);
    }

    #[test]
    fn error_names_the_variable_and_not_the_value() {
        for (variables, expected) in [
            (
                &[(
                    "SLACK_WEBHOOK_URL",
                    "http://hooks.slack.com/services/sesame",
                )][..],
                "MODELTAP_SLACK_WEBHOOK_URL would be sent unencrypted to another host: use https",
            ),
            (
                &[("WEBHOOK_URL", "sesame")],
                "MODELTAP_WEBHOOK_URL is no URL",
            ),
            (
                &[("WEBHOOK_TOKEN", "sesame")],
                "MODELTAP_WEBHOOK_TOKEN is set, but MODELTAP_WEBHOOK_URL is not",
            ),
            (
                &[("PAGERDUTY_ROUTING_KEY", "sesame")],
                "MODELTAP_PAGERDUTY_ROUTING_KEY is no routing key: 32 letters and digits",
            ),
            (
                &[(
                    "PAGERDUTY_URL",
                    "https://events.eu.pagerduty.com/v2/enqueue",
                )],
                "MODELTAP_PAGERDUTY_URL is set, but MODELTAP_PAGERDUTY_ROUTING_KEY is not",
            ),
            (
                &[("SMTP_URL", "smtp://me:sesame@h?tls=off")],
                "MODELTAP_SMTP_URL takes nothing behind the host but ?tls=required or ?tls=none (with smtp)",
            ),
            (
                &[("SMTP_URL", "smtps://h"), ("EMAIL_TO", "a@example.org")],
                "email needs MODELTAP_EMAIL_FROM beside MODELTAP_SMTP_URL and MODELTAP_EMAIL_TO",
            ),
            (
                &[
                    ("ALERTMANAGER_URL", "http://h"),
                    ("ALERTMANAGER_URL_FILE", "/f"),
                ],
                "both MODELTAP_ALERTMANAGER_URL and MODELTAP_ALERTMANAGER_URL_FILE are set: leave one out",
            ),
            (
                &[("ALERTMANAGER_URL_FILE", "/no/such/file")],
                "cannot read MODELTAP_ALERTMANAGER_URL_FILE \"/no/such/file\": No such file or directory (os error 2)",
            ),
        ] {
            check_error(variables, expected);
        }
    }

    #[test]
    fn error_in_a_file_names_its_variable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("to");
        fs::write(&file, "nobody").unwrap();
        check_error(
            &[("EMAIL_TO_FILE", file.to_str().unwrap())],
            "MODELTAP_EMAIL_TO_FILE is no mail address",
        );
    }

    #[test]
    fn every_variable_of_every_channel_is_known() {
        let all: Vec<_> = variables().collect();
        assert_eq!(all.len(), 18);
        assert!(all.contains(&"MODELTAP_WEBHOOK_TOKEN_FILE".to_owned()));
    }
}
