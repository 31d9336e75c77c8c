//! What lies where.

use super::Violation;

/// Entries of the top folder, dotfiles and cargo's own folder apart.
const TOP_LEVEL: [&str; 10] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "ebpf-probes",
    "rustfmt.toml",
    "userspace",
    "web-ui",
    "xtask",
];
const GENERATED: &str = "target";
const CODE_MAP: &str = "code map";

/// Checks the names in the top folder.
pub fn check_top_level(entries: &[String]) -> Vec<Violation> {
    entries
        .iter()
        .filter(|name| {
            !name.starts_with('.') && *name != GENERATED && !TOP_LEVEL.contains(&name.as_str())
        })
        .map(|name| Violation::new(name.as_str(), 1, "does not belong at the top level"))
        .collect()
}

/// Checks that the README's code map names every package's folder, and no
/// file or folder that is not there.
///
/// A map may name a path from the top, or the last parts of one under the
/// folder it stands below.
pub fn check_code_map(readme: &str, packages: &[&str], files: &[String]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let map = section(readme, CODE_MAP);
    if map.is_empty() {
        return vec![Violation::new(
            "README.md",
            1,
            "has no section named \"Code map\"",
        )];
    }
    let named: Vec<_> = map
        .iter()
        .flat_map(|(line, text)| paths_in(text).map(move |path| (*line, path)))
        .collect();
    for (line, path) in &named {
        if !exists(path, files) {
            violations.push(Violation::new(
                "README.md",
                *line,
                format!("the code map names {path}, which is not there"),
            ));
        }
    }
    for package in packages {
        let last = package.rsplit('/').next().unwrap_or(package);
        let is_named = named.iter().any(|(_, path)| {
            let path = path.trim_end_matches('/');
            path == *package
                || path.starts_with(&format!("{package}/"))
                || path.split('/').any(|part| part == last)
        });
        if !is_named {
            let rule = format!("the code map does not name the package in {package}");
            violations.push(Violation::new("README.md", map[0].0, rule));
        }
    }
    violations
}

/// Returns the lines below a heading, with their numbers.
fn section<'a>(readme: &'a str, heading: &str) -> Vec<(usize, &'a str)> {
    let mut lines = Vec::new();
    let mut is_inside = false;
    let mut is_fenced = false;
    for (index, line) in readme.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if line.starts_with("## ") && !is_fenced {
            is_inside = line[3..].trim().eq_ignore_ascii_case(heading);
        } else if is_inside {
            lines.push((index + 1, line));
        }
    }
    lines
}

/// Returns the words of a line that are paths: those that end in a slash or
/// in the name of a source file.
fn paths_in(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !(c.is_alphanumeric() || "._-/".contains(c)))
        .map(|word| word.trim_end_matches('.').trim_start_matches("./"))
        .filter(|word| {
            let is_folder = word.len() > 1 && word.ends_with('/');
            is_folder
                || [".rs", ".toml"]
                    .iter()
                    .any(|end| word.len() > end.len() && word.ends_with(end))
        })
}

fn exists(path: &str, files: &[String]) -> bool {
    if let Some(folder) = path.strip_suffix('/') {
        let inside = format!("{folder}/");
        let below = format!("/{folder}/");
        // Generated folders hold no files of the workspace.
        return folder == GENERATED
            || files
                .iter()
                .any(|file| file.starts_with(&inside) || file.contains(&below));
    }
    let below = format!("/{path}");
    files
        .iter()
        .any(|file| file == path || file.ends_with(&below))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn stray_entry_at_the_top_is_named() {
        let found = check_top_level(&owned(&["Cargo.toml", ".github", "target", "notes.txt"]));
        assert_eq!(
            found,
            [Violation::new(
                "notes.txt",
                1,
                "does not belong at the top level"
            )]
        );
    }

    #[track_caller]
    fn check(map: &str, expected: &[&str]) {
        let readme = format!("# Name\n\n## Code map\n\n{map}\n## Other\n\n`gone/`\n");
        let files = owned(&[
            "userspace/crates/core/src/lib.rs",
            "ebpf-probes/src/main.rs",
        ]);
        let found = check_code_map(&readme, &["userspace/crates/core", "ebpf-probes"], &files);
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{map}");
    }

    #[test]
    fn code_map_agrees_with_the_tree() {
        check(
            "`ebpf-probes/` probes\n`userspace/crates/core/src/lib.rs`\n",
            &[],
        );
        check(
            "```\nebpf-probes/\n  src/main.rs  start. \nuserspace/\n  crates/core/\n```\n",
            &[],
        );
        check(
            "`ebpf-probes/src/gone.rs`\n",
            &[
                "README.md:5: the code map names ebpf-probes/src/gone.rs, which is not there",
                "README.md:4: the code map does not name the package in userspace/crates/core",
            ],
        );
    }

    #[test]
    fn missing_code_map_is_a_violation() {
        let found = check_code_map("# Name\n", &[], &[]);
        assert_eq!(
            found[0].to_string(),
            "README.md:1: has no section named \"Code map\""
        );
    }
}
