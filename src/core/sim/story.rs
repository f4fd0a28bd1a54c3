//! What happened in a world, a line for each thing, for people.
//!
//! Nothing is written unless somebody wants to read it: most worlds are never told.

use super::kernel::Happening;
use crate::core::{Action, Command, Input, Time, WatcherSpec};
use std::fmt::Write;

/// The lines so far.
#[derive(Debug)]
pub(super) struct Story {
    text: Option<String>,
}

impl Story {
    /// A story that is not told.
    pub(super) fn untold() -> Story {
        Story { text: None }
    }

    /// A story to be read.
    pub(super) fn told() -> Story {
        Story {
            text: Some(String::new()),
        }
    }

    /// The story so far; empty if it is not told.
    pub(super) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or_default()
    }

    /// The supervisor is told something.
    pub(super) fn hears(&mut self, now: Time, input: &Input) {
        self.line(now, "->", || match input {
            Input::Request(request) => {
                let id = request.id.0;
                let how = match (request.wait, request.progress) {
                    (true, true) => "waiting, with progress",
                    (true, false) => "waiting",
                    (false, _) => "not waiting",
                };
                format!("request {id} ({how}): {}", command(&request.command))
            }
            other => format!("{other:?}"),
        });
    }

    /// The supervisor asks for something.
    pub(super) fn asks(&mut self, now: Time, action: &Action) {
        self.line(now, "   <-", || match action {
            Action::Emit(event) => {
                let of = event
                    .watcher
                    .as_ref()
                    .map_or("circusd", |name| name.as_str());
                format!("event {} {of}: {:?}", event.seq, event.kind)
            }
            other => format!("{other:?}"),
        });
    }

    /// Something happens of which the supervisor does not know yet.
    pub(super) fn happens(&mut self, now: Time, what: Happening) {
        self.line(now, "      ..", || format!("{what:?}"));
    }

    /// The world itself has something to say.
    pub(super) fn says(&mut self, now: Time, what: &str) {
        self.line(now, "--", || what.to_owned());
    }

    fn line(&mut self, now: Time, mark: &str, what: impl FnOnce() -> String) {
        if let Some(text) = &mut self.text {
            let micros = now.as_micros();
            let (seconds, rest) = (micros / 1_000_000, micros % 1_000_000);
            let what = what();
            writeln!(text, "{seconds:>5}.{rest:06} {mark} {what}")
                .expect("a string takes everything");
        }
    }
}

fn command(command: &Command) -> String {
    match command {
        Command::Add { spec, start } => format!("Add, start {start}{}", one(spec)),
        Command::Set { spec, .. } => format!("Set{}", one(spec)),
        Command::Apply { specs, limits, .. } => {
            let specs: String = specs.iter().map(one).collect();
            format!("Apply {limits:?}{specs}")
        }
        other => format!("{other:?}"),
    }
}

/// A spec on a line of its own.
fn one(spec: &WatcherSpec) -> String {
    format!("\n                  {spec:?}")
}
