//! Bars made of coloured segments.

use leptos::prelude::*;

/// The picture of a bar: a share of its length and the token of its colour
/// each, from the left; what is left over stays empty. One element with hard
/// stops: hundreds of rows come in at once.
#[must_use]
pub fn segments_picture(segments: &[(f64, &'static str)]) -> String {
    let mut at = 0.0;
    let mut stops = Vec::with_capacity(segments.len() + 1);
    for (share, token) in segments {
        let end: f64 = f64::min(at + share * 100.0, 100.0);
        stops.push(format!("var({token}) {at:.2}% {end:.2}%"));
        at = end;
    }
    if at < 99.995 {
        stops.push(format!("transparent {at:.2}%"));
    }
    format!("linear-gradient(to right, {})", stops.join(", "))
}

/// A bar as wide as there is room, and the same in words.
pub fn segment_bar(segments: &[(f64, &'static str)], label: String) -> AnyView {
    view! {
        <span
            class="segment-bar"
            role="img"
            aria-label=label.clone()
            title=label
            style:background-image=segments_picture(segments)
        ></span>
    }
    .into_any()
}

/// The colour of a segment, as a legend shows it.
pub fn swatch(token: &'static str) -> impl IntoView {
    view! { <i class="swatch" aria-hidden="true" style:background=format!("var({token})")></i> }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_follow_each_other_and_end_at_the_bar_s_end() {
        for (segments, expected) in [
            (&[][..], "transparent 0.00%"),
            (
                &[(0.25, "--a"), (0.75, "--b")],
                "var(--a) 0.00% 25.00%, var(--b) 25.00% 100.00%",
            ),
            (&[(0.5, "--a")], "var(--a) 0.00% 50.00%, transparent 50.00%"),
            (&[(1.5, "--a")], "var(--a) 0.00% 100.00%"),
        ] {
            let picture = segments_picture(segments);
            assert_eq!(picture, format!("linear-gradient(to right, {expected})"));
        }
    }
}
