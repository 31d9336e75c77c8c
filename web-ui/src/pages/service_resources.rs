//! What a service's containers use of the host, over time.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::{QueryResult, Resources, Service};

use crate::address;
use crate::client::{Polled, parse};
use crate::components::chart::{Chart, ChartData, ChartStyle, Line};
use crate::components::figures::remark;
use crate::components::range::RangeControl;
use crate::format;
use crate::narrow::Narrow;
use crate::pages::ranged::ranged;
use crate::reactive::{AnyViews, effect, memo};
use crate::series::Range;
use crate::state::Store;
use crate::usage::{LiveUses, Use, UseHistory, Uses, axis_bytes, cores};
use crate::words::{W, phrases, t};

const PERIOD: Duration = Duration::from_secs(10);

/// A chart: title, unit, what to say where all is zero, its lines, and how its
/// values are told.
struct Spec {
    title: W,
    unit: W,
    lines: &'static [(Use, Line)],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Cores,
    Bytes,
    ByteRate,
    Share,
    Count,
}

const fn line(name: W, token: &'static str) -> Line {
    Line { name, token }
}

const CHARTS: [Spec; 6] = [
    Spec {
        title: W::Cpu,
        unit: W::Cores,
        lines: &[
            (Use::Cpu, line(W::UsedWord, "--p95")),
            (Use::CpuLimit, line(W::LimitWord, "--limit")),
        ],
        kind: Kind::Cores,
    },
    Spec {
        title: W::Memory,
        unit: W::WorkingSet,
        lines: &[
            (Use::Memory, line(W::UsedWord, "--p95")),
            (Use::MemoryLimit, line(W::LimitWord, "--limit")),
        ],
        kind: Kind::Bytes,
    },
    Spec {
        title: W::CpuThrottled,
        unit: W::PercentOfPeriods,
        lines: &[(Use::Throttled, line(W::ThrottledWord, "--d"))],
        kind: Kind::Share,
    },
    Spec {
        title: W::OomKills,
        unit: W::Processes,
        lines: &[(Use::OomKills, line(W::KilledWord, "--c5"))],
        kind: Kind::Count,
    },
    Spec {
        title: W::Network,
        unit: W::BytesPerSecond,
        lines: &[
            (Use::Received, line(W::ReceivedWord, "--p50")),
            (Use::Sent, line(W::SentWord, "--p95")),
        ],
        kind: Kind::ByteRate,
    },
    Spec {
        title: W::Disk,
        unit: W::BytesPerSecond,
        lines: &[
            (Use::Read, line(W::DiskRead, "--p50")),
            (Use::Written, line(W::DiskWritten, "--d")),
        ],
        kind: Kind::ByteRate,
    },
];

impl Kind {
    fn style(self, lines: &[(Use, Line)]) -> ChartStyle {
        let value: fn(f64) -> String = match self {
            Self::Cores => cores,
            Self::Bytes => |v| format::bytes(v.max(0.0) as u64).text(),
            Self::ByteRate => |v| phrases::per_second(&format::bytes(v.max(0.0) as u64).text()),
            Self::Share => |v| format::percent(Some(v / 100.0)).text(),
            Self::Count => |v| format::count(v as u64),
        };
        let tick: fn(f64, f64) -> String = match self {
            Self::Cores | Self::Count => format::axis_number,
            Self::Bytes | Self::ByteRate => axis_bytes,
            Self::Share => |v, step| format!("{}\u{a0}%", format::axis_number(v, step)),
        };
        let least_top = match self {
            Self::Cores => 0.05,
            Self::Bytes => 1_048_576.0,
            Self::ByteRate => 1_024.0,
            Self::Share => 5.0,
            Self::Count => 1.0,
        };
        ChartStyle {
            n_limits: lines.iter().filter(|(_, l)| l.name == W::LimitWord).count(),
            lines: lines.iter().map(|(_, line)| *line).collect(),
            stacked: matches!(self, Self::Share | Self::Count),
            value,
            tick,
            is_binary: matches!(self, Self::Bytes | Self::ByteRate),
            least_top,
            most_top: if self == Self::Share {
                100.0
            } else {
                f64::INFINITY
            },
        }
    }
}

/// The charts of a service's resources, over the same time as the others.
#[component]
pub fn ResourceCharts(
    /// The service's name.
    name: String,
    /// What it is narrowed to.
    narrow: Narrow,
    /// The service.
    service: Memo<Option<Service>>,
    /// The range.
    control: RangeControl,
) -> impl IntoView {
    let store = expect_context::<Store>();
    let range = control.range;
    let live = RwSignal::new(LiveUses::default());
    let of = address::escape(&name) + &narrow.container_parameter();
    let container = narrow.container;
    effect(move || {
        let at = store.at_ms.get();
        let now = service.with_untracked(|s| of_container(s.as_ref()?, &container));
        if let Some(now) = now {
            live.update(|live| live.push(at, now));
        }
    });
    let polled = history(store, of, range.into());
    let uses = memo(move || {
        let now = store.at_ms.get() as f64;
        polled
            .value
            .with(|history| live.with(|live| Uses::join(range.get(), now, history.as_ref(), live)))
    });
    let bounds = move || {
        let (from, to) = range.get().bounds(store.at_ms.get() as f64);
        (from / 1e3, to / 1e3)
    };
    let on_zoom = control.on_zoom();
    let chart = |spec: &'static Spec| {
        let data = Signal::derive(move || {
            uses.with(|uses| {
                let scale = if spec.kind == Kind::Share { 100.0 } else { 1.0 };
                let values = |of| uses.values(of).iter().map(|v| v.map(|v| v * scale));
                ChartData {
                    x: uses.x.clone(),
                    lines: spec
                        .lines
                        .iter()
                        .map(|(of, _)| values(*of).collect())
                        .collect(),
                    bounds: bounds(),
                }
            })
        });
        let empty = Signal::derive(move || {
            let first = spec.lines[0].0;
            let has = uses.with(|u| u.values(first).iter().any(Option::is_some));
            let is_quiet = matches!(spec.kind, Kind::Count | Kind::Share);
            match (has, is_quiet && !uses.with(|u| u.has(first))) {
                (true, true) if spec.kind == Kind::Count => Some(t(W::NoneKilled)),
                (true, true) => Some(t(W::NeverInRange)),
                (true, false) => None,
                (false, _) if polled.value.with(Option::is_some) => Some(match spec.kind {
                    Kind::Share => t(W::NoLimitOrUntold),
                    _ => t(W::NotToldByHost),
                }),
                (false, _) if polled.error.with(Option::is_some) => Some(t(W::NoHistory)),
                (false, _) => Some(t(W::LoadingDots)),
            }
        });
        let style = spec.kind.style(spec.lines);
        view! { <Chart title=t(spec.title) unit=t(spec.unit) style data empty on_zoom/> }
    };
    let failed = move || {
        let error = polled.error.get();
        error.map(|error| {
            let words = phrases::resources_unread(&error.to_string());
            remark("warn", words)
        })
    };
    view! {
        <section class="charts" aria-label=t(W::Resources) data-testid="resources">
            {CHARTS.iter().map(chart).any_views()}
        </section>
        {failed}
    }
}

/// What one container uses, or all of them.
fn of_container(service: &Service, name: &str) -> Option<Resources> {
    if name.is_empty() {
        return service.resources.clone();
    }
    let mut containers = service.containers.iter();
    containers.find(|c| c.name == name)?.resources.clone()
}

fn history(store: Store, service: String, range: Signal<Range>) -> Polled<UseHistory> {
    ranged(
        store,
        range,
        PERIOD,
        move |stretch| {
            let steps = stretch.steps();
            let path = |of: Use| format!("/api/v1/query?service={service}&{steps}&{}", of.query());
            Use::ALL.into_iter().map(path).collect()
        },
        |answers| {
            let answers = answers.iter().map(|answer| parse::<QueryResult>(answer));
            Ok(UseHistory::new(answers.collect::<Result<_, _>>()?))
        },
    )
}
