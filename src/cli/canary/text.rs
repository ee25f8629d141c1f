//! Rollouts for people: tables with aligned columns, a sentence for each verdict.

use serde_json::Value;

/// Columns are this far apart.
const GAP: &str = "  ";

/// Lines with aligned columns; the last column is as long as it is.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width));
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn text<'v>(value: &'v Value, or: &'v str) -> &'v str {
    value.as_str().unwrap_or(or)
}

/// `2026-11-01 12:30:05Z`
fn moment(value: &Value) -> String {
    let text = text(value, "-");
    match text.split_once('T').zip(text.split_once('.')) {
        Some(((date, _), (seconds, _))) => format!("{date} {}Z", seconds.get(date.len() + 1..).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// One line a service.
pub(super) fn list(canaries: &[Value]) -> String {
    if canaries.is_empty() {
        return "no service has a `canary` block in its spec".to_owned();
    }
    let mut rows = vec![row(["SERVICE", "STABLE", "CANDIDATE", "STATE", "STEP", "VERDICT", "SINCE"])];
    for canary in canaries {
        let rollout = match &canary["rollout"] {
            Value::Null => &canary["past"][0],
            rollout => rollout,
        };
        let since = match &rollout["ended"]["at"] {
            Value::Null => &rollout["startedAt"],
            ended => ended,
        };
        let verdict = text(&rollout["verdict"]["verdict"], "-");
        let mut cells =
            row([text(&canary["service"], ""), text(&canary["stable"], "-"), text(&rollout["version"], "-")]);
        cells.extend(row([text(&rollout["state"], "none"), text(&rollout["stepName"], "-"), verdict]));
        cells.push(moment(since));
        rows.push(cells);
        if let Some(reason) = canary["frozen"].as_str() {
            rows.push(vec![format!("  frozen: {reason}")]);
        }
    }
    // A remark is no cell: it must not make the first column wide.
    let (remarks, lines): (Vec<_>, Vec<_>) = rows.into_iter().enumerate().partition(|(_, row)| row.len() == 1);
    let places: Vec<usize> = lines.iter().map(|(at, _)| *at).collect();
    let aligned = table(&lines.into_iter().map(|(_, row)| row).collect::<Vec<_>>());
    let mut all: Vec<(usize, String)> = places.into_iter().zip(aligned.lines().map(str::to_owned)).collect();
    all.extend(remarks.into_iter().map(|(at, mut row)| (at, row.swap_remove(0))));
    all.sort();
    all.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join("\n")
}

/// One line: what a service's rollout has come to.
pub(super) fn change(canary: &Value) -> String {
    let service = text(&canary["service"], "");
    let rollout = match &canary["rollout"] {
        Value::Null => &canary["past"][0],
        rollout => rollout,
    };
    if rollout.is_null() {
        return format!("{service}: no rollout yet");
    }
    let (version, state) = (text(&rollout["version"], ""), text(&rollout["state"], ""));
    if let Some(reason) = rollout["ended"]["reason"].as_str() {
        return format!("{}  {service} {version}: {state}: {reason}", moment(&rollout["ended"]["at"]));
    }
    let (step, verdict) = (text(&rollout["stepName"], "-"), &rollout["verdict"]);
    let (decision, reason) = (text(&verdict["verdict"], "continue"), text(&verdict["reason"], "not judged yet"));
    let at = if verdict["at"].is_null() { &rollout["startedAt"] } else { &verdict["at"] };
    let held = match rollout["paused"]["actor"].as_str() {
        Some(actor) => format!(" (paused by {actor})"),
        None => String::new(),
    };
    format!("{}  {service} {version} at {step}: {decision}{held}: {reason}", moment(at))
}

/// What makes a change worth a line: not each new figure.
pub(super) fn fingerprint(canary: &Value) -> String {
    let rollout = &canary["rollout"];
    let last = &canary["past"][0];
    let parts = [
        &canary["frozen"],
        &rollout["id"],
        &rollout["state"],
        &rollout["stepName"],
        &rollout["paused"],
        &rollout["verdict"]["verdict"],
        &last["id"],
        &last["ended"],
    ];
    parts.map(Value::to_string).join(" ")
}

/// Everything about a service's rollout.
pub(super) fn canary(canary: &Value) -> String {
    let service = text(&canary["service"], "");
    let stable = text(&canary["stable"], "unknown");
    let mut lines = Vec::new();
    let rollout = &canary["rollout"];
    if rollout.is_null() {
        lines.push(format!("{service}: no rollout, stable is {stable}"));
        if !canary["past"][0].is_null() {
            lines.push(change(canary));
        }
    } else {
        let (version, state) = (text(&rollout["version"], ""), text(&rollout["state"], ""));
        let baseline = text(&rollout["baseline"], "a baseline not known yet");
        lines.push(format!("{service} {version} against {baseline}: {state}"));
        let (started, by) = (moment(&rollout["startedAt"]), text(&rollout["startedBy"], ""));
        lines.push(format!("started {started} by {by}, stable is {stable}"));
        lines.extend(held(rollout));
        lines.push(String::new());
        lines.push(sentence(rollout));
        lines.push(String::new());
        lines.push(steps(rollout));
        let checks = rollout["verdict"]["checks"].as_array().map_or(&[][..], Vec::as_slice);
        if !checks.is_empty() {
            lines.push(String::new());
            lines.push(self::checks(checks, &rollout["policy"]["checks"]));
        }
    }
    if let Some(reason) = canary["frozen"].as_str() {
        lines.push(format!("\nreleases are frozen: {reason}"));
    }
    lines.join("\n")
}

fn held(rollout: &Value) -> Option<String> {
    let paused = &rollout["paused"];
    let reason = text(&paused["reason"], "");
    paused["actor"].as_str().map(|actor| format!("paused by {actor}: {reason}").trim_end_matches(": ").to_owned())
}

fn sentence(rollout: &Value) -> String {
    let verdict = &rollout["verdict"];
    let ended = &rollout["ended"];
    match (ended["outcome"].as_str(), verdict["verdict"].as_str()) {
        (Some(outcome), _) => format!("{outcome} {}: {}", moment(&ended["at"]), text(&ended["reason"], "")),
        (None, Some(decision)) => {
            let step = text(&verdict["step"], "-");
            format!("verdict at {step}: {decision}: {}", text(&verdict["reason"], ""))
        }
        (None, None) => "not judged yet: both versions need samples first".to_owned(),
    }
}

fn steps(rollout: &Value) -> String {
    let mut rows = vec![row(["STEP", "WEIGHT", "BEGAN", "PROMOTED"])];
    for step in rollout["steps"].as_array().into_iter().flatten() {
        let weight = step["weight"].as_f64().map_or_else(|| "-".to_owned(), |weight| format!("{weight}%"));
        let (began, promoted) = (moment(&step["beganAt"]), moment(&step["promotedAt"]));
        rows.push(vec![text(&step["name"], "").to_owned(), weight, began, promoted]);
    }
    table(&rows)
}

fn checks(checks: &[Value], policy: &Value) -> String {
    let mut rows = vec![row(["CHECK", "CANARY", "BASELINE", "VALUE", "INTERVAL", "LIMIT", "STATE", "NEEDS"])];
    for check in checks {
        let unit = text(&check["unit"], "");
        let by_name = |asked: &&Value| asked["name"] == check["check"];
        let is_latency = match policy.as_array().into_iter().flatten().find(by_name) {
            Some(asked) => asked["measure"] == "latency",
            None => unit == "seconds",
        };
        let figure = if is_latency { "seconds" } else { "percent" };
        let interval = match check["interval"].as_array().map(Vec::as_slice) {
            Some([low, high]) => format!("{} to {}", amount(low, unit), amount(high, unit)),
            _ => "-".to_owned(),
        };
        let sign = if check["isLowerLimit"] == true { ">= " } else { "<= " };
        let limit =
            if check["limit"].is_null() { "-".to_owned() } else { format!("{sign}{}", amount(&check["limit"], unit)) };
        let needs = text(&check["timeNeeded"], "-").to_owned();
        let (name, state) = (text(&check["check"], "").to_owned(), text(&check["state"], "").to_owned());
        let figures = [&check["canary"], &check["baseline"]].map(|value| amount(value, figure));
        let [canary, baseline] = figures;
        rows.push(vec![name, canary, baseline, amount(&check["value"], unit), interval, limit, state, needs]);
    }
    let notices = checks.iter().filter_map(|check| Some((check["check"].as_str()?, check["notice"].as_str()?)));
    let notices = notices.map(|(check, notice)| format!("{check}: {notice}"));
    std::iter::once(table(&rows)).chain(notices).collect::<Vec<_>>().join("\n")
}

/// A figure in its unit, with three digits that count.
fn amount(value: &Value, unit: &str) -> String {
    let Some(value) = value.as_f64() else { return "-".to_owned() };
    match unit {
        "percent" | "relative" => format!("{} %", short(100.0 * value)),
        "points" => format!("{} pp", short(100.0 * value)),
        "seconds" if value.abs() < 1.0 => format!("{} ms", short(1_000.0 * value)),
        "seconds" => format!("{} s", short(value)),
        "burn" => format!("{}x", short(value)),
        _ => short(value),
    }
}

fn short(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 8) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn rollout() -> Value {
        json!({
            "id": "pay/v2@1", "version": "v2", "baseline": "v1", "state": "in-progress", "stepName": "5%",
            "startedAt": "2026-11-01T00:00:00.000Z", "startedBy": "discovery", "ended": null, "paused": null,
            "steps": [
                {"name": "staff", "weight": null, "beganAt": "2026-11-01T00:00:00.000Z", "promotedAt": "2026-11-01T00:30:00.000Z"},
                {"name": "5%", "weight": 5.0, "beganAt": "2026-11-01T00:30:00.000Z", "promotedAt": null},
            ],
            "policy": {"checks": [{"name": "errors", "measure": "errors"}, {"name": "latency p99", "measure": "latency"}]},
            "verdict": {
                "verdict": "continue", "step": "5%", "reason": "errors is not decided", "at": "2026-11-01T00:31:00.000Z",
                "checks": [
                    {
                        "check": "errors", "state": "undecided", "canary": 0.012, "baseline": 0.01, "value": 0.2,
                        "interval": [-0.1, 0.5], "limit": 0.25, "isLowerLimit": false, "unit": "relative",
                        "timeNeeded": "3m", "notice": null,
                    },
                    {
                        "check": "latency p99", "state": "safe", "canary": 0.21, "baseline": 1.25, "value": -0.8,
                        "interval": null, "limit": 0.2, "isLowerLimit": false, "unit": "relative",
                        "timeNeeded": null, "notice": "the buckets are too coarse",
                    },
                    {"check": "audits", "state": "undecided"},
                ],
            },
        })
    }

    #[test]
    fn a_rollout_reads_from_the_verdict_to_each_check() {
        let shown = canary(&json!({"service": "pay", "stable": "v1", "rollout": rollout(), "past": []}));
        let expected = "\
pay v2 against v1: in-progress
started 2026-11-01 00:00:00Z by discovery, stable is v1

verdict at 5%: continue: errors is not decided

STEP   WEIGHT  BEGAN                 PROMOTED
staff  -       2026-11-01 00:00:00Z  2026-11-01 00:30:00Z
5%     5%      2026-11-01 00:30:00Z  -

CHECK        CANARY  BASELINE  VALUE  INTERVAL       LIMIT    STATE      NEEDS
errors       1.2 %   1 %       20 %   -10 % to 50 %  <= 25 %  undecided  3m
latency p99  210 ms  1.25 s    -80 %  -              <= 20 %  safe       -
audits       -       -         -      -              -        undecided  -
latency p99: the buckets are too coarse";
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_list_has_a_line_for_each_service_and_says_what_is_frozen() {
        let ended = json!({"version": "v3", "state": "promoted", "ended": {"at": "2026-11-01T01:00:00.000Z"}});
        let shown = list(&[
            json!({"service": "pay", "stable": "v1", "rollout": rollout(), "past": [], "frozen": "8 % of the budget left"}),
            json!({"service": "checkout", "stable": "v3", "rollout": null, "past": [ended]}),
            json!({"service": "new", "stable": null, "rollout": null, "past": []}),
        ]);
        let expected = "\
SERVICE   STABLE  CANDIDATE  STATE        STEP  VERDICT   SINCE
pay       v1      v2         in-progress  5%    continue  2026-11-01 00:00:00Z
  frozen: 8 % of the budget left
checkout  v3      v3         promoted     -     -         2026-11-01 01:00:00Z
new       -       -          none         -     -         -";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_change_is_a_verdict_a_step_or_an_end_but_no_new_figure() {
        let canary = |rollout: Value| json!({"service": "pay", "rollout": rollout, "past": []});
        let with = |key: &str, value: Value| {
            let mut rollout = rollout();
            rollout[key] = value;
            canary(rollout)
        };
        let first = canary(rollout());
        assert_eq!(change(&first), "2026-11-01 00:31:00Z  pay v2 at 5%: continue: errors is not decided");
        let mut figures = first.clone();
        figures["rollout"]["verdict"]["reason"] = json!("errors is not decided yet, after 12 events more");
        assert_eq!(fingerprint(&first), fingerprint(&figures));
        for other in [
            with("stepName", json!("50%")),
            with("state", json!("paused")),
            with("verdict", json!({"verdict": "pause"})),
            with("paused", json!({"actor": "alice"})),
            canary(Value::Null),
        ] {
            assert_ne!(fingerprint(&first), fingerprint(&other), "{other}");
        }
    }
}
