//! An open connection to a supervisor: a line goes, a line comes.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::daemon::PATIENCE;
use crate::{Result, failed};

/// Blocking, with a limit to every wait.
pub(crate) struct Connection {
    stream: BufReader<UnixStream>,
    line: String,
}

impl Connection {
    /// Connects to `socket`.
    pub(crate) fn open(socket: &Path) -> Result<Connection> {
        let what = || failed(format!("to connect to '{}'", socket.display()));
        let stream = UnixStream::connect(socket).map_err(what())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(what())?;
        Ok(Connection {
            stream: BufReader::with_capacity(1 << 20, stream),
            line: String::new(),
        })
    }

    /// Sends `request`, which ends in a newline, and returns the line that answers it.
    pub(crate) fn ask(&mut self, request: &str) -> Result<&str> {
        self.send(request)?;
        self.line.clear();
        self.stream
            .read_line(&mut self.line)
            .map_err(failed("to receive an answer"))?;
        Ok(&self.line)
    }

    /// Sends `text`, without a look at what comes back.
    pub(crate) fn send(&mut self, text: &str) -> Result<()> {
        self.stream
            .get_mut()
            .write_all(text.as_bytes())
            .map_err(failed("to send a request"))
    }

    /// The socket itself, to be read from otherwise. Nothing may be left of an answer.
    pub(crate) fn into_stream(self) -> UnixStream {
        assert!(
            self.stream.buffer().is_empty(),
            "an answer of more than a line was cut off"
        );
        self.stream.into_inner()
    }
}
