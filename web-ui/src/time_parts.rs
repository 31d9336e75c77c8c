//! Where the time of requests went, and what they waited before anybody but
//! the kernel knew of them. Pure.

use modeltap_api_types::{Request, TimeParts, WindowFigures};

use crate::format;
use crate::words::{W, phrases, t};

/// A part of a request's time, in the order in which they pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Arrived, not yet read.
    Queue,
    /// Being read.
    Read,
    /// Read, the response's body not yet begun.
    App,
    /// The response's body being written.
    Stream,
    /// Written, not yet gone from the socket.
    Drain,
}

/// Parts there are.
pub const N_PARTS: usize = 5;

impl Part {
    /// All, in the order in which they pass.
    pub const ALL: [Self; N_PARTS] = [
        Self::Queue,
        Self::Read,
        Self::App,
        Self::Stream,
        Self::Drain,
    ];

    /// Its name in the table of words.
    #[must_use]
    pub fn word(self) -> W {
        match self {
            Self::Queue => W::PartQueue,
            Self::Read => W::PartRead,
            Self::App => W::PartApp,
            Self::Stream => W::PartStream,
            Self::Drain => W::PartDrain,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        t(self.word())
    }

    /// The design token of its colour.
    #[must_use]
    pub fn token(self) -> &'static str {
        match self {
            Self::Queue => "--q",
            Self::Read => "--r",
            Self::App => "--a",
            Self::Stream => "--st",
            Self::Drain => "--d",
        }
    }

    /// What it means, for who never heard of it.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Queue => t(W::QueueMeans),
            Self::Read => t(W::ReadMeans),
            Self::App => t(W::AppMeans),
            Self::Stream => t(W::StreamMeans),
            Self::Drain => t(W::DrainMeans),
        }
    }

    /// From what to what it is measured.
    #[must_use]
    pub fn definition(self) -> &'static str {
        match self {
            Self::Queue => t(W::QueueDefinition),
            Self::Read => t(W::ReadDefinition),
            Self::App => t(W::AppDefinition),
            Self::Stream => t(W::StreamDefinition),
            Self::Drain => t(W::DrainDefinition),
        }
    }
}

/// A stretch of time split into its parts, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Split {
    /// The parts in the order of [`Part::ALL`]; `None` where not known.
    pub parts: [Option<f64>; N_PARTS],
    /// What is known to have passed, but not in which part.
    pub unknown: f64,
}

impl Split {
    /// The means of a window.
    #[must_use]
    pub fn of_window(parts: &TimeParts) -> Self {
        let known = |t: f64| Some(t).filter(|t| t.is_finite() && *t >= 0.0);
        Self {
            parts: [
                parts.queue.and_then(known),
                known(parts.read),
                known(parts.app),
                known(parts.stream),
                known(parts.drain),
            ],
            unknown: 0.0,
        }
    }

    /// One request's parts, cut so that between queue and drain they make up
    /// its duration: those of a request that was answered before it was read
    /// overlap.
    #[must_use]
    pub fn of_request(request: &Request) -> Self {
        let known = |t: Option<f64>| t.filter(|t| t.is_finite() && *t >= 0.0);
        let duration = known(Some(request.duration)).unwrap_or(0.0);
        let app = known(request.app)
            .or(known(request.ttfb))
            .map(|t| t.min(duration));
        let left = duration - app.unwrap_or(0.0);
        let stream = known(request.stream).map(|t| t.min(left));
        let left = left - stream.unwrap_or(0.0);
        // Without a work's end nobody knows how much of the rest was reading.
        let read = app.map(|_| left);
        Self {
            parts: [
                known(request.queue),
                read,
                app,
                stream,
                known(request.drain),
            ],
            unknown: if read.is_some() { 0.0 } else { left },
        }
    }

    /// All of it, in seconds.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.parts.iter().flatten().sum::<f64>() + self.unknown
    }

    /// A part.
    #[must_use]
    pub fn seconds(&self, part: Part) -> Option<f64> {
        self.parts[part as usize]
    }

    /// A part's share of all, 0 to 1.
    #[must_use]
    pub fn share(&self, part: Part) -> Option<f64> {
        let total = self.total();
        self.seconds(part)
            .filter(|_| total > 0.0)
            .map(|t| t / total)
    }

    /// Segments of a bar: a share and the token of its colour, without those
    /// that are nothing.
    #[must_use]
    pub fn segments(&self) -> Vec<(f64, &'static str)> {
        let parts = Part::ALL
            .into_iter()
            .map(|p| (self.share(p).unwrap_or(0.0), p.token()));
        let total = self.total();
        let unknown = if total > 0.0 {
            self.unknown / total
        } else {
            0.0
        };
        parts
            .chain([(unknown, "--faint")])
            .filter(|(share, _)| *share > 0.0)
            .collect()
    }

    /// The parts in words: `queue 12 ms, app 3 ms`.
    #[must_use]
    pub fn text(&self) -> String {
        let known = Part::ALL.into_iter().filter_map(|part| {
            let seconds = self.seconds(part).filter(|t| *t > 0.0)?;
            let time = format::duration(Some(seconds)).text();
            Some(phrases::counted(part.name(), &time))
        });
        known.collect::<Vec<_>>().join(", ")
    }
}

/// Whether a request was answered before it was read: the parts of its time
/// then overlap.
#[must_use]
pub fn overlaps(request: &Request) -> bool {
    let sum = request.read.unwrap_or(0.0) + request.app.unwrap_or(0.0);
    let sum = sum + request.stream.unwrap_or(0.0);
    // Seconds come as decimal fractions of nanoseconds.
    sum > request.duration + 1e-6
}

/// Clients feel this much more than the server works before it is said.
const FAR_ABOVE: f64 = 1.5;
/// And at least so many seconds.
const WORTH_SAYING: f64 = 0.001;

/// How what clients felt compares with what the server worked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Waiting {
    /// No request, or no figure of them.
    Nothing,
    /// Requests there were, but when they arrived is not known.
    Unknown,
    /// What clients felt is what the server worked.
    Little,
    /// Requests waited before the server read them, in seconds.
    Behind {
        /// 95th percentile of what clients felt.
        felt: f64,
        /// 95th percentile of what the server worked.
        worked: f64,
        /// Median and 95th percentile of the wait.
        queue: (Option<f64>, Option<f64>),
    },
}

impl Waiting {
    /// Compares the 95th percentiles of a window.
    #[must_use]
    pub fn of(window: &WindowFigures) -> Self {
        let (felt, worked) = match (window.felt_p95, window.p95) {
            (Some(felt), Some(worked)) => (felt, worked),
            (None, Some(_)) if window.n_requests > 0 => return Self::Unknown,
            _ => return Self::Nothing,
        };
        if felt >= worked * FAR_ABOVE && felt - worked >= WORTH_SAYING {
            Self::Behind {
                felt,
                worked,
                queue: (window.queue_p50, window.queue_p95),
            }
        } else {
            Self::Little
        }
    }

    /// What it says, in one sentence or two; nothing where there is nothing.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let time = |t: f64| format::duration(Some(t)).text();
        match *self {
            Self::Nothing | Self::Unknown => None,
            Self::Little => Some(t(W::ReadAsTheyArrive).to_owned()),
            Self::Behind {
                felt,
                worked,
                queue,
            } => {
                let waited = match queue {
                    (Some(p50), Some(p95)) => phrases::half_waited(&time(p50), &time(p95)),
                    _ => phrases::about(&time(felt - worked)),
                };
                Some(phrases::waiting(&waited, &time(worked), &time(felt)))
            }
        }
    }
}

#[cfg(test)]
#[path = "time_parts_tests.rs"]
mod tests;
