//! The five pipelines' services and their releases, with the rates and the errors that were reported of them.

use sloburn::types::Span;

use super::traffic::{Behaviour, Counter, Exposure, Lognormal, Model, Place};

const SCRAPE: Span = Span::seconds(15);

/// Of a service that is fast.
const QUICK: Lognormal = Lognormal { median: 0.06, sigma: 0.6 };
/// p99 at 304 ms.
const AUTH: Lognormal = Lognormal { median: 0.12, sigma: 0.4 };
/// p95 at 220 ms.
const CHECKOUT: Lognormal = Lognormal { median: 0.1, sigma: 0.48 };

const fn http(label: &'static str) -> Counter {
    Counter { metric: "http_requests_total", label, good: "200", bad: "500", by_stratum: false }
}

const ALL: &[(&str, &str, f64)] = &[("", "", 1.0)];

pub const PAYROLL: Model = Model {
    service: "payroll-api",
    version_label: "version",
    stable: "1.41.0",
    candidate: "1.42.0",
    rps: 1_000.0,
    scrape: SCRAPE,
    labels: &[("job", "payroll-calc"), ("service", "payroll-calc")],
    strata: ALL,
    counters: &[http("status")],
    histogram: "http_request_duration_seconds",
    probe: None,
    steps: &[Exposure::Weight(1.0), Exposure::Weight(5.0), Exposure::Weight(25.0), Exposure::Weight(50.0)],
};

pub mod payroll {
    use super::*;

    const USUAL: Behaviour = Behaviour { bad: &[0.000_1], latency: QUICK };

    pub fn good(_: &Place) -> Behaviour {
        USUAL
    }

    /// Five of a thousand calculations fail: five times the budget.
    pub fn failing(place: &Place) -> Behaviour {
        if place.is_candidate { Behaviour { bad: &[0.005], ..USUAL } } else { USUAL }
    }

    /// The first release that was taken back without a page: at 5 %.
    pub fn failing_at_5_percent(place: &Place) -> Behaviour {
        if place.step >= 1 { failing(place) } else { USUAL }
    }

    pub fn slow(place: &Place) -> Behaviour {
        if place.is_candidate { Behaviour { latency: QUICK.scaled(1.35), ..USUAL } } else { USUAL }
    }
}

pub const CHECKOUT_MODEL: Model = Model {
    service: "checkout",
    version_label: "version",
    stable: "stable",
    candidate: "canary",
    rps: 50.0,
    scrape: SCRAPE,
    labels: &[("job", "checkout")],
    strata: ALL,
    counters: &[
        http("status"),
        Counter { metric: "checkout_orders_total", label: "result", good: "placed", bad: "failed", by_stratum: false },
    ],
    histogram: "http_request_duration_seconds",
    probe: None,
    steps: &[Exposure::Weight(10.0), Exposure::Weight(25.0), Exposure::Weight(50.0), Exposure::Weight(100.0)],
};

pub mod checkout {
    use super::*;

    const USUAL: Behaviour = Behaviour { bad: &[0.002, 0.000_2], latency: CHECKOUT };

    pub fn good(_: &Place) -> Behaviour {
        USUAL
    }

    /// The serialization bug that only showed at scale: from 25 % on p95 is 420 ms.
    pub fn slow_at_25_percent(place: &Place) -> Behaviour {
        let slow = Behaviour { latency: CHECKOUT.scaled(420.0 / 220.0), ..USUAL };
        if place.is_candidate && place.step >= 1 { slow } else { USUAL }
    }

    pub fn failing(place: &Place) -> Behaviour {
        if place.is_candidate { Behaviour { bad: &[0.08, 0.08], ..USUAL } } else { USUAL }
    }
}

/// 1,200 transactions a minute. The internal load test is as much again, for half an hour.
pub const PAYMENT: Model = Model {
    service: "payment-auth",
    version_label: "app_version",
    stable: "2026.43.1",
    candidate: "2026.44.0",
    rps: 20.0,
    scrape: SCRAPE,
    labels: &[("job", "payment-auth")],
    strata: &[("traffic", "header", 0.0), ("merchant", "test-2", 0.0), ("merchant", "m-1077", 1.0)],
    counters: &[
        Counter {
            metric: "auth_requests_total",
            label: "outcome",
            good: "approved",
            bad: "declined",
            by_stratum: true,
        },
        http("code"),
        Counter {
            metric: "settlement_records_total",
            label: "result",
            good: "match",
            bad: "mismatch",
            by_stratum: true,
        },
    ],
    histogram: "http_request_duration_seconds",
    probe: None,
    steps: &[
        Exposure::Cohort(0, 20.0),
        Exposure::Cohort(1, 5.0),
        Exposure::Weight(5.0),
        Exposure::Weight(25.0),
        Exposure::Weight(50.0),
    ],
};

/// The same service at the article's other rate, 1,000 transactions a second.
pub const PAYMENT_BUSY: Model = Model {
    rps: 1_000.0,
    steps: &[
        Exposure::Cohort(0, 20.0),
        Exposure::Cohort(1, 5.0),
        Exposure::Weight(2.0),
        Exposure::Weight(25.0),
        Exposure::Weight(50.0),
    ],
    ..PAYMENT
};

pub mod payment {
    use super::*;

    const USUAL: Behaviour = Behaviour { bad: &[0.006, 0.000_1, 0.000_2], latency: AUTH };

    /// Test cards and test merchants never see the harm.
    fn to_customers(place: &Place, harm: Behaviour) -> Behaviour {
        if place.is_candidate && place.stratum == 2 { harm } else { USUAL }
    }

    pub fn good(_: &Place) -> Behaviour {
        USUAL
    }

    /// The incident: one card network's response code is read as a decline.
    pub fn incident(place: &Place) -> Behaviour {
        to_customers(place, Behaviour { bad: &[0.088, 0.000_1, 0.000_2], ..USUAL })
    }

    /// The same with cards that an internal test uses too.
    pub fn incident_everywhere(place: &Place) -> Behaviour {
        if place.is_candidate { Behaviour { bad: &[0.088, 0.000_1, 0.000_2], ..USUAL } } else { USUAL }
    }

    pub fn crashing(place: &Place) -> Behaviour {
        to_customers(place, Behaviour { bad: &[0.006, 0.02, 0.000_2], ..USUAL })
    }

    /// p99 + 80 ms.
    pub fn slow(place: &Place) -> Behaviour {
        to_customers(place, Behaviour { latency: AUTH.scaled(384.0 / 304.0), ..USUAL })
    }

    /// Answers look fine, and what is written down does not.
    pub fn mismatching(place: &Place) -> Behaviour {
        to_customers(place, Behaviour { bad: &[0.006, 0.000_1, 0.01], ..USUAL })
    }
}

const fn journey(service: &'static str, labels: &'static [(&'static str, &'static str)]) -> Model {
    Model {
        service,
        version_label: "version",
        stable: "1.41.0",
        candidate: "1.42.0",
        rps: 60.0,
        scrape: SCRAPE,
        labels,
        strata: ALL,
        counters: const { &[http("code")] },
        histogram: "http_request_duration_seconds",
        probe: None,
        steps: &[Exposure::Weight(10.0), Exposure::Weight(25.0), Exposure::Weight(50.0)],
    }
}

pub const TRANSFER: Model = Model {
    probe: Some(&[("job", "synthetics"), ("journey", "funds-transfer")]),
    ..journey("funds-transfer", &[("job", "funds-transfer"), ("service", "funds-transfer")])
};
pub const QUOTE: Model = Model {
    probe: Some(&[("job", "synthetics"), ("journey", "quote")]),
    ..journey("quote", &[("job", "quote"), ("service", "quote")])
};

pub mod journeys {
    use super::*;

    const USUAL: Behaviour = Behaviour { bad: &[0.000_5], latency: QUICK };

    pub fn good(_: &Place) -> Behaviour {
        USUAL
    }

    /// Connections to a flaky partner are opened again and again.
    pub fn thrashing(place: &Place) -> Behaviour {
        let harm = Behaviour { bad: &[0.04], latency: QUICK.scaled(2.0) };
        if place.is_candidate { harm } else { USUAL }
    }

    pub fn failing(place: &Place) -> Behaviour {
        if place.is_candidate { Behaviour { bad: &[0.03], ..USUAL } } else { USUAL }
    }

    pub fn slow_at_50_percent(place: &Place) -> Behaviour {
        let harm = Behaviour { latency: QUICK.scaled(1.5), ..USUAL };
        if place.is_candidate && place.step >= 2 { harm } else { USUAL }
    }
}

pub const PROGRESSIVE: Model = Model {
    service: "checkout-progressive",
    version_label: "version",
    stable: "118",
    candidate: "119",
    rps: 100.0,
    scrape: SCRAPE,
    labels: &[("job", "checkout-web")],
    strata: &[("variation", "control", 0.8), ("variation", "one-page", 0.2)],
    counters: &[Counter {
        metric: "checkout_payments_total",
        label: "outcome",
        good: "paid",
        bad: "failed",
        by_stratum: true,
    }],
    histogram: "checkout_request_duration_seconds",
    probe: Some(&[("job", "synthetics"), ("journey", "purchase")]),
    steps: &[Exposure::Weight(5.0), Exposure::Weight(25.0), Exposure::Weight(100.0)],
};

pub mod progressive {
    use super::*;

    const USUAL: Behaviour = Behaviour { bad: &[0.002], latency: QUICK };

    pub fn good(_: &Place) -> Behaviour {
        USUAL
    }

    /// That Friday: payments of one segment fail, and the rest waits.
    pub fn friday(place: &Place) -> Behaviour {
        match (place.is_candidate, place.stratum) {
            (true, 1) => Behaviour { bad: &[0.2], latency: QUICK.scaled(1.6) },
            (true, _) => Behaviour { latency: QUICK.scaled(1.6), ..USUAL },
            _ => USUAL,
        }
    }

    /// Only those with the new page.
    pub fn one_page(place: &Place) -> Behaviour {
        if place.is_candidate && place.stratum == 1 { Behaviour { bad: &[0.2], ..USUAL } } else { USUAL }
    }

    /// What both versions depend on fails: no fault of the release's, but the budget burns.
    pub fn provider_down(_: &Place) -> Behaviour {
        Behaviour { bad: &[0.06], ..USUAL }
    }
}

#[test]
fn latencies_have_the_quantiles_that_are_said_of_them() {
    for (of, q, millis) in [(AUTH, 0.99, 304.0), (CHECKOUT, 0.95, 220.0)] {
        assert_eq!((of.quantile(q) * 1_000.0).round(), millis);
    }
}
