//! Events of an SLI by release: one small ledger for each value of the version label seen lately.

use serde::{Deserialize, Serialize};

use crate::sli::{Counts, Ledger};
use crate::types::{Span, Timestamp};

/// Versions kept for each SLI; a new one takes the place of the one silent for longest.
pub const VERSIONS_LIMIT: usize = 8;

/// Windows kept for each version.
const WINDOWS: [Span; 2] = [Span::minutes(5), Span::hours(1)];

/// What is known of one release.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The version label's value.
    pub name: Box<str>,
    /// Since it was first seen.
    pub counts: Counts,
    /// Its first sample.
    pub first: Timestamp,
    /// Its latest sample.
    pub last: Timestamp,
    ledger: Ledger,
}

/// The releases of one SLI.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Versions {
    versions: Vec<Version>,
}

impl Versions {
    /// Adds counts of the version called `name`.
    pub fn add(&mut self, name: &str, at: Timestamp, now: Timestamp, counts: Counts) {
        let slot = self.versions.iter().position(|v| &*v.name == name).unwrap_or_else(|| self.make(name, at, now));
        let version = &mut self.versions[slot];
        version.first = version.first.min(at);
        version.last = version.last.max(at);
        version.counts += counts;
        version.ledger.advance(now);
        version.ledger.add(at, counts);
    }

    fn make(&mut self, name: &str, at: Timestamp, now: Timestamp) -> usize {
        let counts = Counts::default();
        let new = Version { name: name.into(), counts, first: at, last: at, ledger: Ledger::new(&WINDOWS, now) };
        if self.versions.len() < VERSIONS_LIMIT {
            self.versions.push(new);
            return self.versions.len() - 1;
        }
        let longest_silent = (0..self.versions.len()).min_by_key(|&i| self.versions[i].last).unwrap_or(0);
        self.versions[longest_silent] = new;
        longest_silent
    }

    /// All, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Version> {
        let mut sorted: Vec<&Version> = self.versions.iter().collect();
        sorted.sort_by(|a, b| a.name.cmp(&b.name));
        sorted.into_iter()
    }
}

impl Version {
    /// Windows and their counts as of the version's latest sample's arrival.
    pub fn windows(&self) -> impl Iterator<Item = (Span, Counts)> + '_ {
        WINDOWS.iter().enumerate().map(|(i, span)| (*span, self.ledger.window(i)))
    }
}
