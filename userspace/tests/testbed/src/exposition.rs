//! Reads Prometheus' text format.

use std::collections::BTreeMap;

/// One line of figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric's name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

impl Sample {
    /// A label's value; empty if it is absent, which is the same to Prometheus.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// Reads a whole answer.
///
/// # Panics
/// On a line that is not of the format.
#[must_use]
#[track_caller]
pub fn parse(text: &str) -> Vec<Sample> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line:?}")))
        .collect()
}

fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.insert(label.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = &rest[1..];
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// A label's value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_escapes_and_exponents_are_read() {
        let text = "# HELP x y\nx_total 3\nx_bucket{le=\"+Inf\",route=\"/a\\\"}b\\\\\",} 1e3 123\n";
        let samples = parse(text);
        assert_eq!(samples.len(), 2);
        assert_eq!(
            (samples[0].name.as_str(), samples[0].value),
            ("x_total", 3.0)
        );
        assert_eq!(samples[1].label("route"), "/a\"}b\\");
        assert_eq!(samples[1].label("le"), "+Inf");
        assert_eq!(samples[1].label("absent"), "");
        assert!((samples[1].value - 1000.0).abs() < f64::EPSILON);
    }

    #[test]
    #[should_panic(expected = "not a sample")]
    fn broken_line_is_refused() {
        let _ = parse("x{a=\"b} 1\n");
    }
}
