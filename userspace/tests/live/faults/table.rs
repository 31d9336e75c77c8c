//! The table of the faults: a fault a line.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::{env, fs, io};

const HEAD: &str = "| fault | what was done | figure |\n|---|---|---|\n";

/// Writes down a figure, and prints it, also where the harness swallows what
/// tests print. It goes to the file of `MODELTAP_FAULTS_TABLE`, if that is
/// given; an earlier figure of the same fault gives way.
pub fn note(fault: &str, done: &str, figure: &str) {
    let line = format!("| {fault} | {done} | {figure} |");
    // Neither is worth failing a test for.
    let _ = writeln!(io::stderr(), "{line}");
    let Some(file) = env::var_os("MODELTAP_FAULTS_TABLE").map(PathBuf::from) else {
        return;
    };
    let before = fs::read_to_string(&file).unwrap_or_default();
    let _ = fs::write(file, with(&before, fault, &line));
}

/// A table with one line more, or another in its place.
fn with(table: &str, fault: &str, line: &str) -> String {
    let beginning = format!("| {fault} |");
    let mut text = HEAD.to_owned();
    let kept = table.lines().skip(2);
    for kept in kept.filter(|kept| !kept.starts_with(&beginning)) {
        let _ = writeln!(text, "{kept}");
    }
    let _ = writeln!(text, "{line}");
    text
}

#[test]
fn figure_replaces_the_earlier_one_of_its_fault() {
    let one = with("", "a", "| a | x | 1 |");
    let two = with(&one, "b", "| b | x | 2 |");
    let three = with(&two, "a", "| a | x | 3 |");
    assert_eq!(three, format!("{HEAD}| b | x | 2 |\n| a | x | 3 |\n"));
}
