//! How many processes, when they are started again, and when that is given up.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::config::diagnostic::nearest;
use crate::config::kind::{Kind, Problem, Read, or_variable, plain};
use crate::config::node::{Node, Value};
use crate::config::shapes::{choices, record};
use crate::config::variables::Context;

/// More than any service has processors or the daemon may have processes by default.
const PROCESSES_MAX: u32 = 65536;

/// How many processes a watcher has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumProcesses {
    /// So many; 0 is a watcher that runs nothing.
    Count(u32),
    /// As many as there are CPUs that this service may use.
    Auto,
}

impl Kind for NumProcesses {
    fn name() -> String {
        "an integer, or 'auto'".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let node = plain(node, cx)?;
        match &node.value {
            Value::Integer(count) => match u32::try_from(*count) {
                Ok(count) if count <= PROCESSES_MAX => Ok(Self::Count(count)),
                _ => Err(Problem::new(
                    &node,
                    format!("{count} is out of range, which is 0 to {PROCESSES_MAX}"),
                )
                .into()),
            },
            Value::String(word) if word == "auto" => Ok(Self::Auto),
            Value::String(word) if word.parse::<u32>().is_ok() => {
                Err(Problem::expected("an integer", &node)
                    .suggesting(Some(word.clone()))
                    .into())
            }
            Value::String(word) => {
                let reason = format!("expected {}, found '{word}'", Self::name());
                Err(Problem::new(&node, reason)
                    .suggesting(nearest(word, ["auto"]))
                    .into())
            }
            _ => Err(Problem::expected(&Self::name(), &node).into()),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Count(count) => Json::from(*count),
            Self::Auto => Json::from("auto"),
        }
    }

    fn schema() -> Json {
        or_variable(json!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": PROCESSES_MAX},
            {"const": "auto"},
        ]}))
    }
}

/// How often something is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retries {
    /// So many times; 0 is to give up at once.
    Times(u32),
    /// Never given up; written -1.
    Unlimited,
}

impl Kind for Retries {
    fn name() -> String {
        "an integer, -1 for no limit".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        match i32::read(node, cx)? {
            -1 => Ok(Self::Unlimited),
            times => u32::try_from(times).map(Self::Times).map_err(|_| {
                Problem::new(node, format!("{times} is out of range, the least is -1")).into()
            }),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Times(times) => Json::from(*times),
            Self::Unlimited => Json::from(-1),
        }
    }

    fn schema() -> Json {
        or_variable(json!({"type": "integer", "minimum": -1, "maximum": i32::MAX}))
    }
}

record! {
    /// When a place in a pool counts as flapping, and what is done about it.
    ///
    /// Counted for each wid, unexpected ends only.
    pub struct Flapping("a table", switch: true) {
        /// Unexpected ends within the window that make a round.
        attempts: u32 = 5, 1.0 => 1e6;
        /// The time in which they are counted.
        window: Duration = Duration::from_secs(10), 0.001 => 86400.0;
        /// How long the place is then held.
        retry_in: Duration = Duration::from_secs(7), 0.0 => 86400.0;
        /// Rounds after which the place is given up; -1: never.
        max_retry: Retries = Retries::Times(5);
    }
}

record! {
    /// The growing pause before a process is started again, counted for each wid.
    pub struct Backoff("a table", switch: true) {
        /// The first pause; the first respawn of all is immediate.
        initial: Duration = Duration::from_millis(100), 0.0 => 86400.0;
        /// What each pause is multiplied by to get the next.
        factor: f64 = 2.0, 1.0 => 100.0;
        /// The longest pause.
        max: Duration = Duration::from_secs(60), 0.0 => 86400.0;
        /// The part of a pause that is random, so that many do not start at once.
        jitter: f64 = 0.1, 0.0 => 1.0;
        /// A process that lived this long clears the count.
        reset_after: Duration = Duration::from_secs(10), 0.0 => 86400.0;
    }
}

choices! {
    /// In which order a reload replaces processes.
    pub enum ReloadOrder {
        /// New ones first, then the old ones go.
        NewFirst = "new_first",
        /// One after the other, never more than asked for.
        Sequential = "sequential",
    }
}

choices! {
    /// After which ends a process is started again.
    pub enum Restart {
        /// After any.
        Always = "always",
        /// Unless it ended with a status of `success_exit_status`.
        OnFailure = "on_failure",
        /// After none.
        Never = "never",
    }
}
