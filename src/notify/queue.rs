//! The messages one webhook has still to receive: in order for each alert, bounded, with retries.
//!
//! Messages of one alert, or of one rollout, form a lane, of which only the head is ever sent. A message that keeps failing delays its
//! own lane alone: the others overtake it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::notice::Fingerprint;
use super::webhook::Message;
use crate::types::{Span, Timestamp};

/// A message in the queue, or on its way; plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What to send.
    pub message: Message,
    /// When it was queued.
    pub queued_at: Timestamp,
    /// Attempts that failed.
    pub failures: u32,
    order: u64,
    not_before: Timestamp,
}

/// What the queue holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// This is to be sent; give it back with [`Queue::retry`] if that failed.
    Send(Box<Entry>),
    /// Nothing before this time.
    Wait(Timestamp),
    /// Nothing at all.
    Nothing,
}

/// A webhook's messages. Time is a steady clock's.
#[derive(Debug)]
pub struct Queue {
    limit_messages: usize,
    lanes: BTreeMap<Fingerprint, VecDeque<Entry>>,
    /// The head of every lane, by when it may be sent.
    heads: BTreeSet<(Timestamp, u64, Fingerprint)>,
    /// Every entry, the oldest first.
    by_order: BTreeMap<u64, Fingerprint>,
    last_order: u64,
}

impl Queue {
    /// An empty queue of at most `limit_messages`.
    pub fn new(limit_messages: usize) -> Self {
        Self {
            limit_messages: limit_messages.max(1),
            lanes: BTreeMap::new(),
            heads: BTreeSet::new(),
            by_order: BTreeMap::new(),
            last_order: 0,
        }
    }

    /// Messages waiting, without one on its way.
    pub fn len(&self) -> usize {
        self.by_order.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.by_order.is_empty()
    }

    /// Adds a message at the end; returns the oldest if it had to go for it.
    pub fn push(&mut self, message: Message, now: Timestamp) -> Option<Entry> {
        self.last_order += 1;
        let entry = Entry { message, queued_at: now, failures: 0, order: self.last_order, not_before: now };
        self.insert(entry, VecDeque::push_back)
    }

    /// Puts back an entry that failed, before the later ones of its alert; returns the oldest if the queue is full.
    pub fn retry(&mut self, mut entry: Entry, not_before: Timestamp) -> Option<Entry> {
        entry.not_before = not_before;
        self.insert(entry, VecDeque::push_front)
    }

    /// What to send now. Of several, the one that may be sent the longest.
    pub fn next(&mut self, now: Timestamp) -> Next {
        match self.heads.first() {
            None => Next::Nothing,
            Some(&(not_before, _, _)) if not_before > now => Next::Wait(not_before),
            Some(&(_, _, fingerprint)) => self.pop(fingerprint).map_or(Next::Nothing, |e| Next::Send(Box::new(e))),
        }
    }

    /// Takes out an entry that was queued `patience` ago or earlier.
    pub fn pop_overdue(&mut self, now: Timestamp, patience: Span) -> Option<Entry> {
        let fingerprint = *self.by_order.first_key_value()?.1;
        // The oldest of all is the head of its lane.
        let queued_at = self.lanes.get(&fingerprint)?.front()?.queued_at;
        if now.since(queued_at) < patience { None } else { self.pop(fingerprint) }
    }

    /// When the oldest entry was queued.
    pub fn oldest(&self) -> Option<Timestamp> {
        let (_, fingerprint) = self.by_order.first_key_value()?;
        self.lanes.get(fingerprint)?.front().map(|entry| entry.queued_at)
    }

    /// Everything may be sent at once.
    pub fn hurry(&mut self) {
        self.heads.clear();
        for (fingerprint, lane) in &mut self.lanes {
            if let Some(head) = lane.front_mut() {
                head.not_before = head.queued_at;
                self.heads.insert((head.not_before, head.order, *fingerprint));
            }
        }
    }

    /// Takes out all messages of one lane.
    pub fn take_lane(&mut self, lane: Fingerprint) -> Vec<Entry> {
        std::iter::from_fn(|| self.pop(lane)).collect()
    }

    /// Empties the queue; how many there were.
    pub fn clear(&mut self) -> usize {
        let dropped = self.len();
        self.lanes.clear();
        self.heads.clear();
        self.by_order.clear();
        dropped
    }

    fn insert(&mut self, entry: Entry, place: fn(&mut VecDeque<Entry>, Entry)) -> Option<Entry> {
        let fingerprint = entry.message.fingerprint;
        self.by_order.insert(entry.order, fingerprint);
        let lane = self.lanes.entry(fingerprint).or_default();
        if let Some(head) = lane.front() {
            self.heads.remove(&(head.not_before, head.order, fingerprint));
        }
        place(lane, entry);
        if let Some(head) = lane.front() {
            self.heads.insert((head.not_before, head.order, fingerprint));
        }
        let full = self.by_order.len() > self.limit_messages;
        let oldest = full.then(|| self.by_order.first_key_value()).flatten().map(|(_, fingerprint)| *fingerprint);
        oldest.and_then(|fingerprint| self.pop(fingerprint))
    }

    fn pop(&mut self, fingerprint: Fingerprint) -> Option<Entry> {
        let lane = self.lanes.get_mut(&fingerprint)?;
        let head = lane.pop_front()?;
        self.by_order.remove(&head.order);
        self.heads.remove(&(head.not_before, head.order, fingerprint));
        match lane.front() {
            Some(next) => drop(self.heads.insert((next.not_before, next.order, fingerprint))),
            None => drop(self.lanes.remove(&fingerprint)),
        }
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::notify::webhook::Event;

    fn message(alert: u128, n: usize) -> Message {
        Message {
            id: format!("{alert}-{n}"),
            number: n as u64,
            fingerprint: Fingerprint(alert),
            event: Event::Firing,
            body: String::new(),
        }
    }

    fn sent(next: Next) -> Entry {
        let Next::Send(entry) = next else { panic!("{next:?}") };
        *entry
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * 1_000)
    }

    #[test]
    fn a_failing_message_holds_back_its_own_alert_only() {
        let mut queue = Queue::new(10);
        for (alert, n) in [(1, 1), (1, 2), (2, 1)] {
            assert_eq!(queue.push(message(alert, n), at(0)), None);
        }
        let failed = sent(queue.next(at(0)));
        assert_eq!(failed.message.id, "1-1");
        queue.retry(failed, at(5));
        assert_eq!(sent(queue.next(at(0))).message.id, "2-1");
        assert_eq!(queue.next(at(0)), Next::Wait(at(5)), "1-2 waits for 1-1");
        assert_eq!(sent(queue.next(at(5))).message.id, "1-1");
        assert_eq!(sent(queue.next(at(5))).message.id, "1-2");
        assert_eq!(queue.next(at(5)), Next::Nothing);
    }

    #[test]
    fn a_full_queue_drops_its_oldest() {
        let mut queue = Queue::new(2);
        queue.push(message(1, 1), at(0));
        queue.push(message(2, 1), at(0));
        assert_eq!(queue.push(message(3, 1), at(1)).unwrap().message.id, "1-1");
        let on_its_way = sent(queue.next(at(1)));
        queue.push(message(4, 1), at(1));
        assert_eq!(queue.retry(on_its_way, at(2)).unwrap().message.id, "2-1", "put back, it is the oldest again");
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn overdue_entries_come_out_oldest_first() {
        let mut queue = Queue::new(10);
        queue.push(message(1, 1), at(0));
        queue.push(message(2, 1), at(10));
        let patience = Span::seconds(60);
        assert_eq!(queue.pop_overdue(at(59), patience), None);
        assert_eq!(queue.pop_overdue(at(60), patience).unwrap().message.id, "1-1");
        assert_eq!(queue.pop_overdue(at(60), patience), None);
        assert_eq!(queue.oldest(), Some(at(10)));
    }

    #[test]
    fn in_a_hurry_nothing_waits() {
        let mut queue = Queue::new(10);
        queue.push(message(1, 1), at(0));
        let entry = sent(queue.next(at(0)));
        queue.retry(entry, at(100));
        queue.hurry();
        assert_eq!(sent(queue.next(at(1))).message.id, "1-1");
        assert!(queue.is_empty());
    }

    proptest! {
        /// Whatever fails and whenever, each alert's messages arrive in order, and all of them.
        #[test]
        fn order_within_an_alert_survives_failures(
            alerts in prop::collection::vec(0_u128..4, 1..40),
            outcomes in prop::collection::vec(any::<bool>(), 0..200),
        ) {
            let mut queue = Queue::new(1_000);
            for (n, alert) in alerts.iter().enumerate() {
                queue.push(message(*alert, n), at(0));
            }
            let (mut now, mut outcomes) = (at(1_000), outcomes.into_iter());
            let mut received: BTreeMap<Fingerprint, Vec<usize>> = BTreeMap::new();
            loop {
                match queue.next(now) {
                    Next::Nothing => break,
                    Next::Wait(until) => now = until,
                    Next::Send(entry) if outcomes.next().unwrap_or(true) => {
                        let n = entry.message.id.split_once('-').unwrap().1.parse().unwrap();
                        received.entry(entry.message.fingerprint).or_default().push(n);
                    }
                    Next::Send(entry) => drop(queue.retry(*entry, now + Span::seconds(1))),
                }
            }
            prop_assert_eq!(received.values().map(Vec::len).sum::<usize>(), alerts.len());
            prop_assert!(received.values().all(|order| order.is_sorted()));
            prop_assert!(queue.is_empty() && queue.lanes.is_empty() && queue.heads.is_empty());
        }
    }
}
