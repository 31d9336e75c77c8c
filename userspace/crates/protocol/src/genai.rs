//! Inference endpoints by their paths, and what a piece of a stream carries.
//!
//! The shapes known are those of OpenAI's APIs, llama.cpp, Ollama, TGI,
//! Anthropic and Triton. A piece of an unknown shape that is not empty carries
//! content: what else would it be written for.

use modeltap_core::record::{Inference, Operation};

use crate::inspect::Usage;
use crate::json::{Key, Scanner, Value, Visit};
use crate::sse::Open;

/// Longest name of a model that is kept.
pub(crate) const MAX_MODEL_BYTES: usize = 128;

/// What stands for the end of a stream in OpenAI's and most others' APIs.
const DONE: &[u8] = b"[DONE]";

/// The inference that a request to `path` asks for, if it asks for one.
pub(crate) fn endpoint(path: &str) -> Option<Inference> {
    let mut segments = path.trim_end_matches('/').rsplit('/');
    let last = segments.next()?;
    let (before, earlier) = (
        segments.next().unwrap_or_default(),
        segments.next().unwrap_or_default(),
    );
    let is_root = before.is_empty();
    let operation = |operation| Some(inference(operation, None));
    match (earlier, before, last) {
        (_, "chat", "completions") => operation(Operation::Chat),
        (_, "v1" | "v3", "completions") => operation(Operation::TextCompletion),
        (_, "v1" | "v3", "embeddings") => operation(Operation::Embeddings),
        (_, "v1", "messages") => operation(Operation::Chat),
        (_, "v1", "responses") => operation(Operation::GenerateContent),
        (_, "api", "chat") => operation(Operation::Chat),
        (_, "api", "generate") => operation(Operation::TextCompletion),
        (_, "api", "embed" | "embeddings") => operation(Operation::Embeddings),
        (_, "predictions", model) => Some(inference(Operation::Predict, Some(model))),
        // TorchServe's, with a version.
        ("predictions", model, version) if version.starts_with(|c: char| c.is_ascii_digit()) => {
            Some(inference(Operation::Predict, Some(model)))
        }
        (_, _, "infer" | "generate" | "generate_stream") => model_endpoint(path, last, is_root),
        (_, _, "completion") if is_root => operation(Operation::TextCompletion),
        (_, _, "invocations") => operation(Operation::Predict),
        _ => None,
    }
}

/// `/v2/models/{model}/infer`, with or without `/versions/{version}` (the Open
/// Inference Protocol and Triton's generate extension); else TGI's
/// `/generate`, which has no name so telling that it may stand anywhere.
fn model_endpoint(path: &str, last: &str, is_root: bool) -> Option<Inference> {
    let Some((_, rest)) = path.rsplit_once("/v2/models/") else {
        let is_generate = last == "generate_stream" || (last == "generate" && is_root);
        return is_generate.then(|| inference(Operation::TextCompletion, None));
    };
    let mut segments = rest.trim_end_matches('/').split('/');
    let model = segments.next().filter(|model| !model.is_empty())?;
    let behind: Vec<_> = segments.take(4).collect();
    let operation = match last {
        "infer" => Operation::Predict,
        _ => Operation::GenerateContent,
    };
    matches!(behind[..], [_] | ["versions", _, _]).then(|| inference(operation, Some(model)))
}

fn inference(operation: Operation, model: Option<&str>) -> Inference {
    Inference {
        operation,
        model: model.and_then(model_name),
        input_tokens: None,
        output_tokens: None,
    }
}

/// A model's name as it may be shown: short enough, and printable.
pub(crate) fn model_name(text: &str) -> Option<String> {
    let is_name = !text.is_empty()
        && text.len() <= MAX_MODEL_BYTES
        && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    is_name.then(|| text.to_owned())
}

/// What a frame's `type` says of it (Anthropic's events, OpenAI's responses).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Content stands under `delta`.
    Delta,
    /// It carries none.
    Empty,
}

impl Kind {
    fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"content_block_delta" => Some(Self::Delta),
            b"message_start"
            | b"message_delta"
            | b"message_stop"
            | b"content_block_start"
            | b"content_block_stop"
            | b"ping"
            | b"keepalive"
            | b"heartbeat"
            | b"usage"
            | b"error" => Some(Self::Empty),
            _ if name.starts_with(b"response.") => Some(match name.ends_with(b".delta") {
                true => Self::Delta,
                false => Self::Empty,
            }),
            _ => None,
        }
    }
}

/// What is known of a frame's members.
#[derive(Clone, Copy, Debug, Default)]
struct Facts {
    kind: Option<Kind>,
    has_choices: bool,
    /// Text under `choices`.
    choice: bool,
    /// Text under `delta`.
    delta: bool,
    has_text: bool,
    /// Text in a member that is for text.
    text: bool,
    has_token: bool,
    /// Text of a token.
    token: bool,
    /// The token ends the text, and is not of it.
    special: bool,
    is_error: bool,
    /// Members that no known shape has.
    has_others: bool,
}

impl Visit for Facts {
    fn visit(&mut self, path: &[Key], value: Value<'_>) {
        if path.len() == 1 {
            self.visit_member(path[0], value);
        }
        if path == [Key::Token, Key::Special] {
            self.special = value == Value::Literal(b"true");
        }
        if value != Value::Begins {
            return;
        }
        match *path {
            [
                Key::Choices,
                Key::Item,
                Key::Delta | Key::Message,
                Key::Role,
            ] => {}
            [Key::Choices, Key::Item, Key::Delta | Key::Message, ..] => self.choice = true,
            [Key::Choices, Key::Item, Key::Text] => self.choice = true,
            [Key::Delta] => self.delta = true,
            [Key::Delta, Key::Type | Key::Signature] => {}
            [Key::Delta, ..] => self.delta = true,
            [Key::Message]
            | [
                Key::Message,
                Key::Content | Key::Thinking | Key::ToolCalls,
                ..,
            ]
            | [
                Key::Content | Key::Response | Key::Thinking | Key::TextOutput | Key::Text,
                ..,
            ] => {
                self.text = true;
            }
            [Key::Token] | [Key::Token, Key::Text] => self.token = true,
            _ => {}
        }
    }
}

impl Facts {
    fn visit_member(&mut self, key: Key, value: Value<'_>) {
        let is_null = value == Value::Literal(b"null");
        match key {
            // No known shape has a number where it has text.
            Key::Content | Key::Response | Key::Text | Key::TextOutput | Key::Token
                if matches!(value, Value::Number(_)) =>
            {
                self.has_others = true;
            }
            Key::Choices => self.has_choices |= value == Value::Opens,
            Key::Type => {
                if let Value::String(Some(name)) = value {
                    self.kind = Kind::of(name);
                }
            }
            Key::Content
            | Key::Message
            | Key::Response
            | Key::Text
            | Key::TextOutput
            | Key::Thinking => self.has_text = true,
            Key::Token => self.has_token = true,
            Key::Error => self.is_error |= !is_null,
            Key::Meta | Key::Model | Key::Usage | Key::EvalCount | Key::PromptEvalCount => {}
            _ => self.has_others |= !is_null,
        }
    }

    /// Whether the frame, which is a JSON object, carries content.
    fn is_content(&self) -> bool {
        match self.kind {
            Some(Kind::Delta) => self.delta,
            Some(Kind::Empty) => false,
            None if self.is_error => false,
            None if self.has_choices => self.choice,
            None if self.has_token => self.token && !self.special,
            None if self.has_text => self.text,
            None => self.has_others,
        }
    }
}

/// Whether one event or line carries content, as its bytes pass.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    scanner: Scanner,
    facts: Facts,
    /// Something but white space was seen.
    begun: bool,
    /// It begins as a JSON object does.
    is_object: bool,
    /// Bytes of `[DONE]` seen, with nothing else.
    done_bytes: Option<usize>,
    /// What the frames tell of tokens, where that is wanted.
    usage: Option<Usage>,
}

impl Frame {
    /// Wants to know what the frames tell of tokens.
    pub(crate) fn want_usage(&mut self) {
        self.usage = Some(Usage::default());
    }

    /// What the frames told so far of tokens.
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// Begins another frame.
    pub(crate) fn restart(&mut self) {
        self.scanner.restart();
        (self.facts, self.begun) = (Facts::default(), false);
    }

    /// Takes in bytes of its data.
    pub(crate) fn take(&mut self, mut bytes: &[u8]) {
        if !self.begun {
            bytes = bytes.trim_ascii_start();
            let Some(first) = bytes.first() else {
                return;
            };
            self.begun = true;
            self.is_object = *first == b'{';
            self.done_bytes = Some(0);
        }
        if self.is_object {
            match &mut self.usage {
                None => self.scanner.scan(bytes, &mut self.facts),
                Some(usage) => self.scanner.scan(bytes, &mut Both(&mut self.facts, usage)),
            }
            return;
        }
        for byte in bytes {
            let Some(seen) = self.done_bytes else {
                return;
            };
            self.done_bytes = match DONE.get(seen) {
                Some(expected) => (byte == expected).then_some(seen + 1),
                None => byte.is_ascii_whitespace().then_some(seen),
            };
        }
    }

    /// Whether it carries content, once it is over.
    pub(crate) fn is_content(&self) -> bool {
        match self.begun {
            false => false,
            // Broken JSON is of an unknown shape.
            true if self.is_object => self.facts.is_content() || !self.scanner.is_whole(),
            true => self.done_bytes != Some(DONE.len()),
        }
    }

    /// What kind of frame it is, where its end was not seen.
    pub(crate) fn open(&self) -> Open {
        match self.is_object {
            true => Open::Object,
            false => Open::Text,
        }
    }

    /// Whether it is known to carry content though its end was not seen.
    pub(crate) fn is_surely_content(&self) -> bool {
        match self.is_object {
            true => self.begun && self.facts.is_content(),
            false => self.begun && self.done_bytes.is_none(),
        }
    }
}

/// Two that take the same values.
struct Both<'a>(&'a mut Facts, &'a mut Usage);

impl Visit for Both<'_> {
    fn visit(&mut self, path: &[Key], value: Value<'_>) {
        self.0.visit(path, value);
        self.1.visit(path, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_told_by_their_paths() {
        use Operation::{Chat, Embeddings, GenerateContent, Predict, TextCompletion};
        for (path, expected) in [
            ("/v1/chat/completions", Some((Chat, None))),
            ("/openai/v1/chat/completions/", Some((Chat, None))),
            ("/openai/deployments/m/chat/completions", Some((Chat, None))),
            ("/v1/completions", Some((TextCompletion, None))),
            ("/v1/embeddings", Some((Embeddings, None))),
            ("/v1/messages", Some((Chat, None))),
            ("/api/chat", Some((Chat, None))),
            ("/api/generate", Some((TextCompletion, None))),
            ("/ollama/api/embed", Some((Embeddings, None))),
            ("/generate", Some((TextCompletion, None))),
            ("/generate_stream", Some((TextCompletion, None))),
            ("/completion", Some((TextCompletion, None))),
            ("/v2/models/resnet/infer", Some((Predict, Some("resnet")))),
            (
                "/triton/v2/models/a%2Fb/infer",
                Some((Predict, Some("a%2Fb"))),
            ),
            (
                "/v2/models/resnet/versions/3/infer",
                Some((Predict, Some("resnet"))),
            ),
            (
                "/v2/models/llm/generate",
                Some((GenerateContent, Some("llm"))),
            ),
            (
                "/v2/models/llm/versions/1/generate_stream",
                Some((GenerateContent, Some("llm"))),
            ),
            ("/predictions/mnist", Some((Predict, Some("mnist")))),
            ("/predictions/mnist/1.0", Some((Predict, Some("mnist")))),
            ("/invocations", Some((Predict, None))),
            ("/v2/models/resnet", None),
            ("/v2/models/resnet/ready", None),
            ("/v2/models//infer", None),
            ("/v2/models/a/b/c/d/infer", None),
            ("/reports/generate", None),
            ("/tasks/completion", None),
            ("/v1/models", None),
            ("/completions", None),
            ("/", None),
            ("", None),
        ] {
            let told = endpoint(path).map(|inference| (inference.operation, inference.model));
            let expected = expected.map(|(operation, model)| (operation, model.map(str::to_owned)));
            assert_eq!(told, expected, "{path}");
        }
    }

    #[test]
    fn names_of_models_are_short_and_printable() {
        assert_eq!(model_name("org/model:7b"), Some("org/model:7b".to_owned()));
        for text in ["", "a b", "a\nb", &"x".repeat(129)] {
            assert_eq!(model_name(text), None, "{text:?}");
        }
    }

    #[track_caller]
    fn check(data: &str, expected: bool) {
        let mut frame = Frame::default();
        for cut in (0..=data.len()).filter(|cut| data.is_char_boundary(*cut)) {
            frame.restart();
            frame.take(&data.as_bytes()[..cut]);
            frame.take(&data.as_bytes()[cut..]);
            assert_eq!(frame.is_content(), expected, "{data} cut at {cut}");
        }
    }

    #[test]
    fn pieces_of_text_are_content() {
        for data in [
            // OpenAI, vLLM, llama-server.
            r#"{"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}"#,
            r#"{"choices":[{"delta":{"role":"assistant","content":"x"}}],"usage":null}"#,
            r#"{"choices":[{"delta":{"reasoning_content":"x"}}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}"#,
            r#"{"choices":[{"index":0,"text":" x","logprobs":null}],"usage":{"prompt_tokens":1}}"#,
            r#"{"type":"response.output_text.delta","delta":"x"}"#,
            // llama.cpp.
            r#"{"index":0,"content":" x","tokens":[1],"stop":false}"#,
            // Ollama.
            r#"{"model":"m","created_at":"t","message":{"role":"assistant","content":"x"},"done":false}"#,
            r#"{"model":"m","message":{"role":"assistant","content":"","thinking":"x"},"done":false}"#,
            r#"{"model":"m","created_at":"t","response":"x","done":false}"#,
            // TGI.
            r#"{"index":1,"token":{"id":1,"text":"x","logprob":-1.0,"special":false},"generated_text":null}"#,
            // Anthropic.
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"input_json_delta","partial_json":"{"}}"#,
            // Triton.
            r#"{"model_name":"m","model_version":"1","text_output":"x"}"#,
            // Others.
            "x",
            "[DONE",
            "[DONE] x",
            "[ DONE]",
            "[1]",
            "42",
            r#"{"step":3}"#,
            r#"{"token":3}"#,
            r#"{"id":7,"text":2}"#,
            r#"{"output":{"text":"x"},"usage":{"input_tokens":1}}"#,
            r#"{"message":"x"}"#,
            r#"{"broken"#,
        ] {
            check(data, true);
        }
    }

    #[test]
    fn frames_about_the_stream_are_no_content() {
        for data in [
            "",
            "  \n",
            "[DONE]",
            " [DONE]\n",
            "{}",
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
            r#"{"choices":[{"delta":{"role":"assistant","content":null}}]}"#,
            r#"{"choices":[{"delta":{},"finish_reason":"stop"}],"model":"m"}"#,
            r#"{"choices":[{"text":"","finish_reason":"length"}]}"#,
            r#"{"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}"#,
            r#"{"type":"response.created","response":{"model":"m","output":["x"]}}"#,
            r#"{"content":"","stop":true,"timings":{"prompt_n":1},"stop_type":"eos"}"#,
            r#"{"model":"m","message":{"role":"assistant","content":""},"done":true,"eval_count":9}"#,
            r#"{"model":"m","response":"","done":true,"context":[1,2],"eval_count":9}"#,
            r#"{"index":9,"token":{"id":2,"text":"</s>","special":true},"generated_text":"x"}"#,
            r#"{"type":"message_start","message":{"role":"assistant","content":"x"}}"#,
            r#"{"type":"content_block_start","content_block":{"type":"text","text":"x"}}"#,
            r#"{"type":"content_block_delta","delta":{"type":"signature_delta","signature":"x"}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}"#,
            r#"{"type":"ping"}"#,
            r#"{"model_name":"m","sequence_end":true,"text_output":""}"#,
            r#"{"error":{"message":"x"}}"#,
            r#"{"usage":{"prompt_tokens":1}}"#,
            r#"{"model":"m","done":true}"#,
        ] {
            check(data, false);
        }
    }

    #[test]
    fn frame_that_was_cut_is_content_only_if_that_was_seen() {
        for (data, expected) in [
            (r#"{"choices":[{"delta":{"content":"x"#, true),
            (r#"{"choices":[{"delta":{"role":"assistant","#, false),
            (r#"{"id":"c","object":"o","#, false),
            (r#"{"outputs":[{"data":"x"#, true),
            ("some text", true),
            ("[DO", false),
            ("", false),
        ] {
            let mut frame = Frame::default();
            frame.take(data.as_bytes());
            assert_eq!(frame.is_surely_content(), expected, "{data}");
        }
    }
}
