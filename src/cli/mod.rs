//! `circusctl`: the table of commands, and everything that is made from it.
//!
//! A command is a row of the table (`commands`); the parser, the help, circusctl(1), the
//! completions and the shell are read from the rows. Nothing in here knows what a command does:
//! that is the daemon's, which is asked through [`client`](crate::client).

mod answer;
pub mod command;
pub mod commands;
#[cfg(feature = "server")]
mod configuration;
mod daemon;
mod exit;
mod failure;
mod help;
mod logs;
mod output;
pub mod pages;
pub mod parser;
pub mod print;
mod progress;
mod remote;
mod run;
mod shell;

use std::ffi::OsString;

pub use exit::Exit;

/// Does what the command line `args` says; the first of them is the name of the program.
///
/// Everything it has to say is written to standard output and standard error before it returns.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let args: Vec<OsString> = args.into_iter().collect();
    let line = match run::Line::parse(&args) {
        Ok(line) => line,
        // What could not be parsed has no flags; this one counts all the same.
        Err(failure) => return run::tell(&failure, args.iter().any(|arg| arg == "--json")),
    };
    if let Some(host) = &line.globals.host {
        let done = remote::run(host, args.get(1..).unwrap_or_default());
        return done.unwrap_or_else(|failure| run::tell(&failure, line.globals.json));
    }
    if line.command.is_none() {
        return shell::run(&line.globals);
    }
    match run::execute(&line) {
        Ok(()) => Exit::Success,
        Err(failure) => run::tell(&failure, line.globals.json),
    }
}
