//! Which series the store keeps, and what happens to it as time passes.

use std::sync::Arc;

use crate::clock;
use crate::figures::{RECORDED_LIMIT_SERIES, Recorder};
use crate::live::EngineHandle;
use crate::ruler::Ruler;
use crate::spec::{QueryEvents, RuleGroup, Service};
use crate::store::{self, Earlier, Store};
use crate::types::{Selector, Span};

/// How often figures are recorded.
const RECORD_EVERY: Span = Span::seconds(15);
/// After so many times what is too old is dropped: to look for it takes as long as to take a scrape.
const EXPIRE_EVERY_RECORDS: usize = 4;

/// The store of a daemon.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Series kept besides those that the specs refer to.
    pub matches: Vec<Selector>,
    /// What SLIs count is kept, too, and not only what queries of specs and rules refer to.
    pub keeps_slis: bool,
    /// How long samples are kept.
    pub retention: Span,
    /// What all samples and labels may take.
    pub limit_bytes: usize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        let (retention, limit_bytes) = (store::DEFAULT_RETENTION, store::DEFAULT_LIMIT_BYTES);
        Self { matches: Vec::new(), keeps_slis: true, retention, limit_bytes }
    }
}

/// A store and what it is to keep whatever the specs say.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub store: Store,
    configured: Arc<[Selector]>,
    keeps_slis: bool,
}

impl Kept {
    /// A store as `settings` say, for the rest of which `parts` are made.
    pub fn new(settings: StoreSettings, parts: store::Settings, services: &[Service], groups: &[RuleGroup]) -> Self {
        let (configured, keeps_slis): (Arc<[_]>, _) = (settings.matches.into(), settings.keeps_slis);
        let parts = store::Settings {
            retention: settings.retention,
            limit_bytes: settings.limit_bytes,
            keeps_counted: keeps_slis,
            ..parts
        };
        let store = Store::new(parts, &selectors(&configured, keeps_slis, services, groups));
        Self { store, configured, keeps_slis }
    }

    /// For what the store of an earlier process would have kept by now. So many series are known by their wire keys.
    pub fn earlier(&self, services: &[Service], groups: &[RuleGroup], limit_series: usize) -> Earlier {
        Earlier::new(&self.store, &self.selectors(services, groups), limit_series)
    }

    /// Keeps what these specs refer to from now on.
    pub fn follow(&self, services: &[Service], groups: &[RuleGroup]) {
        self.store.watch(&self.selectors(services, groups));
    }

    fn selectors(&self, services: &[Service], groups: &[RuleGroup]) -> Vec<Selector> {
        selectors(&self.configured, self.keeps_slis, services, groups)
    }

    /// Records the engine's figures and drops what is too old, for ever. Holds a way to the engine.
    pub async fn tend(self, engine: EngineHandle) {
        engine.observer().running().await;
        let mut recorder = Recorder::default();
        let mut was_within = true;
        let mut interval = tokio::time::interval(RECORD_EVERY.to_std());
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for number in 0_usize.. {
            interval.tick().await;
            let (store, snapshot) = (self.store.clone(), engine.snapshot());
            let work = move || {
                let recorded = recorder.record(&snapshot, &store);
                if number.is_multiple_of(EXPIRE_EVERY_RECORDS) {
                    store.expire(clock::now());
                }
                (recorder, recorded.is_some())
            };
            let Ok((used, is_within)) = tokio::task::spawn_blocking(work).await else { return };
            recorder = used;
            if was_within && !is_within {
                tracing::warn!("over {RECORDED_LIMIT_SERIES} figures of SLOs: queries see the current ones only");
            }
            was_within = is_within;
        }
    }
}

/// Everything somebody may ask for: what the configuration names, and what specs and rules refer to. Canaries look at SLIs.
fn selectors(configured: &[Selector], keeps_slis: bool, services: &[Service], groups: &[RuleGroup]) -> Vec<Selector> {
    let mut selectors = configured.to_vec();
    for service in services {
        let queries = service.slis.iter().filter_map(|sli| sli.query()).flat_map(QueryEvents::queries);
        selectors.extend(queries.flat_map(|query| query.needed()).map(|needed| needed.selector));
        if keeps_slis {
            add_counted(service, &mut selectors);
        }
    }
    selectors.extend(Ruler::needed(groups).into_iter().map(|needed| needed.selector));
    selectors
}

/// What the SLIs of a service count, whole histograms for those of latency, and what excludes events.
fn add_counted(service: &Service, selectors: &mut Vec<Selector>) {
    for sli in service.slis.iter() {
        let inputs = sli.inputs();
        if let Some(latency) = &inputs.native {
            let base = latency.histogram.metric_name().unwrap_or_default();
            selectors.push(latency.histogram.clone());
            let parts = ["_bucket", "_count", "_sum"].map(|part| format!("{base}{part}"));
            selectors.extend(parts.iter().map(|name| latency.histogram.with_metric_name(name)));
        } else {
            selectors.extend(inputs.terms.into_iter().map(|term| term.selector));
        }
    }
    selectors.extend(service.slos.iter().flat_map(|slo| slo.signals().cloned()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Source, read};

    #[test]
    fn what_specs_refer_to_is_kept() {
        let text = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop}
spec:
  slis:
    - name: errors
      events: {bad: 'errors_total{job="shop"}', total: 'requests_total{job="shop"}'}
    - name: latency
      latency: {histogram: 'duration_seconds{job="shop"}', threshold: 250ms}
    - name: asked
      ratio: {error: 'avg(ratio)'}
  slos:
    - name: availability
      sli: errors
      objective: 99
      exclude: [{while: 'maintenance{job="shop"}', reason: planned}]
"#;
        let rules = "groups: [{name: g, rules: [{record: r, expr: 'rate(a[5m]) / b{x=\"1\"}'}]}]";
        let (specs, report) = read(&[Source::new("spec.yaml", text), Source::new("rules.yaml", rules)]);
        assert!(!report.has_errors(), "{}", report.render(false));
        let configured = [Selector::new(vec![crate::types::Matcher::equal("__name__", "up")])];
        let found = |keeps_slis: bool| -> Vec<String> {
            let selectors = selectors(&configured, keeps_slis, &specs.services, &specs.groups);
            // But for what an SLI by PromQL counts as.
            selectors.iter().map(Selector::to_string).filter(|text| !text.starts_with("sloburn_")).collect()
        };
        let expected = [
            "up",
            "ratio",
            "errors_total{job=\"shop\"}",
            "requests_total{job=\"shop\"}",
            "duration_seconds{job=\"shop\"}",
            "duration_seconds_bucket{job=\"shop\"}",
            "duration_seconds_count{job=\"shop\"}",
            "duration_seconds_sum{job=\"shop\"}",
            "maintenance{job=\"shop\"}",
            "a",
            "b{x=\"1\"}",
        ];
        assert_eq!(found(true), expected);
        assert_eq!(found(false), ["up", "ratio", "a", "b{x=\"1\"}"]);
    }
}
