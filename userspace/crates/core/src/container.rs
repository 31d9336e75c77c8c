//! Containers, and the services they belong to.

use std::time::Duration;

use crate::connection::CgroupId;
use crate::time::UnixNs;

/// Docker's id of a container: 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(pub String);

impl ContainerId {
    /// The first twelve digits, as Docker shows it.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

/// What the user calls one model API: a Compose service, a label's name, or a
/// container that stands alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(pub String);

/// One running container that is watched.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    /// Docker's id.
    pub id: ContainerId,
    /// Docker's name, without the leading slash.
    pub name: String,
    /// The service it is an instance of.
    pub service: ServiceName,
    /// The Compose project, where there is one.
    pub project: Option<String>,
    /// The image as it was asked for (`fastapi:1.2`).
    pub image: String,
    /// The cgroup its processes run in or below.
    pub cgroup: CgroupId,
    /// Process id of its first process, in the daemon's view of `/proc`.
    pub pid: u32,
    /// Route templates named by the label `modeltap.routes`.
    pub routes: Vec<String>,
    /// What the label `modeltap.inspect` allows to be read of bodies.
    pub inspect: Inspect,
    /// How its life went so far.
    pub lifecycle: Lifecycle,
    /// What the labels `modeltap.slo.*` promise.
    pub slo: Slo,
}

/// What Docker tells of a container's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lifecycle {
    /// When it started, wall time.
    pub started: Option<UnixNs>,
    /// How often Docker restarted it by its restart policy.
    pub n_restarts: u64,
    /// What its health check says; `None` without one.
    pub health: Option<HealthCheck>,
}

/// What a container's health check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HealthCheck {
    /// Nothing yet.
    Starting,
    /// It passes.
    Healthy,
    /// It fails.
    Unhealthy,
}

impl HealthCheck {
    /// The name, as Docker and the API have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }

    /// The state of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Starting, Self::Healthy, Self::Unhealthy]
            .into_iter()
            .find(|state| state.as_str() == name)
    }
}

/// What a service's owner promises of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slo {
    /// 95 of 100 requests take no longer (`modeltap.slo.latency_p95`).
    pub latency_p95: Option<Duration>,
    /// No larger share of requests fails, 0 to 1 (`modeltap.slo.error_rate`).
    pub error_rate: Option<f64>,
}

/// What may be read of bodies, beside their framing: nothing unless the
/// container's owner or the operator says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Inspect {
    /// The field `model` of a request to an inference endpoint.
    pub model: bool,
    /// The token counts of the frame that tells usage.
    pub usage: bool,
}

impl Inspect {
    /// Whether nothing may be read.
    #[must_use]
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// What either allows.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            model: self.model || other.model,
            usage: self.usage || other.usage,
        }
    }

    /// Reads `model,usage`, either of them or nothing.
    ///
    /// # Errors
    /// The word that is none of them.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut inspect = Self::default();
        for word in text.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match word {
                "model" => inspect.model = true,
                "usage" => inspect.usage = true,
                other => return Err(other.to_owned()),
            }
        }
        Ok(inspect)
    }

    /// The words that [`parse`](Self::parse) reads.
    pub fn words(self) -> impl Iterator<Item = &'static str> {
        let words = [self.model.then_some("model"), self.usage.then_some("usage")];
        words.into_iter().flatten()
    }
}

/// Where the connection to Docker stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DockerState {
    /// No answer was awaited yet.
    #[default]
    Connecting,
    /// The inventory is complete and events arrive.
    Connected,
    /// Docker does not answer; it is tried again. What was known is kept.
    Unreachable {
        /// The error in one line.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inspection_is_what_the_words_say_and_nothing_without() {
        let both = Inspect {
            model: true,
            usage: true,
        };
        assert_eq!(Inspect::parse(" usage , model,"), Ok(both));
        assert_eq!(both.words().collect::<Vec<_>>(), ["model", "usage"]);
        assert_eq!(Inspect::parse(""), Ok(Inspect::default()));
        assert_eq!(Inspect::parse("model,body"), Err("body".to_owned()));
    }
}
