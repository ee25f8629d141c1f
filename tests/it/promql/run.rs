//! Runs a script against the evaluator and compares what it gives with what it should give.

use std::sync::Arc;

use sloburn::promql::{
    Data, EvalLimits, Evaluation, FloatHistogram, Output, ParseLimits, Query, Series, Value, VectorSample, instant,
    is_stale, range,
};
use sloburn::types::{Labels, Span, Timestamp};

use super::memory::{Memory, classic_as_native};
use super::notation::Item;
use super::script::{Command, Eval, Kind, Load};

/// Values may differ by this share of their sum.
const TOLERANCE: f64 = 1e-6;

/// How one case went.
pub enum Verdict {
    Passed,
    Failed(String),
    /// The query cannot be read.
    Unsupported(String),
}

/// One case.
pub struct Case {
    pub line: usize,
    pub query: String,
    pub verdict: Verdict,
}

/// Runs all commands.
pub fn run(commands: &[Command]) -> Vec<Case> {
    let mut memory = Memory::default();
    let mut cases = Vec::new();
    for command in commands {
        match &command.kind {
            Kind::Clear => memory = Memory::default(),
            Kind::Load(load) => fill(&mut memory, load),
            Kind::Eval(eval) => {
                let verdict = judge(eval, &memory);
                cases.push(Case { line: command.line, query: eval.query.clone(), verdict });
            }
        }
    }
    cases
}

fn fill(memory: &mut Memory, load: &Load) {
    let mut loaded = Vec::new();
    for (n, series) in load.series.iter().enumerate() {
        if load.series[n + 1..].iter().any(|later| later.labels == series.labels) {
            // A later line for the same series takes its place.
            continue;
        }
        let mut floats = Vec::new();
        for (i, item) in series.items.iter().enumerate() {
            let at = load.step.0 * i as i64;
            let Some(value) = &item.value else { continue };
            if let Value::Float(value) = value {
                floats.push((at, *value));
            }
            let start = series.starts.get(i).copied().flatten().map(|offset| at + offset);
            memory.push(&series.labels, at, start, value.clone());
        }
        loaded.push((series.labels.clone(), floats));
    }
    if load.as_native {
        for (labels, at, histogram) in classic_as_native(&loaded) {
            memory.push(&labels, at, None, Value::Histogram(Arc::new(histogram)));
        }
    }
}

pub fn evaluation(memory: &Memory) -> Evaluation<'_> {
    Evaluation {
        storage: memory,
        lookback: Span::minutes(5),
        subquery_step: Span::minutes(1),
        limits: EvalLimits::default(),
        should_stop: &|| false,
    }
}

fn judge(eval: &Eval, memory: &Memory) -> Verdict {
    let query = match Query::parse(&eval.query, &ParseLimits::default()) {
        Ok(query) => query,
        Err(error) if eval.fail.as_ref().is_some_and(|text| text.fits(&error.message)) => return Verdict::Passed,
        Err(error) => return Verdict::Unsupported(error.to_string()),
    };
    match evaluate_all(eval, &query, memory) {
        Ok(()) => Verdict::Passed,
        Err(reason) => Verdict::Failed(reason),
    }
}

fn evaluate_all(eval: &Eval, query: &Query, memory: &Memory) -> Result<(), String> {
    let setup = evaluation(memory);
    if let Some((from, to, step)) = eval.range {
        let output = range(query, Timestamp(from.0), Timestamp(to.0), step, &setup);
        let Some(output) = expect_failure(eval, output.map_err(|e| e.to_string()))? else { return Ok(()) };
        check_notes(eval, &output)?;
        return compare(eval, &output.data, (from, step));
    }
    // At its time; and with every selector pinned to that time, at other times.
    let mut variants = vec![(query.clone(), eval.at)];
    if let Some(pinned) = query.pinned(Timestamp(eval.at.0)) {
        let others = [-10 * eval.at.0, 0, eval.at.0 / 5, eval.at.0, 10 * eval.at.0, -1000, 1000];
        variants.extend(others.into_iter().map(|at| (pinned.clone(), Span(at))));
    }
    for (query, at) in &variants {
        let context = |reason: String| format!("at {}: {reason}", at.0);
        let output = instant(query, Timestamp(at.0), &setup).map_err(|e| e.to_string());
        let Some(output) = expect_failure(eval, output).map_err(context)? else { continue };
        check_notes(eval, &output).map_err(context)?;
        let points = eval.points.map_or((*at, Span::minutes(1)), |(from, _, step)| (from, step));
        compare(eval, &output.data, points).map_err(context)?;
        let depends_on_query = ["start()", "end()", "range()", "step()"].iter().any(|f| eval.query.contains(f));
        if eval.points.is_some() || eval.string.is_some() || depends_on_query {
            continue;
        }
        let minute = Span::minutes(1);
        let (from, to) = (Timestamp(at.0 - minute.0), Timestamp(at.0 + minute.0));
        let output = range(query, from, to, minute, &setup).map_err(|e| context(format!("in range mode: {e}")))?;
        if !eval.ordered {
            let data = at_moment(&output.data, Timestamp(at.0), eval.scalar.is_some())?;
            compare(eval, &data, (*at, minute)).map_err(|e| context(format!("in range mode: {e}")))?;
        }
    }
    Ok(())
}

/// The samples of a range query's result at one moment.
fn at_moment(data: &Data, at: Timestamp, is_scalar: bool) -> Result<Data, String> {
    let Data::Matrix(series) = data else { return Err("a range query did not give a matrix".to_owned()) };
    let mut samples = Vec::new();
    for one in series {
        let float = one.floats.iter().find(|(t, _)| *t == at).map(|(_, v)| Value::Float(*v));
        let histogram = one.histograms.iter().find(|(t, _)| *t == at).map(|(_, h)| Value::Histogram(Arc::clone(h)));
        if let Some(value) = float.or(histogram) {
            samples.push(VectorSample { labels: Arc::clone(&one.labels), at, value });
        }
    }
    match samples.first() {
        Some(VectorSample { value: Value::Float(value), .. }) if is_scalar => Ok(Data::Scalar(at, *value)),
        _ => Ok(Data::Vector(samples)),
    }
}

/// The output, or nothing where a failure was expected and came.
fn expect_failure(eval: &Eval, output: Result<Output, String>) -> Result<Option<Output>, String> {
    match (output, &eval.fail) {
        (Ok(output), None) => Ok(Some(output)),
        (Ok(_), Some(_)) => Err("expected a failure".to_owned()),
        (Err(error), Some(text)) if text.fits(&error) => Ok(None),
        (Err(error), _) => Err(error),
    }
}

fn check_notes(eval: &Eval, output: &Output) -> Result<(), String> {
    for (name, expected, none, found) in
        [("warning", &eval.warn, eval.no_warn, &output.warnings), ("info", &eval.info, eval.no_info, &output.infos)]
    {
        if none && !found.is_empty() {
            return Err(format!("unexpected {name}: {found:?}"));
        }
        if expected.is_empty() {
            continue;
        }
        let all_come = expected.iter().all(|text| found.iter().any(|message| text.fits(message)));
        let all_fit = found.iter().all(|message| expected.iter().any(|text| text.fits(message)));
        if !all_come || !all_fit {
            return Err(format!("other {name}s than expected: {found:?}"));
        }
    }
    Ok(())
}

fn compare(eval: &Eval, data: &Data, (start, step): (Span, Span)) -> Result<(), String> {
    match data {
        Data::String(_, text) if eval.string.as_deref() == Some(text) => Ok(()),
        Data::Scalar(_, value) => match eval.scalar {
            Some(expected) if same_float(expected, *value) => Ok(()),
            expected => Err(format!("expected {expected:?}, got scalar {value}")),
        },
        Data::Vector(samples) if eval.scalar.is_none() => compare_vector(eval, samples),
        Data::Matrix(series) if eval.scalar.is_none() => compare_matrix(eval, series, start, step),
        other => Err(format!("expected another type than {other:?}")),
    }
}

fn compare_vector(eval: &Eval, samples: &[VectorSample]) -> Result<(), String> {
    // A series expected twice counts once, with its last values.
    let expected_at = |labels: &Labels| eval.series.iter().rposition(|(l, _)| l == labels);
    for (position, sample) in samples.iter().enumerate() {
        let found = text_of(&sample.value);
        let Some(at) = expected_at(&sample.labels) else {
            return Err(format!("unexpected {} {found}", sample.labels));
        };
        if eval.ordered && at != position {
            return Err(format!("{} is at position {position} instead of {at}", sample.labels));
        }
        let item = &eval.series[at].1[0];
        if !item.value.as_ref().is_some_and(|expected| same(expected, &sample.value, item.has_hint)) {
            let expected = item.value.as_ref().map(text_of);
            return Err(format!("{}: expected {expected:?}, got {found}", sample.labels));
        }
    }
    match eval.series.iter().find(|(labels, _)| !samples.iter().any(|s| *s.labels == *labels)) {
        Some((labels, _)) => Err(format!("missing {labels}")),
        None => Ok(()),
    }
}

fn compare_matrix(eval: &Eval, series: &[Series], start: Span, step: Span) -> Result<(), String> {
    if !series.is_sorted_by(|a, b| a.labels <= b.labels) {
        return Err("series are not sorted".to_owned());
    }
    for one in series {
        let Some((_, items)) = eval.series.iter().rfind(|(labels, _)| *labels == *one.labels) else {
            return Err(format!("unexpected {} {:?}", one.labels, one.floats));
        };
        let time = |i: usize| Timestamp(start.0 + step.0 * i as i64);
        let mut found = Vec::new();
        found.extend(one.floats.iter().map(|(at, v)| (*at, Value::Float(*v))));
        found.extend(one.histograms.iter().map(|(at, h)| (*at, Value::Histogram(Arc::clone(h)))));
        found.sort_by_key(|(at, _)| *at);
        let expected: Vec<(Timestamp, &Item)> = items
            .iter()
            .enumerate()
            .filter(|(_, item)| item.value.is_some())
            .map(|(i, item)| (time(i), item))
            .collect();
        let fits = found.len() == expected.len()
            && found.iter().zip(&expected).all(|((at, value), (wanted_at, item))| {
                at == wanted_at && item.value.as_ref().is_some_and(|wanted| same(wanted, value, item.has_hint))
            });
        if !fits {
            let found: Vec<String> = found.iter().map(|(at, v)| format!("{}@{}", text_of(v), at.0)).collect();
            return Err(format!("{}: got {}", one.labels, found.join(" ")));
        }
    }
    match eval.series.iter().find(|(labels, _)| !series.iter().any(|s| *s.labels == *labels)) {
        Some((labels, _)) => Err(format!("missing {labels}")),
        None => Ok(()),
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Float(value) => value.to_string(),
        Value::Histogram(histogram) => format!("{:?} {histogram}", histogram.reset_hint),
    }
}

fn same(expected: &Value, found: &Value, compares_hint: bool) -> bool {
    match (expected, found) {
        (Value::Float(expected), Value::Float(found)) => same_float(*expected, *found),
        (Value::Histogram(expected), Value::Histogram(found)) => {
            same_histogram(expected, found) && (!compares_hint || expected.reset_hint == found.reset_hint)
        }
        _ => false,
    }
}

fn same_histogram(expected: &FloatHistogram, found: &FloatHistogram) -> bool {
    let (expected, found) = (expected.clone().compacted(), found.clone().compacted());
    let buckets = |a: &[sloburn::promql::Bucket], b: &[sloburn::promql::Bucket]| {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.index == b.index && same_float(a.count, b.count))
    };
    expected.schema == found.schema
        && same_float(expected.count, found.count)
        && same_float(expected.sum, found.sum)
        && expected.bounds() == found.bounds()
        && expected.zero_threshold == found.zero_threshold
        && same_float(expected.zero_count, found.zero_count)
        && buckets(&expected.positive, &found.positive)
        && buckets(&expected.negative, &found.negative)
}

fn same_float(a: f64, b: f64) -> bool {
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}
