//! Whether a chain is intact.

use super::{Anchor, Entry, Hash, Line};

/// What is wrong with a chain, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The record is not what was hashed.
    #[error("entry {sequence} has been changed: its record and the entry before make the hash {found}, not {expected}")]
    Changed {
        /// The entry.
        sequence: u64,
        /// What it makes.
        found: Hash,
        /// What it says.
        expected: Hash,
    },
    /// The hash it is chained to is not that of the entry before.
    #[error("entry {sequence} is chained to {found}, but the entry before it has the hash {expected}")]
    Unlinked {
        /// The entry.
        sequence: u64,
        /// What it says.
        found: Hash,
        /// Of the entry before.
        expected: Hash,
    },
    /// Entries are missing, repeated or in another order.
    #[error("entry {found} comes where {expected} should be")]
    Order {
        /// The number that is there.
        found: u64,
        /// The one that should be.
        expected: u64,
    },
    /// The first entry is a later one, and nothing says that those before have been pruned.
    #[error("the log begins with entry {0}, and no anchor says that those before it have been pruned")]
    Beginning(u64),
    /// An anchor that is not at the beginning.
    #[error("an anchor among the entries")]
    Anchor,
    /// The end is another one.
    #[error("the log ends with the hash {found}, not with {expected}: its end has been cut off or replaced")]
    Head {
        /// The last one that is there.
        found: Hash,
        /// The one that should be.
        expected: Hash,
    },
}

/// What an intact chain holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Entries.
    pub entries: u64,
    /// What was pruned before them.
    pub anchor: Option<Anchor>,
    /// The last entry's place and hash; to be noted, as a later look shows whether the log still holds it.
    pub head: (u64, Hash),
}

/// Takes the lines of a log one by one.
#[derive(Clone, Debug)]
pub struct Verifier {
    entries: u64,
    anchor: Option<Anchor>,
    head: (u64, Hash),
    /// A hash that has to be among those of the log.
    wanted: Option<Hash>,
    /// It was the hash of an entry.
    was_found: bool,
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new(None)
    }
}

impl Verifier {
    /// For a log that holds the entry with this hash, if one is given: noted earlier, it may have been the last one.
    pub fn new(wanted: Option<Hash>) -> Self {
        Self { entries: 0, anchor: None, head: (0, Hash::ZERO), wanted, was_found: false }
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// When it does not go on from the one before.
    pub fn take(&mut self, line: &Line) -> Result<(), Broken> {
        match line {
            Line::Anchor(anchor) => self.begin(*anchor),
            Line::Entry(entry) => self.entry(entry),
        }
    }

    fn begin(&mut self, anchor: Anchor) -> Result<(), Broken> {
        if self.entries > 0 || self.anchor.is_some() {
            return Err(Broken::Anchor);
        }
        self.anchor = Some(anchor);
        self.head = (anchor.sequence, anchor.hash);
        self.was_found |= self.wanted == Some(anchor.hash);
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Broken> {
        let (last, hash) = self.head;
        let Entry { sequence, .. } = *entry;
        if sequence != last + 1 {
            let is_first = self.entries == 0 && self.anchor.is_none();
            let order = Broken::Order { found: sequence, expected: last + 1 };
            return Err(if is_first { Broken::Beginning(sequence) } else { order });
        }
        if entry.previous != hash {
            return Err(Broken::Unlinked { sequence, found: entry.previous, expected: hash });
        }
        let found = entry.previous.next(entry.json.as_bytes());
        if found != entry.hash {
            return Err(Broken::Changed { sequence, found, expected: entry.hash });
        }
        self.entries += 1;
        self.head = (sequence, found);
        self.was_found |= self.wanted == Some(found);
        Ok(())
    }

    /// After the last line.
    ///
    /// # Errors
    /// When the hash that had to be there was not.
    pub fn finish(self) -> Result<Verified, Broken> {
        if let Some(expected) = self.wanted.filter(|_| !self.was_found) {
            return Err(Broken::Head { found: self.head.1, expected });
        }
        Ok(Verified { entries: self.entries, anchor: self.anchor, head: self.head })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::tests::entries;
    use crate::audit::read::tests::record;
    use crate::types::Timestamp;

    fn log() -> Vec<Entry> {
        entries(&(0..6).map(|n| record("pay/2@0", n, 10 * n as i64)).collect::<Vec<_>>())
    }

    fn verify(anchor: Option<Anchor>, entries: &[Entry], wanted: Option<Hash>) -> Result<Verified, Broken> {
        let mut verifier = Verifier::new(wanted);
        let lines = anchor.map(Line::Anchor).into_iter().chain(entries.iter().cloned().map(Line::Entry));
        for line in lines {
            verifier.take(&line.clone())?;
        }
        verifier.finish()
    }

    #[test]
    fn an_intact_chain_ends_with_its_head() {
        let log = log();
        let head = log[5].hash;
        let expected = Verified { entries: 6, anchor: None, head: (6, head) };
        assert_eq!(verify(None, &log, None), Ok(expected));
        assert_eq!(verify(None, &log, Some(log[3].hash)), Ok(expected), "a head noted earlier");
        assert_eq!(verify(None, &[], None).unwrap().entries, 0);
    }

    #[test]
    fn every_changed_byte_is_found() {
        let log = log();
        for at in 0..log[2].json.len() {
            let mut changed = log.clone();
            let mut bytes = std::mem::take(&mut changed[2].json).into_bytes();
            bytes[at] ^= 1;
            changed[2].json = String::from_utf8(bytes).unwrap();
            assert!(matches!(verify(None, &changed, None), Err(Broken::Changed { sequence: 3, .. })), "byte {at}");
        }
        // Who also changes the entry's hash breaks the next entry's link, and so on to the end.
        let mut changed = log.clone();
        changed[2].json = changed[2].json.replace("pay", "pax");
        changed[2].hash = changed[2].previous.next(changed[2].json.as_bytes());
        assert!(matches!(verify(None, &changed, None), Err(Broken::Unlinked { sequence: 4, .. })));
        for n in 3..6 {
            changed[n].previous = changed[n - 1].hash;
            changed[n].hash = changed[n].previous.next(changed[n].json.as_bytes());
        }
        assert!(verify(None, &changed, None).is_ok(), "a chain made anew is a chain");
        assert!(matches!(verify(None, &changed, Some(log[5].hash)), Err(Broken::Head { .. })), "of another head");
    }

    #[test]
    fn removed_repeated_and_swapped_entries_are_found() {
        let log = log();
        let mut removed = log.clone();
        removed.remove(2);
        assert_eq!(verify(None, &removed, None), Err(Broken::Order { found: 4, expected: 3 }));
        removed.iter_mut().zip(1..).for_each(|(entry, sequence)| entry.sequence = sequence);
        assert!(matches!(verify(None, &removed, None), Err(Broken::Unlinked { sequence: 3, .. })), "and renumbered");
        let mut swapped = log.clone();
        swapped.swap(1, 2);
        assert_eq!(verify(None, &swapped, None), Err(Broken::Order { found: 3, expected: 2 }));
        swapped.iter_mut().zip(1..).for_each(|(entry, sequence)| entry.sequence = sequence);
        assert!(matches!(verify(None, &swapped, None), Err(Broken::Unlinked { sequence: 2, .. })), "and renumbered");
        let mut repeated = log.clone();
        repeated.insert(1, log[0].clone());
        assert_eq!(verify(None, &repeated, None), Err(Broken::Order { found: 1, expected: 2 }));
    }

    #[test]
    fn an_end_that_was_cut_off_is_found_by_its_hash() {
        let log = log();
        assert!(verify(None, &log[..4], None).is_ok(), "by itself it is a chain");
        let expected = Broken::Head { found: log[3].hash, expected: log[5].hash };
        assert_eq!(verify(None, &log[..4], Some(log[5].hash)), Err(expected));
    }

    #[test]
    fn a_beginning_may_be_missing_if_an_anchor_says_so() {
        let log = log();
        assert_eq!(verify(None, &log[2..], None), Err(Broken::Beginning(3)));
        let anchor = Anchor { sequence: 2, hash: log[1].hash, pruned_at: Timestamp(0) };
        let verified = verify(Some(anchor), &log[2..], None).unwrap();
        assert_eq!((verified.entries, verified.head), (4, (6, log[5].hash)));
        assert!(matches!(verify(Some(anchor), &log[3..], None), Err(Broken::Order { found: 4, expected: 3 })));
        let other = Anchor { hash: log[0].hash, ..anchor };
        assert!(matches!(verify(Some(other), &log[2..], None), Err(Broken::Unlinked { sequence: 3, .. })));
        let mut verifier = Verifier::default();
        verifier.take(&Line::Entry(log[0].clone())).unwrap();
        assert_eq!(verifier.take(&Line::Anchor(anchor)), Err(Broken::Anchor));
    }
}
