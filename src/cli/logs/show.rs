//! The programs that show output, and what they say, on its way to whoever asked.
//!
//! Their output comes through us, line by line: so two of them can be followed at once, a time limit
//! holds, and when we end in whatever way they have nobody to write to, and end, too.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;

use super::places::{OutputFile, Places};
use crate::cli::daemon::Limit;
use crate::cli::failure::Failure;
use crate::cli::output::{Stream, emit};

/// How many lines are shown where nobody says how many, or since when.
const LINES: i64 = 50;

/// How much is read at once.
const CHUNK: usize = 16 << 10;

/// A line that is longer is passed on in pieces, between which there may be lines of others.
const LINE_MAX: usize = 1 << 20;

/// How many pieces wait for a slow reader; then the programs do.
const WAITING: usize = 8;

/// How much is to be shown, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) follow: bool,
    pub(super) lines: Option<i64>,
    pub(super) since: Option<String>,
    pub(super) output: Option<String>,
}

impl Selection {
    /// `None` is all there are.
    fn lines(&self) -> Option<i64> {
        let unless_since = self.since.is_none().then_some(LINES);
        self.lines.or(unless_since)
    }
}

/// Shows what is in `places`; what is to be followed, all at once, else one after the other.
///
/// # Errors
///
/// A file cannot be read, a program cannot be started or fails, the time is over, or nobody reads.
pub(super) fn show(
    places: &Places,
    selection: &Selection,
    limit: Option<Limit>,
) -> Result<(), Failure> {
    let files = readable(&places.files, selection.follow)?;
    let programs = [journalctl(places, selection), tail(&files, selection)];
    let programs: Vec<_> = programs.into_iter().flatten().collect();
    if selection.follow {
        return run(programs, limit);
    }
    programs
        .into_iter()
        .try_for_each(|program| run(vec![program], limit))
}

/// The files to be shown. One that is not there is waited for where it is followed, and left out
/// where there are others: not every process may have run yet.
fn readable(files: &[OutputFile], follow: bool) -> Result<Vec<&Path>, Failure> {
    let mut found = Vec::new();
    let mut missing = None;
    for file in files {
        match check(&file.path) {
            Err(error) if !follow && error.kind() == ErrorKind::NotFound => {
                missing.get_or_insert(unreadable(file, error));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(unreadable(file, error));
            }
            Ok(()) | Err(_) => found.push(file.path.as_path()),
        }
    }
    match missing {
        Some(failure) if found.is_empty() => Err(failure),
        _ => Ok(found),
    }
}

fn check(path: &Path) -> io::Result<()> {
    // To open a pipe would be to wait for its writer, and to take what is in it from its reader.
    match fs::metadata(path)?.is_file() {
        true => fs::File::open(path).map(drop),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn unreadable(file: &OutputFile, source: io::Error) -> Failure {
    Failure::OutputFile {
        watcher: file.watcher.clone(),
        path: file.path.clone(),
        source,
    }
}

fn journalctl(places: &Places, selection: &Selection) -> Option<Program> {
    if places.journal.is_empty() {
        return None;
    }
    let mut command = Command::new("journalctl");
    command.arg("--no-pager");
    let lines = selection.lines();
    let lines = lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string());
    command.arg(format!("--lines={lines}"));
    if selection.follow {
        command.arg("--follow");
    }
    if let Some(since) = &selection.since {
        command.arg(format!("--since={since}"));
    }
    if let Some(output) = &selection.output {
        command.arg(format!("--output={output}"));
    }
    command.args(places.journal.join(&"+".to_owned()));
    Some(Program::new("journalctl", command))
}

fn tail(files: &[&Path], selection: &Selection) -> Option<Program> {
    if files.is_empty() {
        return None;
    }
    let mut command = Command::new("tail");
    command.arg(format!("--lines={}", selection.lines().unwrap_or(LINES)));
    if selection.follow {
        // By name, as a file is turned over by another one in its place.
        command.arg("-F");
    }
    command.arg("--").args(files);
    Some(Program::new("tail", command))
}

/// A program that is to be run.
struct Program {
    name: &'static str,
    command: Command,
}

impl Program {
    fn new(name: &'static str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Self { name, command }
    }
}

/// A program that runs, until this goes.
struct Running {
    name: &'static str,
    child: Child,
}

impl Running {
    fn start(mut program: Program) -> Result<(Self, ChildStdout), Failure> {
        let name = program.name;
        let child = program.command.spawn();
        let mut child = child.map_err(|source| Failure::NoProgram {
            program: name,
            source,
        })?;
        let stdout = child.stdout.take().expect("it is a pipe");
        Ok((Self { name, child }, stdout))
    }

    /// Waits for its end, which has come or is near: it has closed its output.
    fn end(mut self) -> Result<(), Failure> {
        let status = self.child.wait().map_err(Failure::Read)?;
        let program = self.name;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::Program { program, status }),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, and been waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs the programs at once until all of them have ended.
fn run(programs: Vec<Program>, limit: Option<Limit>) -> Result<(), Failure> {
    let (sender, receiver) = mpsc::sync_channel(WAITING);
    let mut running = Vec::new();
    for program in programs {
        let (program, stdout) = Running::start(program)?;
        let sender = sender.clone();
        thread::Builder::new()
            .name(program.name.to_owned())
            .spawn(move || pass_on(stdout, &sender))
            .map_err(Failure::Read)?;
        running.push(program);
    }
    drop(sender);
    loop {
        let received = match limit {
            None => receiver.recv().map_err(RecvTimeoutError::from),
            Some(limit) => receiver.recv_timeout(limit.left()?),
        };
        match received {
            Ok(lines) => emit(Stream::Out, lines)?,
            // What is left is nothing, and that is said where it is asked for.
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    running.into_iter().try_for_each(Running::end)
}

/// Sends whole lines, as many as there are at once, until there are no more or nobody wants them.
fn pass_on(mut from: impl Read, to: &SyncSender<Vec<u8>>) {
    let mut held = Vec::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => held.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => break,
        }
        let end = held.iter().rposition(|byte| *byte == b'\n');
        let end = match end {
            Some(last) => last + 1,
            None if held.len() >= LINE_MAX => held.len(),
            None => continue,
        };
        let rest = held.split_off(end);
        if to.send(std::mem::replace(&mut held, rest)).is_err() {
            return;
        }
    }
    if !held.is_empty() {
        // As above: nobody may want it any more.
        let _ = to.send(held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out in one piece each where `written` is read in pieces.
    fn pieces(written: &[&[u8]]) -> Vec<Vec<u8>> {
        struct Pieces<'a>(&'a [&'a [u8]]);
        impl Read for Pieces<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                let Some((first, rest)) = self.0.split_first() else {
                    return Ok(0);
                };
                self.0 = rest;
                buffer[..first.len()].copy_from_slice(first);
                Ok(first.len())
            }
        }
        let (sender, receiver) = mpsc::sync_channel(100);
        pass_on(Pieces(written), &sender);
        drop(sender);
        receiver.iter().collect()
    }

    #[test]
    fn lines_are_passed_on_whole_and_the_last_as_it_is() {
        assert_eq!(pieces(&[]), Vec::<Vec<u8>>::new());
        assert_eq!(
            pieces(&[b"a", b"b\nc\nd", b"\xff\n", b"e"]),
            [&b"ab\nc\n"[..], b"d\xff\n", b"e"]
        );
    }

    #[test]
    fn a_line_without_end_is_not_held_for_ever() {
        let chunk = [b'x'; CHUNK];
        let chunks = vec![&chunk[..]; LINE_MAX / CHUNK + 1];
        let lengths: Vec<_> = pieces(&chunks).iter().map(Vec::len).collect();
        assert_eq!(lengths, [LINE_MAX, CHUNK]);
    }
}
