//! Samples for tests that talk to a running daemon: its clock is the real one, so its past is made up.

use sloburn::clock;
use sloburn::types::Timestamp;
use sloburn::wire::proto::TimeSeries;

/// A service `shop` with one SLO of 99.9 %.
pub const SHOP: &str = r#"
apiVersion: sloburn/v1
kind: Service
metadata: {name: shop}
spec:
  slis:
    - name: errors
      events:
        bad: http_requests_total{job="shop",code=~"5.."}
        total: http_requests_total{job="shop"}
  slos:
    - name: availability
      sli: errors
      objective: 99.9
      alerting:
        annotations: {summary: "{{ $labels.sloth_service }} burns at {{ $value | humanize }}"}
"#;

/// Scrapes of an hour at the usual interval.
const HOUR_SCRAPES: i64 = 240;
const INTERVAL_MILLIS: i64 = 15_000;

/// A series of `shop` with one sample.
pub fn shop(code: &str, at: Timestamp, value: f64) -> TimeSeries {
    labelled(code, &[(at.as_millis(), value)])
}

fn labelled(code: &str, samples: &[(i64, f64)]) -> TimeSeries {
    TimeSeries::new(
        [("__name__", "http_requests_total"), ("code", code), ("instance", "a:80"), ("job", "shop")],
        samples,
    )
}

/// The last hour of `shop`, scraped every 15 s, with this many good and bad requests between two scrapes. The counters
/// do not start at zero.
pub fn last_hour(good: i64, bad: i64) -> Vec<TimeSeries> {
    let now = clock::now().as_millis();
    let at = |scrape: i64| now - (HOUR_SCRAPES - scrape) * INTERVAL_MILLIS;
    let counter = |step: i64| (0..=HOUR_SCRAPES).map(|i| (at(i), (1_000 + step * i) as f64)).collect::<Vec<_>>();
    vec![labelled("200", &counter(good)), labelled("500", &counter(bad))]
}

/// Good and total requests of [`last_hour`].
pub const fn last_hour_counts(good: i64, bad: i64) -> (i64, i64) {
    (good * HOUR_SCRAPES, (good + bad) * HOUR_SCRAPES)
}
