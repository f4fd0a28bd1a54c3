//! One connection to circusd: calls out, replies in.
//!
//! Knows neither what is called nor whether it may be called again.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::api::frame::{Call, Frames, Reply, ReplyError, Terminator, encode};
use crate::client::ClientError;

/// How long a reply may be, in bytes: as for any client, the statistics of 65 536 processes.
const REPLY_BYTES_MAX: usize = 128 << 20;

/// How much is read at once, in bytes.
const READ_BYTES: usize = 16 * 1024;

/// How long circusd may take to accept a connection, and to take a call.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A stream with the replies that have come over it.
#[derive(Debug)]
pub(super) struct Connection {
    stream: UnixStream,
    frames: Frames<Reply>,
    buffer: Box<[u8]>,
}

impl Connection {
    /// Connects to the socket at `path`; `@name` is an abstract one.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unreachable`].
    pub(super) async fn open(path: &Path) -> Result<Self, ClientError> {
        let connected = timeout(CONNECT_MAX, UnixStream::connect(address(path))).await;
        let stream = connected
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| ClientError::Unreachable {
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            stream,
            frames: Frames::new(REPLY_BYTES_MAX),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    /// Whether circusd has closed it, or said something unasked, while nobody looked.
    pub(super) fn is_stale(&self) -> bool {
        let nothing = |error: io::Error| error.kind() == io::ErrorKind::WouldBlock;
        !self.stream.try_read(&mut [0]).is_err_and(nothing)
    }

    /// Sends a call. Not to be used again if this is dropped halfway.
    ///
    /// # Errors
    ///
    /// As of any write.
    pub(super) async fn send(&mut self, call: &Call) -> Result<(), ClientError> {
        let bytes = encode(call, Terminator::Newline);
        match timeout(CONNECT_MAX, self.stream.write_all(&bytes)).await {
            Ok(sent) => sent.map_err(lost),
            Err(_) => Err(ClientError::TimedOut {
                timeout: CONNECT_MAX,
            }),
        }
    }

    /// The next reply. May be dropped at any point: what has come is kept.
    ///
    /// # Errors
    ///
    /// [`ClientError::Closed`] at the end; what comes is no reply.
    pub(super) async fn receive(&mut self) -> Result<Reply, ClientError> {
        loop {
            if let Some(reply) = self.frames.next() {
                return reply.map_err(ClientError::NotAReply);
            }
            match self.stream.read(&mut self.buffer).await.map_err(lost)? {
                0 => return Err(ClientError::Closed),
                count => self.frames.push(&self.buffer[..count]),
            }
        }
    }
}

/// Why an answer is none.
pub(super) fn refused(error: ReplyError) -> ClientError {
    error.into()
}

fn lost(error: io::Error) -> ClientError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ClientError::Closed,
        _ => ClientError::Connection(error),
    }
}

/// The path as the kernel has it, where the name of an abstract socket begins with a NUL byte.
fn address(path: &Path) -> PathBuf {
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => OsString::from_vec([b"\0", name].concat()).into(),
        None => path.to_owned(),
    }
}
