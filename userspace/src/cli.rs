//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use crate::config::LogFormat;

/// Watches model APIs in containers from the kernel, without touching them.
///
/// Every option is also a key of modeltap.toml and a MODELTAP_* variable:
/// defaults < file < variables < options. Secrets come from the environment
/// only: MODELTAP_TOKEN protects the API; alerts are sent by
/// MODELTAP_WEBHOOK_URL (and MODELTAP_WEBHOOK_TOKEN),
/// MODELTAP_SLACK_WEBHOOK_URL, MODELTAP_PAGERDUTY_ROUTING_KEY (and
/// MODELTAP_PAGERDUTY_URL), MODELTAP_SMTP_URL with MODELTAP_EMAIL_FROM and
/// MODELTAP_EMAIL_TO, MODELTAP_ALERTMANAGER_URL. Each may end in _FILE and
/// then names a file that holds the value.
#[derive(Debug, Parser)]
#[command(name = "modeltap", version, about, long_about)]
pub struct Cli {
    /// What to do; `run` if nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Options of every command.
    #[command(flatten)]
    pub(crate) options: Options,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this host's containers and serve the dashboard (the default).
    Run,
    /// Watch as `run` does and write what the probes report to FILE as well.
    Record {
        /// The recording (.mtap); must not exist.
        file: PathBuf,
    },
    /// Serve the dashboard for a recording: no root, no kernel, no Docker.
    Replay {
        /// A recording made by `record`.
        file: PathBuf,
    },
    /// Prove on this host that what is shown is exact: sends a known load to a
    /// server of its own in an observed cgroup and compares every request.
    ///
    /// Needs root. Ends with 0 only if counts, statuses, outcomes and times of
    /// all requests are exact. Runs beside a daemon and leaves nothing behind.
    Verify {
        /// Requests to send, about
        #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
        requests: u32,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the effective configuration and where each value came from.
    Config,
    /// The server that `verify` observes.
    #[command(hide = true)]
    VerifyServer,
    /// The process that looks at others' processes for the daemon.
    #[command(hide = true)]
    Clerk,
    /// Open the history and exit: a damaged file may end the process, so the
    /// daemon tries it in a child first.
    #[command(hide = true)]
    ProbeStore {
        /// The database file.
        file: PathBuf,
    },
}

/// Options; each has a key and a variable of the same name.
#[derive(Debug, Default, Args, Serialize)]
pub(crate) struct Options {
    /// Configuration file [default: /etc/modeltap/modeltap.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", env = "MODELTAP_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Address of the dashboard and the API [default: 127.0.0.1:7979]
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Folder of the history [default: /var/lib/modeltap]
    #[arg(long, global = true, value_name = "DIR")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<PathBuf>,
    /// Docker's address [default: DOCKER_HOST, else unix:///var/run/docker.sock]
    #[arg(long, global = true, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_host: Option<String>,
    /// Write the bound address to this file once the API answers
    #[arg(long, global = true, value_name = "FILE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_file: Option<PathBuf>,
    /// Host names, beside IP addresses and localhost, under which the API may
    /// be asked for
    #[arg(long, global = true, value_name = "NAME", value_delimiter = ',')]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_hosts: Option<Vec<String>>,
    /// Where people reach the dashboard, for links in notifications
    #[arg(long, global = true, value_name = "URL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Size of the kernel's ring buffer in bytes [default: 8388608]
    #[arg(long, global = true, value_name = "BYTES")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ring_bytes: Option<u32>,
    /// Most that the daemon and its probes may cost, as a share of one core;
    /// over it, less is captured while counts stay exact: 5% or off
    /// [default: 5%]
    #[arg(long, global = true, value_name = "PERCENT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cpu: Option<String>,
    /// What may be read of every container's bodies: model, usage or
    /// model,usage; a container's label modeltap.inspect allows its own
    /// [default: nothing]
    #[arg(long, global = true, value_name = "FIELDS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inspect: Option<String>,
    /// How long history is kept by the second [default: 6h]
    #[arg(long, global = true, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_seconds: Option<String>,
    /// How long history is kept by ten seconds [default: 48h]
    #[arg(long, global = true, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_ten_seconds: Option<String>,
    /// How long history is kept by the minute [default: 30days]
    #[arg(long, global = true, value_name = "DURATION")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_minutes: Option<String>,
    /// Most room history may take on the disk; the oldest makes way, the last
    /// day only when there is no other way [default: 5GB]
    #[arg(long, global = true, value_name = "SIZE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_max_size: Option<String>,
    /// What is logged: error, warn, info, debug, trace or a filter [default: info]
    #[arg(long, global = true, value_name = "FILTER")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// How it is logged: text or json [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_format: Option<LogFormat>,
}
