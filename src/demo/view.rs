//! What the demo says, as lines: pure, so that it can be read in tests.

use url::Url;

use crate::demo::screen::{Ink, Row, Signs, row};
use crate::demo::sink::{AlertMessage, RolloutMessage};
use crate::engine::{SloState, SloView, Snapshot};
use crate::spec::naming;
use crate::types::{Span, Timestamp};

const BAR_CELLS: usize = 10;
/// The windows of the table.
const WINDOWS: [Span; 2] = [Span::minutes(5), Span::hours(1)];

/// Rates over this stand out: the workbook's factor for 5 m and 1 h.
const FAST_BURN: f64 = 14.4;

/// What a line of the timeline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The history is in.
    Ready,
    /// A release is tried on a share of the requests.
    Canary,
    /// A release goes out.
    Deploy,
    /// It is taken back.
    Rollback,
    /// Something worth knowing.
    Note,
}

impl Mark {
    const fn word(self) -> &'static str {
        match self {
            Self::Ready => "READY",
            Self::Canary => "CANARY",
            Self::Deploy => "DEPLOY",
            Self::Rollback => "ROLLBACK",
            Self::Note => "NOTE",
        }
    }

    const fn sign(self, signs: Signs) -> &'static str {
        match (self, signs) {
            (Self::Ready, _) => good(signs),
            (Self::Canary | Self::Deploy, Signs::Unicode) => "↑",
            (Self::Rollback, Signs::Unicode) => "↓",
            (Self::Note, Signs::Unicode) => "·",
            (Self::Canary | Self::Deploy, Signs::Ascii) => ">",
            (Self::Rollback, Signs::Ascii) => "<",
            (Self::Note, Signs::Ascii) => "-",
        }
    }
}

/// What comes first.
pub fn header(url: &str, sink_url: &str) -> Vec<Row> {
    vec![
        vec![(Ink::Bold, "sloburn demo".to_owned()), (Ink::Plain, format!("  {url}"))],
        Row::new(),
        row(Ink::Plain, "Six simulated services send it metrics by remote write, as Prometheus would:"),
        row(
            Ink::Plain,
            "30 days of history first, then live. Two releases are tried as canaries, a bad one of payments",
        ),
        row(
            Ink::Plain,
            "and a good one of catalog: the verdicts move the traffic. And checkout ships without a canary.",
        ),
        row(Ink::Plain, format!("Alerts go to a webhook at {sink_url}, which checks their signatures.")),
        row(Ink::Plain, "(1 ms) is how long one took from the sample to the webhook. Times are UTC."),
        row(Ink::Plain, "Nothing is kept on disk. Ctrl-C ends it."),
        Row::new(),
    ]
}

/// How far the history is.
pub fn progress(done: usize, of: usize, samples: u64, elapsed: Span, signs: Signs) -> Row {
    let share = done as f64 / of.max(1) as f64;
    let eta = elapsed.as_secs_f64() * (1.0 - share) / share.max(0.01);
    let text = format!(
        " {:>3.0} %  {} samples  {}/s  {eta:.0} s left",
        share * 100.0,
        grouped(samples),
        grouped(per_second(samples, elapsed))
    );
    vec![(Ink::Plain, "history  ".to_owned()), (Ink::Green, bar(share, 2 * BAR_CELLS, signs)), (Ink::Plain, text)]
}

/// The history is in.
pub fn history_sent(samples: u64, elapsed: Span) -> String {
    let times = Span::days(30).as_secs_f64() / elapsed.as_secs_f64().max(0.001);
    format!(
        "30 days of history in {:.1} s: {} samples, {} times real time",
        elapsed.as_secs_f64(),
        grouped(samples),
        grouped(times as u64)
    )
}

fn per_second(samples: u64, elapsed: Span) -> u64 {
    (samples as f64 / elapsed.as_secs_f64().max(0.001)) as u64
}

/// A line of the timeline: something the story does, or explains.
pub fn event(at: Timestamp, mark: Mark, subject: &str, text: &str, signs: Signs) -> Row {
    let ink = if mark == Mark::Note { Ink::Faint } else { Ink::Cyan };
    timeline(at, (ink, mark.sign(signs), mark.word()), subject, text)
}

/// A line of the timeline: an alert that arrived `after` the sample that made the difference was sent.
pub fn alert(at: Timestamp, alert: &AlertMessage, after: Span, signs: Signs) -> Row {
    let (ink, sign) = match (alert.is_resolved(), alert.is_page()) {
        (true, _) => (Ink::Green, good(signs)),
        (false, true) => (Ink::Red, bad(signs)),
        (false, false) => (Ink::Yellow, bad(signs)),
    };
    let rate = |label| alert.window(label).map(|(window, rate)| format!("{} over {window}", times(rate)));
    let rates: Vec<String> = [naming::LABEL_SHORT, naming::LABEL_LONG].into_iter().filter_map(rate).collect();
    let text = match alert.duration() {
        Some(duration) => {
            format!("lasted {:.0} s, now {}", duration.as_secs_f64(), rates.first().map_or("over", |rate| rate))
        }
        None => format!("burns {}", rates.join(" and ")),
    };
    let word = format!("{} {}", alert.severity.to_uppercase(), alert.state);
    let mut line = timeline(at, (ink, sign, &word), &alert.slo, &text);
    // An alert may end by the mere passing of time.
    if !alert.is_resolved() {
        line.push(took(after));
    }
    line
}

/// A line of the timeline: a verdict, or the end of a rollout; nothing else is worth one.
pub fn rollout(at: Timestamp, rollout: &RolloutMessage, after: Span, signs: Signs) -> Option<Row> {
    let decision = rollout.decision.as_deref();
    let (ink, sign, word) = match (decision, rollout.outcome.as_deref()) {
        (Some("promote"), _) => (Ink::Green, good(signs), "PROMOTE"),
        (Some("rollback"), _) => (Ink::Red, bad(signs), "ROLL BACK"),
        (Some("pause"), _) => (Ink::Yellow, bad(signs), "PAUSE"),
        (_, Some("promoted")) => (Ink::Green, good(signs), "PROMOTED"),
        _ => return None,
    };
    let step = rollout.step.as_ref().map(|step| format!(" at {step}")).unwrap_or_default();
    let text = format!("{}{step}: {}", rollout.version, rollout.reason);
    let mut line = timeline(at, (ink, sign, word), &rollout.service, &text);
    if decision == Some("rollback") {
        line.push(took(after));
    }
    Some(line)
}

fn took(after: Span) -> (Ink, String) {
    let took = match after.as_millis() {
        ..1 => "under 1 ms".to_owned(),
        millis => format!("{millis} ms"),
    };
    (Ink::Faint, format!("  ({took})"))
}

fn timeline(at: Timestamp, (ink, sign, word): (Ink, &str, &str), subject: &str, text: &str) -> Row {
    vec![
        (Ink::Faint, format!("{}  ", at.to_rfc3339().get(11..19).unwrap_or_default())),
        (ink, format!("{sign} {word:<13}")),
        (Ink::Bold, format!("  {subject:<21}")),
        (Ink::Plain, format!("  {text}")),
    ]
}

const fn good(signs: Signs) -> &'static str {
    match signs {
        Signs::Unicode => "✓",
        Signs::Ascii => "+",
    }
}

const fn bad(signs: Signs) -> &'static str {
    match signs {
        Signs::Unicode => "●",
        Signs::Ascii => "!",
    }
}

/// Every SLO on a line.
pub fn status(snapshot: &Snapshot, signs: Signs) -> Vec<Row> {
    let head = format!(
        "{:<21}{:>9}  {:<11} {:<18}{:>8}{:>8}",
        "SLO", "objective", "state", "budget left", "burn 5m", "burn 1h"
    );
    let mut rows = vec![Row::new(), row(Ink::Faint, head)];
    rows.extend(snapshot.slos.iter().map(|slo| status_row(slo, signs)));
    let canaries = snapshot.services.iter().filter_map(|service| Some((service, service.canary.as_ref()?)));
    for (service, rollout) in canaries.filter_map(|(service, canary)| Some((service, canary.current.as_ref()?))) {
        let step = rollout.steps.get(rollout.step).map_or("", |step| step.name.as_str());
        let decision = rollout.verdict.as_ref().map_or("", |verdict| verdict.decision.as_str());
        let text = format!("{} {} at {step}: {decision}", service.name, rollout.version);
        rows.push(row(Ink::Cyan, text));
    }
    let samples = grouped(snapshot.stats.samples);
    rows.push(row(Ink::Faint, format!("{} series, {samples} samples", snapshot.stats.series)));
    rows
}

fn status_row(slo: &SloView, signs: Signs) -> Row {
    let (ink, sign) = match slo.state {
        SloState::Healthy => (Ink::Green, good(signs)),
        SloState::Burning | SloState::Exhausted => (Ink::Red, bad(signs)),
        SloState::Warming | SloState::NoData => (Ink::Yellow, "?"),
    };
    let left = slo.budget.remaining;
    let left_text = left.map_or("-".to_owned(), |left| format!("{:.1} %", left * 100.0));
    let mut cells = vec![
        (Ink::Plain, format!("{:<21} {:>6} %  ", slo.id, slo.objective.to_string())),
        (ink, format!("{sign} {:<9}", slo.state.as_str())),
        (ink, format!(" {}", bar(left.unwrap_or_default(), BAR_CELLS, signs))),
        (Ink::Plain, format!(" {left_text:>7}")),
    ];
    for window in WINDOWS {
        let rate = slo.windows.iter().find(|w| w.span == window).and_then(|w| w.rate(slo.objective));
        let ink = match rate {
            Some(rate) if rate > FAST_BURN => Ink::Red,
            Some(rate) if rate > 1.0 => Ink::Yellow,
            _ => Ink::Plain,
        };
        cells.push((ink, format!("{:>8}", rate.map_or("-".to_owned(), times))));
    }
    cells
}

/// Why something that looks bad does not page, if it does look bad and does not page.
pub fn too_few_events(slo: &SloView) -> Option<String> {
    let tier = slo.tiers.first()?;
    let burns = |rate: Option<f64>| rate.filter(|rate| *rate > tier.tier.factor);
    let (long_rate, _) = (burns(tier.long_rate)?, burns(tier.short_rate)?);
    let events = tier.events.round();
    (tier.state.is_none() && events < tier.min_events as f64).then(|| {
        let window = naming::window_text(tier.tier.long);
        format!("{} over {window} but no page: {events} events, {} needed", times(long_rate), tier.min_events)
    })
}

/// What to do after the demo; `running` at this address while it goes on.
pub fn next_steps(running: Option<&Url>) -> Vec<Row> {
    let look = running.map(|url| {
        let slos = format!("{url}api/v1/slos");
        let one = format!("curl -s {slos}/checkout/availability");
        ("Look at what it knows, while it runs", vec![format!("curl -s {slos}"), one])
    });
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    let steps = [
        (
            "Write your SLOs, starting from the demo's",
            lines(&["mkdir -p rules && sloburn demo --print-specs > rules/demo.yaml", "sloburn check rules/"]),
        ),
        ("Start the daemon", lines(&["sloburn serve --rules rules/ --alertmanager http://127.0.0.1:9093"])),
        (
            "Send it your metrics: in prometheus.yml",
            lines(&["remote_write:", "  - url: http://127.0.0.1:9797/api/v1/write"]),
        ),
        ("Or have Prometheus itself judge the same SLOs", lines(&["sloburn generate -i rules/ -o slo-rules.yaml"])),
    ];
    let mut rows = vec![Row::new(), row(Ink::Bold, "Next steps")];
    for (title, lines) in look.into_iter().chain(steps) {
        rows.push(row(Ink::Plain, format!("  {title}")));
        rows.extend(lines.into_iter().map(|line| row(Ink::Cyan, format!("    {line}"))));
    }
    rows
}

/// A burn rate: one decimal while that says something.
fn times(rate: f64) -> String {
    if rate < 99.95 { format!("{rate:.1}x") } else { format!("{rate:.0}x") }
}

fn bar(share: f64, cells: usize, signs: Signs) -> String {
    let filled = ((share.clamp(0.0, 1.0) * cells as f64).round() as usize).min(cells);
    match signs {
        Signs::Unicode => "█".repeat(filled) + &"░".repeat(cells - filled),
        Signs::Ascii => "#".repeat(filled) + &".".repeat(cells - filled),
    }
}

/// With a comma before every three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::demo::sink::AlertMessage;

    fn text(row: &Row) -> String {
        row.iter().map(|(_, text)| text.as_str()).collect::<String>().trim_end().to_owned()
    }

    const ARRIVED: Timestamp = Timestamp(1_793_534_621_004);

    fn message(state: &str, ends_at: Option<&str>) -> AlertMessage {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        AlertMessage {
            slo: "checkout/availability".to_owned(),
            severity: "page".to_owned(),
            state: state.to_owned(),
            labels: pairs(&[("short", "5m"), ("long", "1h")]),
            starts_at: "2026-11-01T12:03:41.000Z".to_owned(),
            ends_at: ends_at.map(str::to_owned),
            burn_rates: BTreeMap::from([("5m".to_owned(), Some(174.2)), ("1h".to_owned(), Some(14.44))]),
        }
    }

    #[test]
    fn alerts_say_what_burns() {
        let firing = alert(ARRIVED, &message("firing", None), Span::millis(4), Signs::Unicode);
        assert_eq!(
            text(&firing),
            "12:03:41  ● PAGE firing    checkout/availability  burns 174x over 5m and 14.4x over 1h  (4 ms)"
        );
        let ended = message("resolved", Some("2026-11-01T12:04:41.000Z"));
        assert_eq!(
            text(&alert(ARRIVED, &ended, Span::ZERO, Signs::Ascii)),
            "12:03:41  + PAGE resolved  checkout/availability  lasted 60 s, now 174x over 5m"
        );
    }

    #[test]
    fn bars_stay_in_their_place() {
        assert_eq!(bar(0.52, 10, Signs::Ascii), "#####.....");
        assert_eq!(bar(-0.3, 4, Signs::Unicode), "░░░░");
        assert_eq!(bar(1.7, 4, Signs::Unicode), "████");
    }

    #[test]
    fn numbers_can_be_read() {
        assert_eq!([0, 999, 1_000, 381_024, 1_234_567].map(grouped), ["0", "999", "1,000", "381,024", "1,234,567"]);
        assert_eq!([0.04, 14.44, 99.94, 99.96, 1000.2].map(times), ["0.0x", "14.4x", "99.9x", "100x", "1000x"]);
    }
}
