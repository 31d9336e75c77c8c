//! How often the seasonal baseline is wrong, and how soon it is right.
//!
//! Service weeks are made up from what real ones look like: a load that
//! follows the day, requests that come by chance, durations that are skewed
//! and grow with the load, and one odd day. The generator is a fixed sequence,
//! so that the measured rate is the same on every run.

use std::ops::Range;
use std::time::Duration;

use modeltap_core::alert::{AlertMetric, AlertRule, Condition, RuleOrigin, Severity};
use modeltap_core::time::UnixNs;
use modeltap_metrics::alert::preview;
use stlrs::Stl;

const DAY: usize = 1_440;
/// Days before the first that is judged.
const HISTORY: usize = 7;
/// Days that are judged, of each service.
const JUDGED: usize = 7;
/// Services of each kind.
const SERVICES: u64 = 9;
/// The stated rate: no more than one false alarm in this many days of one
/// figure of one service.
const DAYS_A_FALSE_ALARM: f64 = 100.0;

/// A generator without a seed of chance (xorshift64*).
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        (mixed >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    fn normal(&mut self) -> f64 {
        let (u, v) = (self.unit().max(1e-12), self.unit());
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (limit, mut product, mut n) = ((-mean).exp(), self.unit(), 0.0);
        while product > limit {
            product *= self.unit();
            n += 1.0;
        }
        n
    }
}

/// One service's figures by the minute.
struct Weeks {
    rate: Vec<Option<f64>>,
    p95: Vec<Option<f64>>,
}

impl Weeks {
    fn of(&self, metric: AlertMetric) -> &[Option<f64>] {
        match metric {
            AlertMetric::RequestRate => &self.rate,
            _ => &self.p95,
        }
    }

    fn of_mut(&mut self, metric: AlertMetric) -> &mut Vec<Option<f64>> {
        match metric {
            AlertMetric::RequestRate => &mut self.rate,
            _ => &mut self.p95,
        }
    }
}

/// Two weeks of a service with `peak` requests a second at its height.
fn weeks(seed: u64, peak: f64) -> Weeks {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let phase = random.unit();
    let base = 0.02 + 0.2 * random.unit();
    let odd_day = 1 + (random.unit() * (HISTORY - 1) as f64) as usize;
    // Load wanders over the day beside following it: an AR(1) process.
    let mut wander = 0.0;
    let (mut rate, mut p95) = (Vec::new(), Vec::new());
    for minute in 0..(HISTORY + JUDGED) * DAY {
        let of_day = (minute % DAY) as f64 / DAY as f64;
        let daily = 0.55 - 0.45 * (std::f64::consts::TAU * (of_day + phase)).cos();
        wander = 0.98 * wander + 0.012 * random.normal();
        let odd = if minute / DAY == odd_day { 0.4 } else { 1.0 };
        let load = daily * odd * f64::exp(wander);
        let n = random.poisson(60.0 * peak * load);
        rate.push(Some(n / 60.0));
        // The spread of a sample's 95th percentile falls with its size.
        let noise = (0.25 / (n + 1.0).sqrt() + 0.03) * random.normal();
        let growth = 1.0 + 0.6 * load;
        p95.push((n > 0.0).then(|| base * growth * f64::exp(noise)));
    }
    Weeks { rate, p95 }
}

fn rule(metric: AlertMetric, deviations: f64) -> AlertRule {
    AlertRule {
        id: "anomaly".into(),
        name: "Unusual".into(),
        origin: RuleOrigin::User,
        enabled: true,
        service: None,
        metric,
        condition: Condition::Anomaly { deviations },
        window: Duration::from_secs(60),
        hold: Duration::from_secs(300),
        keep: Duration::from_secs(300),
        min_requests: 1,
        severity: Severity::Warning,
    }
}

/// Beginnings of the episodes in these minutes, counted from the first of
/// them.
fn episodes(rule: &AlertRule, figures: &[Option<f64>], minutes: Range<usize>) -> Vec<u64> {
    let from = minutes.start as u64 * 60;
    let found = preview(rule, from, 60, &figures[minutes], 0, figures);
    let begin = |(began, _): &(UnixNs, UnixNs)| (began.seconds() - from) / 60;
    found.episodes.iter().map(begin).collect()
}

/// The same, judged by STL: each day against a fit of the week before it, as
/// the season of its last day and its last trend.
fn episodes_by_stl(rule: &AlertRule, figures: &[Option<f64>], minutes: Range<usize>) -> Vec<u64> {
    let Condition::Anomaly { deviations } = rule.condition else {
        return Vec::new();
    };
    let known: Vec<f32> = figures.iter().map(|v| v.unwrap_or(0.0) as f32).collect();
    let mut fit = None;
    let (mut held, mut back, mut fires) = (0, 0, false);
    let mut found = Vec::new();
    for minute in minutes.clone() {
        if fit.is_none() || minute % DAY == 0 {
            let week = &known[minute - HISTORY * DAY..minute];
            let stl = Stl::params()
                .robust(true)
                .fit(week, DAY)
                .expect("two seasons at least");
            let mut strays: Vec<f32> = stl.remainder().iter().map(|r| r.abs()).collect();
            strays.sort_by(f32::total_cmp);
            let spread = 1.4826 * strays[strays.len() / 2];
            let season = stl.seasonal()[week.len() - DAY..].to_vec();
            fit = Some((minute, season, *stl.trend().last().expect("a week"), spread));
        }
        let (first, season, trend, spread) = fit.as_ref().expect("it was just made");
        let usual = season[(minute - first) % DAY] + trend;
        let off = known[minute] - usual;
        let two_sided = rule.metric == AlertMetric::RequestRate;
        let limit = deviations as f32 * spread.max(0.02 * usual.abs());
        let is_beyond = off > limit || two_sided && off < -limit;
        (held, back) = if is_beyond {
            (held + 1, 0)
        } else {
            (0, back + 1)
        };
        if !fires && held > 5 {
            fires = true;
            found.push((minute - minutes.start) as u64);
        }
        fires &= back <= 5;
    }
    found
}

/// Every service of the study: busy, moderate and nearly idle.
fn services() -> impl Iterator<Item = (f64, Weeks)> {
    let peaks = [100.0, 5.0, 0.3];
    (0..SERVICES)
        .flat_map(move |seed| peaks.map(|peak| (peak, weeks(seed * 31 + peak as u64 + 1, peak))))
}

/// A way to judge.
type Judge = fn(&AlertRule, &[Option<f64>], Range<usize>) -> Vec<u64>;

/// False alarms of a figure and the days they are in.
fn false_alarms(metric: AlertMetric, judge: Judge) -> (usize, usize) {
    let rule = rule(metric, 6.0);
    let (mut n_alarms, mut n_days) = (0, 0);
    for (_, weeks) in services() {
        let figures = weeks.of(metric);
        let judged = HISTORY * DAY..(HISTORY + JUDGED) * DAY;
        n_alarms += judge(&rule, figures, judged).len();
        n_days += JUDGED;
    }
    (n_alarms, n_days)
}

#[test]
fn false_alarms_stay_below_the_stated_rate() {
    for metric in [AlertMetric::RequestRate, AlertMetric::DurationP95] {
        let (n_alarms, n_days) = false_alarms(metric, episodes);
        println!("{metric:?}: {n_alarms} false alarms in {n_days} days");
        let days = n_days as f64 / n_alarms.max(1) as f64;
        assert!(
            days >= DAYS_A_FALSE_ALARM,
            "{metric:?}: one in {days:.0} days"
        );
    }
}

type Fault = fn(f64) -> f64;

/// The share of an hour's faults that are told while they last, and after how
/// many minutes. The services are the busy and the moderate ones.
fn told(metric: AlertMetric, fault: Fault, judge: Judge) -> (f64, u64) {
    let rule = rule(metric, 6.0);
    let (mut n_told, mut n, mut delay) = (0_u32, 0_u32, 0);
    for (_, mut weeks) in services().filter(|(peak, _)| *peak > 1.0) {
        for at in [200, 1_000, 2_300, 5_000] {
            let figures = weeks.of_mut(metric);
            let kept = figures.clone();
            let begin = HISTORY * DAY + at;
            for value in figures[begin..begin + 60].iter_mut().flatten() {
                *value = fault(*value);
            }
            let found = judge(&rule, figures, begin - 10..begin + 60);
            let first = found.iter().find(|began| **began >= 10);
            n += 1;
            n_told += u32::from(first.is_some());
            delay += first.map_or(0, |began| began - 10);
            *figures = kept;
        }
    }
    (
        f64::from(n_told) / f64::from(n),
        delay / u64::from(n_told.max(1)),
    )
}

/// What happens, to which figure, and the share of services that must tell.
const FAULTS: [(&str, AlertMetric, Fault, f64); 4] = [
    (
        "requests fall to a tenth",
        AlertMetric::RequestRate,
        |v| v * 0.1,
        0.85,
    ),
    (
        "requests triple",
        AlertMetric::RequestRate,
        |v| v * 3.0,
        0.95,
    ),
    ("twice as slow", AlertMetric::DurationP95, |v| v * 2.0, 0.95),
    ("a second more", AlertMetric::DurationP95, |v| v + 1.0, 0.95),
];

#[test]
fn faults_are_told_within_minutes() {
    for (what, metric, fault, least) in FAULTS {
        let (share, minutes) = told(metric, fault, episodes);
        println!("{what}: {:.0} % after {minutes} min", share * 100.0);
        assert!(
            share >= least && minutes <= 10,
            "{what}: {share}, {minutes} min"
        );
    }
}

#[test]
fn medians_raise_fewer_false_alarms_than_stl() {
    // A ninth of the services, for a fit takes 40 ms.
    let judged = |judge: Judge| {
        let rule = rule(AlertMetric::RequestRate, 6.0);
        let minutes = HISTORY * DAY..(HISTORY + JUDGED) * DAY;
        let few = services().take(3);
        few.map(|(_, weeks)| judge(&rule, &weeks.rate, minutes.clone()).len())
            .sum::<usize>()
    };
    let (medians, stl) = (judged(episodes), judged(episodes_by_stl));
    println!("{medians} false alarms by medians, {stl} by STL");
    assert!(medians <= stl);
}
