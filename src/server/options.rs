//! What a daemon is started with, and what its process ends with.
//!
//! Flags are not read here, and nothing is decided.

use crate::config::Sources;

/// How the daemon is to run.
#[derive(Debug)]
#[non_exhaustive]
pub struct Options {
    /// Where the configuration comes from.
    pub sources: Sources,
}

impl Options {
    /// Those of a daemon with this configuration.
    #[must_use]
    pub fn new(sources: Sources) -> Self {
        Self { sources }
    }
}

/// The exit codes of `circusd`; see sysexits.h(3head) for those above 63.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitCode {
    /// A clean stop.
    Stopped = 0,
    /// Anything else that kept it from running.
    Failed = 1,
    /// A critical watcher has given up.
    Critical = 70,
    /// The configuration is wrong.
    Config = 78,
    /// Stopped at once by a second SIGINT.
    Interrupted = 130,
}

impl ExitCode {
    /// Every one. A wrong command line is told by the parser, and is 2.
    pub const ALL: [Self; 5] = [
        Self::Stopped,
        Self::Failed,
        Self::Critical,
        Self::Config,
        Self::Interrupted,
    ];
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
