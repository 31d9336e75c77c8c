//! Answers of the last seconds, for many pages ask the same.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use modeltap_api_types::Why;
use tokio::sync;
use tokio::time::Instant;

use super::Range;

/// Answers kept at most.
const MAX_KEPT: usize = 256;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) service: String,
    pub(crate) range: Range,
}

/// Answers, and whose turn it is to find one: one at a time, so that this
/// never takes more than one of the history's readers.
#[derive(Debug, Default)]
pub struct Kept {
    answers: Mutex<HashMap<Key, (Instant, Arc<Why>)>>,
    turn: sync::Mutex<()>,
}

impl Kept {
    /// The answer that is kept, or else what `find` finds, which is kept for
    /// as long as it `lasts`.
    pub(crate) async fn or_find<E>(
        &self,
        key: Key,
        lasts: Duration,
        find: impl AsyncFnOnce() -> Result<Arc<Why>, E>,
    ) -> Result<Arc<Why>, E> {
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let _turn = self.turn.lock().await;
        // Whoever had the turn may have asked the same.
        if let Some(known) = self.known(&key) {
            return Ok(known);
        }
        let found = find().await?;
        self.keep(key, Instant::now() + lasts, Arc::clone(&found));
        Ok(found)
    }

    fn known(&self, key: &Key) -> Option<Arc<Why>> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, answer) = answers.get(key)?;
        (*until > Instant::now()).then(|| Arc::clone(answer))
    }

    fn keep(&self, key: Key, until: Instant, answer: Arc<Why>) {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        if answers.len() >= MAX_KEPT {
            let now = Instant::now();
            answers.retain(|_, (until, _)| *until > now);
        }
        if answers.len() < MAX_KEPT {
            answers.insert(key, (until, answer));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn key(service: &str) -> Key {
        let range = Range {
            from: 0,
            to: 60,
            step: 1,
        };
        Key {
            service: service.into(),
            range,
        }
    }

    async fn ask(kept: &Kept, service: &str, n: &Mutex<u32>) {
        let lasts = Duration::from_secs(5);
        let find = async || {
            *n.lock().unwrap() += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok::<_, Infallible>(Arc::default())
        };
        let answer = kept.or_find(key(service), lasts, find).await;
        assert!(answer.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn many_pages_that_ask_the_same_are_one_question() {
        let (kept, n) = (Kept::default(), Mutex::new(0));
        let asks = (0..10).map(|_| ask(&kept, "a", &n));
        futures_util::future::join_all(asks).await;
        assert_eq!(*n.lock().unwrap(), 1);
        ask(&kept, "b", &n).await;
        assert_eq!(*n.lock().unwrap(), 2);
        tokio::time::advance(Duration::from_secs(6)).await;
        ask(&kept, "a", &n).await;
        assert_eq!(*n.lock().unwrap(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_bounded() {
        let (kept, n) = (Kept::default(), Mutex::new(0));
        for service in 0..2 * MAX_KEPT {
            ask(&kept, &service.to_string(), &n).await;
        }
        assert!(kept.answers.lock().unwrap().len() <= MAX_KEPT);
    }
}
