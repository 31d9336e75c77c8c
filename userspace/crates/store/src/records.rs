//! Resources, single requests and events as columns.

use std::sync::Arc;
use std::time::Duration;

use duckdb::arrow::array::{
    ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    UInt16Array, UInt64Array,
};
use modeltap_core::exemplar::Exemplar;
use modeltap_core::record::Method;
use modeltap_core::resource::ResourceFigures;
use modeltap_core::time::UnixNs;
use modeltap_core::timeline::{MAX_DETAIL_BYTES, TimelineEvent};

use crate::rows::micros;
use crate::schema::{EVENT_COLUMNS, EXEMPLAR_COLUMNS, RESOURCE_COLUMNS};

/// What one container used in one window, ready to be written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ResourceRow<'a> {
    /// Microseconds of Unix time.
    pub(crate) start_us: i64,
    pub(crate) service: &'a str,
    pub(crate) container: &'a str,
    pub(crate) figures: &'a ResourceFigures,
}

/// The columns of a tier of resources.
pub(crate) fn resources(rows: &[ResourceRow<'_>]) -> RecordBatch {
    let figures = || rows.iter().map(|row| row.figures);
    let n = |of: fn(&ResourceFigures) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(figures().map(of)))
    };
    let maybe = |of: fn(&ResourceFigures) -> Option<u64>| -> ArrayRef {
        Arc::new(figures().map(of).collect::<UInt64Array>())
    };
    let real = |of: fn(&ResourceFigures) -> Option<f64>| -> ArrayRef {
        Arc::new(figures().map(of).collect::<Float64Array>())
    };
    let starts = rows.iter().map(|row| row.start_us);
    batch(
        &RESOURCE_COLUMNS,
        vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(starts)),
            texts(rows.iter().map(|row| row.service)),
            texts(rows.iter().map(|row| row.container)),
            n(|f| f.n_seconds),
            n(|f| f.cpu_ns),
            real(|f| f.cpu_limit_cores),
            maybe(|f| f.n_periods),
            maybe(|f| f.n_throttled),
            maybe(|f| f.throttled_ns),
            n(|f| f.memory_sum_bytes),
            n(|f| f.memory_max_bytes),
            maybe(|f| f.memory_limit_bytes),
            maybe(|f| f.n_oom_kills),
            maybe(|f| f.received_bytes),
            maybe(|f| f.sent_bytes),
            maybe(|f| f.read_bytes),
            maybe(|f| f.written_bytes),
            maybe(|f| f.n_pids_max),
            maybe(|f| f.pressure_cpu_us),
            maybe(|f| f.pressure_memory_us),
            maybe(|f| f.pressure_io_us),
            real(|f| f.gpu_utilization_sum),
            maybe(|f| f.gpu_memory_max_bytes),
            maybe(|f| f.gpu_memory_total_bytes),
        ],
    )
}

/// The columns of single requests.
pub(crate) fn exemplars(all: &[Exemplar]) -> RecordBatch {
    let time = |of: fn(&Exemplar) -> UnixNs| -> ArrayRef {
        let times = all.iter().map(|exemplar| micros(of(exemplar)));
        Arc::new(TimestampMicrosecondArray::from_iter_values(times))
    };
    let ns = |of: fn(&Exemplar) -> Option<Duration>| -> ArrayRef {
        let times = all.iter().map(|exemplar| of(exemplar).map(nanos));
        Arc::new(times.collect::<UInt64Array>())
    };
    let bytes = |of: fn(&Exemplar) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(all.iter().map(of)))
    };
    let methods = all.iter().map(|exemplar| exemplar.method);
    let statuses = all.iter().map(|exemplar| exemplar.status);
    let streamed = all.iter().map(|exemplar| Some(exemplar.streamed));
    let chunks = all.iter().map(|exemplar| exemplar.n_chunks);
    let ports = all.iter().map(|exemplar| exemplar.local_port);
    batch(
        &EXEMPLAR_COLUMNS,
        vec![
            time(|e| e.finished),
            time(|e| e.started),
            texts(all.iter().map(|e| e.reason.as_str())),
            texts(all.iter().map(|e| &*e.service)),
            texts(all.iter().map(|e| &*e.container)),
            texts(all.iter().map(|e| &*e.route)),
            Arc::new(StringArray::from_iter(
                methods.map(|method| method.map(Method::as_str)),
            )),
            Arc::new(statuses.collect::<UInt16Array>()),
            texts(all.iter().map(|e| e.outcome.as_str())),
            texts(all.iter().map(|e| e.completeness.as_str())),
            Arc::new(streamed.collect::<BooleanArray>()),
            ns(|e| e.duration),
            ns(|e| e.time_to_first_byte),
            ns(|e| e.felt),
            ns(|e| e.queue),
            ns(|e| e.read),
            ns(|e| e.app),
            ns(|e| e.stream),
            ns(|e| e.drain),
            ns(|e| e.first_chunk),
            Arc::new(chunks.collect::<UInt64Array>()),
            bytes(|e| e.request_body_bytes),
            bytes(|e| e.response_body_bytes),
            Arc::new(StringArray::from_iter_values(
                all.iter().map(|e| e.peer.to_string()),
            )),
            Arc::new(UInt16Array::from_iter_values(ports)),
        ],
    )
}

/// The columns of events.
pub(crate) fn events(all: &[TimelineEvent]) -> RecordBatch {
    let times = all.iter().map(|event| micros(event.at));
    let services = all.iter().map(|event| event.service.as_deref());
    let containers = all.iter().map(|event| event.container.as_deref());
    let detail = |event: &'_ TimelineEvent| {
        event.detail[..event.detail.floor_char_boundary(MAX_DETAIL_BYTES)].to_owned()
    };
    batch(
        &EVENT_COLUMNS,
        vec![
            Arc::new(TimestampMicrosecondArray::from_iter_values(times)),
            texts(all.iter().map(|event| event.kind.as_str())),
            Arc::new(StringArray::from_iter(services)),
            Arc::new(StringArray::from_iter(containers)),
            Arc::new(StringArray::from_iter_values(all.iter().map(detail))),
        ],
    )
}

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}

fn batch(names: &[&'static str], columns: Vec<ArrayRef>) -> RecordBatch {
    assert_eq!(names.len(), columns.len(), "a column for each name");
    let columns = names.iter().zip(columns);
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (*name, column, true)))
        .expect("columns are of one length")
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use modeltap_core::exemplar::ExemplarReason;
    use modeltap_core::record::{Completeness, Outcome};
    use modeltap_core::timeline::TimelineKind;

    use super::*;

    pub(crate) fn exemplar() -> Exemplar {
        Exemplar {
            reason: ExemplarReason::Slow,
            service: "api".into(),
            container: "api-1".into(),
            route: "/a".into(),
            method: Some(Method::Post),
            status: None,
            outcome: Outcome::Complete,
            completeness: Completeness::Whole,
            streamed: true,
            started: UnixNs(1_000),
            finished: UnixNs(7_000),
            duration: Some(Duration::from_nanos(6_000)),
            time_to_first_byte: None,
            felt: None,
            queue: None,
            read: None,
            app: None,
            stream: None,
            drain: None,
            first_chunk: None,
            n_chunks: Some(3),
            request_body_bytes: 1,
            response_body_bytes: 2,
            peer: "[::1]:80".parse().unwrap(),
            local_port: 8_000,
        }
    }

    #[test]
    fn details_are_cut_between_characters() {
        let event = TimelineEvent {
            at: UnixNs(0),
            kind: TimelineKind::DaemonStarted,
            service: None,
            container: None,
            detail: "ä".repeat(MAX_DETAIL_BYTES),
        };
        let rows = events(&[event]);
        let details = rows.column(4).as_any().downcast_ref::<StringArray>();
        assert_eq!(details.unwrap().value(0), "ä".repeat(MAX_DETAIL_BYTES / 2));
    }
}
