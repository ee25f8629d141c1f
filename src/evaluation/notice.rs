//! Alerts of rules as receivers are told of them.

use xxhash_rust::xxh3::Xxh3;

use crate::alert::AlertState;
use crate::notify::notice::{Fingerprint, Notice, generator_url};
use crate::ruler::{RuleAlert, Setting};

/// The identity of an alert: its group and its labels.
pub(super) fn fingerprint(alert: &RuleAlert) -> Fingerprint {
    let mut hash = Xxh3::new();
    // 0xff occurs in no UTF-8 text, so no two lists of names and values run together, and none with an SLO's.
    let mut add = |text: &[u8]| {
        hash.update(text);
        hash.update(&[0xff]);
    };
    add(&[0xff]);
    add(alert.group.as_bytes());
    for (name, value) in &*alert.labels {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    Fingerprint(hash.digest128())
}

/// What receivers are told; nothing while an alert is pending.
pub(super) fn notice(alert: &RuleAlert, setting: &Setting) -> Option<Notice> {
    if alert.state == AlertState::Pending {
        return None;
    }
    Some(Notice {
        number: 0,
        fingerprint: fingerprint(alert),
        slo: String::new(),
        labels: setting.external_labels.clone().merged(&alert.labels),
        annotations: alert.annotations.clone(),
        starts_at: alert.fired_at.unwrap_or(alert.active_at),
        resolved_at: alert.resolved_at,
        value: alert.value,
        burn_rates: Vec::new(),
        generator_url: generator_url(&setting.external_url, &alert.expr),
    })
}
