//! Recording rules: a query's samples under another name and with more labels.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::promql::{Data, Query, Value, instant};
use crate::ruler::Ground;
use crate::spec::RuleLabels;
use crate::types::{Labels, METRIC_NAME, Timestamp};

/// A sample to be written.
pub(super) type Sample = (Arc<Labels>, Value);

/// The result of a rule's query: an instant vector, or a scalar as a sample without labels.
pub(super) fn query(query: &Query, at: Timestamp, ground: &Ground<'_>) -> Result<Vec<Sample>, String> {
    let output = instant(query, at, &ground.evaluation()).map_err(|error| error.to_string())?;
    match output.data {
        Data::Vector(samples) => Ok(samples.into_iter().map(|sample| (sample.labels, sample.value)).collect()),
        Data::Scalar(_, value) => Ok(vec![(Arc::default(), Value::Float(value))]),
        Data::String(..) | Data::Matrix(_) => Err("rule result is not a vector or scalar".to_owned()),
    }
}

/// What a recording rule gives.
pub(super) fn evaluate(
    name: &str,
    expr: &Query,
    labels: &RuleLabels,
    at: Timestamp,
    limit: u64,
    ground: &Ground<'_>,
) -> Result<Vec<Sample>, String> {
    let mut samples = query(expr, at, ground)?;
    let mut seen = BTreeSet::new();
    for (series, _) in &mut samples {
        let mut named = Labels::clone(series).with(METRIC_NAME, name);
        for (name, value) in labels {
            named.set(name, value);
        }
        *series = Arc::new(named);
        if !seen.insert(Arc::clone(series)) {
            return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
        }
    }
    let count = samples.len() as u64;
    if limit > 0 && count > limit {
        return Err(format!("exceeded limit of {limit} with {count} series"));
    }
    Ok(samples)
}
