//! Queries at random, from a seed.

use std::fmt;

/// `SplitMix64`
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// A request.
pub struct Asked {
    pub query: String,
    /// Start, end and step in seconds; or one moment.
    pub range: Option<(f64, f64, i64)>,
    pub at: f64,
}

impl Asked {
    pub const fn path(&self) -> &'static str {
        if self.range.is_some() { "api/v1/query_range" } else { "api/v1/query" }
    }

    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = vec![("query", self.query.clone())];
        match self.range {
            None => parameters.push(("time", format!("{:.3}", self.at))),
            Some((start, end, step)) => {
                parameters.push(("start", format!("{start:.3}")));
                parameters.push(("end", format!("{end:.3}")));
                parameters.push(("step", step.to_string()));
            }
        }
        parameters
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range {
            None => write!(f, "{} @ {:.3}", self.query, self.at),
            Some((start, end, step)) => write!(f, "{} from {start:.3} to {end:.3} step {step}", self.query),
        }
    }
}

pub struct Generator {
    random: Random,
    end: i64,
}

const METRICS: [&str; 6] =
    ["http_requests_total", "memory_bytes", "latency_seconds_count", "latency_seconds_sum", "build_info", "mixed"];
const HISTOGRAMS: [&str; 3] = ["size_bytes", "wait_seconds", "mixed"];
const MATCHERS: [&str; 12] = [
    "job=\"a\"",
    "job=\"b\"",
    "job!=\"a\"",
    "job=~\"a|b\"",
    "job!~\"b.*\"",
    "instance=\"i0\"",
    "instance=~\".+\"",
    "code=\"500\"",
    "code=~\"4..|5..\"",
    "code!=\"\"",
    "code=\"\"",
    "job=~\".*\"",
];
const RANGES: [&str; 7] = ["1m", "2m30s", "5m", "10m", "17m", "30m", "14s"];
const OVER_TIME: [&str; 26] = [
    "rate",
    "increase",
    "delta",
    "irate",
    "idelta",
    "deriv",
    "changes",
    "resets",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "absent_over_time",
    "mad_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "ts_of_last_over_time",
    "rate",
    "increase",
    "rate",
    "delta",
];
/// Not `exp`, `sinh`, `sin` and the like: large numbers have no digits left for a sine.
const OF_VECTOR: [&str; 26] = [
    "abs",
    "ceil",
    "floor",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "sgn",
    "round",
    "atan",
    "tanh",
    "deg",
    "rad",
    "timestamp",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "year",
    "absent",
    "sort",
    "sort_desc",
    "asinh",
];
const OF_HISTOGRAM: [&str; 5] =
    ["histogram_count", "histogram_sum", "histogram_avg", "histogram_stddev", "histogram_stdvar"];
const AGGREGATES: [&str; 8] = ["sum", "avg", "count", "min", "max", "group", "stddev", "stdvar"];
const GROUPINGS: [&str; 8] = [
    "",
    "",
    "by (job)",
    "by (job, code)",
    "without (instance)",
    "by (instance)",
    "without (job, code)",
    "by (nothing)",
];
const ARITHMETIC: [&str; 7] = ["+", "-", "*", "/", "%", "^", "atan2"];
const COMPARISONS: [&str; 6] = ["==", "!=", ">", "<", ">=", "<="];
const NUMBERS: [&str; 10] = ["0", "1", "2", "0.5", "-3", "100", "1e3", "1000", "Inf", "NaN"];

impl Generator {
    pub const fn new(seed: u64, end: i64) -> Self {
        Self { random: Random::new(seed), end }
    }

    pub fn next(&mut self) -> Asked {
        let query = match self.random.below(12) {
            0 => self.scalar(2),
            1 => format!("{}[{}]", self.selector(), self.random.pick(&RANGES)),
            _ => self.vector(3),
        };
        let back = self.random.below(3_900) as f64 + self.random.below(1_000) as f64 / 1_000.0;
        let at = self.end as f64 / 1_000.0 + 200.0 - back;
        let is_matrix = query.ends_with(']') || query.contains("] offset") && !query.contains('(');
        let range = (self.random.below(5) < 2 && !is_matrix).then(|| {
            let step = [1, 7, 15, 30, 60, 300][self.random.below(6)];
            (at - (self.random.below(60) * 15) as f64, at, step)
        });
        Asked { query, range, at }
    }

    fn matchers(&mut self) -> String {
        let count = self.random.below(3);
        let mut chosen: Vec<&str> = (0..count).map(|_| self.random.pick(&MATCHERS)).collect();
        // One for each label: of two, `absent` takes the one that the storage has put last.
        chosen.dedup_by_key(|matcher| matcher.split(['=', '!']).next());
        if chosen.is_empty() { String::new() } else { format!("{{{}}}", chosen.join(",")) }
    }

    fn modifier(&mut self) -> String {
        match self.random.below(14) {
            0 => " offset 3m".to_owned(),
            1 => " offset -2m".to_owned(),
            2 => format!(" @ {}", self.end / 1_000 - 600),
            3 => " @ end()".to_owned(),
            4 => " @ start() offset 1m".to_owned(),
            _ => String::new(),
        }
    }

    fn selector(&mut self) -> String {
        let metric = match self.random.below(8) {
            0 => self.random.pick(&HISTOGRAMS),
            1 => "latency_seconds_bucket",
            2..=4 => METRICS[0],
            _ => self.random.pick(&METRICS),
        };
        if self.random.below(20) == 0 {
            return "{__name__=~\"memory.*|latency_seconds_sum\",job=\"a\"}".to_owned();
        }
        format!("{metric}{}", self.matchers())
    }

    fn range_vector(&mut self, depth: usize) -> String {
        let range = self.random.pick(&RANGES);
        if depth > 0 && self.random.below(4) == 0 {
            let step = self.random.pick(&["", "15s", "1m", "37s"]);
            let inner = self.vector(depth - 1);
            let inner = if inner.contains(' ') { format!("({inner})") } else { inner };
            return format!("{inner}[{range}:{step}]{}", self.modifier());
        }
        format!("{}[{range}]{}", self.selector(), self.modifier())
    }

    fn scalar(&mut self, depth: usize) -> String {
        match self.random.below(if depth == 0 { 1 } else { 6 }) {
            0 | 1 => self.random.pick(&NUMBERS).to_owned(),
            2 => format!("scalar({})", self.vector(depth - 1)),
            3 => "time()".to_owned(),
            4 => format!("{} {} {}", self.scalar(depth - 1), self.random.pick(&ARITHMETIC), self.scalar(depth - 1)),
            _ => "pi()".to_owned(),
        }
    }

    fn vector(&mut self, depth: usize) -> String {
        if depth == 0 {
            return format!("{}{}", self.selector(), self.modifier());
        }
        let below = depth - 1;
        match self.random.below(20) {
            0 => format!("{}{}", self.selector(), self.modifier()),
            1..=4 => format!("{}({})", self.random.pick(&OVER_TIME), self.range_vector(below)),
            5 => format!(
                "quantile_over_time({}, {})",
                self.random.pick(&["0.5", "0.9", "-1", "2"]),
                self.range_vector(below)
            ),
            6 => format!("predict_linear({}, 300)", self.range_vector(below)),
            7 => format!("double_exponential_smoothing({}, 0.3, 0.6)", self.range_vector(below)),
            8 | 9 => format!("{}({})", self.random.pick(&OF_VECTOR), self.vector(below)),
            10..=12 => {
                let (op, by) = (self.random.pick(&AGGREGATES), self.random.pick(&GROUPINGS));
                format!("{op} {by} ({})", self.vector(below))
            }
            13 => match self.random.below(4) {
                0 => format!("quantile {} (0.75, {})", self.random.pick(&GROUPINGS), self.vector(below)),
                1 => format!("topk(2, memory_bytes{})", self.modifier()),
                2 => {
                    format!("bottomk {} (1, memory_bytes{{job!=\"b\"}})", self.random.pick(&["", "by (job)"]))
                }
                _ => {
                    // The text of a native histogram has its bounds, whose last digits are not the same.
                    let metric = self.random.pick(&["http_requests_total", "build_info", "latency_seconds_bucket"]);
                    format!("count_values(\"value\", {metric}{})", self.modifier())
                }
            },
            14 | 15 => self.binary(below),
            16 => self.histogram(below),
            17 => format!(
                "label_replace({}, \"{}\", \"x-$1\", \"job\", \"(.)\")",
                self.vector(below),
                self.random.pick(&["new", "job", "instance"])
            ),
            18 => match self.random.below(4) {
                0 => format!("label_join({}, \"joined\", \"/\", \"job\", \"instance\")", self.vector(below)),
                1 => format!("clamp({}, {}, 200)", self.vector(below), self.random.pick(&["0", "50", "300"])),
                2 => format!("clamp_min({}, {})", self.vector(below), self.scalar(1)),
                _ => format!("{}({} / 1e5)", self.random.pick(&["sin", "cos", "tan", "exp", "sinh"]), self.vector(0)),
            },
            _ => match self.random.below(3) {
                0 => format!("-{}", self.vector(0)),
                1 => format!("vector({})", self.scalar(2)),
                _ => format!("({})", self.vector(below)),
            },
        }
    }

    fn histogram(&mut self, depth: usize) -> String {
        let quantile = self.random.pick(&["0.5", "0.9", "0.99", "0", "1", "1.5", "NaN"]);
        let native = self.random.pick(&HISTOGRAMS);
        match self.random.below(6) {
            0 => {
                let by = self.random.pick(&["by (le)", "by (job, le)", "by (job)"]);
                format!("histogram_quantile({quantile}, sum {by} (rate(latency_seconds_bucket[5m])))")
            }
            1 => format!("histogram_quantile({quantile}, {native}{})", self.modifier()),
            2 => format!("histogram_quantile({quantile}, sum by (job) (rate({native}[5m])))"),
            3 => format!("{}({native}{})", self.random.pick(&OF_HISTOGRAM), self.matchers()),
            4 => format!(
                "histogram_fraction({}, {}, rate({native}[10m]))",
                self.random.pick(&["0", "-Inf", "0.3"]),
                self.random.pick(&["1", "2.5", "+Inf"])
            ),
            _ => format!("{}({})", self.random.pick(&OF_HISTOGRAM), self.vector(depth)),
        }
    }

    fn binary(&mut self, depth: usize) -> String {
        match self.random.below(8) {
            0 | 1 => {
                let (left, op) = (self.vector(depth), self.random.pick(&ARITHMETIC));
                format!("{left} {op} {}", self.scalar(1))
            }
            2 => {
                let op = self.random.pick(&COMPARISONS);
                let returns_bool = self.random.pick(&["", " bool"]);
                format!("{} {op}{returns_bool} {}", self.vector(depth), self.scalar(1))
            }
            3 => {
                let op = self.random.pick(&["and", "or", "unless"]);
                let on = self.random.pick(&["", "on (job)", "ignoring (code)", "on ()"]);
                format!("{} {op} {on} {}", self.vector(depth), self.vector(depth))
            }
            4 => {
                let op = self.random.pick(&ARITHMETIC);
                let include = self.random.pick(&["", "version"]);
                format!(
                    "rate(http_requests_total{}[5m]) {op} on (job, instance) group_left ({include}) build_info",
                    self.matchers()
                )
            }
            5 => {
                let op = self.random.pick(&COMPARISONS);
                format!("memory_bytes {op} ignoring (nothing) memory_bytes{}", self.modifier())
            }
            6 => {
                let (op, by) = (self.random.pick(&ARITHMETIC), self.random.pick(&["by (job)", "by (code)", ""]));
                format!(
                    "sum {by} (rate(http_requests_total{}[5m])) {op} sum {by} (rate(http_requests_total[5m]))",
                    self.matchers()
                )
            }
            _ => {
                let op = self.random.pick(&ARITHMETIC);
                format!("{} {op} {}", self.vector(depth), self.vector(depth))
            }
        }
    }
}
