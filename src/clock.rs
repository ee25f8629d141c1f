//! The only place that reads clocks; everything else is told the time.

#![expect(clippy::disallowed_methods, reason = "the one door through which time comes in")]

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::types::{Span, Timestamp};

/// The wall clock. It may be stepped: use it for what is written down and sent, not for delays.
pub fn now() -> Timestamp {
    match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Timestamp(millis(since)),
        Err(before) => Timestamp(-millis(before.duration())),
    }
}

fn millis(length: std::time::Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}

/// Points in time that never step: the wall clock when it was started, plus what has passed since.
///
/// It follows tokio's clock, so a test that pauses that one pauses this one.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    base: Timestamp,
    started: Instant,
}

impl Steady {
    /// A clock that shows the wall clock's time now.
    pub fn start() -> Self {
        Self { base: now(), started: Instant::now() }
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        self.base + self.elapsed()
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Span {
        Span(millis(self.started.elapsed()))
    }

    /// Waits until this clock shows `when`.
    pub async fn sleep_until(&self, when: Timestamp) {
        tokio::time::sleep(when.since(self.now()).to_std()).await;
    }
}

/// Measures how long something takes on this machine, however the tests' clocks stand.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    /// The time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_steady_clock_passes_with_the_runtime() {
        let clock = Steady::start();
        let start = clock.now();
        clock.sleep_until(start + Span::minutes(5)).await;
        assert_eq!(clock.now().since(start), Span::minutes(5));
    }

    #[test]
    fn the_wall_clock_is_past_the_year_2020() {
        assert!(now() > Timestamp(1_577_836_800_000));
    }
}
