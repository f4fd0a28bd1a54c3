//! Clients that are a burden to a daemon while something else is measured: threads of the harness, which
//! go on until this is dropped.
//!
//! Each burden is one that a plugin of somebody else's could be.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::connection::Connection;
use crate::daemon::Daemon;
use crate::subscribers::Subscribers;
use crate::{BenchError, Result, failed};

/// Events that are caused in each pause; together so many per second.
const EVENTS: usize = 100;
const PAUSE: Duration = Duration::from_millis(10);

/// What who is slow reads in each pause: about ten events.
const SLOW_BYTES: usize = 3000;

/// Clients that hear all events.
const LISTENERS: usize = 50;

/// What a daemon suffers.
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<()>>>,
    heard: Arc<AtomicUsize>,
    since: Instant,
    /// One that subscribes to everything and never reads.
    deaf: Option<UnixStream>,
}

impl Crowd {
    /// Fifty subscribers that read, one that is slow, one that never does, and somebody who causes ten
    /// thousand events in each second.
    pub(crate) fn of_listeners(daemon: &Daemon<'_>) -> Result<Crowd> {
        let mut crowd = Crowd::new();
        let mut bad = Subscribers::subscribe(daemon, 2)?;
        crowd.deaf = bad.take();
        if let Some(slow) = bad.take() {
            crowd.begin(move |stop| read_slowly(slow, stop));
        }
        let mut listeners = Subscribers::subscribe(daemon, LISTENERS)?;
        let heard = Arc::clone(&crowd.heard);
        crowd.begin(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                heard.fetch_add(listeners.hear_some(PAUSE)?, Ordering::Relaxed);
            }
            Ok(())
        });
        let mut causing = daemon.connect()?;
        let burst = Subscribers::cause(EVENTS);
        crowd.begin(move |stop| {
            let mut due = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                causing.send(&burst)?;
                due += PAUSE;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            Ok(())
        });
        Ok(crowd)
    }

    /// One who asks for the status as fast as it is answered, and one who asks and never reads an answer.
    pub(crate) fn of_callers(daemon: &Daemon<'_>) -> Result<Crowd> {
        let mut crowd = Crowd::new();
        let request = daemon.contestant.status_request();
        let mut asking = daemon.connect()?;
        crowd.begin(move |stop| {
            while !stop.load(Ordering::Relaxed) {
                asking.ask(request)?;
            }
            Ok(())
        });
        let deaf = daemon.connect()?;
        crowd.begin(move |stop| ask_without_end(deaf, request, stop));
        Ok(crowd)
    }

    fn new() -> Crowd {
        Crowd {
            stop: Arc::default(),
            threads: Vec::new(),
            heard: Arc::default(),
            since: Instant::now(),
            deaf: None,
        }
    }

    fn begin(&mut self, work: impl FnOnce(&AtomicBool) -> Result<()> + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || work(&stop)));
    }

    /// Sends them away; how many events one listener has heard per second.
    pub(crate) fn leave(mut self) -> Result<f64> {
        self.stop.store(true, Ordering::Relaxed);
        let took = self.since.elapsed();
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| BenchError::Crowd)??;
        }
        let heard = self.heard.load(Ordering::Relaxed) / LISTENERS;
        Ok(heard as f64 / took.as_secs_f64())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Reads a tenth of what there is to be read.
fn read_slowly(mut slow: UnixStream, stop: &AtomicBool) -> Result<()> {
    let mut some = [0; SLOW_BYTES];
    while !stop.load(Ordering::Relaxed) {
        match slow.read(&mut some).map_err(failed("to read slowly"))? {
            0 => return Err(failed("to read slowly")(ErrorKind::UnexpectedEof.into())),
            _ => std::thread::sleep(PAUSE),
        }
    }
    Ok(())
}

/// Writes whatever there is room for; the daemon stops reading at some point, and that is right.
fn ask_without_end(connection: Connection, request: &str, stop: &AtomicBool) -> Result<()> {
    let mut stream = connection.into_stream();
    let what = || failed("to ask without reading");
    stream.set_write_timeout(Some(PAUSE)).map_err(what())?;
    let burst = request.repeat(EVENTS);
    while !stop.load(Ordering::Relaxed) {
        match std::io::Write::write(&mut stream, burst.as_bytes()) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(what()(error)),
        }
    }
    // What was answered is thrown away with the socket; a look, so that it is known to be there.
    stream.set_nonblocking(true).map_err(what())?;
    match stream.read(&mut [0]) {
        Ok(1) => Ok(()),
        Ok(_) => Err(what()(ErrorKind::UnexpectedEof.into())),
        Err(error) => Err(what()(error)),
    }
}
