//! Series of what containers used, on the steps of the requests' series.

use duckdb::{Connection, params_from_iter};

use crate::plan::Plan;
use crate::query::{
    GroupBy, MAX_SERIES, Query, QueryError, QueryResult, QuerySeries, Range, Stat, Unit,
};
use crate::scan::{Filter, step_sql, widen};
use crate::schema::RESOURCE_TIERS;

/// What is told of containers' resources. A service's figure is the sum over
/// its containers, but for shares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceMetric {
    /// Cores used.
    CpuCores,
    /// Cores that may be used; nothing where a container has no quota.
    CpuLimitCores,
    /// Share of the enforcement periods that were throttled, 0 to 1.
    ThrottledShare,
    /// Working set.
    MemoryBytes,
    /// Memory that may be used; nothing where a container has no limit.
    MemoryLimitBytes,
    /// Processes killed for want of memory.
    OomKills,
    /// Bytes received.
    NetworkReceiveBytes,
    /// Bytes sent.
    NetworkSendBytes,
    /// Bytes read from block devices.
    BlockReadBytes,
    /// Bytes written to block devices.
    BlockWriteBytes,
    /// Tasks.
    NPids,
    /// Share of time some task waited for a processor, 0 to 1.
    PressureCpu,
    /// The same for memory.
    PressureMemory,
    /// The same for a disk.
    PressureIo,
    /// GPUs' worth of utilisation: 0 to 1 a GPU.
    GpuUtilization,
    /// GPU memory held.
    GpuMemoryBytes,
}

/// How a metric is made from the columns.
struct Recipe {
    /// Of one container in one step.
    avg: Option<&'static str>,
    /// Of one container in one window.
    level: Option<&'static str>,
    /// What containers are to each other.
    over_containers: &'static str,
    /// A count in a step.
    count: Option<&'static str>,
}

impl ResourceMetric {
    /// Every metric.
    pub const ALL: [Self; 16] = [
        Self::CpuCores,
        Self::CpuLimitCores,
        Self::ThrottledShare,
        Self::MemoryBytes,
        Self::MemoryLimitBytes,
        Self::OomKills,
        Self::NetworkReceiveBytes,
        Self::NetworkSendBytes,
        Self::BlockReadBytes,
        Self::BlockWriteBytes,
        Self::NPids,
        Self::PressureCpu,
        Self::PressureMemory,
        Self::PressureIo,
        Self::GpuUtilization,
        Self::GpuMemoryBytes,
    ];

    /// The name in queries.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CpuCores => "cpu_cores",
            Self::CpuLimitCores => "cpu_limit_cores",
            Self::ThrottledShare => "throttled_share",
            Self::MemoryBytes => "memory_bytes",
            Self::MemoryLimitBytes => "memory_limit_bytes",
            Self::OomKills => "oom_kills",
            Self::NetworkReceiveBytes => "network_receive_bytes",
            Self::NetworkSendBytes => "network_send_bytes",
            Self::BlockReadBytes => "block_read_bytes",
            Self::BlockWriteBytes => "block_write_bytes",
            Self::NPids => "n_pids",
            Self::PressureCpu => "pressure_cpu",
            Self::PressureMemory => "pressure_memory",
            Self::PressureIo => "pressure_io",
            Self::GpuUtilization => "gpu_utilization",
            Self::GpuMemoryBytes => "gpu_memory_bytes",
        }
    }

    /// The metric of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.as_str() == name)
    }

    /// The stat that is meant where none is named.
    #[must_use]
    pub fn default_stat(self) -> Stat {
        match self {
            Self::OomKills => Stat::Count,
            Self::NPids | Self::GpuMemoryBytes => Stat::Max,
            _ if self.recipe().count.is_some() => Stat::Rate,
            _ => Stat::Avg,
        }
    }

    /// The stats it has, for whoever asked for another.
    #[must_use]
    pub fn stats(self) -> &'static str {
        let recipe = self.recipe();
        match (recipe.count, recipe.avg, recipe.level) {
            (Some(_), _, _) => "rate or count",
            (None, Some(_), _) => "avg or max",
            (None, None, _) => "max",
        }
    }

    /// Whether that stat says something of it.
    #[must_use]
    pub fn has(self, stat: Stat) -> bool {
        let recipe = self.recipe();
        match stat {
            Stat::Rate | Stat::Count => recipe.count.is_some(),
            Stat::Avg => recipe.avg.is_some(),
            Stat::Max => recipe.level.is_some(),
            Stat::Quantile(_) => false,
        }
    }

    pub(crate) fn unit(self, stat: Stat) -> Unit {
        let is_bytes = self.as_str().ends_with("_bytes");
        match (stat, is_bytes) {
            (Stat::Rate, true) => Unit::BytesPerSecond,
            (Stat::Rate, false) => Unit::PerSecond,
            (_, true) => Unit::Bytes,
            (_, false) => Unit::One,
        }
    }

    /// Whether a question about it makes sense.
    pub(crate) fn check(self, query: &Query) -> Result<(), QueryError> {
        let name = self.as_str();
        if !self.has(query.stat) {
            let text = format!("{name} has the stats {}", self.stats());
            return Err(QueryError::Invalid(text));
        }
        let is_of_requests = query.route.is_some()
            || query.method.is_some()
            || query.status_class.is_some()
            || !matches!(query.by, None | Some(GroupBy::Service | GroupBy::Container));
        if is_of_requests {
            let text = format!(
                "{name} is told of containers: filter by service or container, not by route, \
                 method or status_class"
            );
            return Err(QueryError::Invalid(text));
        }
        Ok(())
    }

    fn recipe(self) -> Recipe {
        let mean_and_level = |avg, level| Recipe {
            avg: Some(avg),
            level: Some(level),
            over_containers: "sum(value)",
            count: None,
        };
        let highest = |level| Recipe {
            avg: None,
            level: Some(level),
            over_containers: "sum(value)",
            count: None,
        };
        let share = |avg| Recipe {
            avg: Some(avg),
            level: Some(avg),
            over_containers: "max(value)",
            count: None,
        };
        // Of a sum, no part may be missing.
        let limit = |avg| Recipe {
            over_containers: "CASE WHEN count(*) = count(value) THEN sum(value) END",
            ..mean_and_level(avg, avg)
        };
        let count = |count| Recipe {
            avg: None,
            level: None,
            over_containers: "sum(value)",
            count: Some(count),
        };
        const CORES: &str = "sum(cpu_ns)::DOUBLE / nullif(sum(n_seconds), 0) / 1e9";
        match self {
            Self::CpuCores => mean_and_level(CORES, CORES),
            Self::CpuLimitCores => limit("avg(cpu_limit_cores)"),
            Self::ThrottledShare => {
                share("sum(n_throttled)::DOUBLE / nullif(sum(n_periods), 0)::DOUBLE")
            }
            Self::MemoryBytes => mean_and_level(
                "sum(memory_sum_bytes)::DOUBLE / nullif(sum(n_seconds), 0)",
                "max(memory_max_bytes)::DOUBLE",
            ),
            Self::MemoryLimitBytes => limit("avg(memory_limit_bytes)"),
            Self::OomKills => count("sum(n_oom_kills)::DOUBLE"),
            Self::NetworkReceiveBytes => count("sum(received_bytes)::DOUBLE"),
            Self::NetworkSendBytes => count("sum(sent_bytes)::DOUBLE"),
            Self::BlockReadBytes => count("sum(read_bytes)::DOUBLE"),
            Self::BlockWriteBytes => count("sum(written_bytes)::DOUBLE"),
            Self::NPids => highest("max(n_pids_max)::DOUBLE"),
            Self::PressureCpu => {
                share("sum(pressure_cpu_us)::DOUBLE / nullif(sum(n_seconds), 0) / 1e6")
            }
            Self::PressureMemory => {
                share("sum(pressure_memory_us)::DOUBLE / nullif(sum(n_seconds), 0) / 1e6")
            }
            Self::PressureIo => {
                share("sum(pressure_io_us)::DOUBLE / nullif(sum(n_seconds), 0) / 1e6")
            }
            Self::GpuUtilization => {
                const SHARE: &str = "sum(gpu_utilization_sum) / nullif(sum(n_seconds), 0)";
                mean_and_level(SHARE, SHARE)
            }
            Self::GpuMemoryBytes => highest("max(gpu_memory_max_bytes)::DOUBLE"),
        }
    }
}

/// Answers a question about `metric`, which [`ResourceMetric::check`] found to
/// make sense.
pub(crate) fn answer(
    connection: &Connection,
    query: &Query,
    metric: ResourceMetric,
    range: Range,
) -> Result<QueryResult, QueryError> {
    let filter = Filter::new(query);
    let range = widen(connection, &filter, &RESOURCE_TIERS, range)?;
    let sql = sql(&filter, metric, query.stat, range);
    let scale = match query.stat {
        Stat::Rate => 1.0 / range.step as f64,
        _ => 1.0,
    };
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query(params_from_iter(filter.parameters(range)))?;
    let mut series: Vec<QuerySeries> = Vec::new();
    let mut n_series_left_out = 0;
    while let Some(row) = rows.next()? {
        // Rows come by series, the largest first.
        let name: String = row.get(0)?;
        let step: i64 = row.get(1)?;
        let value: Option<f64> = row.get(2)?;
        if series.last().is_none_or(|last| last.name != name) {
            if series.len() == MAX_SERIES {
                n_series_left_out = row.get::<_, usize>(3)? - MAX_SERIES;
                break;
            }
            series.extend(QuerySeries::empty(&[name], range));
        }
        let values = series.last_mut().map(|series| &mut series.values);
        let slot = usize::try_from(step)
            .ok()
            .and_then(|step| values?.get_mut(step));
        if let Some(slot) = slot {
            *slot = value.map(|value| value * scale);
        }
    }
    Ok(QueryResult {
        n_series_left_out,
        ..QueryResult::of(query, range, series)
    })
}

/// Series, step and value of each, and how many series there are.
fn sql(filter: &Filter, metric: ResourceMetric, stat: Stat, range: Range) -> String {
    let recipe = metric.recipe();
    let over = recipe.over_containers;
    let source = filter.source(
        &Plan::of_tiers(&RESOURCE_TIERS, range),
        &format!("{} AS step, {} AS name, *", step_sql(range), filter.name),
    );
    let never = "NULL::DOUBLE";
    let by_step = match stat {
        // A level of several containers is their sum at one time.
        Stat::Max => format!(
            "SELECT name, step, max(value) AS value FROM (SELECT name, step, start, {over} AS \
             value FROM (SELECT name, step, start, container, {} AS value FROM ({source}) \
             GROUP BY ALL) GROUP BY name, step, start) GROUP BY name, step",
            recipe.level.unwrap_or(never),
        ),
        _ => format!(
            "SELECT name, step, {over} AS value FROM (SELECT name, step, container, {} AS value \
             FROM ({source}) GROUP BY name, step, container) GROUP BY name, step",
            recipe.avg.or(recipe.count).unwrap_or(never),
        ),
    };
    format!(
        "SELECT name, step, value, count(DISTINCT name) OVER ()::UBIGINT FROM \
         (SELECT *, sum(value) OVER (PARTITION BY name) AS total FROM ({by_step})) \
         ORDER BY coalesce(total, 0) DESC, name, step"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_default_stat_and_comes_back_by_name() {
        for metric in ResourceMetric::ALL {
            assert!(metric.has(metric.default_stat()), "{metric:?}");
            assert!(!metric.has(Stat::Quantile(0.5)), "{metric:?}");
            assert_eq!(ResourceMetric::parse(metric.as_str()), Some(metric));
        }
        assert_eq!(ResourceMetric::parse("cpu"), None);
    }
}
