//! The messages of one direction, one after the other.
//!
//! | state    | next bytes                       | left by                       |
//! |----------|----------------------------------|-------------------------------|
//! | Boundary | a head's; in pieces they wait    | a whole head, garbage         |
//! | Seeking  | anything; a head may begin a call| a whole head                  |
//! | Body     | of known length                  | its end, unseen framing       |
//! | Unframed | a body's whose end is not known  | its last chunk, the next head |
//! | Tunnel   | another protocol's, in HTTP      | never                         |
//! | Opaque   | not HTTP                         | never                         |

use modeltap_core::record::Completeness;

use crate::body::{Body, LAST_CHUNK, Progress};
use crate::detect::{self, Match, Protocol};
use crate::http1::{Head, MAX_HEAD_BYTES, Parsed, find_head_end};
use crate::input::{Beginning, Input};
use crate::table::Shared;
use crate::watch::Watch;

/// What was met in the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<H> {
    /// A head; the next call must be one of the `begin` functions if a body
    /// follows.
    Head {
        head: H,
        /// Its first byte moved.
        started: Beginning,
        /// Another message of the same direction ended in the same call.
        follows_in_call: bool,
    },
    /// Bytes of a body.
    Body { data: u64, progress: Progress },
    /// The message before ended at an unknown place: another one begins.
    Superseded,
    /// No message begins where one must.
    Garbage(Protocol),
    /// A message began in bytes that were not captured.
    Missed,
}

/// What a gap did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum GapEffect<H> {
    /// Nothing: the bytes meant nothing.
    Harmless,
    /// All of it lay inside a body, which goes on.
    Within(u64),
    /// A body ended with it.
    Ended(u64),
    /// A message ended in it, or may have.
    Broken,
    /// A head was being read; this much of it is known.
    Cut(Option<H>),
    /// No message was begun before it.
    Between,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Boundary,
    Seeking,
    Body(Body),
    Unframed(Tail),
    Tunnel,
    Opaque,
}

/// What is known of a body whose end is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tail {
    /// Its beginning was seen: all that passes belongs to it.
    begun: bool,
    /// Bytes of a last chunk that ended the last call, so that one in pieces
    /// is known too.
    matched: usize,
}

/// Reads the messages of one direction.
#[derive(Debug)]
pub(crate) struct Messages<H> {
    state: State,
    /// A head's beginning, where it comes in pieces.
    head: Vec<u8>,
    /// When its first byte moved.
    head_started: Beginning,
    head_follows_in_call: bool,
    /// Its first line was seen whole, and is one.
    head_is_plausible: bool,
    /// Most bytes of it that are held.
    room: usize,
    kind: std::marker::PhantomData<H>,
}

impl<H: Head> Messages<H> {
    /// A stream from its first byte.
    pub(crate) fn from_beginning() -> Self {
        Self::new(State::Boundary)
    }

    /// A stream whose beginning was not seen.
    pub(crate) fn from_middle() -> Self {
        Self::new(State::Seeking)
    }

    fn new(state: State) -> Self {
        Self {
            state,
            head: Vec::new(),
            head_started: Beginning::default(),
            head_follows_in_call: false,
            head_is_plausible: false,
            room: MAX_HEAD_BYTES,
            kind: std::marker::PhantomData,
        }
    }

    /// A body follows the head just met.
    pub(crate) fn begin_body(&mut self, body: Body) {
        self.state = State::Body(body);
    }

    /// A body whose end cannot be told follows the head just met.
    pub(crate) fn begin_unframed(&mut self) {
        self.state = State::Unframed(Tail {
            begun: true,
            matched: 0,
        });
    }

    /// The rest of the head just met follows, and perhaps a body.
    pub(crate) fn begin_cut(&mut self) {
        self.state = State::Unframed(Tail {
            begun: false,
            matched: 0,
        });
    }

    /// The next message begins at the beginning of some call.
    pub(crate) fn seek(&mut self, shared: &mut Shared) {
        if matches!(self.state, State::Tunnel | State::Opaque) {
            return;
        }
        self.discard_head(shared);
        self.state = State::Seeking;
    }

    /// The next message begins with the next byte.
    pub(crate) fn expect_head(&mut self) {
        self.state = State::Boundary;
    }

    /// All that follows is another protocol's, by agreement.
    pub(crate) fn make_tunnel(&mut self, shared: &mut Shared) {
        shared.stats.bytes_parsed += self.take_head(shared).len() as u64;
        self.state = State::Tunnel;
    }

    /// All that follows is of no interest.
    pub(crate) fn make_opaque(&mut self, shared: &mut Shared) {
        self.discard_head(shared);
        self.state = State::Opaque;
    }

    pub(crate) fn is_opaque(&self) -> bool {
        self.state == State::Opaque
    }

    pub(crate) fn is_unframed(&self) -> bool {
        matches!(self.state, State::Unframed(_))
    }

    /// Whether the body, if any, ends with the connection.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(
            self.state,
            State::Unframed(_) | State::Body(Body::UntilClose)
        )
    }

    /// When the first byte of the last head that came in pieces moved.
    pub(crate) fn head_started(&self) -> Beginning {
        self.head_started
    }

    /// Whether some but not all of a head was seen.
    pub(crate) fn is_inside_head(&self) -> bool {
        !self.head.is_empty()
    }

    /// Reads on: call until `None`. `may_begin` says whether a message may
    /// begin where none is expected.
    pub(crate) fn advance(
        &mut self,
        input: &mut Input<'_>,
        shared: &mut Shared,
        may_begin: bool,
        watch: &mut Watch,
    ) -> Option<Item<H>> {
        loop {
            match &mut self.state {
                State::Opaque => {
                    skip_all(input, shared, watch);
                    return None;
                }
                State::Tunnel => {
                    watch.pass_tunnel(input.bytes, input.unseen);
                    let (seen, unseen) = input.pass_all();
                    shared.stats.bytes_parsed += seen + unseen;
                    return None;
                }
                State::Body(body) => {
                    if input.is_empty() {
                        return None;
                    }
                    let (data, progress) = pass_body(body, input, shared, watch);
                    match progress {
                        Progress::More => {}
                        Progress::End => self.state = State::Boundary,
                        Progress::Broken => {
                            watch.miss(Completeness::Truncated);
                            self.begin_unframed();
                        }
                    }
                    return Some(Item::Body { data, progress });
                }
                State::Unframed(tail) => {
                    if input.is_empty() {
                        return None;
                    }
                    if input.fresh && may_begin && H::supersedes(input.bytes) {
                        self.state = State::Seeking;
                        return Some(Item::Superseded);
                    }
                    let ended = tail.take(input);
                    watch.skip(input.bytes);
                    let (seen, unseen) = input.pass_all();
                    shared.stats.bytes_skipped += seen;
                    shared.stats.bytes_truncated += unseen;
                    let progress = if ended { Progress::End } else { Progress::More };
                    let data = if tail.begun { seen + unseen } else { 0 };
                    if ended {
                        self.state = State::Boundary;
                    }
                    return Some(Item::Body { data, progress });
                }
                State::Boundary | State::Seeking => {
                    if !self.head.is_empty() {
                        return match self.continue_head(input, shared, watch) {
                            Continued::Retry => continue,
                            Continued::Item(item) => item,
                        };
                    }
                    if self.state == State::Seeking && !(input.fresh && may_begin) {
                        skip_all(input, shared, watch);
                        return None;
                    }
                    return self.begin_head(input, shared, watch);
                }
            }
        }
    }

    /// Passes over `n` lost bytes.
    pub(crate) fn gap(&mut self, n: u64, shared: &mut Shared, watch: &mut Watch) -> GapEffect<H> {
        match &mut self.state {
            State::Opaque => GapEffect::Harmless,
            State::Tunnel => {
                watch.lose_tunnel(n);
                GapEffect::Harmless
            }
            State::Body(body) => {
                let step = body.consume_lost(n, watch);
                match step.progress {
                    Progress::More => GapEffect::Within(step.data),
                    Progress::End => {
                        self.state = State::Boundary;
                        GapEffect::Ended(step.data)
                    }
                    Progress::Broken => {
                        self.state = State::Seeking;
                        GapEffect::Broken
                    }
                }
            }
            State::Unframed(_) => {
                self.state = State::Seeking;
                GapEffect::Broken
            }
            State::Boundary | State::Seeking => {
                self.state = State::Seeking;
                if self.head.is_empty() {
                    return GapEffect::Between;
                }
                GapEffect::Cut(self.salvage_head(shared))
            }
        }
    }

    /// A head begins, or does not, with the first byte of `input`.
    fn begin_head(
        &mut self,
        input: &mut Input<'_>,
        shared: &mut Shared,
        watch: &mut Watch,
    ) -> Option<Item<H>> {
        let follows_in_call = !input.fresh;
        // RFC 9112 section 2.2: empty lines before a request-line.
        let line_ends = input.bytes.iter().take_while(|byte| b"\r\n".contains(byte));
        let blank = line_ends.count();
        let behind = &input.bytes[blank..];
        if self.state == State::Boundary || H::surely_starts(behind) == Match::Yes {
            input.pass(blank);
            shared.stats.bytes_parsed += blank as u64;
        }
        if input.bytes.is_empty() {
            if input.unseen == 0 {
                return None;
            }
            shared.stats.bytes_truncated += input.pass_all().1;
            self.state = State::Seeking;
            return Some(Item::Missed);
        }
        let started = input.beginning();
        let starts = match self.state {
            State::Seeking => H::surely_starts(input.bytes),
            _ => H::starts(input.bytes),
        };
        let parsed = match starts {
            Match::No => Parsed::Invalid,
            Match::Maybe => Parsed::Partial,
            Match::Yes => H::parse(input.bytes),
        };
        match parsed {
            Parsed::Complete(head, length) => {
                input.pass(length);
                shared.stats.bytes_parsed += length as u64;
                self.state = State::Boundary;
                Some(Item::Head {
                    head,
                    started,
                    follows_in_call,
                })
            }
            Parsed::Partial if input.unseen > 0 || input.bytes.len() > self.room => {
                let (head, length) = (H::salvage(input.bytes), input.bytes.len());
                input.pass(length);
                watch.skip(input.bytes);
                self.cut_head(head, started, follows_in_call, length, input, shared)
            }
            Parsed::Partial => {
                self.head_started = started;
                self.head_follows_in_call = follows_in_call;
                self.head_is_plausible = input.bytes.contains(&b'\n');
                self.hold(input.bytes);
                shared.stats.bytes_buffered += input.bytes.len() as u64;
                input.pass(input.bytes.len());
                None
            }
            Parsed::Invalid => {
                let protocol = detect::classify(input.bytes);
                skip_all(input, shared, watch);
                self.no_head(protocol)
            }
        }
    }

    /// A head that began in an earlier call goes on.
    fn continue_head(
        &mut self,
        input: &mut Input<'_>,
        shared: &mut Shared,
        watch: &mut Watch,
    ) -> Continued<H> {
        if input.is_empty() {
            return Continued::Item(None);
        }
        let before = self.head.len();
        let appended = input.bytes.len().min(self.room.saturating_sub(before));
        let is_full = appended < input.bytes.len();
        self.hold(&input.bytes[..appended]);
        // The empty line may lie across the two calls.
        let end = find_head_end(&self.head, before.saturating_sub(3));
        let starts = match self.state {
            State::Seeking => H::surely_starts(&self.head),
            _ => H::starts(&self.head),
        };
        let parsed = match (starts, end) {
            (Match::No, _) => Parsed::Invalid,
            (Match::Yes, Some(end)) => match H::parse(&self.head[..end]) {
                Parsed::Partial => Parsed::Invalid,
                parsed => parsed,
            },
            (Match::Maybe, Some(_)) => Parsed::Invalid,
            (_, None) if !self.head_is_plausible && self.head.contains(&b'\n') => {
                // Once, so that other protocols' lines are not gathered.
                self.head_is_plausible = true;
                H::parse(&self.head)
            }
            (_, None) => Parsed::Partial,
        };
        match parsed {
            Parsed::Complete(head, length) => {
                // A head that was partial before ends in this call.
                input.pass(length.saturating_sub(before));
                shared.stats.bytes_parsed += length as u64;
                self.release_head(before, shared);
                self.state = State::Boundary;
                Continued::Item(Some(Item::Head {
                    head,
                    started: self.head_started,
                    follows_in_call: self.head_follows_in_call,
                }))
            }
            Parsed::Partial if input.unseen > 0 || is_full => {
                let head = H::salvage(&self.head);
                let length = self.head.len();
                self.release_head(before, shared);
                input.pass(appended);
                watch.skip(input.bytes);
                let (started, follows) = (self.head_started, self.head_follows_in_call);
                Continued::Item(self.cut_head(head, started, follows, length, input, shared))
            }
            Parsed::Partial => {
                input.pass(appended);
                shared.stats.bytes_buffered += appended as u64;
                Continued::Item(None)
            }
            Parsed::Invalid => {
                let protocol = detect::classify(&self.head);
                self.release_head(before, shared);
                shared.stats.bytes_skipped += before as u64;
                if self.state == State::Seeking {
                    // What looked like a head's beginning was none; this call
                    // may be one's.
                    return Continued::Retry;
                }
                skip_all(input, shared, watch);
                Continued::Item(self.no_head(protocol))
            }
        }
    }

    /// A head of which no more will be known. `length` bytes of it were, and
    /// are passed already.
    fn cut_head(
        &mut self,
        head: Option<H>,
        started: Beginning,
        follows_in_call: bool,
        length: usize,
        input: &mut Input<'_>,
        shared: &mut Shared,
    ) -> Option<Item<H>> {
        let (seen, unseen) = input.pass_all();
        shared.stats.bytes_truncated += unseen;
        shared.stats.bytes_skipped += seen;
        self.state = State::Seeking;
        match head {
            Some(head) => {
                shared.stats.bytes_parsed += length as u64;
                Some(Item::Head {
                    head,
                    started,
                    follows_in_call,
                })
            }
            None => {
                shared.stats.bytes_skipped += length as u64;
                Some(Item::Missed)
            }
        }
    }

    fn no_head(&mut self, protocol: Protocol) -> Option<Item<H>> {
        let expected = self.state == State::Boundary;
        self.state = State::Seeking;
        expected.then_some(Item::Garbage(protocol))
    }

    fn salvage_head(&mut self, shared: &mut Shared) -> Option<H> {
        let bytes = self.take_head(shared);
        let head = H::salvage(&bytes);
        match head {
            Some(_) => shared.stats.bytes_parsed += bytes.len() as u64,
            None => shared.stats.bytes_skipped += bytes.len() as u64,
        }
        head
    }

    /// Bytes of memory that a head's beginning takes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.head.capacity()
    }

    /// Lets a head in pieces take so much memory.
    pub(crate) fn make_room(&mut self, bytes: usize) {
        self.room = bytes.min(MAX_HEAD_BYTES);
    }

    /// Appends to the head, which has room for it. Memory grows as that of any
    /// vector, but not beyond the room.
    fn hold(&mut self, bytes: &[u8]) {
        let needed = self.head.len() + bytes.len();
        if needed > self.head.capacity() {
            let wanted = needed.max(self.room.min(self.head.capacity() * 2));
            self.head.reserve_exact(wanted - self.head.len());
        }
        self.head.extend_from_slice(bytes);
    }

    /// Gives up a head's beginning.
    pub(crate) fn discard_head(&mut self, shared: &mut Shared) {
        shared.stats.bytes_skipped += self.take_head(shared).len() as u64;
    }

    fn take_head(&mut self, shared: &mut Shared) -> Vec<u8> {
        let bytes = std::mem::take(&mut self.head);
        shared.stats.bytes_buffered -= bytes.len() as u64;
        bytes
    }

    /// Frees a head, of which `held` bytes were counted as buffered.
    fn release_head(&mut self, held: usize, shared: &mut Shared) {
        shared.stats.bytes_buffered -= held as u64;
        self.head = Vec::new();
    }
}

enum Continued<H> {
    /// The head was none; look at the call's bytes again.
    Retry,
    Item(Option<Item<H>>),
}

fn pass_body(
    body: &mut Body,
    input: &mut Input<'_>,
    shared: &mut Shared,
    watch: &mut Watch,
) -> (u64, Progress) {
    let step = if input.bytes.is_empty() {
        let step = body.consume_unseen(input.unseen, watch);
        input.pass_unseen(step.consumed + step.inferred);
        step
    } else {
        let step = body.consume(input.bytes, watch);
        input.pass(step.consumed as usize);
        step
    };
    shared.stats.bytes_parsed += step.consumed;
    shared.stats.bytes_truncated += step.inferred;
    (step.data, step.progress)
}

fn skip_all(input: &mut Input<'_>, shared: &mut Shared, watch: &mut Watch) {
    watch.skip(input.bytes);
    let (seen, unseen) = input.pass_all();
    shared.stats.bytes_skipped += seen + unseen;
}

impl Tail {
    /// Whether the call ends with a last chunk, which may have begun in the
    /// call before. One that does not begin a call follows a line's end.
    fn take(&mut self, input: &Input<'_>) -> bool {
        let bytes = input.bytes;
        let before = std::mem::take(&mut self.matched);
        if input.unseen > 0 {
            return false;
        }
        if before > 0 && LAST_CHUNK[before..].starts_with(bytes) {
            self.matched = before + bytes.len();
            return self.matched == LAST_CHUNK.len();
        }
        for length in (1..=LAST_CHUNK.len().min(bytes.len())).rev() {
            let (rest, end) = bytes.split_at(bytes.len() - length);
            if LAST_CHUNK.starts_with(end) && rest.last().is_none_or(|&byte| byte == b'\n') {
                self.matched = length;
                break;
            }
        }
        self.matched == LAST_CHUNK.len()
    }
}
