//! Text of others, made safe to hand on.
//!
//! A service's name comes from a container's label, an answer from any
//! server: both may hold line ends that would begin a header of their own,
//! marks that turn the direction of writing, or a megabyte.

/// One line of at most `max_chars` characters: control characters and runs of
/// white space become one space, marks that nobody sees are left out.
pub(super) fn one_line(text: &str, max_chars: usize) -> String {
    let mut line = String::new();
    let mut n_chars = 0;
    let mut is_after_space = true;
    // Hidden marks before the end cost nothing, but time.
    for c in text.chars().take(max_chars.saturating_mul(8)) {
        if is_hidden(c) {
            continue;
        }
        let c = if c.is_control() || c.is_whitespace() {
            if is_after_space {
                continue;
            }
            ' '
        } else {
            c
        };
        if n_chars == max_chars {
            line.pop();
            line.push('…');
            return line;
        }
        is_after_space = c == ' ';
        line.push(c);
        n_chars += 1;
    }
    line.truncate(line.trim_end().len());
    line
}

/// Text for Slack, where `<!channel>` would wake everybody: these three
/// characters are all that has to be escaped, says its documentation.
pub(super) fn slack(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

/// One segment of a URL's path.
pub(super) fn segment(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Replaces every secret in `text`; a receiver may send back what it got.
pub(super) fn without<'a>(text: &str, secrets: impl IntoIterator<Item = &'a str>) -> String {
    let mut clean = text.to_owned();
    for secret in secrets {
        if !secret.is_empty() {
            clean = clean.replace(secret, "***");
        }
    }
    clean
}

/// Marks of direction, joiners and other characters of no width.
fn is_hidden(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_becomes_one_bounded_line() {
        for (text, expected) in [
            ("api", "api"),
            ("api\r\nBcc: all@example.org", "api Bcc: all@example.org"),
            ("  a \t\u{0} b\u{85}\u{2028} ", "a b"),
            ("a\u{202e}b\u{200b}c\u{feff}", "abc"),
            ("", ""),
        ] {
            assert_eq!(one_line(text, 80), expected, "{text:?}");
        }
        assert_eq!(one_line("123456789", 8), "1234567…");
        assert_eq!(one_line("12345678", 8), "12345678");
        let hidden = "\u{200b}".repeat(1_000_000);
        assert_eq!(one_line(&hidden, 8), "");
    }

    #[test]
    fn slack_sees_no_command() {
        assert_eq!(
            slack("<!channel> & <@U1>"),
            "&lt;!channel&gt; &amp; &lt;@U1&gt;"
        );
    }

    #[test]
    fn segment_holds_no_delimiter() {
        assert_eq!(
            segment("a b/../c?d#e|f>é"),
            "a%20b%2F..%2Fc%3Fd%23e%7Cf%3E%C3%A9"
        );
    }

    #[test]
    fn secret_that_comes_back_is_hidden() {
        assert_eq!(
            without("no such hook: /T0/B0/xyz (xyz)", ["/T0/B0/xyz", "", "xyz"]),
            "no such hook: *** (***)"
        );
    }
}
