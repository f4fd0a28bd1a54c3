//! The plugins that tell a statsd server, against one that reads every line.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::thread;

use common::facts::{http_worker, pids, port_of};
use common::{DEADLINE, Daemon, Home, eventually, skip, tool};
use serde_json::json;

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
    let start = || daemon.call("Start", json!({"watchers": "web"}));
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

#[test]
fn gauges_of_a_watcher_that_has_no_process_any_more_are_zero() {
    let server = Server::new();
    let port = server.port();
    let daemon = Daemon::start(&format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\n\
         [plugin.stats]\nuse = \"full_stats\"\nport = {port}\nloop_rate = \"50ms\"\n"
    ));
    let last = "circus.app.watcher._stats.web.mem_sum";
    while gauges(server.until(last))["web.watchers_num"] != 1.0 {}
    daemon
        .call("Stop", json!({"watchers": "web"}))
        .expect("it runs");
    let told = eventually("it is told", || {
        let gauges = gauges(server.until(last));
        (gauges["web.watchers_num"] == 0.0).then_some(gauges)
    });
    assert!(told.values().all(|value| *value == 0.0), "{told:?}");
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

/// Answers every request with the next of `answers`, and then with the last one again.
fn http_server(answers: &'static [&'static str]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    // Ends with the test; who asks until then is answered.
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.expect("it is accepted");
            let mut request = [0; 1024];
            let size = stream.read(&mut request).unwrap_or_default();
            assert!(request[..size].starts_with(b"GET /health HTTP/1.1\r\n"));
            let answer = answers[number.min(answers.len() - 1)];
            // Who asked may have gone.
            let _ = write!(stream, "HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
        }
    });
    port
}

#[test]
fn http_observer_tells_how_long_a_page_takes_and_restarts_who_does_not_serve_it() {
    let server = Server::new();
    let (port, page) = (server.port(), http_server(&["200 OK", "503 Busy"]));
    let daemon = Daemon::start(&format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\n\
         [watcher.off]\ncmd = \"sleep 1000\"\nautostart = false\n\
         [plugin.page]\nuse = \"http_observer\"\nport = {port}\nloop_rate = \"100ms\"\n\
         check_url = \"http://127.0.0.1:{page}/health\"\nrestart_on_error = \"web\"\n"
    ));
    let mut events = daemon.subscribe();
    let (name, _, kind) = server.line();
    let prefix = "circus.http_observer.watcher.http_stats";
    assert_eq!(
        (name, kind),
        (format!("{prefix}.request_time"), "ms".to_owned())
    );
    let told: Vec<_> = [(); 3].iter().map(|()| server.line().0).collect();
    let expected = ["error", "error.503", "restart_on_error"];
    assert_eq!(told, expected.map(|name| format!("{prefix}.{name}")));
    events.wait("watcher.web.start");
}

#[test]
fn http_observer_restarts_a_server_that_takes_requests_and_does_not_answer() {
    let server = Server::new();
    let served = format!(
        "[socket.page]\nhost = \"127.0.0.1\"\nport = 0\n\
         [watcher.web]\ncmd = [\"{}\", \"--listen-fds\"]\nuse_sockets = [\"page\"]\n",
        http_worker().display()
    );
    let home = Home::new(&served);
    let daemon = home.start();
    home.configure(&format!(
        "{served}[plugin.page]\nuse = \"http_observer\"\nport = {}\nloop_rate = \"100ms\"\n\
         check_url = \"http://localhost:{}/\"\ntimeout = \"2s\"\nrestart_on_error = \"web\"\n",
        server.port(),
        port_of(&daemon, "page")
    ));
    daemon.call("ReloadConfig", json!({})).expect("it is right");
    server.until("circus.http_observer.watcher.http_stats.request_time");
    let before = *pids(&daemon.status("web")).first().expect("it runs");
    let mut events = daemon.subscribe();
    let stop = json!({"watcher": "web", "signal": "SIGSTOP"});
    daemon.call("Signal", stop).expect("it runs");
    server.until("circus.http_observer.watcher.http_stats.error.599");
    let kill = events.wait_where("watcher.web.kill", |data| data["signal"] != "SIGSTOP");
    assert_eq!(kill["data"]["process_pid"], before);
    events.wait("watcher.web.start");
    server.until("circus.http_observer.watcher.http_stats.request_time");
}

#[test]
fn http_observer_does_not_start_what_somebody_has_stopped() {
    let server = Server::new();
    let (port, page) = (server.port(), http_server(&["500 Broken"]));
    let daemon = Daemon::start(&format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n\
         [plugin.page]\nuse = \"http_observer\"\nport = {port}\nloop_rate = \"50ms\"\n\
         check_url = \"http://127.0.0.1:{page}/health\"\nrestart_on_error = \"web\"\n"
    ));
    // Twice, so that the first round is over.
    for _ in 0..2 {
        server.until("circus.http_observer.watcher.http_stats.error.500");
    }
    assert_eq!(daemon.status("web")["state"], "stopped");
}

#[test]
fn redis_observer_tells_how_a_real_redis_is_and_restarts_one_that_does_not_answer() {
    if Command::new("redis-server")
        .arg("--version")
        .output()
        .is_err()
    {
        return skip("no redis-server");
    }
    let home = Home::new("");
    let server = Server::new();
    let (port, root) = (server.port(), home.root().display().to_string());
    home.configure(&format!(
        "[watcher.redis]\ncmd = \"redis-server --port 0 --unixsocket {root}/redis.sock --save '' \
         --dir {root} --requirepass secret\"\nready = {{ file = \"{root}/redis.sock\" }}\n\
         [plugin.redis]\nuse = \"redis_observer\"\nport = {port}\nloop_rate = \"100ms\"\n\
         redis_url = \"unix://{root}/redis.sock\"\ntimeout = \"500ms\"\n\
         restart_on_timeout = \"redis\"\n[plugin.redis.watcher]\npriority = 1\n"
    ));
    // It wants a password, and is ready before it is asked: that is an answer, which a restart would not change.
    let daemon = home.start();
    for _ in 0..2 {
        let told = server.until("circus.redis_observer.watcher.redis_error");
        let restarted = told.iter().find(|(name, ..)| name.ends_with("restarted"));
        assert_eq!(restarted, None);
    }
    assert_eq!(daemon.status("redis")["last_exit"], json!(null));

    let text = std::fs::read_to_string(home.path("etc/circusd.toml")).expect("it was written");
    home.configure(&text.replace("unix://", "unix://:secret@"));
    daemon.call("ReloadConfig", json!({})).expect("it is right");
    let lines = server.until("circus.redis_observer.watcher.keyspace_hits");
    let of = |name: &str| {
        let name = format!("circus.redis_observer.watcher.{name}");
        let line = lines.iter().rfind(|(told, ..)| *told == name);
        let (_, value, kind) = line.unwrap_or_else(|| panic!("no {name}: {lines:?}"));
        assert_eq!(kind, "g");
        *value
    };
    assert!(of("used_memory") > 0.0 && of("connected_clients") >= 1.0);

    // It takes the connection, and says nothing.
    let mut events = daemon.subscribe();
    let before = *pids(&daemon.status("redis")).first().expect("it runs");
    let stop = json!({"watcher": "redis", "signal": "SIGSTOP"});
    daemon.call("Signal", stop).expect("it runs");
    server.until("circus.redis_observer.watcher.redis_error");
    let kill = events.wait_where("watcher.redis.kill", |data| data["signal"] != "SIGSTOP");
    assert_eq!(kill["data"]["process_pid"], before);
    events.wait("watcher.redis.start");
}

/// What is answered to a GET of this page: the head and the body.
fn get(mut stream: impl Read + Write, page: &str, header: &str) -> (String, String) {
    write!(stream, "GET {page} HTTP/1.1\r\nHost: x\r\n{header}\r\n").expect("it can be sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it is text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_owned(), body.to_owned())
}

fn check_with_promtool(text: &str) {
    let Some(promtool) = tool("promtool") else {
        return;
    };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be started");
    let mut input = child.stdin.take().expect("it is a pipe");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

#[test]
fn metrics_are_what_prometheus_reads_and_what_is_so() {
    let home = Home::new("");
    let root = home.root().display().to_string();
    home.configure(&format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\nnumprocesses = 3\n\
         [plugin.numbers]\nuse = \"metrics\"\npath = \"{root}/metrics.sock\"\n"
    ));
    let mut daemon = home.start();
    let path = home.path("metrics.sock");
    let connect = || UnixStream::connect(&path).expect("it listens");
    daemon.ctl(&["incr", "web"]);
    let kill = json!({"watcher": "web", "signal": "SIGKILL", "wid": 1});
    let mut events = daemon.subscribe();
    daemon.call("Signal", kill).expect("it runs");
    events.wait_where("watcher.web.spawn", |data| data["wid"] == 1);
    let text = eventually("the last event is counted", || {
        let (head, text) = get(connect(), "/metrics", "");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let counted = "circusd_watcher_events_total{watcher=\"web\",action=\"spawn\"} 5";
        text.lines().any(|line| line == counted).then_some(text)
    });
    check_with_promtool(&text);
    for line in [
        "circusd_watcher_state{watcher=\"web\",state=\"active\"} 1",
        "circusd_watcher_processes_wanted{watcher=\"web\"} 4",
        "circusd_watcher_unexpected_ends_total{watcher=\"web\"} 1",
        "# TYPE circusd_events_total counter",
    ] {
        assert!(text.lines().any(|told| told == line), "no {line}: {text}");
    }
    let (head, text) = get(
        connect(),
        "/metrics",
        "Accept: application/openmetrics-text\r\n",
    );
    assert!(
        head.contains("application/openmetrics-text; version=1.0.0"),
        "{head}"
    );
    assert!(text.contains("# TYPE circusd_events counter\n") && text.ends_with("\n# EOF\n"));
    assert!(get(connect(), "/", "").0.starts_with("HTTP/1.1 404 "));

    // One that was killed has left its socket.
    let kill = json!({"watcher": "plugin:numbers", "signal": "SIGKILL"});
    daemon.call("Signal", kill).expect("it runs");
    events.wait("watcher.plugin:numbers.ready");
    assert!(
        get(connect(), "/metrics", "")
            .0
            .starts_with("HTTP/1.1 200 OK")
    );
    assert!(daemon.stop().success());
    assert!(!path.exists(), "it is removed at the end");
}

#[test]
fn metrics_can_be_had_over_a_port() {
    let port = {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        free.local_addr().expect("it is bound").port()
    };
    let _daemon = Daemon::start(&format!(
        "[plugin.numbers]\nuse = \"metrics\"\nport = {port}\n"
    ));
    let stream = eventually("it listens", || {
        TcpStream::connect(("127.0.0.1", port)).ok()
    });
    let (_, text) = get(stream, "/metrics", "");
    assert!(text.contains("circusd_processes 1\n"), "{text}");
}
