//! Rollups as columns.

use std::collections::HashSet;
use std::sync::Arc;

use duckdb::arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, PrimitiveArray, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray, UInt16Array, UInt16Builder, UInt64Array,
    UInt64Builder,
};
use duckdb::arrow::datatypes::{
    DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, UInt64Type,
};
use modeltap_core::histogram::DurationHistogram;
use modeltap_core::measure::{Measure, TokenSums};
use modeltap_core::record::Method;
use modeltap_core::rollup::{Detail, Figures, Rollup};
use modeltap_core::time::UnixNs;

use crate::schema::COLUMNS;

/// The name of a row within its tier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RowKey {
    pub(crate) service: Arc<str>,
    pub(crate) route: Arc<str>,
    pub(crate) container: Arc<str>,
    pub(crate) method: Option<Arc<str>>,
    pub(crate) status: Option<u16>,
    pub(crate) outcome: Arc<str>,
    /// Microseconds of Unix time.
    pub(crate) start_us: i64,
}

/// Columns of a tier being filled.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    start: Vec<i64>,
    service: StringBuilder,
    container: StringBuilder,
    route: StringBuilder,
    method: StringBuilder,
    status: UInt16Builder,
    outcome: StringBuilder,
    n_requests: Vec<u64>,
    n_errors: Vec<u64>,
    n_incomplete: Vec<u64>,
    duration_sum_ns: Vec<u64>,
    duration_max_ns: Vec<u64>,
    request_body_bytes: Vec<u64>,
    response_body_bytes: Vec<u64>,
    duration: BinaryBuilder,
    ttfb: BinaryBuilder,
    measures: [BinaryBuilder; Measure::COUNT],
    n_chunks: UInt64Builder,
    n_stalls: UInt64Builder,
    input_tokens: UInt64Builder,
    output_tokens: UInt64Builder,
}

/// Microseconds of Unix time, as DuckDB's TIMESTAMP has them.
pub(crate) fn micros(at: UnixNs) -> i64 {
    i64::try_from(at.0 / 1_000).expect("u64 nanoseconds fit in i64 microseconds")
}

impl Rows {
    /// Adds a rollup.
    pub(crate) fn push_rollup(&mut self, rollup: &Rollup) {
        let key = &rollup.key;
        self.start.push(micros(rollup.start));
        self.service.append_value(&key.service);
        self.container.append_value(&key.container);
        self.route.append_value(&key.route);
        self.method.append_option(key.method.map(Method::as_str));
        self.status.append_option(key.status);
        self.outcome.append_value(key.outcome.as_str());
        self.push_figures(&rollup.figures);
    }

    /// Adds a row that was merged from others.
    pub(crate) fn push_row(&mut self, key: &RowKey, figures: &Figures) {
        self.start.push(key.start_us);
        self.service.append_value(&key.service);
        self.container.append_value(&key.container);
        self.route.append_value(&key.route);
        self.method.append_option(key.method.as_deref());
        self.status.append_option(key.status);
        self.outcome.append_value(&key.outcome);
        self.push_figures(figures);
    }

    fn push_figures(&mut self, figures: &Figures) {
        self.n_requests.push(figures.n_requests);
        self.n_errors.push(figures.n_errors);
        self.n_incomplete.push(figures.n_incomplete);
        self.duration_sum_ns.push(figures.duration_sum_ns);
        self.duration_max_ns.push(figures.duration_max_ns);
        self.request_body_bytes.push(figures.request_body_bytes);
        self.response_body_bytes.push(figures.response_body_bytes);
        self.duration.append_value(figures.duration.encode());
        self.ttfb.append_value(figures.time_to_first_byte.encode());
        for (column, measure) in self.measures.iter_mut().zip(Measure::ALL) {
            column.append_option(figures.measure(measure).map(DurationHistogram::encode));
        }
        let detail = figures.detail.as_deref();
        let streams = detail.map(|detail| detail.streams);
        let streams = streams.filter(|s| s.n_chunks > 0 || s.n_stalls > 0);
        self.n_chunks.append_option(streams.map(|s| s.n_chunks));
        self.n_stalls.append_option(streams.map(|s| s.n_stalls));
        let tokens = detail.map(|detail| detail.tokens).unwrap_or_default();
        self.input_tokens.append_option(tokens.input);
        self.output_tokens.append_option(tokens.output);
    }

    /// The columns, in the order of the tables.
    pub(crate) fn finish(mut self) -> RecordBatch {
        let n = |values: Vec<u64>| Arc::new(UInt64Array::from(values)) as ArrayRef;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampMicrosecondArray::from(self.start)),
            Arc::new(self.service.finish()),
            Arc::new(self.container.finish()),
            Arc::new(self.route.finish()),
            Arc::new(self.method.finish()),
            Arc::new(self.status.finish()),
            Arc::new(self.outcome.finish()),
            n(self.n_requests),
            n(self.n_errors),
            n(self.n_incomplete),
            n(self.duration_sum_ns),
            n(self.duration_max_ns),
            n(self.request_body_bytes),
            n(self.response_body_bytes),
            Arc::new(self.duration.finish()),
            Arc::new(self.ttfb.finish()),
        ];
        for mut column in self.measures {
            columns.push(Arc::new(column.finish()));
        }
        columns.push(Arc::new(self.n_chunks.finish()));
        columns.push(Arc::new(self.n_stalls.finish()));
        columns.push(Arc::new(self.input_tokens.finish()));
        columns.push(Arc::new(self.output_tokens.finish()));
        RecordBatch::try_new(schema(), columns).expect("columns are of the schema's types")
    }
}

/// Columns of a tier, as they were written or read.
pub(crate) struct Stored<'a> {
    start: &'a PrimitiveArray<TimestampMicrosecondType>,
    /// Service, container, route, method and outcome.
    texts: [&'a StringArray; 5],
    status: &'a UInt16Array,
    /// From `n_requests` to `response_body_bytes`.
    sums: [&'a UInt64Array; 7],
    /// Duration, time to first byte, and the measures.
    times: [&'a BinaryArray; 2 + Measure::COUNT],
    /// Chunks, stalls, tokens in and out.
    counts: [&'a UInt64Array; 4],
}

impl<'a> Stored<'a> {
    /// The columns of `batch`, which are [`COLUMNS`].
    pub(crate) fn new(batch: &'a RecordBatch) -> Self {
        let numbers = |at: usize| batch.column(at).as_primitive::<UInt64Type>();
        Self {
            start: batch.column(0).as_primitive(),
            texts: [1, 2, 3, 4, 6].map(|at| batch.column(at).as_string()),
            status: batch.column(5).as_primitive(),
            sums: std::array::from_fn(|n| numbers(7 + n)),
            times: std::array::from_fn(|n| batch.column(14 + n).as_binary()),
            counts: std::array::from_fn(|n| numbers(16 + Measure::COUNT + n)),
        }
    }

    /// Microseconds of Unix time.
    pub(crate) fn start_us(&self, row: usize) -> i64 {
        self.start.value(row)
    }

    pub(crate) fn key(&self, row: usize, names: &mut Names) -> RowKey {
        let [service, container, route, method, outcome] = self.texts;
        RowKey {
            service: names.share(service.value(row)),
            container: names.share(container.value(row)),
            route: names.share(route.value(row)),
            method: method.is_valid(row).then(|| names.share(method.value(row))),
            status: self.status.is_valid(row).then(|| self.status.value(row)),
            outcome: names.share(outcome.value(row)),
            start_us: self.start_us(row),
        }
    }

    pub(crate) fn figures(&self, row: usize) -> duckdb::Result<Figures> {
        let [duration, ttfb, measures @ ..] = self.times;
        let sums = self.sums.map(|column| column.value(row));
        let mut detail = Detail::default();
        for (column, measure) in measures.into_iter().zip(Measure::ALL) {
            detail.measures[measure] = histogram(column, row)?;
        }
        let [n_chunks, n_stalls, input, output] = self
            .counts
            .map(|column| column.is_valid(row).then(|| column.value(row)));
        detail.streams.n_chunks = n_chunks.unwrap_or_default();
        detail.streams.n_stalls = n_stalls.unwrap_or_default();
        detail.tokens = TokenSums { input, output };
        Ok(Figures {
            n_requests: sums[0],
            n_errors: sums[1],
            n_incomplete: sums[2],
            duration_sum_ns: sums[3],
            duration_max_ns: sums[4],
            request_body_bytes: sums[5],
            response_body_bytes: sums[6],
            duration: histogram(duration, row)?,
            time_to_first_byte: histogram(ttfb, row)?,
            detail: (detail != Detail::default()).then(|| Box::new(detail)),
        })
    }
}

/// The histogram of a row; an empty one where there is none.
fn histogram(column: &BinaryArray, row: usize) -> duckdb::Result<DurationHistogram> {
    if !column.is_valid(row) {
        return Ok(DurationHistogram::default());
    }
    DurationHistogram::decode(column.value(row)).map_err(|error| {
        let kind = duckdb::types::Type::Blob;
        duckdb::Error::FromSqlConversionFailure(0, kind, Box::new(error))
    })
}

/// Spells each name once.
#[derive(Default)]
pub(crate) struct Names(HashSet<Arc<str>>);

impl Names {
    pub(crate) fn share(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}

fn schema() -> SchemaRef {
    let is_later = |name| {
        Measure::parse(name).is_some()
            || ["n_chunks", "n_stalls", "input_tokens", "output_tokens"].contains(&name)
    };
    let fields: Vec<Field> = COLUMNS
        .iter()
        .map(|&name| {
            let kind = match name {
                name if Measure::parse(name).is_some() => DataType::Binary,
                "start" => DataType::Timestamp(TimeUnit::Microsecond, None),
                "status" => DataType::UInt16,
                "duration" | "ttfb" => DataType::Binary,
                "service" | "container" | "route" | "method" | "outcome" => DataType::Utf8,
                _ => DataType::UInt64,
            };
            Field::new(
                name,
                kind,
                matches!(name, "method" | "status") || is_later(name),
            )
        })
        .collect();
    Arc::new(Schema::new(fields))
}
