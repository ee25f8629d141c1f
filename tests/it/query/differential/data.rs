//! An hour of made-up samples, as requests of remote write in order of time.

use sloburn::wire::proto::{BucketSpan, Count, Histogram, TimeSeries, ZeroCount};

use super::generator::Random;
use crate::daemon::body_of;

const INTERVAL_MILLIS: i64 = 15_000;
const SCRAPES: i64 = 240;
const SCRAPES_A_REQUEST: usize = 20;
const STALE: f64 = f64::from_bits(sloburn::series::STALE_NAN_BITS);

/// A series under way.
struct Source {
    labels: Vec<(String, String)>,
    kind: Kind,
    value: f64,
    buckets: Vec<u64>,
    sum: f64,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Counter,
    Gauge,
    /// With values that are no numbers now and then.
    Odd,
    /// Ends in the middle and comes back.
    Broken,
    Constant,
    Exponential,
    Custom,
}

fn labels(name: &str, pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut labels = vec![("__name__".to_owned(), name.to_owned())];
    labels.extend(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    labels.sort();
    labels
}

fn sources() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut add = |name: &str, pairs: &[(&str, &str)], kind: Kind| {
        sources.push(Source { labels: labels(name, pairs), kind, value: 100.0, buckets: vec![0; 8], sum: 0.0 });
    };
    for job in ["a", "b", "c"] {
        for instance in ["i0", "i1"] {
            for code in ["200", "404", "500"] {
                let kind = if job == "c" && code == "404" { Kind::Broken } else { Kind::Counter };
                add("http_requests_total", &[("job", job), ("instance", instance), ("code", code)], kind);
            }
            let kind = if job == "b" { Kind::Odd } else { Kind::Gauge };
            add("memory_bytes", &[("job", job), ("instance", instance)], kind);
            let version = if instance == "i0" { "1.0" } else { "2.0" };
            add("build_info", &[("job", job), ("instance", instance), ("version", version)], Kind::Constant);
        }
        add("size_bytes", &[("job", job)], Kind::Exponential);
        add("wait_seconds", &[("job", job)], Kind::Custom);
    }
    add("mixed", &[("job", "a")], Kind::Gauge);
    add("mixed", &[("job", "b")], Kind::Exponential);
    sources
}

impl Source {
    fn float(&mut self, random: &mut Random, scrape: i64) -> Option<f64> {
        match self.kind {
            Kind::Counter | Kind::Broken => {
                if random.below(70) == 0 {
                    self.value = 0.0;
                }
                self.value += random.below(50) as f64;
                if self.kind == Kind::Broken && (100..130).contains(&scrape) {
                    return (scrape == 100).then_some(STALE);
                }
            }
            Kind::Gauge => self.value += random.below(2_001) as f64 / 100.0 - 10.0,
            Kind::Odd => {
                self.value += random.below(2_001) as f64 / 7.0 - 140.0;
                match random.below(25) {
                    0 => return Some(f64::NAN),
                    1 => return Some(f64::INFINITY),
                    2 => return Some(f64::NEG_INFINITY),
                    _ => {}
                }
            }
            Kind::Constant => self.value = 1.0,
            Kind::Exponential | Kind::Custom => return None,
        }
        Some(self.value)
    }

    fn histogram(&mut self, random: &mut Random, at: i64) -> Histogram {
        if random.below(80) == 0 {
            self.buckets.fill(0);
            self.sum = 0.0;
        }
        for (i, count) in self.buckets.iter_mut().enumerate() {
            let more = random.below(6) as u64;
            *count += more;
            self.sum += more as f64 * (i as f64 + 0.5);
        }
        let is_custom = self.kind == Kind::Custom;
        let (zero, rest) = self.buckets.split_first().unwrap();
        let counts: Vec<i64> = if is_custom { &self.buckets[..5] } else { rest }.iter().map(|c| *c as i64).collect();
        let deltas = counts.iter().scan(0, |before, count| Some(count - std::mem::replace(before, *count))).collect();
        let length = counts.len() as u32;
        let total = counts.iter().sum::<i64>() as u64 + if is_custom { 0 } else { *zero };
        // Two spans with a gap between them, where buckets are exponential.
        let spans = if is_custom {
            vec![BucketSpan { offset: 0, length }]
        } else {
            vec![BucketSpan { offset: -2, length: 3 }, BucketSpan { offset: 2, length: length - 3 }]
        };
        Histogram {
            count: Some(Count::Int(total)),
            sum: self.sum,
            schema: if is_custom { -53 } else { 1 },
            zero_threshold: if is_custom { 0.0 } else { 0.001 },
            zero_count: (!is_custom).then_some(ZeroCount::Int(*zero)),
            positive_spans: spans,
            positive_deltas: deltas,
            custom_values: if is_custom { vec![0.1, 0.5, 1.0, 5.0] } else { Vec::new() },
            timestamp: at,
            ..Histogram::default()
        }
    }
}

/// Classic buckets, cumulative, with sum and count.
fn classic(random: &mut Random, job: &str, counts: &mut [u64; 5], sum: &mut f64, at: i64) -> Vec<TimeSeries> {
    let mut all = Vec::new();
    for (i, count) in counts.iter_mut().enumerate() {
        let more = random.below(9) as u64;
        *count += more;
        *sum += more as f64 * [0.05, 0.3, 0.7, 3.0, 7.0][i];
    }
    let mut total = 0;
    for (le, count) in ["0.1", "0.5", "1", "5", "+Inf"].into_iter().zip(&*counts) {
        total += count;
        let labels = [("__name__", "latency_seconds_bucket"), ("job", job), ("le", le)];
        all.push(TimeSeries::new(labels, &[(at, total as f64)]));
    }
    all.push(TimeSeries::new([("__name__", "latency_seconds_count"), ("job", job)], &[(at, total as f64)]));
    all.push(TimeSeries::new([("__name__", "latency_seconds_sum"), ("job", job)], &[(at, *sum)]));
    all
}

/// Everything up to `end`.
pub fn requests(seed: u64, end: i64) -> Vec<Vec<u8>> {
    let mut random = Random::new(seed ^ 0xda7a);
    let mut sources = sources();
    let mut histograms = [([0_u64; 5], 0.0); 3];
    let mut scrapes: Vec<Vec<TimeSeries>> = Vec::new();
    for scrape in 0..SCRAPES {
        let at = end - (SCRAPES - 1 - scrape) * INTERVAL_MILLIS;
        let mut series = Vec::new();
        for (i, source) in sources.iter_mut().enumerate() {
            // Scrapes are not all at the same moment, and some are missed.
            let at = at + (i as i64 * 37) % 900;
            if random.below(40) == 0 {
                continue;
            }
            let pairs: Vec<(&str, &str)> = source.labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let mut one = TimeSeries::new(pairs, &[]);
            if matches!(source.kind, Kind::Exponential | Kind::Custom) {
                one.histograms.push(source.histogram(&mut random, at));
            } else if let Some(value) = source.float(&mut random, scrape) {
                one.samples.push(sloburn::wire::proto::Sample { value, timestamp: at });
            } else {
                continue;
            }
            series.push(one);
        }
        for (job, (counts, sum)) in ["a", "b", "c"].into_iter().zip(&mut histograms) {
            series.extend(classic(&mut random, job, counts, sum, at));
        }
        scrapes.push(series);
    }
    scrapes.chunks(SCRAPES_A_REQUEST).map(|part| body_of(&part.concat())).collect()
}
