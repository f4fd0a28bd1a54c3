//! Many subscribers of one daemon's events, read by one thread.
//!
//! Lines are counted, not understood: the harness must be faster than what it measures.

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::daemon::{Daemon, PATIENCE};
use crate::{BenchError, Result, failed};

/// Exactly the events that [`CAUSE`] causes.
const SUBSCRIBE: &str = "{\"method\":\"io.circusd.Subscribe\",\"parameters\":{\"topics\":[\"watcher.w0.kill\"]},\"more\":true}\n";

/// Makes one event, changes nothing, and is answered by nothing.
const CAUSE: &str = "{\"method\":\"io.circusd.Signal\",\"parameters\":{\"watcher\":\"w0\",\"wid\":1,\"signal\":\"SIGCONT\"},\"oneway\":true}\n";

/// Connections that are subscribed.
pub(crate) struct Subscribers {
    streams: Vec<UnixStream>,
    buffer: Vec<u8>,
}

impl Subscribers {
    /// Subscribes `count` connections; each has had its first reply, so it hears all that happens from now.
    pub(crate) fn subscribe(daemon: &Daemon<'_>, count: usize) -> Result<Subscribers> {
        let mut streams = Vec::with_capacity(count);
        for _ in 0..count {
            let mut connection = daemon.connect()?;
            let reply = connection.ask(SUBSCRIBE)?;
            if !reply.contains("\"cursor\"") {
                let (name, request) = (daemon.contestant.name.clone(), SUBSCRIBE.trim_end().into());
                return Err(BenchError::Reply {
                    name,
                    request,
                    reply: reply.trim_end().into(),
                });
            }
            streams.push(connection.into_stream());
        }
        Ok(Subscribers {
            streams,
            buffer: vec![0; 1 << 18],
        })
    }

    /// The socket of one of them, to be left alone.
    pub(crate) fn take(&mut self) -> Option<UnixStream> {
        self.streams.pop()
    }

    /// What causes so many events.
    pub(crate) fn cause(events: usize) -> String {
        CAUSE.repeat(events)
    }

    /// Reads what there is, or comes within `patience`; how many lines.
    pub(crate) fn hear_some(&mut self, patience: Duration) -> Result<usize> {
        let mut missing = vec![usize::MAX; self.streams.len()];
        self.hear(&mut missing, patience)?;
        Ok(missing.iter().map(|missing| usize::MAX - missing).sum())
    }

    /// Causes `events` events at once; the time from just before that until every subscriber has heard all.
    pub(crate) fn deliver(&mut self, daemon: &Daemon<'_>, events: usize) -> Result<Duration> {
        let mut causing = daemon.connect()?;
        let burst = Self::cause(events);
        let started = Instant::now();
        causing.send(&burst)?;
        let sent = events * self.streams.len();
        let mut missing = vec![events; self.streams.len()];
        while missing.iter().any(|&missing| missing > 0) {
            if !self.hear(&mut missing, PATIENCE)? {
                let heard = sent - missing.iter().sum::<usize>();
                return Err(BenchError::Unheard {
                    name: daemon.contestant.name.clone(),
                    heard,
                    sent,
                });
            }
        }
        Ok(started.elapsed())
    }

    /// Reads what is there, once from each that has something; false if nothing came in all patience.
    fn hear(&mut self, missing: &mut [usize], patience: Duration) -> Result<bool> {
        let mut fds: Vec<_> = self
            .streams
            .iter()
            .map(|s| PollFd::new(s.as_fd(), PollFlags::POLLIN))
            .collect();
        let patience =
            PollTimeout::try_from(patience).expect("a minute is not too long for poll(2)");
        let ready = poll(&mut fds, patience).map_err(|e| failed("to wait for events")(e.into()))?;
        let readable: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        for ((stream, missing), _) in self
            .streams
            .iter_mut()
            .zip(missing)
            .zip(readable)
            .filter(|&(_, ready)| ready)
        {
            let length = stream
                .read(&mut self.buffer)
                .map_err(failed("to read events"))?;
            if length == 0 {
                return Err(failed("to read events")(
                    io::ErrorKind::UnexpectedEof.into(),
                ));
            }
            let lines = self.buffer[..length]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            *missing = missing.saturating_sub(lines);
        }
        Ok(ready > 0)
    }
}
