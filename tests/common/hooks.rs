//! A watcher `web` whose hooks are all the same script, which writes down that it was asked and
//! answers as the test says.

use std::fs;
use std::sync::Arc;

use serde_json::{Value, json};

use super::facts::line_of;
use super::{CallError, Daemon, Events, Home};

/// All hooks of a watcher.
pub(crate) const HOOKS: [&str; 10] = [
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

/// What each hook runs.
pub(crate) const SCRIPT: &str = r#"
cat > "$HOME/context.$CIRCUS_HOOK.new"
mv "$HOME/context.$CIRCUS_HOOK.new" "$HOME/context.$CIRCUS_HOOK"
echo "$CIRCUS_HOOK ${CIRCUS_WID:--} ${CIRCUS_PID:--} ${CIRCUS_SIGNUM:--}" >> "$HOME/asked"
if [ -e "$HOME/answer.$CIRCUS_HOOK" ]; then . "$HOME/answer.$CIRCUS_HOOK"; fi
"#;

/// Where `web` lives, not started, with all these hooks and `more` of its keys.
pub(crate) fn home(hooks: &[&str], more: &str) -> Arc<Home> {
    let hooks: String = hooks
        .iter()
        .map(|hook| format!("{hook} = \"sh hook.sh\"\n"))
        .collect();
    let home = Home::new(&format!(
        "[watcher.web]\ncmd = \"sleep 1000\"\nworking_dir = \"..\"\nautostart = false\n{more}\n\
         [watcher.web.hooks]\n{hooks}"
    ));
    fs::write(home.path("hook.sh"), SCRIPT).expect("a script can be written");
    home
}

/// Has `hook` end with this piece of shell.
pub(crate) fn answer(home: &Home, hook: &str, shell: &str) {
    let path = home.path(&format!("answer.{hook}"));
    fs::write(path, shell).expect("an answer can be written");
}

/// What was asked so far: hook, wid, pid and signal, `-` where there is none.
pub(crate) fn asked(home: &Home) -> Vec<String> {
    let text = fs::read_to_string(home.path("asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// What `hook` was told when it was asked last.
pub(crate) fn context(home: &Home, hook: &str) -> Value {
    let line = line_of(&home.path(&format!("context.{hook}")));
    serde_json::from_str(&line).expect("a context is one line of JSON")
}

/// Calls a verb on `web`.
pub(crate) fn web(daemon: &Daemon, verb: &str) -> Result<Value, CallError> {
    daemon.call(verb, json!({"watchers": "web"}))
}

/// The actions up to `last`, that of a hook with its name.
pub(crate) fn told(events: &mut Events, last: &str) -> Vec<String> {
    let mut told = Vec::new();
    loop {
        let event = events.next();
        let action = event["action"].as_str().expect("an action");
        let done = action == last;
        told.push(match event["data"]["name"].as_str() {
            Some(hook) => format!("{action} {hook}"),
            None => action.to_owned(),
        });
        if done {
            return told;
        }
    }
}
