//! A file of tests, read with the place of every mistake.

use std::path::{Path, PathBuf};

use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::yaml::{self, shown};
use crate::spec::{Report, Source};
use crate::testing::{Values, notation};
use crate::types::{Labels, Span, Timestamp};

/// promtool's default.
const DEFAULT_INTERVAL: Span = Span::minutes(1);
/// Lists in a file hold at most this many items.
const ITEMS_LIMIT_COUNT: usize = 10_000;

/// A whole file.
#[derive(Clone, Debug, Default)]
pub struct TestFile {
    /// Files and folders of specs, under the file's own folder.
    pub rule_files: Vec<PathBuf>,
    /// In the order written.
    pub cases: Vec<Case>,
}

/// One test.
#[derive(Clone, Debug)]
pub struct Case {
    /// For people.
    pub name: String,
    /// Where it begins.
    pub line: u32,
    /// Between two values of a series.
    pub interval: Span,
    /// Labels and values.
    pub series: Vec<(Labels, Values)>,
    /// Which alerts fire.
    pub alerts: Vec<AlertTest>,
    /// What SLOs look like.
    pub slos: Vec<SloTest>,
}

/// Which alerts fire at one moment.
#[derive(Clone, Debug)]
pub struct AlertTest {
    /// Where it stands.
    pub line: u32,
    /// When.
    pub at: Timestamp,
    /// Of this SLO only, `service/slo`.
    pub slo: Option<String>,
    /// Under this name only.
    pub name: Option<String>,
    /// All that fire.
    pub expected: Vec<ExpectedAlert>,
}

/// One firing alert.
#[derive(Clone, Debug, Default)]
pub struct ExpectedAlert {
    /// Among its labels.
    pub labels: Vec<(String, String)>,
    /// Among its annotations.
    pub annotations: Vec<(String, String)>,
}

/// What one SLO looks like at one moment.
#[derive(Clone, Debug)]
pub struct SloTest {
    /// Where it stands.
    pub line: u32,
    /// When.
    pub at: Timestamp,
    /// `service/slo`
    pub slo: String,
    /// In the order written.
    pub expected: Vec<Expected>,
}

/// One figure of an SLO; `None` where there is none to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// The word used in JSON.
    State(String),
    /// Good events of the period.
    Good(f64),
    /// Bad events of the period.
    Bad(f64),
    /// Events of the period.
    Total(f64),
    /// Share of the budget left.
    BudgetRemaining(Option<f64>),
    /// Burn rate over a window.
    BurnRate(Span, Option<f64>),
}

impl TestFile {
    /// Reads a file; `None` when the report has errors.
    pub fn parse(source: &Source) -> (Option<Self>, Report) {
        let mut reporter = Reporter::new(source);
        let mut file = Self::default();
        for document in yaml::documents(&mut reporter) {
            file.take(Field::document(&document), &mut reporter);
        }
        let report = Report::new([reporter]);
        let is_sound = !report.has_errors();
        (is_sound.then_some(file), report)
    }

    /// Whether a text looks like a file of tests.
    pub fn is_like(source: &Source) -> bool {
        source.text.lines().any(|line| line.starts_with("tests:"))
    }

    fn take(&mut self, document: Field<'_>, reporter: &mut Reporter<'_>) -> Option<()> {
        let mut fields = Fields::of(document, reporter)?;
        let folder = reporter.source.path.parent().unwrap_or(Path::new("")).to_owned();
        for item in items(fields.require("rule_files"), reporter) {
            self.rule_files.extend(item.text(reporter).map(|path| folder.join(path)));
        }
        for item in items(fields.require("tests"), reporter) {
            self.cases.extend(case(item, self.cases.len() + 1, reporter));
        }
        fields.finish(reporter);
        Some(())
    }
}

fn items<'n>(field: Option<Field<'n>>, reporter: &mut Reporter<'_>) -> Vec<Field<'n>> {
    let Some(field) = field else { return Vec::new() };
    let mut items = field.items(reporter).unwrap_or_default();
    if let Some(extra) = items.get(ITEMS_LIMIT_COUNT) {
        reporter.error(extra.key, format!("more than {ITEMS_LIMIT_COUNT} items"));
    }
    items.truncate(ITEMS_LIMIT_COUNT);
    items
}

fn case(item: Field<'_>, number: usize, reporter: &mut Reporter<'_>) -> Option<Case> {
    let mut fields = Fields::of(item, reporter)?;
    let name =
        fields.get("name").and_then(|field| field.text(reporter)).map_or(format!("test {number}"), str::to_owned);
    let interval = fields.get("interval").and_then(|field| field.duration(reporter)).unwrap_or(DEFAULT_INTERVAL);
    if interval == Span::ZERO {
        reporter.error(item.key, "`interval` must be longer than zero");
        return None;
    }
    let series = items(fields.require("input_series"), reporter);
    let series = series.into_iter().filter_map(|item| input(item, reporter)).collect();
    let alerts = items(fields.get("alert_rule_test"), reporter);
    let alerts = alerts.into_iter().filter_map(|item| alert_test(item, reporter)).collect();
    let slos = items(fields.get("slo_test"), reporter);
    let slos: Vec<_> = slos.into_iter().filter_map(|item| slo_test(item, reporter)).collect();
    if fields.peek("alert_rule_test").is_none() && fields.peek("slo_test").is_none() {
        reporter.error(item.key, "the test expects nothing").hint("give `alert_rule_test` or `slo_test`");
    }
    fields.finish(reporter);
    Some(Case { name, line: item.key.line, interval, series, alerts, slos })
}

fn input(item: Field<'_>, reporter: &mut Reporter<'_>) -> Option<(Labels, Values)> {
    let mut fields = Fields::of(item, reporter)?;
    let labels = fields.require("series").and_then(|field| match notation::series(field.text(reporter)?) {
        Ok(labels) => Some(labels),
        Err(error) => {
            reporter.error(field.place(), error);
            None
        }
    });
    let values = fields.require("values").and_then(|field| match notation::values(field.text(reporter)?) {
        Ok(values) => Some(values),
        Err(error) => {
            let hint = "promtool's notation: `1 2 3`, `0+10x30`, `5x10`, `_x3`, `stale`";
            reporter.error(field.place(), error).hint(hint);
            None
        }
    });
    fields.finish(reporter);
    Some((labels?, values?))
}

fn moment(fields: &mut Fields<'_>, reporter: &mut Reporter<'_>) -> Option<Timestamp> {
    fields.require("eval_time").and_then(|field| field.duration(reporter)).map(|span| Timestamp(0) + span)
}

fn alert_test(item: Field<'_>, reporter: &mut Reporter<'_>) -> Option<AlertTest> {
    let mut fields = Fields::of(item, reporter)?;
    let at = moment(&mut fields, reporter);
    let mut text = |name, reporter: &mut _| fields.get(name).and_then(|f| f.text(reporter)).map(str::to_owned);
    let (slo, name) = (text("slo", reporter), text("alertname", reporter));
    let expected = items(fields.get("exp_alerts"), reporter);
    let expected = expected.into_iter().filter_map(|item| expected_alert(item, reporter)).collect();
    fields.finish(reporter);
    Some(AlertTest { line: item.key.line, at: at?, slo, name, expected })
}

fn expected_alert(item: Field<'_>, reporter: &mut Reporter<'_>) -> Option<ExpectedAlert> {
    let mut fields = Fields::of(item, reporter)?;
    let mut pairs = |name, reporter: &mut Reporter<'_>| -> Vec<(String, String)> {
        let pairs = fields.get(name).and_then(|field| field.pairs(reporter));
        let pairs = pairs.into_iter().flatten();
        pairs.filter_map(|pair| Some((pair.name().to_owned(), pair.text(reporter)?.to_owned()))).collect()
    };
    let (labels, annotations) = (pairs("exp_labels", reporter), pairs("exp_annotations", reporter));
    fields.finish(reporter);
    Some(ExpectedAlert { labels, annotations })
}

fn slo_test(item: Field<'_>, reporter: &mut Reporter<'_>) -> Option<SloTest> {
    let mut fields = Fields::of(item, reporter)?;
    let at = moment(&mut fields, reporter);
    let slo = fields.require("slo").and_then(|field| field.text(reporter)).map(str::to_owned);
    let expected = fields.require("exp").and_then(|field| figures(field, reporter));
    fields.finish(reporter);
    Some(SloTest { line: item.key.line, at: at?, slo: slo?, expected: expected? })
}

fn figures(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Vec<Expected>> {
    let mut fields = Fields::of(field, reporter)?;
    let mut expected = Vec::new();
    if let Some(field) = fields.get("state") {
        expected.extend(field.text(reporter).map(|state| Expected::State(state.to_owned())));
    }
    let mut count = |name| fields.get(name).and_then(|field| field.number(reporter));
    let counts =
        [count("good").map(Expected::Good), count("bad").map(Expected::Bad), count("total").map(Expected::Total)];
    expected.extend(counts.into_iter().flatten());
    if let Some(field) = fields.get("budget_remaining") {
        expected.extend(figure(field, Expected::BudgetRemaining, reporter));
    }
    if let Some(field) = fields.get("burn_rates") {
        for pair in field.pairs(reporter).into_iter().flatten() {
            if let Ok(window) = pair.name().parse::<Span>() {
                expected.extend(figure(pair, |rate| Expected::BurnRate(window, rate), reporter));
            } else {
                let message = format!("{} is no window", shown(pair.name()));
                reporter.error(pair.key, message).hint("write it as `5m`, `1h` or `3d`");
            }
        }
    }
    fields.finish(reporter);
    Some(expected)
}

/// A number, or `none`.
fn figure(field: Field<'_>, of: impl Fn(Option<f64>) -> Expected, reporter: &mut Reporter<'_>) -> Option<Expected> {
    if field.scalar() == Some("none") {
        return Some(of(None));
    }
    field.number(reporter).map(|number| of(Some(number)))
}
