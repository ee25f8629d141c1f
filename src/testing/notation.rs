//! promtool's notation of series: `http_requests_total{job="api"}` and `0+100x3 _ stale 5x2`.

use crate::series::STALE_NAN_BITS;
use crate::spec::selector;
use crate::types::{Labels, MatchOp};

/// Values of one series at most.
pub const VALUES_LIMIT_COUNT: usize = 1_000_000;

/// A series' values, one an interval; `None` where nothing was scraped.
pub type Values = Vec<Option<f64>>;

/// Reads a series: a selector of equalities.
///
/// # Errors
/// With a text for people.
pub fn series(text: &str) -> Result<Labels, String> {
    let selector = selector::of_text(text)?;
    let mut labels = Labels::new();
    for matcher in selector.matchers() {
        let MatchOp::Equal(value) = &matcher.op else {
            return Err(format!("a series has labels with `=` only, not `{matcher}`"));
        };
        labels.set(&matcher.name, value);
    }
    Ok(labels)
}

/// Reads the values of a series.
///
/// # Errors
/// With a text for people.
pub fn values(text: &str) -> Result<Values, String> {
    let mut values = Values::new();
    for token in text.split_whitespace() {
        expand(token, &mut values).ok_or_else(|| format!("not a value: {token:?}"))?;
        if values.len() > VALUES_LIMIT_COUNT {
            return Err(format!("more than {VALUES_LIMIT_COUNT} values"));
        }
    }
    Ok(values)
}

/// One token: `a`, `axN` (N more of the same), `a+bxN`, `a-bxN`, `_`, `_xN` (N of them) or `stale`.
fn expand(token: &str, values: &mut Values) -> Option<()> {
    let (what, times) = match token.split_once('x') {
        Some((what, times)) => (what, Some(times.parse::<usize>().ok().filter(|n| *n <= VALUES_LIMIT_COUNT)?)),
        None => (token, None),
    };
    match what {
        "_" => values.extend(std::iter::repeat_n(None, times.unwrap_or(1))),
        "stale" if times.is_none() => values.push(Some(f64::from_bits(STALE_NAN_BITS))),
        _ => {
            let (start, step) = start_and_step(what, times.is_some())?;
            values.extend((0..=times.unwrap_or(0)).map(|i| Some(start + step * i as f64)));
        }
    }
    Some(())
}

/// `10`, or where there are `more` values `10+5` and `10-5`.
fn start_and_step(text: &str, more: bool) -> Option<(f64, f64)> {
    let sign = text.char_indices().skip(1).find(|(_, c)| matches!(c, '+' | '-'));
    let Some((at, sign)) = sign.filter(|_| more) else { return Some((text.parse().ok()?, 0.0)) };
    let step: f64 = text[at + 1..].parse().ok()?;
    Some((text[..at].parse().ok()?, if sign == '-' { -step } else { step }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answers of promtool 2.42.
    #[test]
    fn values_are_promtools() {
        let values = |text: &str| super::values(text).unwrap();
        assert_eq!(values("1+2x3"), [1.0, 3.0, 5.0, 7.0].map(Some));
        assert_eq!(values("5-2x1 7x2 -3"), [5.0, 3.0, 7.0, 7.0, 7.0, -3.0].map(Some));
        assert_eq!(values("_ 1 _x2 2"), [None, Some(1.0), None, None, Some(2.0)]);
        assert_eq!(values("stale")[0].unwrap().to_bits(), STALE_NAN_BITS);
        for wrong in ["x", "1+x2", "1x", "stalex2", "a+1x1", "1+1", "1x9999999"] {
            assert!(super::values(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_series_is_a_selector_of_equalities() {
        let labels = Labels::new().with("__name__", "up").with("job", "a,\"b\"");
        assert_eq!(series(r#"up{job="a,\"b\""}"#), Ok(labels));
        assert_eq!(series("up"), Ok(Labels::new().with("__name__", "up")));
        for wrong in ["", "up{", "up{job=~\"a\"}", "up{job=a}", "rate(up[5m])"] {
            assert!(series(wrong).is_err(), "{wrong}");
        }
    }
}
