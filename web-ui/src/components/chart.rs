//! Charts over time, drawn by uPlot on a canvas.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use js_sys::{Array, Function, Object, Reflect};
use leptos::html;
use leptos::prelude::*;
use wasm_bindgen::prelude::*;
use web_sys::{HtmlElement, ResizeObserver};

use crate::browser;
use crate::components::header::Theme;
use crate::components::marks::marks_layer;
use crate::format::UNKNOWN;
use crate::reactive::{AnyViews, effect, follows, when};
use crate::words::{W, phrases, t};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = uPlot)]
    type Plot;

    #[wasm_bindgen(constructor, js_class = "uPlot")]
    fn new(options: &JsValue, data: &Array, target: &HtmlElement) -> Plot;

    #[wasm_bindgen(method, js_class = "uPlot", js_name = setData)]
    fn set_data(this: &Plot, data: &Array, reset_scales: bool);

    #[wasm_bindgen(method, js_class = "uPlot", js_name = setScale)]
    fn set_scale(this: &Plot, scale: &str, limits: &JsValue);

    #[wasm_bindgen(method, js_class = "uPlot", js_name = setSelect)]
    fn set_select(this: &Plot, area: &JsValue, fires_hooks: bool);

    #[wasm_bindgen(method, js_class = "uPlot", js_name = setSize)]
    fn set_size(this: &Plot, size: &JsValue);

    #[wasm_bindgen(method, js_class = "uPlot", js_name = posToVal)]
    fn value_at(this: &Plot, position: f64, scale: &str) -> f64;

    #[wasm_bindgen(method, js_class = "uPlot")]
    fn destroy(this: &Plot);
}

/// Height of the drawing, legend and title apart.
const HEIGHT: f64 = 190.0;

/// A limit so many times what is used is left out of sight.
const LIMIT_IN_SIGHT: f64 = 5.0;

/// One line of a chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub name: W,
    /// The design token of its colour.
    pub token: &'static str,
}

/// What a chart shows now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChartData {
    /// Unix seconds.
    pub x: Vec<f64>,
    /// The values of each line; `None` is a gap.
    pub lines: Vec<Vec<Option<f64>>>,
    /// Both ends of the time axis, Unix seconds.
    pub bounds: (f64, f64),
}

/// How a chart is drawn; fixed for its life.
#[derive(Clone)]
pub struct ChartStyle {
    /// Its lines, the lowest of a stack first.
    pub lines: Vec<Line>,
    /// Whether the lines are laid on top of each other.
    pub stacked: bool,
    /// How many of the last lines are limits: one far above what is used does
    /// not press that to the ground, and is left out of sight.
    pub n_limits: usize,
    /// Whether ticks are powers of two apart, as bytes want it.
    pub is_binary: bool,
    /// A value in the legend.
    pub value: fn(f64) -> String,
    /// A tick of the value axis, and the distance of ticks.
    pub tick: fn(f64, f64) -> String,
    /// The least upper end of the value axis, so that noise near zero is not
    /// blown up.
    pub least_top: f64,
    /// Where the value axis ends at the latest.
    pub most_top: f64,
}

/// A chart with title, unit, legend and the values under the pointer.
#[component]
pub fn Chart(
    /// What is shown.
    title: &'static str,
    /// In which unit.
    unit: &'static str,
    /// How it is drawn.
    style: ChartStyle,
    /// What it shows.
    #[prop(into)]
    data: Signal<ChartData>,
    /// What to say where there is nothing to draw; `None` while there is.
    #[prop(into)]
    empty: Signal<Option<&'static str>>,
    /// Called with both ends, Unix seconds, when a stretch was marked.
    on_zoom: Callback<(f64, f64)>,
) -> impl IntoView {
    let theme = expect_context::<Theme>();
    let hover = RwSignal::new(None::<usize>);
    let host = NodeRef::<html::Div>::new();
    let lines = style.lines.clone();
    let drawing = StoredValue::new_local(None::<Drawing>);

    Effect::new({
        let style = style.clone();
        move |_| {
            theme.resolved.track();
            if let Some(host) = host.get() {
                drawing.set_value(None);
                let made = Drawing::new(&host, &style, hover, on_zoom);
                made.show(&data.get_untracked());
                drawing.set_value(Some(made));
            }
        }
    });
    effect(move || {
        data.with(|data| {
            drawing.with_value(|drawing| {
                if let Some(drawing) = drawing {
                    drawing.show(data);
                }
            });
        });
    });
    on_cleanup(move || drawing.set_value(None));

    let shown_index = move || {
        data.with(|d| {
            hover
                .get()
                .filter(|i| *i < d.x.len())
                .or(d.x.len().checked_sub(1))
        })
    };
    let value = style.value;
    let legend = lines
        .into_iter()
        .enumerate()
        .map(|(line, spec)| {
            let text = move || {
                let value_at = shown_index()
                    .and_then(|i| data.with(|d| d.lines.get(line)?.get(i).copied().flatten()));
                value_at.map_or_else(|| UNKNOWN.to_owned(), value)
            };
            view! {
                <span class="key">
                    <i style:background=format!("var({})", spec.token)></i>
                    <span>{t(spec.name)}</span>
                    <b>{text}</b>
                </span>
            }
        })
        .any_views();
    let time = move || shown_index().map(|i| data.with(|d| browser::time_of_day(d.x[i] * 1e3)));

    view! {
        <figure class="panel chart" aria-label=title>
            <div class="head">
                <h2>{title}</h2>
                <span class="unit">{unit}</span>
                <span class="when" aria-hidden="true">{time}</span>
            </div>
            <div class="legend">{legend}</div>
            <div class="plot">
                <div class="drawing" node_ref=host role="img" aria-label=phrases::chart(title, unit)></div>
                {marks_layer(Signal::derive(move || data.with(|d| d.bounds)))}
                {when(move || empty.get().is_some(), move || view! {
                    <p class="plot-empty"><span>{follows(move || empty.get())}</span></p>
                }.into_any())}
            </div>
        </figure>
    }
}

/// A living uPlot and what must live as long.
struct Drawing {
    plot: Rc<Plot>,
    stacked: bool,
    tops: (f64, f64),
    n_limits: usize,
    /// Seconds shown before.
    span: Cell<f64>,
    /// Upper end of the value axis, read by uPlot when it scales.
    top: Rc<RefCell<f64>>,
    observer: ResizeObserver,
    _on_resize: Closure<dyn FnMut()>,
}

impl Drop for Drawing {
    fn drop(&mut self) {
        self.observer.disconnect();
        self.plot.destroy();
    }
}

impl Drawing {
    fn new(
        host: &HtmlElement,
        style: &ChartStyle,
        hover: RwSignal<Option<usize>>,
        on_zoom: Callback<(f64, f64)>,
    ) -> Self {
        let top = Rc::new(RefCell::new(style.least_top));
        let options = options(host, style, &top, hover, on_zoom);
        let plot = Rc::new(Plot::new(
            &options,
            &columns(&ChartData::default(), style),
            host,
        ));
        let resized = Rc::clone(&plot);
        let target = host.clone();
        let on_resize = Closure::<dyn FnMut()>::new(move || {
            resized.set_size(&object(&[
                ("width", f64::from(target.client_width()).into()),
                ("height", HEIGHT.into()),
            ]));
        });
        let observer = ResizeObserver::new(on_resize.as_ref().unchecked_ref())
            .expect("every browser with WebAssembly has ResizeObserver");
        observer.observe(host);
        Self {
            plot,
            stacked: style.stacked,
            tops: (style.least_top, style.most_top),
            n_limits: style.n_limits,
            span: Cell::new(0.0),
            top,
            observer,
            _on_resize: on_resize,
        }
    }

    fn show(&self, data: &ChartData) {
        let highest = if self.stacked {
            (0..data.x.len())
                .map(|i| data.lines.iter().filter_map(|l| l[i]).sum::<f64>())
                .fold(0.0, f64::max)
        } else {
            let highest = |lines: &[Vec<Option<f64>>]| {
                let values = lines.iter().flatten().flatten();
                values.copied().fold(0.0, f64::max)
            };
            let (lines, limits) = data
                .lines
                .split_at(data.lines.len().saturating_sub(self.n_limits));
            let (used, limit) = (highest(lines), highest(limits));
            if limit > LIMIT_IN_SIGHT * used.max(self.tops.0) {
                used
            } else {
                used.max(limit)
            }
        };
        *self.top.borrow_mut() = (highest * 1.08).max(self.tops.0).min(self.tops.1);
        self.plot
            .set_data(&stacked_columns(data, self.stacked), false);
        let (min, max) = data.bounds;
        // What was marked was for the stretch shown before.
        if self.span.replace((max - min).round()) != (max - min).round() {
            let nothing = ["left", "top", "width", "height"].map(|key| (key, 0.into()));
            self.plot.set_select(&object(&nothing), false);
        }
        self.plot
            .set_scale("x", &object(&[("min", min.into()), ("max", max.into())]));
    }
}

fn columns(data: &ChartData, style: &ChartStyle) -> Array {
    let mut data = data.clone();
    data.lines.resize(style.lines.len(), Vec::new());
    stacked_columns(&data, style.stacked)
}

/// The columns uPlot reads: times, then the lines. A stack is drawn from its
/// top line down, each filled to the ground, so that a lower one covers what
/// is not the upper one's own.
fn stacked_columns(data: &ChartData, stacked: bool) -> Array {
    let js = |value: Option<f64>| value.map_or(JsValue::NULL, JsValue::from_f64);
    let columns = Array::new();
    columns.push(
        &data
            .x
            .iter()
            .map(|x| JsValue::from_f64(*x))
            .collect::<Array>(),
    );
    if !stacked {
        for line in &data.lines {
            columns.push(&line.iter().map(|v| js(*v)).collect::<Array>());
        }
        return columns;
    }
    let mut sums = vec![0.0; data.x.len()];
    let mut layers = Vec::with_capacity(data.lines.len());
    for line in &data.lines {
        let layer = sums.iter_mut().zip(line).map(|(sum, value)| {
            *sum += value.unwrap_or(0.0);
            js(value.map(|_| *sum))
        });
        layers.push(layer.collect::<Array>());
    }
    for layer in layers.into_iter().rev() {
        columns.push(&layer);
    }
    columns
}

fn object(entries: &[(&str, JsValue)]) -> JsValue {
    let object = Object::new();
    for (key, value) in entries {
        Reflect::set(&object, &JsValue::from_str(key), value)
            .expect("a plain object takes any property");
    }
    object.into()
}

fn options(
    host: &HtmlElement,
    style: &ChartStyle,
    top: &Rc<RefCell<f64>>,
    hover: RwSignal<Option<usize>>,
    on_zoom: Callback<(f64, f64)>,
) -> JsValue {
    let time_ticks = ticks(browser::axis_time);
    let value_ticks = ticks(style.tick);
    let top = Rc::clone(top);
    // uPlot holds these callbacks, and the browser frees them with it.
    let value_range =
        Closure::<dyn Fn() -> Array>::new(move || Array::of2(&0.0.into(), &(*top.borrow()).into()))
            .into_js_value();
    let on_cursor = Closure::<dyn Fn(Plot)>::new(move |plot: Plot| {
        let index = property(&plot, "cursor").and_then(|c| property(&c, "idx"));
        let index = index.and_then(|i| i.as_f64()).map(|i| i as usize);
        if hover
            .try_get_untracked()
            .is_some_and(|before| before != index)
        {
            hover.set(index);
        }
    })
    .into_js_value();
    let on_select = Closure::<dyn Fn(Plot)>::new(move |plot: Plot| {
        let select = property(&plot, "select").unwrap_or_default();
        let at = |key| {
            property(&select, key)
                .and_then(|v| v.as_f64())
                .unwrap_or(0.0)
        };
        let (left, width) = (at("left"), at("width"));
        if width >= 4.0 {
            on_zoom.run((plot.value_at(left, "x"), plot.value_at(left + width, "x")));
        }
    })
    .into_js_value();

    let grid = object(&[
        ("stroke", browser::token("--grid").into()),
        ("width", 1.into()),
    ]);
    let axis = |extra: &[(&str, JsValue)]| {
        let mut entries = vec![
            ("stroke", browser::token("--faint").into()),
            ("font", format!("11px {}", browser::token("--font")).into()),
            ("grid", grid.clone()),
            ("ticks", object(&[("show", false.into())])),
        ];
        entries.extend_from_slice(extra);
        object(&entries)
    };
    let hidden_grid = object(&[("show", false.into())]);
    let mut value_axis = vec![
        ("values", value_ticks),
        ("size", 58.into()),
        ("gap", 6.into()),
        ("space", 40.into()),
    ];
    if style.is_binary {
        let distances = (0..50).map(|power| JsValue::from_f64(2_f64.powi(power)));
        value_axis.push(("incrs", distances.collect::<Array>().into()));
    }
    let axes = Array::of2(
        &axis(&[
            ("values", time_ticks),
            ("grid", hidden_grid),
            ("size", 26.into()),
            ("space", 58.into()),
        ]),
        &axis(&value_axis),
    );
    object(&[
        ("width", f64::from(host.client_width().max(100)).into()),
        ("height", HEIGHT.into()),
        (
            "padding",
            Array::of4(&8.into(), &28.into(), &0.into(), &0.into()).into(),
        ),
        ("legend", object(&[("show", false.into())])),
        (
            "cursor",
            object(&[
                ("y", false.into()),
                ("sync", object(&[("key", "modeltap".into())])),
                (
                    "drag",
                    object(&[
                        ("x", true.into()),
                        ("y", false.into()),
                        ("setScale", false.into()),
                    ]),
                ),
                ("points", object(&[("size", 7.into())])),
            ]),
        ),
        (
            "scales",
            object(&[
                (
                    "x",
                    object(&[("time", true.into()), ("auto", false.into())]),
                ),
                ("y", object(&[("range", value_range)])),
            ]),
        ),
        ("axes", axes.into()),
        ("series", series(style).into()),
        (
            "hooks",
            object(&[
                ("setCursor", Array::of1(&on_cursor).into()),
                ("setSelect", Array::of1(&on_select).into()),
            ]),
        ),
    ])
}

fn series(style: &ChartStyle) -> Array {
    let lonely = Closure::<dyn Fn(Plot, usize) -> JsValue>::new(lonely_points).into_js_value();
    let all = Array::of1(&object(&[]));
    let mut lines = style.lines.clone();
    if style.stacked {
        lines.reverse();
    }
    for line in lines {
        let color: JsValue = browser::token(line.token).into();
        let points = object(&[
            ("filter", lonely.clone()),
            ("size", 3.5.into()),
            ("fill", color.clone()),
        ]);
        // Wider strokes cost uPlot's canvas twelve times the work.
        let mut entries = vec![("stroke", color), ("width", 1.into()), ("points", points)];
        if style.stacked {
            entries.push((
                "fill",
                browser::token(&format!("{}-fill", line.token)).into(),
            ));
        }
        all.push(&object(&entries));
    }
    all
}

/// Points with a gap on both sides: no line would show them.
fn lonely_points(plot: Plot, line: usize) -> JsValue {
    let Some(column) = property(&plot, "data").map(|d| Array::from(&d).get(line as u32)) else {
        return JsValue::NULL;
    };
    let known: Vec<bool> = Array::from(&column)
        .iter()
        .map(|v| v.as_f64().is_some())
        .collect();
    let at = |i: Option<usize>| i.and_then(|i| known.get(i)).copied().unwrap_or(false);
    let lonely = (0..known.len())
        .filter(|i| known[*i] && !at(i.checked_sub(1)) && !at(Some(i + 1)))
        .map(|i| JsValue::from_f64(i as f64));
    lonely.collect::<Array>().into()
}

fn property(of: &JsValue, key: &str) -> Option<JsValue> {
    Reflect::get(of, &JsValue::from_str(key))
        .ok()
        .filter(|v| !v.is_null() && !v.is_undefined())
}

/// Labels of an axis' ticks: uPlot hands over the values and their distance.
fn ticks(label: fn(f64, f64) -> String) -> JsValue {
    type Labels = dyn Fn(JsValue, Array, JsValue, JsValue, f64) -> Array;
    Closure::<Labels>::new(move |_, splits: Array, _, _, distance: f64| {
        splits
            .iter()
            .map(|v| JsValue::from_str(&label(v.as_f64().unwrap_or(0.0), distance)))
            .collect::<Array>()
    })
    .into_js_value()
    .unchecked_into::<Function>()
    .into()
}
