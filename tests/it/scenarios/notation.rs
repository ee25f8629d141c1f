//! promtool's notation of series: `http_requests_total{job="api"} 0+100x3 _ stale 5x2`.

use sloburn::series::STALE_NAN_BITS;
use sloburn::types::{Labels, METRIC_NAME};

/// Values expanded from one token at most.
const VALUES_LIMIT: usize = 1_000_000;

/// A series and its values, one an interval; `None` where nothing was scraped.
pub type Values = Vec<Option<f64>>;

/// Reads a whole line.
pub fn series(line: &str) -> Result<(Labels, Values), String> {
    let end = line.find('}').ok_or("a series has labels in braces")?;
    let labels = labels(&line[..end])?;
    let mut values = Values::new();
    for token in line[end + 1..].split_whitespace() {
        expand(token, &mut values).ok_or_else(|| format!("not a value: {token:?}"))?;
    }
    Ok((labels, values))
}

/// `name{a="b",c="d"`; values hold neither commas nor escapes.
fn labels(text: &str) -> Result<Labels, String> {
    let (name, pairs) = text.split_once('{').ok_or("a series has labels in braces")?;
    let mut found = vec![(METRIC_NAME, name)];
    for pair in pairs.split(',').filter(|pair| !pair.is_empty()) {
        let quoted = pair.split_once('=').and_then(|(name, value)| {
            let value = value.strip_prefix('"')?.strip_suffix('"')?;
            Some((name, value))
        });
        found.push(quoted.ok_or_else(|| format!("not a label: {pair:?}"))?);
    }
    Labels::from_pairs(found).map_err(|error| error.to_string())
}

/// One token: `a`, `axN` (N more of the same), `a+bxN`, `a-bxN`, `_`, `_xN` (N of them) or `stale`.
fn expand(token: &str, values: &mut Values) -> Option<()> {
    let (what, times) = match token.split_once('x') {
        Some((what, times)) => (what, Some(times.parse::<usize>().ok().filter(|n| *n <= VALUES_LIMIT)?)),
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

/// The answers of promtool 2.42.
#[test]
fn values_are_promtools() {
    let values = |text: &str| series(&format!("m{{a=\"b\"}} {text}")).unwrap().1;
    assert_eq!(values("1+2x3"), [1.0, 3.0, 5.0, 7.0].map(Some));
    assert_eq!(values("5-2x1 7x2 -3"), [5.0, 3.0, 7.0, 7.0, 7.0, -3.0].map(Some));
    assert_eq!(values("_ 1 _x2 2"), [None, Some(1.0), None, None, Some(2.0)]);
    assert_eq!(values("stale")[0].unwrap().to_bits(), STALE_NAN_BITS);
    for wrong in ["x", "1+x2", "1x", "stalex2", "a+1x1", "1+1"] {
        assert!(series(&format!("m{{}} {wrong}")).is_err(), "{wrong}");
    }
    assert!(series("m 1").is_err() && series("m{a=b} 1").is_err());
}
