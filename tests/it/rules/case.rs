//! Seeded rule groups and series, as a rule file and as the input of `promtool test rules`.

use std::fmt::Write;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

/// One random set of groups with the series that they are about.
pub struct Case {
    pub rules: String,
    pub groups: Vec<String>,
    /// Series and values in promql's notation, a value a minute.
    pub series: Vec<(String, String)>,
    /// Names of recording rules.
    pub records: Vec<String>,
    pub alerts: Vec<String>,
}

const MINUTES: usize = 40;

struct Maker {
    rng: SmallRng,
    records: Vec<String>,
    alerts: Vec<String>,
}

impl Case {
    pub fn new(seed: u64) -> Self {
        let mut maker = Maker { rng: SmallRng::seed_from_u64(seed), records: Vec::new(), alerts: Vec::new() };
        let series = maker.series();
        let (mut rules, mut groups) = ("groups:\n".to_owned(), Vec::new());
        for at in 0..maker.rng.random_range(1..=3) {
            groups.push(format!("g{at}"));
            maker.group(at, &mut rules);
        }
        Self { rules, groups, series, records: maker.records, alerts: maker.alerts }
    }
}

impl Maker {
    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.rng.random_range(0..of.len())]
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// Gauges `m0` and `m1`, counters `c0` and `c1`, a histogram `h_bucket`; with gaps, stale markers and resets.
    fn series(&mut self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for name in ["m0", "m1", "c0", "c1"] {
            for a in ["x", "y", "z"] {
                for b in ["p", "q"] {
                    if self.chance(60) {
                        all.push((format!("{name}{{a=\"{a}\",b=\"{b}\"}}"), self.values(name.starts_with('c'))));
                    }
                }
            }
        }
        let buckets: Vec<String> = (0..3).map(|_| self.rng.random_range(1..5).to_string()).collect();
        for (at, le) in ["0.1", "0.5", "+Inf"].iter().enumerate() {
            let rate: u32 = buckets[..=at].iter().map(|n| n.parse::<u32>().unwrap()).sum();
            all.push((format!("h_bucket{{le=\"{le}\"}}"), format!("0+{rate}x{MINUTES}")));
        }
        all
    }

    fn values(&mut self, is_counter: bool) -> String {
        let mut text = String::new();
        let (mut value, mut at) = (self.rng.random_range(0..20), 0);
        while at < MINUTES {
            let roll = self.rng.random_range(0..100);
            match roll {
                0..4 => text.push_str("stale "),
                4..12 => text.push_str("_ "),
                12..15 => {
                    let gap = self.rng.random_range(2..9);
                    at += gap - 1;
                    let _ = write!(text, "_x{gap} ");
                }
                _ if is_counter => {
                    value = if roll > 95 { self.rng.random_range(0..3) } else { value + self.rng.random_range(0..9) };
                    let _ = write!(text, "{value} ");
                }
                _ => {
                    // A gauge stays for a while, so that conditions hold for a while.
                    if roll > 70 {
                        value = self.rng.random_range(0..20);
                    }
                    let _ = write!(text, "{value} ");
                }
            }
            at += 1;
        }
        text
    }

    fn group(&mut self, at: usize, rules: &mut String) {
        let _ = writeln!(rules, "  - name: g{at}");
        if self.chance(40) {
            let _ = writeln!(rules, "    query_offset: {}", self.one(&["0s", "30s", "1m", "90s", "2m", "7m"]));
        }
        if self.chance(25) {
            let _ = writeln!(rules, "    limit: {}", self.one(&[0, 50, 50, 4]));
        }
        if self.chance(30) {
            rules.push_str("    labels: {team: core, tier: group}\n");
        }
        rules.push_str("    rules:\n");
        for _ in 0..self.rng.random_range(1..=5) {
            if self.chance(50) { self.record(rules) } else { self.alert(rules) }
        }
    }

    fn record(&mut self, rules: &mut String) {
        let name = format!("r:{}", self.records.len());
        let expr = self.expr();
        let _ = writeln!(rules, "      - record: {name}\n        expr: '{expr}'");
        if self.chance(40) {
            let labels = self.one(&["{tier: own}", "{b: ''}", "{extra: '1', a: same}", "{c: '{{ not a template }}'}"]);
            let _ = writeln!(rules, "        labels: {labels}");
        }
        self.records.push(name);
    }

    fn alert(&mut self, rules: &mut String) {
        let name = format!("A{}", self.alerts.len());
        let expr = self.condition();
        let _ = writeln!(rules, "      - alert: {name}\n        expr: '{expr}'");
        for field in ["for", "keep_firing_for"] {
            if self.chance(55) {
                let _ = writeln!(rules, "        {field}: {}", self.one(&["30s", "1m", "2m", "3m", "5m", "0s"]));
            }
        }
        if self.chance(60) {
            let labels = self.one(&[
                "{severity: page, tier: own}",
                "{who: '{{ $labels.a }}/{{ $labels.b }}', cluster: '{{ $externalLabels.cluster }}'}",
                "{level: '{{ if gt $value 10.0 }}high{{ else }}low{{ end }}'}",
                "{nothing: '{{ $labels.none }}', alertname: Other}",
                "{b: ''}",
            ]);
            let _ = writeln!(rules, "        labels: {labels}");
        }
        if self.chance(60) {
            let annotations = self.one(&[
                "{summary: '{{ $labels.a }} is {{ $value }}'}",
                "{summary: '{{ $value | humanize }} at {{ $externalURL }}', empty: ''}",
                "{others: '{{ range query \"sum by (a) (m1)\" | sortByLabel \"a\" }}{{ .Labels.a }}={{ .Value }};{{ end }}'}",
                "{first: '{{ with query \"max(c0)\" }}{{ . | first | value | humanize1024 }}{{ end }}'}",
            ]);
            let _ = writeln!(rules, "        annotations: {annotations}");
        }
        self.alerts.push(name);
    }

    fn gauge(&mut self) -> String {
        // A rule may look at one of its group, of another, or at itself at the slot before.
        let known = self.records.len();
        if known > 0 && self.chance(35) {
            return format!("r:{}", self.rng.random_range(0..=known));
        }
        self.one(&["m0", "m1", "m0{a=\"x\"}", "m1{b!=\"q\"}", "c0", "m0 offset 2m"]).to_owned()
    }

    fn expr(&mut self) -> String {
        let (gauge, number) = (self.gauge(), self.rng.random_range(0..20));
        let counter = self.one(&["c0", "c1"]);
        let range = self.one(&["2m", "3m", "5m", "10m"]);
        match self.rng.random_range(0..14) {
            0 => format!("sum by (a) ({gauge})"),
            1 => format!("{gauge} > {number}"),
            2 => format!("sum without (b) (rate({counter}[{range}]))"),
            3 => format!("increase({counter}[{range}])"),
            4 => "avg_over_time(m0[3m])".to_owned(),
            5 => format!("absent({gauge})"),
            6 => format!("{gauge} and on (a) m1 > {number}"),
            7 => format!("max by (b) ({gauge}) - min by (b) ({gauge})"),
            8 => "count by (alertname, alertstate) (ALERTS)".to_owned(),
            9 => "max by (alertname) (ALERTS_FOR_STATE)".to_owned(),
            10 => format!("histogram_quantile(0.9, rate(h_bucket[{range}]))"),
            11 => format!("sum({gauge}) / {number} or vector(0)"),
            12 => "time()".to_owned(),
            _ => format!("label_replace({gauge}, \"b\", \"one\", \"\", \"\")"),
        }
    }

    fn condition(&mut self) -> String {
        let (gauge, number) = (self.gauge(), self.rng.random_range(0..20));
        match self.rng.random_range(0..9) {
            0..4 => format!("{gauge} > {number}"),
            4 => format!("sum by (a) ({gauge}) < {number}"),
            5 => format!("absent({gauge})"),
            6 => format!("rate(c0[3m]) > 0.0{number}"),
            7 => format!("{gauge} == {number} or m1 >= {number}"),
            _ => "ALERTS{alertstate=\"pending\"}".to_owned(),
        }
    }
}
