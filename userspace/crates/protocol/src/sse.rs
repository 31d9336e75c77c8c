//! Where the pieces of a stream begin and end: server-sent events (the WHATWG
//! HTML standard, section 9.2.6) and lines.
//!
//! Only where a piece's data lies is told, byte range by byte range; nothing
//! is kept but a field's name.

/// Longest field name that means something: `retry`, and one more byte.
const MAX_NAME_BYTES: usize = 6;
/// U+FEFF, which may stand before the first event.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What was met in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Bytes of the piece's data.
    Data(&'a [u8]),
    /// The piece is over.
    End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// At a line's beginning.
    #[default]
    LineStart,
    /// In a field's name, of so many bytes.
    Name(usize),
    /// In the value of a `data` field, a space before it included.
    Data,
    /// In a line that carries no data.
    Ignored,
    /// Bytes before are missing: until a piece begins.
    Lost,
    /// As `Lost`, behind a line's end.
    LostLineStart,
}

/// An event that was counted though its end was not seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Open {
    /// None was.
    #[default]
    Nothing,
    /// Its data is a JSON object.
    Object,
    /// Its data is something else.
    Text,
}

/// Finds the events of a stream.
#[derive(Clone, Debug, Default)]
pub(crate) struct Events {
    state: State,
    name: [u8; MAX_NAME_BYTES],
    /// The last byte was a CR: an LF behind it ends no other line.
    after_cr: bool,
    /// The event has a `data` field.
    has_data: bool,
    /// What was begun when bytes were lost, and may go on.
    open: Open,
    mark_bytes: u8,
}

impl Events {
    /// Reads on, and hands out what was met. `begins_call` says that the bytes
    /// are the first of a call or of a chunk, where events mostly begin.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        begins_call: bool,
        mut tell: impl FnMut(Piece<'_>),
    ) {
        if begins_call
            && matches!(self.state, State::Lost | State::LostLineStart)
            && begins_event(bytes, self.open)
        {
            self.state = State::LineStart;
            self.after_cr = false;
        }
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if self.state == State::Data || self.state == State::Ignored {
                let inside = bytes[at..].iter().position(|byte| b"\r\n".contains(byte));
                let end = inside.map_or(bytes.len(), |n| at + n);
                if end > at {
                    if self.state == State::Data {
                        tell(Piece::Data(&bytes[at..end]));
                    }
                    at = end;
                    continue;
                }
            }
            at += 1;
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                continue;
            }
            match byte {
                b'\r' | b'\n' => {
                    self.after_cr = byte == b'\r';
                    self.end_line(&mut tell);
                }
                _ => self.line_byte(byte),
            }
        }
    }

    fn line_byte(&mut self, byte: u8) {
        // A mark in pieces stands before the first event alone.
        let mark_bytes = usize::from(self.mark_bytes);
        if self.state == State::LineStart && BYTE_ORDER_MARK.get(mark_bytes) == Some(&byte) {
            self.mark_bytes += 1;
            return;
        }
        self.mark_bytes = BYTE_ORDER_MARK.len() as u8;
        self.state = match self.state {
            State::LineStart => match byte {
                b':' => State::Ignored,
                _ => {
                    self.name[0] = byte;
                    State::Name(1)
                }
            },
            State::Name(n) if byte == b':' => self.field(n, State::Data),
            State::Name(n) => match self.name.get_mut(n) {
                Some(place) => {
                    *place = byte;
                    State::Name(n + 1)
                }
                None => State::Ignored,
            },
            State::LostLineStart => State::Lost,
            state => state,
        };
    }

    fn field(&mut self, name_bytes: usize, data: State) -> State {
        if &self.name[..name_bytes] != b"data" {
            return State::Ignored;
        }
        self.has_data = true;
        data
    }

    fn end_line(&mut self, tell: &mut impl FnMut(Piece<'_>)) {
        self.mark_bytes = BYTE_ORDER_MARK.len() as u8;
        self.state = match self.state {
            State::LineStart => {
                if std::mem::take(&mut self.has_data) {
                    tell(Piece::End);
                }
                State::LineStart
            }
            State::Lost => State::LostLineStart,
            State::LostLineStart => State::LineStart,
            State::Name(n) => {
                // A name alone is a field without a value.
                self.field(n, State::LineStart);
                State::LineStart
            }
            State::Data => {
                // Lines of one event are joined by line ends.
                tell(Piece::Data(b"\n"));
                State::LineStart
            }
            State::Ignored => State::LineStart,
        };
    }

    /// Bytes are missing: what was begun is given up.
    pub(crate) fn lose(&mut self, open: Open) {
        self.state = State::Lost;
        self.open = open;
        self.after_cr = false;
        self.has_data = false;
        self.mark_bytes = BYTE_ORDER_MARK.len() as u8;
    }

    /// Whether an event was begun and has data.
    pub(crate) fn is_inside(&self) -> bool {
        self.has_data
    }
}

/// Finds the lines of a stream; empty ones are none. A CR before the LF is
/// white space to JSON.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lines {
    inside: bool,
    lost: bool,
}

impl Lines {
    /// As [`Events::read`].
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        begins_call: bool,
        mut tell: impl FnMut(Piece<'_>),
    ) {
        // Each line is a JSON value, and nearly always an object.
        if begins_call && bytes.first() == Some(&b'{') {
            self.lost = false;
        }
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match line {
                [text @ .., b'\n'] => (text, true),
                text => (text, false),
            };
            if !text.is_empty() && !self.lost {
                self.inside = true;
                tell(Piece::Data(text));
            }
            if ends {
                if std::mem::take(&mut self.inside) {
                    tell(Piece::End);
                }
                self.lost = false;
            }
        }
    }

    /// As [`Events::lose`].
    pub(crate) fn lose(&mut self) {
        (self.inside, self.lost) = (false, true);
    }

    /// Whether a line was begun.
    pub(crate) fn is_inside(&self) -> bool {
        self.inside
    }
}

/// Whether a call that begins with `bytes` begins an event. Where another may
/// go on in it, its lines may begin so too: then only an object behind an
/// object is taken for another event.
fn begins_event(bytes: &[u8], open: Open) -> bool {
    if let Some(data) = bytes.strip_prefix(b"data:") {
        return match open {
            Open::Nothing => true,
            Open::Object => data.trim_ascii_start().first() == Some(&b'{'),
            Open::Text => false,
        };
    }
    [&b"event:"[..], b"id:", b"retry:", b":"]
        .iter()
        .any(|field| bytes.starts_with(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `parts`, each a call; `|` ends a piece.
    fn events(parts: &[&str]) -> String {
        let (mut events, mut told) = (Events::default(), Vec::new());
        for part in parts {
            events.read(part.as_bytes(), true, |piece| match piece {
                Piece::Data(bytes) => told.extend_from_slice(bytes),
                Piece::End => told.push(b'|'),
            });
        }
        String::from_utf8(told).unwrap()
    }

    #[track_caller]
    fn check(stream: &str, expected: &str) {
        for ends in ["\n", "\r\n", "\r"] {
            let stream = stream.replace('\n', ends);
            assert_eq!(events(&[&stream]), expected, "{stream:?}");
            for cut in (0..=stream.len()).filter(|cut| stream.is_char_boundary(*cut)) {
                let (head, tail) = stream.split_at(cut);
                assert_eq!(events(&[head, tail]), expected, "{head:?} {tail:?}");
            }
            let bytes: Vec<_> = stream.split("").collect();
            assert_eq!(events(&bytes), expected, "{stream:?}");
        }
    }

    #[test]
    fn events_are_data_lines_up_to_an_empty_line() {
        check("data: a\n\n", " a\n|");
        check("data:a\ndata: b\n\n", "a\n b\n|");
        check("event: x\ndata: a\nid: 1\n\ndata: b\n\n", " a\n| b\n|");
        check("event: x\n\n: comment\n\nretry: 1\n\n", "");
        check("data\n\ndata:\n\n", "|\n|");
        check("datax: a\n\ndat: b\n\nlonger-than-any: c\n\n", "");
        check("data: a\n", " a\n");
        check("\n\n\ndata: a: b\n\n\n\n", " a: b\n|");
        check("\u{feff}data: a\n\n\u{feff}data: b\n\n", " a\n|");
    }

    #[test]
    fn lost_bytes_hide_what_was_begun_and_no_more() {
        let mut sse = Events::default();
        let mut told = Vec::new();
        let mut read = |sse: &mut Events, part: &str, begins| {
            sse.read(part.as_bytes(), begins, |piece| match piece {
                Piece::Data(bytes) => told.extend_from_slice(bytes),
                Piece::End => told.push(b'|'),
            });
        };
        read(&mut sse, "data: a", true);
        sse.lose(Open::Nothing);
        assert!(!sse.is_inside());
        // The rest of the event, then one that is whole.
        read(&mut sse, "bc\ndata: d\n\ndata: e\n\n", true);
        sse.lose(Open::Nothing);
        read(&mut sse, "data: f\n\n", true);
        sse.lose(Open::Nothing);
        read(&mut sse, "data: g\n\ndata: h\n\n", false);
        assert_eq!(String::from_utf8(told).unwrap(), " a e\n| f\n| h\n|");
    }

    #[test]
    fn event_that_was_counted_is_not_counted_by_its_later_lines() {
        for (open, call, expected) in [
            (Open::Nothing, "data: 2]\n\n", " 2]\n|"),
            (Open::Text, "data: 2]\n\ndata: b\n\n", " b\n|"),
            (Open::Object, "data: {}\n\n", " {}\n|"),
            (Open::Object, "data: \"a\": 1}\n\ndata: b\n\n", " b\n|"),
            (Open::Text, "event: x\ndata: b\n\n", " b\n|"),
        ] {
            let (mut events, mut told) = (Events::default(), Vec::new());
            events.lose(open);
            events.read(call.as_bytes(), true, |piece| match piece {
                Piece::Data(bytes) => told.extend_from_slice(bytes),
                Piece::End => told.push(b'|'),
            });
            assert_eq!(
                String::from_utf8(told).unwrap(),
                expected,
                "{open:?} {call}"
            );
        }
    }

    #[test]
    fn lines_are_pieces_but_for_empty_ones() {
        let stream = "{\"a\":1}\r\n\r\n{\"b\":2}\n{\"c\"";
        for cut in 0..=stream.len() {
            let (mut lines, mut told) = (Lines::default(), Vec::new());
            let (head, tail) = stream.split_at(cut);
            for part in [head, tail] {
                lines.read(part.as_bytes(), true, |piece| match piece {
                    Piece::Data(bytes) => told.extend_from_slice(bytes),
                    Piece::End => told.push(b'|'),
                });
            }
            assert_eq!(told, b"{\"a\":1}\r|\r|{\"b\":2}|{\"c\"", "{cut}");
            assert!(lines.is_inside());
        }
    }

    #[test]
    fn line_whose_end_was_lost_is_none() {
        let (mut lines, mut told) = (Lines::default(), Vec::new());
        let mut read = |lines: &mut Lines, part: &str| {
            lines.read(part.as_bytes(), true, |piece| match piece {
                Piece::Data(bytes) => told.extend_from_slice(bytes),
                Piece::End => told.push(b'|'),
            });
        };
        read(&mut lines, "{1");
        lines.lose();
        read(&mut lines, "2}\n{3}\n");
        lines.lose();
        read(&mut lines, "{4}\n");
        assert_eq!(told, b"{1{3}|{4}|");
    }
}
