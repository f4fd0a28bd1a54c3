//! The log of events: the last so many, each serialized once, shared by all who listen.
//!
//! Nobody has a queue of his own. A subscriber is a position in the log; who reads too slowly finds
//! that his position is no longer there, is told which numbers he missed, and goes on behind them.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::Notify;

use super::state::{History, Past};
use crate::api::action::ACTIONS;
use crate::api::cursor::Cursor;
use crate::api::frame::{self, Reply, Terminator};
use crate::api::topic::{Filter, Scope};
use crate::api::{reply, types};
use crate::core::Name;

/// How many bytes a subscriber takes out at once. With the kernel's socket buffer this is all that
/// one who never reads costs.
const BATCH_BYTES: usize = 64 * 1024;

/// The log, and who waits for news of it.
#[derive(Debug)]
pub(super) struct EventLog {
    instance: String,
    capacity: usize,
    entries: VecDeque<Entry>,
    /// The number of the last event.
    last: u64,
    /// Where they are kept for the next daemon.
    history: Option<History>,
    pub(super) subscribers: usize,
}

/// A log as it is shared between the loop and the connections.
#[derive(Debug)]
pub(super) struct SharedLog {
    log: RefCell<EventLog>,
    news: Notify,
    /// No event will follow: the daemon has ended.
    over: Cell<bool>,
    end: Notify,
}

#[derive(Debug)]
struct Entry {
    watcher: Option<Name>,
    action: &'static str,
    /// The reply to a subscriber, without its terminator.
    message: Box<[u8]>,
}

impl From<Past> for Entry {
    fn from(past: Past) -> Entry {
        let known = ACTIONS.iter().find(|action| action.name == past.action);
        Entry {
            watcher: past.watcher.as_deref().map(Name::from),
            // One of a later version is told to those who want everything.
            action: known.map_or("", |action| action.name),
            message: past.message.into_boxed_slice(),
        }
    }
}

/// What a subscription answers with, when its event was serialized before.
#[derive(Serialize)]
struct EventReply<'a> {
    cursor: &'a str,
    event: &'a RawValue,
}

/// Where a subscriber is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reader {
    /// The number up to which everything was either sent or not for him.
    position: u64,
    /// The number up to which he knows that.
    told: u64,
}

impl Reader {
    /// One who knows everything up to this number.
    pub(super) fn behind(position: u64) -> Reader {
        Reader {
            position,
            told: position,
        }
    }
}

/// Where a subscription begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    /// The number of the last event that is not sent.
    pub(super) after: u64,
    /// The first number that was missed and cannot be had; 0 if nobody knows.
    pub(super) missed: Option<u64>,
}

impl SharedLog {
    /// A log that goes on behind `past`.
    pub(super) fn new(instance: String, capacity: usize, past: Vec<Past>) -> Rc<SharedLog> {
        let mut log = EventLog {
            instance,
            capacity,
            last: past.last().map_or(0, |past| past.seq),
            entries: past.into_iter().map(Entry::from).collect(),
            history: None,
            subscribers: 0,
        };
        log.shrink();
        Rc::new(SharedLog {
            log: RefCell::new(log),
            news: Notify::new(),
            over: Cell::new(false),
            end: Notify::new(),
        })
    }

    /// Adds an event and wakes who listens.
    pub(super) fn push(&self, event: &types::Event, watcher: Option<Name>, action: &'static str) {
        self.log.borrow_mut().push(event, watcher, action);
        self.news.notify_waiters();
    }

    /// Writes down what was pushed; nobody can have heard of it before, as the listeners have not had
    /// their turn.
    pub(super) fn flush(&self) {
        if let Some(history) = &mut self.log.borrow_mut().history {
            history.flush();
        }
    }

    /// Keeps all that comes from now on for the next daemon; or, with `None`, no longer.
    pub(super) fn keep_in(&self, history: Option<History>) {
        let before = std::mem::replace(&mut self.log.borrow_mut().history, history);
        if let Some(before) = before {
            before.remove();
        }
    }

    /// Says to all who wait for anything that nothing more will come.
    pub(super) fn end(&self) {
        self.over.set(true);
        self.end.notify_waiters();
    }

    /// Waits until the daemon has ended.
    pub(super) async fn ended(&self) {
        // Nothing can happen between the look and the wait: there is one thread.
        if !self.over.get() {
            self.end.notified().await;
        }
    }

    /// Waits for an event that comes after this call.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    pub(super) fn with<R>(&self, act: impl FnOnce(&mut EventLog) -> R) -> R {
        act(&mut self.log.borrow_mut())
    }
}

impl EventLog {
    fn push(&mut self, event: &types::Event, watcher: Option<Name>, action: &'static str) {
        self.last = event.seq;
        let event_json = serde_json::value::to_raw_value(event)
            .expect("an event has only strings for keys and plain values");
        let reply = Reply::continued(EventReply {
            cursor: &event.cursor,
            event: &event_json,
        });
        let mut message = frame::encode(&reply, Terminator::default());
        message.pop();
        if let Some(history) = &mut self.history {
            history.push(&message, self.capacity as u64);
        }
        self.entries.push_back(Entry {
            watcher,
            action,
            message: message.into_boxed_slice(),
        });
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.entries.len() > self.capacity {
            self.entries.pop_front();
        }
    }

    /// How many events are kept from now on.
    pub(super) fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity;
        self.shrink();
        self.entries.shrink_to(capacity);
    }

    /// The cursor behind the event with this number.
    pub(super) fn cursor(&self, seq: u64) -> String {
        Cursor {
            instance: self.instance.clone(),
            seq,
        }
        .to_string()
    }

    fn first(&self) -> u64 {
        self.last + 1 - self.entries.len() as u64
    }

    /// Where a subscription that asks for `since` begins; without it, at the end.
    pub(super) fn start(&self, since: Option<&Cursor>) -> Start {
        match since {
            None => Start {
                after: self.last,
                missed: None,
            },
            // Another daemon's numbers, or numbers that were never given out, say nothing here.
            Some(cursor) if cursor.instance != self.instance || cursor.seq > self.last => Start {
                after: self.first() - 1,
                missed: Some(0),
            },
            Some(cursor) if cursor.seq + 1 < self.first() => Start {
                after: self.first() - 1,
                missed: Some(cursor.seq + 1),
            },
            Some(cursor) => Start {
                after: cursor.seq,
                missed: None,
            },
        }
    }

    /// Appends to `out` what comes behind where the reader is, a gap first if some of it is gone, until
    /// about [`BATCH_BYTES`] are together. Says where he is then.
    ///
    /// One who has long been told nothing is told where he is: else he would come back with a cursor
    /// that is gone from the log, and be told of a gap where he has missed nothing.
    pub(super) fn collect(
        &self,
        mut reader: Reader,
        filter: &Filter,
        terminator: Terminator,
        out: &mut Vec<u8>,
    ) -> Reader {
        if reader.position + 1 < self.first() {
            out.extend(self.gap(reader.position + 1, self.first() - 1, terminator));
            reader = Reader::behind(self.first() - 1);
        }
        let skip = usize::try_from(reader.position + 1 - self.first()).unwrap_or(usize::MAX);
        for entry in self.entries.iter().skip(skip) {
            if out.len() >= BATCH_BYTES {
                break;
            }
            reader.position += 1;
            let scope = match &entry.watcher {
                Some(name) => Scope::Watcher(name.as_str()),
                None => Scope::Circusd,
            };
            if filter.matches(scope, entry.action) {
                out.extend_from_slice(&entry.message);
                out.push(terminator.byte());
                reader.told = reader.position;
            }
        }
        if reader.position - reader.told >= self.untold_max() {
            out.extend(self.reply(reader.position, None, terminator));
            reader.told = reader.position;
        }
        reader
    }

    /// How many events may pass that are not for a reader before he is told so: a part of what is kept
    /// that leaves him the rest to come back in.
    fn untold_max(&self) -> u64 {
        (self.capacity as u64 / 4).max(1)
    }

    /// The reply that tells of missing events.
    pub(super) fn gap(&self, first: u64, last: u64, terminator: Terminator) -> Vec<u8> {
        self.reply(last, Some(types::Gap { first, last }), terminator)
    }

    /// A reply without an event, which leads behind this number.
    fn reply(&self, seq: u64, gap: Option<types::Gap>, terminator: Terminator) -> Vec<u8> {
        let reply = reply::Subscribe {
            cursor: self.cursor(seq),
            watchers: None,
            event: None,
            gap,
        };
        frame::encode(&Reply::continued(reply), terminator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(capacity: usize, events: u64) -> Rc<SharedLog> {
        let log = SharedLog::new("here".into(), capacity, Vec::new());
        for seq in 1..=events {
            let event = types::Event {
                cursor: format!("here:{seq}"),
                seq,
                time_usec: 0,
                topic: "watcher.web.spawn".into(),
                watcher: Some("web".into()),
                action: "spawn".into(),
                data: types::Object::new(),
            };
            log.push(&event, Some(Name::from("web")), "spawn");
        }
        log
    }

    fn heard(log: &SharedLog, after: u64, topics: Option<&[String]>) -> (Vec<String>, u64) {
        let filter = Filter::parameter(topics).unwrap();
        let mut out = Vec::new();
        let start = Reader::behind(after);
        let at = log.with(|log| log.collect(start, &filter, Terminator::default(), &mut out));
        let text = String::from_utf8(out).unwrap();
        let cursors = text.lines().map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let parameters = &value["parameters"];
            let is = |key: &str| parameters[key].is_object();
            let kind = match (is("gap"), is("event")) {
                (true, _) => "gap",
                (_, true) => "event",
                _ => "nothing",
            };
            format!("{kind} {}", parameters["cursor"].as_str().unwrap())
        });
        (cursors.collect(), at.position)
    }

    #[test]
    fn a_listener_continues_exactly_where_it_was() {
        let log = log(10, 4);
        assert_eq!(
            heard(&log, 2, None),
            (vec!["event here:3".into(), "event here:4".into()], 4)
        );
        assert_eq!(heard(&log, 4, None), (vec![], 4));
    }

    #[test]
    fn what_is_no_longer_there_is_told_as_a_gap() {
        let log = log(2, 5);
        let expected = vec![
            "gap here:3".into(),
            "event here:4".into(),
            "event here:5".into(),
        ];
        assert_eq!(heard(&log, 1, None), (expected, 5));
    }

    #[test]
    fn what_does_not_match_is_passed_over() {
        let log = log(16, 3);
        assert_eq!(heard(&log, 0, Some(&["*.reap".into()])), (vec![], 3));
    }

    #[test]
    fn one_for_whom_nothing_was_knows_how_far_that_goes() {
        let topics = &["*.reap".to_owned()];
        let log = log(16, 40);
        let far = vec!["nothing here:40".to_owned()];
        assert_eq!(heard(&log, 30, Some(topics)), (far, 40));
        assert_eq!(heard(&log, 37, Some(topics)), (vec![], 40));
        // What is passed over counts from what he was told last, not from when he last asked.
        let filter = Filter::parameter(Some(topics)).unwrap();
        let mut out = Vec::new();
        let reader = Reader {
            position: 39,
            told: 36,
        };
        log.with(|log| log.collect(reader, &filter, Terminator::default(), &mut out));
        assert!(!out.is_empty());
    }

    #[test]
    fn a_cursor_that_leads_nowhere_begins_with_a_gap() {
        let log = log(2, 5);
        let start = |text: &str| log.with(|log| log.start(Some(&text.parse().unwrap())));
        assert_eq!(
            start("here:5"),
            Start {
                after: 5,
                missed: None
            }
        );
        assert_eq!(
            start("here:3"),
            Start {
                after: 3,
                missed: None
            }
        );
        assert_eq!(
            start("here:2"),
            Start {
                after: 3,
                missed: Some(3)
            }
        );
        assert_eq!(
            start("there:4"),
            Start {
                after: 3,
                missed: Some(0)
            }
        );
        assert_eq!(
            start("here:9"),
            Start {
                after: 3,
                missed: Some(0)
            }
        );
    }

    #[test]
    fn a_listener_takes_a_bounded_amount_at_once() {
        let log = log(10_000, 10_000);
        let mut out = Vec::new();
        let filter = Filter::parameter(None).unwrap();
        let start = Reader::behind(0);
        let at = log.with(|log| log.collect(start, &filter, Terminator::default(), &mut out));
        assert!(
            out.len() < BATCH_BYTES + 1024 && at.position < 10_000,
            "{} bytes, to {at:?}",
            out.len()
        );
    }
}
