//! A heatmap of durations as a picture: rows on a log scale, colours by how
//! many requests a cell has. Pure.

use modeltap_api_types::Heatmap;

use crate::format;
use crate::words::{W, phrases, t};

/// Rows of the picture.
pub const HEIGHT: usize = 200;
/// Least ratio of the longest to the shortest duration shown: what lies in a
/// single row is not blown up.
const LEAST_RATIO: f64 = 8.0;
/// Most steps a picture has, whatever an answer claims.
const MAX_STEPS: usize = 4_000;

/// A colour: red, green, blue.
pub type Rgb = [u8; 3];

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Heat {
    /// Beginning of the first step and length of one, Unix seconds.
    pub from: f64,
    /// Length of a step in seconds.
    pub step: f64,
    /// Steps.
    pub n_steps: usize,
    /// Shortest and longest duration of the scale, in seconds.
    pub scale: (f64, f64),
    /// Most requests of a cell.
    pub most: u64,
    /// Requests in all.
    pub n_requests: u64,
    bounds: Vec<f64>,
    counts: Vec<Vec<u64>>,
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Its step.
    pub step: usize,
    /// Its row.
    pub row: usize,
    /// From when, Unix seconds.
    pub at: f64,
    /// Its durations in seconds.
    pub durations: (f64, f64),
    /// Its requests.
    pub n_requests: u64,
}

impl Heat {
    /// Takes an answer of the API.
    #[must_use]
    pub fn new(answer: Heatmap) -> Self {
        let mut counts = answer.counts;
        counts.truncate(MAX_STEPS);
        let bounds = answer.bounds;
        let n_rows = bounds.len().saturating_sub(1);
        let used = |row: &usize| counts.iter().any(|c| c.get(*row).is_some_and(|n| *n > 0));
        let mut rows = (0..n_rows).filter(used);
        let first = rows.next();
        let last = rows.next_back().or(first);
        let scale = match (first, last) {
            (Some(first), Some(last)) => {
                // Nothing is shorter than a tenth of a microsecond.
                let (low, high) = (bounds[first].max(1e-7), bounds[last + 1].max(2e-7));
                let missing = (LEAST_RATIO / (high / low)).max(1.0).sqrt();
                (low / missing, high * missing)
            }
            _ => (0.001, 1.0),
        };
        Self {
            from: answer.from_unix_ms as f64 / 1e3,
            step: f64::from(answer.step_seconds.max(1)),
            n_steps: counts.len(),
            scale,
            most: counts.iter().flatten().copied().max().unwrap_or(0),
            n_requests: answer.n_requests,
            bounds,
            counts,
        }
    }

    /// Whether there is nothing to draw.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.most == 0 || self.bounds.len() < 2
    }

    /// How high a duration lies: 0 at the bottom, 1 at the top.
    #[must_use]
    pub fn height_of(&self, seconds: f64) -> f64 {
        let (low, high) = self.scale;
        (seconds / low).ln() / (high / low).ln()
    }

    fn row_at(&self, height: f64) -> Option<usize> {
        let (low, high) = self.scale;
        let seconds = low * (high / low).powf(height);
        let above = self.bounds.partition_point(|b| *b <= seconds);
        let row = above.checked_sub(1)?;
        (above < self.bounds.len()).then_some(row)
    }

    fn cell(&self, step: usize, row: usize) -> Option<Cell> {
        let durations = (*self.bounds.get(row)?, *self.bounds.get(row + 1)?);
        let counts = self.counts.get(step)?;
        Some(Cell {
            step,
            row,
            at: self.from + step as f64 * self.step,
            durations,
            n_requests: counts.get(row).copied().unwrap_or(0),
        })
    }

    /// The cell at a time (Unix seconds) and a height (0 to 1 from below).
    #[must_use]
    pub fn cell_at(&self, at: f64, height: f64) -> Option<Cell> {
        let step = ((at - self.from) / self.step).floor();
        let inside = step >= 0.0 && step < self.n_steps as f64;
        inside
            .then(|| self.cell(step as usize, self.row_at(height)?))
            .flatten()
    }

    /// The picture's pixels, four bytes each, a column a step, the longest
    /// durations first; cells without requests are transparent.
    #[must_use]
    pub fn pixels(&self, ramp: [Rgb; 3]) -> Vec<u8> {
        let rows: Vec<Option<usize>> = (0..HEIGHT)
            .map(|y| self.row_at(1.0 - (y as f64 + 0.5) / HEIGHT as f64))
            .collect();
        let mut pixels = Vec::with_capacity(self.n_steps * HEIGHT * 4);
        for row in rows {
            for counts in &self.counts {
                let n = row.and_then(|row| counts.get(row)).copied().unwrap_or(0);
                let [r, g, b] = colour(self.warmth(n), ramp);
                pixels.extend([r, g, b, if n > 0 { 255 } else { 0 }]);
            }
        }
        pixels
    }

    /// How full a cell is, 0 to 1: few must be seen beside many.
    fn warmth(&self, n: u64) -> f64 {
        if self.most <= 1 {
            return 1.0;
        }
        (n as f64).ln_1p() / (self.most as f64).ln_1p()
    }

    /// Durations worth a label.
    #[must_use]
    pub fn ticks(&self) -> Vec<f64> {
        let (low, high) = self.scale;
        let decades = (high / low).log10();
        let factors: &[f64] = match decades {
            d if d > 4.0 => &[1.0],
            d if d > 2.2 => &[1.0, 3.0],
            _ => &[1.0, 2.0, 5.0],
        };
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        (first..=last)
            .flat_map(|power| factors.iter().map(move |f| f * 10_f64.powi(power)))
            .filter(|tick| (0.03..=0.97).contains(&self.height_of(*tick)))
            .collect()
    }

    /// What the picture shows, for those who do not see it.
    #[must_use]
    pub fn summary(&self) -> String {
        if self.is_empty() {
            return t(W::NoRequestsInRangeDot).to_owned();
        }
        let n_rows = self.bounds.len().saturating_sub(1);
        let by_row: Vec<u64> = (0..n_rows)
            .map(|row| self.counts.iter().filter_map(|c| c.get(row)).sum())
            .collect();
        let most = (0..n_rows).max_by_key(|row| by_row[*row]).unwrap_or(0);
        let first = by_row.iter().position(|n| *n > 0).unwrap_or(0);
        let last = by_row.iter().rposition(|n| *n > 0).unwrap_or(0);
        let text = |seconds: f64| format::duration(Some(seconds)).text();
        phrases::heat_summary(
            &format::count(self.n_requests),
            &text(self.bounds[first]),
            &text(self.bounds[last + 1]),
            &text(self.bounds[most]),
            &text(self.bounds[most + 1]),
        )
    }
}

/// A colour of a ramp of three, all of which differ in lightness.
#[must_use]
pub fn colour(warmth: f64, ramp: [Rgb; 3]) -> Rgb {
    let at = warmth.clamp(0.0, 1.0) * 2.0;
    let (from, to, share) = if at < 1.0 {
        (ramp[0], ramp[1], at)
    } else {
        (ramp[1], ramp[2], at - 1.0)
    };
    std::array::from_fn(|i| {
        let (from, to) = (f64::from(from[i]), f64::from(to[i]));
        (from + (to - from) * share).round() as u8
    })
}

/// Reads `#1f62d1`.
#[must_use]
pub fn hex(text: &str) -> Rgb {
    let digits = text.trim().trim_start_matches('#');
    std::array::from_fn(|i| {
        let pair = digits.get(i * 2..i * 2 + 2);
        pair.and_then(|p| u8::from_str_radix(p, 16).ok())
            .unwrap_or(0)
    })
}

/// Times worth a label under a stretch, Unix seconds, and their distance.
#[must_use]
pub fn time_ticks(from: f64, to: f64) -> (Vec<f64>, f64) {
    const STEPS: [f64; 14] = [
        5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0, 21_600.0,
        86_400.0, 345_600.0,
    ];
    let wanted = (to - from) / 7.0;
    let step = STEPS
        .into_iter()
        .find(|s| *s >= wanted)
        .unwrap_or(691_200.0);
    let first = (from / step).ceil() * step;
    let ticks = (0..12).map(|i| first + f64::from(i) * step);
    (ticks.take_while(|t| *t <= to).collect(), step)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAMP: [Rgb; 3] = [[0, 0, 0], [100, 100, 100], [200, 200, 200]];

    fn heat() -> Heat {
        Heat::new(Heatmap {
            metric: "duration".into(),
            from_unix_ms: 100_000,
            step_seconds: 10,
            bounds: vec![0.001, 0.01, 0.1, 1.0],
            counts: vec![vec![1, 0, 3], Vec::new(), vec![0, 7, 0]],
            n_requests: 11,
            n_incomplete: 0,
        })
    }

    #[test]
    fn cells_are_found_by_time_and_height_on_the_log_scale() {
        let heat = heat();
        for (at, height, expected) in [
            (100.0, 0.1, Some((0.001, 1))),
            (109.9, 0.9, Some((0.1, 3))),
            (120.0, 0.5, Some((0.01, 7))),
            (115.0, 0.5, Some((0.01, 0))),
            (99.0, 0.5, None),
            (130.0, 0.5, None),
        ] {
            let cell = heat.cell_at(at, height);
            let told = cell.map(|c| (c.durations.0, c.n_requests));
            assert_eq!(told, expected, "{at} {height}");
        }
    }

    #[test]
    fn pixels_have_the_longest_first_and_nothing_where_nothing_was() {
        let pixels = heat().pixels(RAMP);
        assert_eq!(pixels.len(), 3 * HEIGHT * 4);
        let alpha = |x: usize, y: usize| pixels[(y * 3 + x) * 4 + 3];
        assert_eq!((alpha(0, 0), alpha(1, 0), alpha(2, 0)), (255, 0, 0));
        let middle = HEIGHT / 2;
        assert_eq!((alpha(0, middle), alpha(2, middle)), (0, 255));
        // The fullest cell has the last colour.
        assert_eq!(pixels[(middle * 3 + 2) * 4], 200);
    }

    #[test]
    fn a_single_row_is_not_blown_up_and_lies_in_the_middle() {
        let mut answer = Heatmap {
            step_seconds: 1,
            bounds: vec![0.09, 0.1],
            counts: vec![vec![4]],
            n_requests: 4,
            ..Heatmap::default()
        };
        let heat = Heat::new(answer.clone());
        assert!((heat.scale.1 / heat.scale.0 - LEAST_RATIO).abs() < 1e-9);
        assert!(heat.cell_at(0.5, 0.5).is_some_and(|c| c.n_requests == 4));
        assert!(heat.cell_at(0.5, 0.1).is_none());
        // Nonsense is nothing to draw, and no panic.
        for bounds in [Vec::new(), vec![0.0], vec![0.0, 0.0]] {
            answer.bounds = bounds;
            let heat = Heat::new(answer.clone());
            assert_eq!(heat.pixels(RAMP).len(), HEIGHT * 4);
            assert!(!heat.summary().is_empty());
        }
    }

    #[test]
    fn the_summary_says_how_many_how_long_and_where_most_are() {
        assert_eq!(
            heat().summary(),
            "11 requests between 1.00\u{a0}ms and 1.00\u{a0}s; most often between 10.0\u{a0}ms \
             and 100\u{a0}ms."
        );
        assert_eq!(
            Heat::new(Heatmap::default()).summary(),
            "No requests in this range."
        );
    }

    #[test]
    fn ticks_are_few_and_inside() {
        let heat = heat();
        assert_eq!(heat.ticks().len(), 5);
        let (ticks, step) = time_ticks(1_000.0, 1_300.0);
        assert_eq!((ticks[0], ticks.len(), step), (1_020.0, 5, 60.0));
    }

    #[test]
    fn colours_are_read_and_mixed() {
        assert_eq!(hex(" #1f62d1"), [0x1f, 0x62, 0xd1]);
        assert_eq!(hex("red"), [0, 0, 0]);
        assert_eq!(colour(0.25, RAMP), [50, 50, 50]);
        assert_eq!(colour(9.0, RAMP), [200, 200, 200]);
    }
}
