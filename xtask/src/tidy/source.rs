//! What may stand in a file.

use super::Violation;
use super::code::{code_lines, has_word};

const MAX_LINES: usize = 600;
/// Unfinished work, spelt so that this file does not break its own rule.
const UNFINISHED: &str = concat!("FIX", "ME");
/// Folders of people's own, on any machine.
const HOMES: [&str; 2] = [concat!("/ho", "me/"), concat!("/Us", "ers/")];

const FORBIDDEN: [&str; 4] = ["todo!", "unimplemented!", "dbg!", "#[ignore"];
/// The only places of `unsafe`; the vocabulary of the probes needs none. A
/// test's server on bare io_uring cannot do without.
const UNSAFE: [&str; 3] = [
    "ebpf-probes/",
    "userspace/crates/capture/",
    "userspace/tests/uring/src/bin/rings.rs",
];
const SAFE: [&str; 1] = ["ebpf-probes/abi/"];

const PURE: [&str; 5] = [
    "ebpf-probes/abi/src/",
    "userspace/crates/api-types/src/",
    "userspace/crates/core/src/",
    "userspace/crates/metrics/src/",
    "userspace/crates/protocol/src/",
];
const IMPURE: [&str; 15] = [
    "Instant::now",
    "SystemTime::now",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixListener",
    "UnixStream",
    "eprintln!",
    "println!",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "tokio",
    "tracing",
];

const SERDE: [&str; 2] = ["Serialize", "Deserialize"];
/// Where public types may derive serde's traits.
const WIRE: [&str; 2] = ["userspace/crates/api-types/src/", "userspace/src/config.rs"];

/// Checks a file of any kind; `private` are folders of this very machine.
pub fn check_text(path: &str, text: &str, private: &[String]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if has_word(line, UNFINISHED) {
            violations.push(Violation::new(
                path,
                number,
                format!("unfinished work: {UNFINISHED}"),
            ));
        }
        let homes = HOMES.iter().copied();
        let private = private
            .iter()
            .map(String::as_str)
            .filter(|folder| folder.len() > 1);
        // Fixtures made by a machine may name its folders in any line.
        if let Some(folder) = homes
            .chain(private)
            .find(|folder| names_folder(line, folder))
        {
            violations.push(Violation::new(
                path,
                number,
                format!("names a folder of one machine: {folder}"),
            ));
        }
    }
    violations
}

/// Says whether a path in `line` begins with `folder`.
fn names_folder(line: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    line.match_indices(folder).any(|(at, _)| {
        // `/proc/1/root/` is no home, and `/rootless` neither.
        let is_start = !line[..at]
            .chars()
            .next_back()
            .is_some_and(|c| c.is_alphanumeric() || "_-./}".contains(c));
        is_start && line[at + folder.len()..].starts_with('/')
    })
}

/// Checks a Rust file.
pub fn check_rust(path: &str, text: &str) -> Vec<Violation> {
    let mut violations = Vec::new();
    let n_lines = text.lines().count();
    if n_lines > MAX_LINES {
        let rule = format!("{n_lines} lines; split a file at {MAX_LINES}");
        violations.push(Violation::new(path, n_lines, rule));
    }
    let lines = code_lines(text);
    let may_be_unsafe = starts_with_any(path, &UNSAFE) && !starts_with_any(path, &SAFE);
    for (index, line) in lines.iter().enumerate() {
        let number = index + 1;
        if let Some(word) = FORBIDDEN.iter().find(|word| line.contains(**word)) {
            violations.push(Violation::new(
                path,
                number,
                format!("{word} is for unfinished work"),
            ));
        }
        if !may_be_unsafe && has_word(line, "unsafe") {
            let rule = "unsafe belongs to ebpf-probes and capture only";
            violations.push(Violation::new(path, number, rule));
        }
    }
    let product = &lines[..start_of_tests(&lines)];
    if starts_with_any(path, &PURE) {
        for (index, line) in product.iter().enumerate() {
            if let Some(word) = IMPURE
                .iter()
                .find(|word| has_word(line, word.trim_end_matches('!')) && line.contains(**word))
            {
                let rule = format!("a pure crate must not touch {word}: take it as an argument");
                violations.push(Violation::new(path, index + 1, rule));
            }
        }
    }
    if !starts_with_any(path, &WIRE) && !path.contains("/tests/") {
        violations.extend(check_serde(path, product));
    }
    violations
}

/// Finds public types that derive serde's traits.
fn check_serde(path: &str, lines: &[String]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut derived_at = None;
    for (index, line) in lines.iter().enumerate() {
        if SERDE.iter().any(|word| has_word(line, word)) && !line.trim_start().starts_with("use ") {
            derived_at = derived_at.or(Some(index + 1));
        }
        let line = line.trim_start();
        let is_public = line.starts_with("pub struct ") || line.starts_with("pub enum ");
        let is_type = ["struct ", "enum "]
            .iter()
            .any(|word| line.starts_with(word) || line.starts_with("pub") && line.contains(word));
        if is_type {
            if let (true, Some(number)) = (is_public, derived_at) {
                let rule = "a public type derives serde: only api-types, config.rs and private wire structs may";
                violations.push(Violation::new(path, number, rule));
            }
            derived_at = None;
        } else if line.starts_with("fn ") || line.starts_with('}') {
            // The traits were named by something that is no derive.
            derived_at = None;
        }
    }
    violations
}

/// Checks the root file of a library or binary.
pub fn check_crate_root(path: &str, text: &str) -> Vec<Violation> {
    let may_be_unsafe = starts_with_any(path, &UNSAFE) && !starts_with_any(path, &SAFE);
    let forbids = code_lines(text)
        .iter()
        .any(|line| line.trim() == "#![forbid(unsafe_code)]");
    if may_be_unsafe || forbids {
        return Vec::new();
    }
    vec![Violation::new(
        path,
        1,
        "a crate root must say #![forbid(unsafe_code)]",
    )]
}

/// Returns the index of the line that begins the tests, which come last.
fn start_of_tests(lines: &[String]) -> usize {
    let test_module = |pair: &[String]| {
        pair[0].trim() == "#[cfg(test)]"
            && pair
                .iter()
                .skip(1)
                .any(|line| line.trim().starts_with("mod "))
    };
    lines
        .windows(2)
        .position(test_module)
        .unwrap_or(lines.len())
}

fn starts_with_any(path: &str, beginnings: &[&str]) -> bool {
    beginnings
        .iter()
        .any(|beginning| path.starts_with(beginning))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expected: &[&str]) {
        let found: Vec<_> = check_rust(path, text)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(found, expected, "{path}: {text}");
    }

    #[test]
    fn unfinished_code_is_found_but_not_in_messages() {
        check(
            "xtask/src/a.rs",
            "fn f() {\n    todo!()\n}\n",
            &["xtask/src/a.rs:2: todo! is for unfinished work"],
        );
        check(
            "xtask/src/a.rs",
            "#[ignore = \"slow\"]\n",
            &["xtask/src/a.rs:1: #[ignore is for unfinished work"],
        );
        check(
            "xtask/src/a.rs",
            "// a todo! in words\nlet a = \"dbg!\";\n",
            &[],
        );
    }

    #[test]
    fn unsafe_has_two_homes() {
        let rule = "unsafe belongs to ebpf-probes and capture only";
        let text = "unsafe { f() }\n";
        check("ebpf-probes/src/maps.rs", text, &[]);
        check("userspace/crates/capture/src/ring.rs", text, &[]);
        for path in ["userspace/src/main.rs", "ebpf-probes/abi/src/lib.rs"] {
            check(path, text, &[&format!("{path}:1: {rule}")]);
        }
    }

    #[test]
    fn pure_crate_touches_no_clock_files_or_sockets() {
        let path = "userspace/crates/protocol/src/table.rs";
        check(
            path,
            "use std::fs;\nlet now = Instant::now();\n",
            &[
                "userspace/crates/protocol/src/table.rs:1: a pure crate must not touch std::fs: take it as an argument",
                "userspace/crates/protocol/src/table.rs:2: a pure crate must not touch Instant::now: take it as an argument",
            ],
        );
        check(
            path,
            "fn f() {}\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n",
            &[],
        );
        check(
            "userspace/crates/store/src/writer.rs",
            "use std::fs;\n",
            &[],
        );
    }

    #[test]
    fn public_type_derives_serde_only_on_the_wire() {
        let public = "use serde::Serialize;\n#[derive(Debug, Serialize)]\n#[serde(default)]\npub struct A;\n";
        check(
            "userspace/crates/api/src/rest.rs",
            public,
            &[
                "userspace/crates/api/src/rest.rs:2: a public type derives serde: only api-types, config.rs and private wire structs may",
            ],
        );
        check("userspace/crates/api-types/src/lib.rs", public, &[]);
        check("userspace/src/config.rs", public, &[]);
        check(
            "userspace/crates/api/src/rest.rs",
            "#[derive(Deserialize)]\nstruct A;\npub struct B;\n",
            &[],
        );
    }

    #[test]
    fn long_file_is_found_at_its_end() {
        let text = "fn f() {}\n".repeat(601);
        check(
            "xtask/src/a.rs",
            &text,
            &["xtask/src/a.rs:601: 601 lines; split a file at 600"],
        );
    }

    #[test]
    fn crate_root_forbids_unsafe() {
        assert!(check_crate_root("userspace/src/main.rs", "#![forbid(unsafe_code)]\n").is_empty());
        assert!(check_crate_root("ebpf-probes/src/main.rs", "fn main() {}\n").is_empty());
        assert_eq!(
            check_crate_root("web-ui/src/main.rs", "// #![forbid(unsafe_code)]\n").len(),
            1
        );
    }

    #[test]
    fn folders_of_one_machine_are_found() {
        let private = ["/srv/clone".to_owned(), "/root".to_owned()];
        for (line, expected) in [
            ("see /srv/clone/notes", 1),
            (concat!("let path = \"/ho", "me/ann/models\";"), 1),
            (concat!("let path = \"/ro", "ot/.cargo\";"), 1),
            ("open(\"/proc/{pid}/root/usr\")", 0),
            ("/proc/1/root/lib", 0),
            ("/rootless/data", 0),
            (concat!("a word // FIX", "ME later"), 1),
        ] {
            assert_eq!(check_text("a.md", line, &private).len(), expected, "{line}");
        }
    }
}
