//! What is asked of history for the range on show, besides the charts' lines.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use leptos::prelude::*;

use crate::browser;
use crate::client::{FetchError, Polled, fetch_text};
use crate::reactive::memo;
use crate::series::Range;
use crate::state::{Connection, Store};

/// The stretch that is asked for, in whole steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stretch {
    /// Its beginning, Unix milliseconds.
    pub from_ms: f64,
    /// Its end.
    pub to_ms: f64,
    /// Length of a step in seconds.
    pub step_seconds: u32,
}

impl Stretch {
    /// The range as it is at `now_ms`.
    #[must_use]
    pub fn of(range: Range, now_ms: f64) -> Self {
        let step_seconds = range.step_seconds();
        let step_ms = f64::from(step_seconds) * 1e3;
        let (from, to) = range.bounds(now_ms);
        Self {
            from_ms: (from / step_ms).floor() * step_ms,
            to_ms: (to / step_ms).ceil() * step_ms,
            step_seconds,
        }
    }

    /// `from` and `to` as parameters.
    #[must_use]
    pub fn bounds(&self) -> String {
        format!("from={:.0}&to={:.0}", self.from_ms, self.to_ms)
    }

    /// `from`, `to` and `step` as parameters.
    #[must_use]
    pub fn steps(&self) -> String {
        format!("{}&step={}s", self.bounds(), self.step_seconds)
    }
}

/// The paths that are asked for.
type Paths = Rc<dyn Fn(&Stretch) -> Vec<String>>;
/// Takes the answers, in the order of the paths.
type Take = Rc<dyn Fn(Result<Vec<String>, FetchError>)>;

/// Asks for `paths`, one after the other, when the range changes and, while it
/// follows the clock, every `period`.
pub fn ranged<T: Send + Sync + 'static>(
    store: Store,
    range: Signal<Range>,
    period: Duration,
    paths: impl Fn(&Stretch) -> Vec<String> + 'static,
    read: impl Fn(Vec<String>) -> Result<T, FetchError> + 'static,
) -> Polled<T> {
    let polled = Polled {
        value: RwSignal::new(None),
        error: RwSignal::new(None),
        again: Trigger::new(),
    };
    // The page may have gone while the answer was on its way.
    let take = move |answer: Result<Vec<String>, FetchError>| match answer.and_then(&read) {
        Ok(value) => {
            polled.value.try_set(Some(value));
            polled.error.try_set(None);
        }
        Err(error) => {
            polled.error.try_set(Some(error));
        }
    };
    ask_again(store, range, period, Rc::new(paths), Rc::new(take));
    polled
}

fn ask_again(store: Store, range: Signal<Range>, period: Duration, paths: Paths, take: Take) {
    let newest = StoredValue::new(0u32);
    let asked_ms = StoredValue::new(f64::NEG_INFINITY);
    let ask = move || {
        let turn = newest.get_value() + 1;
        newest.set_value(turn);
        asked_ms.set_value(browser::now_ms());
        let now_ms = store.daemon_now_ms(browser::now_ms());
        let paths = paths(&Stretch::of(range.get_untracked(), now_ms));
        let take = Rc::clone(&take);
        leptos::task::spawn_local(async move {
            let answers = fetch_all(paths).await;
            // An answer to an earlier question must not replace a later one's.
            if newest.try_get_value() == Some(turn) {
                take(answers);
            }
        });
    };
    let is_open = memo(move || store.connection.get() == Connection::Open);
    Effect::new({
        let ask = ask.clone();
        move |_| {
            range.track();
            if is_open.get() {
                ask();
            }
        }
    });
    browser::every(Duration::from_secs(1), move || {
        let range = range.get_untracked();
        let step = Duration::from_secs(u64::from(range.step_seconds().min(60)));
        let period_ms = period.max(step).as_secs_f64() * 1e3;
        let due = browser::now_ms() - asked_ms.get_value() >= period_ms;
        if due && range.end_ms.is_none() && is_open.get_untracked() && !browser::is_hidden() {
            ask();
        }
    });
}

fn fetch_all(paths: Vec<String>) -> Pin<Box<dyn Future<Output = Result<Vec<String>, FetchError>>>> {
    Box::pin(async move {
        let mut answers = Vec::with_capacity(paths.len());
        for path in paths {
            answers.push(fetch_text(path).await?);
        }
        Ok(answers)
    })
}
