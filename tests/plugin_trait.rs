//! The trait `Plugin` as its authors know it: turns, servers, calls and the end, with a real circusd.

mod common;

use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use circusd::api::types::{Event, Gap};
use circusd::api::{Method, params, reply};
use circusd::plugin::{self, Answer, Asked, Handle, Outcome, Plugin, PluginError, Server};
use common::{DEADLINE, Daemon, Home};
use serde_json::json;
use tokio::sync::oneshot;

/// What a plugin of these tests is made to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    Nothing,
    Fail(&'static str),
    FailInServer,
    PanicInServer,
    EndServer,
    TickSlowly,
    Call,
    Refuse,
}

/// Tells each of its turns.
struct Probe {
    does: Does,
    topics: Vec<String>,
    told: mpsc::Sender<String>,
}

impl Probe {
    /// Tells of a turn, and fails if it is the one that is to.
    fn turn(&self, name: &str) -> Outcome {
        self.tell(name.to_owned());
        match self.does {
            Does::Fail(turn) if turn == name => Err(format!("{name} does not want to").into()),
            _ => Ok(()),
        }
    }

    fn tell(&self, what: String) {
        // A test that has seen enough listens no more.
        let _ = self.told.send(what);
    }
}

impl Plugin for Probe {
    fn name(&self) -> &str {
        "probe"
    }

    fn topics(&self) -> Option<Vec<String>> {
        Some(self.topics.clone())
    }

    fn interval(&self) -> Option<Duration> {
        (self.does == Does::TickSlowly).then_some(Duration::from_millis(1))
    }

    fn hooks(&self) -> Vec<params::RegisterHook> {
        let mut hook = params::RegisterHook::default();
        hook.hooks = vec!["before_start".into()];
        (self.does == Does::Refuse)
            .then_some(hook)
            .into_iter()
            .collect()
    }

    async fn init(&mut self) -> Outcome {
        self.turn("init")
    }

    async fn pre_start(&mut self, _: &Handle) -> Outcome {
        self.turn("pre_start")
    }

    async fn post_start(&mut self, _: &Handle) -> Outcome {
        self.turn("post_start")
    }

    fn servers(&mut self, _: &Handle) -> Vec<Server> {
        self.tell("servers".into());
        let does = self.does;
        vec![Box::pin(async move {
            match does {
                Does::FailInServer => Err("it is broken".into()),
                Does::PanicInServer => panic!("it is broken, too"),
                Does::EndServer => Ok(()),
                _ => std::future::pending().await,
            }
        })]
    }

    async fn event(&mut self, event: Event, handle: &Handle) -> Outcome {
        if self.does == Does::Call {
            let scale = |watcher: &str| {
                let mut scale = params::Scale::default();
                scale.watcher = watcher.into();
                scale.delta = Some(1);
                Method::Scale(scale)
            };
            let refused = handle.call::<reply::Scale>(&scale("nobody")).await;
            self.tell(refused.map_or_else(|e| e.to_string(), |_| "taken".into()));
            let more: reply::Scale = handle.call(&scale("web")).await?;
            self.tell(format!("{} are wanted", more.numprocesses));
            handle.cast(&scale("web")).await?;
        }
        self.turn("event")?;
        self.tell(event.topic);
        Ok(())
    }

    async fn gap(&mut self, gap: Gap, cursor: &str, _: &Handle) -> Outcome {
        let (_, seq) = cursor.rsplit_once(':').expect("a cursor has a number");
        self.tell(format!("gap to {} {seq}", gap.last));
        Ok(())
    }

    async fn tick(&mut self, _: &Handle) -> Outcome {
        tokio::time::sleep(Duration::from_millis(5)).await;
        self.turn("tick")
    }

    async fn hook(&mut self, asked: Asked, _: &Handle) -> Outcome<Answer> {
        self.tell(format!("{} {:?}", asked.hook, asked.watcher));
        Ok(Answer::No)
    }

    async fn pre_stop(&mut self, _: &Handle) -> Outcome {
        self.turn("pre_stop")
    }

    async fn stop(&mut self) -> Outcome {
        self.turn("stop")
    }
}

/// A plugin that lives in a thread.
struct Alive {
    told: mpsc::Receiver<String>,
    end: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), PluginError>>,
}

impl Alive {
    fn new(daemon: &Daemon, does: Does, topics: &[&str]) -> Self {
        let (tell, told) = mpsc::channel();
        let (end, ended) = oneshot::channel();
        let socket = daemon.home().socket();
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        let thread = thread::spawn(move || {
            let probe = Probe {
                does,
                topics,
                told: tell,
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let end = async { drop(ended.await) };
            runtime
                .expect("a runtime")
                .block_on(plugin::run(probe, &socket, end))
        });
        Self { told, end, thread }
    }

    /// The next thing it tells.
    fn next(&self) -> String {
        self.told.recv_timeout(DEADLINE).expect("it tells in time")
    }

    /// Waits until it tells this.
    fn wait(&self, what: &str) {
        let deadline = Instant::now() + DEADLINE;
        while self.next() != what {
            assert!(Instant::now() < deadline, "no {what} in time");
        }
    }

    /// Tells it to end, where it does not do so by itself; what it has told since, and how it ended.
    fn end(self) -> (Vec<String>, Result<(), String>) {
        // It may have ended already.
        let _ = self.end.send(());
        let told = self.told.iter().collect();
        let ended = self.thread.join().expect("it does not panic");
        (told, ended.map_err(|error| error.to_string()))
    }

    /// Waits for an end that it comes to by itself, with an error; what it has told.
    fn failed(self) -> (Vec<String>, String) {
        let told = self.told.iter().collect();
        let ended = self.thread.join().expect("it does not panic");
        (told, ended.expect_err("it fails").to_string())
    }
}

const WEB: &str = "[watcher.web]\ncmd = \"sleep 1000\"\nautostart = false\n";

/// Has something happen that is told as `watcher.NAME.add`.
fn add(daemon: &Daemon, name: &str) {
    let marker = json!({"watcher": name, "options": {"cmd": "true", "autostart": false}});
    daemon.call("Add", marker).expect("a watcher can be added");
}

#[test]
fn the_turns_of_a_life_come_in_their_order() {
    let daemon = Daemon::start(WEB);
    let plugin = Alive::new(&daemon, Does::Nothing, &["*.add"]);
    plugin.wait("servers");
    add(&daemon, "first");
    plugin.wait("watcher.first.add");
    let (told, ended) = plugin.end();
    assert_eq!(
        (told, ended),
        (vec!["pre_stop".into(), "stop".into()], Ok(()))
    );
}

#[test]
fn a_turn_that_fails_ends_the_plugin_and_what_was_begun_is_ended() {
    let daemon = Daemon::start(WEB);
    let all = ["init", "pre_start", "post_start", "servers"];
    let failing = [
        ("init", 1, &["stop"][..]),
        ("pre_start", 2, &["stop"]),
        ("post_start", 3, &["pre_stop", "stop"]),
    ];
    for (turn, count, after) in failing {
        let (told, why) = Alive::new(&daemon, Does::Fail(turn), &["*"]).failed();
        assert_eq!(told, [&all[..count], after].concat(), "{turn}");
        assert_eq!(why, format!("{turn} has failed: {turn} does not want to"));
    }
    let plugin = Alive::new(&daemon, Does::Fail("event"), &["*.add"]);
    plugin.wait("servers");
    add(&daemon, "first");
    let (told, why) = plugin.failed();
    assert_eq!(told, ["event", "pre_stop", "stop"]);
    assert_eq!(why, "event has failed: event does not want to");
}

#[test]
fn a_server_that_fails_ends_the_plugin_and_one_that_is_done_does_not() {
    let daemon = Daemon::start(WEB);
    for (does, reason) in [
        (Does::FailInServer, "it is broken"),
        (Does::PanicInServer, "it is broken, too"),
    ] {
        let (told, why) = Alive::new(&daemon, does, &["*.add"]).failed();
        assert!(
            why.starts_with("a server has failed: ") && why.contains(reason),
            "{why}"
        );
        assert_eq!(told.last().map(String::as_str), Some("stop"));
    }
    let plugin = Alive::new(&daemon, Does::EndServer, &["*.add"]);
    plugin.wait("servers");
    add(&daemon, "first");
    plugin.wait("watcher.first.add");
    assert_eq!(plugin.end().1, Ok(()));
}

#[test]
fn a_plugin_calls_and_casts() {
    let daemon = Daemon::start(WEB);
    let plugin = Alive::new(&daemon, Does::Call, &["*.add"]);
    plugin.wait("servers");
    add(&daemon, "first");
    assert_eq!(plugin.next(), "there is no watcher 'nobody'");
    assert_eq!(plugin.next(), "2 are wanted");
    daemon.wait_until("web", |status| status["numprocesses"] == 3);
    assert_eq!(plugin.end().1, Ok(()));
}

#[test]
fn ticks_that_take_longer_than_their_interval_leave_time_for_events() {
    let daemon = Daemon::start(WEB);
    let plugin = Alive::new(&daemon, Does::TickSlowly, &["*.add"]);
    plugin.wait("tick");
    add(&daemon, "first");
    plugin.wait("watcher.first.add");
    plugin.wait("tick");
    assert_eq!(plugin.end().1, Ok(()));
}

#[test]
fn a_hook_is_answered() {
    let daemon = Daemon::start(WEB);
    let plugin = Alive::new(&daemon, Does::Refuse, &["*.add"]);
    plugin.wait("servers");
    let start = daemon.call("Start", json!({"watchers": "web"}));
    let refused = start.expect_err("the plugin says no");
    assert_eq!(refused.error, "io.circusd.HookRefused", "{refused:?}");
    plugin.wait("before_start Some(\"web\")");
    assert_eq!(plugin.end().1, Ok(()));
}

/// Has so many things happen of which nobody is to hear.
fn happen(daemon: &Daemon, times: usize) {
    for time in 0..times {
        let set = json!({"watcher": "web", "options": {"graceful_timeout": time}});
        daemon.call("Set", set).expect("it can be set");
    }
    let stats = daemon.call("DaemonStats", json!({}));
    let told = stats.expect("everyone may look")["stats"]["events_total"].clone();
    assert!(told.as_u64() >= Some(times as u64), "{told} events");
}

#[test]
fn one_for_whom_nothing_has_happened_has_missed_nothing() {
    let home = Home::new(&format!("[circusd]\nevent_buffer = 40\n{WEB}"));
    let mut daemon = home.start();
    let plugin = Alive::new(&daemon, Does::Nothing, &["*.add"]);
    plugin.wait("servers");
    happen(&daemon, 100);
    // It comes back with where it was, and that is still known.
    daemon.kill();
    let daemon = home.start();
    for name in ["back", "last"] {
        add(&daemon, name);
        assert_eq!(plugin.next(), "event");
        assert_eq!(plugin.next(), format!("watcher.{name}.add"));
        happen(&daemon, 100);
    }
    add(&daemon, "end");
    plugin.wait("watcher.end.add");
    let (told, ended) = plugin.end();
    assert_eq!(
        (told, ended),
        (vec!["pre_stop".into(), "stop".into()], Ok(()))
    );
}

#[test]
fn a_gap_is_told_with_the_place_behind_it() {
    let home = Home::new(WEB);
    let mut daemon = home.start();
    let plugin = Alive::new(&daemon, Does::Nothing, &["*.add"]);
    plugin.wait("servers");
    assert!(daemon.stop().success());
    let daemon = home.start();
    let gap = plugin.next();
    let numbers: Vec<&str> = gap.split(' ').skip(2).collect();
    assert_eq!(numbers[0], numbers[1], "{gap}");
    add(&daemon, "last");
    plugin.wait("watcher.last.add");
    assert_eq!(plugin.end().1, Ok(()));
}
