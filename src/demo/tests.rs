//! The whole story through the pure engine, second by second: what is said of it, and when.

use url::Url;

use super::sink::{AlertMessage, Message as Told};
use super::story::{Cue, Story};
use super::traffic::{self, Traffic};
use super::{specs, view};
use crate::engine::{Effects, Engine, Event, Settings, SloState, SloView};
use crate::notify::notice::Notice;
use crate::notify::webhook::Message;
use crate::types::{Labels, Span, Timestamp};
use crate::wire::proto::{TimeSeries, WriteRequest, encode_v1};
use crate::wire::{Batch, Limits, WIRE_KEY_SIZE_BYTES, WireKey};

const START: Timestamp = Timestamp(1_790_000_000_000);
const KEY: [u8; WIRE_KEY_SIZE_BYTES] = [7; WIRE_KEY_SIZE_BYTES];

struct Stage {
    engine: Engine,
    traffic: Traffic,
    /// Seconds from the start, severity, state and SLO of each alert.
    alerts: Vec<(i64, String)>,
}

impl Stage {
    /// A daemon that has been sent the history in these requests.
    fn after(history: Vec<Vec<Timestamp>>) -> Self {
        let settings = Settings { key: WireKey::new(KEY), limits: Limits::default(), series_limit: 1_000, ha: None };
        let engine = Engine::new(&specs::services(), settings, START);
        let mut stage = Self { engine, traffic: Traffic::new(START), alerts: Vec::new() };
        for times in history {
            let mut series = Vec::new();
            for at in times {
                stage.traffic.scrape(at, &mut series);
            }
            stage.write(series, START);
        }
        stage
    }

    fn write(&mut self, timeseries: Vec<TimeSeries>, now: Timestamp) -> Vec<AlertMessage> {
        let mut batch = Batch::default();
        let body = encode_v1(&WriteRequest { timeseries });
        batch.decode_v1(&body, &Limits::default(), &WireKey::new(KEY)).unwrap();
        let effects = self.engine.step(Event::Write(&batch), now);
        assert!(effects.written.rejected.is_empty(), "{:?}", effects.written);
        self.hear(&effects, now)
    }

    /// What a webhook is told.
    fn hear(&mut self, effects: &Effects, now: Timestamp) -> Vec<AlertMessage> {
        let url = Url::parse("http://127.0.0.1:9797").unwrap();
        let notices = effects.alerts.iter().filter_map(|alert| Notice::render(alert, &Labels::new(), &url));
        let told = |notice: Notice| match Told::parse(Message::of(&notice).body.as_bytes()).unwrap() {
            Told::Alert(alert) => alert,
            Told::Rollout(rollout) => panic!("an alert, not {rollout:?}"),
        };
        let messages: Vec<AlertMessage> = notices.map(told).collect();
        let seconds = now.since(START).as_millis() / 1_000;
        self.alerts.extend(messages.iter().map(|m| (seconds, format!("{} {} {}", m.severity, m.state, m.slo))));
        messages
    }

    fn slos(&mut self) -> Vec<std::sync::Arc<SloView>> {
        self.engine.snapshot(START).slos
    }

    /// Plays `seconds` of the story; returns when each cue was given.
    fn play(&mut self, seconds: i64) -> Vec<(i64, Cue)> {
        let mut story = Story::new(START);
        let mut cues = Vec::new();
        for second in 1..=seconds {
            let now = START + Span::seconds(second);
            while let Some(cue) = story.cue(now) {
                cues.push((second, cue));
                match cue {
                    Cue::Deploy => self.traffic.roll_out(now),
                    Cue::Rollback => self.traffic.roll_back(now),
                    Cue::FailInvoice => self.traffic.fail_once(traffic::LOW_TRAFFIC),
                    Cue::ExplainInvoice => {
                        let invoices = self.slos().into_iter().find(|slo| slo.service == traffic::LOW_TRAFFIC);
                        let text = view::too_few_events(&invoices.unwrap());
                        assert!(text.is_some_and(|text| text.ends_with("needed")), "{:?}", self.alerts);
                    }
                    // Verdicts are followed up where they arrive: in the demo itself.
                    Cue::Try | Cue::End => {}
                }
            }
            let mut series = Vec::new();
            self.traffic.scrape(now, &mut series);
            let mut messages = self.write(series, now);
            let between = now + Span::millis(500);
            let effects = self.engine.step(Event::Tick, between);
            messages.extend(self.hear(&effects, between));
            for message in &messages {
                story.hear(message, now);
            }
        }
        cues
    }
}

#[test]
fn the_history_leaves_one_ticket_and_whole_budgets() {
    let mut stage = Stage::after(traffic::history(START));
    assert_eq!(stage.alerts, [(0, "ticket firing search/latency".to_owned())], "nothing of the past");
    for slo in stage.slos() {
        let expected = if slo.id == "search/latency" { SloState::Burning } else { SloState::Healthy };
        assert_eq!(slo.state, expected, "{}", slo.id);
        assert!(!slo.budget.is_warming());
        let left = slo.budget.remaining.unwrap();
        let range = match slo.id.as_str() {
            "payments/availability" | "search/latency" => 0.4..0.6,
            _ => 0.6..1.01,
        };
        assert!(range.contains(&left), "{} has {left}", slo.id);
    }
}

#[test]
fn it_does_not_matter_how_the_history_is_cut() {
    let scrapes = traffic::history(START).into_iter().flatten().map(|at| vec![at]).collect();
    let mut one_by_one = Stage::after(scrapes);
    let mut stage = Stage::after(traffic::history(START));
    assert_eq!(one_by_one.alerts, stage.alerts);
    let budgets = |stage: &mut Stage| stage.slos().iter().map(|slo| slo.budget).collect::<Vec<_>>();
    assert_eq!(budgets(&mut one_by_one), budgets(&mut stage));
}

#[test]
fn the_bad_release_pages_and_its_end_resolves() {
    let mut stage = Stage::after(traffic::history(START));
    let cues = stage.play(15 * 60);
    let names: Vec<&str> = stage.alerts.iter().map(|(_, alert)| alert.as_str()).collect();
    let expected = [
        "ticket firing search/latency",
        "page firing checkout/orders",
        "page firing checkout/availability",
        "page resolved checkout/orders",
        "page resolved checkout/availability",
    ];
    assert_eq!(names, expected);
    let times: Vec<i64> = stage.alerts.iter().map(|(second, _)| *second).collect();
    assert!((15..=30).contains(&times[1]), "{times:?}");
    assert!((30..=45).contains(&times[2]), "{times:?}");
    assert!((80..=120).contains(&times[3]), "{times:?}");
    assert!((300..=360).contains(&times[4]), "{times:?}");
    let [.., (rollback, Cue::Rollback), (end, Cue::End)] = cues[..] else { panic!("{cues:?}") };
    assert!(rollback - times[2] <= 6 && end - times[3] <= 1, "{cues:?} {times:?}");
}
