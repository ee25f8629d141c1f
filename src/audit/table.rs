//! A report as text, Markdown or JSON.

use serde_json::{Value, json};

use super::report::{Cell, Report};
use crate::rollout::Ending;
use crate::types::Span;

const HEADINGS: [&str; 11] = [
    "service",
    "week",
    "ended",
    "promoted",
    "rolled back",
    "aborted",
    "superseded",
    "failure rate",
    "rollback (step)",
    "rollback (start)",
    "lead time",
];

impl Report {
    /// For people: a line for each service and week, one for all weeks of a service, and one for all.
    pub fn to_text(&self) -> String {
        let rows = self.rows();
        let mut widths = HEADINGS.map(|heading| heading.chars().count());
        for row in &rows {
            widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.chars().count()));
        }
        let line = |row: &[String]| {
            // Words to the left, figures to the right.
            let cells = row.iter().zip(widths).enumerate().map(|(at, (cell, width))| match at {
                0 | 1 => format!("{cell:width$}"),
                _ => format!("{cell:>width$}"),
            });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        let head = line(&HEADINGS.map(str::to_owned));
        let lines = rows.iter().map(|row| line(row));
        let mut text: Vec<String> = [head].into_iter().chain(lines).collect();
        text.push(String::new());
        text.extend(self.budget_lines());
        text.join("\n") + "\n"
    }

    /// For a wiki or a merge request.
    pub fn to_markdown(&self) -> String {
        let escaped = |cell: &String| cell.replace('|', "\\|");
        let line = |row: &[String]| format!("| {} |", row.iter().map(escaped).collect::<Vec<_>>().join(" | "));
        let rule = format!("|---|---|{}", "---:|".repeat(HEADINGS.len() - 2));
        let mut text = vec![format!("Releases since {}", self.since.to_rfc3339()), String::new()];
        text.extend([line(&HEADINGS.map(str::to_owned)), rule]);
        text.extend(self.rows().iter().map(|row| line(row)));
        text.push(String::new());
        text.extend(self.budget_lines().iter().map(|line| format!("- {}", line.trim_start())));
        text.join("\n") + "\n"
    }

    /// For programs. Times are in seconds.
    pub fn to_json(&self) -> Value {
        let weeks = self.cells.iter().map(|((service, week), cell)| {
            let mut value = json!({"service": service, "week": week.name(), "begins": week.begins()});
            extend(&mut value, figures(cell));
            value
        });
        let services = self.services().into_iter().map(|(service, cell)| {
            let mut value = json!({"service": service});
            extend(&mut value, figures(&cell));
            value
        });
        json!({
            "since": self.since.to_rfc3339(),
            "weeks": weeks.collect::<Vec<_>>(),
            "services": services.collect::<Vec<_>>(),
            "total": figures(&self.total()),
            "budgets": self.budgets,
        })
    }

    fn rows(&self) -> Vec<Vec<String>> {
        let services = self.services();
        let mut rows = Vec::new();
        for (service, cell) in &services {
            let weeks: Vec<_> = self.cells.iter().filter(|((name, _), _)| name == service).collect();
            rows.extend(weeks.iter().map(|((_, week), cell)| row(service, &week.name(), cell)));
            if weeks.len() > 1 {
                rows.push(row(service, "all", cell));
            }
        }
        rows.push(row("total", "all", &self.total()));
        rows
    }

    fn budget_lines(&self) -> Vec<String> {
        match &self.budgets {
            None => vec!["Budget spent: unknown, as no daemon was asked (--url)".to_owned()],
            Some(budgets) if budgets.is_empty() => vec!["Budget spent: there are no SLOs".to_owned()],
            Some(budgets) => {
                let line = |budget: &super::Budget| {
                    let spent = budget.spent.map_or("no data".to_owned(), percent);
                    format!("Budget spent: {}/{} {spent} over {}", budget.service, budget.slo, budget.period)
                };
                budgets.iter().map(line).collect()
            }
        }
    }
}

fn row(service: &str, week: &str, cell: &Cell) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let short = |span: Option<Span>| or_dash(span.map(|span| Span(span.as_millis() / 1_000 * 1_000).to_string()));
    let count = |ending| cell.count(ending).to_string();
    vec![
        service.to_owned(),
        week.to_owned(),
        cell.deployments().to_string(),
        count(Ending::Promoted),
        count(Ending::RolledBack),
        count(Ending::Aborted),
        count(Ending::Superseded),
        or_dash(cell.failure_rate().map(percent)),
        short(cell.roll_back_from_step()),
        short(cell.roll_back_from_start()),
        short(cell.lead_time()),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn figures(cell: &Cell) -> Value {
    let seconds = |span: Option<Span>| span.map(Span::as_secs_f64);
    json!({
        "ended": cell.deployments(),
        "promoted": cell.count(Ending::Promoted),
        "rolledBack": cell.count(Ending::RolledBack),
        "aborted": cell.count(Ending::Aborted),
        "superseded": cell.count(Ending::Superseded),
        "changeFailureRate": cell.failure_rate(),
        "timeToRollBackFromStep": seconds(cell.roll_back_from_step()),
        "timeToRollBackFromStart": seconds(cell.roll_back_from_start()),
        "leadTime": seconds(cell.lead_time()),
    })
}

fn extend(value: &mut Value, more: Value) {
    if let (Value::Object(object), Value::Object(more)) = (value, more) {
        object.extend(more);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Budget;
    use crate::audit::report::tests::example;

    fn with_budgets() -> Report {
        let budget = |slo: &str, spent| Budget {
            service: "pay".to_owned(),
            slo: slo.to_owned(),
            period: "30d".to_owned(),
            spent,
        };
        Report { budgets: Some(vec![budget("availability", Some(0.4213)), budget("latency", None)]), ..example() }
    }

    #[test]
    fn text_and_markdown() {
        insta::assert_snapshot!("report_text", with_budgets().to_text());
        insta::assert_snapshot!("report_markdown", example().to_markdown());
    }

    #[test]
    fn json_has_seconds_and_nulls() {
        let report = with_budgets().to_json();
        assert_eq!(report["weeks"][0]["timeToRollBackFromStep"], 300.0);
        assert_eq!(report["weeks"][1]["leadTime"], Value::Null);
        assert_eq!((&report["total"]["ended"], &report["services"][1]["changeFailureRate"]), (&json!(5), &json!(0.5)));
        assert_eq!(
            report["budgets"][0],
            json!({"service": "pay", "slo": "availability", "period": "30d", "spent": 0.4213})
        );
        assert_eq!(example().to_json()["budgets"], Value::Null);
    }
}
