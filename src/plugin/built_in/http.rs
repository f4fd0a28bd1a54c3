//! HTTP as far as plugins need it: one GET, of which the status is read; and the first line of a
//! request with its headers, to be answered.
//!
//! No redirects, no TLS, no bodies.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::config::SocketPath;
use crate::config::plugins::{PageServer, PageUrl};

/// A status line, or a request with its headers, that is longer is none of ours.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// The status that is answered when this page is asked for.
///
/// # Errors
///
/// Nobody is there, or what they say is not HTTP.
pub(super) async fn get(url: &PageUrl) -> io::Result<u16> {
    match &url.server {
        PageServer::Tcp(host, port) => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            ask(stream, url).await
        }
        PageServer::Unix(path) => {
            let stream = UnixStream::connect(address(path)).await?;
            ask(stream, url).await
        }
    }
}

async fn ask(mut stream: impl AsyncRead + AsyncWrite + Unpin, url: &PageUrl) -> io::Result<u16> {
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: circus-plugin\r\nConnection: close\r\n\r\n",
        url.path, url.host
    );
    stream.write_all(request.as_bytes()).await?;
    let head = until(&mut stream, b"\r\n").await?;
    status(&head).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not HTTP"))
}

/// The path as the kernel has it, where an abstract name begins with a NUL byte.
fn address(path: &SocketPath) -> std::path::PathBuf {
    match path {
        SocketPath::Path(path) => path.clone(),
        SocketPath::Abstract(name) => format!("\0{name}").into(),
    }
}

/// `HTTP/1.1 200 OK` is 200.
fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head).ok()?;
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|word| word.starts_with("HTTP/1."))?;
    let code = words.next().filter(|code| code.len() == 3)?;
    code.parse().ok()
}

/// What comes up to `end`, and perhaps some of what follows.
pub(super) async fn until(
    stream: &mut (impl AsyncRead + Unpin),
    end: &[u8],
) -> io::Result<Vec<u8>> {
    let mut read = Vec::new();
    let mut buffer = [0; 1024];
    loop {
        let count = stream.read(&mut buffer).await?;
        read.extend_from_slice(&buffer[..count]);
        if read.windows(end.len()).any(|part| part == end) {
            return Ok(read);
        }
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if read.len() > HEAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "too long"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_three_digits_behind_the_version() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n"), Some(503));
        for wrong in [
            &b""[..],
            b"SSH-2.0 200",
            b"HTTP/1.1 2000 x",
            b"HTTP/1.1\r\n",
            b"\xff",
        ] {
            assert_eq!(status(wrong), None);
        }
    }
}
