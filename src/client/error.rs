//! What can go wrong for a client.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::Error;
use crate::api::error::UnknownError;
use crate::api::frame::FrameError;

/// Why there is no answer, or not the one hoped for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody could be connected to.
    #[error("cannot reach circusd at '{}'{}", path.display(), hint(source.kind()))]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The daemon said no.
    #[error(transparent)]
    Refused(Error),
    /// The daemon said no, in words that we do not know: it is newer.
    #[error(transparent)]
    Unknown(UnknownError),
    /// The time allowed is over.
    #[error("no answer within {timeout:?}")]
    TimedOut {
        /// The time.
        timeout: Duration,
    },
    /// The connection is closed: by the daemon, or by us after an error.
    #[error("the connection to circusd is closed")]
    Closed,
    /// The connection failed.
    #[error("the connection to circusd failed")]
    Connection(#[source] io::Error),
    /// What came is no reply.
    #[error("circusd sent what is not a reply")]
    NotAReply(#[source] FrameError),
    /// What came is a reply without the form that the method's answer has.
    #[error("circusd sent an answer of another form")]
    Malformed(#[source] serde_json::Error),
    /// What came is one of several replies, and `more` was not asked for.
    #[error("circusd sent a stream that was not asked for")]
    NotAsked,
}

impl ClientError {
    pub(super) fn unreachable(path: &Path, source: io::Error) -> Self {
        Self::Unreachable {
            path: path.to_owned(),
            source,
        }
    }
}

/// What the user can do about it.
fn hint(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::NotFound => "; is it running, and is this its socket?",
        io::ErrorKind::ConnectionRefused => "; it has ended and left its socket",
        io::ErrorKind::PermissionDenied => "; its 'socket_group' and 'socket_mode' say who may",
        io::ErrorKind::InvalidInput => "; a socket's path has at most 107 bytes",
        _ => "",
    }
}
