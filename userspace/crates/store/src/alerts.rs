//! Alerts and their deliveries, in the transaction of their batch; rules and
//! silences, each in one of its own that whoever edits waits for.

use std::sync::Arc;
use std::time::Duration;

use duckdb::types::Value;
use duckdb::{Connection, Row, params, params_from_iter};
use modeltap_core::alert::{
    Alert, AlertMetric, AlertRule, AlertState, Comparison, Condition, Delivery, RuleOrigin,
    Severity, Silence,
};
use modeltap_core::time::UnixNs;
use thiserror::Error;

use crate::query::QueryError;
use crate::reader::Reader;
use crate::rows::micros;

/// How long alerts that are over, deliveries and silences are kept.
const KEPT: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// Most alerts and deliveries given at once.
pub const MAX_ALERTS: usize = 10_000;

/// A change of what was made by hand.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// A rule that is new or takes the place of the one with its id.
    SaveRule(AlertRule),
    /// No rule has this id any longer.
    DeleteRule(Arc<str>),
    /// A silence, likewise.
    SaveSilence(Silence),
    /// No silence has this id any longer.
    DeleteSilence(Arc<str>),
}

/// Why an edit was not kept.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum EditError {
    /// The queue to the writing thread is full, or the thread ends.
    #[error("history takes no changes at the moment")]
    Busy,
    /// The database refuses.
    #[error("history cannot be written: {0}")]
    Refused(String),
}

/// Called on the writing thread once an edit is committed or refused.
pub type Edited = Box<dyn FnOnce(Result<(), EditError>) + Send>;

/// Which alerts are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertQuery {
    /// Only of this service.
    pub service: Option<String>,
    /// Only of the rule with this id.
    pub rule: Option<String>,
    /// Only in this state.
    pub state: Option<AlertState>,
    /// Over at this time or later, or not over.
    pub from: UnixNs,
    /// Since before this time.
    pub to: UnixNs,
    /// The newest so many; [`MAX_ALERTS`] at most.
    pub limit: usize,
}

impl Default for AlertQuery {
    fn default() -> Self {
        Self {
            service: None,
            rule: None,
            state: None,
            from: UnixNs(0),
            to: UnixNs(u64::MAX),
            limit: MAX_ALERTS,
        }
    }
}

/// Writes what changed of alerts, and the attempts to tell of them.
pub(crate) fn write(
    transaction: &Connection,
    alerts: &[Alert],
    deliveries: &[Delivery],
) -> duckdb::Result<()> {
    for alert in alerts {
        // No primary key: DuckDB refuses to delete and insert the same key in
        // one transaction.
        transaction.execute("DELETE FROM alerts WHERE id = ?", [&*alert.id])?;
        let old = micros(alert.since) - age();
        transaction.execute(
            "DELETE FROM alerts WHERE resolved < make_timestamp(?)",
            [old],
        )?;
        if alert.state == AlertState::Pending && alert.resolved.is_some() {
            // It never fired, and nobody asks for it again.
            continue;
        }
        transaction.execute(
            "INSERT INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, make_timestamp(?), \
             make_timestamp(?), make_timestamp(?), ?)",
            params![
                &*alert.id,
                &*alert.rule,
                alert.rule_name,
                &*alert.service,
                alert.metric.as_str(),
                alert.severity.as_str(),
                alert.state.as_str(),
                alert.value,
                alert.threshold,
                alert.summary,
                micros(alert.since),
                alert.fired.map(micros),
                alert.resolved.map(micros),
                alert.silenced_by.as_deref(),
            ],
        )?;
    }
    if let Some(newest) = deliveries.iter().map(|delivery| micros(delivery.at)).max() {
        let sql = "DELETE FROM deliveries WHERE told < make_timestamp(?)";
        transaction.execute(sql, [newest - age()])?;
    }
    for delivery in deliveries {
        transaction.execute(
            "INSERT INTO deliveries VALUES (make_timestamp(?), ?, ?, ?, ?, ?, ?)",
            params![
                micros(delivery.at),
                &*delivery.notifier,
                &*delivery.alert,
                delivery.state.as_str(),
                delivery.n_attempts,
                delivery.error,
                delivery.will_retry,
            ],
        )?;
    }
    Ok(())
}

/// Makes a change, whole or not at all.
pub(crate) fn edit(connection: &mut Connection, edit: &Edit) -> duckdb::Result<()> {
    let transaction = connection.transaction()?;
    match edit {
        Edit::SaveRule(rule) => {
            transaction.execute("DELETE FROM alert_rules WHERE id = ?", [&*rule.id])?;
            insert_rule(&transaction, rule)?;
        }
        Edit::DeleteRule(id) => {
            transaction.execute("DELETE FROM alert_rules WHERE id = ?", [&**id])?;
        }
        Edit::SaveSilence(silence) => {
            let sql = "DELETE FROM silences WHERE id = ? OR ends < make_timestamp(?)";
            transaction.execute(sql, params![&*silence.id, micros(silence.from) - age()])?;
            transaction.execute(
                "INSERT INTO silences VALUES (?, ?, ?, make_timestamp(?), make_timestamp(?), ?)",
                params![
                    &*silence.id,
                    silence.service.as_deref(),
                    silence.rule.as_deref(),
                    micros(silence.from),
                    micros(silence.until),
                    silence.comment,
                ],
            )?;
        }
        Edit::DeleteSilence(id) => {
            transaction.execute("DELETE FROM silences WHERE id = ?", [&**id])?;
        }
    }
    transaction.commit()
}

fn insert_rule(transaction: &Connection, rule: &AlertRule) -> duckdb::Result<()> {
    let mut numbers = Numbers::default();
    let condition = match rule.condition {
        Condition::Threshold {
            comparison,
            threshold,
            clear,
        } => {
            numbers.threshold = Some(threshold);
            numbers.clear = clear;
            match comparison {
                Comparison::Above => "above",
                Comparison::Below => "below",
            }
        }
        Condition::AgainstPast {
            factor,
            past,
            floor,
        } => {
            numbers.factor = Some(factor);
            numbers.lowest = Some(floor);
            numbers.past_s = Some(past.as_secs());
            "against_past"
        }
        Condition::NoTraffic { past } => {
            numbers.past_s = Some(past.as_secs());
            "no_traffic"
        }
        Condition::Anomaly { deviations } => {
            numbers.deviations = Some(deviations);
            "anomaly"
        }
    };
    transaction.execute(
        "INSERT INTO alert_rules VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        params![
            &*rule.id,
            rule.name,
            rule.origin.as_str(),
            rule.enabled,
            rule.service.as_deref(),
            rule.metric.as_str(),
            condition,
            numbers.threshold,
            numbers.clear,
            numbers.factor,
            numbers.lowest,
            numbers.deviations,
            numbers.past_s,
            rule.window.as_secs(),
            rule.hold.as_secs(),
            rule.keep.as_secs(),
            rule.min_requests,
            rule.severity.as_str(),
        ],
    )?;
    Ok(())
}

/// The numbers of a condition; those it does not have are `None`.
#[derive(Default)]
struct Numbers {
    threshold: Option<f64>,
    clear: Option<f64>,
    factor: Option<f64>,
    lowest: Option<f64>,
    deviations: Option<f64>,
    past_s: Option<u64>,
}

impl Reader {
    /// Rules that were made or changed by hand, by id. One that this program
    /// does not understand is left out.
    ///
    /// # Errors
    /// The database cannot be read now.
    pub fn alert_rules(&self) -> Result<Vec<AlertRule>, QueryError> {
        self.rows("SELECT * FROM alert_rules ORDER BY id", &[], rule)
    }

    /// Silences that do not end before `now`, the next to end first.
    ///
    /// # Errors
    /// The database cannot be read now.
    pub fn silences(&self, now: UnixNs) -> Result<Vec<Silence>, QueryError> {
        let sql = "SELECT id, service, rule, epoch_us(begins), epoch_us(ends), comment \
                   FROM silences WHERE ends > make_timestamp($1) ORDER BY ends, id";
        self.rows(sql, &[Value::BigInt(micros(now))], silence)
    }

    /// Alerts that fired, and those that were pending in the last second, newest
    /// first.
    ///
    /// # Errors
    /// The database cannot be read now.
    pub fn alerts(&self, query: &AlertQuery) -> Result<Vec<Alert>, QueryError> {
        let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
        let state = query.state.map(|state| state.as_str().to_owned());
        let values = [
            Value::BigInt(micros(query.from)),
            Value::BigInt(micros(query.to)),
            text(&query.service),
            text(&query.rule),
            text(&state),
        ];
        let sql = format!(
            "SELECT id, rule, rule_name, service, metric, severity, state, value, threshold, \
             summary, epoch_us(since), epoch_us(fired), epoch_us(resolved), silenced_by FROM alerts \
             WHERE (resolved IS NULL OR resolved >= make_timestamp($1)) \
             AND since < make_timestamp($2) AND ($3 IS NULL OR service = $3) \
             AND ($4 IS NULL OR rule = $4) AND ($5 IS NULL OR state = $5) \
             ORDER BY since DESC, id LIMIT {}",
            query.limit.min(MAX_ALERTS)
        );
        self.rows(&sql, &values, alert)
    }

    /// The last deliveries, newest first.
    ///
    /// # Errors
    /// The database cannot be read now.
    pub fn deliveries(&self, limit: usize) -> Result<Vec<Delivery>, QueryError> {
        let sql = format!(
            "SELECT epoch_us(told), notifier, alert, state, n_attempts, error, will_retry \
             FROM deliveries ORDER BY told DESC, notifier, alert LIMIT {}",
            limit.min(MAX_ALERTS)
        );
        self.rows(&sql, &[], delivery)
    }

    /// What `read` makes of each row; those of which it makes nothing were
    /// written by a later program.
    fn rows<T>(
        &self,
        sql: &str,
        values: &[Value],
        read: impl Fn(&Row<'_>) -> duckdb::Result<Option<T>>,
    ) -> Result<Vec<T>, QueryError> {
        let connection = self.shared.readers.take()?;
        let mut statement = connection.prepare(sql)?;
        let found = statement.query_map(params_from_iter(values), |row| read(row))?;
        let mut all = Vec::new();
        for row in found {
            all.extend(row?);
        }
        Ok(all)
    }
}

fn rule(row: &Row<'_>) -> duckdb::Result<Option<AlertRule>> {
    let seconds = |at: usize| row.get(at).map(Duration::from_secs);
    let number = |at: usize| row.get::<_, Option<f64>>(at);
    let past = row.get::<_, Option<u64>>(12)?.map(Duration::from_secs);
    let (threshold, clear) = (number(7)?, number(8)?);
    let beyond = |comparison| {
        Some(Condition::Threshold {
            comparison,
            threshold: threshold?,
            clear,
        })
    };
    let condition = match row.get::<_, String>(6)?.as_str() {
        "above" => beyond(Comparison::Above),
        "below" => beyond(Comparison::Below),
        "against_past" => number(9)?.zip(past).zip(number(10)?).map(|found| {
            let ((factor, past), floor) = found;
            Condition::AgainstPast {
                factor,
                past,
                floor,
            }
        }),
        "no_traffic" => past.map(|past| Condition::NoTraffic { past }),
        "anomaly" => number(11)?.map(|deviations| Condition::Anomaly { deviations }),
        _ => None,
    };
    let metric = AlertMetric::parse(&row.get::<_, String>(5)?);
    let origin = RuleOrigin::parse(&row.get::<_, String>(2)?);
    let severity = Severity::parse(&row.get::<_, String>(17)?);
    let (Some(condition), Some(metric), Some(origin), Some(severity)) =
        (condition, metric, origin, severity)
    else {
        return Ok(None);
    };
    Ok(Some(AlertRule {
        id: shared(row, 0)?,
        name: row.get(1)?,
        origin,
        enabled: row.get(3)?,
        service: row.get::<_, Option<String>>(4)?.map(Into::into),
        metric,
        condition,
        window: seconds(13)?,
        hold: seconds(14)?,
        keep: seconds(15)?,
        min_requests: row.get(16)?,
        severity,
    }))
}

fn silence(row: &Row<'_>) -> duckdb::Result<Option<Silence>> {
    Ok(Some(Silence {
        id: shared(row, 0)?,
        service: row.get::<_, Option<String>>(1)?.map(Into::into),
        rule: row.get::<_, Option<String>>(2)?.map(Into::into),
        from: time(row.get(3)?),
        until: time(row.get(4)?),
        comment: row.get(5)?,
    }))
}

fn alert(row: &Row<'_>) -> duckdb::Result<Option<Alert>> {
    let metric = AlertMetric::parse(&row.get::<_, String>(4)?);
    let severity = Severity::parse(&row.get::<_, String>(5)?);
    let state = AlertState::parse(&row.get::<_, String>(6)?);
    let (Some(metric), Some(severity), Some(state)) = (metric, severity, state) else {
        return Ok(None);
    };
    let maybe = |at: usize| Ok::<_, duckdb::Error>(row.get::<_, Option<i64>>(at)?.map(time));
    Ok(Some(Alert {
        id: shared(row, 0)?,
        rule: shared(row, 1)?,
        rule_name: row.get(2)?,
        service: shared(row, 3)?,
        metric,
        severity,
        state,
        value: row.get(7)?,
        threshold: row.get(8)?,
        summary: row.get(9)?,
        since: time(row.get(10)?),
        fired: maybe(11)?,
        resolved: maybe(12)?,
        silenced_by: row.get::<_, Option<String>>(13)?.map(Into::into),
    }))
}

fn delivery(row: &Row<'_>) -> duckdb::Result<Option<Delivery>> {
    let Some(state) = AlertState::parse(&row.get::<_, String>(3)?) else {
        return Ok(None);
    };
    Ok(Some(Delivery {
        at: time(row.get(0)?),
        notifier: shared(row, 1)?,
        alert: shared(row, 2)?,
        state,
        n_attempts: row.get(4)?,
        error: row.get(5)?,
        will_retry: row.get(6)?,
    }))
}

fn shared(row: &Row<'_>, at: usize) -> duckdb::Result<Arc<str>> {
    Ok(row.get::<_, String>(at)?.into())
}

fn time(micros: i64) -> UnixNs {
    UnixNs(u64::try_from(micros).unwrap_or(0).saturating_mul(1_000))
}

fn age() -> i64 {
    i64::try_from(KEPT.as_micros()).unwrap_or(i64::MAX)
}
