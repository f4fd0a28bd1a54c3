//! Types of settings that only plugins have.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Value as Json, json};

use crate::config::kind::{Kind, Problem, Read, or_variable, plain, text};
use crate::config::node::{Node, Value};
use crate::config::shapes::choices;
use crate::config::values::{Bytes, Host};
use crate::config::variables::Context;

choices! {
    /// How `logger` writes an event.
    pub enum Form {
        /// A JSON object, as `circusctl --json listen` prints it.
        Json = "json",
        /// A sentence with the time in front.
        Text = "text",
    }
}

choices! {
    /// What `resource_watcher` replaces.
    pub enum Replaced {
        /// The process that uses too much, or too little.
        Process = "process",
        /// All processes of the watcher.
        Watcher = "watcher",
    }
}

choices! {
    /// How `command_reloader` has a watcher run the new program.
    pub enum Renewal {
        /// It is stopped and started.
        Restart = "restart",
        /// Its processes are replaced as a reload does.
        Reload = "reload",
    }
}

/// How much memory a process may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MemoryBound {
    /// Of what the machine has, 0 to 100.
    Percent(f64),
    /// In bytes.
    Bytes(u64),
}

const BOUND: &str = "a number, which is per cent, or a size such as \"512M\"";

impl Kind for MemoryBound {
    fn name() -> String {
        BOUND.into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let node = plain(node, cx)?;
        let share = match &node.value {
            Value::String(text) => match text.strip_suffix('%') {
                Some(share) => share.trim().parse().ok(),
                None => return Bytes::read(&node, cx).map(|bytes| Self::Bytes(bytes.0)),
            },
            _ => Some(f64::read(&node, cx)?),
        };
        share
            .filter(|share| (0.0..=100.0).contains(share))
            .map(Self::Percent)
            .ok_or_else(|| {
                let found = node.to_json();
                let reason = format!("{found} is out of range, which is 0 to 100 per cent");
                Problem::new(&node, reason).into()
            })
    }

    fn json(&self) -> Json {
        match self {
            Self::Percent(share) => Json::from(*share),
            // A bare number would be per cent.
            Self::Bytes(bytes) => match Bytes(*bytes).json() {
                Json::String(words) => Json::from(words),
                number => Json::from(number.to_string()),
            },
        }
    }

    fn schema() -> Json {
        or_variable(json!({"anyOf": [
            {"type": "number", "minimum": 0, "maximum": 100},
            {"type": "string"},
        ]}))
    }
}

/// An address that only programs of this machine can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loopback(pub IpAddr);

impl Loopback {
    /// 127.0.0.1.
    pub const V4: Self = Self(IpAddr::V4(Ipv4Addr::LOCALHOST));
}

impl Kind for Loopback {
    fn name() -> String {
        "a loopback address, or 'localhost'".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let Host(address) = Host::read(node, cx)?;
        match address.is_loopback() {
            true => Ok(Self(address)),
            false => {
                let reason =
                    format!("{address} can be reached by others: expected 127.0.0.1 or ::1");
                Err(Problem::new(node, reason).into())
            }
        }
    }

    fn json(&self) -> Json {
        Host(self.0).json()
    }

    fn schema() -> Json {
        Host::schema()
    }
}

/// A regular expression, in the syntax of the crate regex: no look-around, no back-references.
#[derive(Debug, Clone)]
pub struct RegularExpression(pub regex_lite::Regex);

impl RegularExpression {
    /// One that is written in this program.
    pub(crate) fn of(text: &'static str) -> Self {
        Self(regex_lite::Regex::new(text).expect("a default is checked by a test"))
    }
}

impl PartialEq for RegularExpression {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Kind for RegularExpression {
    fn name() -> String {
        "a regular expression".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let written = text(node, "a regular expression", cx)?;
        regex_lite::Regex::new(&written).map(Self).map_err(|error| {
            let reason = format!("'{written}' is no regular expression: {error}");
            Problem::new(node, reason).into()
        })
    }

    fn json(&self) -> Json {
        Json::from(self.0.as_str())
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }
}
