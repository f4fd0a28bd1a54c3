//! How replies are shown to people: from the parameters of a reply to whole lines of text.
//!
//! Pure: nothing in here knows a clock, a terminal or a socket; what it needs of them is in
//! [`View`]. JSON for scripts does not come through here.

mod columns;
mod event;
mod options;
mod replies;
mod stats;
mod status;
mod words;

#[cfg(test)]
mod tests;

use clap::ArgMatches;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use event::event;
pub use options::{options, settings};
pub use replies::{
    changes, config_changes, effect, list, names, nothing, numprocesses, numwatchers, pids,
    sockets, version,
};
pub use stats::{daemon_stats, stats};
pub use status::{status, story};
pub use words::printable;

use super::command::Parameters;

/// For whom, and when, a reply is printed.
#[derive(Debug)]
pub struct View<'a> {
    /// The command line that asked for it.
    pub matches: &'a ArgMatches,
    /// Now, in microseconds since the Unix epoch.
    pub now_usec: u64,
    /// Columns of the terminal; `None` where the reader is no terminal and nothing is shortened.
    pub width: Option<u16>,
}

impl View<'_> {
    /// The text given for `arg`, if it was; `None` for a command that has no such argument.
    fn text(&self, arg: &str) -> Option<&str> {
        let text: Option<&String> = self.matches.try_get_one(arg).ok()?;
        text.map(String::as_str)
    }

    /// Whether the argument `arg` was given; `false` for a command that has no such argument.
    fn given(&self, arg: &str) -> bool {
        matches!(self.matches.try_contains_id(arg), Ok(true))
            && self.matches.value_source(arg) != Some(clap::parser::ValueSource::DefaultValue)
    }
}

/// Reads a reply as what the interface description says it is.
fn read<T: DeserializeOwned>(reply: &Parameters) -> Result<T, serde_json::Error> {
    serde_json::from_value(Value::Object(reply.clone()))
}

/// One thing on each line.
fn lines<T: std::fmt::Display>(things: impl IntoIterator<Item = T>) -> String {
    things
        .into_iter()
        .map(|thing| format!("{}\n", printable(&thing.to_string())))
        .collect()
}
