//! The store after a restart: its samples come back from the log, while the engine takes new ones.

use std::ops::ControlFlow;

use crate::clock::{self, Steady};
use crate::journal::{Journal, Kind, LogError};
use crate::live::{Observer, describe};
use crate::store::Earlier;
use crate::types::{Span, Timestamp};
use crate::wire::Batch;

/// Rules wait for it, so whoever looks may want to know.
const TELL_EVERY: Span = Span::seconds(5);

/// What the log had when the process started, as far as the store may keep it.
#[derive(Debug)]
pub(super) struct Refill {
    journal: Journal,
    last_segment: u64,
    since: Timestamp,
    earlier: Earlier,
}

impl Refill {
    /// To be asked for before anything is written. `None` where there is no log, or nobody can say.
    pub fn new(journal: &Journal, earlier: Earlier) -> Option<Self> {
        let since = clock::now() - earlier.settings().retention;
        // The recovery says what is wrong.
        let last_segment = journal.segments().ok()?.last()?.number;
        Some(Self { journal: journal.clone(), last_segment, since, earlier })
    }

    /// Reads the log and fills the store. Blocks; gives up when that is interrupted.
    pub fn run(mut self, observer: &Observer) {
        let clock = Steady::start();
        let read = self.read(observer, &clock);
        if observer.is_interrupted() {
            return;
        }
        if let Err(error) = read {
            tracing::warn!(%error, "queries do not see all samples of before the start");
        }
        let (series, samples) = self.earlier.join();
        if series > 0 {
            tracing::info!(series, samples, took = %clock.elapsed(), "queries see the samples of before the start again");
        }
    }

    fn read(&mut self, observer: &Observer, clock: &Steady) -> Result<(), LogError> {
        let Self { journal, last_segment, since, earlier } = self;
        let (from, mut batch) = (journal.since(*since)?, Batch::new());
        let mut told_at = clock.now();
        journal.read_until(from, *last_segment, Timestamp::MIN, &mut |progress, record| {
            if clock.now().since(told_at) >= TELL_EVERY {
                told_at = clock.now();
                tracing::info!("samples of before the start come back to queries: {}", describe(progress));
            }
            let settings = earlier.settings();
            // What cannot be decoded was told of when the engine was given it.
            if let Kind::Write(protocol) = record.kind
                && record.arrived_at >= *since
                && batch.decode(protocol, record.body, &settings.limits, &settings.key).is_ok()
            {
                earlier.write(&batch, record.arrived_at);
            }
            if observer.is_interrupted() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        Ok(())
    }
}
