//! JSON read byte by byte: what stands where, and nothing kept of it.
//!
//! The scanner knows the names of a few members and where in the document it
//! is, so that a `"model"` inside a prompt's text is never taken for the
//! request's. It holds one short token; documents of any size pass through.
//! It does not check that a document is valid: what cannot be read ends it.

/// Longest name or value kept; longer strings are told cut.
pub(crate) const MAX_TOKEN_BYTES: usize = 128;
/// Containers of which the member's name is kept.
const MAX_PATH: usize = 8;
/// Containers opened within each other; beyond, the document is given up.
const MAX_DEPTH: u32 = 64;

/// Names of members that mean something to this crate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Key {
    /// Another name.
    #[default]
    Other,
    /// An element of an array.
    Item,
    Choices,
    CompletionTokens,
    Content,
    Delta,
    Error,
    EvalCount,
    InputTokens,
    Message,
    /// One that tells of the whole stream, never of a piece of it.
    Meta,
    Model,
    OutputTokens,
    PromptEvalCount,
    PromptTokens,
    Response,
    Role,
    Signature,
    Special,
    Text,
    TextOutput,
    Thinking,
    Token,
    ToolCalls,
    Type,
    Usage,
}

impl Key {
    fn of(name: &[u8]) -> Self {
        match name {
            b"choices" => Self::Choices,
            b"completion_tokens" => Self::CompletionTokens,
            b"content" => Self::Content,
            b"delta" => Self::Delta,
            b"error" => Self::Error,
            b"eval_count" => Self::EvalCount,
            b"input_tokens" => Self::InputTokens,
            b"message" => Self::Message,
            b"model" => Self::Model,
            b"output_tokens" => Self::OutputTokens,
            b"prompt_eval_count" => Self::PromptEvalCount,
            b"prompt_tokens" => Self::PromptTokens,
            b"response" => Self::Response,
            b"role" => Self::Role,
            b"signature" => Self::Signature,
            b"special" => Self::Special,
            b"text" => Self::Text,
            b"text_output" => Self::TextOutput,
            b"thinking" => Self::Thinking,
            b"token" => Self::Token,
            b"tool_calls" => Self::ToolCalls,
            b"type" => Self::Type,
            b"usage" => Self::Usage,
            b"created"
            | b"created_at"
            | b"done"
            | b"done_reason"
            | b"id"
            | b"object"
            | b"service_tier"
            | b"stop"
            | b"system_fingerprint"
            | b"timings" => Self::Meta,
            _ => Self::Other,
        }
    }
}

/// What was met at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// An object or an array begins.
    Opens,
    /// The first character of a string.
    Begins,
    /// A string's end: all of it, `None` where it is too long or has escapes
    /// that no name needs.
    String(Option<&'a [u8]>),
    /// A number, `None` where it is no natural one.
    Number(Option<u64>),
    /// `true`, `false` or `null`.
    Literal(&'a [u8]),
}

/// Takes what a [`Scanner`] meets.
pub(crate) trait Visit {
    /// `path` names the value from the outermost container on; values deeper
    /// than eight containers are not told.
    fn visit(&mut self, path: &[Key], value: Value<'_>);
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a value.
    #[default]
    Value,
    /// Before a member's name.
    Name,
    /// In a name.
    InName,
    /// Behind a name.
    Colon,
    /// In a string.
    InString,
    /// In a number or a literal.
    InScalar,
    /// Behind a value.
    After,
    /// The document is over, or is none.
    Done,
}

/// Place in a document.
#[derive(Clone, Debug)]
pub(crate) struct Scanner {
    state: State,
    /// The next character of the string is escaped.
    escaped: bool,
    depth: u32,
    /// Whether each open container is an object, innermost in the lowest bit.
    objects: u64,
    path: [Key; MAX_PATH],
    token: [u8; MAX_TOKEN_BYTES],
    token_bytes: usize,
    /// The token is not all there is of it.
    cut: bool,
    /// The string has a character.
    begun: bool,
    /// The outermost value was read to its end.
    whole: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Self {
            state: State::Value,
            escaped: false,
            depth: 0,
            objects: 0,
            path: [Key::Other; MAX_PATH],
            token: [0; MAX_TOKEN_BYTES],
            token_bytes: 0,
            cut: false,
            begun: false,
            whole: false,
        }
    }
}

impl Scanner {
    /// Begins another document.
    pub(crate) fn restart(&mut self) {
        (self.state, self.depth, self.whole) = (State::Value, 0, false);
    }

    /// Whether the document was read to its end.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Gives up the document: bytes of it are missing.
    pub(crate) fn give_up(&mut self) {
        self.state = State::Done;
    }

    /// Reads on.
    pub(crate) fn scan(&mut self, bytes: &[u8], visit: &mut impl Visit) {
        let mut rest = bytes.iter();
        while let Some(&byte) = rest.next() {
            match self.state {
                State::Done => return,
                State::InString if !self.escaped && self.cut => {
                    // Most of a document is the inside of long strings.
                    if byte != b'"' && byte != b'\\' {
                        let inside = rest.as_slice().iter();
                        let n = inside.take_while(|byte| !b"\"\\".contains(byte)).count();
                        rest = rest.as_slice()[n..].iter();
                        continue;
                    }
                    self.string_byte(byte, visit);
                }
                State::InString | State::InName => self.string_byte(byte, visit),
                State::InScalar => match byte {
                    b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' => {
                        self.end_scalar(visit);
                        self.between(byte, visit);
                    }
                    _ => self.push(byte),
                },
                State::Value | State::Name | State::Colon | State::After => {
                    self.between(byte, visit);
                }
            }
        }
    }

    fn string_byte(&mut self, byte: u8, visit: &mut impl Visit) {
        if self.state == State::InString && !self.begun && byte != b'"' {
            self.begun = true;
            self.tell(Value::Begins, visit);
        }
        if self.escaped {
            self.escaped = false;
            match byte {
                b'"' | b'\\' | b'/' => self.push(byte),
                _ => self.cut = true,
            }
            return;
        }
        match byte {
            b'\\' => self.escaped = true,
            b'"' if self.state == State::InName => {
                let name = &self.token[..self.token_bytes];
                let key = if self.cut { Key::Other } else { Key::of(name) };
                self.set_key(key);
                self.state = State::Colon;
            }
            b'"' => {
                let all = (!self.cut).then_some(&self.token[..self.token_bytes]);
                if let Some(path) = self.path.get(..self.depth as usize) {
                    visit.visit(path, Value::String(all));
                }
                self.end_value();
            }
            _ => self.push(byte),
        }
    }

    fn between(&mut self, byte: u8, visit: &mut impl Visit) {
        match (self.state, byte) {
            (State::Done, _) | (_, b' ' | b'\t' | b'\r' | b'\n') => {}
            (State::Value, b'"') => self.begin_token(State::InString),
            (State::Value, b'{' | b'[') => self.open(byte == b'{', visit),
            (State::Value, b'-' | b'0'..=b'9' | b't' | b'f' | b'n') => {
                self.begin_token(State::InScalar);
                self.push(byte);
            }
            (State::Name, b'"') => self.begin_token(State::InName),
            (State::Colon, b':') => self.state = State::Value,
            (State::After, b',') if self.depth > 0 => {
                self.state = if self.objects & 1 == 1 {
                    State::Name
                } else {
                    State::Value
                };
            }
            (State::After | State::Name, b'}') if self.depth > 0 && self.objects & 1 == 1 => {
                self.close();
            }
            (State::After | State::Value, b']') if self.depth > 0 && self.objects & 1 == 0 => {
                self.close();
            }
            _ => self.state = State::Done,
        }
    }

    fn open(&mut self, is_object: bool, visit: &mut impl Visit) {
        self.tell(Value::Opens, visit);
        if self.depth == MAX_DEPTH {
            self.state = State::Done;
            return;
        }
        self.depth += 1;
        self.objects = self.objects << 1 | u64::from(is_object);
        self.set_key(if is_object { Key::Other } else { Key::Item });
        self.state = if is_object { State::Name } else { State::Value };
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.objects >>= 1;
        self.end_value();
    }

    fn end_value(&mut self) {
        self.whole = self.depth == 0;
        self.state = if self.whole {
            State::Done
        } else {
            State::After
        };
    }

    fn end_scalar(&mut self, visit: &mut impl Visit) {
        let text = &self.token[..self.token_bytes];
        let value = match text.first() {
            Some(b'-' | b'0'..=b'9') => Value::Number(natural(text)),
            _ => Value::Literal(text),
        };
        if let Some(path) = self.path.get(..self.depth as usize) {
            visit.visit(path, value);
        }
        self.end_value();
    }

    fn tell(&self, value: Value<'_>, visit: &mut impl Visit) {
        if let Some(path) = self.path.get(..self.depth as usize) {
            visit.visit(path, value);
        }
    }

    fn begin_token(&mut self, state: State) {
        self.state = state;
        (self.token_bytes, self.cut, self.begun) = (0, false, false);
        self.escaped = false;
    }

    fn push(&mut self, byte: u8) {
        match self.token.get_mut(self.token_bytes) {
            Some(place) => {
                *place = byte;
                self.token_bytes += 1;
            }
            None => self.cut = true,
        }
    }

    /// Names the value that follows in the innermost container.
    fn set_key(&mut self, key: Key) {
        if let Some(place) = self.path.get_mut(self.depth as usize - 1) {
            *place = key;
        }
    }
}

fn natural(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Log(Vec<String>);

    impl Visit for Log {
        fn visit(&mut self, path: &[Key], value: Value<'_>) {
            let value = match value {
                Value::Opens => return,
                Value::Begins => "~".to_owned(),
                Value::String(Some(text)) => format!("{:?}", String::from_utf8_lossy(text)),
                Value::String(None) => "cut".to_owned(),
                Value::Number(number) => format!("{number:?}"),
                Value::Literal(text) => String::from_utf8_lossy(text).into_owned(),
            };
            self.0.push(format!("{path:?} {value}"));
        }
    }

    /// Whether any split of `document` gives `expected`.
    #[track_caller]
    fn check(document: &str, expected: &[&str]) {
        for cut in 0..=document.len() {
            let (mut scanner, mut log) = (Scanner::default(), Log::default());
            let (head, tail) = document.as_bytes().split_at(cut);
            scanner.scan(head, &mut log);
            scanner.scan(tail, &mut log);
            assert_eq!(log.0, expected, "split at {cut}");
        }
    }

    #[test]
    fn members_are_told_by_where_they_stand() {
        check(
            r#"{"model": "m\/1", "choices": [{"text": "", "x": [1, -2, 3.5]}, true], "y": null}"#,
            &[
                "[Model] ~",
                r#"[Model] "m/1""#,
                r#"[Choices, Item, Text] """#,
                "[Choices, Item, Other, Item] Some(1)",
                "[Choices, Item, Other, Item] None",
                "[Choices, Item, Other, Item] None",
                "[Choices, Item] true",
                "[Other] null",
            ],
        );
    }

    #[test]
    fn names_inside_texts_are_texts() {
        check(
            r#"{"message": "{\"model\": \"no\"}", "model": "yes"}"#,
            &[
                "[Message] ~",
                r#"[Message] "{\"model\": \"no\"}""#,
                "[Model] ~",
                r#"[Model] "yes""#,
            ],
        );
    }

    #[test]
    fn escapes_and_long_texts_are_cut() {
        check(r#"["a\u0041"]"#, &["[Item] ~", "[Item] cut"]);
        check(r#"{"mod\u0065l": 1}"#, &["[Other] Some(1)"]);
        let long = "x".repeat(MAX_TOKEN_BYTES);
        let mut log = Log::default();
        Scanner::default().scan(
            format!("[\"{long}\", \"{long}\\\"y\"]").as_bytes(),
            &mut log,
        );
        assert_eq!(log.0[1], format!("[Item] {long:?}"));
        assert_eq!(log.0[3], "[Item] cut");
        assert_eq!(log.0.len(), 4);
    }

    #[test]
    fn document_ends_where_it_is_none() {
        for document in [
            "{]",
            "{\"a\" 1",
            "}",
            "[1}",
            "{\"a\":1,}x",
            "hello",
            "{\"a\":}",
            "1,2",
        ] {
            let mut scanner = Scanner::default();
            scanner.scan(document.as_bytes(), &mut Log::default());
            scanner.scan(b"{\"model\": \"m\"}", &mut Log::default());
            assert!(scanner.state == State::Done, "{document}");
        }
        let mut scanner = Scanner::default();
        scanner.scan("[".repeat(100).as_bytes(), &mut Log::default());
        assert!(scanner.state == State::Done && !scanner.is_whole());
        let mut scanner = Scanner::default();
        scanner.scan(
            b"{\"a\": [[[[[[[[[[\"deep\"]]]]]]]]]]}",
            &mut Log::default(),
        );
        assert!(scanner.is_whole());
    }
}
