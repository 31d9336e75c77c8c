//! A heatmap on a canvas: time to the right, durations upwards on a log scale.

use leptos::ev;
use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::{Clamped, JsCast};
use web_sys::{CanvasRenderingContext2d, ImageData};

use crate::browser;
use crate::components::header::Theme;
use crate::components::marks::marks_layer;
use crate::format;
use crate::heat::{Cell, HEIGHT, Heat, hex, time_ticks};
use crate::reactive::{AnyViews, effect, memo, says};
use crate::words::{W, phrases, t};

/// Colours from few requests to many.
const RAMP: [&str; 3] = ["--heat-0", "--heat-1", "--heat-2"];

/// A heatmap with axes, legend, and the cell under the pointer or chosen by
/// the arrow keys.
#[component]
pub fn HeatmapView(
    /// What is shown.
    title: &'static str,
    /// The heatmap, once it was read.
    heat: RwSignal<Option<Heat>>,
    /// Whether the newest attempt to read it failed.
    failed: Signal<bool>,
    /// Both ends of the time axis, Unix seconds.
    bounds: Signal<(f64, f64)>,
    /// Called with the cell that was chosen.
    on_pick: Callback<Cell>,
) -> impl IntoView {
    let theme = expect_context::<Theme>();
    let canvas = NodeRef::<html::Canvas>::new();
    // A time (Unix seconds) and a height, 0 to 1 from below.
    let pointed = RwSignal::new(None::<(f64, f64)>);
    effect(move || {
        theme.resolved.track();
        if let Some(canvas) = canvas.get() {
            heat.with(|heat| draw(&canvas, heat.as_ref()));
        }
    });
    let cell = memo(move || {
        let (at, height) = pointed.get()?;
        heat.with(|h| h.as_ref()?.cell_at(at, height))
    });
    let on_move = move |event: ev::PointerEvent| {
        let area = event_target::<web_sys::Element>(&event).get_bounding_client_rect();
        let (from, to) = bounds.get_untracked();
        let right = (f64::from(event.client_x()) - area.left()) / area.width().max(1.0);
        let down = (f64::from(event.client_y()) - area.top()) / area.height().max(1.0);
        pointed.set(Some((from + right * (to - from), 1.0 - down)));
    };
    let pick = move || {
        if let Some(cell) = cell.get_untracked().filter(|c| c.n_requests > 0) {
            on_pick.run(cell);
        }
    };
    let on_key = move |event: ev::KeyboardEvent| {
        let (dx, dy) = match event.key().as_str() {
            "ArrowLeft" => (-1.0, 0.0),
            "ArrowRight" => (1.0, 0.0),
            "ArrowUp" => (0.0, 0.02),
            "ArrowDown" => (0.0, -0.02),
            "Enter" => {
                pick();
                return;
            }
            "Escape" => {
                pointed.set(None);
                return;
            }
            _ => return,
        };
        event.prevent_default();
        let (from, to) = bounds.get_untracked();
        let step = heat.with_untracked(|h| h.as_ref().map_or(1.0, |h| h.step));
        pointed.update(|pointed| {
            let (at, height) = pointed.unwrap_or(((from + to) / 2.0, 0.5));
            *pointed = Some((
                (at + dx * step).clamp(from, to),
                (height + dy).clamp(0.0, 1.0),
            ));
        });
    };
    // The canvas holds whole steps; the axis ends where the range does.
    let place = move || {
        let (from, to) = bounds.get();
        let span = (to - from).max(1.0);
        heat.with(|h| {
            h.as_ref().map(|h| {
                let left = (h.from - from) / span * 100.0;
                let width = h.n_steps as f64 * h.step / span * 100.0;
                format!("left:{left:.3}%;width:{width:.3}%")
            })
        })
    };
    let ticks = memo(move || heat.with(|h| h.as_ref().map(Heat::ticks).unwrap_or_default()));
    let rows = move || {
        let row = |tick: f64| {
            let at = heat.with(|h| h.as_ref().map_or(0.0, |h| h.height_of(tick)));
            let label = format::axis_duration(tick, tick);
            view! { <span class="row" style=format!("bottom:{:.2}%", at * 100.0)>{label}</span> }
        };
        ticks.get().into_iter().map(row).any_views()
    };
    let columns = move || {
        let (from, to) = bounds.get();
        let (ticks, distance) = time_ticks(from, to);
        let column = |tick: f64| {
            let at = (tick - from) / (to - from).max(1.0) * 100.0;
            let label = browser::axis_time(tick, distance);
            view! { <span class="column" style=format!("left:{at:.2}%")>{label}</span> }
        };
        ticks.into_iter().map(column).any_views()
    };
    let tip = move || {
        let (at, height) = pointed.get()?;
        let cell = cell.get()?;
        let (from, to) = bounds.get();
        let right = ((at - from) / (to - from).max(1.0) * 100.0).clamp(0.0, 100.0);
        let side = if right > 60.0 { "left" } else { "" };
        let style = format!("left:{right:.2}%;bottom:{:.1}%", height * 100.0);
        Some(
            view! { <span class=format!("heat-tip {side}") style=style>{cell_words(&cell, heat)}</span> },
        )
    };
    let told = move || cell.get().map(|c| cell_words(&c, heat));
    let summary = memo(move || heat.with(|h| h.as_ref().map(Heat::summary)));
    let label = move || {
        let summary = phrases::heatmap(title, &summary.get().unwrap_or_default());
        [&summary, t(W::HeatHint)].join(" ")
    };
    let most = move || heat.with(|h| h.as_ref().map_or(0, |h| h.most));
    let empty = move || {
        let words = heat.with(|h| match h {
            None if failed.get() => Some(t(W::NoHistory)),
            None => Some(t(W::LoadingDots)),
            Some(h) if h.is_empty() => Some(t(W::NoRequestsInRange)),
            Some(_) => None,
        });
        words.map(|words| view! { <p class="plot-empty"><span>{words}</span></p> })
    };
    view! {
        <figure class="panel chart heat" aria-label=title data-testid="heatmap">
            <div class="head">
                <h2>{title}</h2>
                <span class="unit">{t(W::RequestsACell)}</span>
                <span class="heat-legend">"1"<i aria-hidden="true"></i>{says(move || format::count(most()))}</span>
            </div>
            <div class="plot">
                <div
                    class="heat-area"
                    role="application"
                    tabindex="0"
                    aria-label=label
                    on:pointermove=on_move
                    on:pointerleave=move |_| pointed.set(None)
                    on:keydown=on_key
                    on:click=move |_| pick()
                    on:blur=move |_| pointed.set(None)
                >
                    <canvas node_ref=canvas style=place></canvas>
                </div>
                <div class="heat-over" aria-hidden="true">{rows}{columns}{tip}</div>
                {marks_layer(bounds)}
                {empty}
            </div>
            <figcaption class="unit" data-testid="heat-summary">{summary}</figcaption>
            <span class="sr-only" role="status">{told}</span>
        </figure>
    }
}

fn cell_words(cell: &Cell, heat: RwSignal<Option<Heat>>) -> String {
    let step = heat.with(|h| h.as_ref().map_or(1.0, |h| h.step));
    let text = |seconds| format::duration(Some(seconds)).text();
    let requests = match cell.n_requests {
        0 => t(W::NoRequest).to_owned(),
        1 => t(W::OneRequest).to_owned(),
        n => phrases::requests(&format::count(n)),
    };
    let durations = phrases::range(&text(cell.durations.0), &text(cell.durations.1));
    let (begin, end) = (cell.at * 1e3, (cell.at + step) * 1e3);
    let times = [begin, end].map(browser::time_of_day).join(" – ");
    [times, durations, requests].join("\n")
}

/// One pixel a step; CSS stretches it.
fn draw(canvas: &web_sys::HtmlCanvasElement, heat: Option<&Heat>) {
    let n_steps = heat.map_or(0, |h| h.n_steps);
    // Setting a size empties the canvas.
    canvas.set_width(n_steps.max(1) as u32);
    canvas.set_height(HEIGHT as u32);
    let Some(heat) = heat.filter(|_| n_steps > 0) else {
        return;
    };
    let pixels = heat.pixels(RAMP.map(|token| hex(&browser::token(token))));
    let context = canvas
        .get_context("2d")
        .ok()
        .flatten()
        .and_then(|c| c.dyn_into::<CanvasRenderingContext2d>().ok());
    let image = ImageData::new_with_u8_clamped_array_and_sh(
        Clamped(&pixels),
        n_steps as u32,
        HEIGHT as u32,
    );
    if let (Some(context), Ok(image)) = (context, image) {
        // Fails only for sizes that were ruled out.
        let _ = context.put_image_data(&image, 0.0, 0.0);
    }
}
