//! Backtests: recorded samples through the same engine that judges live ones, to see what a specification would
//! have said before it is trusted.
//!
//! A source of samples ([`openmetrics`]) feeds a [`Recorder`], which keeps those of the series that matter;
//! the finished [`Recording`] holds them in order of time; [`run()`] lets an engine live through them moment by
//! moment and returns the [`Outcome`]; [`summary`] counts pages and tickets, [`json`] and [`text`] print.
//!
//! A daemon's own journal goes to the engine as it is, request by request: [`stream`].
//!
//! Nothing here reads a file or a clock: the recording's time is the engine's.

pub mod compare;
pub mod json;
pub mod openmetrics;
mod recording;
mod run;
pub mod stream;
pub mod summary;
pub mod text;

pub use recording::{
    Recorder, Recording, RecordingError, SAMPLES_LIMIT_COUNT, SERIES_LIMIT_COUNT, Sample, Slot, Totals, UnusedSelector,
};
pub use run::{GAP, Gap, Outcome, RunError, TRANSITIONS_LIMIT_COUNT, Transition, run};
