//! Parameters of a request, from its query string and, of a POST, from its body.

use axum::extract::Request;
use axum::http::{Method, header};

use super::limits::FORM_LIMIT_BYTES;
use crate::api::ApiError;
use crate::types::{Span, Timestamp, quote};

/// Names and values; those of the body come first and so win, as in Go.
#[derive(Clone, Debug, Default)]
pub(super) struct Form(Vec<(String, String)>);

/// Go's `time.Time` reaches this far; clients send these texts for "from the beginning" and "to the end".
const MIN_TIME: &str = "-292273086-05-16T16:47:06Z";
const MAX_TIME: &str = "292277025-08-18T07:12:54.999999999Z";

impl Form {
    /// Reads them; a body of another type than a form is left alone, as in Go.
    pub async fn read(request: Request) -> Result<Self, ApiError> {
        let (head, body) = request.into_parts();
        let mut pairs = Vec::new();
        let content_type = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        if head.method == Method::POST && essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            let bytes = axum::body::to_bytes(body, FORM_LIMIT_BYTES)
                .await
                .map_err(|error| ApiError::BadData(format!("error parsing form values: {error}")))?;
            pairs.extend(url::form_urlencoded::parse(&bytes).into_owned());
        }
        let query = head.uri.query().unwrap_or_default();
        pairs.extend(url::form_urlencoded::parse(query.as_bytes()).into_owned());
        Ok(Self(pairs))
    }

    /// The first value of a parameter; an empty one is none.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A moment.
    pub fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let error = || format!("invalid time value for '{name}': cannot parse {} to a valid timestamp", quote(text));
        time(text).map(Some).ok_or_else(|| invalid(name, &error()))
    }

    /// A moment that must be given.
    pub fn require_time(&self, name: &str) -> Result<Timestamp, ApiError> {
        let text = self.get(name).unwrap_or_default();
        let error = || format!("cannot parse {} to a valid timestamp", quote(text));
        time(text).ok_or_else(|| invalid(name, &error()))
    }

    /// A length of time.
    pub fn duration(&self, name: &str) -> Result<Option<Span>, ApiError> {
        let read = |text| duration(text).map_err(|error| invalid(name, &error));
        self.get(name).map(read).transpose()
    }

    /// How many results are wanted at most.
    pub fn limit(&self) -> Result<Option<usize>, ApiError> {
        let Some(text) = self.get("limit") else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(0) => Ok(None),
            Ok(limit) => match usize::try_from(limit) {
                Ok(limit) => Ok(Some(limit)),
                Err(_) => Err(invalid("limit", "limit must be non-negative")),
            },
            Err(_) => Err(invalid("limit", &format!("strconv.Atoi: parsing {}: invalid syntax", quote(text)))),
        }
    }
}

/// An error about a parameter, in Prometheus' words.
pub(super) fn invalid(name: &str, error: &str) -> ApiError {
    ApiError::BadData(format!("invalid parameter {}: {error}", quote(name)))
}

/// Seconds since 1970 with a fraction, or RFC 3339.
fn time(text: &str) -> Option<Timestamp> {
    match text {
        MIN_TIME => return Some(Timestamp(i64::MIN / 1_000)),
        MAX_TIME => return Some(Timestamp(i64::MAX / 1_000)),
        _ => {}
    }
    if let Ok(seconds) = text.parse::<f64>() {
        // Beyond this, milliseconds are no whole numbers any more.
        return (seconds.abs() < 9e12).then(|| Timestamp((seconds * 1_000.0).round() as i64));
    }
    let point: jiff::Timestamp = text.parse().ok().filter(|_| text.contains(['T', 't']))?;
    Some(Timestamp(point.as_millisecond()))
}

/// Seconds with a fraction, or Prometheus' form.
pub(super) fn duration(text: &str) -> Result<Span, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let nanoseconds = seconds * 1e9;
        if nanoseconds.is_nan() || nanoseconds.abs() > i64::MAX as f64 {
            return Err(format!("cannot parse {} to a valid duration. It overflows int64", quote(text)));
        }
        return Ok(Span((nanoseconds / 1e6) as i64));
    }
    text.parse::<Span>().map_err(|_| format!("cannot parse {} to a valid duration", quote(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(query: &str) -> Form {
        Form(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    #[test]
    fn times_are_seconds_or_rfc_3339() {
        for (text, millis) in [
            ("1435781451.781", 1_435_781_451_781),
            ("0", 0),
            ("-1.5", -1_500),
            ("1.5e9", 1_500_000_000_000),
            ("2015-07-01T20:10:51.781Z", 1_435_781_451_781),
            ("2015-07-01T22:10:51.781+02:00", 1_435_781_451_781),
            (MIN_TIME, i64::MIN / 1_000),
        ] {
            assert_eq!(time(text), Some(Timestamp(millis)), "{text}");
        }
        for text in ["", "now", "2015-07-01", "NaN", "Inf", "1e300", "2015-07-01 20:10:51Z"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_seconds_or_prometheus() {
        assert_eq!(duration("15"), Ok(Span::seconds(15)));
        assert_eq!(duration("0.25"), Ok(Span(250)));
        assert_eq!(duration("1h30m"), Ok(Span::minutes(90)));
        assert_eq!(duration("x").unwrap_err(), "cannot parse \"x\" to a valid duration");
        assert!(duration("1e300").unwrap_err().ends_with("It overflows int64"));
        assert!(duration("NaN").is_err() && duration("inf").is_err());
    }

    #[test]
    fn errors_are_prometheus() {
        let said = |query: &str| match form(query).limit() {
            Err(error) => error.to_string(),
            Ok(limit) => format!("{limit:?}"),
        };
        assert_eq!(said("limit=x"), r#"invalid parameter "limit": strconv.Atoi: parsing "x": invalid syntax"#);
        assert_eq!(said("limit=-1"), r#"invalid parameter "limit": limit must be non-negative"#);
        assert_eq!((said("limit=0"), said("limit=7"), said("")), ("None".into(), "Some(7)".into(), "None".into()));
        let error = form("time=x").time("time").unwrap_err().to_string();
        assert_eq!(
            error,
            r#"invalid parameter "time": invalid time value for 'time': cannot parse "x" to a valid timestamp"#
        );
    }
}
