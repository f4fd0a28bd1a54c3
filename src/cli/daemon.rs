//! The connection to the daemon, for one command and within its time.
//!
//! Not here: the socket and the protocol; they are `client`'s.

use std::time::{Duration, Instant};

use super::command::{Call, Parameters};
use super::failure::Failure;
use super::parser::Globals;
use crate::api::{INTERFACE, frame};
use crate::client::{Client, ClientError, default_socket};

/// A connection to the daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    client: Client,
    limit: Option<Limit>,
}

/// How long the whole command may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    end: Instant,
    timeout: Duration,
}

impl Limit {
    /// What is left of the time.
    ///
    /// # Errors
    ///
    /// Nothing is.
    pub(super) fn left(self) -> Result<Duration, Failure> {
        match self.end.saturating_duration_since(Instant::now()) {
            Duration::ZERO => {
                let timeout = self.timeout;
                Err(ClientError::TimedOut { timeout }.into())
            }
            left => Ok(left),
        }
    }
}

impl Daemon {
    /// Connects to the daemon that `globals` mean. Their timeout begins here, and is for all calls
    /// together.
    pub(super) fn connect(globals: &Globals) -> Result<Self, Failure> {
        let socket = globals.socket.clone().unwrap_or_else(default_socket);
        // The parser takes no timeout that would go beyond the clock.
        let limit = globals.timeout.map(|timeout| Limit {
            end: Instant::now() + timeout,
            timeout,
        });
        let client = match globals.timeout {
            None => Client::connect(socket)?,
            Some(timeout) => Client::connect_timeout(socket, timeout)?,
        };
        Ok(Self { client, limit })
    }

    /// Makes one call, with progress or as a stream if `more`, and hands `each` every reply.
    ///
    /// # Errors
    ///
    /// What goes wrong with the call, or the first thing that `each` finds wrong; then the
    /// connection is not used any further.
    pub(super) fn call(
        &mut self,
        call: &Call,
        more: bool,
        mut each: impl FnMut(Parameters) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        self.client.set_timeout(self.left()?);
        let call = frame::Call {
            method: format!("{INTERFACE}.{}", call.method),
            parameters: call.parameters.clone(),
            ..frame::Call::default()
        };
        let limit = self.limit;
        let fail = |error| failure(error, limit);
        if !more {
            return each(self.client.call(call).map_err(fail)?);
        }
        for reply in self.client.call_more(call).map_err(fail)? {
            each(reply.map_err(fail)?)?;
        }
        Ok(())
    }

    /// The limit of the command, for what it does beside its calls; `None` is for ever.
    pub(super) fn limit(&self) -> Option<Limit> {
        self.limit
    }

    /// What is left of the time; `None` is for ever.
    fn left(&self) -> Result<Option<Duration>, Failure> {
        self.limit.map(Limit::left).transpose()
    }
}

/// `error` as it is, but with the time that the user gave, not with what was left of it.
fn failure(error: ClientError, limit: Option<Limit>) -> Failure {
    match (error, limit) {
        (ClientError::TimedOut { .. }, Some(Limit { timeout, .. })) => {
            ClientError::TimedOut { timeout }.into()
        }
        (error, _) => error.into(),
    }
}
