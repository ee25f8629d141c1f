//! A record in a line for people, with a line more for each check of a verdict.

use std::fmt::Write as _;

use crate::canary::{Hold, Outcome, State};
use crate::rollout::{Actor, Happened, Record};

/// What happened, without the end of the last line.
pub fn describe(record: &Record) -> String {
    let head = format!("{}  {}", record.at.to_rfc3339(), record.rollout);
    let by = |actor: &Option<Actor>| actor.as_ref().map_or_else(String::new, |actor| format!(" by {}", said(actor)));
    let what = match &record.event {
        Happened::Started { by, steps, .. } => {
            let baseline = record.baseline.as_deref().unwrap_or("a baseline to be found");
            format!("started by {by} against {baseline}, steps {}", steps.join(", "))
        }
        Happened::Judged { policy, policy_digest, since, step } => {
            let digest = policy_digest.get(..12).unwrap_or(policy_digest);
            let (checks, since) = (policy.checks.len(), since.to_rfc3339());
            format!("judged by {checks} checks since {since}, from step {} on, policy {digest}", step + 1)
        }
        Happened::Evidence { inputs } => format!("evidence: {} inputs", inputs.len()),
        Happened::StepBegan { step, name, by } => format!("step {} began: {name}, by {by}", step + 1),
        Happened::Verdict { verdict, hold, by: actor } => {
            let (decision, step) = (verdict.decision.as_str(), &verdict.step);
            let mut text = format!("verdict {decision} at {step}{}: {}", by(actor), verdict.reason);
            if let Some(hold) = hold {
                let (Hold::Pause(reason) | Hold::NotNow(reason)) = hold;
                let _ = write!(text, " (held: {reason})");
            }
            for outcome in &verdict.checks {
                let _ = write!(text, "\n    {}", check(outcome));
            }
            text
        }
        Happened::Held { paused, by } => format!("{} by {}", if *paused { "paused" } else { "resumed" }, said(by)),
        Happened::Ended { outcome, reason, by: actor } => format!("ended {}{}: {reason}", outcome.as_str(), by(actor)),
    };
    format!("{head}  {what}")
}

fn said(actor: &Actor) -> String {
    if actor.reason.is_empty() { actor.name.clone() } else { format!("{} ({})", actor.name, actor.reason) }
}

fn check(outcome: &Outcome) -> String {
    let state = match outcome.state {
        State::Harm => "harm     ",
        State::Safe => "safe     ",
        State::Undecided => "undecided",
    };
    let needed = outcome.time_needed.map_or_else(String::new, |span| format!(", about {span} more needed"));
    format!("{state}  {}{needed}", outcome.reason)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::read::tests::record;
    use crate::rollout::Ending;

    #[test]
    fn a_record_is_a_line() {
        let mut record = record("pay/2@0", 0, 1_000);
        assert_eq!(
            describe(&record),
            "1970-01-01T00:00:01.000Z  pay/2@0  paused by kim (reason 0: 0.1, \"quoted\", \u{e9})"
        );
        record.event = Happened::Ended { outcome: Ending::RolledBack, reason: "errors rose".to_owned(), by: None };
        assert_eq!(describe(&record), "1970-01-01T00:00:01.000Z  pay/2@0  ended rolled-back: errors rose");
        record.event =
            Happened::Started { by: "discovery".to_owned(), committed_at: None, steps: vec!["5%".to_owned()] };
        let expected = "1970-01-01T00:00:01.000Z  pay/2@0  started by discovery against 1, steps 5%";
        assert_eq!(describe(&record), expected);
    }
}
