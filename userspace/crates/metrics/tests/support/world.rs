//! A daemon without a kernel, for tests of rules.

use std::collections::HashMap;
use std::time::Duration;

use modeltap_core::alert::{Alert, AlertRule, AlertState};
use modeltap_core::container::Container;
use modeltap_core::history::Batch;
use modeltap_core::resource::{ResourceFigures, ResourceRollup};
use modeltap_core::time::UnixNs;
use modeltap_metrics::alert::Engine;
use modeltap_metrics::{Aggregator, Config};

use crate::support::{ANCHOR, at, request};

/// A daemon without a kernel: an aggregator and an engine on one clock.
pub struct World {
    pub aggregator: Aggregator,
    pub engine: Engine,
    pub second: u64,
    /// What changed, in order.
    pub told: Vec<Alert>,
}

impl World {
    pub fn new(rules: Vec<AlertRule>) -> Self {
        Self::at(rules, 0)
    }

    pub fn at(rules: Vec<AlertRule>, second: u64) -> Self {
        let mut engine = Engine::new();
        engine.set_rules(rules);
        Self {
            aggregator: Aggregator::new(Config::default()),
            engine,
            second,
            told: Vec::new(),
        }
    }

    /// A second with these requests of a service, each a status and
    /// milliseconds, and with what its container used.
    pub fn second(
        &mut self,
        service: &Container,
        requests: &[(u16, u64)],
        used: Option<ResourceFigures>,
    ) {
        let finished = self.second as f64 + 0.5;
        for &(status, millis) in requests {
            let record = request("/predict", status, finished, Duration::from_millis(millis));
            self.aggregator.record(record, service, ANCHOR);
        }
        self.second += 1;
        let now = at(self.second as f64);
        let rollups = self.aggregator.tick(now);
        let resources = used.map(|figures| ResourceRollup {
            service: service.service.0.as_str().into(),
            container: service.name.as_str().into(),
            start: UnixNs(now.0 - 1_000_000_000),
            width: Duration::from_secs(1),
            figures,
        });
        let batch = Batch {
            rollups,
            resources: resources.into_iter().collect(),
            ..Batch::default()
        };
        let live = self.aggregator.snapshot();
        self.told.extend(self.engine.evaluate(now, &batch, &live));
    }

    pub fn seconds(&mut self, n: u64, service: &Container, requests: &[(u16, u64)]) {
        for _ in 0..n {
            self.second(service, requests, None);
        }
    }

    /// Rules and states told since the last call.
    pub fn told(&mut self) -> Vec<(String, AlertState)> {
        let told = std::mem::take(&mut self.told);
        told.iter()
            .map(|alert| (alert.rule.to_string(), alert.state))
            .collect()
    }

    /// Rules that fire or may soon.
    pub fn active(&self) -> HashMap<String, AlertState> {
        let active = self.engine.active();
        active
            .iter()
            .map(|alert| (alert.rule.to_string(), alert.state))
            .collect()
    }
}
