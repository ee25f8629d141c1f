//! A sender that costs little: requests made ahead, written to a few connections that stay open.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hdrhistogram::Histogram;

/// As many requests are on their way at once where a scrape has more than these.
pub const CONNECTIONS: usize = 8;

pub const V1: &str = "application/x-protobuf";
pub const V2: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

/// What sending took.
pub struct Sent {
    pub took: Duration,
    /// Microseconds from the first byte of a request to its whole answer.
    pub latencies: Histogram<u64>,
}

/// A request as it goes over the wire.
pub fn message(content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Encoding: snappy\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends every message once, in their order over so many connections, and waits for the answers, all of them 2xx.
pub fn send(address: SocketAddr, messages: &[Vec<u8>], connections: usize) -> anyhow::Result<Sent> {
    let (next, start) = (AtomicUsize::new(0), Instant::now());
    let connection = || -> anyhow::Result<Histogram<u64>> {
        let mut latencies = Histogram::new(3)?;
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut answers = BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        while let Some(message) = messages.get(next.fetch_add(1, Ordering::Relaxed)) {
            let start = Instant::now();
            stream.write_all(message)?;
            read_answer(&mut answers, &mut line)?;
            latencies.record(start.elapsed().as_micros() as u64)?;
        }
        Ok(latencies)
    };
    let latencies = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..connections).map(|_| scope.spawn(connection)).collect();
        let mut all = Histogram::new(3)?;
        for thread in threads {
            all.add(thread.join().expect("a connection's thread ends")?)?;
        }
        anyhow::Ok(all)
    })?;
    Ok(Sent { took: start.elapsed(), latencies })
}

/// An answer without a body.
fn read_answer(answers: &mut impl BufRead, line: &mut String) -> anyhow::Result<()> {
    line.clear();
    answers.read_line(line)?;
    ensure!(line.starts_with("HTTP/1.1 20"), "the server answers {line:?}");
    loop {
        line.clear();
        answers.read_line(line).context("the answer is cut off")?;
        if line.trim_end().is_empty() {
            return Ok(());
        }
        ensure!(!line.starts_with("Transfer-Encoding"), "an answer with a body");
    }
}
