//! Go's manners where they show: numbers as `fmt` prints them, and what `math` makes of NaN.

use crate::types::{format_value, format_value_exponent};

/// `%f`: six decimals.
pub(crate) fn fixed(value: f64) -> String {
    if value.is_finite() { format!("{value:.6}") } else { format_value(value) }
}

/// `%g`: the shortest digits that read back, with an exponent below 1e-4 and from 1e6 on.
pub(crate) fn shortest(value: f64) -> String {
    let magnitude = value.abs();
    if value.is_finite() && value != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        return format_value_exponent(value);
    }
    if value.is_finite() { format!("{value}") } else { format_value(value) }
}

/// `%.2g`: two significant digits.
pub(crate) fn two_digits(value: f64) -> String {
    if !value.is_finite() || value == 0.0 {
        return shortest(value);
    }
    let rounded: f64 = format!("{value:.1e}").parse().unwrap_or(value);
    if (1e-4..100.0).contains(&rounded.abs()) { format!("{rounded}") } else { format_value_exponent(rounded) }
}

/// `math.Max`: infinity wins over NaN, and NaN over all else.
pub(crate) fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else {
        a.max(b)
    }
}

/// `math.Min`: negative infinity wins over NaN, and NaN over all else.
pub(crate) fn min(a: f64, b: f64) -> f64 {
    -max(-a, -b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn infinity_wins_over_nan() {
        assert_eq!(
            (max(f64::NAN, f64::INFINITY), min(f64::NAN, f64::NEG_INFINITY)),
            (f64::INFINITY, f64::NEG_INFINITY)
        );
        assert!(max(f64::NAN, 1.0).is_nan() && min(f64::INFINITY, f64::NAN).is_nan());
        assert_eq!((max(1.0, 2.0), min(1.0, 2.0)), (2.0, 1.0));
    }

    #[test]
    fn numbers_print_as_in_go() {
        for (value, text) in [(0.5, "0.5"), (1e-5, "1e-05"), (999_999.5, "999999.5"), (1e6, "1e+06"), (-1.0, "-1")] {
            assert_eq!(shortest(value), text);
        }
        for (value, text) in [(10.0, "10"), (100.0, "1e+02"), (0.126, "0.13"), (12345.0, "1.2e+04"), (99.9, "1e+02")] {
            assert_eq!(two_digits(value), text);
        }
        assert_eq!(fixed(1.5), "1.500000");
    }
}
