//! Messages out of bytes and bytes out of messages.
//!
//! It reads and writes nothing itself: bytes are pushed in as they come, in pieces of any size, and
//! whole messages are taken out. So both ends, and every test, use the same code.
//!
//! A message is one JSON object ended by a newline or a NUL byte, either at any time; the first one
//! decides how a connection is answered. Blank lines, and a carriage return before a newline, are
//! skipped. The first thing that is no message ends a connection: what would follow cannot be
//! trusted to begin where a message begins.

use std::collections::VecDeque;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use super::error::{Error, UnknownError};
use super::method::Method;
use super::types::Object;

#[cfg(test)]
mod tests;

/// How much room a buffer keeps after a longer message, in bytes: a thousand idle connections must
/// not go on paying for the longest message that each ever sent.
const KEPT_BYTES: usize = 16 * 1024;

/// What ends a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Terminator {
    /// `\n`: people and line-minded programs.
    #[default]
    Newline,
    /// `\0`: varlink proper.
    Nul,
}

impl Terminator {
    /// The byte itself.
    #[must_use]
    pub fn byte(self) -> u8 {
        match self {
            Self::Newline => b'\n',
            Self::Nul => 0,
        }
    }

    fn of(byte: u8) -> Option<Self> {
        match byte {
            b'\n' => Some(Self::Newline),
            0 => Some(Self::Nul),
            _ => None,
        }
    }
}

/// What came is not a message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// No end within the limit.
    #[error("longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes without the terminator.
        limit: usize,
    },
    /// Not UTF-8.
    #[error("not UTF-8")]
    NotUtf8(#[source] std::str::Utf8Error),
    /// JSON, perhaps, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// Not JSON, nested too deep, or not an object with the members of a message.
    #[error("not JSON with the form of a message")]
    Malformed(#[source] serde_json::Error),
}

impl From<FrameError> for Error {
    fn from(error: FrameError) -> Self {
        let reason = match &error {
            FrameError::Malformed(cause) => cause.to_string(),
            FrameError::TooLong { .. } | FrameError::NotUtf8(_) | FrameError::NotAnObject => {
                error.to_string()
            }
        };
        Self::InvalidMessage { reason }
    }
}

/// A call, as it goes over the wire.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The method with its interface.
    pub method: String,
    /// Its parameters.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "Object::is_empty"
    )]
    pub parameters: Object,
    /// Whether several replies are welcome.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_false"
    )]
    pub more: bool,
    /// Whether no reply is wanted.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_false"
    )]
    pub oneway: bool,
    /// Whether the connection is to be given to another protocol afterwards.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_false"
    )]
    pub upgrade: bool,
}

impl From<&Method> for Call {
    fn from(method: &Method) -> Self {
        let (method, parameters) = (method.name().to_owned(), method.parameters());
        Self {
            method,
            parameters,
            ..Self::default()
        }
    }
}

/// A reply, as it goes over the wire.
///
/// Its parameters are JSON that is read when it is known as what (see [`Reply::result`]); to write
/// one, they may be anything that serializes, and `&RawValue` if they were serialized before.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Reply<P = Box<RawValue>> {
    /// What is answered, or the parameters of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<P>,
    /// Whether there will be another reply to the same call.
    #[serde(
        default,
        deserialize_with = "or_default",
        skip_serializing_if = "is_false"
    )]
    pub continues: bool,
    /// The name of the error with its interface, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl<P: Serialize> Reply<P> {
    /// The last reply, or the only one.
    pub fn last(parameters: P) -> Self {
        Self {
            parameters: Some(parameters),
            continues: false,
            error: None,
        }
    }

    /// A reply that another will follow.
    pub fn continued(parameters: P) -> Self {
        Self {
            parameters: Some(parameters),
            continues: true,
            error: None,
        }
    }
}

/// A reply that is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// It is one of our errors.
    #[error(transparent)]
    Refused(Error),
    /// It is an error that we do not know.
    #[error(transparent)]
    Unknown(UnknownError),
    /// It does not have the form that the method's answer has.
    #[error("the answer does not have the form it should")]
    Malformed(#[source] serde_json::Error),
}

impl Reply {
    /// Reads the parameters as the answer `T`, or as an error.
    ///
    /// # Errors
    ///
    /// [`ReplyError`]: the reply is an error, or no `T`.
    pub fn result<T: DeserializeOwned>(&self) -> Result<T, ReplyError> {
        let parameters = self.parameters.as_deref().map(RawValue::get);
        let Some(name) = &self.error else {
            return serde_json::from_str(parameters.unwrap_or("{}")).map_err(ReplyError::Malformed);
        };
        let parameters = parameters.map(serde_json::from_str).transpose();
        match Error::from_wire(name, parameters.map_err(ReplyError::Malformed)?) {
            Ok(error) => Err(ReplyError::Refused(error)),
            Err(unknown) => Err(ReplyError::Unknown(unknown)),
        }
    }
}

/// The messages that can be sent.
pub trait Message: Serialize {}

impl Message for Call {}
impl<P: Serialize> Message for Reply<P> {}
impl Message for Error {}

/// Writes one message with its terminator.
///
/// # Panics
///
/// If the parameters of a [`Reply`] cannot be written as JSON: a map with keys that are not strings,
/// or a `Serialize` that fails. The types of [`reply`](super::reply) can always be written.
pub fn encode(message: &impl Message, terminator: Terminator) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(message).expect("a message can be written as JSON");
    bytes.push(terminator.byte());
    bytes
}

/// Takes bytes, gives messages: [`Call`]s at the server's end, [`Reply`]s at the client's.
///
/// As an iterator it ends when no whole message is left, and goes on after the next [`push`], but
/// not after an error. Take out all messages before pushing again: what is pushed is kept until
/// then. Beside whole messages it never holds more than `limit` bytes.
///
/// [`push`]: Frames::push
#[derive(Debug)]
pub struct Frames<M> {
    limit: usize,
    /// Whole messages without their terminators, and after them what there is of the next one.
    buffer: Vec<u8>,
    /// Where the first message in `buffer` that was not taken out begins.
    start: usize,
    /// Where the whole messages end, one after the other.
    ends: VecDeque<usize>,
    terminator: Option<Terminator>,
    state: State,
    messages: PhantomData<fn() -> M>,
}

/// Whether more can come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The message after the whole ones is too long; nobody was told.
    TooLong,
    /// An error was given out.
    Broken,
}

impl<M: DeserializeOwned> Frames<M> {
    /// For messages of at most `limit` bytes, the terminator not counted.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            buffer: Vec::new(),
            start: 0,
            ends: VecDeque::new(),
            terminator: None,
            state: State::Open,
            messages: PhantomData,
        }
    }

    /// How much was pushed and not yet taken out, in bytes.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len() - self.start
    }

    /// Takes `bytes` in, or, after an error, ignores them. Each byte is looked at once.
    pub fn push(&mut self, bytes: &[u8]) {
        self.compact();
        let mut rest = bytes;
        while self.state == State::Open && !rest.is_empty() {
            let end = rest.iter().position(|&b| Terminator::of(b).is_some());
            let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
            self.extend(part);
            rest = after.get(1..).unwrap_or_default();
            if let Some(terminator) = after.first().copied().and_then(Terminator::of) {
                self.end(terminator);
            }
        }
    }

    /// How to answer: as the first message ended, by a newline if none has yet.
    #[must_use]
    pub fn terminator(&self) -> Terminator {
        self.terminator.unwrap_or_default()
    }

    /// Lets go of what was taken out.
    fn compact(&mut self) {
        self.buffer.drain(..self.start);
        for end in &mut self.ends {
            *end -= self.start;
        }
        self.start = 0;
        if self.buffer.len() < KEPT_BYTES {
            self.buffer.shrink_to(KEPT_BYTES);
        }
    }

    /// Where the message begins whose end has not come.
    fn unfinished(&self) -> usize {
        self.ends.back().copied().unwrap_or(self.start)
    }

    fn extend(&mut self, part: &[u8]) {
        let begin = self.unfinished();
        if self.buffer.len() - begin + part.len() > self.limit {
            self.buffer.truncate(begin);
            self.state = State::TooLong;
        } else {
            self.buffer.extend_from_slice(part);
        }
    }

    /// What there is of the next message is all of it.
    fn end(&mut self, terminator: Terminator) {
        let begin = self.unfinished();
        if self.state != State::Open {
            return;
        }
        if self.buffer[begin..].trim_ascii().is_empty() {
            self.buffer.truncate(begin);
            return;
        }
        self.terminator.get_or_insert(terminator);
        self.ends.push_back(self.buffer.len());
    }

    fn fail(&mut self, error: FrameError) -> FrameError {
        self.state = State::Broken;
        self.buffer = Vec::new();
        self.ends = VecDeque::new();
        self.start = 0;
        error
    }
}

impl<M: DeserializeOwned> Iterator for Frames<M> {
    type Item = Result<M, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(end) = self.ends.pop_front() else {
            let too_long = FrameError::TooLong { limit: self.limit };
            return (self.state == State::TooLong).then(|| Err(self.fail(too_long)));
        };
        let message = parse(&self.buffer[self.start..end]);
        self.start = end;
        Some(message.map_err(|error| self.fail(error)))
    }
}

fn parse<M: DeserializeOwned>(bytes: &[u8]) -> Result<M, FrameError> {
    let text = std::str::from_utf8(bytes).map_err(FrameError::NotUtf8)?;
    // Asked here, because serde would read a struct from an array, too.
    if !text.trim_ascii_start().starts_with('{') {
        return Err(FrameError::NotAnObject);
    }
    serde_json::from_str(text).map_err(FrameError::Malformed)
}

/// Null is the same as absent.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_false(value: &bool) -> bool {
    !value
}
