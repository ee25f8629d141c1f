//! `GET /metrics`: the daemon about itself.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::api::ApiState;
use crate::engine::SloState;
use crate::evaluation::Groups;
use crate::live::JournalStatus;
use crate::notify::ReceiverStatus;
use crate::ruler::GroupView;
use crate::store::Stats;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Requests {
    handler: String,
    code: u16,
}

/// Counters the HTTP side keeps itself; everything else is read from where it lives when asked for.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Family<Requests, Counter>,
}

/// Counts a request by the route it matched and its answer.
pub(super) async fn count_requests(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    // The route, not the path: a scanner must not make a series for every path it tries.
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let response = next.run(request).await;
    metrics.requests.get_or_create(&Requests { handler: route, code: response.status().as_u16() }).inc();
    response
}

/// Reads everything at the moment of the scrape.
#[derive(Debug)]
struct Reader(ApiState);

impl Collector for Reader {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let state = &self.0;
        let snapshot = state.engine.snapshot();
        let stats = &snapshot.stats;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        family(&mut encoder, "build_info", "The running version", &[(&version[..], ConstGauge::new(1_u64))])?;
        let gauges = [
            ("series", "Series tracked", stats.series),
            ("wire_keys", "Label hashes remembered, ignored series included", stats.wire_keys),
            ("ingest_queue_requests", "Decoded requests that wait for the engine", state.engine.queued()),
            ("ingest_reserved_bytes", "Bytes reserved by requests at hand", state.receiver.reserved_bytes()),
        ];
        for (name, help, value) in gauges {
            single(&mut encoder, name, help, &ConstGauge::new(value as u64))?;
        }
        single(&mut encoder, "ingest_samples", "Samples taken", &ConstCounter::new(stats.samples))?;
        let histograms = ConstCounter::new(stats.histograms);
        single(&mut encoder, "ingest_histograms", "Native histograms taken", &histograms)?;
        let rejected: Vec<_> =
            stats.rejected.iter().map(|(reason, count)| ([("reason", *reason)], ConstCounter::new(*count))).collect();
        family(&mut encoder, "ingest_rejected_samples", "Samples refused, by reason", &rejected)?;
        let refused = ConstCounter::new(stats.groups_refused_series);
        let help = "Series of groups over the limit of an SLO, which count for none";
        single(&mut encoder, "groups_refused_series", help, &refused)?;
        let help = "Samples of replicas that were not listened to, as the other one of the pair was";
        single(&mut encoder, "ingest_replica_samples", help, &ConstCounter::new(stats.replica_samples))?;
        let in_state = |wanted: SloState| snapshot.slos.iter().filter(|slo| slo.state == wanted).count();
        let states = SloState::ALL.map(|s| ([("state", s.as_str())], ConstGauge::new(in_state(s) as u64)));
        family(&mut encoder, "slos", "SLOs by state", &states)?;
        let firing = snapshot.slos.iter().flat_map(|slo| slo.alerts()).count();
        let groups = state.rules.groups();
        let firing = firing + groups.iter().flat_map(|group| &group.rules).map(|rule| rule.alerts.len()).sum::<usize>();
        single(&mut encoder, "alerts", "Alerts pending or firing", &ConstGauge::new(firing as u64))?;
        store(&mut encoder, &state.querier.store.stats())?;
        let running = ConstGauge::new(state.querier.running() as u64);
        single(&mut encoder, "queries_running", "Queries evaluated now", &running)?;
        journal(&mut encoder, &state.engine.journal())?;
        rule_groups(&mut encoder, &groups)?;
        let reload = state.reload.last();
        let successful = ConstGauge::new(u64::from(reload.error.is_none()));
        single(&mut encoder, "config_last_reload_successful", "Whether the rule files are in force", &successful)?;
        let seconds = ConstGauge::new(reload.succeeded_at.as_millis() as f64 / 1_000.0);
        let help = "When rule files were last taken";
        single(&mut encoder, "config_last_reload_success_timestamp_seconds", help, &seconds)?;
        let unstored = ConstGauge::new(u64::from(state.notifier.outbox_failure().is_some()));
        single(
            &mut encoder,
            "notify_unstored",
            "1 when alerts and verdicts are sent without being stored first",
            &unstored,
        )?;
        receivers(&mut encoder, &state.notifier.status())
    }
}

fn store(encoder: &mut DescriptorEncoder<'_>, stats: &Stats) -> Result<(), std::fmt::Error> {
    let gauges = [
        ("store_series", "Series whose samples are kept for queries", stats.series),
        ("store_bytes", "What samples kept for queries take, labels included", stats.used_bytes),
        ("store_limit_bytes", "What they may take", stats.limit_bytes),
    ];
    for (name, help, value) in gauges {
        single(encoder, name, help, &ConstGauge::new(value as u64))?;
    }
    single(encoder, "store_samples", "Samples kept for queries", &ConstCounter::new(stats.floats))?;
    single(encoder, "store_histograms", "Native histograms kept for queries", &ConstCounter::new(stats.histograms))?;
    single(
        encoder,
        "store_refused_series",
        "How often the store was too full for a new series",
        &ConstCounter::new(stats.refused_series),
    )?;
    let dropped = [
        ("duplicate", stats.duplicates),
        ("evicted", stats.evicted),
        ("expired", stats.expired),
        ("out_of_order", stats.late),
        ("untimely", stats.untimely),
    ];
    let dropped = dropped.map(|(reason, count)| ([("reason", reason)], ConstCounter::new(count)));
    family(encoder, "store_dropped_samples", "Samples not or no longer kept for queries, by reason", &dropped)
}

/// Reads one figure of a rule group.
type GroupFigure = fn(&GroupView) -> u64;

/// Figures of rule groups, with Prometheus' label.
fn rule_groups(encoder: &mut DescriptorEncoder<'_>, groups: &Groups) -> Result<(), std::fmt::Error> {
    let label = |group: &GroupView| [("rule_group", format!("{};{}", group.file, group.name))];
    let counters: [(&str, &str, GroupFigure); 4] = [
        ("rule_group_iterations", "Slots of a rule group, missed ones included", |group| group.iterations),
        ("rule_group_iterations_missed", "Slots that passed while an evaluation took too long", |group| group.missed),
        ("rule_evaluations", "Evaluations of rules", |group| group.rules.iter().map(|rule| rule.evaluations).sum()),
        ("rule_evaluation_failures", "Evaluations of rules that failed", |group| {
            group.rules.iter().map(|rule| rule.failures).sum()
        }),
    ];
    for (name, help, figure) in counters {
        let values: Vec<_> = groups.iter().map(|group| (label(group), ConstCounter::new(figure(group)))).collect();
        family(encoder, name, help, &values)?;
    }
    let took: Vec<_> =
        groups.iter().map(|group| (label(group), ConstGauge::new(group.evaluation_time.as_secs_f64()))).collect();
    family(encoder, "rule_group_last_duration_seconds", "What the last evaluation of a rule group took", &took)
}

fn journal(encoder: &mut DescriptorEncoder<'_>, journal: &JournalStatus) -> Result<(), std::fmt::Error> {
    if !journal.enabled {
        return Ok(());
    }
    let counters = [
        ("journal_records", "Records ever written to the journal", journal.next_sequence),
        ("journal_written_bytes", "Bytes of requests written to the journal since the start", journal.written_bytes),
        ("journal_refused_requests", "Requests refused for want of room on the disk", journal.refused_requests),
        ("journal_failed_checkpoints", "Checkpoints that could not be made", journal.failed_checkpoints),
    ];
    for (name, help, value) in counters {
        single(encoder, name, help, &ConstCounter::new(value))?;
    }
    let checkpoint = journal.checkpoint;
    let lost = journal.gaps.iter().map(|gap| gap.records).sum();
    let gauges = [
        ("journal_read_only", "1 while there is no room on the disk", u64::from(journal.read_only.is_some())),
        ("journal_lost_records", "Records found missing or damaged", lost),
        ("journal_checkpoint_records", "Records in the latest checkpoint", checkpoint.map_or(0, |c| c.sequence)),
        ("journal_checkpoint_bytes", "Size of the latest checkpoint", checkpoint.map_or(0, |c| c.bytes)),
    ];
    for (name, help, value) in gauges {
        single(encoder, name, help, &ConstGauge::new(value))?;
    }
    let seconds = ConstGauge::new(checkpoint.map_or(0.0, |c| c.took_millis as f64 / 1_000.0));
    single(encoder, "journal_checkpoint_duration_seconds", "What making the latest checkpoint took", &seconds)
}

/// Reads one figure of a receiver.
type Figure = fn(&ReceiverStatus) -> u64;

fn receivers(encoder: &mut DescriptorEncoder<'_>, status: &[ReceiverStatus]) -> Result<(), std::fmt::Error> {
    let labels = |r: &ReceiverStatus| [("kind", r.kind.as_str().to_owned()), ("receiver", r.name.clone())];
    let counters: [(&str, &str, Figure); 4] = [
        ("notify_sent_alerts", "Alerts and messages a receiver took, repetitions included", |r| r.sent),
        ("notify_failed_attempts", "Attempts that failed", |r| r.failed),
        ("notify_dropped_alerts", "Alerts and messages that had to go for newer ones", |r| r.dropped),
        ("notify_dead_letters", "Messages given up", |r| r.dead_letters),
    ];
    for (name, help, read) in counters {
        let values: Vec<_> = status.iter().map(|r| (labels(r), ConstCounter::new(read(r)))).collect();
        family(encoder, name, help, &values)?;
    }
    let queued: Vec<_> = status.iter().map(|r| (labels(r), ConstGauge::new(r.queued as u64))).collect();
    family(encoder, "notify_queued_alerts", "Alerts and messages a receiver has not taken yet", &queued)?;
    let disabled: Vec<_> = status.iter().map(|r| (labels(r), ConstGauge::new(u64::from(r.disabled)))).collect();
    family(encoder, "notify_receiver_disabled", "1 after a receiver answered 410", &disabled)
}

/// Writes a metric without labels.
fn single(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    metric: &impl EncodeMetric,
) -> Result<(), std::fmt::Error> {
    metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
}

/// Writes all values of one metric.
fn family<L: EncodeLabelSet, M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: &[(L, M)],
) -> Result<(), std::fmt::Error> {
    let kind = values.first().map_or(MetricType::Gauge, |(_, metric)| metric.metric_type());
    if values.is_empty() {
        return Ok(());
    }
    let mut descriptor = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, metric) in values {
        metric.encode(descriptor.encode_family(labels)?)?;
    }
    Ok(())
}

/// OpenMetrics for those that ask for it, as Prometheus does; Prometheus' older text format for all others.
pub(super) async fn show(State(state): State<ApiState>, headers: HeaderMap) -> Response {
    let mut registry = Registry::with_prefix("sloburn");
    registry.register("http_requests", "HTTP requests by route and answer", state.metrics.requests.clone());
    registry.register_collector(Box::new(Reader(state)));
    let mut text = String::new();
    if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &registry) {
        return (axum::http::StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response();
    }
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (kind, text) = if accepted.into_iter().any(|value| value.contains(OPENMETRICS)) {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", classic(&text))
    };
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], text).into_response()
}

const OPENMETRICS: &str = "application/openmetrics-text";

/// The older format: what is said of a counter names it with its `_total`, and nothing marks the end.
fn classic(openmetrics: &str) -> String {
    let mut text = String::with_capacity(openmetrics.len());
    let mut lines = openmetrics.lines().filter(|line| *line != "# EOF").peekable();
    while let Some(line) = lines.next() {
        // The help comes right before the type.
        let kind = if line.starts_with("# HELP ") { lines.peek().copied().unwrap_or_default() } else { line };
        let of_counter = kind.starts_with("# TYPE ") && kind.ends_with(" counter");
        match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
            ["#", word, name, rest] if of_counter => text.extend(["# ", word, " ", name, "_total ", rest]),
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::classic;

    #[test]
    fn the_older_format_names_counters_in_full() {
        let openmetrics = "# HELP a Help of a.\n# TYPE a counter\na_total{x=\"y z\"} 1\n\
                           # HELP b Is no counter\n# TYPE b gauge\nb 2\n# EOF\n";
        let expected = "# HELP a_total Help of a.\n# TYPE a_total counter\na_total{x=\"y z\"} 1\n\
                        # HELP b Is no counter\n# TYPE b gauge\nb 2\n";
        assert_eq!(classic(openmetrics), expected);
    }
}
