//! One command from its words to its exit: parse, ask, print.
//!
//! Not here: what the commands are (`commands`), and how a connection works (`client`).

use std::ffi::OsString;
use std::io::{IsTerminal, stdout};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ArgMatches;

use super::command::{Call, Command, Parameters, Print, Replies, Work};
use super::daemon::Daemon;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Stream, WriteError, complain, emit};
use super::parser::{self, Globals};
use super::print::View;
use super::progress::Reporter;
use super::{answer, commands, help, logs};
use crate::api::types::Progress;

/// A command line that was understood.
#[derive(Debug)]
pub(super) struct Line {
    /// The command and its arguments; `None` where there were only flags.
    pub(super) command: Option<(&'static Command, ArgMatches)>,
    /// The flags before and behind the command.
    pub(super) globals: Globals,
}

impl Line {
    /// Reads `words`, the first of which is the name of the program.
    pub(super) fn parse<T>(words: impl IntoIterator<Item = T>) -> Result<Self, Failure>
    where
        T: Into<OsString> + Clone,
    {
        let mut matches = parser::root()
            .try_get_matches_from(words)
            .map_err(Failure::Parse)?;
        let globals = Globals::of(&matches);
        let command = matches.remove_subcommand().map(|(name, matches)| {
            let row = commands::find(&name).expect("the parser is made from the table");
            (row, matches)
        });
        Ok(Self { command, globals })
    }

    /// Whether it ends more than `circusctl`.
    pub(super) fn stops_the_daemon(&self) -> bool {
        self.command
            .as_ref()
            .is_some_and(|(row, _)| row.name == "quit")
    }
}

/// Does what `line` says.
pub(super) fn execute(line: &Line) -> Result<(), Failure> {
    let Some((row, matches)) = &line.command else {
        return Ok(());
    };
    match row.work {
        Work::Ask { calls, print, .. } => {
            let calls = calls(matches)?;
            let mut daemon = Daemon::connect(&line.globals)?;
            let view = View {
                matches,
                now_usec: now_usec(),
                width: width(),
            };
            calls
                .iter()
                .try_for_each(|call| ask(&mut daemon, call, print, &view, line.globals.json))
        }
        Work::Answer => answer::run(matches, &line.globals),
        Work::Help => Ok(emit(Stream::Out, help::answer(matches)?)?),
        Work::Validate => help::validate(matches),
        Work::Logs => logs::run(matches, &line.globals),
    }
}

/// Sends `call`, shows how far it has come, and prints what comes of it.
fn ask(
    daemon: &mut Daemon,
    call: &Call,
    print: Print,
    view: &View<'_>,
    json: bool,
) -> Result<(), Failure> {
    let mut reporter = Reporter::default();
    // Progress is for people; a script gets the result alone.
    let more = match call.replies {
        Replies::One => false,
        Replies::Progress => !json,
        Replies::Stream => true,
    };
    daemon.call(call, more, |reply| {
        if let Some(progress) = progress(call, &reply) {
            reporter.report(progress);
            return Ok(());
        }
        // The bar goes before the result comes.
        reporter = Reporter::default();
        Ok(emit(Stream::Out, text(call, &reply, print, view, json)?)?)
    })
}

fn progress(call: &Call, reply: &Parameters) -> Option<Progress> {
    if call.replies != Replies::Progress {
        return None;
    }
    let progress = reply
        .get("progress")
        .filter(|progress| !progress.is_null())?;
    // Progress of a form that we do not know is not worth failing for.
    serde_json::from_value(progress.clone()).ok()
}

fn text(
    call: &Call,
    reply: &Parameters,
    print: Print,
    view: &View<'_>,
    json: bool,
) -> Result<String, Failure> {
    let text = if json {
        serde_json::to_string(reply).map(|document| document + "\n")
    } else {
        print(
            reply,
            &View {
                now_usec: now_usec(),
                ..*view
            },
        )
    };
    text.map_err(|source| Failure::OddReply {
        method: call.method,
        source,
    })
}

/// Tells of `failure` and returns the exit code that goes with it.
pub(super) fn tell(failure: &Failure, json: bool) -> Exit {
    match failure {
        // Help and version come as an error too; they are what was asked for.
        Failure::Parse(shown) if !shown.use_stderr() => {
            return match emit(Stream::Out, shown.render().to_string()) {
                Ok(()) => Exit::Success,
                Err(error) => Failure::Write(error).exit(),
            };
        }
        Failure::Write(WriteError::ReaderGone) => return Exit::Success,
        Failure::WrongConfig(faults) => {
            faults.iter().for_each(|fault| complain(&fault.text));
        }
        Failure::NoOutput(sentences) => sentences.iter().for_each(|told| complain(told)),
        _ => complain(&failure.sentence()),
    }
    if json {
        // The exit code says it too, should nobody read this.
        let _ = emit(Stream::Out, failure.json());
    }
    failure.exit()
}

fn now_usec() -> u64 {
    // A clock before 1970 shows ages as zero, which is as wrong as the clock.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

fn width() -> Option<u16> {
    if !stdout().is_terminal() {
        return None;
    }
    // Terminals that nobody has told their size say 0.
    comfy_table::Table::new().width().filter(|width| *width > 0)
}
