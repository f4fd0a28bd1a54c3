//! Events as they happen, in the program: a stream that loses nothing without saying so.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::{Semaphore, mpsc};

use crate::api::frame::{Frames, Reply};
use crate::api::reply;
use crate::api::types;
use crate::client::Item;

/// No event is longer.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// What happens, one after the other.
///
/// It ends when the arbiter has ended, after the last event. What is not taken stays in the log of
/// the arbiter, for as long as `event_buffer` has room there; what is missed after that is told as
/// [`Item::Gap`]. To come back without losing anything, subscribe with [`Events::cursor`] as
/// `since`; cursors of one arbiter mean nothing to another.
///
/// It is a [`Stream`] as well, whose items are the same, and needs no runtime.
#[derive(Debug)]
#[must_use = "nothing is heard but by asking for the next"]
pub struct Events {
    batches: mpsc::UnboundedReceiver<Vec<u8>>,
    room: Arc<Semaphore>,
    frames: Frames<Reply>,
    ready: VecDeque<Item>,
    /// One for each of `ready`.
    cursors: VecDeque<String>,
    cursor: String,
    snapshot: Option<Vec<types::Watcher>>,
}

impl Events {
    pub(super) fn new(
        first: reply::Subscribe,
        batches: mpsc::UnboundedReceiver<Vec<u8>>,
        room: Arc<Semaphore>,
    ) -> Events {
        Events {
            batches,
            room,
            frames: Frames::new(MESSAGE_BYTES_MAX),
            ready: VecDeque::new(),
            cursors: VecDeque::new(),
            cursor: first.cursor,
            snapshot: first.watchers,
        }
    }

    /// Waits for the next; `None` after the last. May be dropped at any point: nothing is lost.
    pub async fn next(&mut self) -> Option<Item> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// The place in the log behind what was heard last; at first, where the stream starts.
    #[must_use]
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// The state of all watchers where the stream starts, if `snapshot` was asked for.
    #[must_use]
    pub fn snapshot(&self) -> Option<&[types::Watcher]> {
        self.snapshot.as_deref()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                self.cursor = self.cursors.pop_front().unwrap_or_default();
                return Poll::Ready(Some(item));
            }
            match self.batches.poll_recv(cx) {
                Poll::Ready(Some(batch)) => self.take(&batch),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take(&mut self, batch: &[u8]) {
        self.room.add_permits(1);
        self.frames.push(batch);
        for message in self.frames.by_ref() {
            let message = message.expect("both ends are of one version");
            let message = message.result::<reply::Subscribe>();
            let message = message.expect("a subscription is answered with nothing else");
            let item = message.event.map(Item::Event);
            if let Some(item) = item.or(message.gap.map(Item::Gap)) {
                self.ready.push_back(item);
                self.cursors.push_back(message.cursor);
            }
        }
    }
}

impl Stream for Events {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        self.get_mut().poll(cx)
    }
}
