//! The hook `extended_stats`: what a watcher's own program, or a client, knows of each process.

mod common;

use std::fs;
use std::sync::Arc;

use common::{Daemon, Home, eventually};
use serde_json::{Value, json};

/// Three processes, and a hook that is this piece of shell.
fn start(shell: &str, keys: &str) -> Daemon {
    let home = home(shell, keys);
    home.start()
}

fn home(shell: &str, keys: &str) -> Arc<Home> {
    let home = Home::new(&format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\nnumprocesses = 3\ngraceful_timeout = 0\n\
         working_dir = \"..\"\n\
         hooks.extended_stats = {{ exec = \"sh hook.sh\" {keys} }}\n\
         [watcher.plain]\ncmd = \"sleep 1000\"\ngraceful_timeout = 0\n"
    ));
    fs::write(home.path("hook.sh"), shell).expect("a script can be written");
    home
}

fn stats(daemon: &Daemon, parameters: Value) -> Vec<Value> {
    let reply = daemon.call("Stats", parameters).expect("anybody may look");
    reply["processes"].as_array().expect("a list").clone()
}

fn extended(processes: &[Value]) -> Vec<Value> {
    processes.iter().map(|p| p["extended"].clone()).collect()
}

#[test]
fn each_process_gets_what_the_hook_says_of_it() {
    let daemon = start(
        "cat > context.$CIRCUS_WID; \
         echo '{\"stats\": {\"wid\": '$CIRCUS_WID', \"pid\": '$CIRCUS_PID'}}'",
        "",
    );
    let processes = stats(&daemon, json!({"extended": true}));
    assert_eq!(processes.len(), 4);
    for process in &processes {
        let expected = match process["watcher"].as_str() {
            Some("web") => json!({"wid": process["wid"], "pid": process["pid"]}),
            _ => Value::Null,
        };
        assert_eq!(process["extended"], expected);
    }
    let context = fs::read_to_string(daemon.home().path("context.2"));
    let context: Value = serde_json::from_str(&context.expect("it was asked")).expect("an object");
    let process = processes.iter().find(|process| process["wid"] == 2);
    let process = process.expect("there are three");
    assert_eq!(context["hook"], "extended_stats");
    assert_eq!(context["wid"], 2);
    assert_eq!(context["process"]["pid"], process["pid"]);
    assert_eq!(context["stats"]["memory_rss"], process["memory_rss"]);

    let asked = stats(&daemon, json!({}));
    assert!(asked.iter().all(|process| process["extended"].is_null()));
    let said = daemon.ctl(&["stats", "--extended", "web"]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let line = format!("    wid=2 pid={}\n", process["pid"]);
    assert!(said.contains(&line), "{said}");
}

#[test]
fn a_hook_that_fails_leaves_its_process_without_and_is_told_of() {
    let daemon = start(
        "case $CIRCUS_WID in 1) exit 7;; 2) sleep 1000;; 3) echo '{\"stats\": {\"fine\": true}}';; esac",
        ", timeout = \"1s\"",
    );
    let mut events = daemon.subscribe();
    let processes = stats(&daemon, json!({"watchers": "web", "extended": true}));
    assert_eq!(
        extended(&processes),
        [Value::Null, Value::Null, json!({"fine": true})]
    );
    let mut told: Vec<_> = (0..3).map(|_| events.next()).collect();
    told.sort_by_key(|event| event["data"]["wid"].as_u64());
    let expected = [
        ("hook_failure", "it ended with exit code 7"),
        ("hook_failure", "no answer within 1 s"),
        ("hook_success", ""),
    ];
    for ((event, process), (action, error)) in told.iter().zip(&processes).zip(expected) {
        assert_eq!(event["action"], action, "{event}");
        assert_eq!(event["watcher"], "web");
        let data = &event["data"];
        assert_eq!(data["name"], "extended_stats");
        assert_eq!(data["process_pid"], process["pid"]);
        assert_eq!(data["error"].as_str().unwrap_or_default(), error);
    }
}

#[test]
fn what_is_no_object_is_a_failure() {
    let daemon = start("echo '{\"stats\": 7}'", "");
    let mut events = daemon.subscribe();
    let processes = stats(&daemon, json!({"watchers": "web", "extended": true}));
    assert_eq!(
        extended(&processes),
        [Value::Null, Value::Null, Value::Null]
    );
    let event = events.wait("watcher.web.hook_failure");
    assert_eq!(event["data"]["error"], "its stats are no object");
}

#[test]
fn a_stream_of_samples_has_them_in_each() {
    let daemon = start("echo x >> count; echo '{\"stats\": {\"ok\": true}}'", "");
    let mut client = daemon.connect();
    let parameters = json!({"watchers": "web", "extended": true, "interval_usec": 100_000});
    client.send_call("Stats", parameters, true);
    for _ in 0..3 {
        let reply = client.receive_reply().expect("a sample");
        let processes = reply["processes"].as_array().expect("a list");
        let all = vec![json!({"ok": true}); 3];
        assert_eq!(extended(processes), all);
    }
}

#[test]
fn sixteen_are_asked_at_a_time() {
    let config = "[watcher.web]\ncmd = \"sleep 1000\"\nnumprocesses = 20\n\
                  graceful_timeout = 0\nworking_dir = \"..\"\n\
                  hooks.extended_stats = \"sh hook.sh\"\n";
    let home = Home::new(config);
    let script = ": > run.$CIRCUS_WID; ls run.* | wc -l >> counts; \
                  while [ ! -e go ]; do sleep 0.02; done; rm run.$CIRCUS_WID; \
                  echo '{\"stats\": {\"ok\": true}}'";
    fs::write(home.path("hook.sh"), script).expect("a script can be written");
    let daemon = home.start();
    // Two ask, and share the turns.
    let mut clients = [daemon.connect(), daemon.connect()];
    for client in &mut clients {
        client.send_call("Stats", json!({"extended": true}), false);
    }
    let counts = || {
        let text = fs::read_to_string(home.path("counts")).unwrap_or_default();
        let count = |line: &str| line.trim().parse::<u32>().expect("a count");
        text.lines().map(count).collect::<Vec<_>>()
    };
    eventually("sixteen run", || (counts().len() == 16).then_some(()));
    fs::write(home.path("go"), "").expect("a file can be written");
    for client in &mut clients {
        let reply = client.receive_reply().expect("a sample");
        let processes = reply["processes"].as_array().expect("a list");
        assert_eq!(extended(processes), vec![json!({"ok": true}); 20]);
    }
    assert_eq!(counts().len(), 40);
    assert!(counts().iter().all(|count| *count <= 16), "{:?}", counts());
}

#[test]
fn a_hook_that_hangs_holds_up_only_who_asked_and_goes_with_him() {
    let daemon = start("echo $$ > hangs.$CIRCUS_WID; exec sleep 1000", "");
    let mut client = daemon.connect();
    client.send_call("Stats", json!({"extended": true}), false);
    let pids: Vec<u64> = (1..=3)
        .map(|wid| {
            let path = daemon.home().path(&format!("hangs.{wid}"));
            common::facts::number_of(&path)
        })
        .collect();
    assert_eq!(stats(&daemon, json!({})).len(), 4);
    drop(client);
    for pid in pids {
        eventually("the hook is ended", || {
            (!common::facts::runs(pid)).then_some(())
        });
    }
}

#[test]
fn a_client_gives_them_as_data() {
    let daemon = Daemon::start("[watcher.web]\ncmd = \"sleep 1000\"\ngraceful_timeout = 0\n");
    let mut client = daemon.connect();
    client.send_call("RegisterHook", json!({"hooks": ["extended_stats"]}), true);
    client.receive_reply().expect("it is registered");
    let mut asking = daemon.connect();
    asking.send_call("Stats", json!({"extended": true}), false);
    let asked = client.receive_reply().expect("it is asked");
    assert_eq!(
        (&asked["hook"], &asked["watcher"]),
        (&json!("extended_stats"), &json!("web"))
    );
    assert_eq!(asked["context"]["stats"]["wid"], 1);
    let answer = json!({
        "invocation": asked["invocation"], "result": true, "data": {"queue": 3},
    });
    daemon.call("HookResult", answer).expect("it was asked");
    let reply = asking.receive_reply().expect("a sample");
    assert_eq!(reply["processes"][0]["extended"], json!({"queue": 3}));
}
