//! A small HTTP server to be run as a pool: `http_worker --listen-fds`, or `http_worker [PORT]`, on
//! 127.0.0.1, 8080 unless told.
//!
//! With `--listen-fds` all workers accept from one socket, which circusd has opened and keeps open
//! (sd_listen_fds(3)): who connects while a worker is replaced is answered by another. Otherwise
//! each binds the same port with SO_REUSEPORT (socket(7)), and the kernel shares the connections
//! out. It answers with its pid and place in the pool, and on SIGTERM it serves whom it has
//! accepted before it ends. It is deliberately no web server: one connection at a time, one answer.

use std::error::Error;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use circusd::arbiter::take_passed;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, listen, setsockopt, socket,
    sockopt,
};

/// A client that sends nothing holds a worker up no longer than this.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// More of a request is not read: whatever it asks for, the answer is the same.
const REQUEST_BYTES_MAX: u64 = 8192;

fn main() -> Result<(), Box<dyn Error>> {
    let argument = std::env::args().nth(1);
    let stop = block_sigterm()?;
    let inherits = argument.as_deref() == Some("--listen-fds");
    let listener = match argument {
        _ if inherits => inherited()?,
        Some(port) => listen_on(port.parse()?)?,
        None => listen_on(8080)?,
    };
    while !asked_to_stop(&listener, &stop)? {
        serve_next(&listener)?;
    }
    // Whom the kernel has queued for a socket of our own no other worker will be given.
    while !inherits && serve_next(&listener)? {}
    Ok(())
}

/// Makes SIGTERM readable instead of deadly, so that it interrupts no answer.
fn block_sigterm() -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

/// The socket that circusd has opened for all of us.
fn inherited() -> io::Result<TcpListener> {
    let passed = take_passed().into_iter().next();
    let passed = passed.ok_or_else(|| io::Error::other("no socket was passed"))?;
    let listener = TcpListener::from(passed.fd);
    // Another worker may be quicker to accept whom we were woken for.
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn listen_on(port: u16) -> io::Result<TcpListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    setsockopt(&fd, sockopt::ReusePort, &true)?;
    bind(fd.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, port))?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(TcpListener::from(fd))
}

/// Waits, however long, for a connection or for SIGTERM.
fn asked_to_stop(listener: &TcpListener, stop: &SignalFd) -> nix::Result<bool> {
    let mut ready = [
        PollFd::new(listener.as_fd(), PollFlags::POLLIN),
        PollFd::new(stop.as_fd(), PollFlags::POLLIN),
    ];
    poll(&mut ready, PollTimeout::NONE)?;
    Ok(ready[1].any().unwrap_or(true))
}

/// Serves one client; says whether there was one.
#[expect(clippy::print_stderr, reason = "a worker's log is its standard error")]
fn serve_next(listener: &TcpListener) -> io::Result<bool> {
    match listener.accept() {
        Ok((client, _)) => {
            // A client that went away is no reason for a server to end.
            if let Err(error) = answer(&client) {
                eprintln!("a client was not answered: {error}");
            }
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.kind() == ErrorKind::ConnectionAborted => Ok(true),
        Err(error) => Err(error),
    }
}

/// Reads the head of the request, so that closing the connection does not reset it, and answers.
fn answer(client: &TcpStream) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    for line in BufReader::new(client.take(REQUEST_BYTES_MAX)).lines() {
        if line?.is_empty() {
            break;
        }
    }
    let wid = std::env::var("CIRCUS_WID").unwrap_or_else(|_| "none".to_owned());
    let body = format!("pid {}, wid {wid}\n", std::process::id());
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut client = client;
    client.write_all((head + &body).as_bytes())
}
