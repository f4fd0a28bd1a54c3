//! Measures circusd beside the floor, a C supervisor without features, in one run.
//!
//! It judges nothing but the budget of DESIGN and always ends with 0 once everything was measured: a
//! missed figure is a mark in the table, for people. It knows the daemon only as its users do, by
//! command line, socket and `/proc`.

mod child;
mod connection;
mod contestant;
mod crowd;
mod daemon;
mod muster;
mod proc;
mod scenes;
mod subscribers;
mod table;
mod tools;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::contestant::Contestant;
use crate::scenes::{Effort, Run};
use crate::tools::Tools;

/// What can go wrong with a run; each ends it, since half a comparison is none.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("failed {what}")]
    Io { what: String, source: io::Error },
    #[error("failed to compile '{source_file}': {messages}")]
    Compile {
        source_file: PathBuf,
        messages: String,
    },
    #[error("{name} ended with {missing} workers still to report; it said:\n{log}")]
    Ended {
        name: String,
        missing: i64,
        log: String,
    },
    #[error("{name}: {missing} workers did not report within {limit:?}; it said:\n{log}")]
    Silent {
        name: String,
        missing: i64,
        limit: Duration,
        log: String,
    },
    #[error("{name} answered '{request}' with '{reply}'")]
    Reply {
        name: String,
        request: String,
        reply: String,
    },
    #[error("'{command}' ended with {status}")]
    Command {
        command: String,
        status: std::process::ExitStatus,
    },
    #[error("{name} started {surplus} workers more than it was asked for")]
    Surplus { name: String, surplus: i64 },
    #[error("a thread that was to be a burden has panicked")]
    Crowd,
    #[error("interrupted")]
    Interrupted,
    #[error("subscribers of {name} heard {heard} of {sent} events")]
    Unheard {
        name: String,
        heard: usize,
        sent: usize,
    },
}

type Result<T> = std::result::Result<T, BenchError>;

/// Names what failed, as an `io::Error` by itself never does.
fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> BenchError {
    let what = what.into();
    move |source| BenchError::Io { what, source }
}

fn main() -> ExitCode {
    let flags = command().get_matches();
    match run(&flags) {
        Ok(table) => {
            say(&mut io::stdout(), &table);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let cause =
                std::error::Error::source(&error).map_or(String::new(), |c| format!(": {c}"));
            say(&mut io::stderr(), &format!("peers: {error}{cause}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes `text`; a reader that has gone away is no reason to fail.
fn say(stream: &mut dyn Write, text: &str) {
    let _ = stream
        .write_all(text.as_bytes())
        .and_then(|()| stream.flush());
}

/// Lets Ctrl-C fail the run instead of ending it, so what was started is ended and removed: waits
/// are interrupted, and the terminal sends the same to the supervisors.
fn survive_interrupts() -> Result<()> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&daemon::INTERRUPTED))
            .map_err(failed("to listen for signals"))?;
    }
    Ok(())
}

fn command() -> Command {
    let switch = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue);
    let program = |name: &'static str, built: &'static str| {
        Arg::new(name)
            .long(name)
            .value_name("PATH")
            .value_parser(clap::value_parser!(PathBuf))
            .default_value(built)
            .hide_default_value(true)
    };
    Command::new("peers")
        .about("Measures circusd beside a minimal C supervisor, interleaved, and prints ratios")
        .arg(
            switch("quick")
                .help("One short round, to see that everything works; the figures mean little"),
        )
        .arg(switch("full").help("Also 10 000 workers"))
        .arg(switch("floor-only").help("Only the floor"))
        .arg(
            program("circusd", env!("CARGO_BIN_EXE_circusd"))
                .help("The daemon to measure [default: the one just built]"),
        )
        .arg(
            program("circusctl", env!("CARGO_BIN_EXE_circusctl"))
                .help("Its client [default: the one just built]"),
        )
        .arg(
            switch("bench")
                .hide(true)
                .help("Given by `cargo bench`; without it, as from `cargo test`, the run is quick"),
        )
}

fn run(flags: &ArgMatches) -> Result<String> {
    let tools = Tools::compile(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/benches")),
        Path::new(env!("CARGO_TARGET_TMPDIR")),
    )?;
    let path = |name| {
        flags
            .get_one::<PathBuf>(name)
            .cloned()
            .expect("the flag has a default")
    };
    let mut contestants = vec![Contestant::floor()];
    if !flags.get_flag("floor-only") {
        contestants.extend(Contestant::circusd(&path("circusd"), &path("circusctl")));
    }
    let full = flags.get_flag("full");
    let quick = flags.get_flag("quick") || !(full || flags.get_flag("bench"));
    let effort = if quick { Effort::QUICK } else { Effort::USUAL };

    survive_interrupts()?;
    let orphanage = proc::Orphanage::open()?;
    let measured = Run::new(&tools, &contestants, effort, full).measure(|progress| {
        say(&mut io::stderr(), &format!("{progress}\n"));
    })?;
    let lost = orphanage.close()?;
    let lost = if lost == 0 {
        String::new()
    } else {
        format!("\n{lost} processes outlived their supervisor.\n")
    };
    Ok(format!(
        "{}{}{lost}",
        tools.notes(),
        measured.table(&contestants)
    ))
}
