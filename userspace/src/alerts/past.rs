//! What rules compare the present with, read from history beside the counting.

use modeltap_api::alert_figures;
use modeltap_core::alert::AlertMetric;
use modeltap_core::time::UnixNs;
use modeltap_metrics::alert::{Engine, Wanted};
use modeltap_store::{QueryError, Reader};
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
    let all = alert_figures(
        history,
        AlertMetric::RequestRate,
        None,
        all_first * 60,
        n_minutes,
        60,
    )?;
    for wanted in wanted {
        let first = minute.saturating_sub(wanted.n_minutes);
        let n = minute - first;
        let service = Some(&*wanted.service);
        let mut values = alert_figures(history, wanted.metric, service, first * 60, n, 60)?;
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
