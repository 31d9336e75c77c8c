//! The log: to standard error, as text or JSON.

use std::io;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat, unknown_variables};

/// The crate that talks to Docker.
const DOCKER_CLIENT: &str = "bollard";

/// Starts logging.
///
/// # Errors
/// The filter has no meaning.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let filter = filter(&config.log)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    match config.log_format {
        LogFormat::Text => builder.with_target(false).init(),
        LogFormat::Json => builder.json().init(),
    }
    for variable in unknown_variables() {
        tracing::warn!(
            variable,
            "the environment holds a MODELTAP_ variable that has no meaning"
        );
    }
    Ok(())
}

/// What is asked for, but for what Docker's client tells of its answers: they
/// hold the containers' environments, and those hold secrets.
fn filter(asked: &str) -> anyhow::Result<EnvFilter> {
    let is_allowed = |directive: &&str| !directive.trim_start().starts_with(DOCKER_CLIENT);
    let allowed: Vec<&str> = asked.split(',').filter(is_allowed).collect();
    let filter = EnvFilter::try_new(allowed.join(","))
        .with_context(|| format!("log is no level and no filter: {asked:?}"))?;
    let quiet = format!("{DOCKER_CLIENT}=info").parse();
    Ok(filter.add_directive(quiet.expect("a target and a level")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_dockers_are_not_logged_whatever_is_asked_for() {
        for (asked, kept) in [
            ("trace", "bollard=info,trace"),
            ("info,bollard=trace", "bollard=info,info"),
            ("info, bollard::docker=debug", "bollard=info,info"),
            ("modeltap=debug,warn", "modeltap=debug,bollard=info,warn"),
        ] {
            let mut kept: Vec<_> = kept.split(',').collect();
            kept.sort_unstable();
            let text = filter(asked).unwrap().to_string();
            let mut found: Vec<_> = text.split(',').collect();
            found.sort_unstable();
            assert_eq!(found, kept, "{asked}");
        }
        assert!(filter("a=b=c").is_err());
    }
}
