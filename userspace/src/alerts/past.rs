//! What rules compare the present with, read from history beside the counting.

use std::ops::Range;

use modeltap_api::alert_figures;
use modeltap_core::alert::AlertMetric;
use modeltap_core::time::UnixNs;
use modeltap_metrics::alert::{Engine, Wanted};
use modeltap_store::{FigureQuery, QueryError, Reader};
use tokio::sync::mpsc;

/// Figures read ahead of the task that counts.
const MAX_READ: usize = 64;

/// A figure of one service by the minute.
struct Read {
    wanted: Wanted,
    first: u64,
    values: Vec<Option<f64>>,
}

/// Reads one lot at a time.
pub struct Past {
    history: Option<Reader>,
    reading: Option<mpsc::Receiver<Read>>,
}

impl Past {
    /// Nothing read yet.
    pub fn new(history: Option<Reader>) -> Self {
        Self {
            history,
            reading: None,
        }
    }

    /// Gives the engine what was read meanwhile, and begins to read what it
    /// wants next. Never waits.
    pub fn fill(&mut self, engine: &mut Engine, now: UnixNs) {
        if let Some(reading) = &mut self.reading {
            loop {
                match reading.try_recv() {
                    Ok(read) => {
                        let Wanted {
                            service, metric, ..
                        } = read.wanted;
                        engine.prime(&service, metric, read.first, &read.values);
                    }
                    Err(mpsc::error::TryRecvError::Empty) => return,
                    Err(mpsc::error::TryRecvError::Disconnected) => break,
                }
            }
            self.reading = None;
        }
        let Some(history) = &self.history else {
            return;
        };
        let wanted = engine.take_wanted();
        if wanted.is_empty() {
            return;
        }
        let (sender, reading) = mpsc::channel(MAX_READ);
        self.reading = Some(reading);
        let (history, minute) = (history.clone(), now.seconds() / 60);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = read(&history, wanted, minute, &sender) {
                tracing::warn!(%error, "alert rules do without the past: it cannot be read");
            }
        });
    }
}

/// Reads everything that is wanted, until nobody takes it.
fn read(
    history: &Reader,
    wanted: Vec<Wanted>,
    minute: u64,
    sender: &mpsc::Sender<Read>,
) -> Result<(), QueryError> {
    let rates = wanted
        .iter()
        .filter(|one| one.metric == AlertMetric::RequestRate);
    let n_minutes = rates.map(|one| one.n_minutes).max().unwrap_or(0);
    // A minute in which no service had a request is one that was not watched.
    let all_first = minute.saturating_sub(n_minutes);
    let of_all = by_minute(AlertMetric::RequestRate, None, all_first..minute);
    let all = alert_figures(history, &of_all)?;
    for wanted in wanted {
        let first = minute.saturating_sub(wanted.n_minutes);
        let asked = by_minute(wanted.metric, Some(&*wanted.service), first..minute);
        let mut values = alert_figures(history, &asked)?;
        if wanted.metric == AlertMetric::RequestRate {
            let skipped = usize::try_from(first - all_first).unwrap_or(usize::MAX);
            for (value, all) in values.iter_mut().zip(all.iter().skip(skipped)) {
                value.take_if(|_| all.is_none_or(|rate| rate == 0.0));
            }
        }
        let read = Read {
            wanted,
            first,
            values,
        };
        if sender.blocking_send(read).is_err() {
            break;
        }
    }
    Ok(())
}

fn by_minute(metric: AlertMetric, service: Option<&str>, minutes: Range<u64>) -> FigureQuery<'_> {
    FigureQuery {
        metric,
        service,
        min_requests: 1,
        from: minutes.start * 60,
        n_steps: minutes.end - minutes.start,
        step: 60,
    }
}
