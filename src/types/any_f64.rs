//! Numbers that JSON has no word for: `#[serde(with = "types::any_f64")]` writes them as Prometheus does, `"+Inf"`,
//! `"-Inf"` and `"NaN"`, so that what was written can be read again. Binary formats hold them as they are.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

use super::format_value;

/// Writes a number.
///
/// # Errors
/// The format's own.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() || !serializer.is_human_readable() {
        serializer.serialize_f64(*value)
    } else {
        serializer.serialize_str(&format_value(*value))
    }
}

/// Reads a number.
///
/// # Errors
/// The format's own, and for texts that are no such number.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    if deserializer.is_human_readable() { deserializer.deserialize_any(Any) } else { f64::deserialize(deserializer) }
}

struct Any;

impl Visitor<'_> for Any {
    type Value = f64;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(r#"a number, "+Inf", "-Inf" or "NaN""#)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
        match text {
            "+Inf" => Ok(f64::INFINITY),
            "-Inf" => Ok(f64::NEG_INFINITY),
            "NaN" => Ok(f64::NAN),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    #[derive(Debug, Serialize, serde::Deserialize)]
    struct Number(#[serde(with = "super")] f64);

    #[test]
    fn every_number_comes_back() {
        for value in [0.0, -0.0, 0.1 + 0.2, 1e300, 5e-324, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            let text = serde_json::to_string(&Number(value)).unwrap();
            let bytes = postcard::to_stdvec(&Number(value)).unwrap();
            assert_eq!(serde_json::from_str::<Number>(&text).unwrap().0.to_bits(), value.to_bits(), "{text}");
            assert_eq!(postcard::from_bytes::<Number>(&bytes).unwrap().0.to_bits(), value.to_bits(), "{text}");
        }
        assert_eq!(serde_json::from_str::<Number>("3").unwrap().0, 3.0);
        for wrong in ["null", "\"Inf\"", "\"1\"", "{}"] {
            assert!(serde_json::from_str::<Number>(wrong).is_err(), "{wrong}");
        }
    }
}
