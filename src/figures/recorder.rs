//! The history of figures: sampled into the store.

use std::collections::BTreeSet;

use crate::engine::Snapshot;
use crate::figures;
use crate::promql::STALE;
use crate::store::Store;
use crate::types::{Labels, Timestamp};

/// With more figures than this none is recorded: they would push the samples of others out of the store. Queries see
/// the current ones all the same.
pub const RECORDED_LIMIT_SERIES: usize = 50_000;

/// Samples figures into a store.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Those of the last time, to end the ones that vanish.
    live: BTreeSet<Labels>,
    last: Option<Timestamp>,
}

impl Recorder {
    /// Takes one sample of each figure; how many, or nothing if they are too many.
    pub fn record(&mut self, snapshot: &Snapshot, store: &Store) -> Option<usize> {
        if self.last.is_some_and(|last| snapshot.at <= last) {
            return Some(0);
        }
        self.last = Some(snapshot.at);
        let mut found = Vec::new();
        figures::each(snapshot, &[], |labels, value| {
            if found.len() <= RECORDED_LIMIT_SERIES {
                found.push((labels, value));
            }
        });
        let is_within = found.len() <= RECORDED_LIMIT_SERIES;
        if !is_within {
            found.clear();
        }
        let count = found.len();
        let mut live = BTreeSet::new();
        for (labels, value) in found {
            store.append_own(&labels, snapshot.at, value);
            self.live.remove(&labels);
            live.insert(labels);
        }
        for labels in &self.live {
            store.append_own(labels, snapshot.at, STALE);
        }
        self.live = live;
        is_within.then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;
    use std::sync::Arc;

    use super::*;
    use crate::engine::{Engine, Event, Settings};
    use crate::figures::Queryable;
    use crate::promql::{Selection, Storage};
    use crate::spec::{Source, parse};
    use crate::store;
    use crate::types::{METRIC_NAME, Matcher, Span};
    use crate::wire::{Batch, Limits, Sample, WireKey};

    const SPEC: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop, labels: {team: web}}
spec:
  slis:
    - name: errors
      events: {bad: 'requests_total{code="500"}', total: 'requests_total'}
  slos:
    - {name: availability, sli: errors, objective: 99}
"#;

    const KEY: WireKey = WireKey::new([3; crate::wire::WIRE_KEY_SIZE_BYTES]);

    fn at(seconds: i64) -> Timestamp {
        Timestamp(1_800_000_000_000 + seconds * 1_000)
    }

    fn engine() -> Engine {
        let (services, _) = parse(&[Source::new("spec.yaml", SPEC)]);
        let settings = Settings { key: KEY, limits: Limits::default(), series_limit: 100, ha: None };
        Engine::new(&services, settings, at(0))
    }

    /// Ten requests a second, so many of them failed.
    fn run(engine: &mut Engine, from: i64, to: i64, failed: i64, counts: &mut (i64, i64)) {
        for second in (from..to).step_by(10) {
            counts.0 += 100;
            counts.1 += failed * 10;
            let mut batch = Batch::new();
            for (code, value) in [("200", counts.0), ("500", counts.1)] {
                let labels = [(METRIC_NAME, "requests_total"), ("code", code)];
                batch.push(&KEY, labels, &[Sample { timestamp: at(second), value: value as f64 }]);
            }
            engine.step(Event::Write(&batch), at(second));
        }
        engine.step(Event::Tick, at(to + 10));
    }

    fn value_of(storage: &dyn Storage, name: &str) -> Vec<(String, Vec<(i64, String)>)> {
        let matchers = [Matcher::equal(METRIC_NAME, name)];
        let selection = Selection { matchers: &matchers, after: Timestamp(0), until: Timestamp(i64::MAX) };
        let mut found = Vec::new();
        let mut visit = |series: crate::promql::SeriesView<'_>| {
            let samples = series.floats.iter().map(|s| (s.at.since(at(0)).0 / 1_000, s.value.to_string())).collect();
            found.push((series.labels.clone().as_ref().clone().with(METRIC_NAME, "").to_string(), samples));
            ControlFlow::Continue(())
        };
        storage.select(&selection, &mut visit).unwrap();
        found
    }

    #[test]
    fn figures_have_sloths_names_and_a_history() {
        let (mut engine, mut counts) = (engine(), (0, 0));
        let store = Store::new(store::Settings::new(KEY), &[]);
        let mut recorder = Recorder::default();
        run(&mut engine, 0, 3_600, 1, &mut counts);
        let first = Arc::new(engine.snapshot(at(3_620)));
        let recorded = recorder.record(&first, &store).unwrap();
        assert!(recorded > 10, "{recorded}");
        assert_eq!(recorder.record(&first, &store), Some(0), "the same snapshot");
        run(&mut engine, 3_630, 3_900, 10, &mut counts);
        let second = Arc::new(engine.snapshot(at(3_920)));
        let queryable = Queryable::new(store.clone(), Arc::clone(&second));
        let identity = "sloth_id=\"shop-availability\",sloth_service=\"shop\",sloth_slo=\"availability\"";
        let objective = value_of(&queryable, "slo:objective:ratio");
        let samples = vec![(3_620, "0.99".to_owned()), (3_920, "0.99".to_owned())];
        assert_eq!(objective, [(format!("{{{identity},team=\"web\"}}"), samples)]);
        let alerts = value_of(&queryable, "ALERTS");
        assert!(
            !alerts.is_empty() && alerts.iter().all(|(labels, _)| labels.contains("alertstate=\"firing\"")),
            "{alerts:?}"
        );
        assert_eq!(value_of(&queryable, "ALERTS_FOR_STATE").len(), alerts.len());
        let [(labels, ratio)] = &value_of(&queryable, "slo:sli_error:ratio_rate5m")[..] else { panic!("one series") };
        assert!(labels.contains("sloth_window=\"5m\""), "{labels}");
        let view = &second.slos[0];
        let window = view.windows.iter().find(|window| window.span == Span::minutes(5)).unwrap();
        assert_eq!(ratio[1].1, (window.events.bad / window.events.total).to_string());
        let burn: f64 = value_of(&queryable, "slo:current_burn_rate:ratio")[0].1[1].1.parse().unwrap();
        let rate: f64 = ratio[1].1.parse().unwrap();
        assert!((burn - rate / 0.01).abs() < 1e-9);
        let remaining: f64 = value_of(&queryable, "slo:period_error_budget_remaining:ratio")[0].1[1].1.parse().unwrap();
        assert_eq!(Some(remaining), view.budget.remaining);
        assert_eq!(value_of(&queryable, "sloth_slo_info").len(), 1);
        assert_eq!(value_of(&queryable, "slo:sli_error:ratio_rate30d").len(), 1);
        recorder.record(&second, &store).unwrap();
        // Nothing fails for an hour: the alerts end, and so do their series.
        run(&mut engine, 3_930, 7_800, 0, &mut counts);
        recorder.record(&engine.snapshot(at(7_820)), &store).unwrap();
        let [(_, last), ..] = &value_of(&store, "ALERTS")[..] else { panic!("they were recorded") };
        assert_eq!(last.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [3_920, 7_820]);
        assert_eq!(last[1].1, "NaN");
    }
}
