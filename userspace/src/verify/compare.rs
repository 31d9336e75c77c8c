//! The truth of client and server against what the probes told.

use std::collections::HashMap;

use modeltap_core::record::{Completeness, Outcome, RequestRecord};

use super::client::Row;
use super::script::Situation;
use super::server::{Note, Span};

/// Most differences that are told one by one.
const MAX_TOLD: usize = 20;
/// How long after the server's close returned the kernel may tell of the
/// connection's end: the peer's last word is on its way.
const LATEST_END_NS: u64 = 50_000_000;

/// Requests of one situation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Sent by the client.
    pub n_sent: u64,
    /// Of them: told by the probes.
    pub n_seen: u64,
    /// Of them: as they were, in everything that is compared.
    pub n_exact: u64,
    /// Of them: told to end no later than the client had the last byte, or it
    /// left before. Others come only where the kernel does not tell when a
    /// segment was sent: there the end is the return of the server's write,
    /// and the client's read may return before.
    pub n_inside: u64,
}

impl Tally {
    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            n_sent: self.n_sent + other.n_sent,
            n_seen: self.n_seen + other.n_seen,
            n_exact: self.n_exact + other.n_exact,
            n_inside: self.n_inside + other.n_inside,
        }
    }
}

/// What the comparison found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// By situation, in the order of [`Situation::ALL`].
    pub tallies: Vec<(Situation, Tally)>,
    /// Requests told that nobody sent.
    pub n_invented: u64,
    /// The first differences, a sentence each.
    pub differences: Vec<String>,
    /// All differences.
    pub n_differences: u64,
}

impl Comparison {
    /// Whether everything was told as it was.
    pub fn is_exact(&self) -> bool {
        self.n_differences == 0
    }

    /// All situations together.
    pub fn total(&self) -> Tally {
        let tallies = self.tallies.iter().map(|(_, tally)| *tally);
        tallies.fold(Tally::default(), Tally::plus)
    }

    fn differ(&mut self, sentence: String) {
        self.n_differences += 1;
        if self.differences.len() < MAX_TOLD {
            self.differences.push(sentence);
        }
    }
}

/// What the probes must have counted in the kernel: right whatever became of
/// the events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Reads that began a request. One that is read in the same call behind
    /// another is not among them.
    pub n_requests: u64,
    /// Final responses by status class, `1xx` to `5xx`.
    pub n_responses: [u64; 5],
}

impl Counts {
    /// What client and server know.
    pub fn of_truth(rows: &[Row], notes: &[Note]) -> Self {
        let mut counts = Self::default();
        let mut notes: Vec<&Note> = notes.iter().collect();
        notes.sort_by_key(|note| (note.port, note.first_read.from));
        let behind = notes
            .windows(2)
            .filter(|pair| pair[0].port == pair[1].port && pair[0].last_read == pair[1].first_read);
        counts.n_requests = (notes.len() - behind.count()) as u64;
        let statuses = rows.iter().filter_map(|row| row.script.status);
        for status in statuses {
            counts.n_responses[usize::from(status / 100 - 1)] += 1;
        }
        counts
    }
}

/// Compares every request: by port and path, which no other request has.
pub fn compare(rows: &[Row], notes: &[Note], records: &[RequestRecord]) -> Comparison {
    let mut comparison = Comparison::default();
    let mut tallies: HashMap<Situation, Tally> = HashMap::new();
    let notes: HashMap<_, _> = notes
        .iter()
        .map(|note| ((note.port, note.path.as_str()), note))
        .collect();
    let mut told: HashMap<_, Vec<_>> = HashMap::new();
    for record in records {
        let key = (record.peer.port(), record.path.as_str());
        told.entry(key).or_default().push(record);
    }
    for row in rows {
        let key = (row.port, row.script.path.as_str());
        let tally = tallies.entry(row.script.situation).or_default();
        tally.n_sent += 1;
        let name = format!("{} from port {}", row.script.path, row.port);
        let Some(note) = notes.get(&key) else {
            comparison.differ(format!("{name}: the server never read it"));
            continue;
        };
        let Some(record) = told.get_mut(&key).and_then(Vec::pop) else {
            comparison.differ(format!("{name}: not seen"));
            continue;
        };
        tally.n_seen += 1;
        let differences = differences(row, note, record);
        if differences.is_empty() {
            tally.n_exact += 1;
            let left = record.outcome == Outcome::ClientAborted;
            let end = record.timings.response_end;
            tally.n_inside += u64::from(left || end.is_none_or(|end| end.0 <= row.ended_ns));
        } else {
            comparison.differ(format!("{name}: {}", differences.join("; ")));
        }
    }
    let mut invented: Vec<_> = told.into_values().flatten().collect();
    invented.sort_by_key(|record| record.timings.request_start);
    for record in invented {
        comparison.n_invented += 1;
        let (path, port) = (&record.path, record.peer.port());
        let status = record.status;
        comparison.differ(format!(
            "{path} from port {port}: seen, but nobody sent it (status {status:?})"
        ));
    }
    comparison.tallies = Situation::ALL
        .into_iter()
        .map(|situation| {
            (
                situation,
                tallies.get(&situation).copied().unwrap_or_default(),
            )
        })
        .collect();
    comparison
}

/// What is told otherwise than it was.
fn differences(row: &Row, note: &Note, record: &RequestRecord) -> Vec<String> {
    let script = &row.script;
    let mut found = Vec::new();
    let mut check = |name: &str, told: &dyn std::fmt::Debug, truth: &dyn std::fmt::Debug| {
        let (told, truth) = (format!("{told:?}"), format!("{truth:?}"));
        if told != truth {
            found.push(format!("{name} is {truth} and was told as {told}"));
        }
    };
    let method = record.method.map(|method| method.as_str());
    check("method", &method, &Some(script.method));
    check("status", &record.status, &script.status);
    check("outcome", &record.outcome, &script.situation.outcome());
    check("completeness", &record.completeness, &Completeness::Whole);
    check(
        "request body",
        &record.request_body_bytes,
        &script.request_body_bytes,
    );
    let is_complete = record.outcome == Outcome::Complete;
    if is_complete {
        check(
            "response body",
            &record.response_body_bytes,
            &script.response_body_bytes,
        );
    }
    let figures = record.stream.as_deref();
    let figures = figures.filter(|_| script.situation.streams());
    if script.situation.streams() {
        let told = figures.map(|figures| figures.n_chunks);
        check("number of events", &told, &Some(note.n_events));
    }

    let timings = &record.timings;
    let mut within = |name: &str, at: u64, span: Span| {
        if !span.holds(at) {
            let early = i128::from(at) - i128::from(span.from);
            let late = i128::from(at) - i128::from(span.to);
            found.push(format!(
                "{name} was told {early} ns after the call began and {late} ns after it returned"
            ));
        }
    };
    within("the first read", timings.request_start.0, note.first_read);
    if let Some(at) = timings.request_end {
        within("the last read", at.0, note.last_read);
    }
    if let (Some(at), Some(span)) = (timings.response_start, note.first_write) {
        within("the first write", at.0, span);
    }
    for (name, at, span) in [
        (
            "the first event",
            figures.and_then(|f| f.first_chunk),
            note.first_event,
        ),
        (
            "the last event",
            figures.and_then(|f| f.last_chunk),
            note.last_event,
        ),
    ] {
        if let (Some(at), Some(span)) = (at, span) {
            within(name, at.0, span);
        }
    }
    match (timings.response_end, note.last_write) {
        (Some(at), Some(span)) => within("the last write", at.0, span),
        (Some(_), None) => found.push("a write was told and there was none".to_owned()),
        (None, Some(_)) => found.push("the last write was not told".to_owned()),
        (None, None) => {}
    }
    if timings.request_start.0 < row.sent_ns {
        found.push("told to begin before it was sent".to_owned());
    }
    let end = timings.request_start.after(timings.duration()).0;
    let closed = note
        .close
        .or(note.last_write)
        .map_or(u64::MAX, |span| span.to);
    if end > closed.saturating_add(LATEST_END_NS) {
        found.push(format!("told to end {} ns after it was over", end - closed));
    }
    found
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use modeltap_core::connection::{CgroupId, ConnectionId, Transport};
    use modeltap_core::record::{Method, Timings};
    use modeltap_core::time::MonotonicNs;

    use super::super::script::Script;
    use super::*;

    const PORT: u16 = 40_000;

    /// A request as client, server and probes agree on it.
    fn agreed(situation: Situation, number: u32) -> (Row, Note, RequestRecord) {
        let script = Script::new(situation, number);
        let start = 1_000 * u64::from(number + 1);
        let span = |from: u64| Span {
            from: start + from,
            to: start + from + 20,
        };
        let at = |after: u64| MonotonicNs(start + after);
        let note = Note {
            port: PORT,
            path: script.path.clone(),
            first_read: span(10),
            last_read: span(10),
            first_write: Some(span(100)),
            last_write: Some(span(200)),
            n_events: 0,
            first_event: None,
            last_event: None,
            close: None,
        };
        let address = SocketAddr::from(([127, 0, 0, 1], PORT));
        let record = RequestRecord {
            connection: ConnectionId {
                socket: 1,
                opened: MonotonicNs(1),
            },
            sequence: u64::from(number),
            cgroup: CgroupId(7),
            transport: Transport::Tcp,
            peer: address,
            local: address,
            method: Some(Method::parse(script.method)),
            path: script.path.clone(),
            http_minor: 1,
            status: script.status,
            timings: Timings {
                arrived: None,
                accepted: None,
                request_start: at(15),
                request_end: Some(at(15)),
                response_start: Some(at(110)),
                body_start: Some(at(205)),
                response_end: Some(at(215)),
                drained: None,
                finished: at(215),
            },
            request_body_bytes: script.request_body_bytes,
            response_body_bytes: script.response_body_bytes,
            streamed: false,
            stream: None,
            inference: None,
            outcome: situation.outcome(),
            completeness: Completeness::Whole,
        };
        let row = Row {
            script,
            port: PORT,
            sent_ns: start,
            ended_ns: start + 300,
        };
        (row, note, record)
    }

    /// Compares three requests of which `change` has altered something.
    #[track_caller]
    fn check(
        change: impl FnOnce(&mut Vec<Row>, &mut Vec<Note>, &mut Vec<RequestRecord>),
        expected: &[&str],
    ) -> Comparison {
        let (mut rows, mut notes, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..3 {
            let (row, note, record) = agreed(Situation::KeepAlive, number);
            rows.push(row);
            notes.push(note);
            records.push(record);
        }
        change(&mut rows, &mut notes, &mut records);
        let comparison = compare(&rows, &notes, &records);
        assert_eq!(
            comparison.n_differences,
            expected.len() as u64,
            "{comparison:?}"
        );
        for (sentence, words) in comparison.differences.iter().zip(expected) {
            assert!(sentence.contains(words), "no {words:?} in {sentence:?}");
        }
        comparison
    }

    #[test]
    fn everything_as_it_was_is_exact() {
        let comparison = check(|_, _, _| {}, &[]);
        assert!(comparison.is_exact());
        let tally = Tally {
            n_sent: 3,
            n_seen: 3,
            n_exact: 3,
            n_inside: 3,
        };
        assert_eq!(comparison.total(), tally);
        assert_eq!(comparison.tallies.len(), Situation::ALL.len());
    }

    #[test]
    fn request_that_the_probes_missed_is_told() {
        let comparison = check(
            |_, _, records| _ = records.remove(1),
            &["/keep-alive/1 from port 40000: not seen"],
        );
        assert!(!comparison.is_exact());
        assert_eq!(
            (comparison.total().n_sent, comparison.total().n_seen),
            (3, 2)
        );
    }

    #[test]
    fn request_that_nobody_sent_is_told() {
        let twice = |_: &mut Vec<Row>, _: &mut Vec<Note>, records: &mut Vec<RequestRecord>| {
            records.push(records[2].clone());
        };
        let comparison = check(
            twice,
            &["/keep-alive/2 from port 40000: seen, but nobody sent it"],
        );
        assert_eq!(comparison.n_invented, 1);
    }

    #[test]
    fn request_that_the_server_never_read_is_told() {
        check(
            |_, notes, records| {
                notes.remove(0);
                records.remove(0);
            },
            &["/keep-alive/0 from port 40000: the server never read it"],
        );
    }

    #[test]
    fn each_figure_that_differs_is_named() {
        let alter = |change: fn(&mut RequestRecord), expected: &str| {
            check(|_, _, records| change(&mut records[0]), &[expected]);
        };
        alter(
            |record| record.status = Some(503),
            "status is Some(200) and was told as Some(503)",
        );
        alter(|record| record.status = None, "was told as None");
        alter(
            |record| record.method = Some(Method::Put),
            "method is Some(\"GET\")",
        );
        alter(
            |record| record.outcome = Outcome::Lost,
            "outcome is Complete",
        );
        alter(
            |record| record.completeness = Completeness::Gap,
            "completeness is Whole",
        );
        alter(|record| record.response_body_bytes += 1, "response body is");
        alter(
            |record| record.timings.request_start.0 -= 6,
            "the first read was told -1 ns after the call began",
        );
        alter(
            |record| record.timings.response_end = Some(MonotonicNs(1_221)),
            "1 ns after it returned",
        );
        alter(
            |record| record.timings.response_end = None,
            "the last write was not told",
        );
    }

    #[test]
    fn kernel_counts_reads_that_begin_a_request_and_every_response() {
        let (mut rows, mut notes) = (Vec::new(), Vec::new());
        for number in 0..8 {
            let (row, note, _) = agreed(Situation::Pipelined, number);
            rows.push(row);
            notes.push(note);
        }
        notes[1].first_read = notes[0].last_read;
        let counts = Counts::of_truth(&rows, &notes);
        let n_responses = [0, 3, 0, 3, 2];
        assert_eq!(
            counts,
            Counts {
                n_requests: 7,
                n_responses
            }
        );
    }

    #[test]
    fn end_behind_the_clients_is_exact_but_not_inside() {
        let comparison = check(|rows, _, _| rows[0].ended_ns = 1_210, &[]);
        assert_eq!(
            (comparison.total().n_exact, comparison.total().n_inside),
            (3, 2)
        );
    }
}
