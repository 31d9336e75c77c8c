//! Where the time of requests went, and what they waited before anybody but
//! the kernel knew of them. Pure.

use modeltap_api_types::{Request, TimeParts, WindowFigures};

use crate::format;

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

    /// The name, as the API has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Read => "read",
            Self::App => "app",
            Self::Stream => "stream",
            Self::Drain => "drain",
        }
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
            Self::Queue => "waiting, before the server read it",
            Self::Read => "coming in: a slow upload",
            Self::App => "the server's own work",
            Self::Stream => "the answer being written",
            Self::Drain => "the client taking the rest: a slow client",
        }
    }

    /// From what to what it is measured.
    #[must_use]
    pub fn definition(self) -> &'static str {
        match self {
            Self::Queue => {
                "First byte of the request arrived at the socket, to first byte read by the \
                 server. Where the arrival is not known: from the accept, first request of a \
                 connection only."
            }
            Self::Read => "First byte of the request read, to its last byte read.",
            Self::App => {
                "Last byte of the request read, to first byte of the response's body written (to \
                 the response's end where it has no body)."
            }
            Self::Stream => "First byte of the response's body written, to its last.",
            Self::Drain => {
                "Last byte of the response written, to its last byte gone from the socket."
            }
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
            Some(format!("{} {time}", part.name()))
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
            Self::Little => Some(
                "Requests are read as they arrive: clients feel what the server works.".to_owned(),
            ),
            Self::Behind {
                felt,
                worked,
                queue,
            } => {
                let waited = match queue {
                    (Some(p50), Some(p95)) => format!(
                        "half of them {} or longer, one in twenty {} or longer",
                        time(p50),
                        time(p95)
                    ),
                    _ => format!("about {}", time(felt - worked)),
                };
                Some(format!(
                    "Requests wait before the server reads them: {waited}. It works up to {} on \
                     one, its clients feel up to {} (p95); its own figures cannot tell.",
                    time(worked),
                    time(felt)
                ))
            }
        }
    }
}

#[cfg(test)]
#[path = "time_parts_tests.rs"]
mod tests;
