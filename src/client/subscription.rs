//! Events as they happen.

use std::time::Duration;

use crate::api::frame::Call;
use crate::api::types::{Event, Gap, Watcher};
use crate::api::{Method, params, reply};

use super::Client;
use super::connection::Deadline;
use super::error::ClientError;

/// One thing that a subscriber hears; there is no third, so who handles both has missed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Something happened.
    Event(Event),
    /// Something happened that cannot be told any more.
    Gap(Gap),
}

/// The events of one subscription, as an iterator that waits for the next.
///
/// It ends when the daemon ends the stream, and after every error but
/// [`ClientError::TimedOut`]. To come back without losing anything, subscribe anew with
/// [`Subscription::cursor`] as `since`.
#[derive(Debug)]
#[must_use = "nothing is heard but by asking for the next"]
pub struct Subscription {
    client: Client,
    cursor: String,
    snapshot: Option<Vec<Watcher>>,
    timeout: Option<Duration>,
    finished: bool,
}

impl Subscription {
    pub(super) fn begin(
        mut client: Client,
        subscribe: params::Subscribe,
    ) -> Result<Self, ClientError> {
        let call = Call {
            more: true,
            ..Call::from(&Method::Subscribe(subscribe))
        };
        let first = client.exchange(&call, Deadline::after(client.timeout))?;
        let finished = !first.continues;
        let reply::Subscribe {
            cursor,
            watchers: snapshot,
            ..
        } = first.result()?;
        Ok(Self {
            client,
            cursor,
            snapshot,
            timeout: None,
            finished,
        })
    }

    /// The place in the log behind what was heard last; at first, where the stream starts.
    #[must_use]
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// The state of all watchers where the stream starts, if `snapshot` was asked for.
    #[must_use]
    pub fn snapshot(&self) -> Option<&[Watcher]> {
        self.snapshot.as_deref()
    }

    /// How long each item is waited for; `None`, as at first, is for ever.
    ///
    /// When it is over, the item is [`ClientError::TimedOut`], and the stream goes on.
    pub fn set_timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// The next item, or `None` for a reply that carries none.
    fn receive(&mut self, deadline: Deadline) -> Result<Option<Item>, ClientError> {
        let reply = self.client.connection.receive(deadline)?;
        self.finished = !reply.continues;
        let reply::Subscribe {
            cursor, event, gap, ..
        } = reply.result()?;
        self.cursor = cursor;
        Ok(event.map(Item::Event).or(gap.map(Item::Gap)))
    }
}

impl Iterator for Subscription {
    type Item = Result<Item, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        let deadline = Deadline::after(self.timeout);
        while !self.finished {
            match self.receive(deadline) {
                Ok(Some(item)) => return Some(Ok(item)),
                // A newer daemon may say what we do not know; its cursor counts all the same.
                Ok(None) => {}
                Err(error) => {
                    self.finished |= !matches!(error, ClientError::TimedOut { .. });
                    return Some(Err(error));
                }
            }
        }
        None
    }
}
