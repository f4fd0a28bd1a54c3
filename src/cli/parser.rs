//! The command line parser, made from the table of commands.
//!
//! Not here: any command's name or help; those are in the table. A subcommand gets its arguments
//! and long texts only when it is the one that was typed, so that `status` does not pay for them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{NonEmptyStringValueParser, ValueParser};
use clap::{ArgAction, ArgMatches, ValueHint, value_parser};

use super::command::{Arg, Command, Form, Kind};
use super::commands;

/// The longest duration taken on the command line: what is longer is a mistake, and the sum with
/// any point in time must not overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

const ABOUT: &str = "Commands the process supervisor circusd";

const LONG_ABOUT: &str = "Commands the process supervisor circusd over its socket.\n\n\
    Without a command: a shell with completion and history, or, where standard input is not a \
    terminal, the commands that are read from it, one on a line.";

/// The parser of `circusctl` with all its commands.
pub fn root() -> clap::Command {
    clap::Command::new("circusctl")
        .bin_name("circusctl")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .long_about(LONG_ABOUT)
        .disable_help_subcommand(true)
        .args_override_self(true)
        .subcommand_value_name("COMMAND")
        .args(global_args())
        .after_help(
            "See 'circusctl help COMMAND' for a command and its examples, and circusctl(1).",
        )
        .subcommands(commands::all().map(|row| bare(row).defer(complete)))
}

/// The flags before and behind every command, as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Globals {
    /// `--socket`.
    pub socket: Option<PathBuf>,
    /// `--json`.
    pub json: bool,
    /// `--timeout`.
    pub timeout: Option<Duration>,
    /// `--host`.
    pub host: Option<String>,
}

impl Globals {
    /// Reads them from what was parsed by [`root`].
    pub fn of(matches: &ArgMatches) -> Self {
        Self {
            socket: matches.get_one("socket").cloned(),
            json: matches.get_flag("json"),
            timeout: matches.get_one("timeout").copied(),
            host: matches.get_one("host").cloned(),
        }
    }

    /// The words that say the same on a command line of this machine.
    pub fn words(&self) -> Vec<OsString> {
        let mut words = Vec::new();
        if let Some(socket) = &self.socket {
            words.extend(["--socket".into(), socket.into()]);
        }
        if self.json {
            words.push("--json".into());
        }
        if let Some(timeout) = self.timeout {
            words.extend(["--timeout".into(), timeout.as_secs_f64().to_string().into()]);
        }
        words
    }

    /// These, and where they say nothing, `others`.
    pub fn or(self, others: &Self) -> Self {
        Self {
            socket: self.socket.or_else(|| others.socket.clone()),
            json: self.json || others.json,
            timeout: self.timeout.or(others.timeout),
            host: self.host,
        }
    }
}

/// The flags that every command understands.
pub(super) fn global_args() -> [clap::Arg; 4] {
    [
        clap::Arg::new("socket")
            .long("socket")
            .value_name("PATH")
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .global(true)
            .help_heading("Options of every command")
            .help("The socket of the daemon; a name @x is abstract"),
        clap::Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .global(true)
            .help_heading("Options of every command")
            .help("Print each reply, or the error, as one line of JSON"),
        clap::Arg::new("timeout")
            .long("timeout")
            .value_name(Kind::Seconds.placeholder())
            .value_parser(seconds)
            .global(true)
            .help_heading("Options of every command")
            .help("Give up after this time, with exit code 4"),
        clap::Arg::new("host")
            .long("host")
            .value_name("[USER@]HOST")
            .value_parser(NonEmptyStringValueParser::new())
            .value_hint(ValueHint::Hostname)
            .global(true)
            .help_heading("Options of every command")
            .help("Have circusctl of another machine do it, by way of ssh(1)"),
    ]
}

fn bare(row: &Command) -> clap::Command {
    clap::Command::new(row.name).about(row.about)
}

/// Adds what is needed only by the subcommand in use, or by who prints everything.
fn complete(command: clap::Command) -> clap::Command {
    let row = commands::find(command.get_name()).expect("only rows of the table are deferred");
    command
        .long_about(format!("{}.\n\n{}", row.about, row.details))
        .after_long_help(examples(row))
        .args(row.args.iter().map(argument))
}

fn examples(row: &Command) -> String {
    let mut text = "Examples:".to_owned();
    for example in row.examples {
        text.push_str(&format!(
            "\n  circusctl {}\n      {}",
            example.line, example.says
        ));
    }
    text
}

fn argument(arg: &Arg) -> clap::Arg {
    let mut made = clap::Arg::new(arg.name)
        .help(arg.help)
        .conflicts_with_all(arg.conflicts);
    if let Some(short) = arg.short {
        made = made.short(short);
    }
    match arg.form {
        Form::Switch => made.long(arg.name).action(ArgAction::SetTrue),
        Form::Value(kind) => valued(made.long(arg.name), kind),
        Form::One(kind) => valued(made, kind).required(true),
        Form::Maybe(kind) => valued(made, kind),
        Form::Many(kind) => valued(made, kind).num_args(0..).action(ArgAction::Append),
        Form::Some(kind) => valued(made, kind)
            .num_args(1..)
            .required(true)
            .action(ArgAction::Append),
        Form::Last(kind) => valued(made, kind)
            .num_args(1..)
            .last(true)
            .action(ArgAction::Append),
        Form::Rest(kind) => valued(made, kind)
            .num_args(1..)
            .last(true)
            .required(true)
            .action(ArgAction::Append),
    }
}

fn valued(arg: clap::Arg, kind: Kind) -> clap::Arg {
    // A negative number is a value of an option (`max_retry -1`), not a flag; `-1h` is an hour ago.
    arg.value_name(kind.placeholder())
        .allow_negative_numbers(true)
        .allow_hyphen_values(matches!(kind, Kind::When))
        .value_parser(parser(kind))
        .value_hint(hint(kind))
}

fn parser(kind: Kind) -> ValueParser {
    match kind {
        Kind::Count => value_parser!(i64).range(0..).into(),
        Kind::Id => value_parser!(i64).range(1..=i64::from(u32::MAX)).into(),
        Kind::Seconds => ValueParser::new(seconds),
        Kind::Path => value_parser!(PathBuf),
        Kind::Watcher
        | Kind::Pattern
        | Kind::NewName
        | Kind::Signal
        | Kind::Key
        | Kind::Assignment
        | Kind::Setting
        | Kind::Topic
        | Kind::Cursor
        | Kind::When
        | Kind::Format
        | Kind::Program
        | Kind::Hook
        | Kind::HelpTopic => ValueParser::string(),
    }
}

/// What a completion may offer; without this, shells offer files for everything.
fn hint(kind: Kind) -> ValueHint {
    match kind {
        Kind::Path => ValueHint::AnyPath,
        Kind::Program => ValueHint::CommandWithArguments,
        Kind::Watcher
        | Kind::Pattern
        | Kind::NewName
        | Kind::Count
        | Kind::Id
        | Kind::Seconds
        | Kind::Signal
        | Kind::Key
        | Kind::Assignment
        | Kind::Setting
        | Kind::Topic
        | Kind::Cursor
        | Kind::Hook
        | Kind::When
        | Kind::Format
        | Kind::HelpTopic => ValueHint::Other,
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| "not a number of seconds".to_owned())
}
