//! Users and their passwords' hashes, and what keeps them out of messages.

use std::collections::BTreeMap;
use std::fmt;

use secrecy::{ExposeSecret, SecretString};

use super::{SECTIONS, USERS};
use crate::spec::Place;
use crate::spec::decode::Field;
use crate::spec::diagnostic::Reporter;
use crate::spec::yaml::Value;

const USERS_LIMIT_COUNT: usize = 1_000;
/// bcrypt's own.
const COST_MINIMUM: u32 = 4;
/// A cheaper hash is guessed too quickly, and is warned about.
const COST_FLOOR: u32 = 10;
/// A dearer hash takes over ten seconds to check, for whoever asks.
const COST_LIMIT: u32 = 17;

/// A bcrypt hash.
#[derive(Clone)]
pub struct PasswordHash {
    text: SecretString,
    cost: u32,
}

impl PasswordHash {
    /// `$2y$10$...`, to check a password against.
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// Twice the work with each step.
    pub fn cost(&self) -> u32 {
        self.cost
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

/// Fields whose values findings may quote. A name that is missing here hides more than it must, no less.
const HARMLESS: [&str; 13] = [
    "tls_server_config",
    "http_server_config",
    "rate_limit",
    "cert_file",
    "key_file",
    "client_auth_type",
    "client_ca_file",
    "client_allowed_sans",
    "min_version",
    "max_version",
    "http2",
    "headers",
    "X-Frame-Options",
];

/// Hides what may be a secret in all excerpts, whether or not the text parses: the values of all fields but the
/// harmless ones, the whole section of users, and PEM.
pub(super) fn conceal_secrets(reporter: &mut Reporter<'_>) {
    let count = reporter.source.text.split(['\n', '\r']).count() as u32;
    let (mut secret, mut pem) = (false, false);
    for number in 1..=count {
        let line = reporter.line(number);
        if line.starts_with(|c: char| !c.is_whitespace() && c != '#') {
            secret = !SECTIONS.iter().any(|section| *section != USERS && is_field(line, section));
        }
        pem |= line.contains("-----BEGIN");
        let users = line.find(USERS);
        secret |= users.is_some();
        let field = line.trim_start();
        let harmless = field.starts_with("- ") || HARMLESS.iter().any(|name| is_field(field, name));
        if secret || pem || !harmless {
            // The names of users and fields stay visible.
            let from = users.unwrap_or(0);
            let hidden = line[from..].find(':').filter(|_| !pem).map_or(from, |colon| from + colon + 1);
            let hidden = line.len() - line[hidden..].trim_start().len();
            let column = line[..hidden].chars().count() as u32 + 1;
            let width = line[hidden..].chars().count() as u32;
            reporter.conceal(Place { line: number, column, width });
        }
        pem &= !line.contains("-----END");
    }
}

fn is_field(line: &str, name: &str) -> bool {
    line.strip_prefix(name).is_some_and(|rest| rest.starts_with(':'))
}

/// A section without a single user lets everybody in, as in the toolkit; hardly what its author wants.
pub(super) fn warn_of_nobody(document: Field<'_>, reporter: &mut Reporter<'_>) {
    let entries = document.node.as_mapping().unwrap_or_default();
    if let Some(empty) = entries.iter().find(|entry| entry.key == USERS) {
        reporter.warn(empty.place, "no users: everybody is let in").hint("leave the section out if that is meant");
    }
}

pub(super) fn users(section: Field<'_>, reporter: &mut Reporter<'_>) -> Option<BTreeMap<String, PasswordHash>> {
    let Some(entries) = section.node.as_mapping() else {
        // Without the value, which is likely to be a secret.
        let message = format!("expected users and their passwords' bcrypt hashes for {}", section.what);
        reporter.error(section.key, message).hint("write it as `name: $2y$10$...`, one user a line");
        return None;
    };
    if let Some(extra) = entries.get(USERS_LIMIT_COUNT) {
        reporter.error(extra.place, format!("more than {USERS_LIMIT_COUNT} users"));
        return None;
    }
    let mut users = BTreeMap::new();
    for entry in entries {
        if entry.key.contains(':') {
            reporter.error(entry.place, "a user's name with a `:` could never log in");
        }
        if let Some(hash) = password_hash(entry.place, &entry.value.value, reporter) {
            users.insert(entry.key.clone(), hash);
        }
    }
    Some(users)
}

fn password_hash(place: Place, value: &Value, reporter: &mut Reporter<'_>) -> Option<PasswordHash> {
    let text = match value {
        Value::Scalar(scalar) => scalar.text.as_str(),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) => "",
    };
    let Ok(parts) = text.parse::<bcrypt::HashParts>() else {
        let hint = "make one with `htpasswd -nBC 10 \"\" | tr -d ':\\n'`; it has 60 characters and begins with `$2`";
        reporter.error(place, "the password is not given as a bcrypt hash").hint(hint);
        return None;
    };
    let cost = parts.get_cost();
    if !(COST_MINIMUM..=COST_LIMIT).contains(&cost) {
        let message = format!("a bcrypt cost of {cost} is outside {COST_MINIMUM} to {COST_LIMIT}");
        reporter.error(place, message).hint("10 to 12 is usual; each step takes twice as long to check");
        return None;
    }
    if cost < COST_FLOOR {
        let message = format!("a bcrypt cost of {cost} is quick to guess");
        reporter.warn(place, message).hint(format!("use {COST_FLOOR} or more"));
    }
    Some(PasswordHash { text: text.into(), cost })
}
