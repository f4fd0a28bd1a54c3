//! What the tab key offers in the shell: commands, flags, and the names that the daemon knows.
//!
//! Not here: completion in bash, zsh and fish; see `pages`.

use std::time::Duration;

use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use crate::api::reply;
use crate::cli::command::{Arg, Call, Command, Form, Kind};
use crate::cli::commands;
use crate::cli::daemon::Daemon;
use crate::cli::parser::{self, Globals};

/// Who waits for a completion waits for his own key stroke: a daemon that is slower than this is
/// taken to know nothing.
const PATIENCE: Duration = Duration::from_millis(500);

/// Completes lines, asking the daemon for names.
#[derive(Debug)]
pub(super) struct Completion {
    globals: Globals,
}

/// What a completion may want to know from the daemon.
pub(super) trait Knowledge {
    /// The names of the watchers.
    fn watchers(&self) -> Vec<String>;
    /// The options of one watcher.
    fn options(&self, watcher: &str) -> Vec<String>;
}

impl Completion {
    /// For the daemon that `globals` name.
    pub(super) fn new(globals: &Globals) -> Self {
        Self {
            globals: Globals {
                timeout: Some(PATIENCE),
                ..globals.clone()
            },
        }
    }

    /// What the daemon answers; nothing if it does not: a completion is no place for errors.
    fn ask<T: serde::de::DeserializeOwned>(&self, call: &Call) -> Option<T> {
        let mut answer = None;
        let mut daemon = Daemon::connect(&self.globals).ok()?;
        daemon
            .call(call, false, |reply| {
                answer = serde_json::from_value(reply.into()).ok();
                Ok(())
            })
            .ok()?;
        answer
    }
}

impl Knowledge for Completion {
    fn watchers(&self) -> Vec<String> {
        let names: Option<reply::Names> = self.ask(&Call::new("List"));
        names.map(|names| names.watchers).unwrap_or_default()
    }

    fn options(&self, watcher: &str) -> Vec<String> {
        let options: Option<reply::Get> = self.ask(&Call::new("Get").with("watcher", watcher));
        options
            .map(|get| get.options.keys().cloned().collect())
            .unwrap_or_default()
    }
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(complete(&line[..pos], self))
    }
}

impl Hinter for Completion {
    type Hint = String;
}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}

/// Where the word begins that `typed` ends with, and what may stand in its place.
pub(super) fn complete(typed: &str, daemon: &impl Knowledge) -> (usize, Vec<String>) {
    let start = typed.rfind(' ').map_or(0, |space| space + 1);
    let (before, word) = typed.split_at(start);
    let mut offered = offers(&before.split_whitespace().collect::<Vec<_>>(), word, daemon);
    offered.retain(|offer| offer.starts_with(word));
    (start, offered)
}

fn offers(before: &[&str], word: &str, daemon: &impl Knowledge) -> Vec<String> {
    let globals = flags_of_all();
    let known = |flag: &str| globals.iter().any(|global| global == flag);
    let Some(at) = before.iter().position(|word| !known(word)) else {
        let commands = commands::all()
            .map(|row| row.name)
            .chain(["exit"])
            .map(str::to_owned);
        return if word.starts_with('-') {
            globals
        } else {
            commands.collect()
        };
    };
    match commands::find(before[at]) {
        None => Vec::new(),
        Some(row) => arguments(row, &before[at + 1..], word, daemon, globals),
    }
}

fn arguments(
    row: &Command,
    before: &[&str],
    word: &str,
    daemon: &impl Knowledge,
    globals: Vec<String>,
) -> Vec<String> {
    if word.starts_with('-') {
        let own = row.args.iter().filter_map(flag);
        return own.chain(globals).collect();
    }
    // Behind a flag that wants a value, that value.
    if let Some(last) = before.last()
        && let Some(arg) = row
            .args
            .iter()
            .find(|arg| flag(arg).is_some_and(|flag| flag == *last) || is_short(arg, last))
        && let Form::Value(kind) = arg.form
    {
        return values(kind, None, daemon);
    }
    let positional: Vec<_> = before
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let forms = row.args.iter().filter_map(|arg| match arg.form {
        Form::One(kind) | Form::Maybe(kind) => Some((kind, false)),
        Form::Many(kind) | Form::Some(kind) => Some((kind, true)),
        Form::Last(_) | Form::Rest(_) | Form::Switch | Form::Value(_) => None,
    });
    let forms: Vec<_> = forms.collect();
    let form = forms
        .get(positional.len())
        .or(forms.last().filter(|(_, repeats)| *repeats));
    form.map(|(kind, _)| values(*kind, positional.first().map(|word| **word), daemon))
        .unwrap_or_default()
}

fn flag(arg: &Arg) -> Option<String> {
    match arg.form {
        Form::Switch | Form::Value(_) => Some(format!("--{}", arg.name)),
        Form::One(_)
        | Form::Maybe(_)
        | Form::Many(_)
        | Form::Some(_)
        | Form::Last(_)
        | Form::Rest(_) => None,
    }
}

/// Whether `word` is the letter that does instead of the flag.
fn is_short(arg: &Arg, word: &str) -> bool {
    let letter = word.strip_prefix('-');
    arg.short
        .is_some_and(|short| letter.is_some_and(|letter| letter == short.to_string()))
}

fn flags_of_all() -> Vec<String> {
    let flags = parser::global_args();
    flags
        .iter()
        .filter_map(clap::Arg::get_long)
        .map(|long| format!("--{long}"))
        .collect()
}

/// What may stand for `kind`; `watcher` is the first positional argument, if it is there yet.
fn values(kind: Kind, watcher: Option<&str>, daemon: &impl Knowledge) -> Vec<String> {
    let options = || watcher.map(|name| daemon.options(name)).unwrap_or_default();
    match kind {
        Kind::Watcher | Kind::Pattern => daemon.watchers(),
        Kind::Key => options(),
        Kind::Assignment => options().into_iter().map(|key| key + "=").collect(),
        Kind::HelpTopic if watcher.is_none() => commands::all()
            .map(|row| row.name)
            .chain(["config"])
            .map(str::to_owned)
            .collect(),
        Kind::NewName
        | Kind::Count
        | Kind::Id
        | Kind::Seconds
        | Kind::Signal
        | Kind::Setting
        | Kind::Topic
        | Kind::Cursor
        | Kind::When
        | Kind::Format
        | Kind::Program
        | Kind::Hook
        | Kind::Path
        | Kind::HelpTopic => Vec::new(),
    }
}
