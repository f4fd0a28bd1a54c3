//! Hooks of a watcher that are programs: when each is asked, what it is told, and what follows
//! from its answer.

mod common;

use std::path::Path;

use common::facts::{in_each_mode, line_of, pids, runs, topics};
use common::{Daemon, Home, eventually};
use serde_json::{Value, json};

/// A watcher whose hooks all write down that they were asked, and answer as the file
/// `answer.HOOK` says, a piece of shell; without one, yes.
const SCRIPT: &str = r#"
echo "$CIRCUS_HOOK ${CIRCUS_WID:--} ${CIRCUS_PID:--} ${CIRCUS_SIGNUM:--}" >> "$HOME/asked"
cat > "$HOME/context.$CIRCUS_HOOK.new" && mv "$HOME/context.$CIRCUS_HOOK.new" "$HOME/context.$CIRCUS_HOOK"
if [ -e "$HOME/answer.$CIRCUS_HOOK" ]; then . "$HOME/answer.$CIRCUS_HOOK"; fi
"#;

const HOOKS: [&str; 10] = [
    "before_start",
    "after_start",
    "before_spawn",
    "after_spawn",
    "before_stop",
    "after_stop",
    "before_signal",
    "after_signal",
    "before_reap",
    "after_reap",
];

/// A configuration with all hooks, further keys of the watcher, and a daemon that has not started it.
fn config(more: &str) -> String {
    let hooks: String = HOOKS
        .iter()
        .map(|hook| format!("{hook} = \"sh hook.sh\"\n"))
        .collect();
    format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\nworking_dir = \"..\"\nautostart = false\n{more}\n\
         [watcher.web.hooks]\n{hooks}"
    )
}

fn prepare(home: &Home) {
    std::fs::write(home.path("hook.sh"), SCRIPT).expect("a script can be written");
}

fn daemon(more: &str) -> Daemon {
    let home = Home::new(&config(more));
    prepare(&home);
    home.start()
}

fn answer(daemon: &Daemon, hook: &str, shell: &str) {
    let path = daemon.home().path(&format!("answer.{hook}"));
    std::fs::write(path, shell).expect("an answer can be written");
}

fn start(daemon: &Daemon) -> Result<Value, common::CallError> {
    daemon.call("Start", json!({"watchers": "web"}))
}

fn stop(daemon: &Daemon) {
    let stopped = daemon.call("Stop", json!({"watchers": "web"}));
    stopped.expect("it stops");
}

fn asked(daemon: &Daemon) -> Vec<String> {
    let text = std::fs::read_to_string(daemon.home().path("asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn context(daemon: &Daemon, hook: &str) -> Value {
    let line = line_of(&daemon.home().path(&format!("context.{hook}")));
    serde_json::from_str(&line).expect("a context is one line of JSON")
}

/// The events of the watcher up to `last`, each with the hook it is about.
fn told(events: &mut common::Events, last: &str) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let event = events.next();
        let action = event["action"].as_str().expect("an action").to_owned();
        let done = action == last;
        told.push(match event["data"]["name"].as_str() {
            Some(hook) => format!("{action} {hook}"),
            None => action,
        });
        if done {
            return told;
        }
    }
}

#[test]
fn a_start_and_a_stop_ask_and_tell_in_the_documented_order() {
    let daemon = daemon("");
    let mut events = daemon.subscribe();
    start(&daemon).expect("every hook says yes");
    assert_eq!(
        told(&mut events, "start"),
        [
            "hook_success before_start",
            "hook_success before_spawn",
            "spawn",
            "hook_success after_spawn",
            "ready",
            "hook_success after_start",
            "start",
        ]
    );
    let pid = pids(&daemon.status("web")).pop_first().expect("it runs");
    stop(&daemon);
    assert_eq!(
        told(&mut events, "stop"),
        [
            "hook_success before_stop",
            "hook_success before_signal",
            "kill",
            "hook_success after_signal",
            "hook_success before_reap",
            "reap",
            "hook_success after_reap",
            "hook_success after_stop",
            "stop",
        ]
    );
    let expected = [
        "before_start - - -".to_owned(),
        "before_spawn 1 - -".into(),
        format!("after_spawn 1 {pid} -"),
        "after_start - - -".into(),
        "before_stop - - -".into(),
        format!("before_signal 1 {pid} 15"),
        format!("after_signal 1 {pid} 15"),
        format!("before_reap 1 {pid} -"),
        format!("after_reap 1 {pid} -"),
        "after_stop - - -".into(),
    ];
    assert_eq!(asked(&daemon), expected);
}
