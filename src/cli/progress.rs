//! How far long work has come: a bar on a terminal, otherwise a line now and then.

use std::io::{self, IsTerminal};

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::args::ProgressMode;
use crate::cli::console;
use crate::clock::Steady;
use crate::types::{Span, Timestamp};

/// Lines of a log come this far apart.
const LOG_EVERY: Span = Span::seconds(5);
/// A bar is drawn so often at most, and the clock is read so many calls apart.
const DRAW_EVERY: Span = Span::millis(100);
const CALLS_BETWEEN_LOOKS: u32 = 256;

/// Progress of one piece of work, drawn or told on standard error.
pub struct Progress {
    what: &'static str,
    /// Units of work in all; 0 when nobody knows.
    total: u64,
    clock: Steady,
    form: Form,
    calls: u32,
    told_at: Timestamp,
}

enum Form {
    Bar(ProgressBar),
    Log,
    None,
}

impl Progress {
    /// Starts the clock. `total` is in the units that [`Self::at`] is told, 0 when unknown.
    pub fn start(mode: ProgressMode, what: &'static str, total: u64) -> Self {
        let form = match mode {
            ProgressMode::Auto if io::stderr().is_terminal() => Form::Bar(bar(what, total)),
            ProgressMode::Bar => Form::Bar(bar(what, total)),
            ProgressMode::Auto | ProgressMode::Log => Form::Log,
            ProgressMode::None => Form::None,
        };
        let clock = Steady::start();
        Self { what, total, clock, form, calls: 0, told_at: clock.now() }
    }

    /// The work has come to `done`; `note` says more, given the seconds since the start. Cheap to call often.
    pub fn at(&mut self, done: u64, note: impl FnOnce(f64) -> String) {
        self.calls += 1;
        if self.calls < CALLS_BETWEEN_LOOKS {
            return;
        }
        self.calls = 0;
        self.now(done, note);
    }

    /// As [`Self::at`], for work in few and long steps.
    pub fn now(&mut self, done: u64, note: impl FnOnce(f64) -> String) {
        let every = match self.form {
            Form::None => return,
            Form::Bar(_) => DRAW_EVERY,
            Form::Log => LOG_EVERY,
        };
        let now = self.clock.now();
        if now.since(self.told_at) < every {
            return;
        }
        self.told_at = now;
        let note = note(self.seconds());
        match &self.form {
            Form::Bar(bar) => {
                bar.set_position(done);
                bar.set_message(note);
            }
            Form::Log if self.total > 0 => {
                let share = 100.0 * done as f64 / self.total as f64;
                let left = self.seconds() * (self.total as f64 / done.max(1) as f64 - 1.0);
                console::message(&format!("{} {share:.0} %, {note}, {} left", self.what, Span::seconds(left as i64)));
            }
            Form::Log => console::message(&format!("{}: {note}", self.what)),
            Form::None => {}
        }
    }

    /// Seconds since the start, never 0.
    pub fn seconds(&self) -> f64 {
        (self.clock.elapsed().as_millis() as f64 / 1000.0).max(0.001)
    }

    /// Takes a bar away; what remains is what the command says in the end.
    pub fn finish(self) -> f64 {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
        self.seconds()
    }
}

fn bar(what: &'static str, total: u64) -> ProgressBar {
    let template =
        if total > 0 { "{prefix} {bar:32} {percent:>3} %  {msg}  ETA {eta}" } else { "{prefix} {spinner}  {msg}" };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = if total > 0 { ProgressBar::new(total) } else { ProgressBar::new_spinner() };
    bar.with_style(style).with_prefix(what)
}
