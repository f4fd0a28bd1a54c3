//! Hooks that ask without a program: whether somebody listens, a page is there, a file exists; and
//! lists of them. The example of Circus's manual, a queue worker that needs Redis, is one of them.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use common::facts::pids;
use common::hooks::web;
use common::{CallError, Daemon, Home, skip};
use serde_json::{Value, json};

/// `web`, not started, with `before_start` written so.
fn config(hook: &str) -> String {
    format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n\
         [watcher.web.hooks]\nbefore_start = {hook}\n"
    )
}

/// What `Start` says, and the sentence that `status` has for it.
fn start(hook: &str) -> (Result<Value, CallError>, String) {
    let daemon = Daemon::start(&config(hook));
    let started = web(&daemon, "Start");
    let status = daemon.status("web");
    let text = status["reason"]["text"].as_str().unwrap_or_default();
    (started, text.to_owned())
}

#[track_caller]
fn succeeds(hook: &str) {
    let (started, _) = start(hook);
    started.unwrap_or_else(|error| panic!("{hook}: {error:?}"));
}

/// Checks that the hook fails, and that everybody is told why with these words.
#[track_caller]
fn fails(hook: &str, words: &[&str]) {
    let (started, text) = start(hook);
    let failed = started.expect_err("it cannot succeed");
    assert_eq!(failed.error, "io.circusd.HookFailed", "{failed:?}");
    let reason = failed.parameters["reason"].as_str().expect("a reason");
    for word in words {
        assert!(
            reason.contains(word) && text.contains(word),
            "{reason}; {text}"
        );
    }
}

/// A port that somebody listens on.
fn open_port() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be had");
    let port = listener.local_addr().expect("it has one").port();
    (listener, port)
}

/// An address that nobody but this process uses, as its number is in it.
fn address_of_our_own(port: u16) -> String {
    let id = std::process::id();
    let (high, middle, low) = (id >> 16 & 0x3f | 0x40, id >> 8 & 0xff, id & 0xff);
    format!("127.{high}.{middle}.{low}:{port}")
}

/// Answers every request with these words, one each, the last for ever.
fn serve(listener: TcpListener, answers: Vec<&'static str>) {
    thread::spawn(move || {
        for (index, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let answer = answers[index.min(answers.len() - 1)];
            let mut request = BufReader::new(stream.try_clone().expect("it can be doubled"));
            let mut line = String::new();
            while request.read_line(&mut line).is_ok_and(|length| length > 2) {
                line.clear();
            }
            // A prober that has gone is not our affair.
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

#[test]
fn tcp_waits_for_a_listener() {
    let (_listener, port) = open_port();
    succeeds(&format!("{{ tcp = \"127.0.0.1:{port}\" }}"));
    succeeds(&format!("{{ tcp = \"localhost:{port}\" }}"));
    let address = address_of_our_own(21);
    let hook = format!("{{ tcp = \"{address}\", timeout = 0.3 }}");
    fails(&hook, &["no answer within 0.3 s", &address, "refused"]);
}

#[test]
fn unix_waits_for_a_listener() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("redis.sock");
    let hook = format!("{{ unix = \"{}\", timeout = 0.3 }}", path.display());
    fails(&hook, &["no answer within 0.3 s", "redis.sock"]);
    let _listener = UnixListener::bind(&path).expect("a socket can be bound");
    succeeds(&hook);
}

#[test]
fn http_waits_for_the_status_that_is_expected() {
    const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n";
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    const GONE: &str = "HTTP/1.0 204\r\n\r\n";
    let check = |answers: Vec<&'static str>, more: &str, expected: Result<(), &str>| {
        let (listener, port) = open_port();
        serve(listener, answers);
        let hook = format!("{{ http = \"http://127.0.0.1:{port}/health\"{more} }}");
        match expected {
            Ok(()) => succeeds(&hook),
            Err(words) => fails(&hook, &[words, "/health"]),
        }
    };
    check(vec![BUSY, OK], "", Ok(()));
    check(vec![GONE], ", expect = [200, 204]", Ok(()));
    check(vec![BUSY], ", timeout = 2", Err("status 503"));
    check(
        vec!["SSH-2.0\r\n"],
        ", timeout = 0.3",
        Err("does not speak HTTP"),
    );
    check(vec![""], ", timeout = 2", Err("does not speak HTTP"));
}

#[test]
fn who_accepts_and_never_answers_is_waited_for_no_longer_than_the_time_out() {
    let (_listener, port) = open_port();
    let hook = format!("{{ http = \"http://127.0.0.1:{port}\", timeout = 0.3 }}");
    fails(&hook, &["no answer within 0.3 s"]);
}

#[test]
fn file_waits_until_it_exists() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("run/ready");
    let hook = format!("{{ file = \"{}\", timeout = 0.3 }}", path.display());
    fails(
        &hook,
        &["no answer within 0.3 s", "run/ready", "does not exist"],
    );

    let daemon = Daemon::start(&config(&format!("{{ file = \"{}\" }}", path.display())));
    let mut starter = daemon.connect();
    starter.send_call("Start", json!({"watchers": "web"}), false);
    daemon.wait_until("web", |status| status["state"] == "starting");
    std::fs::create_dir(path.parent().expect("it has one")).expect("a directory can be made");
    std::fs::write(&path, "").expect("a file can be written");
    starter.receive_reply().expect("the file is there");
}

#[test]
fn of_a_list_the_first_that_is_not_true_decides() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mark = |name: &str| directory.path().join(name);
    let touch = |name: &str| format!("{{ exec = [\"touch\", \"{}\"] }}", mark(name).display());
    let list = |hooks: &[String]| start(&format!("[{}]", hooks.join(", "))).0;
    let no = "{ exec = \"false\" }".to_owned();
    let failure = |ignored: bool| {
        format!("{{ exec = [\"sh\", \"-c\", \"exit 2\"], ignore_failure = {ignored} }}")
    };
    let error = |result: Result<Value, CallError>| result.expect_err("it is not started").error;

    list(&[touch("a"), touch("b")]).expect("both say yes");
    assert!(mark("a").exists() && mark("b").exists());
    assert_eq!(error(list(&[no, touch("c")])), "io.circusd.HookRefused");
    assert_eq!(
        error(list(&[failure(false), touch("c")])),
        "io.circusd.HookFailed"
    );
    assert!(!mark("c").exists());
    list(&[failure(true), touch("d")]).expect("the failure is ignored");
    assert!(mark("d").exists());
}

#[test]
fn a_failure_that_all_of_a_list_ignore_is_told_all_the_same() {
    let failure = "{ exec = [\"sh\", \"-c\", \"exit 2\"], ignore_failure = true }";
    let daemon = Daemon::start(&config(&format!("[{failure}, {failure}]")));
    let mut events = daemon.subscribe();
    web(&daemon, "Start").expect("both are ignored");
    let told = events.wait("watcher.web.hook_*");
    assert_eq!(told["action"], "hook_failure");
}

/// What answers as Redis: the real one, or where there is none a program that only listens.
fn redis(address: &str, directory: &Path) -> String {
    let (host, port) = address.split_once(':').expect("an address has a port");
    if Command::new("redis-server")
        .arg("--version")
        .output()
        .is_ok()
    {
        return format!("redis-server --port {port} --bind {host} --save '' --dir .");
    }
    skip("there is no redis-server here; a plain listener stands in for it");
    let script = directory.join("listen.py");
    let text = "import socket, sys, time\ns = socket.socket()\n\
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
                s.bind((sys.argv[1], int(sys.argv[2])))\ns.listen()\ntime.sleep(1000)\n";
    std::fs::write(&script, text).expect("a script can be written");
    format!("python3 listen.py {host} {port}")
}

#[test]
fn a_queue_worker_starts_only_when_its_redis_answers() {
    let address = address_of_our_own(6379);
    let home = Home::new("");
    let server = redis(&address, home.root());
    home.configure(&format!(
        "[watcher.redis]\ncmd = \"{server}\"\nworking_dir = \"..\"\npriority = 1\n\
         hooks.after_start = {{ tcp = \"{address}\" }}\n\
         [watcher.retools]\ncmd = \"sleep 1000\"\npriority = 2\n\
         hooks.before_start = {{ tcp = \"{address}\", timeout = 1 }}\n"
    ));
    let daemon = home.start();
    for watcher in ["redis", "retools"] {
        assert_eq!(daemon.status(watcher)["state"], "active", "{watcher}");
    }

    daemon.call("Stop", json!({})).expect("both stop");
    let retools = json!({"watchers": "retools"});
    let failed = daemon
        .call("Start", retools.clone())
        .expect_err("there is no redis");
    assert_eq!(failed.error, "io.circusd.HookFailed");
    let status = daemon.status("retools");
    assert!(pids(&status).is_empty());
    let text = status["reason"]["text"].as_str().expect("a reason");
    assert!(
        text.contains("before_start") && text.contains("refused"),
        "{text}"
    );
    let table = daemon.ctl(&["status", "retools"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("before_start"));

    daemon
        .call("Start", json!({"watchers": "redis"}))
        .expect("redis is back");
    daemon.call("Start", retools).expect("redis answers");
    assert_eq!(daemon.status("retools")["state"], "active");
}

#[test]
fn an_abstract_socket_and_a_page_behind_a_socket_are_asked() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::SocketAddr;
    let directory = tempfile::tempdir().expect("a directory can be made");
    let name = directory.path().to_string_lossy().into_owned();
    let address = SocketAddr::from_abstract_name(&name).expect("the name is short");
    let _listener = UnixListener::bind_addr(&address).expect("a socket can be bound");
    succeeds(&format!("{{ unix = \"@{name}\" }}"));

    let path: PathBuf = directory.path().join("web.sock");
    let listener = UnixListener::bind(&path).expect("a socket can be bound");
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        let mut line = String::new();
        let mut request = BufReader::new(stream.try_clone().expect("it can be doubled"));
        request.read_line(&mut line).expect("a request");
        assert_eq!(line, "GET /up HTTP/1.1\r\n");
        stream
            .write_all(b"HTTP/1.1 200 OK\r\n\r\n")
            .expect("it listens");
    });
    succeeds(&format!(
        "{{ http = \"http://unix:{}:/up\" }}",
        path.display()
    ));
}
