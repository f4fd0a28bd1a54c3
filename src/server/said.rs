//! What a program beside the workers says on its standard error, on its way to the log: line by line,
//! and no more than the log can bear.

use std::io;
use std::time::{Duration, Instant};

use tokio::net::unix::pipe;

/// How much of it goes to the log in one run, or in one [`PERIOD`] of a long one.
const LOG_BYTES_MAX: usize = 64 * 1024;

/// After this a program that runs on may say as much again.
const PERIOD: Duration = Duration::from_secs(3600);

/// A longer line is told in pieces.
const LINE_BYTES_MAX: usize = 4096;

/// How much is read at once.
const READ_BYTES: usize = 8 * 1024;

/// Standard error on its way to the log.
#[derive(Debug)]
pub(super) struct Said {
    /// Who says it.
    who: String,
    line: Vec<u8>,
    told: usize,
    dropped: usize,
    since: Instant,
}

impl Said {
    pub(super) fn new(who: String) -> Said {
        Said {
            who,
            line: Vec::new(),
            told: 0,
            dropped: 0,
            since: Instant::now(),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.since.elapsed() > PERIOD {
            self.tell_dropped();
            (self.told, self.since) = (0, Instant::now());
        }
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                byte => self.line.push(*byte),
            }
            if self.line.len() == LINE_BYTES_MAX {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if self.told + line.len() > LOG_BYTES_MAX {
            self.dropped += line.len();
            return;
        }
        // An empty line costs something too.
        self.told += line.len() + 1;
        tracing::info!("{}: {}", self.who, String::from_utf8_lossy(&line));
    }

    fn tell_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let who = &self.who;
            tracing::warn!("{who}: {dropped} more bytes on its standard error");
        }
    }
}

impl Drop for Said {
    /// Also where the program was cut short: what it has said last says most.
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.tell_dropped();
    }
}

/// Reads until all writers are gone. May be dropped at any point: nothing is lost.
pub(super) async fn read(from: &pipe::Receiver, mut take: impl FnMut(&[u8])) {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if from.readable().await.is_err() {
            return;
        }
        match from.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => take(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Takes what is in the pipe and waits for nothing: all that the program itself has written is
/// there by now. A pipe holds no more than that (pipe(7), unless root has set it higher).
pub(super) fn drain(from: &pipe::Receiver, mut take: impl FnMut(&[u8])) {
    const PIPE_BYTES: usize = 1 << 20;
    let mut buffer = vec![0; READ_BYTES];
    for _ in 0..PIPE_BYTES / READ_BYTES {
        match from.try_read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => take(&buffer[..length]),
        }
    }
}
