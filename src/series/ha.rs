//! Pairs of Prometheus servers that scrape the same targets: one of them is listened to.
//!
//! Each says in an external label which cluster it scrapes and in another which of the pair it is, as Mimir's and
//! Cortex' trackers have it. The label of the replica is dropped: both tell of the same series. The samples of one
//! replica count; when it has been silent for a while the other one's go on from where the first one stopped, and the
//! increase over the gap counts once. The servers' clocks must agree to within that while: one that is behind would
//! show a counter that went back.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::series::Cache;
use crate::types::{BorrowedLabels, Labels, Span, Timestamp};
use crate::wire::{Limits, WireLabels, decode_labels};

/// Replicas known at most, of all clusters together; samples of further ones are refused. One that was not heard of for
/// an hour or two makes room for another.
pub const REPLICAS_LIMIT_COUNT: usize = 10_000;
/// In the cache: a series without the two labels.
const ALONE: u32 = u32::MAX;

/// How replicas are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaPairs {
    /// Names what is scraped twice.
    pub cluster_label: String,
    /// Names who scrapes it; dropped.
    pub replica_label: String,
    /// After so long a silence of the elected one another is.
    pub failover: Span,
}

/// As in the documentation of Mimir and Cortex.
impl Default for HaPairs {
    fn default() -> Self {
        Self { cluster_label: "cluster".into(), replica_label: "__replica__".into(), failover: Span::seconds(30) }
    }
}

impl HaPairs {
    /// Keeps the labels that both replicas of a pair send.
    pub fn keep_common(&self, labels: &mut BorrowedLabels<'_>) {
        if labels.get(&self.cluster_label).is_some() {
            labels.remove(&self.replica_label);
        }
    }
}

/// What became of the elections, by cluster.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Elections {
    clusters: BTreeMap<Box<str>, Elected>,
    replicas: Vec<Replica>,
    rotation: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Replica {
    cluster: Box<str>,
    name: Box<str>,
    /// The rotation in which it was heard of last.
    heard: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Elected {
    replica: u32,
    /// When its latest sample arrived.
    seen: Timestamp,
}

/// The elections, and who sent what.
#[derive(Debug)]
pub struct Ha {
    /// How replicas are told apart.
    pub pairs: HaPairs,
    /// So far; part of the state of whoever holds them.
    pub elections: Elections,
    /// From the hash of label bytes to the replica.
    keys: Cache<u32>,
}

/// Whether samples count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// They do.
    Yes,
    /// The other replica's do.
    No,
    /// Nobody knows the replica, and it is one too many.
    TooMany,
}

impl Ha {
    /// Nobody is elected yet; at most this many series are known by their wire keys.
    pub fn new(pairs: HaPairs, limit_series: usize) -> Self {
        Self { pairs, elections: Elections::default(), keys: Cache::new(limit_series.saturating_mul(2)) }
    }

    /// Whether the samples of a series that arrive at `now` count.
    pub fn hears(&mut self, wire_hash: u128, labels: WireLabels<'_>, limits: &Limits, now: Timestamp) -> Heard {
        let replica = if let Some(replica) = self.keys.get(wire_hash) {
            replica
        } else {
            // What cannot be read is refused with a reason where it is met.
            let Ok(labels) = decode_labels(labels, limits) else { return Heard::Yes };
            let Some(replica) = self.elections.replica(&self.pairs, &labels) else { return Heard::TooMany };
            self.keys.insert(wire_hash, replica);
            replica
        };
        let heard = replica == ALONE || self.elections.elects(replica, self.pairs.failover, now);
        if heard { Heard::Yes } else { Heard::No }
    }

    /// Forgets wire keys, a part of them in each call, that were not used since their part's last turn.
    pub fn rotate(&mut self) {
        self.keys.rotate();
        self.elections.rotation += 1;
    }
}

impl Elections {
    /// The number of the replica that sent these labels; `None` when there are too many.
    fn replica(&mut self, pairs: &HaPairs, labels: &Labels) -> Option<u32> {
        let (Some(cluster), Some(replica)) = (labels.get(&pairs.cluster_label), labels.get(&pairs.replica_label))
        else {
            return Some(ALONE);
        };
        let known = self.replicas.iter().position(|known| &*known.cluster == cluster && &*known.name == replica);
        if let Some(known) = known {
            return Some(known as u32);
        }
        let new = Replica { cluster: cluster.into(), name: replica.into(), heard: self.rotation };
        // By then no wire key stands for it.
        let silent = |known: &Replica| self.rotation - known.heard > Cache::<u32>::LIFE_ROTATIONS;
        let number = if let Some(place) = self.replicas.iter().position(silent) {
            let left = std::mem::replace(&mut self.replicas[place], new);
            if self.clusters.get(&left.cluster).is_some_and(|elected| elected.replica as usize == place) {
                self.clusters.remove(&left.cluster);
            }
            place
        } else if self.replicas.len() < REPLICAS_LIMIT_COUNT {
            self.replicas.push(new);
            self.replicas.len() - 1
        } else {
            return None;
        };
        Some(number as u32)
    }

    /// Whether the replica is the one its cluster listens to; it becomes so when the other one has been silent.
    fn elects(&mut self, replica: u32, failover: Span, now: Timestamp) -> bool {
        let Replica { cluster, heard, .. } = &mut self.replicas[replica as usize];
        *heard = self.rotation;
        if let Some(elected) = self.clusters.get_mut(cluster) {
            if elected.replica != replica && now.since(elected.seen) < failover {
                return false;
            }
            *elected = Elected { replica, seen: now };
        } else {
            self.clusters.insert(cluster.clone(), Elected { replica, seen: now });
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_replica_takes_over_after_a_silence() {
        let pairs = HaPairs::default();
        let mut elections = Elections::default();
        let labels = |cluster, replica| Labels::new().with("cluster", cluster).with("__replica__", replica);
        let [a, b, other] = [labels("eu", "a"), labels("eu", "b"), labels("us", "a")]
            .map(|labels| elections.replica(&pairs, &labels).unwrap());
        let mut heard = |replica, seconds: i64| elections.elects(replica, pairs.failover, Timestamp(seconds * 1000));
        assert!(heard(a, 0) && !heard(b, 1) && heard(other, 2) && heard(a, 15));
        assert!(!heard(b, 44), "29 s of silence");
        assert!(heard(b, 45) && !heard(a, 46) && heard(b, 60));
        assert_eq!(elections.replica(&pairs, &Labels::new().with("cluster", "eu")), Some(ALONE));
    }

    #[test]
    fn replicas_that_come_and_go_take_no_room() {
        let pairs = HaPairs::default();
        let mut ha = Ha::new(pairs.clone(), 100);
        let labels = |name: &str| Labels::new().with("cluster", "eu").with("__replica__", name);
        let mut heard = 0;
        for minute in 0..REPLICAS_LIMIT_COUNT as i64 {
            let name = format!("prometheus-{}", minute / 10);
            let replica = ha.elections.replica(&pairs, &labels(&name)).unwrap();
            heard += u64::from(ha.elections.elects(replica, pairs.failover, Timestamp(60_000 * minute)));
            ha.rotate();
        }
        assert_eq!((heard, ha.elections.replicas.len()), (REPLICAS_LIMIT_COUNT as u64, 8));
        assert_eq!(ha.elections.clusters.len(), 1);
    }
}
