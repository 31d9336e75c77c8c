//! Rust's text without what is not code.

/// Returns the lines of `text` with comments and the content of literals
/// blanked out, so that a rule does not stumble over its own name in a
/// message. Lines keep their numbers.
pub fn code_lines(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let end = skipped_until(&characters, at);
        if end > at {
            // What is left out still ends its lines.
            code.push(' ');
            code.extend(characters[at..end].iter().filter(|&&c| c == '\n'));
            at = end;
        } else {
            code.push(characters[at]);
            at += 1;
        }
    }
    code.lines().map(str::to_owned).collect()
}

/// Returns the end of the comment or literal that begins at `at`; `at` itself
/// where none does.
fn skipped_until(text: &[char], at: usize) -> usize {
    let next = text.get(at + 1).copied();
    let after_word = at > 0 && is_word(text[at - 1]);
    match text[at] {
        '/' if next == Some('/') => find(text, at, &['\n']).unwrap_or(text.len()),
        '/' if next == Some('*') => end_of_block_comment(text, at),
        '"' => end_of_string(text, at),
        'r' if !after_word || text[at - 1] == 'b' || text[at - 1] == 'c' => {
            end_of_raw_string(text, at)
        }
        '\'' => end_of_character(text, at),
        _ => at,
    }
}

fn end_of_block_comment(text: &[char], at: usize) -> usize {
    let mut depth = 0_usize;
    let mut at = at;
    while at + 1 < text.len() {
        match (text[at], text[at + 1]) {
            ('/', '*') => {
                depth += 1;
                at += 2;
            }
            ('*', '/') => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    text.len()
}

fn end_of_string(text: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < text.len() {
        match text[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn end_of_raw_string(text: &[char], at: usize) -> usize {
    let n_hashes = text[at + 1..].iter().take_while(|&&c| c == '#').count();
    let quote = at + 1 + n_hashes;
    if text.get(quote) != Some(&'"') {
        // A word that begins with r, or a raw identifier.
        return at;
    }
    let mut closing = vec!['"'];
    closing.resize(1 + n_hashes, '#');
    find(text, quote + 1, &closing).map_or(text.len(), |found| found + closing.len())
}

/// A quote begins a character or a lifetime; only the first is closed.
fn end_of_character(text: &[char], at: usize) -> usize {
    match (text.get(at + 1), text.get(at + 2)) {
        (Some('\\'), Some(_)) => find(text, at + 3, &['\'']).map_or(text.len(), |found| found + 1),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

fn find(text: &[char], from: usize, wanted: &[char]) -> Option<usize> {
    let rest = text.get(from..)?;
    rest.windows(wanted.len())
        .position(|window| window == wanted)
        .map(|found| from + found)
}

/// Says whether `line` holds `word`, not merely as a part of a longer one.
///
/// A word may itself hold other characters, such as `std::fs`.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let lines: Vec<_> = code_lines(text)
            .iter()
            .map(|line| line.trim_end().to_owned())
            .collect();
        assert_eq!(lines, expected, "{text}");
    }

    #[test]
    fn comments_and_literals_are_left_out() {
        check("let a = 1; // unsafe", &["let a = 1;"]);
        check("a(\"un\\\"safe\"); b", &["a( ); b"]);
        check("a /* x /* y */ z */ b", &["a   b"]);
        check("r#\"a \" b\"#.len()", &[" .len()"]);
        check("br\"unsafe\"; c", &["b ; c"]);
        check("r#type(b)", &["r#type(b)"]);
        check("'\"' + '\\'' + \"x\"", &["  +   +"]);
        check("fn f<'a>(x: &'a str) {}", &["fn f<'a>(x: &'a str) {}"]);
        check("a\n/* b\nc */ d\ne", &["a", "", " d", "e"]);
        check("\"a\nb\" c", &["", " c"]);
    }

    #[test]
    fn word_is_not_found_inside_a_longer_one() {
        for (line, word, expected) in [
            ("unsafe { }", "unsafe", true),
            ("#[unsafe(no_mangle)]", "unsafe", true),
            ("#![forbid(unsafe_code)]", "unsafe", false),
            ("use std::fs::File;", "std::fs", true),
            ("use mystd::fs;", "std::fs", false),
        ] {
            assert_eq!(has_word(line, word), expected, "{line}");
        }
    }
}
