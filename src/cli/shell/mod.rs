//! `circusctl` without a command: commands line by line, on a terminal with completion and history.
//!
//! Every line goes the way of a command line; on a terminal each is a process of its own, so that
//! Ctrl-C ends the command and not the shell. Only `exit` is the shell's own, and only `quit` is
//! asked about first, because in any other shell it would leave the shell.

mod complete;

#[cfg(test)]
mod tests;

use std::env;
use std::fs;
use std::io::{self, IsTerminal, stdin};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{CompletionType, Config, Editor};
use signal_hook::consts::SIGINT;

use self::complete::Completion;
use super::command::WrongUsage;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Stream, emit};
use super::parser::Globals;
use super::run::{self, Line};

const PROMPT: &str = "circus> ";

const QUESTION: &str = "Stop all watchers and the daemon? [y/N] ";

/// Lines that the history keeps.
const HISTORY: usize = 1000;

/// Reads commands until there are no more; `globals` are the flags for all of them.
pub(super) fn run(globals: &Globals) -> Exit {
    if stdin().is_terminal() {
        on_terminal(globals).unwrap_or_else(|failure| run::tell(&failure, globals.json))
    } else {
        from_pipe(globals)
    }
}

/// Does every line of standard input, up to the first that fails.
fn from_pipe(globals: &Globals) -> Exit {
    for line in stdin().lines() {
        let done = line
            .map_err(Failure::Read)
            .and_then(|line| understand(&line, globals));
        let exit = match done {
            Ok(Step::Nothing) => Exit::Success,
            Ok(Step::Leave) => return Exit::Success,
            Ok(Step::Do(line)) => execute(&line),
            Err(failure) => run::tell(&failure, globals.json),
        };
        if exit != Exit::Success {
            return exit;
        }
    }
    Exit::Success
}

/// The editor of the interactive shell.
type Lines = Editor<Completion, FileHistory>;

fn on_terminal(globals: &Globals) -> Result<Exit, Failure> {
    let mut lines = editor(globals)?;
    // With a handler, even one that does nothing, Ctrl-C does not end us; a handler, unlike being
    // ignored, is not inherited by the commands (execve(2)).
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, interrupted).map_err(Failure::Read)?;
    loop {
        let typed = match lines.readline(PROMPT) {
            Ok(typed) => typed,
            // Ctrl-C gives up the line, as in other shells.
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(Exit::Success),
            Err(error) => return Err(unreadable(error)),
        };
        remember(&mut lines, &typed);
        match understand(&typed, globals) {
            Ok(Step::Nothing) => {}
            Ok(Step::Leave) => return Ok(Exit::Success),
            Ok(Step::Do(line)) => {
                if !line.stops_the_daemon() || confirmed(&mut lines)? {
                    in_process_of_its_own(&typed, globals)?;
                }
            }
            Err(failure) => {
                run::tell(&failure, globals.json);
            }
        }
    }
}

fn execute(line: &Line) -> Exit {
    match run::execute(line) {
        Ok(()) => Exit::Success,
        Err(failure) => run::tell(&failure, line.globals.json),
    }
}

/// Does what `typed` says and waits for it; how it ends, it has told itself.
fn in_process_of_its_own(typed: &str, globals: &Globals) -> Result<(), Failure> {
    let words = shlex::split(typed).ok_or(Failure::OpenQuote)?;
    // Not by path: the program may have been replaced since.
    let mut command = Command::new("/proc/self/exe");
    let ended = command.args(globals.words()).args(words).status();
    if ended.map_err(Failure::Read)?.signal().is_some() {
        // The terminal has echoed ^C and nothing behind it.
        emit(Stream::Out, "\n")?;
    }
    Ok(())
}

/// What a line asks for.
#[derive(Debug)]
enum Step {
    /// An empty line, a comment, or flags alone.
    Nothing,
    /// The end of the shell.
    Leave,
    /// A command.
    Do(Line),
}

fn understand(typed: &str, globals: &Globals) -> Result<Step, Failure> {
    let words = shlex::split(typed).ok_or(Failure::OpenQuote)?;
    if words.first().is_none_or(|word| word == "exit") {
        return Ok(if words.is_empty() {
            Step::Nothing
        } else {
            Step::Leave
        });
    }
    let mut line = Line::parse(std::iter::once("circusctl".to_owned()).chain(words))?;
    if line.globals.host.is_some() {
        return Err(WrongUsage::Host.into());
    }
    line.globals = line.globals.or(globals);
    Ok(match line.command {
        Some(_) => Step::Do(line),
        None => Step::Nothing,
    })
}

fn confirmed(lines: &mut Lines) -> Result<bool, Failure> {
    match lines.readline(QUESTION) {
        Ok(answer) => Ok(matches!(answer.trim(), "y" | "Y" | "yes")),
        Err(ReadlineError::Interrupted | ReadlineError::Eof) => Ok(false),
        Err(error) => Err(unreadable(error)),
    }
}

fn unreadable(error: ReadlineError) -> Failure {
    match error {
        ReadlineError::Io(error) => Failure::Read(error),
        other => Failure::Read(io::Error::other(other)),
    }
}

fn editor(globals: &Globals) -> Result<Lines, Failure> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .max_history_size(HISTORY)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(unreadable)?
        .history_ignore_space(true)
        .build();
    let mut lines = Lines::with_config(config).map_err(unreadable)?;
    lines.set_helper(Some(Completion::new(globals)));
    if let Some(path) = history() {
        // There is none yet, or it cannot be read: the shell works without.
        let _ = lines.load_history(&path);
    }
    Ok(lines)
}

/// Keeps `typed` at once, because the terminal may go away at any time.
fn remember(lines: &mut Lines, typed: &str) {
    if typed.trim().is_empty() || !matches!(lines.add_history_entry(typed), Ok(true)) {
        return;
    }
    if let Some(path) = history() {
        // A history that cannot be written is no reason to stop working.
        let _ = path.parent().map(fs::create_dir_all);
        let _ = lines.append_history(&path);
    }
}

/// `$XDG_STATE_HOME/circusctl_history`, or below the home directory where the base directory
/// specification says; `None` without either. A relative path there is to be ignored.
fn history() -> Option<PathBuf> {
    let absolute = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
    Some(state?.join("circusctl_history"))
}
