//! Calls out, replies in, each within a time.
//!
//! It does not know which reply belongs to which call; varlink answers in order, and the one call
//! at a time is [`Client`](super::Client)'s to keep.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::api::frame::{Call, Frames, Reply, Terminator, encode};

use super::error::ClientError;

/// How long a reply may be, in bytes. The longest is `Stats` of the most processes that a daemon
/// takes by default, 65 536 with some 500 bytes each; a longer one ends the connection.
const REPLY_BYTES_MAX: usize = 128 << 20;

/// How much is read at once, in bytes: what a status of a hundred processes needs.
const READ_BYTES: usize = 64 * 1024;

/// Until when to wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(Option<(Instant, Duration)>);

impl Deadline {
    /// `timeout` from now; `None`, and what is beyond the clock, is never.
    pub(super) fn after(timeout: Option<Duration>) -> Self {
        let limit =
            timeout.and_then(|timeout| Some((Instant::now().checked_add(timeout)?, timeout)));
        Self(limit)
    }

    /// How long is left; `None` is for ever.
    fn left(self) -> Result<Option<Duration>, ClientError> {
        let Some((end, timeout)) = self.0 else {
            return Ok(None);
        };
        match end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(ClientError::TimedOut { timeout }),
            left => Ok(Some(left)),
        }
    }

    /// The error of a read or write that was given [`Deadline::left`].
    fn error(self, error: io::Error) -> ClientError {
        match (self.0, error.kind()) {
            (Some((_, timeout)), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                ClientError::TimedOut { timeout }
            }
            (_, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => ClientError::Closed,
            _ => ClientError::Connection(error),
        }
    }
}

/// A stream with the replies that have come over it.
#[derive(Debug)]
pub(super) struct Connection {
    /// `None` once it is closed.
    stream: Option<Stream>,
    frames: Frames<Reply>,
    buffer: Box<[u8]>,
}

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream: Some(Stream {
                socket: stream,
                read_timeout: None,
                write_timeout: None,
            }),
            frames: Frames::new(REPLY_BYTES_MAX),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        }
    }

    /// Closes it: from now on everything is [`ClientError::Closed`].
    pub(super) fn close(&mut self) {
        self.stream = None;
    }

    /// Sends `call`. After [`ClientError::Closed`] what the daemon said before it closed can still
    /// be received; after every other error the connection is closed, lest the next call continue
    /// this one.
    pub(super) fn send(&mut self, call: &Call, deadline: Deadline) -> Result<(), ClientError> {
        let stream = self.stream.as_mut().ok_or(ClientError::Closed)?;
        let sent = stream.write_all(&encode(call, Terminator::Newline), deadline);
        if !matches!(sent, Ok(()) | Err(ClientError::Closed)) {
            self.close();
        }
        sent
    }

    /// Waits for one reply. After [`ClientError::TimedOut`] it can be waited for again.
    pub(super) fn receive(&mut self, deadline: Deadline) -> Result<Reply, ClientError> {
        let stream = self.stream.as_mut().ok_or(ClientError::Closed)?;
        loop {
            if let Some(reply) = self.frames.next() {
                return reply.map_err(ClientError::NotAReply);
            }
            match stream.read(&mut self.buffer, deadline)? {
                0 => return Err(ClientError::Closed),
                count => self.frames.push(&self.buffer[..count]),
            }
        }
    }
}

/// A socket with the time-outs that it was given last, so that a call without one does not pay for
/// setting it.
#[derive(Debug)]
struct Stream {
    socket: UnixStream,
    read_timeout: Option<Duration>,
    write_timeout: Option<Duration>,
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8], deadline: Deadline) -> Result<usize, ClientError> {
        loop {
            let left = deadline.left()?;
            if self.read_timeout != left {
                self.socket
                    .set_read_timeout(left)
                    .map_err(ClientError::Connection)?;
                self.read_timeout = left;
            }
            match self.socket.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result.map_err(|error| deadline.error(error)),
            }
        }
    }

    fn write_all(&mut self, mut bytes: &[u8], deadline: Deadline) -> Result<(), ClientError> {
        while !bytes.is_empty() {
            let left = deadline.left()?;
            if self.write_timeout != left {
                self.socket
                    .set_write_timeout(left)
                    .map_err(ClientError::Connection)?;
                self.write_timeout = left;
            }
            match self.socket.write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(deadline.error(error)),
                Ok(count) => bytes = &bytes[count..],
            }
        }
        Ok(())
    }
}
