//! The plugins that tell a statsd server, against one that reads every line.

mod common;

use std::collections::BTreeMap;
use std::net::UdpSocket;

use common::{DEADLINE, Daemon, eventually};

/// A statsd server.
struct Server {
    socket: UdpSocket,
}

impl Server {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
        socket
            .set_read_timeout(Some(DEADLINE))
            .expect("it can be set");
        Self { socket }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().expect("it is bound").port()
    }

    /// The next line: name, value, and what kind.
    fn line(&self) -> (String, f64, String) {
        let mut buffer = [0; 1500];
        let size = self.socket.recv(&mut buffer).expect("a line comes in time");
        let line = std::str::from_utf8(&buffer[..size]).expect("it is text");
        let (name, rest) = line
            .split_once(':')
            .unwrap_or_else(|| panic!("no value: {line}"));
        let (value, kind) = rest
            .split_once('|')
            .unwrap_or_else(|| panic!("no kind: {line}"));
        let value = value
            .parse()
            .unwrap_or_else(|_| panic!("no number: {line}"));
        (name.to_owned(), value, kind.to_owned())
    }

    /// All lines up to the one called `name`, that one last.
    fn until(&self, name: &str) -> Vec<(String, f64, String)> {
        let mut lines = Vec::new();
        loop {
            lines.push(self.line());
            if lines.last().is_some_and(|(last, ..)| last == name) {
                return lines;
            }
        }
    }
}

#[test]
fn statsd_counts_every_event_of_every_watcher() {
    let server = Server::new();
    let port = server.port();
    let daemon = Daemon::start(&format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\nnumprocesses = 2\n\
         [plugin.stats]\nuse = \"statsd\"\nport = {port}\napplication_name = \"shop\"\n"
    ));
    let lines = server.until("circus.shop.watcher.web.start");
    let count = |action: &str| {
        let name = format!("circus.shop.watcher.web.{action}");
        let same = lines
            .iter()
            .filter(|(told, value, kind)| *told == name && *value == 1.0 && kind == "c");
        same.count()
    };
    assert_eq!(
        (count("spawn"), count("ready"), count("start")),
        (2, 2, 1),
        "{lines:?}"
    );
    daemon.ctl(&["stop", "web"]);
    let lines = server.until("circus.shop.watcher.web.stop");
    let told: Vec<_> = lines
        .iter()
        .map(|(name, ..)| name.rsplit('.').next())
        .collect();
    assert_eq!(told, ["kill", "kill", "reap", "reap", "stop"].map(Some));
}

#[test]
fn statsd_tells_the_server_what_it_leaves_out() {
    let server = Server::new();
    let port = server.port();
    let daemon = Daemon::start(&format!(
        "[plugin.stats]\nuse = \"statsd\"\nport = {port}\nsample_rate = 0.5\n\
         [watcher.web]\ncmd = \"true\"\nautostart = false\nrespawn = false\n"
    ));
    let start = || daemon.call("Start", serde_json::json!({"watchers": "web"}));
    // Each is six events or so: that none of so many is told does not happen.
    for _ in 0..30 {
        start().expect("it can be started");
    }
    assert_eq!(server.line().2, "c|@0.5");
}

#[test]
fn full_stats_tells_what_the_processes_of_a_watcher_use() {
    let server = Server::new();
    let port = server.port();
    let _daemon = Daemon::start(&format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\nnumprocesses = 3\n\
         [watcher.busy]\ncmd = ['sh', '-c', 'while :; do :; done']\n\
         [plugin.stats]\nuse = \"full_stats\"\nport = {port}\nloop_rate = \"100ms\"\n"
    ));
    server.until("circus.app.watcher._stats.web.mem_sum");
    // CPU time is counted by the clock's tick, and a busy machine may give none for a while.
    let gauges = eventually("a round in which one was busy", || {
        let gauges = gauges(server.until("circus.app.watcher._stats.web.mem_sum"));
        (gauges["busy.cpu_max"] > gauges["web.cpu_sum"]).then_some(gauges)
    });
    let of = |name: &str| {
        *gauges
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {gauges:?}"))
    };
    assert_eq!(
        (of("web.watchers_num"), of("busy.watchers_num")),
        (3.0, 1.0)
    );
    assert_eq!(of("busy.cpu_max"), of("busy.cpu_sum"), "it is one process");
    assert!(
        of("web.mem_max") > 0.0 && of("web.mem_sum") > of("web.mem_max"),
        "{gauges:?}"
    );
    assert!(of("web.mem_pct_sum") > of("web.mem_pct_max"), "{gauges:?}");
    assert!(
        !gauges.keys().any(|name| name.contains("plugin")),
        "{gauges:?}"
    );
    assert_eq!(gauges.len(), 14, "{gauges:?}");
}

/// The gauges among these lines, by what stands behind `_stats`.
fn gauges(lines: Vec<(String, f64, String)>) -> BTreeMap<String, f64> {
    let gauges = lines.into_iter().filter(|(_, _, kind)| kind == "g");
    let gauges = gauges.filter_map(|(name, value, _)| {
        let name = name.strip_prefix("circus.app.watcher._stats.")?;
        Some((name.to_owned(), value))
    });
    gauges.collect()
}
