//! A client of circusd: blocking, with the standard library alone.
//!
//! One connection, one call at a time. It does not reconnect: whoever listens knows the cursor to
//! come back to, and whoever acts must decide whether to act again. It prints nothing.
//!
//! ```no_run
//! use circusd::api::{Method, params, reply};
//! use circusd::client::{Client, default_socket};
//!
//! let mut client = Client::connect(default_socket())?;
//! let names: reply::Names = client.call(&Method::List(params::Watchers::default()))?;
//! # Ok::<(), circusd::client::ClientError>(())
//! ```

mod address;
mod connection;
mod error;
mod subscription;

#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::api::frame::{Call, Reply, ReplyError};
use crate::api::params;

pub use address::default_socket;
pub use error::ClientError;
pub use subscription::{Item, Subscription};

use connection::{Connection, Deadline};

/// A connection to a running circusd.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    timeout: Option<Duration>,
}

impl Client {
    /// Connects to the socket at `path`; `@name` is an abstract one.
    ///
    /// It blocks while the daemon lives but does not take connections, once the kernel's queue is
    /// full; see [`Client::connect_timeout`].
    ///
    /// # Errors
    ///
    /// [`ClientError::Unreachable`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let stream = address::connect(path).map_err(|e| ClientError::unreachable(path, e))?;
        Ok(Self {
            connection: Connection::new(stream),
            timeout: None,
        })
    }

    /// As [`Client::connect`], but gives up after `timeout`, which then holds for calls, too.
    ///
    /// Having given up, it leaves a thread behind that ends when the kernel answers.
    ///
    /// # Errors
    ///
    /// [`ClientError::Unreachable`]; [`ClientError::TimedOut`].
    pub fn connect_timeout(path: impl AsRef<Path>, timeout: Duration) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let stream = address::connect_timeout(path, timeout)
            .map_err(|e| ClientError::unreachable(path, e))?
            .ok_or(ClientError::TimedOut { timeout })?;
        Ok(Self {
            connection: Connection::new(stream),
            timeout: Some(timeout),
        })
    }

    /// How long a call may take, its last reply included; `None`, as at first, is for ever.
    ///
    /// A subscription has it for its first reply only.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Calls a method and waits for its answer.
    ///
    /// `call` is a [`Method`](crate::api::Method), or a [`Call`] for what is known by name only;
    /// `T` is its answer in [`reply`](crate::api::reply), or a JSON value.
    ///
    /// # Errors
    ///
    /// [`ClientError::Refused`] is the daemon's answer, and the connection stays good. So it does
    /// after [`ClientError::Unknown`] and [`ClientError::Malformed`]; every other error ends it.
    pub fn call<T: DeserializeOwned>(&mut self, call: impl Into<Call>) -> Result<T, ClientError> {
        let call = Call {
            more: false,
            oneway: false,
            ..call.into()
        };
        let reply = self.exchange(&call, Deadline::after(self.timeout))?;
        if reply.continues {
            self.connection.close();
            return Err(ClientError::NotAsked);
        }
        reply.result().map_err(ClientError::from)
    }

    /// Calls a method with `more`: the answers come one by one, as the daemon sends them.
    ///
    /// To drop [`Replies`] before its end closes the connection, as varlink wants it; what was
    /// begun goes on.
    ///
    /// # Errors
    ///
    /// If the call cannot be sent; what the daemon says comes from [`Replies`].
    pub fn call_more<T: DeserializeOwned>(
        &mut self,
        call: impl Into<Call>,
    ) -> Result<Replies<'_, T>, ClientError> {
        let call = Call {
            more: true,
            oneway: false,
            ..call.into()
        };
        let deadline = Deadline::after(self.timeout);
        self.send(&call, deadline)?;
        Ok(Replies {
            client: self,
            deadline,
            finished: false,
            answers: PhantomData,
        })
    }

    /// Calls a method without wanting an answer, and does not wait.
    ///
    /// # Errors
    ///
    /// If the call cannot be sent. What becomes of it is not told.
    pub fn cast(&mut self, call: impl Into<Call>) -> Result<(), ClientError> {
        let call = Call {
            more: false,
            oneway: true,
            ..call.into()
        };
        self.connection.send(&call, Deadline::after(self.timeout))
    }

    /// Gives the connection over to events, and waits for the first reply.
    ///
    /// # Errors
    ///
    /// As [`Client::call`]; a malformed topic or cursor is `InvalidParameter`.
    pub fn subscribe(self, subscribe: params::Subscribe) -> Result<Subscription, ClientError> {
        Subscription::begin(self, subscribe)
    }

    /// Sends a call and takes one reply.
    fn exchange(&mut self, call: &Call, deadline: Deadline) -> Result<Reply, ClientError> {
        self.send(call, deadline)?;
        self.receive(deadline)
    }

    /// Sends a call that will be answered.
    fn send(&mut self, call: &Call, deadline: Deadline) -> Result<(), ClientError> {
        match self.connection.send(call, deadline) {
            // The daemon may have said why it closed, and that is still to be received.
            Err(ClientError::Closed) => Ok(()),
            result => result,
        }
    }

    /// Takes one reply; one that is late, or none, ends the connection.
    fn receive(&mut self, deadline: Deadline) -> Result<Reply, ClientError> {
        let reply = self.connection.receive(deadline);
        if reply.is_err() {
            // A late answer must not be taken for that of the next call.
            self.connection.close();
        }
        reply
    }
}

/// The answers of one call with `more`.
///
/// It ends after the last one, or after an error.
#[derive(Debug)]
#[must_use = "they come when they are asked for, and dropping them closes the connection"]
pub struct Replies<'a, T> {
    client: &'a mut Client,
    deadline: Deadline,
    finished: bool,
    answers: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Iterator for Replies<'_, T> {
    type Item = Result<T, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let reply = self.client.receive(self.deadline);
        self.finished = reply.as_ref().map_or(true, |reply| !reply.continues);
        Some(reply.and_then(|reply| reply.result().map_err(ClientError::from)))
    }
}

impl<T> Drop for Replies<'_, T> {
    fn drop(&mut self) {
        if !self.finished {
            self.client.connection.close();
        }
    }
}

impl From<ReplyError> for ClientError {
    fn from(error: ReplyError) -> Self {
        match error {
            ReplyError::Refused(error) => Self::Refused(error),
            ReplyError::Unknown(error) => Self::Unknown(error),
            ReplyError::Malformed(error) => Self::Malformed(error),
        }
    }
}
