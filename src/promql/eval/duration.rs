//! Lengths of time that depend on the query: `step()`, `range()` and arithmetic on durations.

use super::{EvalError, Evaluator};
use crate::promql::ast::{BinaryOp, DurationExpr, Extent, Pin, Position, TimeShift};
use crate::promql::eval::arithmetic::number_op;
use crate::promql::parse::MAX_DURATION_SECONDS;

impl Evaluator<'_> {
    /// A range or a step in milliseconds: positive.
    pub(super) fn positive_millis(&self, extent: &Extent) -> Result<i64, EvalError> {
        let millis = self.millis(extent, false)?;
        if millis > 0 {
            return Ok(millis);
        }
        Err(EvalError::Execution("duration must be greater than 0".to_owned()))
    }

    fn millis(&self, extent: &Extent, may_be_negative: bool) -> Result<i64, EvalError> {
        let (expr, at) = match extent {
            Extent::Fixed(span) => return Ok(span.0),
            Extent::Computed(expr, at) => (expr, *at),
        };
        let seconds = self.seconds(expr)?;
        if !seconds.is_finite() {
            return Err(problem(at, "duration is NaN or infinite"));
        }
        if seconds <= 0.0 && !may_be_negative {
            return Err(problem(at, "duration must be greater than 0"));
        }
        if seconds.abs() > MAX_DURATION_SECONDS {
            return Err(problem(at, "duration is out of range"));
        }
        Ok((seconds * 1000.0) as i64)
    }

    fn seconds(&self, expr: &DurationExpr) -> Result<f64, EvalError> {
        Ok(match expr {
            DurationExpr::Literal(number) => number.value,
            DurationExpr::Step => self.query_step.as_secs_f64(),
            DurationExpr::Range => self.query_end.saturating_sub(self.query_start) as f64 / 1000.0,
            DurationExpr::Negate(inner) => -self.seconds(inner)?,
            DurationExpr::Paren(inner) => self.seconds(inner)?,
            DurationExpr::MinOf(pair) => self.seconds(&pair.0)?.min(self.seconds(&pair.1)?),
            DurationExpr::MaxOf(pair) => self.seconds(&pair.0)?.max(self.seconds(&pair.1)?),
            DurationExpr::Binary(op, pair, at) => {
                let (left, right) = (self.seconds(&pair.0)?, self.seconds(&pair.1)?);
                match op {
                    BinaryOp::Divide if right == 0.0 => return Err(problem(*at, "division by zero")),
                    BinaryOp::Modulo if right == 0.0 => return Err(problem(*at, "modulo by zero")),
                    _ => number_op(*op, left, right),
                }
            }
        })
    }

    /// The offset in milliseconds, and the moment an `@` pins to.
    pub(super) fn shift(&self, time: &TimeShift) -> Result<(i64, Option<i64>), EvalError> {
        let offset = time.offset.as_ref().map_or(Ok(0), |extent| self.millis(extent, true))?;
        let pin = time.pin.map(|pin| match pin {
            Pin::At(at) => at.0,
            Pin::Start => self.query_start,
            Pin::End => self.query_end,
        });
        Ok((offset, pin))
    }
}

fn problem(at: Position, text: &str) -> EvalError {
    EvalError::Execution(format!("{}:{}: {text}", at.start, at.end))
}
