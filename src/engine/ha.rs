//! Which of two replicas the engine listens to; see [`crate::series::Ha`].

use crate::engine::Engine;
use crate::series::Heard;
use crate::types::Timestamp;
use crate::wire::{LabelReader, WireLabels};

impl Engine {
    /// Whether the samples of a series that arrive now count.
    pub(super) fn hears(&mut self, wire_hash: u128, labels: WireLabels<'_>, now: Timestamp) -> Heard {
        self.ha.as_mut().map_or(Heard::Yes, |ha| ha.hears(wire_hash, labels, &self.settings.limits, now))
    }

    /// Keeps the labels that the replicas of a pair have in common.
    pub(super) fn keep_common(&self, read: &mut LabelReader<'_>) {
        if let Some(ha) = &self.ha {
            ha.pairs.keep_common(read.set_mut());
        }
    }
}
