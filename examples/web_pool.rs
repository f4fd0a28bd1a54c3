//! A web server with its worker pool behind one socket: `web_pool [PORT [WORKERS]]`, on 127.0.0.1.
//!
//! The program is both: started without more it is the supervisor, which opens the port and keeps it
//! open; with `--worker` it is one of its own workers, which all accept from that socket. So a
//! worker that is replaced, or crashes, costs no connection. It serves until Ctrl-C.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::pin;
use std::time::Duration;

use circusd::arbiter::Item;
use circusd::arbiter::take_passed;
use circusd::{Arbiter, Watcher};
use serde_json::json;

/// A client that sends nothing holds a worker up no longer than this.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if_eq("--worker").is_some() {
        return work();
    }
    let port = arguments.next().map_or(Ok(8080), |port| port.parse())?;
    let workers = arguments.next().map_or(Ok(4), |number| number.parse())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(supervise(port, workers))
}

async fn supervise(port: u16, workers: u32) -> Result<(), Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let pool = Watcher::builder("web", [program.to_string_lossy().as_ref(), "--worker"])
        .numprocesses(workers)
        .use_sockets(["web"])
        .graceful_timeout(Duration::from_secs(10));
    let arbiter = Arbiter::builder()
        .socket("web", json!({"host": "127.0.0.1", "port": port}))
        .watcher(pool)
        .build()?;
    arbiter.start_in_background().await?;
    // Both before anybody is told that he may come, and once: nothing is missed from then on.
    let mut events = arbiter.events().await?;
    let mut interrupt = pin!(tokio::signal::ctrl_c());
    if let Some(socket) = arbiter.get_socket("web").await? {
        say(&format!("{workers} workers on http://{}", socket.address))?;
    }
    loop {
        tokio::select! {
            item = events.next() => match item {
                Some(Item::Event(event)) if event.action == "reap" => say(&event.topic)?,
                Some(_) => {}
                None => break,
            },
            _ = &mut interrupt => break,
        }
    }
    arbiter.stop().await?;
    Ok(())
}

/// Serves whoever comes, one at a time, until somebody ends it.
fn work() -> Result<(), Box<dyn Error>> {
    let inherited = take_passed().into_iter().next();
    let inherited = inherited.ok_or("there is no socket to accept from")?;
    let listener = TcpListener::from(inherited.fd);
    loop {
        let (client, _) = listener.accept()?;
        // One that goes away is no reason to go as well.
        let _ = answer(client);
    }
}

fn answer(mut client: TcpStream) -> std::io::Result<()> {
    client.set_read_timeout(Some(CLIENT_TIMEOUT))?;
    let mut reader = BufReader::new(client.try_clone()?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let body = format!("{}\n", std::process::id());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    client.write_all((head + &body).as_bytes())
}

/// Writes a line, and at once.
fn say(line: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}
