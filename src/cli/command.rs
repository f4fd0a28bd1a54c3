//! What a row of the table of commands is made of.
//!
//! Not here: the rows themselves (`commands`), and what is made of them (`parser`, `pages`,
//! `shell`, `run`).

use std::path::PathBuf;

use clap::ArgMatches;
use serde_json::{Map, Value};

use super::print::View;
use crate::api::topic::TopicError;

/// The parameters of a call, or of a reply.
pub type Parameters = Map<String, Value>;

/// One command of `circusctl`.
#[derive(Debug)]
pub struct Command {
    /// As it is typed; Circus's name where Circus has the command.
    pub name: &'static str,
    /// One sentence, without a full stop.
    pub about: &'static str,
    /// What the sentence leaves out: whole paragraphs, separated by blank lines.
    pub details: &'static str,
    /// At least one; each is parsed by a test.
    pub examples: &'static [Example],
    /// Positional arguments in their order, and flags.
    pub args: &'static [Arg],
    /// What it does.
    pub work: Work,
}

/// A command line to learn from.
#[derive(Debug)]
pub struct Example {
    /// Everything behind `circusctl`, as typed in a shell.
    pub line: &'static str,
    /// What it does, as a phrase.
    pub says: &'static str,
}

/// An argument of one command.
#[derive(Debug)]
pub struct Arg {
    /// Its id; for a flag, what stands behind the two dashes.
    pub name: &'static str,
    /// How it is written.
    pub form: Form,
    /// One sentence, without a full stop.
    pub help: &'static str,
    /// The flags that contradict it.
    pub conflicts: &'static [&'static str],
    /// For a flag that is typed often: the letter that does instead.
    pub short: Option<char>,
}

/// How an argument is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A positional argument that must be there.
    One(Kind),
    /// A positional argument that may be left out.
    Maybe(Kind),
    /// Any number of positional arguments, none too.
    Many(Kind),
    /// One or more positional arguments.
    Some(Kind),
    /// Everything behind `--`, which may be left out.
    Last(Kind),
    /// Everything behind `--`, which must be there.
    Rest(Kind),
    /// `--flag`.
    Switch,
    /// `--flag VALUE`.
    Value(Kind),
}

/// What an argument means: its name in the synopsis, its check and its completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The name of one watcher.
    Watcher,
    /// The name of a watcher or a shell-style pattern.
    Pattern,
    /// A name for a watcher that does not exist yet.
    NewName,
    /// A count, zero or more.
    Count,
    /// A wid or a pid.
    Id,
    /// A duration in seconds; fractions are allowed.
    Seconds,
    /// A signal by name (`usr1`, `SIGUSR1`) or number.
    Signal,
    /// A key of a watcher's configuration.
    Key,
    /// `KEY=VALUE`.
    Assignment,
    /// A setting of the daemon.
    Setting,
    /// A pattern for topics of events.
    Topic,
    /// The place in the event log that an event carries.
    Cursor,
    /// A point in time, as journalctl(1) takes it.
    When,
    /// A way to write records of the journal, of those that journalctl(1) has.
    Format,
    /// A program and its arguments.
    Program,
    /// The name of a hook.
    Hook,
    /// A configuration file or directory.
    Path,
    /// A word of a help request.
    HelpTopic,
}

impl Kind {
    /// The word that stands for it in the synopsis.
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Watcher | Self::NewName => "NAME",
            Self::Pattern => "NAME|PATTERN",
            Self::Count | Self::Id => "N",
            Self::Seconds => "SECONDS",
            Self::Signal => "SIGNAL",
            Self::Key => "KEY",
            Self::Assignment => "KEY=VALUE",
            Self::Setting => "OPTION",
            Self::Topic => "TOPIC",
            Self::Cursor => "CURSOR",
            Self::When => "WHEN",
            Self::Format => "FORMAT",
            Self::Program => "COMMAND",
            Self::Hook => "HOOK",
            Self::Path => "PATH",
            Self::HelpTopic => "WORD",
        }
    }
}

/// What a command does.
#[derive(Debug)]
pub enum Work {
    /// It asks the daemon.
    Ask {
        /// The methods of the interface `io.circusd` it may call.
        methods: &'static [&'static str],
        /// Builds the calls from the command line; all are built before the first is sent.
        calls: fn(&ArgMatches) -> Result<Vec<Call>, WrongUsage>,
        /// Prints one reply for people.
        print: Print,
    },
    /// It answers the daemon, for as long as it is asked.
    Answer,
    /// It answers from the table of commands.
    Help,
    /// It checks the configuration files without a daemon.
    Validate,
    /// It asks the daemon where output goes, and has it shown from there.
    Logs,
}

/// Turns the parameters of one reply into text: whole lines, or nothing.
///
/// # Errors
///
/// When the reply is not what the interface description promises.
pub type Print = fn(&Parameters, &View<'_>) -> Result<String, serde_json::Error>;

/// One call to the daemon.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// The method, without its interface.
    pub method: &'static str,
    /// What is sent; what was not given on the command line is absent.
    pub parameters: Parameters,
    /// What answers are expected.
    pub replies: Replies,
}

/// How the daemon answers a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replies {
    /// With one reply.
    One,
    /// With one reply; before it, progress if somebody wants to see it.
    Progress,
    /// With replies until one side ends the connection.
    Stream,
}

impl Call {
    /// A call without parameters that is answered once.
    pub fn new(method: &'static str) -> Self {
        Self {
            method,
            parameters: Parameters::new(),
            replies: Replies::One,
        }
    }

    /// The same call, answered as `replies` says.
    pub fn answered(mut self, replies: Replies) -> Self {
        self.replies = replies;
        self
    }

    /// The same call with one more parameter.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }

    /// The same call with one more parameter, if there is a value for it.
    pub fn with_some(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }
}

/// Arguments that parse one by one but make no sense together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WrongUsage {
    /// Neither `KEY=VALUE` nor a `KEY` with its `VALUE`.
    #[error("'{0}' has no value: write KEY=VALUE")]
    NoValue(String),
    /// `KEY=VALUE` and `KEY VALUE` in one command line.
    #[error("'{0}' is not of the form KEY=VALUE")]
    NotAnAssignment(String),
    /// The key is missing, as in `=5`.
    #[error("'{0}' has no key: write KEY=VALUE")]
    NoKey(String),
    /// A key that is given twice, with two values perhaps.
    #[error("'{0}' is given twice")]
    Twice(String),
    /// A new watcher without a program.
    #[error("the new watcher '{0}' has no program: write it behind --, or as cmd=COMMAND")]
    NoProgram(String),
    /// A child without the process that it is one of.
    #[error("--child needs the process that it is below: --pid or --wid")]
    ChildOfWhom,
    /// In the shell, which is on one machine.
    #[error("--host is no flag of a line of the shell: write 'circusctl --host' in another")]
    Host,
    /// A flag for records of the journal, where output goes to a file.
    #[error(
        "{flag} is for records of the journal: '{}' is a file, whose lines have neither times nor fields",
        .path.display()
    )]
    NoRecords {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// Two formats.
    #[error("--json is --output=json: not both --json and --output")]
    TwoFormats,
    /// What is to be heard of is no topic: a watcher's name alone, as a rule.
    #[error("{0}; the events of one watcher are 'watcher.NAME.*'")]
    Topic(TopicError),
}
