//! What may be read from bodies of containers that were opted in: the model's
//! name from a request's, token counts from a response's, and nothing else.

use modeltap_core::record::Inference;

use crate::genai::model_name;
use crate::json::{Key, Scanner, Value, Visit};

/// Tokens that a response told of; the last of several tellings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

impl Usage {
    /// Adds what was told to what is known of an inference.
    pub(crate) fn apply(self, inference: &mut Inference) {
        inference.input_tokens = self.input_tokens.or(inference.input_tokens);
        inference.output_tokens = self.output_tokens.or(inference.output_tokens);
    }
}

impl Visit for Usage {
    fn visit(&mut self, path: &[Key], value: Value<'_>) {
        let Value::Number(Some(n_tokens)) = value else {
            return;
        };
        match *path {
            // OpenAI's and Anthropic's, whose events wrap the message.
            [Key::Usage, key] | [Key::Message | Key::Response, Key::Usage, key] => match key {
                Key::PromptTokens | Key::InputTokens => self.input_tokens = Some(n_tokens),
                Key::CompletionTokens | Key::OutputTokens => self.output_tokens = Some(n_tokens),
                _ => {}
            },
            // Ollama's.
            [Key::PromptEvalCount] => self.input_tokens = Some(n_tokens),
            [Key::EvalCount] => self.output_tokens = Some(n_tokens),
            _ => {}
        }
    }
}

/// The outermost object's `model`.
#[derive(Clone, Debug, Default)]
struct Model(Option<String>);

impl Visit for Model {
    fn visit(&mut self, path: &[Key], value: Value<'_>) {
        if let ([Key::Model], Value::String(Some(name))) = (path, value) {
            self.0 = std::str::from_utf8(name).ok().and_then(model_name);
        }
    }
}

/// A body that is one JSON document, as its bytes pass.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    scanner: Scanner,
    wanted: Wanted,
}

#[derive(Clone, Debug)]
enum Wanted {
    Model(Model),
    Usage(Usage),
}

impl Document {
    /// A request's, whose model is wanted.
    pub(crate) fn request() -> Self {
        Self {
            scanner: Scanner::default(),
            wanted: Wanted::Model(Model::default()),
        }
    }

    /// A response's, whose usage is wanted.
    pub(crate) fn response() -> Self {
        Self {
            scanner: Scanner::default(),
            wanted: Wanted::Usage(Usage::default()),
        }
    }

    /// Takes in bytes of it.
    pub(crate) fn seen(&mut self, bytes: &[u8]) {
        match &mut self.wanted {
            Wanted::Model(model) => self.scanner.scan(bytes, model),
            Wanted::Usage(usage) => self.scanner.scan(bytes, usage),
        }
    }

    /// Bytes of it are not known: what follows cannot be read.
    pub(crate) fn miss(&mut self) {
        self.scanner.give_up();
    }

    /// The model, once it was seen.
    pub(crate) fn take_model(&mut self) -> Option<String> {
        match &mut self.wanted {
            Wanted::Model(model) => model.0.take(),
            Wanted::Usage(_) => None,
        }
    }

    /// The usage, as far as it was seen.
    pub(crate) fn usage(&self) -> Usage {
        match self.wanted {
            Wanted::Model(_) => Usage::default(),
            Wanted::Usage(usage) => usage,
        }
    }
}

#[cfg(test)]
mod tests {
    use modeltap_core::record::Operation;

    use super::*;

    #[track_caller]
    fn check_model(body: &str, expected: Option<&str>) {
        for cut in (0..=body.len()).filter(|cut| body.is_char_boundary(*cut)) {
            let mut document = Document::request();
            document.seen(&body.as_bytes()[..cut]);
            document.seen(&body.as_bytes()[cut..]);
            assert_eq!(document.take_model().as_deref(), expected, "{body}");
        }
    }

    #[test]
    fn model_is_the_outermost_member_of_that_name() {
        check_model(r#"{"model": "a", "messages": []}"#, Some("a"));
        check_model(
            r#"{"messages":[{"content":"\"model\":\"no\"","model":"no"}],"model":"yes"}"#,
            Some("yes"),
        );
        check_model(r#"{"model":"org\/name:7b"}"#, Some("org/name:7b"));
        check_model(r#"{"options":{"model":"no"}}"#, None);
        check_model(r#"[{"model":"no"}]"#, None);
        check_model(r#""model""#, None);
        check_model(r#"{"model":1}"#, None);
        check_model(r#"{"model":"a b"}"#, None);
        check_model(r#"{"model":"a\u0007"}"#, None);
        check_model(&format!(r#"{{"model":"{}"}}"#, "x".repeat(129)), None);
        check_model("model=a", None);
    }

    #[track_caller]
    fn check_usage(body: &str, expected: (Option<u64>, Option<u64>)) {
        let mut document = Document::response();
        document.seen(body.as_bytes());
        let mut inference = Inference {
            operation: Operation::Chat,
            model: None,
            input_tokens: None,
            output_tokens: None,
        };
        document.usage().apply(&mut inference);
        assert_eq!(
            (inference.input_tokens, inference.output_tokens),
            expected,
            "{body}"
        );
    }

    #[test]
    fn usage_is_read_where_the_apis_tell_it() {
        let both = (Some(3), Some(5));
        check_usage(
            r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}"#,
            both,
        );
        check_usage(r#"{"usage":{"input_tokens":3,"output_tokens":5}}"#, both);
        check_usage(
            r#"{"response":"","prompt_eval_count":3,"eval_count":5}"#,
            both,
        );
        check_usage(
            r#"{"type":"x","message":{"usage":{"input_tokens":3,"output_tokens":5}}}"#,
            both,
        );
        check_usage(r#"{"usage":null}"#, (None, None));
        check_usage(
            r#"{"usage":{"prompt_tokens":-3,"completion_tokens":1e3}}"#,
            (None, None),
        );
        check_usage(
            r#"{"choices":[{"usage":{"prompt_tokens":3}}]}"#,
            (None, None),
        );
        // Cut inside the number.
        check_usage(
            r#"{"usage":{"prompt_tokens":3,"completion_tokens":5"#,
            (Some(3), None),
        );
    }

    #[test]
    fn nothing_is_read_behind_bytes_that_are_not_known() {
        let mut document = Document::request();
        document.seen(b"{\"messages\":[\"");
        document.miss();
        document.seen(b"\"],\"model\":\"m\"}");
        assert_eq!(document.take_model(), None);
    }
}
