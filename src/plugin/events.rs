//! The events, over restarts of circusd: continued behind the last one, again and again.
//!
//! Nothing is kept here but the cursor: while the plugin is busy nothing is read, and circusd keeps
//! what happens.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::api::cursor::Cursor;
use crate::api::frame::Call;
use crate::api::topic::{Filter, Scope};
use crate::api::{Error, Method, params, reply};
use crate::client::ClientError;

use super::connection::{Connection, refused};
use super::run::{Heard, Input};

/// The pause before circusd is looked for again; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The pauses between attempts.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(PAUSE_FIRST)
    }
}

impl Pause {
    /// Waits for the time that it is now.
    pub(super) async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(PAUSE_MAX);
    }
}

/// Whether it can be better another time: circusd is not there, or has gone.
pub(super) fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::TimedOut { .. }
        | ClientError::Closed
        | ClientError::Connection(_) => true,
        ClientError::Refused(error) => *error == Error::ShuttingDown {},
        ClientError::Unknown(_)
        | ClientError::NotAReply(_)
        | ClientError::Malformed(_)
        | ClientError::NotAsked => false,
    }
}

/// A subscription.
#[derive(Debug)]
pub(super) struct Events {
    socket: PathBuf,
    topics: Option<Vec<String>>,
    /// Behind the last event that was received.
    cursor: String,
    connection: Connection,
}

impl Events {
    /// Subscribes; from now on, or from the cursor `since` on, nothing is lost.
    ///
    /// # Errors
    ///
    /// As of any call; a malformed topic or cursor is refused.
    pub(super) async fn subscribe(
        socket: PathBuf,
        topics: Option<Vec<String>>,
        since: Option<String>,
    ) -> Result<Self, ClientError> {
        let (connection, cursor) = open(&socket, topics.clone(), since).await?;
        Ok(Self {
            socket,
            topics,
            cursor,
            connection,
        })
    }

    /// Where it begins.
    pub(super) fn cursor(&self) -> &str {
        &self.cursor
    }

    /// Hands in everything that is heard, until nobody wants it or circusd refuses for good.
    pub(super) async fn follow(mut self, inputs: mpsc::Sender<Input>) {
        loop {
            let heard = match self.connection.receive().await {
                Ok(reply) => reply.result::<reply::Subscribe>().map_err(refused),
                Err(error) => Err(error),
            };
            let input = match heard {
                Ok(reply) => {
                    self.cursor.clone_from(&reply.cursor);
                    input(reply)
                }
                Err(error) => match self.come_back(error).await {
                    Ok(()) => continue,
                    Err(error) => Input::Failed(error),
                },
            };
            let is_end = matches!(input, Input::Failed(_));
            if inputs.send(input).await.is_err() || is_end {
                return;
            }
        }
    }

    async fn come_back(&mut self, mut error: ClientError) -> Result<(), ClientError> {
        let mut pause = Pause::default();
        while is_passing(&error) {
            pause.wait().await;
            let since = Some(self.cursor.clone());
            match open(&self.socket, self.topics.clone(), since).await {
                Ok((connection, cursor)) => {
                    (self.connection, self.cursor) = (connection, cursor);
                    return Ok(());
                }
                Err(again) => error = again,
            }
        }
        Err(error)
    }
}

/// What has happened behind `cursor` up to now and is one of `topics`, without waiting for more: for
/// the end of a plugin.
///
/// Takes everything and chooses by itself, as only then the last event up to now is sure to come.
#[derive(Debug)]
pub(super) struct Rest {
    connection: Connection,
    filter: Filter,
    /// The last one, counted in `instance`.
    last: Cursor,
    is_over: bool,
}

impl Rest {
    pub(super) async fn since(
        socket: &Path,
        topics: Option<&[String]>,
        cursor: &str,
    ) -> Result<Self, ClientError> {
        let filter = Filter::parameter(topics).map_err(ClientError::Refused)?;
        let (_, now) = open(socket, None, None).await?;
        let malformed = |_| ClientError::Refused(Error::invalid_parameter("since"));
        let last: Cursor = now.parse().map_err(malformed)?;
        let first: Cursor = cursor.parse().map_err(malformed)?;
        let (connection, _) = open(socket, None, Some(cursor.to_owned())).await?;
        Ok(Self {
            connection,
            filter,
            is_over: first.instance != last.instance || first.seq >= last.seq,
            last,
        })
    }

    /// The next one.
    pub(super) async fn next(&mut self) -> Option<Input> {
        while !self.is_over {
            let reply = self.connection.receive().await.ok()?;
            let reply: reply::Subscribe = reply.result().ok()?;
            let at: Cursor = reply.cursor.parse().ok()?;
            self.is_over = at.seq >= self.last.seq;
            let is_for_it = reply.event.as_ref().is_none_or(|event| {
                let scope = event.watcher.as_deref();
                let scope = scope.map_or(Scope::Circusd, Scope::Watcher);
                self.filter.matches(scope, &event.action)
            });
            if is_for_it {
                return Some(input(reply));
            }
        }
        None
    }
}

/// What a reply is to the plugin. A newer daemon may say what we do not know; its cursor counts all the
/// same.
fn input(reply: reply::Subscribe) -> Input {
    let what = match (reply.event, reply.gap) {
        (Some(event), _) => Heard::Event(event),
        (None, Some(gap)) => Heard::Gap(gap),
        (None, None) => Heard::Nothing,
    };
    Input::Heard {
        cursor: reply.cursor,
        what,
    }
}

async fn open(
    socket: &Path,
    topics: Option<Vec<String>>,
    since: Option<String>,
) -> Result<(Connection, String), ClientError> {
    let mut connection = Connection::open(socket).await?;
    let subscribe = params::Subscribe {
        topics,
        since,
        snapshot: None,
    };
    let call = Call {
        more: true,
        ..Call::from(&Method::Subscribe(subscribe))
    };
    connection.send(&call).await?;
    let first = connection.receive().await?;
    let first: reply::Subscribe = first.result().map_err(refused)?;
    Ok((connection, first.cursor))
}
