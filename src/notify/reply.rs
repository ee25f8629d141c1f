//! What a receiver's answer means for the message it answers.

use jiff::fmt::rfc2822::DateTimeParser;

use crate::types::{Span, Timestamp};

/// The meaning of an attempt's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 2xx: it has been taken.
    Accepted,
    /// Not now: try again later.
    Later {
        /// For the log.
        reason: String,
        /// The receiver or a proxy before it is overloaded (429, 502, 503, 504).
        slow_down: bool,
        /// How long the receiver asks to be left alone.
        retry_after: Option<Span>,
    },
    /// The same message would be refused again.
    Refused {
        /// For the log.
        reason: String,
    },
    /// 410: the receiver wants nothing any more.
    Gone {
        /// For the log.
        reason: String,
    },
}

impl Reply {
    /// An attempt that got no answer: no connection, a timeout, a broken response.
    pub fn unanswered(reason: String) -> Self {
        Self::Later { reason, slow_down: false, retry_after: None }
    }

    /// The meaning of an HTTP status. A redirect is a failure: it is not followed, and may be gone next time.
    ///
    /// `retry_after` is the header's text, `now` the wall clock, which it may refer to; `excerpt` is the head of the
    /// response's body, for the reason.
    pub fn of_status(status: u16, retry_after: Option<&str>, excerpt: &str, now: Timestamp) -> Self {
        let excerpt = if excerpt.is_empty() { String::new() } else { format!(": {excerpt}") };
        let reason = format!("status {status}{excerpt}");
        match status {
            200..=299 => Self::Accepted,
            410 => Self::Gone { reason },
            400..=499 if !matches!(status, 408 | 429) => Self::Refused { reason },
            _ => Self::Later {
                reason,
                slow_down: matches!(status, 429 | 502 | 503 | 504),
                retry_after: retry_after.and_then(|text| parse_retry_after(text, now)),
            },
        }
    }
}

/// `Retry-After` (RFC 9110 section 10.2.3): seconds, or an HTTP date; a date in the past is no delay.
fn parse_retry_after(text: &str, now: Timestamp) -> Option<Span> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let seconds = text.parse::<i64>().unwrap_or(i64::MAX);
        return Some(Span(seconds.saturating_mul(1000)));
    }
    let date = DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok()?;
    Some(Timestamp(date.as_millisecond()).since(now).max(Span::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meaning(status: u16) -> Reply {
        Reply::of_status(status, None, "", Timestamp(0))
    }

    #[test]
    fn only_2xx_is_success() {
        for status in [200, 202, 204, 299] {
            assert_eq!(meaning(status), Reply::Accepted);
        }
        for status in [101, 301, 302, 307, 308, 400, 404, 410, 429, 500, 503, 600] {
            assert_ne!(meaning(status), Reply::Accepted, "{status}");
        }
    }

    #[test]
    fn each_failure_has_its_answer() {
        for status in [408, 429, 500, 501, 502, 503, 504, 302] {
            let slow = matches!(status, 429 | 502 | 503 | 504);
            assert!(matches!(meaning(status), Reply::Later { slow_down, .. } if slow_down == slow), "{status}");
        }
        for status in [400, 401, 403, 404, 413, 422, 451] {
            assert!(matches!(meaning(status), Reply::Refused { .. }), "{status}");
        }
        assert!(matches!(meaning(410), Reply::Gone { .. }));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = Timestamp(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT, the date in RFC 9110
        for (text, expected) in [
            ("120", Some(Span::seconds(120))),
            (" 0 ", Some(Span::ZERO)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(Span::minutes(1))),
            ("Sun, 06 Nov 1994 08:00:00 GMT", Some(Span::ZERO)),
            ("99999999999999999999", Some(Span(i64::MAX))),
            ("soon", None),
            ("-5", None),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(parse_retry_after(text, now), expected, "{text:?}");
        }
    }
}
