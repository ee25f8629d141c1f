//! New specs under a running engine: what stays, what ends, what begins anew.

use sloburn::alert::AlertState;
use sloburn::engine::{Effects, Engine, Event, Reloaded, Settings, SloState};
use sloburn::spec::{Service, Source, parse};
use sloburn::types::{Span, Timestamp};
use sloburn::wire::{Batch, Limits, Sample, WireKey};

const START: Timestamp = Timestamp(1_790_000_000_000);
const BAD: &str = "requests_total{code=~\"5..\"}";

/// One service with one SLO; `slo` are further fields of it.
fn services(bad: &str, slo: &str) -> Vec<Service> {
    let text = format!(
        "apiVersion: sloburn/v1
kind: Service
metadata: {{name: shop}}
spec:
  slis: [{{name: errors, events: {{bad: '{bad}', total: requests_total}}}}]
  slos: [{{name: availability, sli: errors, {slo}}}]
"
    );
    let (services, report) = parse(&[Source::new("spec.yaml", text)]);
    assert!(!report.has_errors(), "\n{}", report.render(false));
    services
}

struct Shop {
    engine: Engine,
    now: Timestamp,
    good: f64,
    bad: f64,
}

impl Shop {
    fn new() -> Self {
        let key = WireKey::new([3; 192]);
        let settings = Settings { key, limits: Limits::default(), series_limit: 100 };
        let engine = Engine::new(&services(BAD, "objective: 99"), settings, START);
        Self { engine, now: START, good: 0.0, bad: 0.0 }
    }

    /// Serves for `minutes`, scraped four times a minute.
    fn serve(&mut self, minutes: i64, good: f64, bad: f64) -> Vec<AlertState> {
        let mut states = Vec::new();
        for _ in 0..minutes * 4 {
            self.now = self.now + Span::seconds(15);
            self.good += good / 4.0;
            self.bad += bad / 4.0;
            let mut batch = Batch::new();
            for (code, value) in [("200", self.good), ("500", self.bad)] {
                let labels = [("__name__", "requests_total"), ("code", code), ("instance", "a"), ("job", "shop")];
                batch.push(self.engine.key(), labels, &[Sample { timestamp: self.now, value }]);
            }
            let effects = self.engine.step(Event::Write(&batch), self.now);
            states.extend(effects.alerts.iter().map(|alert| alert.state));
        }
        states
    }

    fn reload(&mut self, services: &[Service]) -> Effects {
        self.engine.step(Event::Reload(services), self.now)
    }

    /// Bad and all events of the period, revision and state.
    fn figures(&mut self) -> (f64, f64, u32, SloState) {
        let slo = self.engine.snapshot(self.now).slos[0].clone();
        (slo.budget.events.bad, slo.budget.events.total, slo.revision, slo.state)
    }
}

#[test]
fn history_survives_everything_but_another_selector() {
    for slo in [
        "objective: 99.5",
        "objective: 99, labels: {team: payments}",
        "objective: 99, alerting: {page: {annotations: {runbook_url: 'https://example.com'}}}",
        "objective: 99, period: 7d",
        "objective: 99, period: 90d",
    ] {
        let mut shop = Shop::new();
        shop.serve(60, 400.0, 4.0);
        let before = shop.figures();
        assert_eq!(before, (4.0 * 60.0 - 1.0, 404.0 * 60.0 - 101.0, 1, SloState::Warming));
        let effects = shop.reload(&services(BAD, slo));
        assert_eq!(effects.reloaded, Reloaded::default(), "{slo}");
        assert_eq!(shop.figures(), before, "{slo}");
        // Nothing is counted twice, and no series is taken for new.
        shop.serve(1, 400.0, 4.0);
        let (bad, total, ..) = shop.figures();
        assert_eq!((bad, total), (before.0 + 4.0, before.1 + 404.0), "{slo}");
    }
    let mut shop = Shop::new();
    shop.serve(60, 400.0, 4.0);
    let effects = shop.reload(&services("requests_total{code=\"503\"}", "objective: 99"));
    assert_eq!(effects.reloaded.restarted, ["shop/availability"]);
    assert_eq!(shop.figures(), (0.0, 0.0, 2, SloState::NoData));
    shop.serve(1, 400.0, 4.0);
    assert_eq!(shop.figures(), (0.0, 404.0, 2, SloState::Warming));
}

#[test]
fn alerts_go_on_unless_their_identity_changes() {
    let mut shop = Shop::new();
    shop.serve(60, 400.0, 0.0);
    assert!(shop.serve(30, 200.0, 200.0).contains(&AlertState::Firing));
    assert!(shop.reload(&services(BAD, "objective: 99, description: other words")).alerts.is_empty());
    let renamed = shop.reload(&services(BAD, "objective: 99, labels: {team: payments}")).alerts;
    let (resolved, firing): (Vec<_>, Vec<_>) = renamed.iter().partition(|a| a.state == AlertState::Resolved);
    assert!(!resolved.is_empty() && resolved.len() == firing.len(), "{renamed:?}");
    assert!(resolved.iter().all(|alert| alert.rule.labels.get("team").is_none()));
    assert!(firing.iter().all(|alert| alert.rule.labels.get("team") == Some("payments")));
    assert!(resolved.iter().zip(&firing).all(|(a, b)| a.fired_at == b.fired_at), "startsAt stays");
    let ended = shop.reload(&[]);
    assert_eq!(ended.reloaded.removed, ["shop/availability"]);
    assert_eq!(ended.alerts.len(), resolved.len());
    assert!(ended.alerts.iter().all(|alert| alert.state == AlertState::Resolved));
}

#[test]
fn a_service_that_falls_silent_after_a_reload_has_no_data() {
    let mut shop = Shop::new();
    shop.serve(60, 400.0, 4.0);
    shop.reload(&services(BAD, "objective: 99.5"));
    shop.engine.step(Event::Review, shop.now + Span::minutes(4));
    assert_eq!(shop.figures().3, SloState::Warming);
    shop.engine.step(Event::Review, shop.now + Span::minutes(6));
    assert_eq!(shop.figures().3, SloState::NoData);
}
