//! The only translation between the daemon's types and the wire's.

pub(crate) mod alert;
pub mod history;
mod resource;
pub mod why;

use std::time::Duration;

use modeltap_api_types as wire;
use modeltap_core::accounting::{CaptureAccount, RequestCounts};
use modeltap_core::connection::Transport;
use modeltap_core::container::DockerState;
use modeltap_core::record::{Completeness, Method, RequestRecord, StreamFigures};
use modeltap_metrics::{
    FinishedRequest, InnerSnapshot, LiveSnapshot, RouteSnapshot, SecondFigures, ServiceSnapshot,
    SessionSnapshot, StreamWindow, TimeParts, WindowFigures,
};

use modeltap_store::{Metric, Query, QueryResult, QuerySeries, Stat};

use crate::state::{Confinement, DaemonState, Spending};

/// Share of failed requests from which a service is critical.
const CRITICAL_ERROR_RATE: f64 = 0.05;
/// Share of failed requests from which a service is in warning.
const WARNING_ERROR_RATE: f64 = 0.01;

/// Totals of a service are told in full or left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Totals {
    /// Told.
    Included,
    /// Left out, as in live messages.
    Omitted,
}

/// The daemon's state, with the accounts of `services`.
pub fn status(state: &DaemonState, services: &[ServiceSnapshot]) -> wire::Status {
    let counts = &state.accounting;
    let (docker, reason) = match &state.docker {
        DockerState::Connecting => (wire::DockerState::Connecting, None),
        DockerState::Connected => (wire::DockerState::Connected, None),
        DockerState::Unreachable { reason } => {
            (wire::DockerState::Unreachable, Some(reason.clone()))
        }
    };
    wire::Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: state.kernel.clone(),
        host: wire::HostStatus {
            system: state.host.system.clone(),
            architecture: state.host.architecture.clone(),
            n_cpus: state.host.n_cpus,
            memory_bytes: state.host.memory_bytes,
            cgroups: state.host.cgroups.clone(),
        },
        started_unix_ms: state.started.millis(),
        uptime_seconds: state.at.0.saturating_sub(state.started.0) as f64 / 1e9,
        probes: wire::ProbesStatus {
            attached: state.n_programs.is_some_and(|n| n > 0),
            n_programs: state.n_programs.unwrap_or(0),
            n_connections: state.n_connections,
            programs: Vec::new(),
            untold: (state.untold.iter())
                .map(|(what, because)| wire::Untold {
                    what: (*what).to_owned(),
                    because: because.clone(),
                })
                .collect(),
        },
        capture: wire::CaptureStatus {
            events_observed: counts.events_observed,
            events_captured: counts.events_captured(),
            events_lost: counts.events_lost,
            events_dropped: counts.events_dropped,
            events_undecoded: counts.events_undecoded,
            events_left_out: counts.events_left_out,
            bytes_observed: counts.bytes_observed,
            bytes_parsed: counts.bytes_parsed,
            bytes_skipped: counts.bytes_skipped,
            bytes_truncated: counts.bytes_truncated,
            bytes_lost: counts.bytes_lost,
            bytes_dropped: counts.bytes_dropped,
            bytes_left_out: counts.bytes_left_out,
            connections_untracked: counts.connections_untracked,
            probe_runs_skipped: counts.probe_runs_skipped,
            requests_complete: counts.requests_complete,
            requests_incomplete: counts.requests_incomplete,
        },
        store: wire::StoreStatus {
            ok: state.store.error.is_none(),
            error: state.store.error.clone(),
            path: state.store.path.display().to_string(),
            size_bytes: state.store.size_bytes,
            rollups_written: state.store.written.rollups,
            rollups_dropped: state.store.dropped.rollups,
            write_failures: state.store.write_failures,
            notice: state.store.notice.clone(),
            used_bytes: state.store.used_bytes,
            n_reclaimed: state.store.n_reclaimed,
            given_up_before_unix_ms: state.store.given_up_before.map(|at| at.millis()),
            rows_written: history::rows(&state.store.written),
            rows_dropped: history::rows(&state.store.dropped),
            rows_waiting: state.store.n_waiting,
            waiting_seconds: state.store.waiting_for.as_secs_f64(),
            rows_lost_by_disk: state.store.n_lost_by_disk,
            rows_written_again: state.store.n_written_again,
        },
        docker: wire::DockerStatus {
            state: docker,
            reason,
            n_containers: state.n_containers,
            n_excluded: state.n_excluded,
            version: Some(state.engine.clone()).filter(|version| !version.is_empty()),
        },
        process: wire::ProcessStatus {
            cpu_cores: state.cpu_cores,
            memory_bytes: state.memory_bytes,
        },
        confinement: state.confinement.as_ref().map(confinement),
        budget: state.spending.as_ref().map(budget),
        api: wire::ApiStatus::default(),
        services: services.iter().map(accounting).collect(),
    }
}

/// What each program cost, for those who ask for it.
pub fn programs(state: &DaemonState) -> Vec<wire::ProgramStatus> {
    let programs = state.programs.iter();
    programs
        .map(|program| wire::ProgramStatus {
            name: program.name.clone(),
            n_runs: program.n_runs,
            run_seconds: program.run_time.as_secs_f64(),
        })
        .collect()
}

fn budget(spending: &Spending) -> wire::BudgetStatus {
    wire::BudgetStatus {
        max_cores: Some(spending.max_cores).filter(|cores| cores.is_finite()),
        cores: spending.cores,
        probes_cores: spending.probes_cores,
        level: spending.level.to_owned(),
        left_out: spending.left_out.to_owned(),
        since_unix_ms: spending.since.map(|since| since.millis()),
    }
}

fn confinement(confinement: &Confinement) -> wire::ConfinementStatus {
    let lacking = confinement.lacking.iter();
    wire::ConfinementStatus {
        capabilities: confinement.kept.clone(),
        lacking: lacking
            .map(|(what, because)| wire::Unconfined {
                what: (*what).to_owned(),
                because: because.clone(),
            })
            .collect(),
    }
}

/// Every service over the window.
pub fn services(live: &LiveSnapshot) -> wire::Services {
    wire::Services {
        at_unix_ms: live.at.millis(),
        window_seconds: window_seconds(live),
        services: live
            .services
            .iter()
            .map(|found| service(found, Totals::Included))
            .collect(),
    }
}

/// One service over the window.
pub fn service(service: &ServiceSnapshot, totals: Totals) -> wire::Service {
    wire::Service {
        name: service.name.to_string(),
        project: service.project.clone(),
        containers: service
            .containers
            .iter()
            .zip(&service.by_container)
            .map(|(container, alone)| wire::ServiceContainer {
                id: container.id.short().to_owned(),
                name: container.name.clone(),
                image: container.image.clone(),
                window: figures(&alone.window),
                unseen_bytes: alone.unseen_bytes,
                inspect: container.inspect.words().map(str::to_owned).collect(),
                resources: alone.resources.as_ref().map(resource::resources),
                lifecycle: resource::lifecycle(&container.lifecycle),
            })
            .collect(),
        health: health(&service.window).min(alert::health(service)),
        window: figures(&service.window),
        totals: match totals {
            Totals::Omitted => Vec::new(),
            Totals::Included => service
                .totals
                .iter()
                .map(|total| wire::RouteTotal {
                    route: total.route.to_string(),
                    method: method(total.method),
                    status: total.status,
                    outcome: total.outcome.as_str().to_owned(),
                    n_requests: total.n_requests,
                })
                .collect(),
        },
        sparkline: service.sparkline.clone(),
        last_request_unix_ms: service.last_request.map(|at| at.millis()),
        n_active: service.n_active,
        inner: service.inner.as_ref().map(inner),
        sessions: service.sessions.as_ref().map(sessions),
        capture: service.capture.as_ref().map(capture),
        kernel: service.kernel.as_ref().map(counts),
        seen: counts(&service.seen),
        difference: difference(service),
        unseen_bytes: service.unseen_bytes,
        resources: service.resources.as_ref().map(resource::resources),
        n_firing: service.n_firing,
    }
}

/// The routes of a service over the window.
pub fn routes(live: &LiveSnapshot, service: &ServiceSnapshot) -> wire::Routes {
    wire::Routes {
        service: service.name.to_string(),
        at_unix_ms: live.at.millis(),
        window_seconds: window_seconds(live),
        routes: service.routes.iter().map(route).collect(),
    }
}

/// The body of a live message, with every service.
pub fn live(live: &LiveSnapshot, daemon: &DaemonState) -> wire::Live {
    wire::Live {
        status: status(daemon, &[]),
        services: live
            .services
            .iter()
            .map(|found| service(found, Totals::Omitted))
            .collect(),
        names: live
            .services
            .iter()
            .map(|found| found.name.to_string())
            .collect(),
        seconds: live
            .services
            .iter()
            .filter_map(|found| Some(second(&found.name, found.second.as_ref()?)))
            .collect(),
        alerts: live.alerts.iter().map(alert::alert).collect(),
        at_unix_ms: live.at.millis(),
        window_seconds: window_seconds(live),
    }
}

/// The answer of history.
pub fn query_result(query: &Query, result: QueryResult) -> wire::QueryResult {
    wire::QueryResult {
        metric: metric(query.metric).to_owned(),
        stat: stat(query.stat).to_owned(),
        unit: result.unit.as_str().to_owned(),
        from_unix_ms: result.from.millis(),
        step_seconds: u32::try_from(result.step.as_secs()).unwrap_or(u32::MAX),
        series: query_series(result.series),
        n_incomplete: result.n_incomplete,
        n_requests: result.n_requests,
        more: Vec::new(),
    }
}

/// A further figure of the same requests.
pub fn query_figure((of, told): (Metric, Stat), result: QueryResult) -> wire::QueryFigure {
    wire::QueryFigure {
        metric: metric(of).to_owned(),
        stat: stat(told).to_owned(),
        unit: result.unit.as_str().to_owned(),
        series: query_series(result.series),
    }
}

fn query_series(series: Vec<QuerySeries>) -> Vec<wire::QuerySeries> {
    let line = |series: QuerySeries| wire::QuerySeries {
        name: series.name,
        values: series.values,
    };
    series.into_iter().map(line).collect()
}

/// One finished request.
pub fn request(finished: &FinishedRequest) -> wire::Request {
    let record = &finished.record;
    let timings = &record.timings;
    wire::Request {
        service: finished.service.to_string(),
        container: finished.container.to_string(),
        method: method(record.method),
        route: finished.route.to_string(),
        status: record.status,
        outcome: record.outcome.as_str().to_owned(),
        completeness: record.completeness.as_str().to_owned(),
        streamed: record.streamed,
        peer_address: record.peer.ip().to_string(),
        peer_port: record.peer.port(),
        local_port: record.local.port(),
        connection: format!(
            "{:x}-{:x}",
            record.connection.socket, record.connection.opened.0
        ),
        sequence: record.sequence,
        started_unix_ms: finished.started.millis(),
        started_monotonic_ns: timings.request_start.0,
        ended_monotonic_ns: timings.response_end.unwrap_or(timings.finished).0,
        duration: timings.duration().as_secs_f64(),
        ttfb: seconds(timings.time_to_first_byte()),
        queue: seconds(timings.queue()),
        stream: seconds(timings.stream()),
        request_body_bytes: record.request_body_bytes,
        response_body_bytes: record.response_body_bytes,
        arrived_unix_ms: finished.arrived.map(|at| at.millis()),
        arrived_monotonic_ns: timings.arrived.map(|at| at.0),
        felt: seconds(timings.felt()),
        read: seconds(timings.read()),
        app: seconds(timings.app()),
        drain: seconds(timings.drain()),
        transport: transport(record.transport).to_owned(),
        ..streamed(record)
    }
}

/// The name of a transport, as in [`Request::transport`](wire::Request).
pub fn transport(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Unix => "unix",
    }
}

/// A request's stream and inference, and nothing else of it.
fn streamed(record: &RequestRecord) -> wire::Request {
    let stream = record.stream.as_deref();
    let inference = record.inference.as_deref();
    let first_chunk = |stream: &StreamFigures| {
        let first = stream.first_chunk?;
        Some(first.since(record.timings.request_end?))
    };
    wire::Request {
        stream_format: stream.map(|stream| stream.format.as_str().to_owned()),
        n_chunks: stream.map(|stream| stream.n_chunks),
        first_chunk: seconds(stream.and_then(first_chunk)),
        chunk_interval: stream.and_then(intervals),
        chunk_pace: stream.and_then(pace),
        n_stalls: stream.map(|stream| stream.n_stalls),
        after_abort: seconds(stream.and_then(|stream| stream.after_abort)),
        operation: inference.map(|found| found.operation.as_str().to_owned()),
        model: inference.and_then(|found| found.model.clone()),
        input_tokens: inference.and_then(|found| found.input_tokens),
        output_tokens: inference.and_then(|found| found.output_tokens),
        ..wire::Request::default()
    }
}

fn intervals(stream: &StreamFigures) -> Option<wire::IntervalFigures> {
    // The middle of the last bucket may lie above the longest interval.
    let quantile = |q| {
        let at = stream.intervals.quantile(q)?;
        Some(at.min(stream.longest_interval).as_secs_f64())
    };
    Some(wire::IntervalFigures {
        p50: quantile(0.5)?,
        p95: quantile(0.95)?,
        p99: quantile(0.99)?,
        max: stream.longest_interval.as_secs_f64(),
    })
}

/// Content chunks a second between the first and the last, where all of them
/// were seen.
fn pace(stream: &StreamFigures) -> Option<f64> {
    if stream.completeness != Completeness::Whole {
        return None;
    }
    let time = stream.last_chunk?.since(stream.first_chunk?);
    let n_intervals = stream.n_chunks.checked_sub(1)?;
    (!time.is_zero()).then(|| n_intervals as f64 / time.as_secs_f64())
}

fn accounting(service: &ServiceSnapshot) -> wire::ServiceAccounting {
    wire::ServiceAccounting {
        service: service.name.to_string(),
        capture: service.capture.as_ref().map(capture),
        kernel: service.kernel.as_ref().map(counts),
        seen: counts(&service.seen),
        difference: difference(service),
        unseen_bytes: service.unseen_bytes,
    }
}

fn capture(account: &CaptureAccount) -> wire::ServiceCapture {
    wire::ServiceCapture {
        events_submitted: account.events_submitted,
        events_lost: account.events_lost,
        events_lost_map_full: account.events_lost_map_full,
        user_reads_failed: account.user_reads_failed,
        bytes_observed: account.bytes_observed,
        bytes_parsed: account.bytes_parsed,
        bytes_skipped: account.bytes_skipped,
        bytes_truncated: account.bytes_truncated,
        bytes_lost: account.bytes_lost,
        bytes_dropped: account.bytes_dropped,
        events_left_out: account.events_left_out,
        bytes_left_out: account.bytes_left_out,
        bytes_pending: account.bytes_pending,
    }
}

fn counts(counts: &RequestCounts) -> wire::RequestCounts {
    wire::RequestCounts {
        requests: counts.n_requests,
        responses: counts.n_responses,
    }
}

fn difference(service: &ServiceSnapshot) -> Option<wire::CountsDifference> {
    // What was left out on purpose is no difference.
    let mut seen = service.seen;
    seen.merge(&service.left_out);
    let kernel = service.kernel.as_ref()?;
    let less = |a: u64, b: u64| {
        i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a > b {
            i64::MAX
        } else {
            i64::MIN
        })
    };
    Some(wire::CountsDifference {
        requests: less(kernel.n_requests, seen.n_requests),
        responses: std::array::from_fn(|at| less(kernel.n_responses[at], seen.n_responses[at])),
    })
}

fn inner(inner: &InnerSnapshot) -> wire::Inner {
    wire::Inner {
        n_requests: inner.by_status_class.iter().sum(),
        by_status_class: inner.by_status_class,
        window: figures(&inner.window),
    }
}

fn sessions(sessions: &SessionSnapshot) -> wire::Sessions {
    wire::Sessions {
        n_active: Some(sessions.n_active),
        n_sessions: sessions.n_sessions,
        duration_p50: seconds(sessions.duration_p50),
        duration_p95: seconds(sessions.duration_p95),
        duration_max: seconds(sessions.duration_max),
        messages_read: sessions.n_messages_read,
        messages_written: sessions.n_messages_written,
        message_rate: sessions.message_rate,
        bytes_read: sessions.bytes_read,
        bytes_written: sessions.bytes_written,
    }
}

pub fn metric(metric: Metric) -> &'static str {
    match metric {
        Metric::Requests => "requests",
        Metric::Errors => "errors",
        Metric::Duration => "duration",
        Metric::TimeToFirstByte => "ttfb",
        Metric::Measure(measure) => measure.as_str(),
        Metric::Chunks => "chunks",
        Metric::Stalls => "stalls",
        Metric::InputTokens => "input_tokens",
        Metric::OutputTokens => "output_tokens",
        Metric::Resource(metric) => metric.as_str(),
    }
}

fn stat(stat: Stat) -> &'static str {
    match stat {
        Stat::Rate => "rate",
        Stat::Count => "count",
        Stat::Quantile(q) if q <= 0.5 => "p50",
        Stat::Quantile(q) if q <= 0.9 => "p90",
        Stat::Quantile(q) if q <= 0.95 => "p95",
        Stat::Quantile(q) if q <= 0.99 => "p99",
        Stat::Quantile(_) => "p999",
        Stat::Max => "max",
        Stat::Avg => "avg",
    }
}

fn route(route: &RouteSnapshot) -> wire::Route {
    wire::Route {
        route: route.route.to_string(),
        method: method(route.method),
        window: figures(&route.window),
        by_status: route
            .by_status
            .iter()
            .map(|&(status, n_requests)| wire::StatusCount { status, n_requests })
            .collect(),
        time_share: route.time_share,
    }
}

fn second(service: &str, second: &SecondFigures) -> wire::Second {
    wire::Second {
        service: service.to_owned(),
        at_unix_ms: second.at.millis(),
        figures: figures(&second.figures),
        by_status_class: second.by_status_class,
    }
}

fn figures(figures: &WindowFigures) -> wire::WindowFigures {
    wire::WindowFigures {
        n_requests: figures.n_requests,
        n_errors: figures.n_errors,
        n_incomplete: figures.n_incomplete,
        rate: figures.rate,
        error_rate: figures.error_rate(),
        p50: seconds(figures.p50),
        p95: seconds(figures.p95),
        p99: seconds(figures.p99),
        max: seconds(figures.max),
        ttfb_p50: seconds(figures.ttfb_p50),
        ttfb_p95: seconds(figures.ttfb_p95),
        felt_p50: seconds(figures.felt_p50),
        felt_p95: seconds(figures.felt_p95),
        queue_p50: seconds(figures.queue_p50),
        queue_p95: seconds(figures.queue_p95),
        parts: figures.parts.as_ref().map(parts),
        streams: figures.streams.as_ref().map(streams),
    }
}

fn parts(parts: &TimeParts) -> wire::TimeParts {
    wire::TimeParts {
        n_requests: parts.n_requests,
        n_queue: parts.n_queue,
        queue: seconds(parts.queue),
        read: parts.read.as_secs_f64(),
        app: parts.app.as_secs_f64(),
        stream: parts.stream.as_secs_f64(),
        drain: parts.drain.as_secs_f64(),
    }
}

fn streams(streams: &StreamWindow) -> wire::StreamFigures {
    wire::StreamFigures {
        n_streams: streams.n_streams,
        n_aborted: streams.n_aborted,
        n_chunks: streams.n_chunks,
        n_stalls: streams.n_stalls,
        chunk_rate: streams.chunk_rate,
        chunk_pace: streams.chunk_pace,
        first_chunk_p50: seconds(streams.first_chunk_p50),
        first_chunk_p95: seconds(streams.first_chunk_p95),
        chunk_interval_p50: seconds(streams.chunk_interval_p50),
        chunk_interval_p95: seconds(streams.chunk_interval_p95),
        chunk_interval_p99: seconds(streams.chunk_interval_p99),
        after_abort: streams.after_abort.as_secs_f64(),
        input_tokens: streams.tokens.input,
        output_tokens: streams.tokens.output,
    }
}

fn health(figures: &WindowFigures) -> wire::Health {
    match figures.error_rate() {
        None => wire::Health::Idle,
        Some(rate) if rate >= CRITICAL_ERROR_RATE => wire::Health::Critical,
        Some(rate) if rate >= WARNING_ERROR_RATE => wire::Health::Warning,
        Some(_) => wire::Health::Ok,
    }
}

fn method(method: Option<Method>) -> Option<String> {
    method.map(|method| method.as_str().to_owned())
}

pub(crate) fn seconds(duration: Option<Duration>) -> Option<f64> {
    duration.map(|duration| duration.as_secs_f64())
}

fn window_seconds(live: &LiveSnapshot) -> u32 {
    u32::try_from(live.window.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
pub mod tests;
