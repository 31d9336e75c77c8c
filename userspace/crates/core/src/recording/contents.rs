//! What bodies say, masked so that their shape stays.

use std::ops::Range;

/// Words that tell how a stream is made, and nothing of what it says: names
/// of members and events of the inference APIs, and JSON's own.
const SHAPE: &str = "DONE assistant choices completion_tokens content content_block content_block_delta \
    content_block_start content_block_stop created created_at data delta done done_reason \
    error eval_count event false finish_reason generated_text heartbeat id index input_tokens \
    keepalive message message_delta message_start message_stop model null object output_tokens \
    ping prompt_eval_count prompt_tokens reasoning_content response retry role service_tier \
    signature signature_delta special stop system_fingerprint text text_delta text_output \
    thinking timings token tool_calls total_tokens true type usage user";

/// Masks the contents that lie at `ranges` of a call's bytes: letters become
/// `x`, digits `1` and whatever is neither `x`. White space and JSON's own
/// characters stay, and words that only tell how a stream is made, so that a
/// replay finds the same pieces at the same times. Lengths stay.
pub fn mask_contents(bytes: &mut [u8], ranges: &[Range<usize>]) {
    for range in ranges {
        if let Some(contents) = bytes.get_mut(range.clone()) {
            mask(contents);
        }
    }
}

fn mask(mut rest: &mut [u8]) {
    while let Some(&first) = rest.first() {
        let n = match first {
            b'\\' => mask_escape(rest),
            _ if is_of_word(first) => mask_word(rest),
            _ if b" \t\r\n{}[]\":,".contains(&first) => 1,
            _ => {
                rest[0] = b'x';
                1
            }
        };
        rest = &mut rest[n..];
    }
}

fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Masks the word at the beginning, unless it tells the shape; its length.
fn mask_word(bytes: &mut [u8]) -> usize {
    let n = bytes.iter().take_while(|byte| is_of_word(**byte)).count();
    let word = &mut bytes[..n];
    let is_shape = SHAPE.split(' ').any(|shape| shape.as_bytes() == word);
    if !is_shape {
        for byte in word {
            *byte = if byte.is_ascii_digit() { b'1' } else { b'x' };
        }
    }
    n
}

/// Masks an escaped character of a JSON string, so that it stays one.
fn mask_escape(bytes: &mut [u8]) -> usize {
    match bytes.get_mut(1) {
        Some(b'u') => {
            let digits = bytes[2..].iter().take(4);
            let n = digits.take_while(|byte| byte.is_ascii_hexdigit()).count();
            bytes[2..2 + n].fill(b'1');
            2 + n
        }
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
        Some(other) => {
            *other = b'x';
            2
        }
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &str, expected: &str) {
        let mut bytes = given.as_bytes().to_vec();
        let all = 0..bytes.len();
        mask_contents(&mut bytes, &[all]);
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        assert_eq!(bytes.len(), given.len());
    }

    #[test]
    fn words_and_numbers_are_masked_and_the_shape_stays() {
        check(
            r#"data: {"id":"cmpl-7","choices":[{"delta":{"content":" Hi, you"}}]}"#,
            r#"data: {"id":"xxxxx1","choices":[{"delta":{"content":" xx, xxx"}}]}"#,
        );
        check("data: [DONE]\n\n", "data: [DONE]\n\n");
        check(r#"{"prompt":"pin 1234"}"#, r#"{"xxxxxx":"xxx 1111"}"#);
        check("user=ann&password=s3cret!", "userxxxxxxxxxxxxxxx1xxxxx");
        check("deadbeef", "xxxxxxxx");
        check("", "");
    }

    #[test]
    fn escapes_stay_escapes() {
        check(r#""a\"b\u00e9\n\q\\""#, r#""x\"x\u1111\n\x\\""#);
        check(r"\", r"\");
        check(r"\u1", r"\u1");
    }

    #[test]
    fn bytes_of_other_charsets_are_masked() {
        let mut bytes = "é\u{0}~".as_bytes().to_vec();
        let all = 0..bytes.len();
        mask_contents(&mut bytes, &[all]);
        assert_eq!(bytes, b"xxxx");
    }

    #[test]
    fn only_the_ranges_are_masked() {
        let mut bytes = b"5\r\nhello\r\n0\r\n\r\n".to_vec();
        mask_contents(&mut bytes, &[3..8, 99..200]);
        assert_eq!(bytes, b"5\r\nxxxxx\r\n0\r\n\r\n");
    }
}
