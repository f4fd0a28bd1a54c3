//! The table of commands: the only place where a command of `circusctl` is written down.
//!
//! The parser, the help, the manual page, the completions and the shell are made from it, and a
//! test holds it against the interface description. Not here: how a reply is printed (`print`).

mod acting;
mod changing;
mod daemon;
mod looking;

use std::time::Duration;

use clap::ArgMatches;

use super::command::{Arg, Call, Command, Form, Kind};

/// A part of the table, as the manual page shows it.
#[derive(Debug)]
pub struct Group {
    /// Its heading.
    pub title: &'static str,
    /// Its rows.
    pub commands: &'static [Command],
}

/// Every command, in the order of the help.
pub static GROUPS: [Group; 4] = [
    Group {
        title: "Looking",
        commands: &looking::COMMANDS,
    },
    Group {
        title: "Acting",
        commands: &acting::COMMANDS,
    },
    Group {
        title: "Changing",
        commands: &changing::COMMANDS,
    },
    Group {
        title: "The daemon",
        commands: &daemon::COMMANDS,
    },
];

/// All rows, without their groups.
pub fn all() -> impl Iterator<Item = &'static Command> {
    GROUPS.iter().flat_map(|group| group.commands)
}

/// The row of the command `name`.
pub fn find(name: &str) -> Option<&'static Command> {
    all().find(|command| command.name == name)
}

const NO_WAIT: Arg = switch(
    "no-wait",
    "Do not wait for the end of the work: return as soon as the daemon has accepted it",
);

const ONE_WATCHER: Arg = positional("name", Form::One(Kind::Watcher), "The watcher");

const WATCHERS: Arg = positional(
    "watchers",
    Form::Many(Kind::Pattern),
    "The watchers, by name or shell-style pattern; without any, all of them",
);

const MAYBE_WATCHER: Arg = positional(
    "name",
    Form::Maybe(Kind::Pattern),
    "The watcher, by name or shell-style pattern; without it, all of them",
);

const WID: Arg = Arg {
    conflicts: &["pid"],
    ..value(
        "wid",
        Kind::Id,
        "Only the process at this place of the watcher",
    )
};

const PID: Arg = value("pid", Kind::Id, "Only the process with this process id");

const fn positional(name: &'static str, form: Form, help: &'static str) -> Arg {
    Arg {
        name,
        form,
        help,
        conflicts: &[],
        short: None,
    }
}

const fn switch(name: &'static str, help: &'static str) -> Arg {
    positional(name, Form::Switch, help)
}

const fn value(name: &'static str, kind: Kind, help: &'static str) -> Arg {
    positional(name, Form::Value(kind), help)
}

/// One call for every name given, or a single one for all watchers.
fn for_each_watcher(matches: &ArgMatches, call: &Call) -> Vec<Call> {
    match matches.get_many::<String>("watchers") {
        None => vec![call.clone()],
        Some(names) => names
            .map(|name| call.clone().with("watchers", name.as_str()))
            .collect(),
    }
}

pub(super) fn text(matches: &ArgMatches, arg: &str) -> Option<String> {
    matches.get_one::<String>(arg).cloned()
}

pub(super) fn texts(matches: &ArgMatches, arg: &str) -> Vec<String> {
    matches
        .get_many::<String>(arg)
        .map(|all| all.cloned().collect())
        .unwrap_or_default()
}

fn number(matches: &ArgMatches, arg: &str) -> Option<i64> {
    matches.get_one::<i64>(arg).copied()
}

/// `Some(false)` with `--no-wait`: waiting is what the daemon does unasked.
fn wait(matches: &ArgMatches) -> Option<bool> {
    matches.get_flag("no-wait").then_some(false)
}

/// A duration as the interface wants it, in microseconds.
pub(super) fn usec(matches: &ArgMatches, arg: &str) -> Option<i64> {
    let duration = matches.get_one::<Duration>(arg)?;
    Some(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
