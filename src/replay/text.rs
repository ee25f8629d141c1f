//! A replay for people: when alerts fired and for how long, then a line for each SLO. Times are UTC.

use std::fmt::Write;

use crate::engine::{SloState, SloView};
use crate::replay::Outcome;
use crate::replay::compare::Pair;
use crate::replay::summary::{Episode, Lasting, SloSummary};
use crate::rollout::Happened;
use crate::spec::naming;
use crate::types::{Span, Timestamp};

/// Stands where there is no figure.
const NONE: &str = "-";

/// Every alert that fired, by SLO; then the SLOs that had none.
pub fn timeline(outcome: &Outcome, summaries: &[SloSummary]) -> String {
    let mut text = String::new();
    for summary in summaries.iter().filter(|s| !s.episodes.is_empty()) {
        let mut table = Table::default();
        for episode in &summary.episodes {
            table.row(episode_row(episode, outcome.to));
        }
        let _ = writeln!(text, "{}\n{}", summary.title, table.render("  "));
    }
    let quiet: Vec<&str> = summaries.iter().filter(|s| s.episodes.is_empty()).map(|s| s.title.as_str()).collect();
    if !quiet.is_empty() {
        let _ = writeln!(text, "No alert: {}\n", quiet.join(", "));
    }
    text
}

/// Every rollout that was judged: its verdicts, and how it ended.
pub fn rollouts(outcome: &Outcome) -> String {
    let mut text = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for first in &outcome.records {
        if seen.contains(&first.rollout.as_str()) {
            continue;
        }
        seen.push(&first.rollout);
        let mut table = Table::default();
        for record in outcome.records.iter().filter(|record| record.rollout == first.rollout) {
            let (what, step, why) = match &record.event {
                Happened::Verdict { verdict, .. } => {
                    (verdict.decision.as_str(), verdict.step.as_str(), verdict.reason.as_str())
                }
                Happened::Ended { outcome, reason, .. } => (outcome.as_str(), "", reason.as_str()),
                _ => continue,
            };
            table.row(vec![
                Cell::left(moment(record.at)),
                Cell::right(rounded(record.at.since(first.at))),
                Cell::left(step),
                Cell::left(what),
                Cell::left(why),
            ]);
        }
        let against = first.baseline.as_ref().map(|baseline| format!(" against {baseline}")).unwrap_or_default();
        let _ = writeln!(text, "{} {}{against}\n{}", first.service, first.version, table.render("  "));
    }
    text
}

fn episode_row(episode: &Episode, end: Timestamp) -> Vec<Cell> {
    let word = if episode.is_page() { "page" } else { "ticket" };
    let until = episode.resolved_at.map_or_else(|| "still firing".to_owned(), |at| format!("to {}", moment(at)));
    let condition = episode.condition();
    let shown = |span: &Span| condition.split('/').any(|window| window == naming::window_text(*span));
    let burn = episode.burn_rates.iter().filter(|(span, _)| shown(span));
    let burn: Vec<String> =
        burn.map(|(span, rate)| format!("{} over {}", figure(*rate), naming::window_text(*span))).collect();
    let why = if burn.is_empty() {
        format!("{} left", percent(episode.value))
    } else {
        format!("burn rate {}", burn.join(", "))
    };
    vec![
        Cell::left(word),
        Cell::left(condition),
        Cell::left(moment(episode.fired_at)),
        Cell::left(until),
        Cell::right(rounded(episode.lasting(end).span)),
        Cell::left(why),
    ]
}

/// One line for each SLO.
pub fn summary(summaries: &[SloSummary]) -> String {
    let mut table = Table::default();
    table.row(
        [Cell::left("SLO"), Cell::right("objective")]
            .into_iter()
            .chain(
                ["pages", "tickets", "pages/week", "longest page", "budget spent", "events"]
                    .into_iter()
                    .map(Cell::right),
            )
            .chain([Cell::left("state")])
            .collect(),
    );
    for summary in summaries {
        let view = &summary.view;
        table.row(vec![
            Cell::left(&summary.title),
            Cell::right(format!("{} %", view.objective)),
            Cell::right(summary.pages.to_string()),
            Cell::right(summary.tickets.to_string()),
            Cell::right(rate(summary.pages_per_week)),
            Cell::right(longest(summary.longest_page)),
            Cell::right(spent(view).map_or_else(|| NONE.to_owned(), percent)),
            Cell::right(thousands(view.budget.events.total)),
            Cell::left(state(view)),
        ]);
    }
    table.render("")
}

/// One line for each SLO of either set, `against -> rules`, and what to make of it.
pub fn comparison(pairs: &[Pair<'_>]) -> String {
    let mut table = Table::default();
    let heads = ["SLO", "pages", "tickets", "pages/week", "longest page", "budget spent", "state"];
    table.row(heads.into_iter().map(Cell::left).collect());
    for pair in pairs {
        let both = |show: &dyn Fn(&SloSummary) -> String| {
            let side = |summary: Option<&SloSummary>| summary.map_or_else(|| "none".to_owned(), show);
            let (before, after) = (side(pair.against), side(pair.rules));
            if before == after { before } else { format!("{before} -> {after}") }
        };
        let spent = |s: &SloSummary| spent(&s.view).map_or_else(|| NONE.to_owned(), percent);
        let mut budget = both(&spent);
        if let Some(change) = budget_change(pair).filter(|change| *change != 0.0) {
            let _ = write!(budget, " ({}{:.2} pp)", if change > 0.0 { "+" } else { "" }, change * 100.0);
        }
        table.row(vec![
            Cell::left(pair.id()),
            Cell::left(both(&|s| s.pages.to_string())),
            Cell::left(both(&|s| s.tickets.to_string())),
            Cell::left(both(&|s| rate(s.pages_per_week))),
            Cell::left(both(&|s| longest(s.longest_page))),
            Cell::left(budget),
            Cell::left(both(&|s| s.view.state.as_str().to_owned())),
        ]);
    }
    let mut text = table.render("");
    text.push('\n');
    let more = |a: usize, b: usize| move |pair: &&Pair<'_>| counts(pair).is_some_and(|c| c[a] > c[b]);
    for (what, pairs) in [
        ("Pages more often", pairs.iter().filter(more(1, 0)).collect::<Vec<_>>()),
        ("Pages less often", pairs.iter().filter(more(0, 1)).collect()),
        ("New", pairs.iter().filter(|p| p.against.is_none()).collect()),
        ("Gone", pairs.iter().filter(|p| p.rules.is_none()).collect()),
    ] {
        if !pairs.is_empty() {
            let ids: Vec<&str> = pairs.iter().map(|pair| pair.id()).collect();
            let _ = writeln!(text, "{what}: {}", ids.join(", "));
        }
    }
    if pairs.iter().all(|pair| counts(pair).is_some_and(|[before, after]| before == after)) {
        text.push_str("Every SLO pages as often as before.\n");
    }
    text
}

/// Pages before and after, where both sets have the SLO.
fn counts(pair: &Pair<'_>) -> Option<[usize; 2]> {
    Some([pair.against?.pages, pair.rules?.pages])
}

fn budget_change(pair: &Pair<'_>) -> Option<f64> {
    Some(spent(&pair.rules?.view)? - spent(&pair.against?.view)?)
}

/// The share of the budget that is spent.
fn spent(view: &SloView) -> Option<f64> {
    view.budget.remaining.map(|left| 1.0 - left)
}

/// A state; one that is not whole yet says how much of it there is.
fn state(view: &SloView) -> String {
    let (budget, word) = (&view.budget, view.state.as_str());
    if view.state == SloState::NoData || !budget.is_warming() {
        return word.to_owned();
    }
    let period = naming::window_text(budget.period);
    let covered = if budget.covered < Span::days(1) {
        rounded(budget.covered)
    } else {
        format!("{}d", budget.covered.as_days_f64().floor())
    };
    format!("{word}, {covered} of {period}")
}

/// `2026-10-01 12:03:15`, with milliseconds where there are any.
pub fn moment(at: Timestamp) -> String {
    let text = at.to_rfc3339().replace('T', " ");
    let text = text.trim_end_matches('Z');
    text.strip_suffix(".000").unwrap_or(text).to_owned()
}

/// A length of time without the milliseconds of a long one.
pub fn rounded(span: Span) -> String {
    let unit = if span < Span::minutes(1) { 1 } else { 1_000 };
    Span(span.as_millis() / unit * unit).to_string()
}

fn longest(page: Option<Lasting>) -> String {
    page.map_or_else(
        || NONE.to_owned(),
        |page| if page.is_open { format!("over {}", rounded(page.span)) } else { rounded(page.span) },
    )
}

fn rate(per_week: Option<f64>) -> String {
    per_week.map_or_else(|| NONE.to_owned(), |rate| format!("{rate:.1}"))
}

/// Three digits or so.
fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

fn percent(share: f64) -> String {
    format!("{} %", figure(share * 100.0))
}

/// A count in groups of three digits; a window's share of a slice may leave a fraction.
pub fn thousands(count: f64) -> String {
    let digits = format!("{:.0}", count.max(0.0));
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|g| std::str::from_utf8(g).unwrap_or("")).collect();
    groups.join(",")
}

/// Columns as wide as they need to be.
#[derive(Debug, Default)]
struct Table {
    rows: Vec<Vec<Cell>>,
}

#[derive(Debug)]
struct Cell {
    text: String,
    is_number: bool,
}

impl Cell {
    fn left(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_number: false }
    }

    fn right(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_number: true }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl Table {
    fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    fn render(&self, indent: &str) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| self.rows.iter().filter_map(|row| row.get(at)).map(Cell::width).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, &width)| {
                if cell.is_number { format!("{:>width$}", cell.text) } else { format!("{:<width$}", cell.text) }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            let _ = writeln!(text, "{indent}{}", line.trim_end());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!(figure(20.123), "20.1");
        assert_eq!(percent(0.001_234), "0.12 %");
        assert_eq!(percent(12.5), "1250 %");
        assert_eq!(thousands(1_234_567.4), "1,234,567");
        assert_eq!(thousands(123.0), "123");
        assert_eq!(moment(Timestamp(1_793_491_200_000)), "2026-11-01 00:00:00");
        assert_eq!(moment(Timestamp(1_793_491_200_120)), "2026-11-01 00:00:00.120");
        assert_eq!(rounded(Span(2_265_499)), "37m45s");
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::default();
        table.row(vec![Cell::left("é"), Cell::right("12"), Cell::left("x")]);
        table.row(vec![Cell::left("long"), Cell::right("3"), Cell::left("")]);
        assert_eq!(table.render(" "), " é     12  x\n long   3\n");
    }
}
