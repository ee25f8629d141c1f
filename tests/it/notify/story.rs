//! A rollout's records, made by hand.

use sloburn::canary::{Decision, Outcome, State, Verdict};
use sloburn::clock;
use sloburn::rollout::{Actor, Ending, Happened, Record};

/// Numbers the records it makes; they happen now.
pub(super) struct Story {
    version: &'static str,
    records: u64,
}

impl Story {
    pub(super) fn of(version: &'static str) -> Self {
        Self { version, records: 0 }
    }

    fn record(&mut self, event: Happened) -> Record {
        let number = self.records;
        self.records += 1;
        Record {
            rollout: format!("pay/{}@0", self.version),
            number,
            at: clock::now(),
            service: "pay".to_owned(),
            version: self.version.to_owned(),
            baseline: Some("1".to_owned()),
            event,
        }
    }

    pub(super) fn started(&mut self) -> Record {
        let steps = ["5%", "50%"].map(str::to_owned).to_vec();
        self.record(Happened::Started { by: "discovery".to_owned(), committed_at: None, steps })
    }

    pub(super) fn evidence(&mut self) -> Record {
        self.record(Happened::Evidence { inputs: Vec::new() })
    }

    pub(super) fn verdict(&mut self, decision: Decision, step: &str) -> Record {
        let check = Outcome {
            check: "errors".to_owned(),
            state: State::Undecided,
            effect: None,
            canary_events: 0.0,
            baseline_events: 10.0,
            ln_evidence: None,
            time_needed: None,
            notice: None,
            reason: "errors: no events of the canary yet".to_owned(),
        };
        let verdict = Verdict {
            id: Verdict::key(&["pay", self.version, step, decision.as_str()]),
            step: step.to_owned(),
            at: clock::now(),
            decision,
            reason: format!("a reason to {}", decision.as_str()),
            check: Some("errors".to_owned()),
            checks: vec![check],
        };
        self.record(Happened::Verdict { verdict, hold: None, by: None })
    }

    pub(super) fn held(&mut self, paused: bool) -> Record {
        let by = Actor { name: "kim".to_owned(), reason: "lunch".to_owned() };
        self.record(Happened::Held { paused, by })
    }

    pub(super) fn ended(&mut self, outcome: Ending) -> Record {
        self.record(Happened::Ended { outcome, reason: "a reason".to_owned(), by: None })
    }

    /// From its start to its rollback.
    pub(super) fn rolled_back(&mut self) -> Vec<Record> {
        vec![self.started(), self.verdict(Decision::Rollback, "5%"), self.ended(Ending::RolledBack)]
    }
}

/// A verdict's id.
pub(super) fn id(record: &Record) -> &str {
    let Happened::Verdict { verdict, .. } = &record.event else { panic!("a verdict") };
    &verdict.id
}
