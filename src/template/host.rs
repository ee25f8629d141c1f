//! `stripPort` and `stripDomain`.

use core::net::IpAddr;

/// Go's `net.SplitHostPort`; `None` where it errs.
fn split_host_port(text: &str) -> Option<(&str, &str)> {
    let colon = text.rfind(':')?;
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    let stray = host.contains(['[', ']']) || port.contains(['[', ']']);
    (!stray).then_some((host, port))
}

/// The host without its port.
pub(super) fn strip_port(text: &str) -> String {
    split_host_port(text).map_or(text, |(host, _)| host).to_owned()
}

/// The first part of the host's name, with its port; addresses as they are.
pub(super) fn strip_domain(text: &str) -> String {
    let (host, port) = split_host_port(text).unwrap_or((text, ""));
    if host.parse::<IpAddr>().is_ok() {
        return text.to_owned();
    }
    let name = host.split('.').next().unwrap_or_default();
    match (port, name.contains(':')) {
        ("", _) => name.to_owned(),
        (port, false) => format!("{name}:{port}"),
        (port, true) => format!("[{name}]:{port}"),
    }
}
