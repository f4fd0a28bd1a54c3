//! What one process of a watcher is started with, its number filled in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::values::{Command, Output, Prefix, Rotate, Words};
use super::variables::Filling;
use super::watcher::Watcher;

/// Where an output stream of one process goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stream {
    /// A journal stream of the process's own.
    Journal,
    /// Nowhere.
    Null,
    /// Where circusd's own stream goes.
    Inherit,
    /// Only for standard error: where standard output goes.
    Stdout,
    /// Only in the library: a pipe that the program reads from, in its own time.
    Pipe,
    /// The end of a file.
    File {
        /// Absolute.
        path: PathBuf,
        /// When it is turned over.
        keeping: Keeping,
        /// What stands before each line; `None`: nothing.
        format: Option<LineFormat>,
    },
    /// Standard input of a program that all processes of the watcher share.
    Command(Vec<String>),
}

/// When a file of output is turned over, and what is kept of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    /// The size at which that is done; 0: never.
    pub max_bytes: u64,
    /// The periods of the clock with which that is done.
    pub rotate: Option<Rotate>,
    /// Whether that clock shows UTC rather than local time.
    pub utc: bool,
    /// How many old files are kept.
    pub backup_count: u32,
}

/// What stands before each line of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineFormat {
    /// As strftime(3) has it, and a space after it.
    pub time: Option<String>,
    /// Whether that is UTC rather than local time.
    pub utc: bool,
    /// Behind the time.
    pub prefix: Prefix,
}

/// What one process is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expanded {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// All its variables but those the daemon adds for each process.
    pub env: BTreeMap<String, String>,
    /// None: journal if connected to it, else inherit.
    pub stdout: Option<Stream>,
    /// None: journal if connected to it, else inherit.
    pub stderr: Option<Stream>,
}

impl Watcher {
    /// What the process with number `wid` (from 1) is started with.
    pub fn expand(&self, wid: u32) -> Expanded {
        let filling = Filling {
            wid,
            sockets: &self.sockets,
            ..Filling::default()
        };
        Expanded {
            argv: self.argv(filling),
            env: self.environment.expand(filling),
            stdout: self.stdout.as_ref().map(|output| stream(output, filling)),
            stderr: self.stderr.as_ref().map(|output| stream(output, filling)),
        }
    }

    fn argv(&self, filling: Filling<'_>) -> Vec<String> {
        let args = words(&self.args, filling);
        match &self.cmd {
            // A line is left only where there is a shell to read it.
            Command::Line { line, .. } => {
                let line = shell_line(line.expand(filling), &args);
                vec!["/bin/sh".into(), "-c".into(), line]
            }
            Command::Words(program) => [words(program, filling), args].concat(),
        }
    }
}

/// Arguments reach the program as they are, whatever a shell would make of them.
fn shell_line(mut line: String, args: &[String]) -> String {
    for argument in args {
        line.push(' ');
        line.push_str(&quoted(argument));
    }
    line
}

/// In single quotes nothing but the quote itself means anything to a shell.
fn quoted(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', r"'\''"))
}

fn words(words: &Words, filling: Filling<'_>) -> Vec<String> {
    words.0.iter().map(|word| word.expand(filling)).collect()
}

fn stream(output: &Output, filling: Filling<'_>) -> Stream {
    match output {
        Output::Journal => Stream::Journal,
        Output::Null => Stream::Null,
        Output::Inherit => Stream::Inherit,
        Output::Stdout => Stream::Stdout,
        Output::Pipe => Stream::Pipe,
        Output::File(file) => Stream::File {
            path: PathBuf::from(file.file.0.expand(filling)),
            keeping: Keeping {
                max_bytes: file.max_bytes.0,
                rotate: file.rotate,
                utc: file.utc,
                backup_count: file.backup_count,
            },
            format: file.prefix.as_ref().map(|prefix| LineFormat {
                time: file.time_format.as_ref().map(|format| format.0.clone()),
                utc: file.utc,
                prefix: prefix.clone(),
            }),
        },
        Output::Command(words) => Stream::Command(words.clone()),
    }
}
