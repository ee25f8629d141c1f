//! The kinds of SLI: `events`, `latency`, `probe`, `gauge` and `ratio`.

use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::selector::{histogram, selector};
use crate::spec::sum::sum;
use crate::spec::threshold::threshold;
use crate::spec::{Comparison, Condition, Counting, Events, Gauge, Latency, Numerator, SliKind};
use crate::spec::{lint, query};
use crate::types::Selector;

const KINDS: [&str; 5] = ["events", "latency", "probe", "gauge", "ratio"];

/// What an item of `slis` measures.
pub(crate) fn indicator(
    fields: &mut Fields<'_>,
    item: Field<'_>,
    (service, sli): (&str, &str),
    version: Option<&str>,
    reporter: &mut Reporter<'_>,
) -> Option<SliKind> {
    let given: Vec<_> = KINDS.into_iter().filter_map(|kind| Some((kind, fields.get(kind)?))).collect();
    match given[..] {
        [] => {
            let hint = "`events: {bad: ..., total: ...}`, `latency: {histogram: ..., threshold: 250ms}`, `probe: up{...}`, \
                        `gauge: {metric: ..., below: 100}` or `ratio: {error: ...}`";
            reporter.error(item.key, "the SLI says nothing to measure").hint(hint);
            None
        }
        [("events", field)] => events(field, (service, sli), version, reporter),
        [("ratio", field)] => query::ratio(service, sli, field, reporter).map(SliKind::Query),
        [("latency", field)] => latency(field, version, reporter).map(SliKind::Latency),
        [("probe", field)] => {
            let selector = selector(field, reporter)?;
            lint::gauge(&selector, field, version, reporter);
            Some(SliKind::Probe(selector))
        }
        [(_, field)] => gauge(field, version, reporter).map(SliKind::Gauge),
        [(first, _), (second, extra), ..] => {
            reporter.error(extra.key, format!("`{first}` and `{second}` are both given")).hint("make two SLIs of them");
            None
        }
    }
}

fn events(
    field: Field<'_>,
    (service, sli): (&str, &str),
    version: Option<&str>,
    reporter: &mut Reporter<'_>,
) -> Option<SliKind> {
    let mut fields = Fields::of(field, reporter)?;
    let (good, bad) = (fields.get("good"), fields.get("bad"));
    let total = fields.require("total");
    let by_query = query::is_query(good) || query::is_query(bad) || query::is_query(total);
    let every = if by_query { fields.get("every") } else { None };
    fields.finish(reporter);
    if by_query && let (Some(numerator), Some(total)) = (numerator(good, bad), total) {
        return query::events(service, sli, numerator, total, every, reporter).map(SliKind::Query);
    }
    let mut read = |field: Field<'_>| {
        let sum = sum(field, reporter)?;
        lint::sum(&sum, field, reporter);
        if let Some(label) = version {
            sum.summands().iter().for_each(|s| lint::version_label(&s.selector, field, label, reporter));
        }
        Some(sum)
    };
    let (good_read, bad_read) =
        if by_query { (None, None) } else { (good.and_then(&mut read), bad.and_then(&mut read)) };
    let total_read = total.filter(|_| !by_query).and_then(&mut read);
    match (good, bad) {
        (Some(_), Some(bad)) => {
            let hint = "keep one: the other is the difference to `total`";
            reporter.error(bad.key, "`good` and `bad` are both given").hint(hint);
        }
        (None, None) => {
            let hint = "say which events of `total` are good, or which are bad";
            reporter.error(field.key, "`good` or `bad` is missing in `events`").hint(hint);
        }
        _ => {}
    }
    let total_sum = total_read?;
    for (sum, field) in [(&good_read, good), (&bad_read, bad)] {
        if let (Some(sum), Some(field), Some(total)) = (sum, field, total) {
            lint::same_sums((sum, field), (&total_sum, total), reporter);
        }
    }
    let numerator = good_read.map(Numerator::Good).or(bad_read.map(Numerator::Bad))?;
    Some(SliKind::Events(Events { numerator, total: total_sum }))
}

/// The one of them that is given.
fn numerator<'n>(good: Option<Field<'n>>, bad: Option<Field<'n>>) -> Option<(Field<'n>, Counting)> {
    match (good, bad) {
        (Some(good), None) => Some((good, Counting::Good)),
        (None, Some(bad)) => Some((bad, Counting::Bad)),
        _ => None,
    }
}

fn latency(field: Field<'_>, version: Option<&str>, reporter: &mut Reporter<'_>) -> Option<Latency> {
    let mut fields = Fields::of(field, reporter)?;
    let histogram_field = fields.require("histogram");
    let threshold_field = fields.require("threshold");
    fields.finish(reporter);
    let histogram: Option<Selector> = histogram_field.and_then(|field| {
        let selector = histogram(field, reporter)?;
        if let Some(label) = version {
            lint::version_label(&selector, field, label, reporter);
        }
        Some(selector)
    });
    let metric = histogram.as_ref().and_then(Selector::metric_name).unwrap_or_default();
    let threshold = threshold_field.and_then(|field| threshold(field, metric, reporter));
    Some(Latency { threshold: threshold?, histogram: histogram? })
}

fn gauge(field: Field<'_>, version: Option<&str>, reporter: &mut Reporter<'_>) -> Option<Gauge> {
    let mut fields = Fields::of(field, reporter)?;
    let metric_field = fields.require("metric");
    let limits: Vec<_> = [
        ("below", Comparison::Below),
        ("atMost", Comparison::AtMost),
        ("above", Comparison::Above),
        ("atLeast", Comparison::AtLeast),
    ]
    .into_iter()
    .filter_map(|(name, is)| Some((name, is, fields.get(name)?)))
    .collect();
    fields.finish(reporter);
    let metric = metric_field.and_then(|field| {
        let selector = selector(field, reporter)?;
        lint::gauge(&selector, field, version, reporter);
        Some(selector)
    });
    let good = match limits[..] {
        [] => {
            let hint = "say which values are good: `below: 1000`, `atMost`, `above` or `atLeast`";
            reporter.error(field.key, "the gauge has no limit").hint(hint);
            None
        }
        [(_, is, field)] => field.number(reporter).map(|limit| Condition { is, limit }),
        [(first, ..), (second, _, extra), ..] => {
            let hint = "keep one; a band is two SLIs";
            reporter.error(extra.key, format!("`{first}` and `{second}` are both given")).hint(hint);
            None
        }
    };
    Some(Gauge { metric: metric?, good: good? })
}
