//! Questions that circusd asks itself: whether somebody listens, whether a page is there, whether
//! a file exists. Of a hook, each is asked until the answer is yes, or the time is over.
//!
//! Of what is said over a connection only the beginning of an HTTP answer is read.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use super::wakeups::wait_for;
use crate::config::{HttpServer, HttpUrl, SocketPath, TcpAddress};
use crate::core::HookAnswer;
use crate::sys::inotify::Lookout;

/// The pause after the first attempt that failed; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// So long before the end there is a last attempt, however long the pause would be.
const LAST_CHANCE: Duration = Duration::from_millis(50);

/// After this an attempt is given up for another: who has accepted and then forgotten us will not
/// remember.
pub(super) const ATTEMPT_MAX: Duration = Duration::from_secs(5);

/// A status line is short: three words, of which the last may be missing (RFC 9112, section 4).
const STATUS_BYTES_MAX: usize = 4096;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Probe {
    /// Whether somebody listens there.
    Tcp(TcpAddress),
    /// Whether somebody listens there.
    Unix(SocketPath),
    /// Whether the page is answered with one of these codes.
    Http(HttpUrl, Vec<u16>),
    /// Whether it exists.
    File(PathBuf),
}

/// The pauses between attempts.
#[derive(Debug)]
pub(super) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Pause {
        Pause(PAUSE_FIRST)
    }
}

impl Pause {
    /// The one that comes now.
    pub(super) fn next(&mut self) -> Duration {
        let longer = (self.0 * 2).min(PAUSE_MAX);
        std::mem::replace(&mut self.0, longer)
    }
}

/// Asks once, for `limit` at most; why the answer is no. May be dropped at any point.
pub(super) async fn ask_once(probe: &Probe, limit: Duration) -> Result<(), String> {
    let answer = tokio::time::timeout(limit, attempt(probe)).await;
    answer.unwrap_or_else(|_| Err(too_late(limit)))
}

/// Asks until the answer is yes, at most for `limit`. May be dropped at any point.
pub(super) async fn ask(probe: &Probe, limit: Duration) -> HookAnswer {
    let end = Instant::now() + limit;
    let found = match probe {
        Probe::File(path) => timeout_at(end, appears(path)).await.map_err(|_| None),
        Probe::Tcp(_) | Probe::Unix(_) | Probe::Http(..) => {
            knock(probe, end).await.map(Ok).map_err(Some)
        }
    };
    match found {
        Ok(Ok(())) => HookAnswer::True,
        Ok(Err(error)) => HookAnswer::Failed(format!("{probe}: {error}")),
        Err(None) => HookAnswer::Failed(format!("{}: {probe} does not exist", too_late(limit))),
        Err(Some(last)) => HookAnswer::Failed(format!("{}: {probe}: {last}", too_late(limit))),
    }
}

/// In the words that core uses too.
pub(super) fn too_late(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs_f64())
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Probe::Tcp(address) => write!(f, "{address}"),
            Probe::Unix(SocketPath::Path(path)) | Probe::File(path) => {
                write!(f, "'{}'", path.display())
            }
            Probe::Unix(SocketPath::Abstract(name)) => write!(f, "'@{name}'"),
            Probe::Http(url, _) => write!(f, "{url}"),
        }
    }
}

/// Tries again and again; why the last attempt failed, if all have.
async fn knock(probe: &Probe, end: Instant) -> Result<(), String> {
    let mut pause = Pause::default();
    let mut last = None;
    loop {
        let attempt_end = end.min(Instant::now() + ATTEMPT_MAX);
        match timeout_at(attempt_end, attempt(probe)).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(why)) => last = Some(why),
            // What an attempt with all its time has said is worth more.
            Err(_) if Instant::now() < end || last.is_none() => last = Some("no answer".into()),
            Err(_) => {}
        }
        let left = end.saturating_duration_since(Instant::now());
        if left <= LAST_CHANCE {
            sleep_until(end).await;
            return Err(last.unwrap_or_default());
        }
        sleep(pause.next().min(left - LAST_CHANCE)).await;
    }
}

async fn attempt(probe: &Probe) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    match probe {
        Probe::Tcp(address) => tcp(address).await.map(drop).map_err(told),
        Probe::Unix(path) => unix(path).await.map(drop).map_err(told),
        Probe::Http(url, expect) => {
            let status = match &url.server {
                HttpServer::Tcp(address) => status(tcp(address).await.map_err(told)?, url).await,
                HttpServer::Unix(path) => status(unix(path).await.map_err(told)?, url).await,
            };
            match status.map_err(told)? {
                Some(status) if expect.contains(&status) => Ok(()),
                Some(status) => Err(format!("status {status}")),
                None => Err("what answers does not speak HTTP".into()),
            }
        }
        Probe::File(path) => std::fs::metadata(path).map(drop).map_err(told),
    }
}

async fn tcp(address: &TcpAddress) -> io::Result<TcpStream> {
    let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in &address.addresses {
        match TcpStream::connect(address).await {
            // Where nobody listens on a port that could be ours, we may meet ourselves (tcp(7) has no
            // word for it; RFC 9293, section 3.5, calls it a simultaneous open).
            Ok(stream) if stream.local_addr().ok() == stream.peer_addr().ok() => {
                refused = io::ErrorKind::ConnectionRefused.into();
            }
            Ok(stream) => return Ok(stream),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

async fn unix(path: &SocketPath) -> io::Result<UnixStream> {
    match path {
        SocketPath::Path(path) => UnixStream::connect(path).await,
        // An abstract name is one that begins with NUL (unix(7)).
        SocketPath::Abstract(name) => {
            let name = [b"\0", name.as_bytes()].concat();
            UnixStream::connect(std::ffi::OsStr::from_bytes(&name)).await
        }
    }
}

/// Asks for the page; the status of the answer, if it is one.
async fn status(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    url: &HttpUrl,
) -> io::Result<Option<u16>> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: circusd/{}\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        url.path,
        url.host(),
        env!("CARGO_PKG_VERSION"),
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let mut beginning = stream.take(STATUS_BYTES_MAX as u64);
    while !head.contains(&b'\n') {
        if beginning.read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
    }
    Ok(status_code(&head))
}

/// `HTTP/1.1 200 OK` (RFC 9112, section 4).
fn status_code(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (minor, rest) = rest.split_first()?;
    let rest = rest.strip_prefix(b" ")?;
    let (code, rest) = rest.split_at_checked(3)?;
    let ended = matches!(rest.first(), None | Some(b' ' | b'\r'));
    let digits = minor.is_ascii_digit() && code.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(code)
        .ok()
        .filter(|_| digits && ended)?
        .parse()
        .ok()
}

/// Waits until it exists. May be dropped at any point.
pub(super) async fn appears(path: &Path) -> io::Result<()> {
    let mut lookout = wait_for(Lookout::new(path)?, Interest::READABLE).map_err(|(_, e)| e)?;
    while !lookout.get_mut().look()? {
        lookout.readable_mut().await?.clear_ready();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_and_nothing_else_is_taken_for_one() {
        for (head, expected) in [
            ("HTTP/1.1 200 OK\r\nServer: x\r\n", Some(200)),
            ("HTTP/1.0 503\r\n", Some(503)),
            ("HTTP/1.1 204\n", Some(204)),
            ("HTTP/1.1 2000 OK\r\n", None),
            ("HTTP/1.1 20\r\n", None),
            ("HTTP/2 200 OK\r\n", None),
            ("HTTP/1.1  200 OK\r\n", None),
            ("SSH-2.0-OpenSSH\r\n", None),
            ("\n", None),
        ] {
            assert_eq!(status_code(head.as_bytes()), expected, "{head}");
        }
    }
}
