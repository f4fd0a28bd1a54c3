//! What can go wrong with a command: the sentence, the JSON and the exit code of each case.
//!
//! Not here: the wording of what the daemon answers; that is `api`'s.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitStatus;

use serde_json::{Value, json};

use super::command::WrongUsage;
use super::exit::Exit;
use super::output::WriteError;
use crate::api;
use crate::client::ClientError;

const NOT_RUNNING: &str = "Is it running? Start it with 'systemctl start circusd', or by hand \
    with 'circusd --config FILE'; name another socket with --socket or CIRCUSD_SOCKET.";

const NOT_ALLOWED: &str = "The socket is for those whom socket_mode and socket_group of its settings \
    name, or, where it is systemd's, circusd.socket: the group circus, unless that was changed.";

const NO_SUCH_HOOK: &str = "circusd-hooks(7) has the names of all hooks that can be answered; those of \
    one watcher alone are answered with --watcher NAME.";

const NOT_ONE_S_ROLE: &str = "The sections [access] and [hooks] of its configuration say who may \
    do what; its log says which of them has refused this.";

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
    /// The daemon cannot be reached, refuses, or is too slow.
    #[error(transparent)]
    Daemon(#[from] ClientError),
    /// The daemon answered with something that is not in the interface description.
    #[error("failed to read the reply to '{method}'")]
    OddReply {
        /// What was asked.
        method: &'static str,
        /// What is wrong with the reply.
        #[source]
        source: serde_json::Error,
    },
    /// The configuration has errors.
    #[error("the configuration has {} errors", .0.len())]
    #[cfg_attr(
        not(feature = "server"),
        expect(dead_code, reason = "only the daemon's half finds faults")
    )]
    WrongConfig(Vec<Fault>),
    /// `circusctl` was built without the part that is asked for.
    #[cfg_attr(
        feature = "server",
        expect(dead_code, reason = "a build with the daemon's half has everything")
    )]
    #[error("this circusctl was built without {what}")]
    NotBuilt {
        /// The part.
        what: &'static str,
    },
    /// There is no ssh(1) for `--host`.
    #[error("failed to start ssh, which --host needs")]
    NoSsh(#[source] io::Error),
    /// ssh(1) did not get to the other machine, and has said why.
    #[error("cannot reach circusctl on '{host}' with ssh")]
    Remote {
        /// As it was given.
        host: String,
    },
    /// The output of watchers goes where nobody can read it again.
    #[error("{}", .0.join("; "))]
    NoOutput(Vec<String>),
    /// A file of output cannot be read by who asks for it.
    #[error("failed to read '{}', to which {watcher} writes", path.display())]
    OutputFile {
        /// Whose output it is.
        watcher: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program that shows output is not there.
    #[error("failed to start {program}, which shows the output")]
    NoProgram {
        /// Its name.
        program: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A program that shows output has failed, and has said why.
    #[error("{program} has failed: {status}")]
    Program {
        /// Its name.
        program: &'static str,
        /// How it ended.
        status: ExitStatus,
    },
    /// What was to be told could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The terminal cannot be read.
    #[error("failed to read a command")]
    Read(#[source] io::Error),
}

/// One fault of the configuration.
#[derive(Debug)]
pub(super) struct Fault {
    /// For people: what is wrong and where, with the line itself.
    pub(super) text: String,
    /// For scripts: as the daemon would answer it.
    pub(super) error: api::Error,
}

impl Failure {
    /// What went wrong and why; of a daemon that cannot be reached or refuses, also what to do.
    pub(super) fn sentence(&self) -> String {
        if let Self::Daemon(ClientError::Refused(api::Error::PermissionDenied {})) = self {
            return format!("{}\n{NOT_ONE_S_ROLE}", chain(self));
        }
        if let Self::Daemon(ClientError::Refused(api::Error::InvalidParameter { parameter })) = self
            && parameter == "hooks"
        {
            return format!("there is no such hook\n{NO_SUCH_HOOK}");
        }
        let Self::Daemon(ClientError::Unreachable { path, source }) = self else {
            return chain(self);
        };
        let hint = match source.kind() {
            ErrorKind::PermissionDenied => NOT_ALLOWED,
            _ => NOT_RUNNING,
        };
        format!(
            "cannot reach circusd at '{}': {source}\n{hint}",
            path.display()
        )
    }

    /// The exit code that goes with it.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Parse(error) if !error.use_stderr() => Exit::Success,
            Self::Write(WriteError::ReaderGone) => Exit::Success,
            Self::Parse(_) | Self::Usage(_) | Self::NoHelp { .. } | Self::OpenQuote => Exit::Usage,
            Self::NotBuilt { .. } => Exit::Usage,
            Self::Daemon(error) => daemon_exit(error),
            Self::NoSsh(_) | Self::Remote { .. } => Exit::Unreachable,
            Self::OddReply { .. }
            | Self::NoOutput(_)
            | Self::OutputFile { .. }
            | Self::NoProgram { .. }
            | Self::Program { .. }
            | Self::Write(WriteError::Failed(_))
            | Self::Read(_) => Exit::Refused,
            Self::WrongConfig(_) => Exit::WrongConfig,
        }
    }

    /// The lines of `--json`: `{"error": …, "parameters": …}`.
    pub(super) fn json(&self) -> String {
        let (name, parameters) = match self {
            Self::Daemon(error) => daemon_json(error),
            Self::WrongConfig(faults) => {
                return faults.iter().map(|fault| line(&fault.error)).collect();
            }
            Self::Parse(_)
            | Self::Usage(_)
            | Self::NoHelp { .. }
            | Self::OpenQuote
            | Self::NotBuilt { .. } => {
                ("circusctl.Usage".to_owned(), json!({"reason": chain(self)}))
            }
            Self::NoSsh(_) | Self::Remote { .. } => (
                "circusctl.Unreachable".to_owned(),
                json!({"reason": chain(self)}),
            ),
            Self::OddReply { .. }
            | Self::NoOutput(_)
            | Self::OutputFile { .. }
            | Self::NoProgram { .. }
            | Self::Program { .. }
            | Self::Write(_)
            | Self::Read(_) => (
                "circusctl.Failed".to_owned(),
                json!({"reason": chain(self)}),
            ),
        };
        line(&json!({"error": name, "parameters": parameters}))
    }
}

fn daemon_exit(error: &ClientError) -> Exit {
    match error {
        ClientError::Unreachable { .. } | ClientError::Closed | ClientError::Connection(_) => {
            Exit::Unreachable
        }
        ClientError::TimedOut { .. } => Exit::TimedOut,
        ClientError::Refused(_)
        | ClientError::Unknown(_)
        | ClientError::NotAReply(_)
        | ClientError::Malformed(_)
        | ClientError::NotAsked => Exit::Refused,
    }
}

fn daemon_json(error: &ClientError) -> (String, Value) {
    let ours = |name: &str| (format!("circusctl.{name}"), json!({"reason": chain(error)}));
    match error {
        ClientError::Refused(error) => {
            let (name, parameters) = error.to_wire();
            (name, Value::Object(parameters))
        }
        ClientError::Unknown(error) => (error.name.clone(), error.parameters.clone()),
        ClientError::Unreachable { .. } | ClientError::Closed | ClientError::Connection(_) => {
            ours("Unreachable")
        }
        ClientError::TimedOut { .. } => ours("TimedOut"),
        ClientError::NotAReply(_) | ClientError::Malformed(_) | ClientError::NotAsked => {
            ours("Failed")
        }
    }
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

/// The sentence of `error` with its causes.
fn chain(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        sentence.push_str(&format!(": {error}"));
        cause = error.source();
    }
    sentence
}
