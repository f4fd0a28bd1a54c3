//! `circusctl`: the table of commands, and everything that is made from it.
//!
//! A command is a row of the table (`commands`); the parser, the help, circusctl(1), the completions
//! and the shell are read from the rows. Nothing in here knows what a command does: that is the
//! daemon's, which is asked through [`client`](crate::client).

pub mod command;
pub mod commands;
mod daemon;
mod exit;
mod failure;
mod help;
mod output;
pub mod pages;
pub mod parser;
pub mod print;
mod progress;
mod run;
mod shell;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::api;

pub use exit::Exit;

/// What `circusctl` can tell only with the help of the daemon's half of the program; a build
/// without that half leaves it out, and the commands that need it say so.
#[derive(Clone, Copy, Debug, Default)]
pub struct Extras {
    /// For `validate`.
    pub check_config: Option<CheckConfig>,
    /// For `help config`.
    pub explain_keys: Option<ExplainKeys>,
}

/// Checks the configuration in the files given, or in their usual places where there are none, as
/// `circusd --check` does; on failure tells every fault.
pub type CheckConfig = fn(&[PathBuf]) -> Result<(), Vec<Fault>>;

/// Explains one key of the configuration, or lists them all, as whole lines; `None` if there is no
/// such key.
pub type ExplainKeys = fn(Option<&str>) -> Option<String>;

/// One fault of the configuration.
#[derive(Clone, Debug)]
pub struct Fault {
    /// For people: what is wrong and where, with the line itself.
    pub text: String,
    /// For scripts: the same as the daemon would answer it.
    pub error: api::Error,
}

/// Does what the command line `args` says; the first of them is the name of the program.
///
/// Everything it has to say is written to standard output and standard error before it returns.
pub fn run(args: impl IntoIterator<Item = OsString>, extras: Extras) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    // The flag may be what could not be parsed, so it is looked for by hand.
    let json = args.iter().any(|arg| arg == "--json");
    let line = match run::Line::parse(&args) {
        Ok(line) => line,
        Err(failure) => return run::tell(&failure, json),
    };
    if line.command.is_none() {
        return shell::run(&line.globals, &extras);
    }
    match run::execute(&line, &extras) {
        Ok(()) => Exit::Success,
        Err(failure) => run::tell(&failure, json),
    }
}
