//! Minutes that close, the single requests that stand for them, and what is
//! there of a second and a minute that are not over.

use std::time::Duration;

use modeltap_core::exemplar::Exemplar;
use modeltap_core::rollup::Rollup;

use super::{Aggregator, start_of};

impl Aggregator {
    /// Takes the single requests that stand for the minutes that were closed
    /// since the last call. To be called after [`Self::tick`] and
    /// [`Self::finish`]: of minutes that nobody took only the last is kept.
    pub fn take_exemplars(&mut self) -> Vec<Exemplar> {
        std::mem::take(&mut self.exemplars)
    }

    /// What the open second has so far: its rollups, in no order, stay open, and
    /// what [`Self::tick`] gives at its end holds them too.
    #[must_use]
    pub fn rollups_so_far(&self) -> Vec<Rollup> {
        let Some(open) = self.open else {
            return Vec::new();
        };
        let series = self.touched.iter();
        let series = series.filter_map(|index| self.series[*index as usize].as_ref());
        let rollup = |key, figures| Rollup {
            key,
            start: start_of(open.second),
            width: Duration::from_secs(1),
            figures,
        };
        series
            .map(|series| rollup(series.key.clone(), series.window.clone()))
            .collect()
    }

    /// The single requests that stand for the open minute so far.
    #[must_use]
    pub fn exemplars_so_far(&self) -> Vec<Exemplar> {
        let services = self.services.iter().flatten();
        let kept = services.flat_map(|service| service.exemplars.so_far());
        kept.cloned().collect()
    }

    pub(super) fn close_minute(&mut self) {
        self.exemplars.clear();
        for service in self.services.iter_mut().flatten() {
            self.exemplars.extend(service.exemplars.close());
        }
    }
}
