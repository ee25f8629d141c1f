//! `sloburn audit verify --recompute`: every rollout's verdicts reached once more.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::bail;

use crate::audit::Entry;
use crate::rollout::{self, Happened, Record, Recount};

/// JSON of the records of all rollouts in progress at a time.
const RECORDS_LIMIT_BYTES: usize = 1 << 30;

/// Takes entries in their order.
#[derive(Default)]
pub(super) struct Recounter {
    open: BTreeMap<String, Open>,
    held_bytes: usize,
    rollouts: usize,
    /// Of which the beginning is not there.
    headless: usize,
    reached: usize,
    beyond: usize,
    findings: Vec<String>,
}

#[derive(Default)]
struct Open {
    records: Vec<Record>,
    bytes: usize,
}

impl Recounter {
    /// # Errors
    /// For a record that means nothing, and where too much would have to be held.
    pub(super) fn take(&mut self, entry: &Entry) -> anyhow::Result<()> {
        let bytes = entry.json.len();
        let record = entry.record()?;
        let rollout = record.rollout.clone();
        let is_end = matches!(record.event, Happened::Ended { .. });
        self.held_bytes += bytes;
        if self.held_bytes > RECORDS_LIMIT_BYTES {
            bail!("the rollouts in progress have more than {} MiB of records", RECORDS_LIMIT_BYTES >> 20);
        }
        let open = self.open.entry(rollout.clone()).or_default();
        open.bytes += bytes;
        open.records.push(record);
        if is_end && let Some(open) = self.open.remove(&rollout) {
            self.held_bytes -= open.bytes;
            self.recount(&open.records);
        }
        Ok(())
    }

    fn recount(&mut self, records: &[Record]) {
        let Some(first) = records.first() else { return };
        if first.number > 0 {
            self.headless += 1;
            return;
        }
        self.rollouts += 1;
        match rollout::recompute(records) {
            Err(error) => self.findings.push(format!("{}: {error}", first.rollout)),
            Ok(Recount { reached, beyond, differing }) => {
                self.reached += reached;
                self.beyond += beyond;
                self.findings.extend(differing.iter().map(|difference| {
                    let (recorded, now) = (&difference.recorded, &difference.reached);
                    format!(
                        "{}: record {} at {} says {} ({}), its evidence leads to {} ({})",
                        first.rollout,
                        difference.number,
                        difference.at.to_rfc3339(),
                        recorded.decision.as_str(),
                        recorded.reason,
                        now.decision.as_str(),
                        now.reason,
                    )
                }));
            }
        }
    }

    /// What was found, and whether it is what is recorded.
    pub(super) fn finish(mut self) -> (String, bool) {
        for open in std::mem::take(&mut self.open).into_values() {
            self.recount(&open.records);
        }
        let Self { rollouts, headless, reached, beyond, findings, .. } = self;
        let mut text =
            format!("{rollouts} rollouts recomputed: {reached} verdicts reached again, {beyond} given by others");
        if headless > 0 {
            let _ = write!(text, "; {headless} rollouts left out, as their beginning has been pruned");
        }
        text.push('\n');
        for finding in &findings {
            text.extend(["differs: ", finding, "\n"]);
        }
        (text, findings.is_empty())
    }
}
