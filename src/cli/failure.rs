//! What can go wrong with a command: the sentence, the JSON and the exit code of each case.
//!
//! Not here: the wording of what the daemon answers; that is `api`'s.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::command::WrongUsage;
use super::exit::Exit;
use super::output::WriteError;
use crate::api;

/// Why a command did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The command line does not parse; clap knows what is wrong with it.
    #[error("{}", parser_sentence(.0))]
    Parse(clap::Error),
    /// The arguments make no sense together.
    #[error(transparent)]
    Usage(#[from] WrongUsage),
    /// A request for help on something that there is not.
    #[error("there is no help on '{topic}'; see 'circusctl help'")]
    NoHelp {
        /// What was asked for.
        topic: String,
    },
    /// A line of the shell whose quotes are not closed.
    #[error("a quote is not closed")]
    OpenQuote,
    /// Nobody answers at the socket.
    #[error("{}", unreachable_sentence(.socket, .source))]
    Unreachable {
        /// Where we tried.
        socket: PathBuf,
        /// What connect(2) said.
        #[source]
        source: io::Error,
    },
    /// The connection broke before the answer was complete.
    #[error("lost the connection to '{}': {reason}", socket.display())]
    Lost {
        /// Whom we talked to.
        socket: PathBuf,
        /// How it broke.
        reason: String,
    },
    /// The daemon answered with an error.
    #[error(transparent)]
    Refused(#[from] api::Error),
    /// The daemon answered with an error that this version does not know.
    #[error(transparent)]
    RefusedOddly(#[from] api::error::UnknownError),
    /// The daemon answered with something that is not in the interface description.
    #[error("failed to read the reply to '{method}': {source}")]
    OddReply {
        /// What was asked.
        method: &'static str,
        /// What is wrong with the reply.
        #[source]
        source: serde_json::Error,
    },
    /// `--timeout` is over.
    #[error("no answer within {} s; what was asked goes on", timeout.as_secs_f64())]
    TimedOut {
        /// The time that was given.
        timeout: Duration,
    },
    /// The configuration has errors.
    #[error("the configuration has {} errors", .0.len())]
    WrongConfig(Vec<super::Fault>),
    /// `circusctl` was built without the part that is asked for.
    #[error("this circusctl was built without {what}")]
    NotBuilt {
        /// The part.
        what: &'static str,
    },
    /// What was to be told could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The terminal cannot be read.
    #[error("failed to read a command: {0}")]
    Read(#[source] io::Error),
}

impl Failure {
    /// The exit code that goes with it.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Parse(error) if !error.use_stderr() => Exit::Success,
            Self::Write(WriteError::ReaderGone) => Exit::Success,
            Self::Parse(_) | Self::Usage(_) | Self::NoHelp { .. } | Self::OpenQuote => Exit::Usage,
            Self::NotBuilt { .. } => Exit::Usage,
            Self::Unreachable { .. } | Self::Lost { .. } => Exit::Unreachable,
            Self::Refused(_) | Self::RefusedOddly(_) | Self::OddReply { .. } => Exit::Refused,
            Self::Write(WriteError::Failed(_)) | Self::Read(_) => Exit::Refused,
            Self::TimedOut { .. } => Exit::TimedOut,
            Self::WrongConfig(_) => Exit::WrongConfig,
        }
    }

    /// The lines of `--json`: `{"error": …, "parameters": …}`.
    pub(super) fn json(&self) -> String {
        let (name, parameters) = match self {
            Self::Refused(error) => {
                let (name, parameters) = error.to_wire();
                (name, Value::Object(parameters))
            }
            Self::RefusedOddly(error) => (error.name.clone(), error.parameters.clone()),
            Self::WrongConfig(faults) => {
                return faults.iter().map(|fault| line(&fault.error)).collect();
            }
            Self::Unreachable { socket, source } => unreachable(socket, &source.to_string()),
            Self::Lost { socket, reason } => unreachable(socket, reason),
            Self::TimedOut { timeout } => (
                "circusctl.TimedOut".to_owned(),
                json!({"timeout_usec": u64::try_from(timeout.as_micros()).unwrap_or(u64::MAX)}),
            ),
            Self::Parse(_)
            | Self::Usage(_)
            | Self::NoHelp { .. }
            | Self::OpenQuote
            | Self::NotBuilt { .. } => (
                "circusctl.Usage".to_owned(),
                json!({"reason": self.to_string()}),
            ),
            Self::OddReply { .. } | Self::Write(_) | Self::Read(_) => (
                "circusctl.Failed".to_owned(),
                json!({"reason": self.to_string()}),
            ),
        };
        line(&json!({"error": name, "parameters": parameters}))
    }
}

fn unreachable(socket: &Path, reason: &str) -> (String, Value) {
    let parameters = json!({"socket": socket.to_string_lossy(), "reason": reason});
    ("circusctl.Unreachable".to_owned(), parameters)
}

fn line(document: &impl serde::Serialize) -> String {
    let document = serde_json::to_string(document);
    document.expect("an error has only strings for keys and plain values") + "\n"
}

/// What clap says, without the "error: " in front of it: our own name stands there.
fn parser_sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let text = text.trim_end();
    text.strip_prefix("error: ").unwrap_or(text).to_owned()
}

/// Most who read this have not started the daemon, or are not in its group.
fn unreachable_sentence(socket: &Path, source: &io::Error) -> String {
    let hint = match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "you may not use this socket: its group and mode say who may (socket_group, socket_mode)"
        }
        _ => {
            "is the daemon running? Start it with 'systemctl start circusd', or 'circusd --config FILE' by hand; \
another socket is named by --socket or CIRCUSD_SOCKET"
        }
    };
    format!(
        "cannot reach circusd at '{}': {source}\n{hint}",
        socket.display()
    )
}
