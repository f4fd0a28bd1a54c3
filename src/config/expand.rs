//! What one process of a watcher is started with, its number filled in.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::values::{Command, Output, Words};
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
    /// The end of a file.
    File {
        /// Absolute.
        path: PathBuf,
        /// The size at which it is turned over; 0: never.
        max_bytes: u64,
        /// How many old files are kept.
        backup_count: u32,
    },
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
        Output::File(file) => Stream::File {
            path: PathBuf::from(file.file.0.expand(filling)),
            max_bytes: file.max_bytes.0,
            backup_count: file.backup_count,
        },
    }
}
