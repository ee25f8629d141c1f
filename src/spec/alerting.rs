//! The `alerting` block of an SLO.

use crate::spec::decode::{Field, Fields};
use crate::spec::diagnostic::Reporter;
use crate::spec::labels::{annotations, labels};
use crate::spec::lint;
use crate::spec::naming::window_text;
use crate::spec::source::Place;
use crate::spec::{Alerting, Policy, Severity, SeverityOptions, Tier};
use crate::types::{Objective, Span};

const DEFAULT_ALERT_NAME: &str = "ErrorBudgetBurn";
const TIERS_LIMIT_COUNT: usize = 16;
const BUDGET_ALERTS_LIMIT_COUNT: usize = 16;

impl Alerting {
    /// What an SLO without an `alerting` block has: the workbook's windows, everything enabled.
    pub fn for_period(period: Span) -> Self {
        Self {
            name: DEFAULT_ALERT_NAME.to_owned(),
            policy: Policy::for_period(period),
            labels: crate::types::Labels::new(),
            annotations: Vec::new(),
            page: SeverityOptions::default(),
            ticket: SeverityOptions::default(),
            for_: Span::ZERO,
            keep_firing_for: Span::ZERO,
            min_events: None,
            budget_remaining: Vec::new(),
        }
    }
}

/// What the windows are judged against.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub objective: Option<Objective>,
    /// Of the objective, for findings about the default windows.
    pub place: Place,
    pub period: Span,
}

/// Reads the block, and the severity of its alert without data; fields that cannot be read keep their defaults, and
/// are reported.
pub(crate) fn alerting(
    field: Option<Field<'_>>,
    target: Target,
    reporter: &mut Reporter<'_>,
) -> (Alerting, Option<Severity>) {
    let mut alerting = Alerting::for_period(target.period);
    let (mut places, mut no_data) = (Vec::new(), None);
    if let Some(mut fields) = field.and_then(|field| Fields::of(field, reporter)) {
        if let Some(field) = fields.get("name") {
            alerting.name = alert_name(field, reporter).unwrap_or(alerting.name);
        }
        if let Some(field) = fields.get("labels") {
            alerting.labels = labels(field, reporter).unwrap_or_default();
        }
        if let Some(field) = fields.get("annotations") {
            alerting.annotations = annotations(field, reporter).unwrap_or_default();
        }
        if let Some(field) = fields.get("page") {
            alerting.page = severity_options(field, reporter);
        }
        if let Some(field) = fields.get("ticket") {
            alerting.ticket = severity_options(field, reporter);
        }
        if let Some(field) = fields.get("windows") {
            let mut tiers = windows(field, target.period, reporter);
            // Pages first, faster ones first: the order the policy promises.
            tiers.sort_by_key(|(tier, _)| (tier.severity, tier.long, tier.short));
            (alerting.policy.tiers, places) = tiers.into_iter().unzip();
        }
        if let Some(field) = fields.get("for") {
            alerting.for_ = field.duration(reporter).unwrap_or_default();
        }
        if let Some(field) = fields.get("keepFiringFor") {
            alerting.keep_firing_for = field.duration(reporter).unwrap_or_default();
        }
        if let Some(field) = fields.get("minEvents") {
            alerting.min_events = field.count(reporter);
            lint::min_events(&alerting, field, reporter);
        }
        if let Some(field) = fields.get("budgetRemaining") {
            alerting.budget_remaining = budget_remaining(field, reporter);
        }
        no_data = fields.get("noData").and_then(|field| severity(field, reporter));
        fields.finish(reporter);
    }
    if let Some(objective) = target.objective {
        lint::tiers(&alerting, &places, objective, target.place, reporter);
    }
    (alerting, no_data)
}

fn alert_name(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<String> {
    let name = field.text(reporter)?;
    if name.trim().is_empty() {
        reporter.error(field.place(), "the alert's name is empty");
        return None;
    }
    Some(name.to_owned())
}

fn severity_options(field: Field<'_>, reporter: &mut Reporter<'_>) -> SeverityOptions {
    let mut options = SeverityOptions::default();
    if matches!(field.scalar(), Some("true" | "false")) {
        let hint = "`{disabled: true}` turns alerts off; without a value they are on";
        field.mismatch("a mapping", reporter).hint(hint);
        return options;
    }
    let Some(mut fields) = Fields::of(field, reporter) else { return options };
    if let Some(field) = fields.get("disabled") {
        options.disabled = field.boolean(reporter).unwrap_or_default();
    }
    if let Some(field) = fields.get("labels") {
        options.labels = labels(field, reporter).unwrap_or_default();
    }
    if let Some(field) = fields.get("annotations") {
        options.annotations = annotations(field, reporter).unwrap_or_default();
    }
    fields.finish(reporter);
    options
}

/// The user's own tiers, with the place of what sets each one's factor.
fn windows(field: Field<'_>, period: Span, reporter: &mut Reporter<'_>) -> Vec<(Tier, Place)> {
    let Some(items) = field.items(reporter) else { return Vec::new() };
    if items.is_empty() {
        let hint = "leave `windows` out for the default ones; `page: {disabled: true}` turns alerts off";
        reporter.error(field.key, "`windows` is empty").hint(hint);
    }
    if let Some(extra) = items.get(TIERS_LIMIT_COUNT) {
        reporter.error(extra.key, format!("more than {TIERS_LIMIT_COUNT} windows"));
    }
    items.into_iter().take(TIERS_LIMIT_COUNT).filter_map(|item| tier(item, period, reporter)).collect()
}

fn tier(item: Field<'_>, period: Span, reporter: &mut Reporter<'_>) -> Option<(Tier, Place)> {
    let mut fields = Fields::of(item, reporter)?;
    let severity = fields.require("severity").and_then(|field| severity(field, reporter));
    let short = fields.require("short").and_then(|field| window(field, reporter));
    let long = fields.require("long").and_then(|field| window(field, reporter));
    let factor = fields.get("factor");
    let percent = fields.get("budgetPercent");
    fields.finish(reporter);
    if let (Some((short, _)), Some((long, field))) = (short, long) {
        if short >= long {
            let hint = "the long window shows that much is burnt, the short one that it still burns: `5m` with `1h`";
            let (long, short) = (window_text(long), window_text(short));
            let message = format!("the long window ({long}) must be longer than the short one ({short})");
            reporter.error(field.place(), message).hint(hint);
        } else if long > period {
            let (long, period) = (window_text(long), window_text(period));
            let message = format!("the long window ({long}) is longer than the period ({period})");
            reporter.error(field.place(), message).hint("a window within the period is meant");
        }
    }
    if let Some((short, field)) = short {
        lint::short_window(short, field, reporter);
    }
    let number = match (factor, percent) {
        (Some(factor), None) => positive(factor, f64::INFINITY, reporter),
        (None, Some(percent)) => positive(percent, 100.0, reporter),
        (None, None) => {
            let message = "`factor` or `budgetPercent` is missing in an item of `windows`";
            let hint = "`factor: 14.4` is a burn rate; `budgetPercent: 2` is the share spent within the long window";
            reporter.error(item.key, message).hint(hint);
            None
        }
        (Some(_), Some(percent)) => {
            let hint = "keep one: each follows from the other, the long window and the period";
            reporter.error(percent.key, "`factor` and `budgetPercent` are both given").hint(hint);
            None
        }
    };
    let place = factor.or(percent)?.place();
    let (severity, (short, _), (long, _), number) = (severity?, short?, long?, number?);
    let tier = if factor.is_some() {
        Tier { severity, short, long, factor: number }
    } else {
        Tier::from_budget_percent(severity, short, long, number, period)
    };
    Some((tier, place))
}

fn severity(field: Field<'_>, reporter: &mut Reporter<'_>) -> Option<Severity> {
    let severity =
        [Severity::Page, Severity::Ticket].into_iter().find(|severity| Some(severity.as_str()) == field.scalar());
    if severity.is_none() {
        field.mismatch("`page` or `ticket`", reporter);
    }
    severity
}

fn window<'n>(field: Field<'n>, reporter: &mut Reporter<'_>) -> Option<(Span, Field<'n>)> {
    let window = field.duration(reporter)?;
    if window == Span::ZERO {
        reporter.error(field.place(), "a window cannot be empty").hint("write, for example, `5m`");
        return None;
    }
    Some((window, field))
}

fn positive(field: Field<'_>, most: f64, reporter: &mut Reporter<'_>) -> Option<f64> {
    let number = field.number(reporter)?;
    if number <= 0.0 || number > most {
        let most = if most.is_finite() { format!(" and at most {most}") } else { String::new() };
        reporter.error(field.place(), format!("{} must be above 0{most}, not {number}", field.what));
        return None;
    }
    Some(number)
}

/// Percentages, descending.
fn budget_remaining(field: Field<'_>, reporter: &mut Reporter<'_>) -> Vec<f64> {
    let Some(items) = field.items(reporter) else { return Vec::new() };
    if let Some(extra) = items.get(BUDGET_ALERTS_LIMIT_COUNT) {
        reporter.error(extra.key, format!("more than {BUDGET_ALERTS_LIMIT_COUNT} budget alerts"));
    }
    let mut percentages: Vec<f64> = Vec::new();
    for item in items.into_iter().take(BUDGET_ALERTS_LIMIT_COUNT) {
        match item.number(reporter) {
            Some(percent) if !(0.0..100.0).contains(&percent) => {
                let message = format!("a budget alert lies from 0 to below 100 percent, not at {percent}");
                reporter.error(item.place(), message).hint("`[50, 10]` alerts when half, then a tenth is left");
            }
            Some(percent) if percentages.contains(&percent) => {
                reporter.error(item.place(), format!("{percent} is given twice"));
            }
            Some(percent) => percentages.push(percent),
            None => {}
        }
    }
    percentages.sort_by(|a, b| b.total_cmp(a));
    percentages
}
