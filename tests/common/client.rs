//! The protocol as the tests speak it: one JSON object a line, nothing of our own library.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::DEADLINE;

/// How many past events a failed wait tells of.
const EVENTS_TOLD: usize = 50;

/// An error reply.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallError {
    /// Its whole name: `io.circusd.NoSuchWatcher`.
    pub(crate) error: String,
    pub(crate) parameters: Value,
}

/// One connection, framed by newlines.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Connects to the socket at `path`.
    pub(crate) fn open(path: &Path) -> Self {
        let stream = UnixStream::connect(path)
            .unwrap_or_else(|error| panic!("{} does not answer: {error}", path.display()));
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// The socket itself, for tests that write what no client should.
    pub(crate) fn stream(&mut self) -> &mut UnixStream {
        self.stream.get_mut()
    }

    /// Sends one message; `message` is a whole call, or whatever the test wants to be refused.
    pub(crate) fn send(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.stream()
            .write_all(line.as_bytes())
            .expect("the daemon reads");
    }

    /// Sends a call of `method` (of `io.circusd` if it names no interface).
    pub(crate) fn send_call(&mut self, method: &str, parameters: Value, more: bool) {
        let method = if method.contains('.') {
            method.to_owned()
        } else {
            format!("io.circusd.{method}")
        };
        let mut message = json!({"method": method, "parameters": parameters});
        if more {
            message["more"] = json!(true);
        }
        self.send(&message);
    }

    /// The next message; `None` when the daemon has closed the connection.
    ///
    /// # Errors
    ///
    /// `TimedOut` if nothing has come by `deadline`.
    pub(crate) fn receive_before(&mut self, deadline: Instant) -> io::Result<Option<Value>> {
        let mut line = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream().set_read_timeout(Some(left))?;
            match self.stream.read_until(b'\n', &mut line) {
                Ok(0) => return Ok(None),
                Ok(_) => break,
                Err(error) => match error.kind() {
                    // What was read so far stays in `line`.
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {}
                    io::ErrorKind::ConnectionReset => return Ok(None),
                    _ => return Err(error),
                },
            }
        }
        let message = serde_json::from_slice(&line);
        Ok(Some(message.unwrap_or_else(|error| {
            panic!("{error} in {:?}", String::from_utf8_lossy(&line))
        })))
    }

    /// The next message; `None` when the daemon has closed the connection.
    pub(crate) fn receive(&mut self) -> Option<Value> {
        self.receive_before(Instant::now() + DEADLINE)
            .expect("the daemon answers")
    }

    /// The next reply: its parameters, or its error.
    pub(crate) fn receive_reply(&mut self) -> Result<Value, CallError> {
        let mut message = self
            .receive()
            .expect("a call is answered before the connection is closed");
        let parameters = message["parameters"].take();
        match message["error"].as_str() {
            Some(error) => Err(CallError {
                error: error.to_owned(),
                parameters,
            }),
            None => Ok(parameters),
        }
    }

    /// Calls `method` and returns its one reply.
    pub(crate) fn call(&mut self, method: &str, parameters: Value) -> Result<Value, CallError> {
        self.send_call(method, parameters, false);
        self.receive_reply()
    }

    /// Calls `method` with `more`; returns all replies, the last of them without `continues`.
    pub(crate) fn call_more(
        &mut self,
        method: &str,
        parameters: Value,
    ) -> Result<Vec<Value>, CallError> {
        self.send_call(method, parameters, true);
        let mut replies = Vec::new();
        loop {
            let mut message = self
                .receive()
                .expect("a stream ends before the connection is closed");
            let continues = message["continues"] == json!(true);
            let parameters = message["parameters"].take();
            if let Some(error) = message["error"].as_str() {
                return Err(CallError {
                    error: error.to_owned(),
                    parameters,
                });
            }
            replies.push(parameters);
            if !continues {
                return Ok(replies);
            }
        }
    }
}

/// A subscription.
#[derive(Debug)]
pub(crate) struct Events {
    connection: Connection,
    /// The first reply: where the stream starts, and the snapshot if one was asked for.
    pub(crate) opening: Value,
    seen: VecDeque<Value>,
}

impl Events {
    /// Subscribes over `connection` and waits for the first reply: what happens from then on is heard.
    pub(crate) fn subscribe(mut connection: Connection, parameters: Value) -> Self {
        connection.send_call("Subscribe", parameters, true);
        let opening = connection
            .receive_reply()
            .expect("everyone who may connect may subscribe");
        Self {
            connection,
            opening,
            seen: VecDeque::new(),
        }
    }

    /// The next event.
    pub(crate) fn next(&mut self) -> Value {
        self.next_before(Instant::now() + DEADLINE, "no event came")
    }

    /// The next event whose topic matches `pattern`, where `*` stands for any text.
    pub(crate) fn wait(&mut self, pattern: &str) -> Value {
        self.wait_where(pattern, |_| true)
    }

    /// The next event with that topic and with data as `wanted`.
    pub(crate) fn wait_where(&mut self, pattern: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + DEADLINE;
        let complaint = format!("no event '{pattern}' as wanted");
        loop {
            let event = self.next_before(deadline, &complaint);
            let topic = event["topic"].as_str().expect("an event has a topic");
            if matches(pattern, topic) && wanted(&event["data"]) {
                return event;
            }
        }
    }

    /// The next event; `complaint` says what was waited for, should none come by `deadline`.
    pub(crate) fn next_before(&mut self, deadline: Instant, complaint: &str) -> Value {
        let reply = match self.connection.receive_before(deadline) {
            Ok(Some(reply)) => reply,
            Ok(None) => panic!("the stream ended: {complaint}; before: {:#?}", self.told()),
            Err(error) => panic!("{error}: {complaint}; before: {:#?}", self.told()),
        };
        let event = &reply["parameters"]["event"];
        assert!(event.is_object(), "not an event: {reply}");
        self.seen.push_back(event.clone());
        if self.seen.len() > EVENTS_TOLD {
            self.seen.pop_front();
        }
        event.clone()
    }

    fn told(&self) -> Vec<String> {
        self.seen
            .iter()
            .map(|event| format!("{} {} {}", event["seq"], event["topic"], event["data"]))
            .collect()
    }
}

/// Whether `text` is as `pattern`, where `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, rest)) => text.strip_prefix(head).is_some_and(|tail| {
            tail.char_indices()
                .map(|(at, _)| at)
                .chain([tail.len()])
                .any(|at| matches(rest, &tail[at..]))
        }),
    }
}
