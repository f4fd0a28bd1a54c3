//! What can go wrong for a program that has the library run its workers.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use crate::api;
use crate::api::frame::ReplyError;
use crate::config::Errors;

/// Why something was not done, or why an arbiter has ended.
///
/// It can be cloned, as several may wait for the same end.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The supervisor says no: nothing was changed, or not all that was asked for came about.
    #[error(transparent)]
    Refused(api::Error),
    /// The answer does not have the form that was asked for: of [`super::Handle::call`], whose
    /// caller says what that is.
    #[error("the answer is of another form")]
    Form(#[source] Arc<serde_json::Error>),
    /// It was not started yet, so it has no processes and knows no answers.
    #[error("the arbiter was not started")]
    NotStarted,
    /// An arbiter is started once; another one is built in its place.
    #[error("the arbiter was started before")]
    AlreadyStarted,
    /// It has ended, or ends before it has answered.
    #[error("the arbiter has ended")]
    Ended,
    /// What was configured cannot be had: a socket cannot be opened. Nothing was started.
    #[error("{0}")]
    Config(Errors),
    /// It could not begin, for another reason: `pre_start` says no, or the system lacks something.
    /// Nothing was started.
    #[error("{reason}")]
    NotBegun {
        /// Why, with its causes, in one line.
        reason: String,
    },
    /// No thread could be started.
    #[error("failed to start a thread")]
    Thread(#[source] Arc<io::Error>),
    /// A server has failed; everything was stopped.
    #[error("a server of the arbiter has failed")]
    Server(#[source] Arc<dyn StdError + Send + Sync>),
    /// A watcher with `critical` was given up; everything was stopped.
    #[error("a critical watcher was given up")]
    Critical,
    /// Processes that the kernel would not end within the limit of a shutdown.
    #[error("{processes} processes could not be ended")]
    Left {
        /// How many.
        processes: usize,
    },
    /// The watcher has no such process, or has it no longer.
    #[error("process {pid} of watcher '{watcher}' is gone")]
    Gone {
        /// The watcher.
        watcher: String,
        /// The pid that it had.
        pid: u32,
    },
    /// A process is not below the other.
    #[error("process {child} is no descendant of {pid}")]
    NoChild {
        /// The process of the watcher.
        pid: u32,
        /// The one that was named.
        child: u32,
    },
    /// A word that is no signal.
    #[error("'{signal}' is no signal")]
    NoSignal {
        /// The word.
        signal: String,
    },
    /// The system refuses to tell, or to do it.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why not.
        #[source]
        source: Arc<io::Error>,
    },
    /// The thread of the arbiter has panicked, which is a defect of this library.
    #[error("the arbiter has panicked")]
    Panicked,
}

impl Error {
    pub(super) fn system(what: &'static str) -> impl FnOnce(io::Error) -> Error {
        move |source| Error::System {
            what,
            source: Arc::new(source),
        }
    }

    /// What the loop answers is in the words of this version.
    pub(super) fn of_reply(error: ReplyError) -> Error {
        match error {
            ReplyError::Refused(error) => Error::Refused(error),
            ReplyError::Malformed(error) => Error::Form(Arc::new(error)),
            ReplyError::Unknown(error) => unreachable!("both ends are of one version: {error}"),
        }
    }
}

/// An error of the program's own: of a hook or a server. Anything that `?` makes a box of.
pub type BoxError = Box<dyn StdError + Send + Sync>;
