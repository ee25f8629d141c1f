//! Numbers as Prometheus prints them.

/// A sample value in the query API: shortest round-trip digits without an exponent, except below 1e-6
/// and from 1e21 on (Go's `strconv.FormatFloat(v, 'f', -1, 64)` and `'e'`).
pub fn format_value(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_finite() && value != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        return format_value_exponent(value);
    }
    special(value).unwrap_or_else(|| format!("{value}"))
}

/// An alert's `value` in the alerts API: always with an exponent of two digits or more, `2.01e+01`.
pub fn format_value_exponent(value: f64) -> String {
    special(value).unwrap_or_else(|| {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
        format!("{digits}e{sign}{exponent:0>2}")
    })
}

fn special(value: f64) -> Option<String> {
    let text = match value {
        v if v.is_nan() => "NaN",
        f64::INFINITY => "+Inf",
        f64::NEG_INFINITY => "-Inf",
        _ => return None,
    };
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_go() {
        for (value, plain, exponent) in [
            (0.0, "0", "0e+00"),
            (20.1, "20.1", "2.01e+01"),
            (1e21, "1e+21", "1e+21"),
            (1e20, "100000000000000000000", "1e+20"),
            (1e-7, "1e-07", "1e-07"),
            (-0.25, "-0.25", "-2.5e-01"),
            (f64::NAN, "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (1e-320, "1e-320", "1e-320"),
        ] {
            assert_eq!(format_value(value), plain);
            assert_eq!(format_value_exponent(value), exponent);
        }
    }
}
