//! Plugins of an arbiter in another program: processes beside the workers, and one in a thread.

mod common;

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use circusd::api::types::{Event, Recipients};
use circusd::arbiter::Builder;
use circusd::plugin::{self, Handle, Outcome, Plugin};
use circusd::{Arbiter, Watcher};
use common::{DEADLINE, facts};
use serde_json::{Value, json};

async fn soon<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, wait)
        .await
        .expect("not in time")
}

fn job() -> Builder {
    Arbiter::builder().watcher(Watcher::builder("job", ["sleep", "1000"]))
}

/// A built-in plugin that writes down what happens to `job`.
fn logger(file: &Path) -> Value {
    let program = Path::new(env!("CARGO_BIN_EXE_circus-plugin"));
    let directory = program.parent().expect("it is in a directory");
    json!({
        "use": "logger",
        "filename": file,
        "topics": ["watcher.job.*"],
        "watcher": {"env": {"PATH": directory}},
    })
}

#[tokio::test]
async fn a_plugin_hears_of_the_watchers_from_the_first_to_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events");
    let arbiter = job()
        .api_socket(dir.path().join("api").to_string_lossy())
        .plugin("log", logger(&file))
        .plugin("mail", json!({"cmd": "sleep 1000", "to": "root"}))
        .build()
        .unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let mail = soon(arbiter.get_watcher("plugin:mail")).await.unwrap();
    let pid = soon(mail.processes()).await.unwrap()[0].pid();
    let config = facts::variable_of(pid.into(), "CIRCUS_PLUGIN_CONFIG");
    assert_eq!(config, r#"{"to":"root"}"#);
    soon(arbiter.stop()).await.unwrap();
    let text = facts::text_of(&file);
    let topics: Vec<Value> = (text.lines())
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["topic"].take())
        .collect();
    assert_eq!(topics.first(), Some(&json!("watcher.job.spawn")), "{text}");
    assert_eq!(topics.last(), Some(&json!("watcher.job.stop")), "{text}");
}

#[test]
fn a_plugin_that_could_not_connect_is_refused() {
    let error = job()
        .plugin("log", logger(Path::new("/tmp/events")))
        .build()
        .unwrap_err()
        .to_string();
    assert!(error.contains("api_socket"), "{error}");
    // This one has no process: it is settings of all watchers.
    let built = job().plugin("calm", json!({"use": "flapping"})).build();
    drop(built.unwrap());
}

#[test]
fn mistakes_are_told_before_anything_starts() {
    let error = job()
        .api_socket("@nobody")
        .plugin("log", json!({"use": "logger", "filname": "events"}))
        .plugin("mail", json!({"cmd": "sleep 1000"}))
        .plugin("mail", json!({"cmd": "sleep 1000"}))
        .build()
        .unwrap_err()
        .to_string();
    assert!(error.contains("plugin.log.filname"), "{error}");
    assert!(error.contains("there are two plugins 'mail'"), "{error}");
}

/// Tells a test what it hears.
struct Telling(tokio::sync::mpsc::UnboundedSender<String>);

impl Plugin for Telling {
    fn name(&self) -> &str {
        "telling"
    }

    async fn event(&mut self, event: Event, _handle: &Handle) -> Outcome {
        self.0.send(event.topic).map_err(Into::into)
    }
}

#[tokio::test]
async fn a_plugin_lives_in_a_thread_of_the_program_as_well() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("api");
    let arbiter = job().api_socket(path.to_string_lossy()).build().unwrap();
    soon(arbiter.start_in_background()).await.unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    let living = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let end = async { drop(ended.await) };
        runtime.block_on(plugin::run(Telling(tell), &path, end))
    });
    let job = soon(arbiter.get_watcher("job")).await.unwrap();
    // Until it has subscribed nothing is for it.
    let first = loop {
        job.signal("SIGCONT", Recipients::Process).await.unwrap();
        match tokio::time::timeout(Duration::from_millis(20), told.recv()).await {
            Ok(topic) => break topic.expect("it lives"),
            Err(_) => continue,
        }
    };
    assert_eq!(first, "watcher.job.kill");
    drop(end);
    let lived = tokio::task::spawn_blocking(|| living.join());
    soon(lived).await.unwrap().unwrap().unwrap();
    soon(arbiter.stop()).await.unwrap();
}
