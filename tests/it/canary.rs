//! The canary judge: checks, verdicts, and how fast and how safe they are.

#[path = "canary/checks.rs"]
mod checks;
#[path = "canary/judge.rs"]
mod judge;
#[path = "canary/limits.rs"]
mod limits;
#[path = "canary/power.rs"]
mod power;
#[path = "../../examples/canary_power/traffic.rs"]
pub mod traffic;

use sloburn::canary::{Action, Amount, Block, Bound, CheckSpec, Measure, Terms, Test};
use sloburn::types::{Span, Timestamp};

const SCRAPE: i64 = 15_000;

fn terms() -> Terms {
    let (window, every) = (Span::minutes(5), Span::seconds(30));
    Terms { alpha: 0.01, steps: 1, deadline: Span::hours(6), window, every, strata: 1 }
}

fn spec(measure: Measure, bound: Bound, test: Test) -> CheckSpec {
    CheckSpec { name: "check".to_owned(), measure, bound, test, action: Action::Rollback }
}

fn drop_over(points: f64) -> Bound {
    Bound::DropOver(Amount::Absolute(points))
}

/// The block of scrape `i`.
fn block(i: i64, canary: &[f64], baseline: &[f64]) -> Block {
    Block::aligned(Timestamp(i * SCRAPE), Timestamp((i + 1) * SCRAPE), canary.to_vec(), baseline.to_vec())
}
