//! `watchdog`: processes that do not say by UDP that they live are replaced.
//!
//! Anybody of this machine can send a datagram, so it is looked up who holds the socket that it came
//! from: the process that it is about, or one that this has started.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use regex_lite::Regex;
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::peers::speaks_for;
use super::{cannot_listen, is_meant};
use crate::api::types::{Event, ProcessState};
use crate::api::{Method, params, reply};
use crate::client::ClientError;
use crate::config::plugins::{RegularExpression, WatchdogSettings};
use crate::plugin::{Handle, Outcome, Plugin, Server};

/// A heartbeat is a number and a time.
const DATAGRAM_BYTES_MAX: usize = 1024;

/// Who is watched, by pid.
type Watched = Rc<RefCell<BTreeMap<u32, Heard>>>;

/// The last sign of life of a process.
#[derive(Debug, Clone, PartialEq)]
struct Heard {
    watcher: String,
    /// Its last heartbeat; before the first one, when it was first seen.
    last: Instant,
    /// Somebody else has spoken for it, and that was told: anybody could fill the log otherwise.
    warned: bool,
}

impl Heard {
    fn now(watcher: &str) -> Self {
        Self {
            watcher: watcher.to_owned(),
            last: Instant::now(),
            warned: false,
        }
    }
}

/// The plugin.
#[derive(Debug)]
pub(super) struct Watchdog {
    settings: WatchdogSettings,
    /// That of the settings, for whole names.
    watchers: Option<Regex>,
    watched: Watched,
    socket: Option<UdpSocket>,
}

impl Watchdog {
    pub(super) fn new(settings: WatchdogSettings) -> Self {
        Self {
            settings,
            watchers: None,
            watched: Rc::default(),
            socket: None,
        }
    }

    /// Whether this is one of the watchers.
    fn is_one(&self, watcher: &str) -> bool {
        let watchers = self.watchers.as_ref();
        watchers.is_some_and(|watchers| watchers.is_match(watcher))
            && is_meant(self.settings.watchers_regex.0.as_str(), watcher)
    }

    /// Sees who runs. One that is frozen, or not ready, cannot speak, and is as good as heard.
    async fn look(&mut self, handle: &Handle) -> Result<(), ClientError> {
        let status = Method::Status(params::Watchers::default());
        let status: reply::Status = handle.call(&status).await?;
        let mut watched = self.watched.borrow_mut();
        let mut seen = BTreeMap::new();
        for watcher in status.watchers {
            if !self.is_one(&watcher.name) {
                continue;
            }
            let running = |state| state == ProcessState::Running;
            let ready = watcher.processes.iter().filter(|of| running(of.state));
            for process in ready {
                let known = watched.remove(&process.pid).filter(|_| !watcher.frozen);
                let new = || Heard::now(&watcher.name);
                seen.insert(process.pid, known.unwrap_or_else(new));
            }
        }
        *watched = seen;
        Ok(())
    }

    async fn replace(&self, pid: u32, heard: &Heard, handle: &Handle) {
        let silent = heard.last.elapsed().as_secs_f64();
        let watcher = &heard.watcher;
        handle.log(&format!(
            "{watcher}: pid {pid} was silent for {silent:.1} s"
        ));
        let kill = Method::Kill(params::Kill {
            watcher: watcher.clone(),
            pid: Some(pid),
            signal: (self.settings.stop_signal).map(|signal| signal.number().to_string()),
            ..params::Kill::default()
        });
        if let Err(error) = handle.call::<reply::Pids>(&kill).await {
            handle.log(&format!("{watcher}: pid {pid} was not ended: {error}"));
        }
    }
}

impl Plugin for Watchdog {
    fn name(&self) -> &str {
        "watchdog"
    }

    fn topics(&self) -> Option<Vec<String>> {
        let actions = ["ready", "reap", "adopt", "thaw"];
        Some(actions.map(|action| format!("watcher.*.{action}")).into())
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.settings.loop_rate)
    }

    async fn init(&mut self) -> Outcome {
        self.watchers = Some(whole(&self.settings.watchers_regex)?);
        let address = SocketAddr::new(self.settings.ip.0, self.settings.port);
        let socket = UdpSocket::bind(address).await;
        self.socket = Some(socket.map_err(cannot_listen(address))?);
        Ok(())
    }

    async fn post_start(&mut self, handle: &Handle) -> Outcome {
        Ok(self.look(handle).await?)
    }

    fn servers(&mut self, handle: &Handle) -> Vec<Server> {
        let Some(socket) = self.socket.take() else {
            return Vec::new();
        };
        let (watched, form) = (Rc::clone(&self.watched), self.settings.msg_regex.0.clone());
        let handle = handle.clone();
        vec![Box::pin(listen(socket, watched, form, handle))]
    }

    async fn event(&mut self, event: Event, _handle: &Handle) -> Outcome {
        let pid = event
            .data
            .get("process_pid")
            .and_then(|pid| u32::try_from(pid.as_u64()?).ok());
        let (Some(watcher), action) = (event.watcher, event.action.as_str()) else {
            return Ok(());
        };
        match (action, pid) {
            ("ready" | "adopt", Some(pid)) if self.is_one(&watcher) => {
                let heard = Heard::now(&watcher);
                self.watched.borrow_mut().insert(pid, heard);
            }
            ("reap", Some(pid)) => {
                self.watched.borrow_mut().remove(&pid);
            }
            // It could not speak until now.
            ("thaw", _) => {
                let mut watched = self.watched.borrow_mut();
                let of = watched.values_mut().filter(|of| of.watcher == watcher);
                of.for_each(|of| of.last = Instant::now());
            }
            _ => {}
        }
        Ok(())
    }

    async fn tick(&mut self, handle: &Handle) -> Outcome {
        if let Err(error) = self.look(handle).await {
            handle.log(&format!("cannot look at the watchers: {error}"));
            return Ok(());
        }
        let most = self.settings.loop_rate * self.settings.max_count;
        let silent = |heard: &Heard| heard.last.elapsed() > most;
        let silent: Vec<(u32, Heard)> = (self.watched.borrow().iter())
            .filter(|(_, heard)| silent(heard))
            .map(|(pid, heard)| (*pid, heard.clone()))
            .collect();
        for (pid, heard) in silent {
            self.replace(pid, &heard, handle).await;
            // It is on its way out, and is not told again before its time is over.
            if let Some(heard) = self.watched.borrow_mut().get_mut(&pid) {
                heard.last = Instant::now();
            }
        }
        Ok(())
    }
}

/// Takes heartbeats for ever.
async fn listen(
    socket: UdpSocket,
    watched: Watched,
    form: RegularExpression,
    handle: Handle,
) -> Outcome {
    let mut buffer = [0; DATAGRAM_BYTES_MAX];
    loop {
        let (size, peer) = socket.recv_from(&mut buffer).await?;
        let Some(pid) = pid_of(&form, &buffer[..size]) else {
            continue;
        };
        if !watched.borrow().contains_key(&pid) {
            continue;
        }
        let speaks = speaks_for(peer, pid);
        let mut watched = watched.borrow_mut();
        let Some(heard) = watched.get_mut(&pid) else {
            continue;
        };
        if speaks {
            heard.last = Instant::now();
        } else if !std::mem::replace(&mut heard.warned, true) {
            let watcher = &heard.watcher;
            handle.log(&format!(
                "{watcher}: a heartbeat for pid {pid} came from somebody else, {peer}; there may be more"
            ));
        }
    }
}

/// The same expression for all of a text: of `a|ab`, what is found first in `ab` is not all of it.
fn whole(form: &RegularExpression) -> Result<Regex, regex_lite::Error> {
    Regex::new(&format!("^(?:{})$", form.0.as_str()))
}

/// Whose heartbeat this is.
fn pid_of(form: &RegularExpression, datagram: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(datagram).ok()?;
    let groups = form.0.captures(text.trim_end_matches(['\n', '\0']))?;
    groups.name("pid")?.as_str().trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_for_whole_names() {
        let form = RegularExpression(Regex::new("web|web2|a.*").unwrap());
        let whole = whole(&form).unwrap();
        assert!(
            ["web", "web2", "api"]
                .iter()
                .all(|name| whole.is_match(name))
        );
        assert!(
            ["web3", "my.web", "", "ba"]
                .iter()
                .all(|name| !whole.is_match(name))
        );
    }

    #[test]
    fn a_heartbeat_is_a_pid_and_a_time() {
        let form =
            RegularExpression(Regex::new("^(?P<pid>[0-9]+);(?P<timestamp>[0-9.]+)$").unwrap());
        assert_eq!(pid_of(&form, b"17;1763000000.25"), Some(17));
        assert_eq!(pid_of(&form, b"17;1763000000\n"), Some(17));
        for wrong in [&b""[..], b"17", b"17;", b"x;1", b"99999999999;1", b"\xff;1"] {
            assert_eq!(pid_of(&form, wrong), None, "{wrong:?}");
        }
    }
}
