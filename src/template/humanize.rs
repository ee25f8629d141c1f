//! Numbers for people, as Prometheus' `humanize` functions write them.

use super::text::general;

/// Divides by `step` while `v` is at least that large; the prefix of the last division.
fn scale_down(mut v: f64, step: f64, prefixes: [&'static str; 8]) -> (f64, &'static str) {
    let mut last = "";
    for prefix in prefixes {
        if v.abs() < step {
            break;
        }
        (v, last) = (v / step, prefix);
    }
    (v, last)
}

/// Multiplies by 1000 while `v` is below one.
fn scale_up(mut v: f64) -> (f64, &'static str) {
    let mut last = "";
    for prefix in ["m", "u", "n", "p", "f", "a", "z", "y"] {
        if v.abs() >= 1.0 {
            break;
        }
        (v, last) = (v * 1000.0, prefix);
    }
    (v, last)
}

/// Four digits and a metric prefix: `1.235M`.
pub(super) fn humanize(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        return general(v, Some(4));
    }
    let (v, prefix) =
        if v.abs() >= 1.0 { scale_down(v, 1000.0, ["k", "M", "G", "T", "P", "E", "Z", "Y"]) } else { scale_up(v) };
    general(v, Some(4)) + prefix
}

/// Four digits and a binary prefix: `1.177Mi`.
pub(super) fn humanize_1024(v: f64) -> String {
    if v.abs() <= 1.0 || !v.is_finite() {
        return general(v, Some(4));
    }
    let (v, prefix) = scale_down(v, 1024.0, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"]);
    general(v, Some(4)) + prefix
}

/// Seconds as `1d 2h 3m 4s`, or four digits below a minute: `1.234s`, `100ms`.
pub(super) fn humanize_duration(v: f64) -> String {
    if !v.is_finite() {
        return general(v, Some(4));
    }
    if v == 0.0 {
        return general(v, Some(4)) + "s";
    }
    if v.abs() < 1.0 {
        let (v, prefix) = scale_up(v);
        return format!("{}{prefix}s", general(v, Some(4)));
    }
    let (sign, v) = (if v < 0.0 { "-" } else { "" }, v.abs());
    let whole = v as i64;
    let (days, hours, minutes, seconds) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{sign}{}s", general(v, Some(4))),
        (0, 0, _) => format!("{sign}{minutes}m {seconds}s"),
        (0, _, _) => format!("{sign}{hours}h {minutes}m {seconds}s"),
        _ => format!("{sign}{days}d {hours}h {minutes}m {seconds}s"),
    }
}
