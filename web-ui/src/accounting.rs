//! What became of the bytes and requests that were there to be seen. Pure.

use modeltap_api_types::{CaptureStatus, CountsDifference, RequestCounts, Service, ServiceCapture};

use crate::format;
use crate::words::{W, phrases, t};

/// What became of a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// Its word.
    pub name: W,
    /// What the word means.
    pub meaning: W,
    /// The design token of its colour.
    pub token: &'static str,
}

const PARSED: Fate = Fate {
    name: W::ParsedWord,
    meaning: W::ParsedMeans,
    token: "--c2",
};
const SKIPPED: Fate = Fate {
    name: W::SkippedWord,
    meaning: W::SkippedMeans,
    token: "--c1",
};
const TRUNCATED: Fate = Fate {
    name: W::TruncatedWord,
    meaning: W::TruncatedMeans,
    token: "--c4",
};
const LOST: Fate = Fate {
    name: W::LostWord,
    meaning: W::LostMeans,
    token: "--c5",
};
const DROPPED: Fate = Fate {
    name: W::DroppedWord,
    meaning: W::DroppedMeans,
    token: "--c6",
};
const LEFT_OUT: Fate = Fate {
    name: W::LeftOutWord,
    meaning: W::LeftOutMeans,
    token: "--c4",
};
const PENDING: Fate = Fate {
    name: W::OnTheirWay,
    meaning: W::OnTheirWayMeans,
    token: "--c3",
};

/// Bytes that moved, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    /// Bytes that moved on watched connections.
    pub observed: u64,
    /// Each fate and its bytes; those that are bad, or never are, are left
    /// out where they are zero.
    pub fates: Vec<(Fate, u64)>,
    /// Whether the fates add up to what moved.
    pub balance: Balance,
}

impl Bytes {
    /// Of one service.
    #[must_use]
    pub fn of_service(c: &ServiceCapture) -> Self {
        Self::new(
            c.bytes_observed,
            [
                c.bytes_parsed,
                c.bytes_skipped,
                c.bytes_truncated,
                c.bytes_lost,
                c.bytes_dropped,
                c.bytes_left_out,
                c.bytes_pending,
            ],
        )
    }

    /// Of the host. What is on its way is not told there: it is the rest.
    #[must_use]
    pub fn of_host(c: &CaptureStatus) -> Self {
        Self::new(
            c.bytes_observed,
            [
                c.bytes_parsed,
                c.bytes_skipped,
                c.bytes_truncated,
                c.bytes_lost,
                c.bytes_dropped,
                c.bytes_left_out,
                0,
            ],
        )
    }

    fn new(observed: u64, parts: [u64; 7]) -> Self {
        let fates = [PARSED, SKIPPED, TRUNCATED, LOST, DROPPED, LEFT_OUT, PENDING];
        let always = [true, true, true, true, false, false, false];
        let fates = fates.into_iter().zip(parts).zip(always);
        Self {
            observed,
            fates: fates
                .filter(|((_, n), always)| *always || *n > 0)
                .map(|(fate, _)| fate)
                .collect(),
            balance: Balance::of(observed, &parts),
        }
    }

    /// The fates in words: `parsed 12 KiB, lost 0 B`.
    #[must_use]
    pub fn text(&self) -> String {
        let fates = self
            .fates
            .iter()
            .map(|(fate, n)| phrases::counted(t(fate.name), &format::bytes(*n).text()));
        fates.collect::<Vec<_>>().join(", ")
    }

    /// Segments of a bar: a share and the token of its colour.
    #[must_use]
    pub fn segments(&self) -> Vec<(f64, &'static str)> {
        let sum: u64 = self
            .fates
            .iter()
            .fold(0, |sum, (_, n)| sum.saturating_add(*n));
        let whole = self.observed.max(sum) as f64;
        self.fates
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(fate, n)| (*n as f64 / whole, fate.token))
            .collect()
    }
}

/// Whether a sum comes out, and what is missing or too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// It comes out.
    #[default]
    Even,
    /// Some are accounted for nowhere, yet.
    Under(u64),
    /// Some are accounted for twice.
    Over(u64),
}

impl Balance {
    /// Compares what was observed with the sum of its parts.
    #[must_use]
    pub fn of(observed: u64, parts: &[u64]) -> Self {
        let sum = parts.iter().fold(0u64, |sum, n| sum.saturating_add(*n));
        match observed.checked_sub(sum) {
            Some(0) => Self::Even,
            Some(missing) => Self::Under(missing),
            None => Self::Over(sum - observed),
        }
    }
}

/// The probes' own count of something beside the parser's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared {
    /// What is counted.
    pub name: &'static str,
    /// As the probes counted it; `None` where they do not.
    pub kernel: Option<u64>,
    /// As the parser saw it.
    pub seen: u64,
    /// The first less the second.
    pub difference: Option<i64>,
}

/// Requests, and responses by status class where there were any.
#[must_use]
pub fn compared(
    kernel: Option<&RequestCounts>,
    seen: &RequestCounts,
    difference: Option<&CountsDifference>,
) -> Vec<Compared> {
    const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let requests = Compared {
        name: t(W::RequestsWord),
        kernel: kernel.map(|k| k.requests),
        seen: seen.requests,
        difference: difference.map(|d| d.requests),
    };
    let classes = CLASSES.into_iter().enumerate().map(|(i, name)| Compared {
        name,
        kernel: kernel.map(|k| k.responses[i]),
        seen: seen.responses[i],
        difference: difference.map(|d| d.responses[i]),
    });
    let classes = classes.filter(|c| c.seen > 0 || c.kernel.is_some_and(|n| n > 0));
    [requests].into_iter().chain(classes).collect()
}

/// A difference in a word: zero is said plainly.
#[must_use]
pub fn difference_text(difference: Option<i64>) -> String {
    match difference {
        None => format::UNKNOWN.to_owned(),
        Some(0) => t(W::Exact).to_owned(),
        Some(n) => {
            let sign = if n > 0 { '+' } else { '\u{2212}' };
            format!("{sign}{}", format::count(n.unsigned_abs()))
        }
    }
}

/// How far the probes' own counts and the parser's agree, the best first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Agreement {
    /// They are the same.
    #[default]
    Exact,
    /// They are apart by what is just under way.
    UnderWay,
    /// The probes count nothing.
    Unknown,
    /// The probes are ahead: requests were missed.
    Missed,
    /// The parser is ahead.
    Over,
    /// Neither has what moves unseen.
    Unseen,
}

impl Agreement {
    /// Compares the counts of a service: requests, and responses of every
    /// class.
    #[must_use]
    pub fn of(service: &Service) -> Self {
        if unseen_bytes(service).is_some() {
            return Self::Unseen;
        }
        let Some(difference) = service.difference else {
            return Self::Unknown;
        };
        let all = || {
            [difference.requests]
                .into_iter()
                .chain(difference.responses)
        };
        if all().all(|n| n == 0) {
            return Self::Exact;
        }
        let (lost, pending) = service.capture.map_or((0, 0), |c| {
            (
                c.bytes_lost.saturating_add(c.bytes_dropped),
                c.bytes_pending,
            )
        });
        // The two are read one after the other, while requests come and go.
        let is_under_way = all().all(|n| n.unsigned_abs() <= service.n_active);
        if lost == 0 && is_under_way {
            Self::UnderWay
        } else if all().any(|n| n < 0) {
            Self::Over
        } else if lost == 0 && pending > 0 {
            Self::UnderWay
        } else {
            Self::Missed
        }
    }

    /// The class that colours it, and what it means.
    #[must_use]
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Exact => ("ok", t(W::AgreeExact)),
            Self::UnderWay => ("idle", t(W::AgreeUnderWay)),
            Self::Unknown => ("idle", t(W::AgreeUnknown)),
            Self::Missed => ("warn", t(W::AgreeMissed)),
            Self::Over => ("idle", t(W::AgreeOver)),
            Self::Unseen => ("warn", t(W::AgreeUnseen)),
        }
    }
}

/// The counts of all services, added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounts {
    /// Requests as the probes counted them; `None` where they do not.
    pub kernel: Option<u64>,
    /// The same as the parser saw them; where the probes count nothing, all
    /// that it saw.
    pub seen: u64,
    /// The first less the second.
    pub difference: Option<i64>,
    /// Requests over UNIX sockets inside containers.
    pub inner: u64,
    /// Bytes that moved unseen.
    pub unseen_bytes: u64,
    /// The worst agreement of a service.
    pub agreement: Agreement,
}

impl HostCounts {
    /// Adds a service.
    pub fn add(&mut self, service: &Service) {
        self.agreement = self.agreement.max(Agreement::of(service));
        let seen = service.seen.requests;
        match (&service.kernel, &service.difference) {
            (Some(kernel), Some(difference)) => {
                let before = match self.kernel {
                    Some(_) => *self,
                    // What was seen without a count beside it is compared
                    // with nothing.
                    None => Self { seen: 0, ..*self },
                };
                self.kernel = Some(before.kernel.unwrap_or(0).saturating_add(kernel.requests));
                self.seen = before.seen.saturating_add(seen);
                let sum = before.difference.unwrap_or(0);
                self.difference = Some(sum.saturating_add(difference.requests));
            }
            _ if self.kernel.is_none() => self.seen = self.seen.saturating_add(seen),
            _ => {}
        }
        let inner = service.inner.as_ref().map_or(0, |i| i.n_requests);
        self.inner = self.inner.saturating_add(inner);
        self.unseen_bytes = self
            .unseen_bytes
            .saturating_add(service.unseen_bytes.unwrap_or(0));
    }
}

/// Bytes of a service that moved unseen, if any did.
#[must_use]
pub fn unseen_bytes(service: &Service) -> Option<u64> {
    service.unseen_bytes.filter(|n| *n > 0)
}

/// Whether nothing is known of a service's requests although it has traffic:
/// its figures are then unknown, not zero.
#[must_use]
pub fn is_unseen(service: &Service) -> bool {
    unseen_bytes(service).is_some() && service.window.n_requests == 0
}

/// What is said where bytes move unseen.
#[must_use]
pub fn unseen_sentence(bytes: u64, kernel: &str) -> String {
    let release = if kernel.is_empty() {
        t(W::ThisKernel).to_owned()
    } else {
        phrases::kernel_named(kernel)
    };
    phrases::unseen(&format::bytes(bytes).text(), &release)
}

#[cfg(test)]
#[path = "accounting_tests.rs"]
mod tests;
