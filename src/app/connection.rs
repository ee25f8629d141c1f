//! One connection as a stream that does not wait for ever.
//!
//! hyper knows one deadline, from an answer to the end of the next header. Senders keep connections open between
//! requests for minutes, while a header that has begun is complete within seconds, or somebody is holding the
//! connection on purpose. [`Paced`] sits below HTTP and tells the two apart; [`Progress`] tells it from above
//! when a request begins and ends.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::types::Span;

/// How far a connection has come; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Headers awaited so far: tells one's deadline from the next one's.
    headers: u64,
    scan: HeaderEnd,
    /// The body's length as declared.
    body_bytes: Option<u64>,
    /// Bytes of the next request may have come with an earlier one, where nothing tells when it began.
    pipelined: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// A header is due.
    #[default]
    Header,
    /// A request is being read, worked on or answered.
    Request,
    /// Answered; nothing has come since.
    Idle,
}

/// Finds where a header ends and counts what follows.
#[derive(Clone, Copy, Debug, Default)]
struct HeaderEnd {
    begun: bool,
    /// The line so far is empty.
    at_line_start: bool,
    /// Bytes after the header, once its end has come.
    past: Option<u64>,
}

impl HeaderEnd {
    fn feed(&mut self, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            if let Some(past) = &mut self.past {
                *past += (bytes.len() - i) as u64;
                return;
            }
            match byte {
                // Empty lines before a request are skipped.
                b'\n' if self.begun && self.at_line_start => self.past = Some(0),
                b'\n' => self.at_line_start = true,
                b'\r' => {}
                _ => (self.begun, self.at_line_start) = (true, false),
            }
        }
    }
}

impl Progress {
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A header is complete. `body_bytes` is the length of what follows, where the header tells.
    pub(super) fn request_begins(&self, body_bytes: Option<u64>) {
        self.change(|state| {
            state.phase = Phase::Request;
            state.body_bytes = body_bytes;
        });
    }

    /// There is an answer.
    pub(super) fn request_ends(&self) {
        self.change(|state| {
            let whole = matches!((state.scan.past, state.body_bytes), (Some(past), Some(body)) if past <= body);
            state.pipelined |= !whole;
            state.phase = if state.pipelined { Phase::Header } else { Phase::Idle };
            state.headers += 1;
            state.scan = HeaderEnd::default();
        });
    }

    fn received(&self, bytes: &[u8]) {
        self.change(|state| {
            if state.phase == Phase::Idle {
                state.phase = Phase::Header;
            }
            state.scan.feed(bytes);
        });
    }

    /// The number of the header that is due, if one is.
    fn awaited_header(&self) -> Option<u64> {
        self.change(|state| (state.phase == Phase::Header).then_some(state.headers))
    }
}

/// A stream that fails when a header does not arrive in time, or what is sent is not taken.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    progress: Progress,
    header_timeout: Span,
    write_timeout: Span,
    header: Option<(u64, Pin<Box<Sleep>>)>,
    write: Option<Pin<Box<Sleep>>>,
}

impl<S> Paced<S> {
    /// Wraps a fresh connection, whose first header is due.
    pub(super) fn new(stream: S, progress: Progress, header_timeout: Span, write_timeout: Span) -> Self {
        Self { stream, progress, header_timeout, write_timeout, header: None, write: None }
    }

    /// Fails once the awaited header is late.
    fn poll_header_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let Some(number) = self.progress.awaited_header() else {
            self.header = None;
            return Poll::Pending;
        };
        if self.header.as_ref().is_none_or(|(started_for, _)| *started_for != number) {
            self.header = Some((number, Box::pin(tokio::time::sleep(self.header_timeout.to_std()))));
        }
        let Some((_, deadline)) = &mut self.header else { return Poll::Pending };
        deadline.as_mut().poll(cx).map(|()| late("the header did not arrive in time"))
    }

    /// Fails when the peer takes nothing for too long.
    fn watch_write<T>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write = None;
            return polled;
        }
        let timeout = self.write_timeout;
        let deadline = self.write.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout.to_std())));
        deadline.as_mut().poll(cx).map(|()| Err(late("the answer was not taken in time")))
    }
}

fn late(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let paced = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut paced.stream).poll_read(cx, buffer) {
            Poll::Pending => paced.poll_header_deadline(cx).map(Err),
            ready @ Poll::Ready(_) => {
                paced.progress.received(&buffer.filled()[before..]);
                ready
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let paced = self.get_mut();
        let polled = Pin::new(&mut paced.stream).poll_write(cx, bytes);
        paced.watch_write(cx, polled)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let paced = self.get_mut();
        let polled = Pin::new(&mut paced.stream).poll_write_vectored(cx, bytes);
        paced.watch_write(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let paced = self.get_mut();
        let polled = Pin::new(&mut paced.stream).poll_flush(cx);
        paced.watch_write(cx, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let paced = self.get_mut();
        let polled = Pin::new(&mut paced.stream).poll_shutdown(cx);
        paced.watch_write(cx, polled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds pieces, lets a request with this body begin and end, and says whether the connection is idle then.
    fn idle_after(pieces: &[&str], body_bytes: Option<u64>) -> bool {
        let progress = Progress::default();
        assert_eq!(progress.awaited_header(), Some(0));
        for piece in pieces {
            progress.received(piece.as_bytes());
        }
        assert_eq!(progress.awaited_header(), Some(0), "a header is due until the request begins");
        progress.request_begins(body_bytes);
        assert_eq!(progress.awaited_header(), None);
        progress.request_ends();
        let idle = progress.awaited_header().is_none();
        progress.received(b"G");
        assert_eq!(progress.awaited_header(), Some(1), "its first byte makes the next header due");
        idle
    }

    #[test]
    fn a_connection_is_idle_when_nothing_of_the_next_request_has_come() {
        for (pieces, body_bytes, expected) in [
            (&["GET / HTTP/1.1\r\nHost: a\r\n\r\n"][..], Some(0), true),
            (&["GET / HTTP/1.1\r", "\nHost: a\r\n\r", "\n"], Some(0), true),
            (&["\r\n\r\n\nGET / HTTP/1.1\nHost: a\n\n"], Some(0), true),
            (&["POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab", "cd"], Some(4), true),
            (&["POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab"], Some(4), true),
            (&["GET / HTTP/1.1\r\nHost: a\r\n\r\nG"], Some(0), false),
            (&["GET / HTTP/1.1\r\nHost: a\r\n\r\n", "G"], Some(0), false),
            (&["POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabcdG"], Some(4), false),
            (&["POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"], None, false),
        ] {
            assert_eq!(idle_after(pieces, body_bytes), expected, "{pieces:?}");
        }
    }

    /// Else a second request sent along, cut in the right place, could hide a third.
    #[test]
    fn who_sent_requests_together_once_is_never_idle_again() {
        let progress = Progress::default();
        progress.received(b"GET / HTTP/1.1\r\n\r\nGET / HT");
        progress.request_begins(Some(0));
        progress.request_ends();
        progress.received(b"TP/1.1\r\n\r\n");
        progress.request_begins(Some(0));
        progress.request_ends();
        assert_eq!(progress.awaited_header(), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_header_is_due_from_its_first_byte_and_an_idle_connection_is_left_alone() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut client, server) = tokio::io::duplex(64);
        let progress = Progress::default();
        let mut paced = Paced::new(server, progress.clone(), Span::seconds(10), Span::seconds(10));
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut buffer = [0; 64];
        assert_eq!(paced.read(&mut buffer).await.unwrap(), 18);
        progress.request_begins(Some(0));
        progress.request_ends();
        let minute = Span::minutes(1).to_std();
        assert!(tokio::time::timeout(minute, paced.read(&mut buffer)).await.is_err(), "idle");
        client.write_all(b"GET").await.unwrap();
        assert_eq!(paced.read(&mut buffer).await.unwrap(), 3);
        let clock = crate::clock::Steady::start();
        let error = paced.read(&mut buffer).await.unwrap_err();
        assert_eq!((error.kind(), clock.elapsed()), (io::ErrorKind::TimedOut, Span::seconds(10)));
    }

    /// As when requests follow each other without a pause.
    #[tokio::test(start_paused = true)]
    async fn every_header_has_its_own_deadline() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut client, server) = tokio::io::duplex(64);
        let progress = Progress::default();
        let mut paced = Paced::new(server, progress.clone(), Span::seconds(10), Span::seconds(10));
        let mut buffer = [0; 64];
        let six_seconds = Span::seconds(6).to_std();
        assert!(tokio::time::timeout(six_seconds, paced.read(&mut buffer)).await.is_err());
        client.write_all(b"GET / HTTP/1.1\r\n\r\nGET").await.unwrap();
        assert_eq!(paced.read(&mut buffer).await.unwrap(), 21);
        progress.request_begins(Some(0));
        progress.request_ends();
        assert!(tokio::time::timeout(six_seconds, paced.read(&mut buffer)).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_given_up() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut client, server) = tokio::io::duplex(8);
        let mut paced = Paced::new(server, Progress::default(), Span::seconds(10), Span::seconds(30));
        paced.write_all(b"12345678").await.unwrap();
        let clock = crate::clock::Steady::start();
        let taken = client.read_u8();
        let (wrote, _) = tokio::join!(paced.write_all(b"9"), taken);
        wrote.unwrap();
        let error = paced.write_all(b"0").await.unwrap_err();
        assert_eq!((error.kind(), clock.elapsed()), (io::ErrorKind::TimedOut, Span::seconds(30)));
    }
}
