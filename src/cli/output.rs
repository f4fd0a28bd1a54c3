//! The one door through which `circusctl` writes.
//!
//! Rust ignores SIGPIPE, so a reader that has gone away shows up here as an error of the write; it
//! is told apart from the others because it is none for `circusctl status | head -1`.

use std::io::{self, ErrorKind, Write};

/// Where text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output: what was asked for.
    Out,
    /// Standard error: sentences about what went wrong, and progress.
    Err,
}

/// Why nothing more can be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The reader has closed the pipe: it has seen enough.
    #[error("nobody reads any more")]
    ReaderGone,
    /// Anything else, such as a full disk.
    #[error("failed to write")]
    Failed(#[source] io::Error),
}

/// Writes `text` as it is, and hands it on at once. What others have written need not be UTF-8.
pub(super) fn emit(stream: Stream, text: impl AsRef<[u8]>) -> Result<(), WriteError> {
    let written = match stream {
        Stream::Out => write_to(&mut io::stdout().lock(), text.as_ref()),
        Stream::Err => write_to(&mut io::stderr().lock(), text.as_ref()),
    };
    written.map_err(|error| match error.kind() {
        ErrorKind::BrokenPipe => WriteError::ReaderGone,
        _ => WriteError::Failed(error),
    })
}

fn write_to(stream: &mut impl Write, text: &[u8]) -> io::Result<()> {
    stream.write_all(text)?;
    stream.flush()
}

/// Writes a sentence about a failure to standard error.
pub(super) fn complain(text: &str) {
    // Where standard error is gone too, the exit code has to say it all.
    let _ = emit(Stream::Err, format!("circusctl: {text}\n"));
}
