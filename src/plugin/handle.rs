//! What a plugin acts with: calls to circusd, and its log.
//!
//! Calls go over connections of their own, so that an answer that takes long keeps neither events
//! nor other calls from coming.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::api::frame::Call;
use crate::client::ClientError;

use super::connection::{Connection, refused};

/// How long a call may take unless told otherwise: longer than a restart with the usual grace.
const CALL_MAX: Duration = Duration::from_secs(120);

/// Connections that are kept for the next call; most plugins make one at a time.
const IDLE_MAX: usize = 4;

/// Calls to circusd, and a plugin's log. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    limit: Duration,
}

#[derive(Debug)]
struct Shared {
    name: String,
    socket: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl Handle {
    /// For a plugin of that name, and a circusd that answers at `socket`; connects to nothing yet.
    #[must_use]
    pub fn new(name: &str, socket: &Path) -> Self {
        let shared = Shared {
            name: name.to_owned(),
            socket: socket.to_owned(),
            idle: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            limit: CALL_MAX,
        }
    }

    /// The same, for calls that may take so long; at first that is two minutes.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            limit,
        }
    }

    /// Where circusd answers.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.shared.socket
    }

    /// Calls a method and waits for its answer.
    ///
    /// `call` is a [`Method`](crate::api::Method), or a [`Call`] for what is known by name only; `T`
    /// is its answer in [`reply`](crate::api::reply), or a JSON value. May be dropped: what was
    /// asked for happens all the same.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] is circusd's answer; [`ClientError::Unreachable`] while it is not
    /// there. After [`ClientError::Closed`] and [`ClientError::TimedOut`] it is not known whether
    /// what was asked for has happened.
    pub async fn call<T: DeserializeOwned>(&self, call: impl Into<Call>) -> Result<T, ClientError> {
        let call = Call {
            more: false,
            oneway: false,
            ..call.into()
        };
        let limit = self.limit;
        let answered = timeout(limit, self.exchange(&call)).await;
        answered.unwrap_or(Err(ClientError::TimedOut { timeout: limit }))
    }

    /// Calls a method without wanting an answer.
    ///
    /// # Errors
    ///
    /// If the call cannot be sent. What becomes of it is not told.
    pub async fn cast(&self, call: impl Into<Call>) -> Result<(), ClientError> {
        let call = Call {
            more: false,
            oneway: true,
            ..call.into()
        };
        let mut connection = self.connection().await?;
        connection.send(&call).await?;
        self.keep(connection);
        Ok(())
    }

    /// Says something on standard error, which circusd has in its log: one line. If that fails there
    /// is nobody to tell.
    pub fn log(&self, text: &str) {
        let line = format!("{}: {text}\n", self.shared.name);
        let _ = std::io::stderr().write_all(line.as_bytes());
    }

    async fn exchange<T: DeserializeOwned>(&self, call: &Call) -> Result<T, ClientError> {
        let mut connection = self.connection().await?;
        connection.send(call).await?;
        let reply = connection.receive().await?;
        if reply.continues {
            return Err(ClientError::NotAsked);
        }
        self.keep(connection);
        reply.result().map_err(refused)
    }

    /// One that nobody uses, or a new one.
    async fn connection(&self) -> Result<Connection, ClientError> {
        while let Some(connection) = self.idle().pop() {
            // circusd may have gone, and come again, since.
            if !connection.is_stale() {
                return Ok(connection);
            }
        }
        Connection::open(&self.shared.socket).await
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle();
        if idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        // A list of connections cannot be left half changed.
        let idle = self.shared.idle.lock();
        idle.unwrap_or_else(PoisonError::into_inner)
    }
}
