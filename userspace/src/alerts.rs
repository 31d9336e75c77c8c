//! Alerts around the task that counts: rules and silences as they were saved,
//! changes that wait for history, and who is told.

mod past;

use std::collections::BTreeMap;
use std::sync::Arc;

use modeltap_api::state::{AlertAsk, ChangeError, Changed, NotifierState, TestError};
use modeltap_core::alert::{Alert, AlertRule, AlertState, RuleOrigin, Silence};
use modeltap_core::history::Batch;
use modeltap_core::time::UnixNs;
use modeltap_core::timeline::{MAX_DETAIL_BYTES, TimelineEvent, TimelineKind};
use modeltap_export::notify::{self, Channel, Notifiers};
use modeltap_metrics::LiveSnapshot;
use modeltap_metrics::alert::{Engine, PendingRows, default_rule, default_rules};
use modeltap_store::{AlertQuery, Edit, EditError, MAX_ALERTS, QueryError, Reader, Writer};
use tokio::sync::{mpsc, oneshot};

use self::past::Past;

/// Rules made by hand.
const MAX_RULES: usize = 500;
/// Silences that are not over.
const MAX_SILENCES: usize = 500;
/// Changes that wait for history at a time.
const MAX_WAITING: usize = 32;
/// A pending alert of before a longer absence begins anew.
const LONGEST_ABSENCE_NS: u64 = 3_600 * 1_000_000_000;
/// Notifiers are told again of what was over within this time before a start.
const TOLD_AGAIN_NS: u64 = 3_600 * 1_000_000_000;

/// Everything about alerts.
pub struct Alerts {
    engine: Engine,
    /// Rules made or changed by hand, by id.
    saved: BTreeMap<Arc<str>, AlertRule>,
    silences: Vec<Silence>,
    pending: PendingRows,
    past: Past,
    kept: mpsc::Sender<Kept>,
    /// Changes that history kept, or did not. As many fit as may wait.
    pub news: mpsc::Receiver<Kept>,
    n_waiting: usize,
    /// Ids given in this run.
    n_given: u64,
    /// There is no history: a recording is shown.
    is_replay: bool,
}

/// A change, and whether history kept it.
#[derive(Debug)]
pub struct Kept {
    edit: Edit,
    result: Result<(), EditError>,
    reply: Reply,
}

/// Whoever waits for a change.
#[derive(Debug)]
enum Reply {
    Rule(oneshot::Sender<Changed<AlertRule>>),
    Silence(oneshot::Sender<Changed<Silence>>),
    Done(oneshot::Sender<Changed<()>>),
}

impl Alerts {
    /// Without rules, for recordings.
    pub fn of_replay() -> Self {
        Self {
            is_replay: true,
            ..Self::new(None)
        }
    }

    /// The rules, silences and alerts that history has; without them, what
    /// cannot be read, the default rules alone.
    pub fn load(history: Reader, notifiers: Option<&Notifiers>, now: UnixNs) -> Self {
        let mut alerts = Self::new(Some(history.clone()));
        if let Err(error) = alerts.take_up(&history, notifiers, now) {
            tracing::error!(%error, "saved alert rules cannot be read; the default ones hold");
        }
        alerts.apply_rules();
        alerts
    }

    fn new(history: Option<Reader>) -> Self {
        let (kept, news) = mpsc::channel(MAX_WAITING);
        Self {
            engine: Engine::new(),
            saved: BTreeMap::new(),
            silences: Vec::new(),
            pending: PendingRows::default(),
            past: Past::new(history),
            kept,
            news,
            n_waiting: 0,
            n_given: 0,
            is_replay: false,
        }
    }

    fn take_up(
        &mut self,
        history: &Reader,
        notifiers: Option<&Notifiers>,
        now: UnixNs,
    ) -> Result<(), QueryError> {
        for rule in history.alert_rules()? {
            // A default rule that was changed and is none any longer is over.
            if rule.origin != RuleOrigin::Default || default_rule(&rule.id).is_some() {
                self.saved.insert(Arc::clone(&rule.id), rule);
            }
        }
        self.silences = history.silences(now)?;
        self.engine.set_silences(self.silences.clone());
        let recent = history.alerts(&AlertQuery {
            from: UnixNs(now.0.saturating_sub(TOLD_AGAIN_NS)),
            ..AlertQuery::default()
        })?;
        let (pending, recent): (Vec<_>, Vec<_>) = recent
            .into_iter()
            .partition(|alert| alert.state == AlertState::Pending);
        if let Some(notifiers) = notifiers {
            notifiers.resume(&recent, &history.deliveries(MAX_ALERTS)?);
        }
        let is_firing = |alert: &Alert| alert.state == AlertState::Firing;
        self.engine
            .resume(recent.into_iter().filter(is_firing).collect());
        if !pending.is_empty()
            && let Some(seen) = history.last_second()?
        {
            self.engine.resume(held_before(&pending, seen, now));
        }
        self.pending.resume(pending);
        Ok(())
    }

    /// Evaluates a second: what changed goes into its batch and to the
    /// notifiers, what holds into the live view.
    pub fn evaluate(
        &mut self,
        now: UnixNs,
        batch: &mut Batch,
        live: &mut LiveSnapshot,
        notifiers: Option<&Notifiers>,
    ) {
        let now = UnixNs(now.seconds().saturating_mul(1_000_000_000));
        let n_silences = self.silences.len();
        self.silences.retain(|silence| silence.until > now);
        if self.silences.len() < n_silences {
            self.engine.set_silences(self.silences.clone());
        }
        let changed = self.engine.evaluate(now, batch, live);
        batch
            .events
            .extend(changed.iter().filter_map(|alert| event(alert, now)));
        if let Some(notifiers) = notifiers {
            notifiers.notify(&changed);
            batch.deliveries.extend(notifiers.take_deliveries());
        }
        let active = self.engine.active();
        batch.alerts.extend(self.pending.changes(now, &active));
        batch.alerts.extend(changed);
        live.set_alerts(active);
        self.past.fill(&mut self.engine, now);
    }

    /// Answers a question or hands a change to history.
    pub fn answer(
        &mut self,
        ask: AlertAsk,
        writer: Option<&Writer>,
        notifiers: Option<&Notifiers>,
    ) {
        // Whoever asked may have gone.
        match ask {
            AlertAsk::Rules(sender) => {
                let _gone = sender.send(self.rules());
            }
            AlertAsk::Silences(sender) => {
                let mut silences = self.silences.clone();
                silences.sort_by(|a, b| (a.until, &a.id).cmp(&(b.until, &b.id)));
                let _gone = sender.send(silences);
            }
            AlertAsk::Notifiers(sender) => {
                let list = notifiers.map_or_else(Vec::new, Notifiers::list);
                let _gone = sender.send(list.into_iter().map(notifier).collect());
            }
            AlertAsk::Test(name, sender) => test(name, sender, notifiers.cloned()),
            AlertAsk::Add(mut rule, sender) => {
                let n_rules = self.saved.values().filter(|r| r.origin == RuleOrigin::User);
                let n_rules = n_rules.count() + self.n_waiting;
                if n_rules >= MAX_RULES {
                    let _gone = sender.send(Err(ChangeError::TooMany(n_rules)));
                    return;
                }
                rule.id = self.give_id("rule").into();
                rule.origin = RuleOrigin::User;
                self.change(Edit::SaveRule(*rule), Reply::Rule(sender), writer);
            }
            AlertAsk::Change(mut rule, sender) => match self.origin(&rule.id) {
                Ok(origin) => {
                    rule.origin = origin;
                    self.change(Edit::SaveRule(*rule), Reply::Rule(sender), writer);
                }
                Err(error) => {
                    let _gone = sender.send(Err(error));
                }
            },
            AlertAsk::Remove(id, sender) => match self.origin(&id) {
                Ok(_) => {
                    let edit = Edit::DeleteRule(id.into());
                    self.change(edit, Reply::Done(sender), writer);
                }
                Err(error) => {
                    let _gone = sender.send(Err(error));
                }
            },
            AlertAsk::Silence(mut silence, sender) => {
                let n_silences = self.silences.len() + self.n_waiting;
                if n_silences >= MAX_SILENCES {
                    let _gone = sender.send(Err(ChangeError::TooMany(n_silences)));
                    return;
                }
                silence.id = self.give_id("silence").into();
                let edit = Edit::SaveSilence(*silence);
                self.change(edit, Reply::Silence(sender), writer);
            }
            AlertAsk::EndSilence(id, sender) => {
                if self.silences.iter().any(|silence| *silence.id == *id) {
                    let edit = Edit::DeleteSilence(id.into());
                    self.change(edit, Reply::Done(sender), writer);
                } else {
                    let _gone = sender.send(Err(ChangeError::Unknown(id)));
                }
            }
        }
    }

    /// Makes a change that history kept, and answers whoever waits for it.
    pub fn apply(&mut self, kept: Kept) {
        self.n_waiting = self.n_waiting.saturating_sub(1);
        let Kept {
            edit,
            result,
            reply,
        } = kept;
        if let Err(error) = result {
            reply.refuse(ChangeError::NotKept(error.to_string()));
            return;
        }
        match edit.clone() {
            Edit::SaveRule(rule) => {
                self.saved.insert(Arc::clone(&rule.id), rule);
                self.apply_rules();
            }
            Edit::DeleteRule(id) => {
                self.saved.remove(&id);
                self.apply_rules();
            }
            Edit::SaveSilence(silence) => {
                self.silences.push(silence);
                self.engine.set_silences(self.silences.clone());
            }
            Edit::DeleteSilence(id) => {
                self.silences.retain(|silence| silence.id != id);
                self.engine.set_silences(self.silences.clone());
            }
        }
        reply.grant(edit);
    }

    /// Alerts that fire or may soon.
    pub fn active(&self) -> Vec<Alert> {
        self.engine.active()
    }

    fn change(&mut self, edit: Edit, reply: Reply, writer: Option<&Writer>) {
        let Some(writer) = writer.filter(|_| !self.is_replay) else {
            reply.refuse(ChangeError::NotKept("this is a recording".to_owned()));
            return;
        };
        if self.n_waiting >= MAX_WAITING {
            reply.refuse(ChangeError::NotKept("too many changes at once".to_owned()));
            return;
        }
        self.n_waiting += 1;
        let kept = self.kept.clone();
        let saved = edit.clone();
        writer.edit(
            saved,
            Box::new(move |result| {
                // There is room for all that wait; without a receiver the
                // daemon ends, and whoever waits is told so.
                let _ended = kept.try_send(Kept {
                    edit,
                    result,
                    reply,
                });
            }),
        );
    }

    /// Where the rule of this id comes from, if it may be changed.
    fn origin(&self, id: &str) -> Result<RuleOrigin, ChangeError> {
        if default_rule(id).is_some() {
            return Ok(RuleOrigin::Default);
        }
        if self.saved.contains_key(id) {
            return Ok(RuleOrigin::User);
        }
        let rules = self.engine.rules();
        let is_there = rules.iter().any(|rule| *rule.id == *id);
        Err(if is_there {
            ChangeError::OfLabel(id.to_owned())
        } else {
            ChangeError::Unknown(id.to_owned())
        })
    }

    /// Every rule: the default ones, those made by hand, those of labels.
    fn rules(&self) -> Vec<AlertRule> {
        if self.is_replay {
            return Vec::new();
        }
        self.engine.rules()
    }

    fn apply_rules(&mut self) {
        let mut rules: Vec<AlertRule> = default_rules()
            .into_iter()
            .map(|rule| self.saved.get(&rule.id).cloned().unwrap_or(rule))
            .collect();
        let by_hand = self.saved.values();
        rules.extend(
            by_hand
                .filter(|rule| rule.origin == RuleOrigin::User)
                .cloned(),
        );
        self.engine.set_rules(rules);
    }

    /// A name that no other rule or silence has or had.
    fn give_id(&mut self, kind: &str) -> String {
        self.n_given += 1;
        let now = modeltap_capture::clock::anchor().unix;
        format!("{kind}-{:x}-{:x}", now.millis(), self.n_given)
    }
}

impl Reply {
    fn refuse(self, error: ChangeError) {
        // Whoever asked may have gone.
        match self {
            Self::Rule(sender) => drop(sender.send(Err(error))),
            Self::Silence(sender) => drop(sender.send(Err(error))),
            Self::Done(sender) => drop(sender.send(Err(error))),
        }
    }

    fn grant(self, edit: Edit) {
        match (self, edit) {
            (Self::Rule(sender), Edit::SaveRule(rule)) => drop(sender.send(Ok(rule))),
            (Self::Silence(sender), Edit::SaveSilence(made)) => drop(sender.send(Ok(made))),
            (Self::Done(sender), _) => drop(sender.send(Ok(()))),
            // Each kind of change is asked for by its own question.
            (Self::Rule(_) | Self::Silence(_), _) => {}
        }
    }
}

/// Pending alerts of before the start, as if the daemon had never been away:
/// what it did not see does not count to the time that they have held. None
/// after a long absence. `seen` is the beginning of the last second it saw.
fn held_before(pending: &[Alert], seen: UnixNs, now: UnixNs) -> Vec<Alert> {
    let absence_ns = now.0.saturating_sub(seen.0 + 1_000_000_000);
    if absence_ns > LONGEST_ABSENCE_NS {
        return Vec::new();
    }
    let later = |alert: &Alert| Alert {
        since: UnixNs(alert.since.0.saturating_add(absence_ns)),
        ..alert.clone()
    };
    pending.iter().map(later).collect()
}

/// What happened, for the line of time.
fn event(alert: &Alert, now: UnixNs) -> Option<TimelineEvent> {
    let kind = match alert.state {
        AlertState::Resolved => TimelineKind::AlertResolved,
        // A silence that begins or ends is no news of the service.
        AlertState::Firing if alert.fired == Some(now) => TimelineKind::AlertFiring,
        AlertState::Firing | AlertState::Pending => return None,
    };
    let mut detail = format!("{}: {}", alert.rule_name, alert.summary);
    if detail.len() > MAX_DETAIL_BYTES {
        let mut end = MAX_DETAIL_BYTES;
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        detail.truncate(end);
    }
    Some(TimelineEvent {
        at: now,
        kind,
        service: Some(Arc::clone(&alert.service)),
        container: None,
        detail,
    })
}

fn notifier(state: notify::NotifierState) -> NotifierState {
    NotifierState {
        name: state.channel.as_str(),
        target: state.target,
        variables: state.channel.variables().to_vec(),
        last: state.last,
    }
}

/// Sends a test beside the counting.
fn test(
    name: String,
    sender: oneshot::Sender<Result<modeltap_core::alert::Delivery, TestError>>,
    notifiers: Option<Notifiers>,
) {
    let is_known = Channel::parse(&name).is_some();
    let Some(notifiers) = notifiers.filter(|_| is_known) else {
        let error = if is_known {
            TestError::Refused("a recording tells nobody".to_owned())
        } else {
            TestError::Unknown(name)
        };
        let _gone = sender.send(Err(error));
        return;
    };
    tokio::spawn(async move {
        let tested = notifiers.test(&name).await;
        let _gone = sender.send(tested.map_err(|error| TestError::Refused(error.to_string())));
    });
}

#[cfg(test)]
mod tests;
