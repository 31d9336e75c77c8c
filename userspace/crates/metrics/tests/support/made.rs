//! Made-up services, by the step.

use std::sync::Arc;

use modeltap_core::time::UnixNs;
use modeltap_core::timeline::{TimelineEvent, TimelineKind};
use modeltap_metrics::why::{
    Finding, Parts, Phase, RoutePart, ServicePart, ServiceSeries, TimeSeries, Timed, findings,
};

use crate::random::Random;

pub const FROM: u64 = 1_700_000_040;
pub const STEP: u64 = 60;
/// Four hours, of which the last is the range.
pub const N_STEPS: usize = 240;
pub const FIRST: usize = 180;
pub const ROUTES: [&str; 3] = ["/a", "/b", "/c"];
pub const CONTAINERS: [&str; 2] = ["api-1", "api-2"];
/// Of the requests, those of each route and container.
const ROUTE_SHARES: [f64; 3] = [0.5, 0.3, 0.2];

/// What a service that does not change is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Even load, little noise.
    Steady,
    /// Durations that wander by a third, odd steps, bursts of errors.
    Noisy,
    /// A load that follows the day, and durations that follow the load.
    Seasonal,
    /// Few requests.
    Sparse,
    /// Quantiles of single requests that were drawn one by one.
    Sampled,
}

impl Kind {
    pub const ALL: [Self; 5] = [
        Self::Steady,
        Self::Noisy,
        Self::Seasonal,
        Self::Sparse,
        Self::Sampled,
    ];
}

/// A service and what its requests are made of.
pub struct Made {
    pub series: ServiceSeries,
    pub parts: Parts,
}

impl Made {
    pub fn new(kind: Kind, seed: u64) -> Self {
        let mut random = Random::new(seed.wrapping_mul(5) + kind as u64);
        let load = match kind {
            Kind::Sparse => 6.0 + 6.0 * random.unit(),
            Kind::Sampled => 25.0,
            _ => 30.0 + 3_000.0 * random.unit() * random.unit(),
        };
        let base = 0.004 * f64::exp(4.0 * random.unit());
        let of_day = random.unit();
        let share_of_errors = 0.01 * random.unit();
        let (mut requests, mut errors) = (Vec::new(), Vec::new());
        let (mut p95, mut p50) = (Vec::new(), Vec::new());
        let (mut throttled, mut memory, mut gpu) = (Vec::new(), Vec::new(), Vec::new());
        let (mut wander, mut burst) = (0.0, 0.0);
        for step in 0..N_STEPS {
            let day = std::f64::consts::TAU * (of_day + step as f64 / 1_440.0);
            let daily = match kind {
                Kind::Seasonal => 1.0 - 0.8 * day.cos(),
                _ => 1.0,
            };
            let n = random.poisson(load * daily);
            let (sigma, odd) = match kind {
                Kind::Noisy => (0.3, random.unit() < 0.03),
                _ => (0.04, false),
            };
            // An AR(1) process: slow minutes follow each other.
            wander = 0.7 * wander + 0.71 * sigma * random.normal();
            let follows = match kind {
                Kind::Seasonal => 0.8 + 0.7 * daily,
                _ => 1.0,
            };
            let odd = if odd { 4.0 } else { 1.0 };
            let (median, high) = if kind == Kind::Sampled {
                let mut drawn: Vec<f64> =
                    (0..n as usize).map(|_| f64::exp(random.normal())).collect();
                drawn.sort_unstable_by(f64::total_cmp);
                let rank = |q: f64| ((q * drawn.len() as f64).ceil() as usize).max(1) - 1;
                let at = |q: f64| drawn.get(rank(q)).copied().unwrap_or(1.0);
                (at(0.5), at(0.95))
            } else {
                let by_chance = 1.0 / (n + 1.0).sqrt();
                (
                    f64::exp(0.6 * by_chance * random.normal()),
                    3.0 * f64::exp(by_chance * random.normal()),
                )
            };
            let level = base * follows * f64::exp(wander) * odd;
            let timed = n > 0.0;
            p50.push(timed.then_some(level * median));
            p95.push(timed.then_some(level * high));
            burst = if kind == Kind::Noisy && random.unit() < 0.02 {
                0.05
            } else {
                burst * 0.3
            };
            requests.push(n);
            errors.push(random.poisson(n * (share_of_errors + burst)).min(n));
            throttled.push(Some(0.08 * random.unit()));
            memory.push(Some(
                0.5 + 0.3 * step as f64 / N_STEPS as f64 + 0.05 * random.unit(),
            ));
            gpu.push(Some(0.5 + 0.2 * random.normal().clamp(-2.0, 2.0)));
        }
        let by_container = |values: &[Option<f64>]| {
            let part = |name: &&str| ServicePart {
                name: (*name).into(),
                values: values.to_vec(),
            };
            CONTAINERS.iter().map(part).collect()
        };
        let means: Vec<Option<f64>> = p50.iter().map(|p50| Some((*p50)? * 1.5)).collect();
        let part = |name: &str, share: f64, phases: &[(Phase, f64)]| RoutePart {
            name: name.into(),
            requests: requests.iter().map(|n| n * share).collect(),
            errors: errors.iter().map(|n| n * share).collect(),
            total: means.clone(),
            phases: phases
                .iter()
                .map(|(phase, of_all)| {
                    let part = |mean: &Option<f64>| Some((*mean)? * of_all);
                    (*phase, means.iter().map(part).collect())
                })
                .collect(),
        };
        let phases = [
            (Phase::Queue, 0.1),
            (Phase::Read, 0.1),
            (Phase::App, 0.5),
            (Phase::Stream, 0.3),
            (Phase::Drain, 0.05),
        ];
        let parts = Parts {
            from: FROM,
            step: STEP,
            routes: ROUTES
                .iter()
                .zip(ROUTE_SHARES)
                .map(|(name, share)| part(name, share, &phases))
                .collect(),
            containers: CONTAINERS.iter().map(|name| part(name, 0.5, &[])).collect(),
        };
        let time = |quantile, values| TimeSeries {
            time: Timed::Felt,
            quantile,
            values,
        };
        let drain = TimeSeries {
            time: Timed::Drain,
            quantile: 0.95,
            values: p50.iter().map(|p50| Some((*p50)? * 0.05)).collect(),
        };
        let series = ServiceSeries {
            from: FROM,
            step: STEP,
            first: FIRST,
            times: vec![time(0.95, p95), time(0.5, p50), drain],
            throttled: by_container(&throttled),
            memory: by_container(&memory),
            gpu,
            durations: None,
            events: Vec::new(),
            requests,
            errors,
        };
        Self { series, parts }
    }

    /// Makes requests of a route and a container take `factor` times as long,
    /// all of it in one phase.
    pub fn slow_down(
        &mut self,
        start: usize,
        end: usize,
        route: &str,
        container: &str,
        phase: Phase,
        factor: f64,
    ) {
        for step in start..end {
            for time in self.series.times.iter_mut().take(1) {
                time.values[step] = time.values[step].map(|value| value * factor);
            }
            let more = |mean: &mut Option<f64>, times: f64, base: Option<f64>| {
                *mean = mean.map(|mean| mean + times * base.unwrap_or_default());
            };
            let slowed = self
                .parts
                .routes
                .iter_mut()
                .find(|part| part.name == route)
                .expect("it is one of those made");
            let base = slowed.total[step];
            more(&mut slowed.total[step], factor - 1.0, base);
            let grown = slowed
                .phases
                .iter_mut()
                .find(|(known, _)| *known == phase)
                .expect("it is one of those made");
            more(&mut grown.1[step], factor - 1.0, base);
            let containers = &mut self.parts.containers;
            let slowed = containers
                .iter_mut()
                .find(|part| part.name == container)
                .expect("it is one of those made");
            more(&mut slowed.total[step], factor - 1.0, base);
        }
    }

    /// Makes a share of a route's requests fail.
    pub fn fail(&mut self, start: usize, end: usize, route: &str, share: f64) {
        for step in start..end {
            let failing = self
                .parts
                .routes
                .iter_mut()
                .find(|part| part.name == route)
                .expect("it is one of those made");
            let failed = (failing.requests[step] * share).round();
            failing.errors[step] = failed;
            self.series.errors[step] =
                (self.series.errors[step] + failed).min(self.series.requests[step]);
        }
    }

    pub fn event(&mut self, at: u64, kind: TimelineKind, container: &str, detail: &str) {
        self.series.events.push(TimelineEvent {
            at: UnixNs(at * 1_000_000_000),
            kind,
            service: Some(Arc::from("api")),
            container: Some(Arc::from(container)),
            detail: detail.into(),
        });
    }
}

/// What is found of it.
pub fn explain(made: &Made) -> Vec<Finding> {
    let parts = |_: &_| Ok::<_, std::convert::Infallible>(made.parts.clone());
    findings(&made.series, parts).unwrap_or_else(|never| match never {})
}
