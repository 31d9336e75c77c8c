//! Pseudo-random numbers for latencies; good enough to look alive.

use std::collections::hash_map::RandomState;
use std::f64::consts::TAU;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// The longest latency that [`Random::latency`] gives.
const MAX_LATENCY: Duration = Duration::from_secs(3);

/// A xorshift64* generator (Vigna 2016).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from the process's hash seed, which the standard library draws
    /// from the operating system.
    #[must_use]
    pub fn from_entropy() -> Self {
        Self::from_seed(RandomState::new().build_hasher().finish())
    }

    /// Starts from `seed`.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// Returns a number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }

    /// Returns a whole number in `low..=high`.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        let span = f64::from(high.saturating_sub(low)) + 1.0;
        low.saturating_add((self.unit() * span) as u32).min(high)
    }

    /// Returns true with this `probability`.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Returns a log-normal duration around `median`, as service times are:
    /// `sigma` 0.6 puts the 99th percentile at four medians. Three seconds at
    /// most.
    pub fn latency(&mut self, median: Duration, sigma: f64) -> Duration {
        // Box-Muller; the first factor must not see zero.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (TAU * self.unit()).cos();
        median
            .mul_f64((sigma * normal).exp().min(1e3))
            .min(MAX_LATENCY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_spread_around_their_median() {
        let mut random = Random::from_seed(7);
        let median = Duration::from_millis(20);
        let mut latencies: Vec<_> = (0..10_001).map(|_| random.latency(median, 0.6)).collect();
        latencies.sort();
        let middle = latencies[5_000].as_secs_f64();
        let tail = latencies[9_900].as_secs_f64();
        assert!((0.019..0.021).contains(&middle), "{middle}");
        assert!((0.070..0.090).contains(&tail), "{tail}");
    }

    #[test]
    fn whole_numbers_reach_both_ends_and_no_further() {
        let mut random = Random::from_seed(7);
        let drawn: Vec<_> = (0..1_000).map(|_| random.between(3, 5)).collect();
        assert_eq!(drawn.iter().min(), Some(&3));
        assert_eq!(drawn.iter().max(), Some(&5));
    }
}
