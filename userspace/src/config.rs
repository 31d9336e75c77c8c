//! Layers of configuration into one plain value: defaults < file <
//! `MODELTAP_*` < options.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context, bail};
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use modeltap_core::container::Inspect;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cli::Options;
use crate::notify;

/// Where the configuration is looked for if nothing is said.
const DEFAULT_FILE: &str = "/etc/modeltap/modeltap.toml";
const ENV_PREFIX: &str = "MODELTAP_";
const TOKEN_VARIABLE: &str = "MODELTAP_TOKEN";
const TOKEN_FILE_VARIABLE: &str = "MODELTAP_TOKEN_FILE";
/// Shortest token that is taken as a secret, in bytes.
const MIN_TOKEN_BYTES: usize = 16;
/// History that is always kept: the day the dashboard shows.
const MIN_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// Least room for history: an hour of a busy host.
const MIN_HISTORY_BYTES: u64 = 50_000_000;

/// The configuration, without secrets: it may be printed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address of the dashboard and the API.
    pub listen: SocketAddr,
    /// Folder of the history.
    pub data_dir: PathBuf,
    /// Docker's address.
    pub docker_host: String,
    /// Where the bound address is written.
    pub port_file: Option<PathBuf>,
    /// Host names under which the API may be asked for.
    pub allowed_hosts: Vec<String>,
    /// Where people reach the dashboard, for links in notifications.
    pub public_url: Option<String>,
    /// Size of the kernel's ring buffer in bytes.
    pub ring_bytes: u32,
    /// Most that the daemon and its probes may cost.
    pub max_cpu: Share,
    /// What may be read of every container's bodies.
    pub inspect: Fields,
    /// How long history is kept by the second.
    pub keep_seconds: Span,
    /// How long history is kept by ten seconds.
    pub keep_ten_seconds: Span,
    /// How long history is kept by the minute.
    pub keep_minutes: Span,
    /// Most room that history may take on the disk.
    pub history_max_size: Size,
    /// What is logged.
    pub log: String,
    /// How it is logged.
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A length of time, written with its unit: `90s`, `6h`, `30days`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map(Self).map_err(|error| {
            serde::de::Error::custom(format!(
                "{error}; a duration is written as 90s, 6h or 30days: {text:?}"
            ))
        })
    }
}

/// A size, written with its unit: `500MB`, `2GB`, `1GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

/// Units of sizes, in bytes; the largest that divides a size comes first.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl Size {
    fn parse(text: &str) -> Option<Self> {
        let digits = text.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, unit) = text.split_at(digits);
        let (_, bytes) = SIZE_UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
        number.parse::<u64>().ok()?.checked_mul(*bytes).map(Self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let unit = SIZE_UNITS
            .iter()
            .find(|(_, bytes)| self.0.is_multiple_of(*bytes));
        let (name, bytes) = unit.copied().unwrap_or(("B", 1));
        serializer.collect_str(&format_args!("{}{name}", self.0 / bytes))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "a size is a whole number with its unit, as 500MB, 2GB or 1GiB: {text:?}"
            ))
        })
    }
}

/// A share of one core, in percent, written `5%`; `None` is no limit, written
/// `off`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share(pub Option<f64>);

impl Share {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text == "off" {
            return Some(Self(None));
        }
        let percent: f64 = text.strip_suffix('%')?.trim().parse().ok()?;
        (percent > 0.0 && percent.is_finite()).then_some(Self(Some(percent)))
    }

    /// In cores; infinite if there is no limit.
    pub fn cores(self) -> f64 {
        self.0.map_or(f64::INFINITY, |percent| percent / 100.0)
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(percent) => serializer.collect_str(&format_args!("{percent}%")),
            None => serializer.serialize_str("off"),
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "max_cpu is a share of one core, as 5%, or off: {text:?}"
            ))
        })
    }
}

/// Fields of bodies, written `model`, `usage` or `model,usage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Inspect);

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.words().collect::<Vec<_>>().join(","))
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Inspect::parse(&text).map(Self).map_err(|word| {
            serde::de::Error::custom(format!(
                "inspect is model, usage or model,usage, not {word:?}"
            ))
        })
    }
}

impl Default for Config {
    fn default() -> Self {
        let hours = |n: u64| Span(Duration::from_secs(n * 60 * 60));
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7979)),
            data_dir: PathBuf::from("/var/lib/modeltap"),
            docker_host: env::var("DOCKER_HOST")
                .ok()
                .filter(|host| !host.is_empty())
                .unwrap_or_else(|| modeltap_discovery::docker::DEFAULT_HOST.to_owned()),
            port_file: None,
            allowed_hosts: Vec::new(),
            public_url: None,
            ring_bytes: 8 * 1024 * 1024,
            max_cpu: Share(Some(5.0)),
            inspect: Fields::default(),
            keep_seconds: hours(6),
            keep_ten_seconds: hours(48),
            keep_minutes: hours(30 * 24),
            history_max_size: Size(5_000_000_000),
            log: "info".to_owned(),
            log_format: LogFormat::Text,
        }
    }
}

/// Reads every layer.
///
/// # Errors
/// A file that was asked for is missing or broken, a key is unknown, or a
/// value is out of range; the message names the layer.
pub(crate) fn load(options: &Options) -> anyhow::Result<(Config, Figment)> {
    let figment = figment(options)?;
    let config: Config = figment.extract().map_err(one_line)?;
    check(&config)?;
    Ok((config, figment))
}

/// The token that the API asks for, if one is set.
///
/// # Errors
/// The file cannot be read, or the token is too short to be a secret.
pub fn token() -> anyhow::Result<Option<String>> {
    let token = match (env::var(TOKEN_VARIABLE), env::var_os(TOKEN_FILE_VARIABLE)) {
        (Ok(token), _) => token,
        (Err(_), Some(file)) => fs::read_to_string(&file)
            .with_context(|| format!("cannot read {TOKEN_FILE_VARIABLE} {:?}", file.display()))?,
        (Err(_), None) => return Ok(None),
    };
    let token = token.trim().to_owned();
    if token.len() < MIN_TOKEN_BYTES {
        bail!("{TOKEN_VARIABLE} is shorter than {MIN_TOKEN_BYTES} characters: choose a longer one");
    }
    Ok(Some(token))
}

/// `MODELTAP_*` variables that are no key of ours: likely misspelt.
pub fn unknown_variables() -> Vec<String> {
    let known = keys();
    let notifiers: Vec<_> = notify::variables().collect();
    let others = [
        "config",
        "token",
        "token_file",
        "cache",
        "bin",
        "probes",
        "demo_bin_dir",
    ];
    env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| !notifiers.contains(name))
        .filter(|name| {
            name.strip_prefix(ENV_PREFIX).is_some_and(|key| {
                let key = key.to_lowercase();
                !known.contains(&key) && !others.contains(&key.as_str())
            })
        })
        .collect()
}

/// Every key with its value and the layer it came from, a line each.
pub fn describe(config: &Config, figment: &Figment) -> anyhow::Result<String> {
    let figment::value::Value::Dict(_, values) = figment::value::Value::serialize(config)? else {
        bail!("the configuration is no table");
    };
    let mut lines = String::new();
    for (key, value) in values {
        let source = figment.find_metadata(&key).map_or_else(
            || "default".to_owned(),
            |metadata| match &metadata.source {
                Some(source) => format!("{} {source}", metadata.name),
                None => metadata.name.to_string(),
            },
        );
        let value = toml_value(&value);
        lines.push_str(&format!("{key} = {value}  # {source}\n"));
    }
    Ok(lines)
}

fn figment(options: &Options) -> anyhow::Result<Figment> {
    let mut figment = Figment::from(Serialized::defaults(Config::default()).key_named("default"));
    let file = match &options.config {
        Some(file) if !file.is_file() => {
            bail!(
                "cannot read the configuration file {:?}: no such file",
                file.display()
            )
        }
        Some(file) => Some(file.as_path()),
        None => Some(Path::new(DEFAULT_FILE)).filter(|file| file.is_file()),
    };
    if let Some(file) = file {
        figment = figment.merge(Toml::file_exact(file));
    }
    let keys = keys();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    Ok(figment
        .merge(Env::prefixed(ENV_PREFIX).only(&keys))
        .merge(Serialized::defaults(options).key_named("option")))
}

/// Gives a provider of defaults the name it has in messages.
trait KeyNamed: Sized {
    fn key_named(self, name: &'static str) -> Named<Self>;
}

impl<T: figment::Provider> KeyNamed for T {
    fn key_named(self, name: &'static str) -> Named<Self> {
        Named {
            provider: self,
            name,
        }
    }
}

/// A provider under another name.
struct Named<P> {
    provider: P,
    name: &'static str,
}

impl<P: figment::Provider> figment::Provider for Named<P> {
    fn metadata(&self) -> figment::Metadata {
        figment::Metadata::named(self.name)
    }

    fn data(
        &self,
    ) -> Result<figment::value::Map<figment::Profile, figment::value::Dict>, figment::Error> {
        self.provider.data()
    }
}

fn keys() -> Vec<String> {
    match figment::value::Value::serialize(Config::default()) {
        Ok(figment::value::Value::Dict(_, values)) => values.into_keys().collect(),
        Ok(_) | Err(_) => Vec::new(),
    }
}

fn check(config: &Config) -> anyhow::Result<()> {
    if config.keep_minutes.0 < MIN_KEPT {
        bail!(
            "keep_minutes is less than the 24h that are always kept: {:?}",
            config.keep_minutes.0
        );
    }
    if config.keep_seconds.0 > config.keep_ten_seconds.0
        || config.keep_ten_seconds.0 > config.keep_minutes.0
    {
        bail!("keep_seconds, keep_ten_seconds and keep_minutes must not get shorter in this order");
    }
    if config.history_max_size.0 < MIN_HISTORY_BYTES {
        bail!(
            "history_max_size is less than 50MB: {:?}",
            config.history_max_size.0
        );
    }
    if !(64 * 1024..=1024 * 1024 * 1024).contains(&config.ring_bytes) {
        bail!(
            "ring_bytes is not between 65536 and 1073741824: {:?}",
            config.ring_bytes
        );
    }
    Ok(())
}

/// A figment error as one line that names the layer; a variable is named in
/// full, as the user wrote it.
fn one_line(error: figment::Error) -> anyhow::Error {
    let Some(error) = error.into_iter().next() else {
        return anyhow::anyhow!("broken configuration");
    };
    let is_variable = error
        .metadata
        .as_ref()
        .is_some_and(|metadata| metadata.name.contains("environment variable"));
    let text = if is_variable {
        let variable = format!("{ENV_PREFIX}{}", error.path.join("_")).to_uppercase();
        format!("{} in the variable {variable}", error.kind)
    } else {
        error.to_string()
    };
    anyhow::anyhow!("broken configuration: {}", text.replace('\n', " "))
}

fn toml_value(value: &figment::value::Value) -> String {
    match value {
        figment::value::Value::String(_, text) => format!("{text:?}"),
        figment::value::Value::Num(_, number) => number
            .to_u128()
            .map_or_else(|| format!("{number:?}"), |number| number.to_string()),
        figment::value::Value::Array(_, items) => {
            format!(
                "[{}]",
                items.iter().map(toml_value).collect::<Vec<_>>().join(", ")
            )
        }
        figment::value::Value::Empty(..) => "\"\"".to_owned(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_error(toml: &str, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("modeltap.toml");
        fs::write(&file, toml).unwrap();
        let options = Options {
            config: Some(file),
            ..Options::default()
        };
        let error = format!("{:#}", load(&options).unwrap_err());
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }

    #[test]
    fn unknown_key_is_refused_and_named_with_its_file() {
        check_error("listn = \"127.0.0.1:1\"", "unknown field: found `listn`");
        check_error("listn = \"127.0.0.1:1\"", "modeltap.toml");
    }

    #[test]
    fn duration_without_a_unit_is_refused() {
        check_error("keep_seconds = \"90\"", "a duration is written as 90s");
    }

    #[test]
    fn inspection_of_another_field_is_refused() {
        check_error("inspect = \"model,prompt\"", "not \"prompt\"");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("modeltap.toml");
        fs::write(&file, "inspect = \"usage\"\n").unwrap();
        let options = Options {
            config: Some(file),
            ..Options::default()
        };
        let (config, figment) = load(&options).unwrap();
        assert!(config.inspect.0.usage && !config.inspect.0.model);
        let lines = describe(&config, &figment).unwrap();
        assert!(lines.contains("inspect = \"usage\""), "{lines}");
        assert!(Config::default().inspect.0.is_nothing());
    }

    #[test]
    fn sizes_have_units_and_a_least_one() {
        check_error("history_max_size = \"2\"", "as 500MB, 2GB or 1GiB");
        check_error("history_max_size = \"2 parsecs\"", "\"2 parsecs\"");
        check_error("history_max_size = \"99999999999TB\"", "a size is");
        check_error("history_max_size = \"1MB\"", "less than 50MB");
        for (text, bytes) in [("2GB", 2_000_000_000), ("1 gib", 1 << 30), ("7B", 7)] {
            assert_eq!(Size::parse(text), Some(Size(bytes)), "{text}");
        }
        let (config, figment) = load(&Options::default()).unwrap();
        let lines = describe(&config, &figment).unwrap();
        assert!(
            lines.contains("history_max_size = \"5GB\"  # default"),
            "{lines}"
        );
    }

    #[test]
    fn budget_is_a_share_of_a_core_or_none() {
        for wrong in ["5", "0%", "-1%", "inf%", "NaN%", "%"] {
            check_error(&format!("max_cpu = \"{wrong}\""), "as 5%, or off");
        }
        for (text, cores) in [("5%", 0.05), ("250 %", 2.5), ("off", f64::INFINITY)] {
            assert_eq!(Share::parse(text).map(Share::cores), Some(cores), "{text}");
        }
        let (config, figment) = load(&Options::default()).unwrap();
        let lines = describe(&config, &figment).unwrap();
        assert!(lines.contains("max_cpu = \"5%\"  # default"), "{lines}");
    }

    #[test]
    fn less_than_a_day_of_history_is_refused() {
        check_error("keep_minutes = \"1h\"", "24h that are always kept");
    }

    #[test]
    fn option_wins_over_the_file_and_the_file_over_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("modeltap.toml");
        fs::write(&file, "listen = \"127.0.0.1:1\"\nring_bytes = 131072\n").unwrap();
        let options = Options {
            config: Some(file),
            listen: Some("127.0.0.1:2".parse().unwrap()),
            ..Options::default()
        };
        let (config, figment) = load(&options).unwrap();
        assert_eq!(config.listen.port(), 2);
        assert_eq!(config.ring_bytes, 131_072);
        assert_eq!(config.keep_seconds, Config::default().keep_seconds);
        let lines = describe(&config, &figment).unwrap();
        assert!(
            lines.contains("listen = \"127.0.0.1:2\"  # option"),
            "{lines}"
        );
        assert!(lines.contains("modeltap.toml"), "{lines}");
        assert!(lines.contains("log = \"info\"  # default"), "{lines}");
    }
}
