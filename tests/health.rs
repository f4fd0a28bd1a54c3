//! Processes that are silent, sick, or have done their share: each makes room for another.

mod common;

use std::net::TcpListener;

use common::facts::{in_each_mode, pid_of, pids, told_until_now, topics};
use common::teller::{self, pid, say, wait_said};
use common::{Daemon, eventually};
use serde_json::{Value, json};

/// An HTTP server that answers with the status in a file of its own.
const SERVER: &str = r#"
import http.server, os

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            status = int(open("status." + str(os.getpid())).read())
        except OSError:
            status = 200
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_):
        pass

server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
with open("port.new", "w") as file:
    file.write(str(server.server_port) + "\n")
os.rename("port.new", "port")
server.serve_forever()
"#;

fn set(daemon: &Daemon, options: Value) -> Value {
    let reply = daemon.call("Set", json!({"watcher": "web", "options": options}));
    reply.expect("it can be set")
}

#[test]
fn a_page_that_says_no_often_enough_has_its_process_replaced() {
    let home = teller::home("");
    std::fs::write(home.path("server.py"), SERVER).expect("a script can be written");
    home.configure("[watcher.web]\ncmd = \"python3 server.py\"\nworking_dir = \"..\"\n");
    let daemon = home.start();
    let first = pid(&daemon);
    let port = common::facts::number_of(&home.path("port"));
    // Its own successor would not find it there, but by then the test is over.
    set(
        &daemon,
        json!({"health": {
            "http": format!("http://127.0.0.1:{port}/"), "interval": 0.1, "retries": 3, "timeout": "1min",
        }}),
    );
    let mut events = daemon.subscribe();
    std::fs::write(home.path(&format!("status.{first}")), "503").expect("it can be written");
    let told = events.wait("watcher.web.health");
    assert_eq!(pid_of(&told), first);
    let error = told["data"]["error"].as_str().expect("a reason");
    assert!(
        error.contains("status 503") && error.contains("3 times in a row"),
        "{error}"
    );
    let kill = events.wait("watcher.web.kill");
    assert_eq!(kill["data"]["by"], "health", "{kill}");
    let reap = events.wait("watcher.web.reap");
    assert_eq!(pid_of(&reap), first);
    assert_ne!(pid_of(&events.wait("watcher.web.spawn")), first);
}

#[test]
fn health_is_changed_and_switched_off_while_a_process_runs() {
    let home = teller::home("");
    let daemon = home.start();
    let worker = pid(&daemon);
    // An attempt takes longer than this test, so nothing follows from it.
    let probe = json!({"exec": ["sleep", "1000"], "interval": 0.1, "timeout": "1h", "retries": 1});
    assert_eq!(set(&daemon, json!({"health": probe}))["effect"], "live");
    set(
        &daemon,
        json!({"health": {"exec": "false", "interval": "1h", "retries": 1}}),
    );
    assert_eq!(pid(&daemon), worker);
    let mut events = daemon.subscribe();
    let failing = "echo >> $HOME/asked; exit 1";
    set(
        &daemon,
        json!({"health": {"exec": ["sh", "-c", failing], "interval": 0.1, "retries": 1}}),
    );
    let told = events.wait("watcher.web.health");
    assert_eq!(pid_of(&told), worker);
    let error = told["data"]["error"].as_str().expect("a reason");
    assert!(error.contains("exit code 1"), "{error}");
    set(&daemon, json!({"health": false}));
    daemon.wait_until("web", |status| {
        status["state"] == "active" && pids(status).len() == 1 && !pids(status).contains(&worker)
    });
    // What was under way may have written still.
    let asked = home.path("asked");
    eventually("nobody is asked any more", || {
        let _ = std::fs::remove_file(&asked);
        std::thread::sleep(std::time::Duration::from_millis(300));
        (!asked.exists()).then_some(())
    });
}

#[test]
fn a_peer_that_accepts_and_never_answers_is_not_healthy() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port can be had");
    let port = listener.local_addr().expect("it has one").port();
    let daemon = Daemon::start(&format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\n[watcher.web.health]\ninterval = 0.1\ntimeout = 0.3\n\
         retries = 2\nhttp = \"http://127.0.0.1:{port}/\"\n"
    ));
    let mut events = daemon.subscribe();
    let told = events.wait("watcher.web.health");
    let error = told["data"]["error"].as_str().expect("a reason");
    assert!(error.contains("no answer within 0.3 s"), "{error}");
}

#[test]
fn who_is_on_its_way_out_is_not_asked_any_more() {
    let home = teller::home(
        "ready = \"notify\"\nhealth = { exec = [\"sh\", \"-c\", \"echo >> $HOME/asked\"], interval = 0.1 }\n\
         autostart = false",
    );
    let daemon = home.start();
    let started = daemon.call("Start", json!({"watchers": "web", "wait": false}));
    started.expect("it is started");
    let worker = pid(&daemon);
    say(&daemon, worker, "READY=1");
    common::facts::line_of(&home.path("asked"));
    say(&daemon, worker, "STOPPING=1|STATUS=draining");
    wait_said(&daemon, "draining");
    assert_eq!(daemon.status("web")["processes"][0]["state"], "stopping");
    // Whoever would be asked now would fail at once.
    set(
        &daemon,
        json!({"health": {"exec": "false", "interval": 0.1, "retries": 1}}),
    );
    let mut events = daemon.subscribe();
    say(&daemon, worker, "!time.sleep(1); tell('STATUS=drained')");
    wait_said(&daemon, "drained");
    let told = told_until_now(&daemon, &mut events);
    assert!(
        !topics(&told).contains(&"web.health"),
        "{:?}",
        topics(&told)
    );
    assert_eq!(pid(&daemon), worker);
}

#[test]
fn who_is_silent_is_told_to_abort_and_replaced() {
    in_each_mode(
        "[watcher.web]\ncmd = \"sleep 1000\"\nwatchdog = 0.5\nnumprocesses = 2\n",
        |daemon| {
            let mut events = daemon.subscribe();
            let told = events.wait("watcher.web.watchdog");
            let worker = pid_of(&told);
            assert_eq!(told["data"]["error"], "was silent for 0.5 s");
            let of_it = |data: &Value| data["process_pid"] == worker;
            let kill = events.wait_where("watcher.web.kill", of_it);
            assert_eq!(
                (&kill["data"]["signal"], &kill["data"]["by"]),
                (&json!("SIGABRT"), &json!("watchdog"))
            );
            let reap = events.wait_where("watcher.web.reap", of_it);
            assert_eq!(reap["data"]["exit"]["cause"], "watchdog", "{reap}");
            events.wait("watcher.web.spawn");
        },
    );
}

#[test]
fn who_shows_that_it_is_alive_is_left_alone() {
    // Told of its interval and that it is meant, as sd_watchdog_enabled(3) reads it.
    let home = teller::home("watchdog = 10\n");
    let daemon = home.start();
    let mut events = daemon.subscribe();
    let worker = pid(&daemon);
    say(
        &daemon,
        worker,
        "!assert os.environ['WATCHDOG_USEC'] == '10000000' and int(os.environ['WATCHDOG_PID']) == os.getpid(); \
         [(tell('WATCHDOG=1'), time.sleep(0.5)) for n in range(24)]; tell('STATUS=alive')",
    );
    wait_said(&daemon, "alive");
    let told = told_until_now(&daemon, &mut events);
    assert!(
        !topics(&told).contains(&"web.watchdog"),
        "{:?}",
        topics(&told)
    );
    assert_eq!(pid(&daemon), worker);
}

#[test]
fn who_says_that_it_is_stuck_is_replaced_at_once() {
    let home = teller::home("watchdog = \"1h\"\n");
    let daemon = home.start();
    let mut events = daemon.subscribe();
    let worker = pid(&daemon);
    say(&daemon, worker, "WATCHDOG=trigger");
    let told = events.wait("watcher.web.watchdog");
    assert_eq!(pid_of(&told), worker);
    assert!(
        told["data"]["error"]
            .as_str()
            .is_some_and(|why| why.contains("stuck")),
        "{told}"
    );
    let reap = events.wait("watcher.web.reap");
    assert_eq!(reap["data"]["exit"]["cause"], "watchdog", "{reap}");
}

#[test]
fn a_process_chooses_its_own_interval() {
    let home = teller::home("watchdog = \"1h\"\n");
    let daemon = home.start();
    let mut events = daemon.subscribe();
    let worker = pid(&daemon);
    say(&daemon, worker, "WATCHDOG_USEC=200000");
    let told = events.wait("watcher.web.watchdog");
    assert_eq!(pid_of(&told), worker);
    assert_eq!(told["data"]["error"], "was silent for 0.2 s");
}

#[test]
fn a_watchdog_that_comes_later_is_for_those_who_know_of_it() {
    let home = teller::home("");
    let daemon = home.start();
    let worker = pid(&daemon);
    let mut events = daemon.subscribe();
    assert_eq!(set(&daemon, json!({"watchdog": 0.3}))["effect"], "live");
    // Its successor knows, and is silent.
    std::fs::write(home.path("teller.py"), "import time; time.sleep(1000)")
        .expect("it can be written");
    daemon
        .call("Kill", json!({"watcher": "web"}))
        .expect("it is replaced");
    let told = events.wait("watcher.web.watchdog");
    assert_ne!(pid_of(&told), worker);
}

#[test]
fn who_is_frozen_need_not_answer() {
    let home =
        teller::home("watchdog = 1\nhealth = { exec = \"false\", interval = 0.2, retries = 1 }\n");
    home.configure(
        "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n\
         watchdog = 1\nhealth = { exec = \"false\", interval = 1, retries = 1 }\n\
         [watcher.tick]\ncmd = \"sleep 1.5\"\nbackoff = false\nflapping = false\n",
    );
    let daemon = home.start();
    if !common::facts::has_cgroups(&daemon) {
        return common::skip("nothing can be frozen here");
    }
    // Frozen before it is ready, as its first process does not come before that.
    let mut events = daemon.subscribe();
    daemon
        .call("Start", json!({"watchers": "web"}))
        .expect("it is started");
    daemon
        .call("Freeze", json!({"watchers": "web"}))
        .expect("it is frozen");
    let worker = pids(&daemon.status("web"));
    for _ in 0..2 {
        events.wait("watcher.tick.reap");
    }
    assert_eq!(pids(&daemon.status("web")), worker);
    daemon
        .call("Thaw", json!({"watchers": "web"}))
        .expect("it runs again");
    events.wait("watcher.web.kill");
}

#[test]
fn who_has_done_its_share_is_replaced_new_one_first() {
    let home = teller::home("max_requests = 100\n");
    let daemon = home.start();
    let worker = pid(&daemon);
    let mut events = daemon.subscribe();
    say(&daemon, worker, "CIRCUS_REQUESTS=99|STATUS=99");
    wait_said(&daemon, "99");
    say(&daemon, worker, "CIRCUS_REQUESTS=100");
    let kill = events.wait("watcher.web.kill");
    assert_eq!(pid_of(&kill), worker);
    assert_eq!(kill["data"]["by"], "max_requests", "{kill}");
    let status = daemon.wait_until("web", |status| !pids(status).contains(&worker));
    assert_eq!(pids(&status).len(), 1);
    // The new one was ready before the old one was told to go.
    let history = common::facts::history(&daemon);
    let place = |wanted: &dyn Fn(&Value) -> bool| history.iter().position(wanted);
    let ready =
        place(&|event| event["action"] == "ready" && event["data"]["process_pid"] != worker);
    let kill = place(&|event| event["action"] == "kill");
    assert!(ready.is_some() && ready < kill, "{:?}", topics(&history));
}
