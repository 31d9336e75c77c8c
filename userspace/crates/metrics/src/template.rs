//! From the path of a request to the template of its route.
//!
//! What differs from request to request becomes `{id}`; what names an endpoint
//! stays. The path is the client's and may be anything: the work is linear in
//! its length and the template is bounded.

/// Segments kept of a path; the rest becomes one `{rest}`. Inference APIs need
/// nine at most (Azure's deployments, Seldon's versioned predictions).
const MAX_SEGMENTS: usize = 12;
/// Longest segment kept as it is; a longer one is data.
const MAX_SEGMENT_BYTES: usize = 64;
/// Stands for a segment that differs from request to request.
const ID: &str = "{id}";
/// The route of requests that belong to no other.
pub const OTHER: &str = "_other";

/// Routes of well-known inference servers in which a segment that looks like a
/// name is the model's: by first segment, then the rest. The more literal
/// spelling stands before the capture that would take its place.
const KNOWN: &[(&str, &[&str])] = &[
    // TensorFlow Serving, KServe v1 and OpenAI.
    (
        "v1",
        &[
            "models/{model}:predict",
            "models/{model}:classify",
            "models/{model}:regress",
            "models/{model}:explain",
            "models/{model}:generateContent",
            "models/{model}:streamGenerateContent",
            "models/{model}",
            "models/{model}/metadata",
            "models/{model}/versions/{version}:predict",
            "models/{model}/versions/{version}:classify",
            "models/{model}/versions/{version}:regress",
            "models/{model}/versions/{version}/metadata",
            "models/{model}/versions/{version}",
            "models/{model}/labels/{label}:predict",
            "models/{model}/labels/{label}:classify",
            "models/{model}/labels/{label}:regress",
        ],
    ),
    // Gemini.
    (
        "v1beta",
        &[
            "models/{model}:generateContent",
            "models/{model}:streamGenerateContent",
            "models/{model}:embedContent",
            "models/{model}:batchEmbedContents",
            "models/{model}:countTokens",
            "models/{model}",
        ],
    ),
    // The Open Inference Protocol (KServe v2, Triton).
    (
        "v2",
        &[
            "models/stats",
            "models/{model}",
            "models/{model}/infer",
            "models/{model}/generate",
            "models/{model}/generate_stream",
            "models/{model}/ready",
            "models/{model}/config",
            "models/{model}/stats",
            "models/{model}/trace/setting",
            "models/{model}/versions/{version}",
            "models/{model}/versions/{version}/infer",
            "models/{model}/versions/{version}/generate",
            "models/{model}/versions/{version}/generate_stream",
            "models/{model}/versions/{version}/ready",
            "models/{model}/versions/{version}/config",
            "models/{model}/versions/{version}/stats",
            "repository/models/{model}/load",
            "repository/models/{model}/unload",
        ],
    ),
    // TorchServe.
    ("predictions", &["{model}", "{model}/{version}"]),
    ("explanations", &["{model}", "{model}/{version}"]),
    ("wfpredict", &["{workflow}"]),
    // Bedrock.
    (
        "model",
        &[
            "{model}/invoke",
            "{model}/invoke-with-response-stream",
            "{model}/converse",
            "{model}/converse-stream",
        ],
    ),
    // SageMaker's multi-model endpoints.
    ("models", &["{model}/invoke"]),
    // Azure OpenAI.
    (
        "openai",
        &[
            "deployments/{model}/chat/completions",
            "deployments/{model}/completions",
            "deployments/{model}/embeddings",
            "deployments/{model}/images/generations",
            "deployments/{model}/audio/transcriptions",
        ],
    ),
    // Seldon.
    ("seldon", &["{namespace}/{model}/api/v1.0/predictions"]),
];

/// Writes the template of `path` into `template`, which is emptied first.
///
/// `path` is without query and fragment.
pub fn write_template(path: &str, template: &mut String) {
    template.clear();
    let Some(rest) = path.strip_prefix('/') else {
        // The asterisk form of `OPTIONS *` (RFC 9112 section 3.2.4) is a route
        // of its own; the authority form of CONNECT names a host, not a route.
        template.push_str(if path == "*" { "*" } else { OTHER });
        return;
    };
    if let Some((first, known)) = known_route(rest) {
        for part in ["/", first, "/", known] {
            template.push_str(part);
        }
        return;
    }
    let mut n_segments = 0;
    for segment in rest.split('/') {
        // Parameters of a segment (`;jsessionid=...`) are the client's.
        let segment = segment.split(';').next().unwrap_or_default();
        if segment.is_empty() {
            continue;
        }
        n_segments += 1;
        if n_segments > MAX_SEGMENTS {
            template.push_str("/{rest}");
            return;
        }
        template.push('/');
        push_segment(segment, template);
    }
    if n_segments == 0 || rest.ends_with('/') {
        template.push('/');
    }
}

/// Whether `path` is an instance of `pattern`: `{name}` stands for one whole
/// segment, or for the beginning of one before a literal (`{model}:predict`).
/// A slash at the end is the same as none.
pub fn matches(pattern: &str, path: &str) -> bool {
    let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
    let mut wanted = pattern.strip_suffix('/').unwrap_or(pattern).split('/');
    loop {
        match (wanted.next(), segments.next()) {
            (None, None) => return true,
            (Some(wanted), Some(segment)) if segment_matches(wanted, segment) => {}
            _ => return false,
        }
    }
}

fn segment_matches(wanted: &str, segment: &str) -> bool {
    match wanted
        .strip_prefix('{')
        .and_then(|capture| capture.split_once('}'))
    {
        None => wanted == segment,
        Some((_, "")) => !segment.is_empty(),
        Some((_, suffix)) => segment
            .strip_suffix(suffix)
            .is_some_and(|name| !name.is_empty()),
    }
}

fn known_route(path: &str) -> Option<(&'static str, &'static str)> {
    let (first, rest) = path.split_once('/')?;
    let (first, patterns) = KNOWN.iter().find(|(known, _)| *known == first)?;
    let pattern = patterns.iter().find(|pattern| matches(pattern, rest))?;
    Some((first, pattern))
}

fn push_segment(segment: &str, template: &mut String) {
    match verb(segment) {
        Some((name, verb)) if verb.len() <= MAX_SEGMENT_BYTES => {
            push_segment_name(name, template);
            template.push(':');
            template.push_str(verb);
        }
        _ => push_segment_name(segment, template),
    }
}

fn push_segment_name(name: &str, template: &mut String) {
    template.push_str(if is_identifier(name) { ID } else { name });
}

/// A segment that ends in a custom method (`foo:predict`, as Google's API
/// guidelines have it), as what stands before and after the colon.
fn verb(segment: &str) -> Option<(&str, &str)> {
    let (name, verb) = segment.rsplit_once(':')?;
    let is_word = verb.len() >= 3 && verb.bytes().all(|byte| byte.is_ascii_alphabetic());
    (is_word && !name.is_empty()).then_some((name, verb))
}

/// Whether a segment is data rather than the name of an endpoint.
fn is_identifier(segment: &str) -> bool {
    if segment.len() > MAX_SEGMENT_BYTES {
        return true;
    }
    let name = segment.strip_prefix('@').unwrap_or(segment);
    if name
        .chars()
        .any(|c| !(c.is_alphanumeric() || "-_.~".contains(c)))
    {
        return true;
    }
    if is_version(name) || !name.bytes().any(|byte| byte.is_ascii_digit()) {
        return is_long_hex(name);
    }
    // Numbers, dates, addresses and ranges: digits and punctuation only.
    if !name.chars().any(char::is_alphabetic) || is_uuid(name) || is_mixed(name) {
        return true;
    }
    let mut tokens = name.split(['-', '_', '.', '~']);
    tokens.any(is_random_token)
}

/// `v1`, `v2beta1`, `v1.0`: part of an API's name.
fn is_version(name: &str) -> bool {
    let Some(number) = name.strip_prefix(['v', 'V']) else {
        return false;
    };
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    let rest = number[digits..].trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    (1..=3).contains(&digits)
        && number.len() <= 12
        && matches!(rest, "" | "alpha" | "beta" | "rc" | "p" | ".")
}

/// Hexadecimal digits that are too many for a word (`facade` is one).
fn is_long_hex(name: &str) -> bool {
    name.len() >= 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_uuid(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Base64url and nanoid: long, in both cases, with several digits.
fn is_mixed(name: &str) -> bool {
    name.len() >= 16
        && name.bytes().any(|byte| byte.is_ascii_uppercase())
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && name.bytes().filter(u8::is_ascii_digit).count() >= 2
}

/// Whether one part of a segment, between its punctuation, was made by a
/// program. Words with a number (`resnet50`, `gpt-4`, `llama-3`) were not.
fn is_random_token(token: &str) -> bool {
    let bytes = token.as_bytes();
    let n_digits = bytes.iter().filter(|byte| byte.is_ascii_digit()).count();
    if n_digits == 0 {
        return false;
    }
    if n_digits == bytes.len() {
        // `order-123`; one or two digits more often name a version.
        return n_digits >= 3;
    }
    let is_hex = bytes.iter().all(u8::is_ascii_hexdigit);
    let turns = bytes
        .windows(2)
        .filter(|w| w[0].is_ascii_digit() != w[1].is_ascii_digit())
        .count();
    if is_hex && (bytes.len() >= 8 || (bytes.len() >= 6 && turns >= 2)) {
        return true;
    }
    if turns >= 4 && bytes.len() >= 8 {
        return true;
    }
    if bytes.len() >= 20 && n_digits >= 3 {
        return true;
    }
    // `BfX93kdz`: in names a capital follows a number (`ResNet50V2`).
    bytes.len() >= 8
        && bytes.iter().any(u8::is_ascii_uppercase)
        && bytes
            .windows(2)
            .any(|w| w[0].is_ascii_digit() && w[1].is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, expected: &str) {
        let mut template = String::from("left from before");
        write_template(path, &mut template);
        assert_eq!(template, expected, "of {path:?}");
    }

    #[test]
    fn endpoints_keep_their_names() {
        for path in [
            "/",
            "/predict",
            "/missing",
            "/healthz",
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/embeddings",
            "/api/generate",
            "/api/chat",
            "/v1beta1/things",
            "/v1.0/things",
            "/v2/health/ready",
            "/v2/models/stats",
            "/v1/models",
            "/docs/",
            "/openapi.json",
            "/favicon.ico",
            "/swagger-ui-bundle.js",
            "/resnet50/predict",
            "/ResNet50V2/predict",
            "/EfficientNetB0",
            "/gpt-4/complete",
            "/llama-3.1-8b-instruct/complete",
            "/oauth2/token",
            "/s3/bucket",
            "/facade",
            "/generate_stream",
            "/.env",
            "/模型/预测",
            "/@vite/client",
        ] {
            check(path, path);
        }
        check("*", "*");
    }

    #[test]
    fn what_differs_from_request_to_request_is_an_id() {
        for id in [
            "17",
            "0",
            "-3",
            "3.14",
            "1,2,3",
            "2024-01-02",
            "2024-01-02T03:04:05Z",
            "10.0.0.1",
            "550e8400-e29b-41d4-a716-446655440000",
            "550E8400E29B41D4A716446655440000",
            "507f1f77bcf86cd799439011",
            "deadbee1",
            "3f9a8bc",
            "01ARZ3NDEKTSV4RRFFQ69G5FAV",
            "V1StGXR8_Z5jdHi6B-myT",
            "dQw4w9WgXcQ",
            "someone@example.com",
            "sha256:9f86d081884c7d65",
            "a%20b",
            "YWJjZA==",
            "order-123",
            "user_90210",
            "index-BfX93kdz.js",
            "chatcmpl-9aK2jd83Lq0sPz71mmQ4",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "deadbeefdeadbeef",
            "a\"b",
            "a\nb",
            "{id}",
        ] {
            check(&format!("/items/{id}"), "/items/{id}");
            check(&format!("/items/{id}/parts"), "/items/{id}/parts");
        }
    }

    #[test]
    fn known_inference_paths_name_the_model() {
        for (path, expected) in [
            ("/v2/models/resnet/infer", "/v2/models/{model}/infer"),
            (
                "/v2/models/resnet/versions/3/infer",
                "/v2/models/{model}/versions/{version}/infer",
            ),
            (
                "/v1/models/half_plus_two:predict",
                "/v1/models/{model}:predict",
            ),
            ("/v1/models/half_plus_two", "/v1/models/{model}"),
            (
                "/v1beta/models/g-pro:streamGenerateContent",
                "/v1beta/models/{model}:streamGenerateContent",
            ),
            ("/predictions/densenet161", "/predictions/{model}"),
            (
                "/predictions/densenet161/1.0",
                "/predictions/{model}/{version}",
            ),
            (
                "/openai/deployments/mine/chat/completions",
                "/openai/deployments/{model}/chat/completions",
            ),
            ("/model/anthropic.x-v1:0/invoke", "/model/{model}/invoke"),
            ("/predictions/", "/predictions/"),
            ("/v1/other/x:archive", "/v1/other/x:archive"),
            ("/v1/other/12345:archive", "/v1/other/{id}:archive"),
        ] {
            check(path, expected);
        }
    }

    #[test]
    fn hostile_paths_make_bounded_templates() {
        check("", OTHER);
        check("example.com:443", OTHER);
        check("//", "/");
        check("///a///b//", "/a/b/");
        check("/a;jsessionid=1234/b", "/a/b");
        check(
            &"/1".repeat(256),
            &format!("{}/{{rest}}", "/{id}".repeat(MAX_SEGMENTS)),
        );
        check(&format!("/x:{}", "a".repeat(400)), "/{id}");
        check("/:", "/{id}");
        check("/é:predict", "/é:predict");
    }

    #[test]
    fn patterns_match_whole_paths_only() {
        for (pattern, path, expected) in [
            ("/items/{id}", "/items/17", true),
            ("/items/{id}", "/items/17/", true),
            ("/items/{id}/", "/items/17", true),
            ("/items/{id}", "/items/", false),
            ("/items/{id}", "/items/17/parts", false),
            ("/items/{id}", "/things/17", false),
            ("/m/{model}:predict", "/m/a:predict", true),
            ("/m/{model}:predict", "/m/:predict", false),
            ("/", "/", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }
}
