//! Minutes that close, and the single requests that stand for them.

use modeltap_core::exemplar::Exemplar;

use super::Aggregator;

impl Aggregator {
    /// Takes the single requests that stand for the minutes that were closed
    /// since the last call. To be called after [`Self::tick`] and
    /// [`Self::finish`]: of minutes that nobody took only the last is kept.
    pub fn take_exemplars(&mut self) -> Vec<Exemplar> {
        std::mem::take(&mut self.exemplars)
    }

    pub(super) fn close_minute(&mut self) {
        self.exemplars.clear();
        for service in self.services.iter_mut().flatten() {
            self.exemplars.extend(service.exemplars.close());
        }
    }
}
