//! A stretch of a series that lies above what came before.
//!
//! | state | step | becomes |
//! |---|---|---|
//! | usual | within `SLACK` deviations | usual; the step is part of the past |
//! | usual | above | suspected; the past is held as it is |
//! | suspected | the sum falls to nothing | usual; its steps join the past |
//! | suspected | the sum reaches `ENOUGH` | risen |
//! | risen | the sum falls `RECOVERED` below its height | usual; its steps do not join |
//!
//! The sum is Page's (Biometrika 41, 1954): of the deviations of each step, at
//! most `MOST`, less `SLACK`. What is usual is a median, and a deviation a
//! scaled median absolute one, so that a few odd steps move neither.

use std::collections::VecDeque;

/// Known steps without which there is no past.
const MIN_BEFORE: usize = 12;
/// Known steps without which there is no stretch.
const MIN_AFTER: usize = 3;
/// Steps of the past that are looked at.
const PAST: usize = 240;
/// Deviations that are nothing unusual.
const SLACK: f64 = 2.0;
/// Deviations of a step beyond which more say nothing more.
const MOST: f64 = 6.0;
/// The sum from which on it is no chance: three steps at the least.
const ENOUGH: f64 = 12.0;
/// The fall of the sum by which it is over: four usual steps.
const RECOVERED: f64 = 8.0;
/// Deviations of the middle of a stretch.
const MIN_DEVIATIONS: f64 = 3.5;
/// Share of a stretch's steps that must lie above.
const MIN_ABOVE: f64 = 0.7;
/// Steps just before, which tell a rise from a slope.
const JUST_BEFORE: usize = 8;
/// Share of the rise that must have come since then.
const MIN_ABRUPT: f64 = 0.5;
/// Steps between two stretches that are one.
const GAP: usize = 6;
/// A median absolute deviation of a normal distribution times this is its
/// standard deviation.
const SCALE: f64 = 1.4826;

/// One step's figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point {
    /// On a scale on which differences mean the same everywhere.
    pub(crate) value: f64,
    /// Deviation that it has by its nature, or below which nobody cares.
    pub(crate) noise: f64,
}

/// A stretch above what came before.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Stretch {
    /// Its first step.
    pub(crate) start: usize,
    /// The step after its last.
    pub(crate) end: usize,
    /// Whether what came after is as before again.
    pub(crate) is_over: bool,
    /// How sure it is.
    score: f64,
    usual: Usual,
}

/// What is usual.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Usual {
    median: f64,
    spread: f64,
    /// What nineteen of twenty steps lie at or below.
    high: f64,
    /// The middle of the steps just before.
    just_before: f64,
}

impl Usual {
    fn deviations(&self, point: Point) -> f64 {
        (point.value - self.median) / self.spread.max(point.noise)
    }
}

/// The steps that were usual, the last [`PAST`] of them.
#[derive(Default)]
struct Past {
    in_order: VecDeque<f64>,
    sorted: Vec<f64>,
}

impl Past {
    fn push(&mut self, value: f64) {
        if self.in_order.len() == PAST
            && let Some(oldest) = self.in_order.pop_front()
        {
            let at = self.sorted.partition_point(|known| *known < oldest);
            self.sorted.remove(at);
        }
        self.in_order.push_back(value);
        let at = self.sorted.partition_point(|known| *known < value);
        self.sorted.insert(at, value);
    }

    /// What is usual, where `point` lies above it; `None` too where it is not
    /// known.
    fn below(&self, point: Point) -> Option<Usual> {
        let n = self.sorted.len();
        if n < MIN_BEFORE {
            return None;
        }
        let middle = median_sorted(&self.sorted)?;
        if point.value <= middle + SLACK * point.noise {
            return None;
        }
        let strays: Vec<f64> = self.sorted.iter().map(|v| (v - middle).abs()).collect();
        let just_before = self.in_order.range(n - JUST_BEFORE..).copied();
        let usual = Usual {
            median: middle,
            spread: SCALE * median(&strays)?,
            high: self.sorted[(n * 19).div_ceil(20) - 1],
            just_before: median(&just_before.collect::<Vec<_>>())?,
        };
        (usual.deviations(point) > SLACK).then_some(usual)
    }
}

/// A rise that is suspected, or sure.
struct Suspect {
    usual: Usual,
    start: usize,
    sum: f64,
    height: f64,
    highest: usize,
    values: Vec<f64>,
}

impl Suspect {
    fn stretch(&self, end: usize, is_over: bool) -> Stretch {
        Stretch {
            start: self.start,
            end,
            is_over,
            score: self.height,
            usual: self.usual,
        }
    }
}

/// The rise by at least `least` that goes on at the end, or the surest one that
/// reaches into the steps from `first` on.
pub(crate) fn rise(points: &[Option<Point>], first: usize, least: f64) -> Option<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    for stretch in stretches(points) {
        match found.last_mut() {
            Some(last) if stretch.start - last.end <= GAP => {
                last.end = stretch.end;
                last.is_over = stretch.is_over;
                last.score += stretch.score;
            }
            _ => found.push(stretch),
        }
    }
    let is_one = |stretch: &Stretch| stretch.end > first && is_rise(points, stretch, least);
    let by_weight = |a: &Stretch, b: &Stretch| {
        let goes_on = b.is_over.cmp(&a.is_over);
        goes_on.then(a.score.total_cmp(&b.score))
    };
    let best = found.into_iter().filter(is_one).max_by(by_weight)?;
    let start = refined(points, &best);
    let n_before = points[..start].iter().flatten().count();
    (n_before >= MIN_BEFORE).then_some(Stretch { start, ..best })
}

/// Every stretch whose sum is no chance.
fn stretches(points: &[Option<Point>]) -> Vec<Stretch> {
    let mut past = Past::default();
    let mut suspect: Option<Suspect> = None;
    let mut found = Vec::new();
    let known = points.iter().enumerate();
    for (at, point) in known.filter_map(|(at, point)| Some((at, (*point)?))) {
        if suspect.is_none() {
            let Some(usual) = past.below(point) else {
                past.push(point.value);
                continue;
            };
            suspect = Some(Suspect {
                usual,
                start: at,
                sum: 0.0,
                height: 0.0,
                highest: at,
                values: Vec::new(),
            });
        }
        let Some(now) = suspect.as_mut() else {
            continue;
        };
        now.sum += now.usual.deviations(point).min(MOST) - SLACK;
        now.values.push(point.value);
        if now.sum >= now.height {
            (now.height, now.highest) = (now.sum, at);
        }
        let is_sure = now.height >= ENOUGH;
        if is_sure && now.height - now.sum >= RECOVERED {
            found.push(now.stretch(now.highest + 1, true));
            suspect = None;
        } else if !is_sure && now.sum <= 0.0 {
            now.values.drain(..).for_each(|value| past.push(value));
            suspect = None;
        }
    }
    let last = suspect.filter(|now| now.height >= ENOUGH);
    found.extend(last.map(|now| now.stretch(points.len(), false)));
    found
}

/// Whether a stretch is large, lasts, and came at once.
fn is_rise(points: &[Option<Point>], stretch: &Stretch, least: f64) -> bool {
    let inside = points[stretch.start..stretch.end].iter().flatten();
    let inside: Vec<Point> = inside.copied().collect();
    let values: Vec<f64> = inside.iter().map(|point| point.value).collect();
    let noises: Vec<f64> = inside.iter().map(|point| point.noise).collect();
    let (Some(middle), Some(noise)) = (median(&values), median(&noises)) else {
        return false;
    };
    let usual = &stretch.usual;
    let size = middle - usual.median;
    let above = |point: &&Point| usual.deviations(**point) > SLACK;
    let n_above = inside.iter().filter(above).count();
    inside.len() >= MIN_AFTER
        && size >= least
        && size >= MIN_DEVIATIONS * usual.spread.max(noise)
        && middle > usual.high
        && middle - usual.just_before >= MIN_ABRUPT * size
        && n_above as f64 >= MIN_ABOVE * inside.len() as f64
}

/// The step near the start at which two levels fit best (least absolute
/// deviations).
fn refined(points: &[Option<Point>], stretch: &Stretch) -> usize {
    let inside = points[stretch.start..stretch.end].iter().flatten();
    let values: Vec<f64> = inside.map(|point| point.value).collect();
    let Some(level) = median(&values) else {
        return stretch.start;
    };
    let low = stretch.start.saturating_sub(3);
    let high = (stretch.start + 4).min(stretch.end);
    let misfit = |split: usize| -> f64 {
        let near = points[low..high].iter().enumerate();
        near.filter_map(|(at, point)| {
            let fitted = if low + at < split {
                stretch.usual.median
            } else {
                level
            };
            Some(((*point)?.value - fitted).abs())
        })
        .sum()
    };
    let splits = low..high;
    let best = splits.min_by(|a, b| misfit(*a).total_cmp(&misfit(*b)));
    best.unwrap_or(stretch.start)
}

/// The middle of the values; `None` of none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    median_sorted(&sorted)
}

fn median_sorted(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0)
}

/// The middle of what is known; `None` of nothing.
pub(crate) fn median_known(values: &[Option<f64>]) -> Option<f64> {
    let known: Vec<f64> = values.iter().flatten().copied().collect();
    median(&known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(values: impl IntoIterator<Item = f64>) -> Vec<Option<Point>> {
        let point = |value| Some(Point { value, noise: 0.1 });
        values.into_iter().map(point).collect()
    }

    fn found(values: impl IntoIterator<Item = f64>) -> Option<(usize, usize, bool)> {
        let found = rise(&points(values), 0, 0.4)?;
        Some((found.start, found.end, found.is_over))
    }

    fn levels(levels: &[(usize, f64)]) -> impl Iterator<Item = f64> + '_ {
        let steps = levels.iter();
        steps.flat_map(|(n, level)| std::iter::repeat_n(*level, *n))
    }

    #[test]
    fn stretch_above_is_found_with_its_first_and_last_step() {
        let goes_on = levels(&[(40, 1.0), (10, 2.0)]);
        assert_eq!(found(goes_on), Some((40, 50, false)));
        let is_over = levels(&[(40, 1.0), (10, 2.0), (20, 1.0)]);
        assert_eq!(found(is_over), Some((40, 50, true)));
        let longer_than_the_past = levels(&[(15, 1.0), (200, 2.0)]);
        assert_eq!(found(longer_than_the_past), Some((15, 215, false)));
        let pauses = levels(&[(40, 1.0), (10, 2.0), (5, 1.0), (10, 2.0)]);
        assert_eq!(found(pauses), Some((40, 65, false)), "it is one");
    }

    #[test]
    fn too_little_too_short_and_too_slow_is_no_rise() {
        for (why, shape) in [
            (
                "no past",
                levels(&[(11, 1.0), (30, 2.0)]).collect::<Vec<_>>(),
            ),
            ("two steps", levels(&[(40, 1.0), (2, 2.0)]).collect()),
            ("small", levels(&[(40, 1.0), (30, 1.3)]).collect()),
            ("better", levels(&[(40, 2.0), (30, 1.0)]).collect()),
            (
                "as it was before it was better",
                levels(&[(40, 2.0), (60, 1.0), (30, 2.0)]).collect(),
            ),
            (
                "a slope over the day",
                (0..240).map(|at| f64::from(at) * 0.01).collect(),
            ),
            ("nothing", Vec::new()),
        ] {
            assert_eq!(found(shape), None, "{why}");
        }
    }

    #[test]
    fn steps_without_a_figure_are_passed_over() {
        let mut points = points(levels(&[(40, 1.0), (10, 2.0)]));
        for point in points.iter_mut().step_by(3) {
            *point = None;
        }
        let found = rise(&points, 0, 0.4);
        let found = found.map(|stretch| (stretch.start, stretch.is_over));
        // Step 39 is not known: it may belong to either.
        assert!(matches!(found, Some((39 | 40, false))), "{found:?}");
        assert_eq!(rise(&vec![None; 300], 0, 0.4), None);
    }

    #[test]
    fn what_was_over_before_the_range_is_not_told() {
        let points = points(levels(&[(40, 1.0), (10, 2.0), (60, 1.0)]));
        assert!(rise(&points, 49, 0.4).is_some());
        assert_eq!(rise(&points, 50, 0.4), None);
    }
}
