//! A small line without axes.

use std::fmt::Write;

use crate::reactive::{memo, says};
use leptos::prelude::*;

/// Values of a whole line: fifteen minutes in steps of ten seconds.
const WHOLE: usize = 90;
/// The box the line is drawn in; stretched to the size it is given. Whole
/// numbers are enough, and a hundred lines of ninety are written each second.
const STEP: usize = 10;
const WIDTH: usize = STEP * (WHOLE - 1);
const HEIGHT: u32 = 260;
/// Room above and below the line for its own width.
const TOP: u32 = 25;
const BOTTOM: u32 = 15;

/// Requests a second over the last 15 minutes. A daemon that is younger fills
/// the right end only.
#[component]
pub fn Sparkline(
    /// The values, oldest first.
    #[prop(into)]
    values: Signal<Vec<f32>>,
) -> impl IntoView {
    let paths = memo(move || values.with(|values| paths(values)));
    view! {
        <svg
            class="spark"
            viewBox=format!("0 0 {WIDTH} {HEIGHT}")
            preserveAspectRatio="none"
            aria-hidden="true"
        >
            <path class="area" d=says(move || paths.with(|p| p.1.clone()))></path>
            <path class="line" d=says(move || paths.with(|p| p.0.clone()))></path>
        </svg>
    }
}

/// The line, and the area under it.
fn paths(values: &[f32]) -> (String, String) {
    let values = &values[values.len().saturating_sub(WHOLE)..];
    let highest = values
        .iter()
        .copied()
        .filter(|v| v.is_finite())
        .fold(0.0, f32::max);
    if values.len() < 2 {
        return (String::new(), String::new());
    }
    let left = WIDTH - (values.len() - 1) * STEP;
    let mut line = String::with_capacity(values.len() * 8);
    for (i, value) in values.iter().enumerate() {
        let share = if highest > 0.0 && value.is_finite() {
            (value / highest).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let up = ((HEIGHT - TOP - BOTTOM) as f32 * share).round() as u32;
        let letter = if i == 0 { 'M' } else { 'L' };
        // Writing to a string does not fail.
        let _ = write!(line, "{letter}{} {}", left + i * STEP, HEIGHT - BOTTOM - up);
    }
    let area = format!("{line}L{WIDTH} {HEIGHT}L{left} {HEIGHT}Z");
    (line, area)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn young_line_keeps_to_the_right_and_a_flat_one_to_the_ground() {
        let (line, area) = paths(&[0.0, 0.0]);
        assert_eq!(line, "M880 245L890 245");
        assert!(area.ends_with("Z"));
        assert_eq!(paths(&[1.0]).0, "");
        assert_eq!(paths(&[]).0, "");
    }

    #[test]
    fn highest_value_reaches_the_top_and_nonsense_stays_inside() {
        let (line, _) = paths(&[f32::NAN, 4.0, -3.0]);
        assert!(line.contains("880 25"), "{line}");
        assert!(!line.contains("NaN"));
    }

    #[test]
    fn longer_than_a_whole_line_is_cut_at_its_old_end() {
        let (line, _) = paths(&[1.0; 1_000]);
        assert_eq!(line.matches('L').count(), WHOLE - 1);
        assert!(line.starts_with("M0 "));
    }
}
