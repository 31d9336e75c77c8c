//! Alerts and their deliveries, in the transaction of their batch.

use duckdb::Connection;
use modeltap_core::alert::{Alert, Delivery};

/// Writes what changed of alerts, and the attempts to tell of them.
pub(crate) fn write(
    _transaction: &Connection,
    _alerts: &[Alert],
    _deliveries: &[Delivery],
) -> duckdb::Result<()> {
    Ok(())
}
