//! Figures as text: steady widths, sensible units, and a dash for what is
//! not known.

use crate::words::{Lang, W, phrases, spoken, t};

/// What stands where a figure is not known. Never a zero.
pub const UNKNOWN: &str = "–";

/// A figure and its unit, kept apart so that the unit can be set smaller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// The number.
    pub value: String,
    /// The unit, empty where there is none.
    pub unit: &'static str,
}

impl Quantity {
    fn new(value: impl Into<String>, unit: &'static str) -> Self {
        Self {
            value: value.into(),
            unit,
        }
    }

    /// A figure without a unit, or a word in its place.
    #[must_use]
    pub fn plain(value: impl Into<String>) -> Self {
        Self::new(value, "")
    }

    /// A figure that is not known.
    #[must_use]
    pub fn unknown() -> Self {
        Self::new(UNKNOWN, "")
    }

    /// Number and unit in one, with a no-break space between them.
    #[must_use]
    pub fn text(&self) -> String {
        if self.unit.is_empty() {
            self.value.clone()
        } else {
            format!("{}\u{a0}{}", self.value, self.unit)
        }
    }
}

/// A whole number with separators: `1,284,310`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate a second: three significant digits below a thousand.
#[must_use]
pub fn rate(per_second: f64) -> String {
    let r = per_second;
    if !r.is_finite() || r < 0.0 {
        UNKNOWN.to_owned()
    } else if r == 0.0 {
        "0".to_owned()
    } else if r < 0.01 {
        "<0.01".to_owned()
    } else if r < 9.995 {
        format!("{r:.2}")
    } else if r < 99.95 {
        format!("{r:.1}")
    } else {
        count(r.round() as u64)
    }
}

/// A duration in seconds, from microseconds to days.
#[must_use]
pub fn duration(seconds: Option<f64>) -> Quantity {
    let Some(s) = seconds.filter(|s| s.is_finite() && *s >= 0.0) else {
        return Quantity::unknown();
    };
    let us = s * 1e6;
    let ms = s * 1e3;
    if s == 0.0 {
        Quantity::new("0", "ms")
    } else if us < 0.95 {
        Quantity::new("<1", "µs")
    } else if us < 999.5 {
        Quantity::new(format!("{us:.0}"), "µs")
    } else if ms < 9.995 {
        Quantity::new(format!("{ms:.2}"), "ms")
    } else if ms < 99.95 {
        Quantity::new(format!("{ms:.1}"), "ms")
    } else if ms < 999.5 {
        Quantity::new(format!("{ms:.0}"), "ms")
    } else if s < 9.995 {
        Quantity::new(format!("{s:.2}"), "s")
    } else if s < 99.95 {
        Quantity::new(format!("{s:.1}"), "s")
    } else if s < 600.0 {
        Quantity::new(format!("{s:.0}"), "s")
    } else {
        Quantity::new(span(s), "")
    }
}

/// A stretch of durations, `100 ms to 250 ms`, or `300 ms or more` where it has
/// no end.
#[must_use]
pub fn stretch((from, to): (f64, f64)) -> String {
    let text = |seconds| duration(Some(seconds)).text();
    if to.is_infinite() {
        phrases::from_on(&text(from))
    } else {
        phrases::range(&text(from), &text(to))
    }
}

/// A long duration in its two largest units: `3 d 4 h`, `12 min 5 s`.
#[must_use]
pub fn span(seconds: f64) -> String {
    let s = if seconds.is_finite() {
        seconds.max(0.0) as u64
    } else {
        0
    };
    let (days, hours, minutes, rest) = (s / 86_400, s / 3_600 % 24, s / 60 % 60, s % 60);
    let parts = if days > 0 {
        [(days, W::Days), (hours, W::Hours)]
    } else if hours > 0 {
        [(hours, W::Hours), (minutes, W::Minutes)]
    } else if minutes > 0 {
        [(minutes, W::Minutes), (rest, W::Seconds)]
    } else {
        [(rest, W::Seconds), (0, W::Seconds)]
    };
    let mut out = format!("{}\u{a0}{}", parts[0].0, t(parts[0].1));
    if parts[1].0 > 0 {
        out.push_str(&format!(" {}\u{a0}{}", parts[1].0, t(parts[1].1)));
    }
    out
}

/// A share from 0 to 1 as a percentage. Only an exact zero reads `0` and
/// only an exact one reads `100`.
#[must_use]
pub fn percent(share: Option<f64>) -> Quantity {
    let Some(share) = share.filter(|s| s.is_finite() && *s >= 0.0) else {
        return Quantity::unknown();
    };
    let p = share * 100.0;
    let value = if p == 0.0 {
        "0".to_owned()
    } else if p < 0.01 {
        "<0.01".to_owned()
    } else if p < 0.995 {
        format!("{p:.2}")
    } else if p < 99.95 {
        format!("{p:.1}")
    } else if p < 100.0 {
        // Rounding up would claim a whole that is not one.
        format!("{:.2}", (p * 100.0).floor() / 100.0)
    } else {
        format!("{p:.0}")
    };
    Quantity::new(value, "%")
}

/// Bytes in binary units.
#[must_use]
pub fn bytes(n: u64) -> Quantity {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 999.5 && unit < UNITS.len() - 1 {
        value /= 1024.0;
        unit += 1;
    }
    let text = if unit == 0 || value >= 99.95 {
        format!("{value:.0}")
    } else if value >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    Quantity::new(text, UNITS[unit])
}

/// The label of an axis tick in seconds, for ticks `step` apart.
#[must_use]
pub fn axis_duration(seconds: f64, step: f64) -> String {
    if seconds == 0.0 {
        return "0".to_owned();
    }
    let (value, step, unit) = if seconds < 0.001 {
        (seconds * 1e6, step * 1e6, "µs")
    } else if seconds < 1.0 {
        (seconds * 1e3, step * 1e3, "ms")
    } else {
        (seconds, step, "s")
    };
    format!("{}\u{a0}{unit}", axis_number(value, step))
}

/// The label of an axis tick, with as many decimals as its step needs.
#[must_use]
pub fn axis_number(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = (0..4).find(|d| {
        let scaled = step * 10f64.powi(*d);
        (scaled - scaled.round()).abs() < 1e-6
    });
    let decimals = decimals.unwrap_or(4) as usize;
    if decimals == 0 && value >= 1_000.0 {
        count(value.round() as u64)
    } else {
        format!("{value:.decimals$}")
    }
}

/// The name of an outcome as it is shown.
#[must_use]
pub fn outcome(outcome: &str) -> String {
    let known = match outcome {
        "complete" => W::OutcomeComplete,
        "client_aborted" => W::OutcomeClient,
        "server_aborted" => W::OutcomeServer,
        "unanswered" => W::OutcomeUnanswered,
        "lost" => W::OutcomeLost,
        other => return other.replace('_', " "),
    };
    t(known).to_owned()
}

/// How whole a request was seen, as it is shown.
#[must_use]
pub fn completeness(completeness: &str) -> String {
    match completeness {
        "truncated" => t(W::TruncatedTag).to_owned(),
        "lossy" => t(W::LossyTag).to_owned(),
        other => other.to_owned(),
    }
}

/// An alert's state as it is shown.
#[must_use]
pub fn alert_state(state: &str) -> &str {
    match state {
        "firing" => t(W::FiringWord),
        "pending" => t(W::PendingWord),
        "resolved" => t(W::ResolvedWord),
        other => other,
    }
}

/// A severity as it is shown.
#[must_use]
pub fn severity(severity: &str) -> &str {
    match severity {
        "critical" => t(W::Critical),
        "warning" => t(W::Warning),
        "info" => t(W::Info),
        other => other,
    }
}

/// What stands between the parts of a date.
#[must_use]
pub fn date_mark() -> char {
    match spoken() {
        Lang::English => '-',
        Lang::Chinese => '/',
    }
}

/// An address and a port; one of IPv6 stands in brackets.
#[must_use]
pub fn address(address: &str, port: u16) -> String {
    if address.is_empty() {
        UNKNOWN.to_owned()
    } else if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}

/// The last part of an image's name: `ghcr.io/org/tei:1.7` is `org/tei:1.7`,
/// and a digest is cut.
#[must_use]
pub fn image(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.split_once('/') {
        Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => rest,
        _ => image,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_grouped_by_thousands() {
        for (n, expected) in [
            (0, "0"),
            (12, "12"),
            (999, "999"),
            (1_000, "1,000"),
            (1_284_310, "1,284,310"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(count(n), expected);
        }
    }

    #[test]
    fn rates_keep_three_digits_at_any_size() {
        for (r, expected) in [
            (0.0, "0"),
            (0.004, "<0.01"),
            (0.5, "0.50"),
            (9.994, "9.99"),
            (9.999, "10.0"),
            (18.44, "18.4"),
            (99.96, "100"),
            (1412.3, "1,412"),
            (f64::NAN, "–"),
            (-1.0, "–"),
        ] {
            assert_eq!(rate(r), expected, "{r}");
        }
    }

    #[test]
    fn durations_pick_the_unit_that_reads_best() {
        for (s, expected) in [
            (None, "–"),
            (Some(f64::NAN), "–"),
            (Some(0.0), "0\u{a0}ms"),
            (Some(0.000_000_4), "<1\u{a0}µs"),
            (Some(0.000_85), "850\u{a0}µs"),
            (Some(0.000_999_7), "1.00\u{a0}ms"),
            (Some(0.001), "1.00\u{a0}ms"),
            (Some(0.0071), "7.10\u{a0}ms"),
            (Some(0.009_999), "10.0\u{a0}ms"),
            (Some(0.0441), "44.1\u{a0}ms"),
            (Some(0.184), "184\u{a0}ms"),
            (Some(0.9996), "1.00\u{a0}s"),
            (Some(4.92), "4.92\u{a0}s"),
            (Some(98.6), "98.6\u{a0}s"),
            (Some(120.0), "120\u{a0}s"),
            (Some(725.0), "12\u{a0}min 5\u{a0}s"),
        ] {
            assert_eq!(duration(s).text(), expected, "{s:?}");
        }
    }

    #[test]
    fn spans_name_their_two_largest_units() {
        for (s, expected) in [
            (0.4, "0\u{a0}s"),
            (61.0, "1\u{a0}min 1\u{a0}s"),
            (7_200.0, "2\u{a0}h"),
            (273_600.0, "3\u{a0}d 4\u{a0}h"),
        ] {
            assert_eq!(span(s), expected);
        }
    }

    #[test]
    fn percent_never_rounds_to_a_whole_that_is_not_one() {
        for (share, expected) in [
            (None, "–"),
            (Some(0.0), "0\u{a0}%"),
            (Some(0.000_01), "<0.01\u{a0}%"),
            (Some(0.0031), "0.31\u{a0}%"),
            (Some(0.028), "2.8\u{a0}%"),
            (Some(0.999_999), "99.99\u{a0}%"),
            (Some(1.0), "100\u{a0}%"),
        ] {
            assert_eq!(percent(share).text(), expected, "{share:?}");
        }
    }

    #[test]
    fn bytes_use_binary_units() {
        for (n, expected) in [
            (0, "0\u{a0}B"),
            (999, "999\u{a0}B"),
            (1_000, "0.98\u{a0}KiB"),
            (1_536, "1.50\u{a0}KiB"),
            (71 << 20, "71.0\u{a0}MiB"),
            (u64::MAX, "16384\u{a0}PiB"),
        ] {
            assert_eq!(bytes(n).text(), expected, "{n}");
        }
    }

    #[test]
    fn axis_labels_have_the_decimals_their_step_needs() {
        for (value, step, expected) in [
            (0.0, 0.5, "0"),
            (0.5, 0.5, "0.5"),
            (2.0, 0.5, "2.0"),
            (20.0, 5.0, "20"),
            (1_500.0, 500.0, "1,500"),
            (0.025, 0.025, "0.025"),
        ] {
            assert_eq!(axis_number(value, step), expected);
        }
        assert_eq!(axis_duration(0.05, 0.05), "50\u{a0}ms");
        assert_eq!(axis_duration(1.5, 0.5), "1.5\u{a0}s");
        assert_eq!(axis_duration(0.0005, 0.0005), "500\u{a0}µs");
    }

    #[test]
    fn addresses_of_ipv6_stand_in_brackets_and_none_is_a_dash() {
        assert_eq!(address("10.0.0.1", 80), "10.0.0.1:80");
        assert_eq!(address("fe80::1", 80), "[fe80::1]:80");
        assert_eq!(address("", 0), UNKNOWN);
    }

    #[test]
    fn images_lose_registry_and_digest() {
        for (full, expected) in [
            ("vllm/vllm-openai:v0.11", "vllm/vllm-openai:v0.11"),
            ("ghcr.io/org/tei:1.7", "org/tei:1.7"),
            ("localhost:5000/a:1", "a:1"),
            ("nginx", "nginx"),
            ("a/b@sha256:00", "a/b"),
        ] {
            assert_eq!(image(full), expected);
        }
    }
}
