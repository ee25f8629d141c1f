//! Requests as pipelines put them on the wire: `tests/exchanges/*.http`, sent byte for byte.

use std::io::{Read, Write};
use std::path::Path;

use serde_json::Value;

use crate::daemon::Daemon;

/// A stored request: comments, a head whose lines end with LF here and with CRLF on the wire, a body.
pub fn stored(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exchanges").join(format!("{name}.http"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines: Vec<&str> = text.lines().skip_while(|line| line.starts_with('#')).collect();
    let end = lines.iter().position(|line| line.is_empty()).unwrap();
    let head = lines[..end].join("\r\n");
    let body = lines[end + 1..].join("\n");
    let length = lines[..end].iter().find_map(|line| line.strip_prefix("Content-Length: "));
    assert_eq!(length.map_or(0, |length| length.parse().unwrap()), body.len(), "{name}: its length is that of its body");
    format!("{head}\r\n\r\n{body}").into_bytes()
}

/// The status and body of the answer to a stored request.
pub fn replay(daemon: &Daemon, name: &str) -> (u16, String) {
    let mut stream = daemon.connect();
    stream.write_all(&stored(name)).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 4_096];
    loop {
        let read = stream.read(&mut chunk).unwrap();
        assert_ne!(read, 0, "{name}: the connection ended early: {}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() == length.unwrap_or(0_usize) {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return (status, body.to_owned());
        }
    }
}

/// The answer to a stored request, which must be JSON with status 200.
pub fn replay_json(daemon: &Daemon, name: &str) -> Value {
    let (status, body) = replay(daemon, name);
    assert_eq!(status, 200, "{name}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{name}: {error}: {body}"))
}
