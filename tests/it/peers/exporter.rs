//! A metrics endpoint whose every request is known: each scrape moves a service's counters by the step set for it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use sloburn::clock;
use sloburn::types::Timestamp;
use tokio::net::TcpListener;

/// What happens between two scrapes, or has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    pub good: u64,
    pub bad: u64,
    /// Of all of them, those over 250 ms.
    pub slow: u64,
}

/// Nothing happens, but scrapes go on.
pub const IDLE: Requests = Requests { good: 0, bad: 0, slow: 0 };

impl Requests {
    pub fn total(self) -> u64 {
        self.good + self.bad
    }

    pub fn since(self, before: Self) -> Self {
        Self { good: self.good - before.good, bad: self.bad - before.bad, slow: self.slow - before.slow }
    }
}

#[derive(Default)]
struct Service {
    /// Exposed by the first scrape.
    base: Requests,
    counters: Requests,
    step: Requests,
    /// When each scrape since the last change of the step came in.
    scrapes: Vec<Timestamp>,
}

type Services = Arc<Mutex<BTreeMap<String, Service>>>;

/// Serves `/<service>`.
pub struct Exporter {
    pub address: SocketAddr,
    services: Services,
}

impl Exporter {
    /// Services by name, with what has happened before they are watched.
    pub async fn start(services: &[(&str, Requests)]) -> Self {
        let service = |base| Service { base, counters: base, ..Service::default() };
        let services = services.iter().map(|(name, base)| ((*name).to_owned(), service(*base))).collect();
        let services: Services = Arc::new(Mutex::new(services));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/{service}", get(scrape)).with_state(Arc::clone(&services));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, services }
    }

    fn with<T>(&self, service: &str, act: impl FnOnce(&mut Service) -> T) -> T {
        act(self.services.lock().unwrap().get_mut(service).unwrap())
    }

    /// From the next scrape on.
    pub fn set(&self, service: &str, step: Requests) {
        self.with(service, |service| {
            service.step = step;
            service.scrapes.clear();
        });
    }

    /// Scrapes since the step was set.
    pub fn scrapes(&self, service: &str) -> usize {
        self.with(service, |service| service.scrapes.len())
    }

    /// When the step that is set was seen first.
    pub fn first_scrape(&self, service: &str) -> Option<Timestamp> {
        self.with(service, |service| service.scrapes.first().copied())
    }

    /// What all scrapes so far have shown to happen.
    pub fn watched(&self, service: &str) -> Requests {
        self.with(service, |service| service.counters.since(service.base))
    }
}

async fn scrape(State(services): State<Services>, Path(name): Path<String>) -> String {
    let mut services = services.lock().unwrap();
    let service = services.get_mut(&name).unwrap();
    service.scrapes.push(clock::now());
    let (counters, step) = (&mut service.counters, service.step);
    counters.good += step.good;
    counters.bad += step.bad;
    counters.slow += step.slow;
    exposition(*counters)
}

/// Prometheus' text format. A series of errors exists once there are some.
fn exposition(counters: Requests) -> String {
    let (total, quick) = (counters.total(), counters.total() - counters.slow);
    let mut text = String::from("# TYPE http_requests_total counter\n");
    let mut line = |series: &str, value: u64| writeln!(text, "{series} {value}").unwrap();
    line("http_requests_total{code=\"200\"}", counters.good);
    if counters.bad > 0 {
        line("http_requests_total{code=\"500\"}", counters.bad);
    }
    line("# TYPE http_request_duration_seconds histogram\nhttp_request_duration_seconds_bucket{le=\"0.1\"}", quick / 2);
    line("http_request_duration_seconds_bucket{le=\"0.25\"}", quick);
    line("http_request_duration_seconds_bucket{le=\"+Inf\"}", total);
    line("http_request_duration_seconds_sum", total / 5);
    line("http_request_duration_seconds_count", total);
    text
}
