//! What series count for whose deciding labels are equal, so that a new one among thousands alike is not compared with
//! every selector again.

use crate::series::{Index, Tag};
use crate::types::{BorrowedLabels, METRIC_NAME};
use crate::wire::WireKey;

/// Combinations of values that are remembered; then they are worked out again.
const ALIKE_LIMIT_COUNT: usize = 1 << 16;
/// Of a combination that no SLI is interested in.
const IGNORED: u32 = u32::MAX;

/// From the hash of the values to the tag. Not part of the state: whatever is missing is worked out again.
#[derive(Debug, Default)]
pub(super) struct Alike {
    tags: Index,
    buffer: Vec<u8>,
}

impl Alike {
    /// What stands for the values of these labels, and for the metric's name.
    pub(super) fn hash(&mut self, key: &WireKey, labels: &BorrowedLabels<'_>, deciding: &[Box<str>]) -> u128 {
        self.buffer.clear();
        for name in [METRIC_NAME].into_iter().chain(deciding.iter().map(|name| &**name)) {
            self.buffer.extend_from_slice(labels.get(name).unwrap_or_default().as_bytes());
            // No text holds this byte.
            self.buffer.push(0xff);
        }
        key.hash(&self.buffer)
    }

    /// The tag of series like this one; `None` inside when there is none, outside when that is not known.
    pub(super) fn get(&self, hash: u128) -> Option<Option<Tag>> {
        self.tags.get(hash).map(|tag| (tag != IGNORED).then_some(Tag(tag)))
    }

    pub(super) fn insert(&mut self, hash: u128, tag: Option<Tag>) {
        if self.tags.len() >= ALIKE_LIMIT_COUNT {
            self.clear();
        }
        self.tags.insert(hash, tag.map_or(IGNORED, |tag| tag.0));
    }

    /// Tags stand for something else from now on.
    pub(super) fn clear(&mut self) {
        self.tags = Index::default();
    }
}
