//! Rows as bytes, framed so that one that broke off is seen.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of what follows the checksum |
//! | 8 | FNV-1a of that |
//! | 4 | version of the schema |
//! | 1 | whether the batch is whole |
//! | 8 | its number |
//! | 2 and more | the run, then each table: its name, rows and columns |
//!
//! Integers are little-endian, as Arrow's buffers are on x86-64. What another
//! schema left is passed over: its daemon was killed and replaced within a
//! second.

use duckdb::arrow::array::{Array, ArrayData, ArrayRef, RecordBatch, make_array};
use duckdb::arrow::buffer::Buffer;
use duckdb::arrow::datatypes::{DataType, Field, Schema, TimeUnit};

use crate::schema::{APPENDED, SCHEMA_VERSION};

/// Rows by table.
pub(crate) type Tables = Vec<(&'static str, RecordBatch)>;

/// Types that columns have, by the number that stands for them, and the bytes
/// of a value in their first buffer.
const TYPES: [(DataType, usize); 7] = [
    (DataType::Timestamp(TimeUnit::Microsecond, None), 8),
    (DataType::Utf8, 4),
    (DataType::Binary, 4),
    (DataType::UInt64, 8),
    (DataType::UInt16, 2),
    (DataType::Float64, 8),
    (DataType::Boolean, 1),
];
const HEAD: usize = 12;

/// Rows of one batch of one run.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) run: String,
    pub(crate) number: u64,
    /// Whether it is all of the batch, and not what there is of it so far.
    pub(crate) is_whole: bool,
    pub(crate) tables: Tables,
}

impl Frame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        bytes.extend(SCHEMA_VERSION.to_le_bytes());
        bytes.push(u8::from(self.is_whole));
        bytes.extend(self.number.to_le_bytes());
        put(&mut bytes, self.run.as_bytes());
        for (table, rows) in &self.tables {
            put(&mut bytes, table.as_bytes());
            bytes.extend(length(rows.num_rows()).to_le_bytes());
            bytes.extend(length(rows.num_columns()).to_le_bytes());
            for column in rows.columns() {
                put_column(&mut bytes, &column.to_data());
            }
        }
        let body = length(bytes.len() - HEAD);
        let sum = checksum(&bytes[HEAD..]);
        bytes[..4].copy_from_slice(&body.to_le_bytes());
        bytes[4..HEAD].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The frames in `bytes`, up to the first that is not whole.
    pub(crate) fn decode_all(mut bytes: &[u8]) -> Vec<Self> {
        let mut frames = Vec::new();
        while let Some(body) = next_body(&mut bytes) {
            frames.extend(Self::decode(body));
        }
        frames
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let mut rest = body;
        if number32(&mut rest)? != SCHEMA_VERSION {
            return None;
        }
        let is_whole = take(&mut rest, 1)? != [0];
        let number = u64::from_le_bytes(take(&mut rest, 8)?.try_into().ok()?);
        let run = std::str::from_utf8(take_counted(&mut rest)?).ok()?.into();
        let mut tables = Tables::new();
        while !rest.is_empty() {
            let name = take_counted(&mut rest)?;
            let table = APPENDED
                .into_iter()
                .find(|table| table.as_bytes() == name)?;
            let n_rows = number32(&mut rest)? as usize;
            let n_columns = number32(&mut rest)?;
            let mut fields = Vec::new();
            let mut columns: Vec<ArrayRef> = Vec::new();
            for number in 0..n_columns {
                let column = take_column(&mut rest, n_rows)?;
                let kind = column.data_type().clone();
                fields.push(Field::new(number.to_string(), kind, true));
                columns.push(column);
            }
            let schema = Schema::new(fields).into();
            tables.push((table, RecordBatch::try_new(schema, columns).ok()?));
        }
        Some(Self {
            run,
            number,
            is_whole,
            tables,
        })
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).expect("a batch is far below 4 GB")
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend(length(part.len()).to_le_bytes());
    bytes.extend(part);
}

fn put_column(bytes: &mut Vec<u8>, column: &ArrayData) {
    let kind = TYPES
        .iter()
        .position(|(kind, _)| kind == column.data_type());
    bytes.push(kind.expect("columns have these types alone") as u8);
    match column.nulls() {
        Some(nulls) => put(bytes, nulls.inner().sliced().as_slice()),
        None => put(bytes, &[]),
    }
    bytes.push(column.buffers().len() as u8);
    for buffer in column.buffers() {
        put(bytes, buffer.as_slice());
    }
}

/// The next frame's body, if all of it is there.
fn next_body<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number32(bytes)? as usize;
    let sum = u64::from_le_bytes(take(bytes, 8)?.try_into().ok()?);
    let body = take(bytes, length)?;
    (checksum(body) == sum).then_some(body)
}

fn take<'a>(bytes: &mut &'a [u8], n: usize) -> Option<&'a [u8]> {
    let (part, rest) = bytes.split_at_checked(n)?;
    *bytes = rest;
    Some(part)
}

fn take_counted<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number32(bytes)? as usize;
    take(bytes, length)
}

fn number32(bytes: &mut &[u8]) -> Option<u32> {
    Some(u32::from_le_bytes(take(bytes, 4)?.try_into().ok()?))
}

fn take_column(bytes: &mut &[u8], n_rows: usize) -> Option<ArrayRef> {
    let (kind, width) = TYPES.get(usize::from(take(bytes, 1)?[0]))?;
    let nulls = take_counted(bytes)?;
    let nulls = (!nulls.is_empty()).then(|| Buffer::from(nulls));
    let n_buffers = take(bytes, 1)?[0];
    let mut buffers = Vec::new();
    for _ in 0..n_buffers {
        buffers.push(Buffer::from(take_counted(bytes)?));
    }
    // What else does not fit together is refused by Arrow.
    let has_nulls = nulls
        .as_ref()
        .is_none_or(|nulls| nulls.len() >= n_rows.div_ceil(8));
    if !has_nulls || !buffers.first()?.len().is_multiple_of(*width) {
        return None;
    }
    let data = ArrayData::builder(kind.clone())
        .len(n_rows)
        .null_bit_buffer(nulls)
        .buffers(buffers)
        .build();
    Some(make_array(data.ok()?))
}

/// FNV-1a of 64 bits: it has to see what broke off, not what was forged.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use modeltap_core::history;
    use modeltap_core::resource::{ResourceFigures, ResourceRollup};
    use modeltap_core::time::UnixNs;
    use modeltap_core::timeline::{TimelineEvent, TimelineKind};

    use super::*;
    use crate::pending::Batch;
    use crate::records::tests::exemplar;

    fn frame(number: u64) -> Frame {
        let batch = history::Batch {
            exemplars: vec![exemplar(); 3],
            resources: vec![ResourceRollup {
                service: "api".into(),
                container: "api-1".into(),
                start: UnixNs(number),
                width: Duration::from_secs(1),
                figures: ResourceFigures {
                    cpu_limit_cores: Some(2.5),
                    ..ResourceFigures::default()
                },
            }],
            events: vec![TimelineEvent {
                at: UnixNs(number),
                kind: TimelineKind::DataLost,
                service: None,
                container: Some("api-1".into()),
                detail: "12 events".into(),
            }],
            ..history::Batch::default()
        };
        let (batch, _) = Batch::new(number, Instant::now(), &batch);
        Frame {
            run: "this run".into(),
            number,
            is_whole: number.is_multiple_of(2),
            tables: batch.rows,
        }
    }

    /// Columns without their names, which only the table has.
    fn columns(frame: &Frame) -> Vec<(&str, Vec<ArrayData>)> {
        let of = |(table, rows): &(&'static str, RecordBatch)| {
            let columns = rows.columns().iter().map(|column| column.to_data());
            (*table, columns.collect())
        };
        frame.tables.iter().map(of).collect()
    }

    #[test]
    fn frames_come_back_as_they_were_and_one_that_broke_off_does_not() {
        let frames = [frame(1), frame(2)];
        let mut bytes = frames[0].encode();
        let first = bytes.len();
        bytes.extend(frames[1].encode());
        let back = Frame::decode_all(&bytes);
        assert_eq!(back.len(), 2);
        for (back, frame) in back.iter().zip(&frames) {
            assert_eq!((back.number, &back.run), (frame.number, &frame.run));
            assert_eq!(back.is_whole, frame.is_whole);
            assert_eq!(columns(back), columns(frame));
        }
        for end in (0..bytes.len()).step_by(7) {
            let n_whole = usize::from(end >= first);
            assert_eq!(Frame::decode_all(&bytes[..end]).len(), n_whole, "{end}");
        }
    }

    #[test]
    fn frames_that_were_damaged_anywhere_are_passed_over() {
        let bytes = frame(1).encode();
        for place in (0..bytes.len()).step_by(3) {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x5a;
            assert_eq!(Frame::decode_all(&damaged), []);
        }
        // What has a sound checksum and does not fit together.
        for place in (HEAD..bytes.len()).step_by(2) {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x5a;
            let sum = checksum(&damaged[HEAD..]);
            damaged[4..HEAD].copy_from_slice(&sum.to_le_bytes());
            let _any = Frame::decode_all(&damaged);
        }
    }
}
