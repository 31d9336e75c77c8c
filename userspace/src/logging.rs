//! The log: to standard error, as text or JSON.

use std::io;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat, unknown_variables};

/// Starts logging.
///
/// # Errors
/// The filter has no meaning.
pub fn start(config: &Config) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&config.log)
        .with_context(|| format!("log is no level and no filter: {:?}", config.log))?;
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
