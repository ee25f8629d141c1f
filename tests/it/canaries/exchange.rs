//! Requests as pipelines put them on the wire: `tests/exchanges/*.http`, sent byte for byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::daemon::Daemon;

/// A stored request: comments, a head whose lines end with LF here and with CRLF on the wire, a body.
pub fn stored(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exchanges").join(format!("{name}.http"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (head, body) = text.split_once("\n\n").unwrap();
    // The file's own last line feed.
    let body = body.strip_suffix('\n').unwrap_or(body);
    let lines: Vec<&str> = head.lines().filter(|line| !line.starts_with('#')).collect();
    let head = lines.join("\r\n");
    let length = lines.iter().find_map(|line| line.strip_prefix("Content-Length: "));
    assert_eq!(
        length.map_or(0, |length| length.parse().unwrap()),
        body.len(),
        "{name}: its length is that of its body"
    );
    format!("{head}\r\n\r\n{body}").into_bytes()
}

/// The status and body of the answer to a stored request. Go's client takes an answer compressed, so this does.
pub fn replay(daemon: &Daemon, name: &str) -> (u16, String) {
    let mut stream = BufReader::new(daemon.connect());
    stream.get_mut().write_all(&stored(name)).unwrap();
    let line = |stream: &mut BufReader<TcpStream>| {
        let mut line = String::new();
        assert_ne!(stream.read_line(&mut line).unwrap(), 0, "{name}: the connection ended early");
        line.trim_end().to_ascii_lowercase()
    };
    let status = line(&mut stream).split(' ').nth(1).unwrap().parse().unwrap();
    let head: Vec<String> = std::iter::repeat_with(|| line(&mut stream)).take_while(|line| !line.is_empty()).collect();
    let header = |name: &str| head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let mut body = Vec::new();
    if header("transfer-encoding") == Some("chunked") {
        loop {
            let length = u64::from_str_radix(&line(&mut stream), 16).unwrap();
            (&mut stream).take(length).read_to_end(&mut body).unwrap();
            line(&mut stream);
            if length == 0 {
                break;
            }
        }
    } else {
        let length = header("content-length").map_or(0, |length| length.parse().unwrap());
        (&mut stream).take(length).read_to_end(&mut body).unwrap();
    }
    if header("content-encoding") == Some("gzip") {
        body = unzipped(&body);
    }
    (status, String::from_utf8(body).unwrap())
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let gzip = Command::new("gzip").arg("-dc").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // Answers here are smaller than a pipe's buffer.
    gzip.stdin.as_ref().unwrap().write_all(bytes).unwrap();
    gzip.wait_with_output().unwrap().stdout
}

/// The answer to a stored request, which must be JSON with status 200.
pub fn replay_json(daemon: &Daemon, name: &str) -> Value {
    let (status, body) = replay(daemon, name);
    assert_eq!(status, 200, "{name}: {body}");
    serde_json::from_str(&body).unwrap_or_else(|error| panic!("{name}: {error}: {body}"))
}
