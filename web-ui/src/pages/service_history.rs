//! The history behind a service's charts.

use std::time::Duration;

use leptos::prelude::*;
use modeltap_api_types::QueryResult;

use crate::address;
use crate::browser;
use crate::client::{FetchError, fetch};
use crate::narrow::Narrow;
use crate::reactive::memo;
use crate::series::{History, Measure, N_MEASURES, Range, values};
use crate::state::{Connection, Store};
use crate::words::{W, t};

/// Says why there is no history.
#[component]
pub fn HistoryError(
    /// Why.
    error: RwSignal<Option<FetchError>>,
) -> impl IntoView {
    let store = expect_context::<Store>();
    move || {
        // Without the daemon there is a banner already.
        let error = error
            .get()
            .filter(|_| store.connection.get() == Connection::Open);
        error.map(|error| {
            view! {
                <div class="panel banner warn" role="alert" data-testid="history-error">
                    <span class="mark-shape" aria-hidden="true"></span>
                    <p><b>{t(W::HistoryNotRead)}</b>{error.to_string()}"."</p>
                </div>
            }
        })
    }
}

/// History and the reason why there is none.
#[derive(Clone, Copy)]
pub struct HistorySignals {
    /// History, once it was read.
    pub joined: RwSignal<Option<History>>,
    /// Why the newest attempt failed.
    pub error: RwSignal<Option<FetchError>>,
}

/// Asks for history when the range changes, and again whenever a step of it
/// has passed while live.
#[must_use]
pub fn history(
    store: Store,
    service: String,
    narrow: &Narrow,
    range: Memo<Range>,
) -> HistorySignals {
    let of = address::escape(&service) + &narrow.series_parameters();
    let signals = HistorySignals {
        joined: RwSignal::new(None),
        error: RwSignal::new(None),
    };
    let newest = StoredValue::new(0u32);
    let asked_ms = StoredValue::new(f64::NEG_INFINITY);
    let ask = move || {
        let range = range.get_untracked();
        let turn = newest.get_value() + 1;
        newest.set_value(turn);
        asked_ms.set_value(browser::now_ms());
        let now_ms = store.daemon_now_ms(browser::now_ms());
        let of = of.clone();
        leptos::task::spawn_local(async move {
            let answer = fetch_history(&of, range, now_ms).await;
            // An answer to an earlier question must not replace a later one's.
            if newest.try_get_value() != Some(turn) {
                return;
            }
            match answer {
                Ok(history) => {
                    signals.joined.try_set(Some(history));
                    signals.error.try_set(None);
                }
                Err(error) => {
                    signals.error.try_set(Some(error));
                }
            }
        });
    };
    let is_open = memo(move || store.connection.get() == Connection::Open);
    Effect::new({
        let ask = ask.clone();
        move |_| {
            range.track();
            // After a pause of the daemon the live seconds have a gap.
            is_open.track();
            ask();
        }
    });
    browser::every(Duration::from_secs(1), move || {
        let range = range.get_untracked();
        let period_ms = f64::from(range.step_seconds().clamp(10, 60)) * 1e3;
        let due = browser::now_ms() - asked_ms.get_value() >= period_ms;
        if due && range.end_ms.is_none() && is_open.get_untracked() && !browser::is_hidden() {
            ask();
        }
    });
    signals
}

/// `of` is the service, and what it is narrowed to, as parameters.
async fn fetch_history(of: &str, range: Range, now_ms: f64) -> Result<History, FetchError> {
    let step = range.step_seconds();
    let step_ms = f64::from(step) * 1e3;
    let (from, to) = range.bounds(now_ms);
    let from = (from / step_ms).floor() * step_ms;
    let to = (to / step_ms).ceil() * step_ms;
    let query = |what: &str| {
        format!("/api/v1/query?service={of}&from={from:.0}&to={to:.0}&step={step}s&{what}")
    };
    let ask = async |what: &str| fetch::<QueryResult>(&query(what)).await;
    // One after the other: a page must not take a daemon's threads at once.
    let requests = ask("metric=requests&stat=count&by=status_class").await?;
    let mut errors = "metric=errors&stat=count".to_owned();
    if requests.n_requests > 0 {
        let figures = Measure::ALL.map(|measure| {
            let (metric, stat) = measure.query();
            format!("{metric}.{stat}")
        });
        errors = format!("{errors}&more={}", figures.join(","));
    }
    let mut errors = ask(&errors).await?;
    let mut lines: [Vec<Option<f64>>; N_MEASURES] = Default::default();
    for (line, figure) in lines.iter_mut().zip(std::mem::take(&mut errors.more)) {
        *line = values(figure.series);
    }
    Ok(History::new(requests, errors, lines, now_ms.min(to)))
}
