//! Snapshots of the running engine: made a few views between two steps, so that no step waits for ten thousand of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;

use crate::clock;
use crate::engine::{Engine, Snapshot};
use crate::types::{Span, Timestamp};

/// While somebody looks a new snapshot is taken this often at most, and never so often that taking them costs more
/// than a twentieth of the time.
const EVERY: Span = Span::millis(100);
const SHARE: i64 = 20;
/// While nobody looks; also how old a snapshot is at most that is looked at after that.
const UNSEEN_EVERY: Span = Span::seconds(1);
/// Views made, or dropped, between two steps: less than a millisecond.
const SLICE_VIEWS: usize = 64;

/// Where readers find the latest snapshot.
#[derive(Debug)]
pub(super) struct Board {
    latest: ArcSwap<Snapshot>,
    /// It was looked at.
    is_seen: AtomicBool,
}

impl Board {
    pub(super) fn new(first: Snapshot) -> Self {
        Self { latest: ArcSwap::from_pointee(first), is_seen: AtomicBool::new(false) }
    }

    pub(super) fn look(&self) -> Arc<Snapshot> {
        // Not written to each time: others read it.
        if !self.is_seen.load(Ordering::Relaxed) {
            self.is_seen.store(true, Ordering::Relaxed);
        }
        self.latest.load_full()
    }
}

/// Puts snapshots on the board.
pub(super) struct Publisher {
    board: Arc<Board>,
    /// Of a snapshot that is being made: what it has cost.
    cost: Option<Span>,
    /// Something happened that is to be seen at once.
    has_news: bool,
    last: Timestamp,
    /// Not before, unless there is news.
    next: Timestamp,
    /// What nobody looks at any more, to be dropped bit by bit.
    retired: Option<Snapshot>,
}

impl Publisher {
    pub(super) fn new(board: Arc<Board>) -> Self {
        Self { board, cost: None, has_news: false, last: Timestamp::MIN, next: Timestamp::MIN, retired: None }
    }

    /// Has something seen as soon as can be.
    pub(super) fn hurry(&mut self) {
        self.has_news = true;
    }

    /// Puts everything on the board at once, for whoever waits for it.
    pub(super) fn publish(&mut self, engine: &mut Engine) {
        self.has_news = false;
        let start = clock::now();
        let snapshot = engine.snapshot(start);
        self.put(snapshot, clock::now().since(start));
    }

    /// Whether there is something to do before time passes.
    pub(super) fn is_busy(&self) -> bool {
        self.cost.is_some() || self.has_news || self.retired.is_some()
    }

    /// Does a bit of what there is to do.
    pub(super) fn work(&mut self, engine: &mut Engine) {
        if let Some(retired) = &mut self.retired {
            retired.slos.truncate(retired.slos.len().saturating_sub(SLICE_VIEWS));
            if retired.slos.is_empty() {
                self.retired = None;
            }
        }
        let start = clock::now();
        if self.cost.is_none() && !self.is_due(start) {
            return;
        }
        let cost = self.cost.unwrap_or_else(|| {
            self.has_news = false;
            self.board.is_seen.store(false, Ordering::Relaxed);
            Span::ZERO
        });
        let snapshot = engine.snapshot_on(start, SLICE_VIEWS);
        let cost = Span(cost.as_millis() + clock::now().since(start).as_millis().max(0));
        match snapshot {
            Some(snapshot) => self.put(snapshot, cost),
            None => self.cost = Some(cost),
        }
    }

    fn is_due(&self, now: Timestamp) -> bool {
        let next = if self.board.is_seen.load(Ordering::Relaxed) {
            self.next
        } else {
            self.next.max(self.last + UNSEEN_EVERY)
        };
        // What lies further ahead was said before the clock went back.
        self.has_news || now >= next || now < self.last
    }

    fn put(&mut self, snapshot: Snapshot, cost: Span) {
        self.cost = None;
        self.last = clock::now();
        self.next = self.last + Span(cost.as_millis().max(0) * SHARE).max(EVERY);
        // Whoever still reads the one before drops it.
        self.retired = Arc::into_inner(self.board.latest.swap(Arc::new(snapshot)));
    }
}
