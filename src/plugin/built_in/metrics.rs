//! `metrics`: what circusd does and what its processes use, for Prometheus and those who read its
//! formats.
//!
//! Asked for when somebody asks; only the events are counted here. `exposition` writes it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream as Blocking;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::exposition::{Exposition, Format, Kind};
use super::{cannot_listen, http};
use crate::api::types::{Event, ProcessStats, SupervisorStats, Watcher};
use crate::api::{Method, params, reply};
use crate::client::ClientError;
use crate::config::plugins::MetricsSettings;
use crate::plugin::{Handle, Outcome, Plugin, Server};

/// Whoever asks has so long, from the first byte to the last.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// What is asked must be said within so long: who connects and says nothing takes the place of others.
const QUESTION_MAX: Duration = Duration::from_secs(1);

/// So many may ask at the same time; more wait until it is their turn.
const ASKING_MAX: usize = 16;

/// Events since the plugin was started, by watcher and action; without one, circusd's own.
type Counts = Rc<RefCell<BTreeMap<(Option<String>, String), u64>>>;

/// The plugin.
#[derive(Debug)]
pub(super) struct Metrics {
    settings: MetricsSettings,
    listener: Option<Listener>,
    /// The socket that is ours to remove.
    bound: Option<PathBuf>,
    counts: Counts,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Metrics {
    pub(super) fn new(settings: MetricsSettings) -> Self {
        Self {
            settings,
            listener: None,
            bound: None,
            counts: Rc::default(),
        }
    }
}

impl Plugin for Metrics {
    fn name(&self) -> &str {
        "metrics"
    }

    async fn init(&mut self) -> Outcome {
        self.listener = Some(match &self.settings.path {
            Some(path) => {
                let listener = remove_if_left(path).and_then(|()| UnixListener::bind(path));
                let listener = listener.map_err(cannot_listen(path.display()))?;
                self.bound = Some(path.clone());
                Listener::Unix(listener)
            }
            None => {
                let address = SocketAddr::new(self.settings.host.0, self.settings.port);
                let listener = TcpListener::bind(address).await;
                Listener::Tcp(listener.map_err(cannot_listen(address))?)
            }
        });
        Ok(())
    }

    fn servers(&mut self, handle: &Handle) -> Vec<Server> {
        let Some(listener) = self.listener.take() else {
            return Vec::new();
        };
        vec![Box::pin(serve(
            listener,
            Rc::clone(&self.counts),
            handle.clone(),
        ))]
    }

    async fn event(&mut self, event: Event, _handle: &Handle) -> Outcome {
        let mut counts = self.counts.borrow_mut();
        if event.action == "remove" {
            // Names come and go; what is counted of those that went is not kept for ever.
            counts.retain(|(watcher, _), _| *watcher != event.watcher);
            return Ok(());
        }
        *counts.entry((event.watcher, event.action)).or_default() += 1;
        Ok(())
    }

    async fn stop(&mut self) -> Outcome {
        match self.bound.take() {
            Some(path) => Ok(fs::remove_file(path)?),
            None => Ok(()),
        }
    }
}

/// Removes a socket on which nobody listens any more: a plugin that was killed has left it.
///
/// A connection to what is no socket is refused, too (connect(2)), so that is looked at first.
fn remove_if_left(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path).is_ok_and(|there| there.file_type().is_socket()) {
        return Ok(());
    }
    match Blocking::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        // Whatever else it is, bind(2) will say so.
        _ => Ok(()),
    }
}

async fn serve(listener: Listener, counts: Counts, handle: Handle) -> Outcome {
    let mut asking = JoinSet::new();
    loop {
        while asking.len() >= ASKING_MAX {
            asking.join_next().await;
        }
        while asking.try_join_next().is_some() {}
        let (counts, handle) = (Rc::clone(&counts), handle.clone());
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                asking.spawn_local(limited(stream, counts, handle));
            }),
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                asking.spawn_local(limited(stream, counts, handle));
            }),
        };
        if accepted.is_err() {
            // One who has gone already, or no descriptor is free: the next one has more luck.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn limited(stream: impl AsyncRead + AsyncWrite + Unpin, counts: Counts, handle: Handle) {
    // Whoever asks and does not listen is not waited for; there is nobody to tell.
    let _ = timeout(ANSWER_MAX, answer(stream, counts, handle)).await;
}

async fn answer(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    counts: Counts,
    handle: Handle,
) -> io::Result<()> {
    let request = timeout(QUESTION_MAX, http::until(&mut stream, b"\r\n\r\n")).await??;
    let request = String::from_utf8_lossy(&request);
    let (line, headers) = request.split_once("\r\n").unwrap_or((&request, ""));
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let page = target.split('?').next().unwrap_or("");
    let text = "text/plain; charset=utf-8";
    let (status, kind, body) = match (method, page) {
        ("GET" | "HEAD", "/metrics") => {
            let format = Format::wanted(headers);
            match collect(format, &counts, &handle).await {
                Ok(body) => ("200 OK", format.content_type(), body),
                Err(error) => ("503 Service Unavailable", text, format!("{error}\n")),
            }
        }
        ("GET" | "HEAD", _) => ("404 Not Found", text, "it is /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", text, "only GET\n".to_owned()),
    };
    let mut reply = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    if method != "HEAD" {
        reply.push_str(&body);
    }
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

async fn collect(format: Format, counts: &Counts, handle: &Handle) -> Result<String, ClientError> {
    let daemon = Method::DaemonStats(params::Nothing {});
    let daemon: reply::DaemonStats = handle.call(&daemon).await?;
    let status = Method::Status(params::Watchers::default());
    let status: reply::Status = handle.call(&status).await?;
    let stats = Method::Stats(params::Stats::default());
    let stats: reply::Stats = handle.call(&stats).await?;
    let mut out = Exposition::new(format);
    of_daemon(&mut out, &daemon.stats);
    of_watchers(&mut out, &status.watchers);
    of_processes(&mut out, &stats.processes);
    of_events(&mut out, &counts.borrow());
    Ok(out.finish())
}

/// Microseconds as seconds.
fn seconds(usec: u64) -> f64 {
    usec as f64 / 1e6
}

fn of_daemon(out: &mut Exposition, of: &SupervisorStats) {
    use Kind::{Counter, Gauge};
    let version = [("version", of.version.as_str())];
    out.family("circusd_info", Gauge, "The version of circusd.");
    out.sample(&version, 1.0);
    let figures = [
        (
            "circusd_start_time_seconds",
            Gauge,
            "When circusd was first started, since the epoch.",
            seconds(of.started_usec),
        ),
        (
            "circusd_cpu_seconds_total",
            Counter,
            "Processor time that circusd has used.",
            seconds(of.cpu_usec),
        ),
        (
            "circusd_memory_rss_bytes",
            Gauge,
            "Resident memory of circusd.",
            of.memory_rss as f64,
        ),
        (
            "circusd_memory_pss_bytes",
            Gauge,
            "Resident memory of circusd, shared pages divided.",
            of.memory_pss as f64,
        ),
        (
            "circusd_open_fds",
            Gauge,
            "Descriptors that circusd has open.",
            of.fds as f64,
        ),
        (
            "circusd_watchers",
            Gauge,
            "Watchers, plugins among them.",
            of.watchers as f64,
        ),
        (
            "circusd_processes",
            Gauge,
            "Processes of all watchers.",
            of.processes as f64,
        ),
        (
            "circusd_connections",
            Gauge,
            "Connections to circusd.",
            of.connections as f64,
        ),
        (
            "circusd_subscribers",
            Gauge,
            "Connections that hear events.",
            of.subscribers as f64,
        ),
        (
            "circusd_events_total",
            Counter,
            "Events so far.",
            of.events_total as f64,
        ),
        (
            "circusd_spawns_total",
            Counter,
            "Processes started so far.",
            of.spawns_total as f64,
        ),
        (
            "circusd_requests_total",
            Counter,
            "Calls answered so far.",
            of.requests_total as f64,
        ),
    ];
    for (name, kind, help, value) in figures {
        out.family(name, kind, help);
        out.sample(&[], value);
    }
}

/// The word that the API has for it.
fn word(state: impl serde::Serialize) -> String {
    match serde_json::to_value(state) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

fn of_watchers(out: &mut Exposition, watchers: &[Watcher]) {
    out.family(
        "circusd_watcher_state",
        Kind::Gauge,
        "1 for the state that the watcher is in.",
    );
    for of in watchers {
        out.sample(&[("watcher", &of.name), ("state", &word(of.state))], 1.0);
    }
    let help = "How many processes are wanted.";
    out.family("circusd_watcher_processes_wanted", Kind::Gauge, help);
    for of in watchers {
        out.sample(&[("watcher", &of.name)], of.numprocesses as f64);
    }
    let help = "How many processes there are, by state.";
    out.family("circusd_watcher_processes", Kind::Gauge, help);
    for of in watchers {
        let mut states: BTreeMap<String, u32> = BTreeMap::new();
        for process in &of.processes {
            *states.entry(word(process.state)).or_default() += 1;
        }
        for (state, count) in states {
            out.sample(
                &[("watcher", &of.name), ("state", &state)],
                f64::from(count),
            );
        }
    }
    let help = "Unexpected ends since an operator last started the watcher.";
    out.family("circusd_watcher_unexpected_ends_total", Kind::Counter, help);
    for of in watchers {
        out.sample(&[("watcher", &of.name)], of.restarts as f64);
    }
}

/// What is read out of the statistics of a process, where it can be told.
type Figure = fn(&ProcessStats) -> Option<f64>;

fn of_processes(out: &mut Exposition, processes: &[ProcessStats]) {
    use Kind::{Counter, Gauge};
    let figures: [(&str, Kind, &str, Figure); 8] = [
        (
            "circusd_process_cpu_seconds_total",
            Counter,
            "Processor time that the process has used.",
            |of| Some(seconds(of.cpu_usec)),
        ),
        (
            "circusd_process_age_seconds",
            Gauge,
            "How long the process has lived.",
            |of| Some(seconds(of.age_usec)),
        ),
        (
            "circusd_process_memory_rss_bytes",
            Gauge,
            "Resident memory of the main process.",
            |of| Some(of.memory_rss as f64),
        ),
        (
            "circusd_process_memory_cgroup_bytes",
            Gauge,
            "Memory of all that the process has started, too.",
            |of| of.memory_current.map(|bytes| bytes as f64),
        ),
        (
            "circusd_process_tasks",
            Gauge,
            "Threads, of all that the process has started, too.",
            |of| Some(of.tasks as f64),
        ),
        (
            "circusd_process_open_fds",
            Gauge,
            "Descriptors that the main process has open.",
            |of| of.fds.map(|fds| fds as f64),
        ),
        (
            "circusd_process_io_read_bytes_total",
            Counter,
            "Bytes read from storage.",
            |of| of.io_read_bytes.map(|bytes| bytes as f64),
        ),
        (
            "circusd_process_io_written_bytes_total",
            Counter,
            "Bytes written to storage.",
            |of| of.io_write_bytes.map(|bytes| bytes as f64),
        ),
    ];
    for (name, kind, help, figure) in figures {
        out.family(name, kind, help);
        for of in processes {
            if let Some(value) = figure(of) {
                out.sample(
                    &[("watcher", &of.watcher), ("wid", &of.wid.to_string())],
                    value,
                );
            }
        }
    }
}

fn of_events(out: &mut Exposition, counts: &BTreeMap<(Option<String>, String), u64>) {
    let help = "Events since the plugin was started; those without a watcher are circusd's own.";
    out.family("circusd_watcher_events_total", Kind::Counter, help);
    for ((watcher, action), count) in counts {
        let watcher = watcher.as_deref().unwrap_or_default();
        out.sample(&[("watcher", watcher), ("action", action)], *count as f64);
    }
}
