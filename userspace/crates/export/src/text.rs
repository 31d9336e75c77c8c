//! The format: families, samples, histograms, escaping.

use std::fmt::Write;

use crate::Labels;

/// Type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// Text under construction.
#[derive(Debug, Default)]
pub(crate) struct Text {
    text: String,
    family: &'static str,
}

impl Text {
    /// Begins a family; its samples follow.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.family = name;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// Adds a family with one sample, which has no labels.
    pub(crate) fn one(&mut self, name: &'static str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help);
        self.sample("", &[], value);
    }

    /// Adds a family with a sample of each that has a value.
    pub(crate) fn each<'a, T: 'a>(
        &mut self,
        (name, kind, help): (&'static str, Kind, &str),
        all: impl IntoIterator<Item = (&'a Labels, &'a T)>,
        value: impl Fn(&T) -> Option<f64>,
    ) {
        self.family(name, kind, help);
        for (labels, one) in all {
            if let Some(value) = value(one) {
                self.sample("", labels, value);
            }
        }
    }

    /// Adds a sample of the family, under its name with a suffix.
    pub(crate) fn sample(&mut self, suffix: &str, labels: &[(&'static str, String)], value: f64) {
        self.labelled(suffix, labels, None);
        let _ = writeln!(self.text, " {value}");
    }

    /// Adds a histogram from the counts of each bucket alone, the last one
    /// for what lies beyond every bound.
    pub(crate) fn histogram(
        &mut self,
        labels: &[(&'static str, String)],
        bounds: &[f64],
        counts: &[u64],
        sum: f64,
    ) {
        let mut cumulative = 0_u64;
        for (at, count) in counts.iter().enumerate() {
            cumulative += count;
            let bound = bounds
                .get(at)
                .map_or_else(|| "+Inf".to_owned(), f64::to_string);
            self.labelled("_bucket", labels, Some(&bound));
            let _ = writeln!(self.text, " {cumulative}");
        }
        self.sample("_sum", labels, sum);
        self.labelled("_count", labels, None);
        let _ = writeln!(self.text, " {cumulative}");
    }

    /// What was written.
    pub(crate) fn into_string(self) -> String {
        self.text
    }

    fn labelled(&mut self, suffix: &str, labels: &[(&'static str, String)], le: Option<&str>) {
        self.text.push_str(self.family);
        self.text.push_str(suffix);
        let le = le.map(|le| ("le", le));
        let mut separator = '{';
        let pairs = labels
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .chain(le);
        for (name, value) in pairs {
            self.text.push(separator);
            separator = ',';
            self.text.push_str(name);
            self.text.push_str("=\"");
            self.escaped(value);
            self.text.push('"');
        }
        if separator == ',' {
            self.text.push('}');
        }
    }

    fn escaped(&mut self, value: &str) {
        for character in value.chars() {
            match character {
                '\\' => self.text.push_str("\\\\"),
                '"' => self.text.push_str("\\\""),
                '\n' => self.text.push_str("\\n"),
                other => self.text.push(other),
            }
        }
    }
}
