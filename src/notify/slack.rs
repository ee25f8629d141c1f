//! Slack's incoming webhooks: alerts and verdicts as blocks with figures and links.
//!
//! A message is a header, one sentence why, a field for each check or figure, and links. Slack refuses a message as a
//! whole when a part of it is too long, so every part is cut to Slack's limits (docs.slack.dev, "Reference: blocks"):
//! 50 blocks, 150 characters of a header, 3,000 of a section's text, 10 fields of 2,000 characters, 10 elements of a
//! context. `&`, `<` and `>` are escaped in texts that come from elsewhere, so that no label can mention a channel.
//!
//! Slack knows no id of a message: one that it took and whose answer was lost comes twice. It answers 200 `ok`, 429 with
//! `Retry-After` (about one message a second is taken), 410 for an archived channel, and other 4xx for what is wrong
//! for good, all of which [`super::reply`] knows.

use serde_json::{Value, json};
use url::Url;

use super::notice::Notice;
use super::telling::{Telling, What, page};
use super::webhook::{Event, Message};
use crate::alert::AlertState;
use crate::canary::{Effect, Outcome, State, Unit, short};
use crate::rollout::{Actor, Ending, Happened};

const BLOCKS_LIMIT_COUNT: usize = 50;
const HEADER_LIMIT_CHARS: usize = 150;
const SECTION_LIMIT_CHARS: usize = 3_000;
const FIELD_LIMIT_CHARS: usize = 2_000;
const FIELDS_LIMIT_COUNT: usize = 10;
const ELEMENTS_LIMIT_COUNT: usize = 10;
/// Of a link's address in a text.
const LINK_LIMIT_CHARS: usize = 1_500;

/// What links need to know.
#[derive(Clone, Debug)]
pub struct Links {
    /// Where users reach this process.
    pub external_url: Url,
    /// A dashboard, such as Grafana's; `{service}` in it becomes the service's name.
    pub dashboard: Option<String>,
}

/// What a message is made of.
struct Parts {
    title: String,
    sentence: String,
    fields: Vec<String>,
    context: Vec<String>,
}

/// The message about an alert.
pub fn alert(notice: &Notice, links: &Links) -> Message {
    let label = |name| notice.labels.get(name).unwrap_or_default();
    let annotation = |name| notice.annotations.get(name).map(String::as_str);
    let name = label("alertname");
    let is_over = notice.state() == AlertState::Resolved;
    let severity = label("severity");
    let title = match (is_over, severity) {
        (true, _) => format!("Resolved: {name}"),
        (false, "") => format!("Firing: {name}"),
        (false, severity) => format!("Firing ({severity}): {name}"),
    };
    let sentence = annotation("summary").or(annotation("description")).unwrap_or(&notice.slo);
    let mut fields = if notice.is_of_rule() {
        vec![field("Value", &short(notice.value))]
    } else {
        vec![field("SLO", &notice.slo), field("Burn rate", &format!("{}x", short(notice.value)))]
    };
    fields.extend(
        notice.burn_rates.iter().map(|(window, rate)| field(&format!("Over {window}"), &format!("{}x", short(*rate)))),
    );
    fields.push(field("Since", &notice.starts_at.to_rfc3339()));
    fields.extend(notice.resolved_at.map(|at| field("Until", &at.to_rfc3339())));
    let mut context = vec![link(&notice.generator_url, "Expression")];
    context.extend(annotation("runbook_url").map(|url| link(url, "Runbook")));
    let service = notice.slo.split('/').next().filter(|service| !service.is_empty());
    context.extend(service.and_then(|service| links.dashboard(service)));
    let event = if is_over { Event::Resolved } else { Event::Firing };
    let body = body(&Parts { title, sentence: escaped(sentence), fields, context });
    Message {
        id: format!("msg_{:032x}", notice.id()),
        number: notice.number,
        fingerprint: notice.fingerprint,
        event,
        body,
    }
}

/// The message about a rollout; `None` for what Slack is not told.
pub fn rollout(telling: &Telling, links: &Links) -> Option<Message> {
    let event = Event::of(telling.what)?;
    let record = &telling.record;
    let subject = format!("{} {}", record.service, record.version);
    let title = match telling.what {
        What::Started => format!("{subject}: rollout started"),
        What::Promote => format!("{subject}: promote"),
        What::Pause => format!("{subject}: pause"),
        What::Rollback => format!("{subject}: roll back"),
        What::Paused => format!("{subject}: paused"),
        What::Resumed => format!("{subject}: resumed"),
        What::Ended => format!("{subject}: {}", telling.outcome().map_or("ended", outcome)),
        What::GoesOn => return None,
    };
    let mut sentence = escaped(&telling.reason());
    if let Some(Actor { name, reason }) = telling.by() {
        let why = if *reason == telling.reason() { String::new() } else { format!(" ({})", escaped(reason)) };
        sentence = format!("{sentence}\nby {}{why}", escaped(name));
    }
    let mut fields = Vec::new();
    if let Happened::Started { steps, .. } = &record.event {
        fields.push(field("Steps", &steps.join(", ")));
    }
    fields.push(field("Compared with", record.baseline.as_deref().unwrap_or("not known yet")));
    if let Some(verdict) = telling.verdict() {
        fields.push(field("Step", &verdict.step));
        fields.extend(verdict.checks.iter().map(check));
    }
    let url = page(&links.external_url, &record.service);
    let mut context = vec![link(url.as_str(), "Rollout")];
    context.extend(links.dashboard(&record.service));
    context.push(format!("{} at {}", escaped(&record.rollout), record.at.to_rfc3339()));
    let body = body(&Parts { title, sentence, fields, context });
    Some(Message { id: telling.id(), number: telling.number, fingerprint: telling.lane(), event, body })
}

impl Links {
    fn dashboard(&self, service: &str) -> Option<String> {
        let encoded: String = url::form_urlencoded::byte_serialize(service.as_bytes()).collect();
        self.dashboard.as_ref().map(|url| link(&url.replace("{service}", &encoded), "Dashboard"))
    }
}

fn outcome(ending: Ending) -> &'static str {
    match ending {
        Ending::Promoted => "promoted",
        Ending::RolledBack => "rolled back",
        Ending::Aborted => "aborted",
        Ending::Superseded => "superseded by a newer version",
        Ending::Vanished => "gone before it was decided",
    }
}

/// A check: its state, both figures, and the effect with its interval and limit.
fn check(outcome: &Outcome) -> String {
    let state = match outcome.state {
        State::Harm => "harm",
        State::Safe => "safe",
        State::Undecided => "undecided",
    };
    let head = format!("*{}*: {state}", escaped(&outcome.check));
    let Some(effect) = &outcome.effect else { return format!("{head}\n{}", escaped(&outcome.reason)) };
    let figure = |value| figure(effect, value);
    let baseline = effect.baseline.map_or("no events".to_owned(), figure);
    let interval = effect.interval.map_or_else(String::new, |interval| {
        format!(" ({} to {})", effect.show(interval.low), effect.show(interval.high))
    });
    let what = format!("{}{interval}, limit {}", effect.show(effect.value), effect.show(effect.limit));
    format!("{head}\ncanary {} vs {baseline}\n{what}", figure(effect.canary))
}

/// An arm's figure. Of a relative effect it may be a rate or seconds: as it is.
fn figure(effect: &Effect, value: f64) -> String {
    match effect.unit {
        Unit::Percent | Unit::Points => format!("{} %", short(100.0 * value)),
        Unit::Seconds => effect.show(value),
        Unit::Relative | Unit::Burn => short(value),
    }
}

fn field(name: &str, value: &str) -> String {
    format!("*{name}*\n{}", escaped(value))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A link, or only its name where the address is too long for one.
fn link(url: &str, name: &str) -> String {
    let url = escaped(url).replace('|', "%7C");
    if url.chars().count() > LINK_LIMIT_CHARS { name.to_owned() } else { format!("<{url}|{name}>") }
}

/// Not longer than that, and without the half of an escape at its end.
fn cut(text: &str, limit_chars: usize) -> String {
    if text.chars().count() <= limit_chars {
        return text.to_owned();
    }
    let mut head: String = text.chars().take(limit_chars - 1).collect();
    if let Some(at) = head.rfind('&').filter(|at| !head[*at..].contains(';') && head.len() - at < 5) {
        head.truncate(at);
    }
    head.push('\u{2026}');
    head
}

fn body(parts: &Parts) -> String {
    let mrkdwn = |text: &str, limit| json!({"type": "mrkdwn", "text": cut(text, limit)});
    let mut blocks = vec![json!({
        "type": "header",
        "text": {"type": "plain_text", "text": cut(&parts.title, HEADER_LIMIT_CHARS), "emoji": false},
    })];
    if !parts.sentence.is_empty() {
        blocks.push(json!({"type": "section", "text": mrkdwn(&parts.sentence, SECTION_LIMIT_CHARS)}));
    }
    for fields in parts.fields.chunks(FIELDS_LIMIT_COUNT) {
        let fields: Vec<Value> = fields.iter().map(|text| mrkdwn(text, FIELD_LIMIT_CHARS)).collect();
        blocks.push(json!({"type": "section", "fields": fields}));
    }
    blocks.truncate(BLOCKS_LIMIT_COUNT - 1);
    let elements = parts.context.iter().take(ELEMENTS_LIMIT_COUNT);
    let elements: Vec<Value> = elements.map(|text| mrkdwn(text, FIELD_LIMIT_CHARS)).collect();
    blocks.push(json!({"type": "context", "elements": elements}));
    // For notifications on a phone, and for readers of the screen.
    let text = cut(&format!("{}: {}", escaped(&parts.title), parts.sentence), SECTION_LIMIT_CHARS);
    json!({"text": text, "blocks": blocks}).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::AlertState::{Firing, Resolved};
    use crate::canary::Decision;
    use crate::notify::notice::tests::notice;
    use crate::notify::telling::Desk;
    use crate::notify::telling::tests::{Story, outcome, surroundings, told};
    use crate::rollout::Record;

    fn links() -> Links {
        let dashboard = Some("https://grafana.example/d/slo?var-service={service}".to_owned());
        Links { external_url: surroundings().external_url, dashboard }
    }

    fn value(message: &Message) -> Value {
        serde_json::from_str(&message.body).unwrap()
    }

    fn bodies(messages: &[Message]) -> String {
        let pretty = |message: &Message| serde_json::to_string_pretty(&value(message)).unwrap();
        messages.iter().map(pretty).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn alerts_have_figures_and_links() {
        let mut firing = notice("A & B", Firing);
        firing.annotations.insert("runbook_url".to_owned(), "https://runbooks.example/a|b".to_owned());
        insta::assert_snapshot!(
            "slack_alerts",
            bodies(&[alert(&firing, &links()), alert(&notice("A", Resolved), &links())])
        );
    }

    #[test]
    fn verdicts_have_figures_and_links() {
        let (mut desk, mut story) = (Desk::default(), Story::of("2.1"));
        let records = [
            story.started(),
            story.held(true),
            story.verdict(Decision::Rollback, "5%"),
            story.ended(Ending::RolledBack),
        ];
        let messages: Vec<_> =
            records.iter().filter_map(|record| rollout(&told(&mut desk, record), &links())).collect();
        insta::assert_snapshot!("slack_rollout", bodies(&messages));
    }

    #[test]
    fn however_much_there_is_to_say_it_fits() {
        let mut story = Story::of("2.1");
        let mut record: Record = story.verdict(Decision::Rollback, "5%");
        let Happened::Verdict { verdict, .. } = &mut record.event else { panic!("a verdict") };
        let long = "& <long> ".repeat(1_000);
        verdict.reason.clone_from(&long);
        verdict.checks = vec![crate::canary::Outcome { check: long.clone(), ..outcome(State::Harm) }; 600];
        record.service.clone_from(&long);
        record.baseline = Some(long);
        let message = value(&rollout(&told(&mut Desk::default(), &record), &links()).unwrap());
        let count = |value: &Value| value.as_str().unwrap().chars().count();
        let blocks = message["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), BLOCKS_LIMIT_COUNT);
        assert_eq!(count(&blocks[0]["text"]["text"]), HEADER_LIMIT_CHARS);
        assert!(count(&blocks[1]["text"]["text"]) <= SECTION_LIMIT_CHARS);
        let fields = blocks[2]["fields"].as_array().unwrap();
        assert_eq!(fields.len(), FIELDS_LIMIT_COUNT);
        assert!(fields.iter().all(|field| count(&field["text"]) <= FIELD_LIMIT_CHARS));
        assert_eq!(blocks[BLOCKS_LIMIT_COUNT - 1]["type"], "context");
        assert!(
            blocks[BLOCKS_LIMIT_COUNT - 1]["elements"].as_array().unwrap().iter().all(|e| count(&e["text"]) <= 2_000)
        );
        let but_for_the_header = Value::from(blocks[1..].to_vec()).to_string() + &message["text"].to_string();
        assert!(!but_for_the_header.contains("<long>"), "escaped, but for the header, which is plain text");
    }

    #[test]
    fn a_cut_leaves_no_half_of_an_escape() {
        assert_eq!(cut("a &amp; b", 9), "a &amp; b");
        assert_eq!(cut("a &amp; bc", 6), "a \u{2026}");
        assert_eq!(cut("a &amp; bc", 8), "a &amp;\u{2026}");
        assert_eq!(cut("\u{e9}\u{e9}\u{e9}", 2), "\u{e9}\u{2026}");
    }
}
