//! The language of the scripts, and the one function that runs them.
//!
//! ```text
//! 0 start a              at 0 ms: request 1 (they are numbered as they come)
//!   spawn w1 a/1         what follows, in order; workers and hooks are numbered as they appear
//! 5 spawned w1
//!   a: spawn 1
//! ```
//!
//! `5 why a` is answered with its state and the reason.
//!
//! Left out of what follows: `Forget`, `Progress`, and the events that go with an answer of a hook.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use crate::core::*;

/// A watcher with one process, no hooks, no patience and no back-off.
pub(super) fn spec(name: &str, numprocesses: u32) -> WatcherSpec {
    WatcherSpec {
        name: Name::from(name),
        revision: Revision(1),
        numprocesses,
        singleton: false,
        priority: 0,
        after: Vec::new(),
        requires: Vec::new(),
        autostart: false,
        on_demand: false,
        warmup_delay: Duration::ZERO,
        graceful_timeout: Duration::from_millis(100),
        stop_signal: 15,
        stop_children: false,
        send_hup: false,
        reload: ReloadMode::NewFirst,
        restart: Restart::Always,
        success_exit_status: vec![0],
        max_retry: Some(2),
        backoff: None,
        flapping: None,
        max_age: None,
        max_age_variance: Duration::ZERO,
        ready: Readiness::Spawn,
        watchdog: None,
        health: false,
        max_requests: None,
        critical: false,
        hooks: BTreeMap::new(),
    }
}

/// The same, started by itself when it is demanded.
pub(super) fn demanded(name: &str) -> WatcherSpec {
    WatcherSpec {
        autostart: true,
        on_demand: true,
        ..spec(name, 1)
    }
}

/// The same with hooks that may take 50 ms.
pub(super) fn hooked(name: &str, numprocesses: u32, hooks: &[Hook]) -> WatcherSpec {
    let timeout = Duration::from_millis(50);
    let hook = HookSpec {
        timeout,
        ignore_failure: false,
    };
    let hooks = hooks.iter().map(|point| (*point, hook)).collect();
    WatcherSpec {
        hooks,
        ..spec(name, numprocesses)
    }
}

/// Runs a script, with these watchers configured at 0 ms, and compares.
#[track_caller]
pub(super) fn check(specs: &[WatcherSpec], script: &str) {
    check_changed(specs, specs, script);
}

/// The same, where a successor finds other watchers configured.
#[track_caller]
pub(super) fn check_changed(specs: &[WatcherSpec], later: &[WatcherSpec], script: &str) {
    let mut player = Player::new(specs);
    player.specs = later.to_vec();
    let told = player.play(script);
    let wanted: Vec<&str> = script
        .lines()
        .map(str::trim_end)
        .filter(|l| !l.trim().is_empty())
        .collect();
    let indent = wanted
        .iter()
        .map(|l| l.len() - l.trim_start().len())
        .min()
        .unwrap_or(0);
    let wanted: String = wanted
        .iter()
        .fold(String::new(), |text, line| text + &line[indent..] + "\n");
    assert!(
        told == wanted,
        "it went like this:\n{told}\nand not like this:\n{wanted}"
    );
}

const LIMITS: Limits = Limits {
    warmup_delay: Duration::ZERO,
    stop_timeout: Duration::from_secs(1),
    watchers_max: 10,
    processes_max: 20,
};

fn apply(specs: &[WatcherSpec]) -> Command {
    Command::Apply {
        changed: BTreeMap::new(),
        specs: specs.to_vec(),
        limits: LIMITS,
    }
}

/// Whose answer nobody looks at.
fn request_0(command: Command) -> Input {
    Input::Request(Request {
        id: RequestId(0),
        wait: false,
        progress: false,
        command,
    })
}

struct Player {
    core: Supervisor,
    specs: Vec<WatcherSpec>,
    requests: u64,
    workers: Vec<WorkerId>,
    hooks: Vec<HookId>,
    /// The last signal that was sent.
    signal: Option<SignalId>,
}

impl Player {
    fn new(specs: &[WatcherSpec]) -> Player {
        let core = Supervisor::new(Time::ZERO, LIMITS, 1);
        let (workers, hooks) = (Vec::new(), Vec::new());
        let mut player = Player {
            core,
            specs: specs.to_vec(),
            requests: 0,
            workers,
            hooks,
            signal: None,
        };
        let command = apply(specs);
        let actions = player.core.handle(Time::ZERO, request_0(command));
        assert!(
            actions
                .iter()
                .all(|action| !matches!(action, Action::Spawn { .. }))
        );
        player
    }

    /// Another supervisor goes on with what this one has left, as it stands on the disk; what it is
    /// told first.
    fn succeed(&mut self, now: Time) -> Input {
        let saved = self.core.save();
        let copied = |text: String| serde_json::from_str(&text).unwrap();
        let watchers = saved
            .watchers
            .iter()
            .map(|watcher| serde_json::to_string(watcher).unwrap());
        let workers = saved
            .workers
            .iter()
            .map(|worker| serde_json::to_string(worker).unwrap());
        let saved = Saved {
            watchers: watchers.map(copied).collect(),
            workers: workers
                .map(|text| serde_json::from_str(&text).unwrap())
                .collect(),
            ..saved
        };
        self.core = Supervisor::resume(now, LIMITS, 2, saved);
        request_0(apply(&self.specs))
    }

    fn play(&mut self, script: &str) -> String {
        let mut told = String::new();
        for line in script
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            // A line without a time tells what follows.
            let Some((at, inputs)) = line.split_once(' ') else {
                continue;
            };
            let Ok(at) = at.parse::<u64>() else { continue };
            if let Some(name) = inputs.strip_prefix("why ") {
                let _ = writeln!(told, "{line}\n  {}", self.why(&Name::from(name)));
                continue;
            }
            let now = Time::from_micros(at * 1000);
            let mut inputs: Vec<&str> = inputs.split(", ").collect();
            let succeeded = inputs.first() == Some(&"successor");
            if succeeded {
                inputs.remove(0);
            }
            // What stands on one line, with commas, arrives in one batch.
            let mut parsed: Vec<Input> = inputs.iter().map(|text| self.input(text)).collect();
            if succeeded {
                parsed.push(self.succeed(now));
            }
            let _ = writeln!(told, "{line}");
            for action in self.core.handle_all(now, parsed) {
                if let Some(text) = self.action(&action) {
                    let _ = writeln!(told, "  {text}");
                }
            }
            let next = self.core.next_deadline();
            assert!(
                next.is_none_or(|next| next > now),
                "{line}: busy at {next:?}"
            );
        }
        told
    }

    fn why(&self, name: &Name) -> String {
        let watcher = self.core.watcher(name).expect("a watcher of the script");
        match watcher.reason() {
            Some(why) => format!("{:?}, {:?}: {}", watcher.state(), why.cause, why.text),
            None => format!("{:?}, simply", watcher.state()),
        }
    }

    fn input(&mut self, text: &str) -> Input {
        let words: Vec<&str> = text.split(' ').collect();
        let worker = |word: &str| self.workers[word[1..].parse::<usize>().unwrap() - 1];
        match words[..] {
            ["tick"] => Input::Deadline,
            ["demand", name] => Input::Demanded {
                watcher: Name::from(name),
            },
            ["shutdown"] => Input::Shutdown(Shutdown::Graceful),
            ["shutdown", "now"] => Input::Shutdown(Shutdown::AtOnce),
            ["spawned", w] => Input::Spawned {
                worker: worker(w),
                pid: 1,
            },
            ["failed", w] => Input::SpawnFailed {
                worker: worker(w),
                failure: SpawnFailure {
                    stage: "executing".into(),
                    errno: 2,
                    error: "no".into(),
                },
            },
            ["ready", w] => Input::Ready { worker: worker(w) },
            ["not", "ready", w] => Input::NotReady {
                worker: worker(w),
                why: "it loads".into(),
            },
            ["extended", w, by] => Input::Extended {
                worker: worker(w),
                by: Duration::from_millis(by.parse().unwrap()),
            },
            ["alive", w] => Input::Alive { worker: worker(w) },
            ["watchdog", w, interval] => Input::WatchdogSet {
                worker: worker(w),
                interval: Duration::from_millis(interval.parse().unwrap()),
            },
            ["unfit", w] => Input::Unfit {
                worker: worker(w),
                fault: Fault::Health,
                error: "answered 500".into(),
            },
            ["served", w, requests] => Input::Served {
                worker: worker(w),
                requests: requests.parse().unwrap(),
            },
            ["oom", w] => Input::OutOfMemory {
                worker: worker(w),
                peak: None,
                limit: None,
            },
            ["killed", w] => exited(worker(w), ExitStatus::Signaled(9), true),
            ["done", w] => exited(worker(w), ExitStatus::Exited(0), true),
            ["ended", w] => ended(worker(w), true),
            ["ended", w, "leaving"] => ended(worker(w), false),
            ["reached", w] => Input::Signalled {
                worker: worker(w),
                signal: self.signal.unwrap(),
                pids: vec![1],
            },
            ["missed", w] => Input::Signalled {
                worker: worker(w),
                signal: self.signal.unwrap(),
                pids: Vec::new(),
            },
            ["emptied", w] => Input::Emptied { worker: worker(w) },
            [h, answer] if h.starts_with('h') => Input::HookFinished {
                hook: self.hooks[h[1..].parse::<usize>().unwrap() - 1],
                answer: match answer {
                    "true" => HookAnswer::True,
                    "false" => HookAnswer::False("no".into()),
                    _ => HookAnswer::Failed("oh".into()),
                },
            },
            _ => self.request(&words),
        }
    }

    fn request(&mut self, words: &[&str]) -> Input {
        self.requests += 1;
        let command = self.command(words);
        let id = RequestId(self.requests);
        Input::Request(Request {
            id,
            wait: true,
            progress: false,
            command,
        })
    }

    fn command(&mut self, words: &[&str]) -> Command {
        let names = |words: &[&str]| words.iter().map(|name| Name::from(*name)).collect();
        match words {
            ["start", rest @ ..] => Command::Start(names(rest)),
            ["stop", rest @ ..] => Command::Stop(names(rest)),
            ["restart", rest @ ..] => Command::Restart(names(rest)),
            ["reload", rest @ ..] => Command::Reload {
                watchers: names(rest),
                sequential: false,
            },
            ["freeze", rest @ ..] => Command::Freeze(names(rest)),
            ["thaw", rest @ ..] => Command::Thaw(names(rest)),
            ["scale", name, to] => {
                let (watcher, to) = (Name::from(*name), Scale::To(to.parse().unwrap()));
                Command::Scale { watcher, to }
            }
            ["usr1", name] => Command::Signal {
                watcher: Name::from(*name),
                who: Who::All,
                signal: 10,
                recipients: Recipients::Process,
            },
            ["usr1", name, "child", pid] => Command::Signal {
                watcher: Name::from(*name),
                who: Who::Wid(1),
                signal: 10,
                recipients: Recipients::Child(pid.parse().unwrap()),
            },
            ["kill", name, grace] => Command::Kill {
                watcher: Name::from(*name),
                who: Who::All,
                signal: Some(9),
                grace: Some(Duration::from_millis(grace.parse().unwrap())),
            },
            ["remove", name] => Command::Remove {
                watcher: Name::from(*name),
                keep_processes: false,
            },
            ["add", name] => Command::Add {
                spec: Box::new(demanded(name)),
                start: false,
            },
            ["renew", name, number] => self.set(name, |spec| {
                spec.revision.0 += 1;
                spec.numprocesses = number.parse().unwrap();
            }),
            ["patience", name, millis] => {
                let timeout = Duration::from_millis(millis.parse().unwrap());
                self.set(name, |spec| spec.ready = Readiness::Told { timeout })
            }
            ["requires", name, rest @ ..] => {
                let requires = names(rest);
                self.set(name, |spec| spec.requires = requires)
            }
            _ => panic!("what is {words:?}?"),
        }
    }

    fn set(&mut self, name: &str, change: impl FnOnce(&mut WatcherSpec)) -> Command {
        let name = Name::from(name);
        let spec = self.specs.iter_mut().find(|spec| spec.name == name);
        let spec = spec.expect("a watcher of the script");
        change(spec);
        Command::Set {
            spec: Box::new(spec.clone()),
            keys: vec!["cmd".into()],
        }
    }

    fn action(&mut self, action: &Action) -> Option<String> {
        Some(match action {
            Action::Spawn {
                worker,
                watcher,
                wid,
                ..
            } => {
                format!("spawn {} {watcher}/{wid}", self.name(*worker))
            }
            Action::Signal {
                worker,
                id,
                signal,
                recipients,
            } => {
                self.signal = Some(*id);
                let child = match recipients {
                    Recipients::Child(pid) => format!(" child {pid}"),
                    Recipients::Process | Recipients::Children | Recipients::Tree => String::new(),
                };
                format!("signal {}{child} {signal}", self.name(*worker))
            }
            Action::KillTree { worker, .. } => format!("kill {}", self.name(*worker)),
            Action::Abandon { worker } => format!("abandon {}", self.name(*worker)),
            Action::Freeze {
                watcher,
                frozen: true,
            } => format!("freeze {watcher}"),
            Action::Freeze {
                watcher,
                frozen: false,
            } => format!("thaw {watcher}"),
            Action::RunHook {
                hook,
                watcher,
                point,
                ..
            } => {
                self.hooks.push(*hook);
                format!("ask h{} {watcher} {}", self.hooks.len(), point.as_str())
            }
            Action::CancelHook { hook } => {
                let number = self.hooks.iter().position(|id| id == hook).unwrap() + 1;
                format!("cancel h{number}")
            }
            Action::Reply { request, result } => match result {
                Ok(_) => format!("{}: ok", request.0),
                Err(refusal) => format!("{}: {}", request.0, refusal_word(refusal)),
            },
            Action::Await { watcher, awaited } => match awaited {
                true => format!("await {watcher}"),
                false => format!("await {watcher} no longer"),
            },
            Action::Probe { worker, probe } => {
                format!("find out {} {probe:?}", self.name(*worker))
            }
            Action::EndProbe { worker } => format!("find out {} no longer", self.name(*worker)),
            Action::Removed { watcher } => format!("removed {watcher}"),
            Action::Exit { left, .. } => format!("exit, {left} left"),
            Action::Emit(event) => return event_text(event),
            Action::Settled => "settled".into(),
            Action::CriticalFailure => "critical failure".into(),
            Action::Forget { .. } | Action::Progress { .. } => return None,
        })
    }

    fn name(&mut self, worker: WorkerId) -> String {
        let known = self.workers.iter().position(|id| *id == worker);
        let number = known.unwrap_or_else(|| {
            self.workers.push(worker);
            self.workers.len() - 1
        });
        format!("w{}", number + 1)
    }
}

fn ended(worker: WorkerId, emptied: bool) -> Input {
    exited(worker, ExitStatus::Exited(1), emptied)
}

fn exited(worker: WorkerId, status: ExitStatus, emptied: bool) -> Input {
    Input::Exited {
        worker,
        status,
        emptied,
    }
}

fn refusal_word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::NoSuchWatcher(_) => "no such watcher",
        Refusal::WatcherExists(_) => "exists",
        Refusal::NoSuchProcess { .. } => "no such process",
        Refusal::Singleton(_) => "singleton",
        Refusal::StartFailed { .. } => "start failed",
        Refusal::HookRefused { .. } => "hook refused",
        Refusal::HookFailed { .. } => "hook failed",
        Refusal::TooMany { .. } => "too many",
        Refusal::ShuttingDown => "shutting down",
    }
}

fn event_text(event: &Event) -> Option<String> {
    let what = match &event.kind {
        EventKind::Spawn { wid, .. } => format!("spawn {wid}"),
        EventKind::Ready { wid, .. } => format!("ready {wid}"),
        EventKind::Reap { wid, exit, .. } => {
            let unexpected = if exit.expected { "" } else { " unexpected" };
            let forced = exit
                .forced
                .map_or(String::new(), |forced| format!(" {forced:?}"));
            format!("reap {wid}{unexpected}{forced}")
        }
        EventKind::Kill {
            wid, child, signal, ..
        } => {
            let child = child.map_or(String::new(), |pid| format!(" child {pid}"));
            format!("kill {wid}{child} {signal}")
        }
        EventKind::SpawnFailed { wid, .. } => format!("spawn_failed {wid}"),
        EventKind::Start { .. } => "start".into(),
        EventKind::Stop { .. } => "stop".into(),
        EventKind::Reload { .. } => "reload".into(),
        EventKind::Updated { .. } => "updated".into(),
        EventKind::Add => "add".into(),
        EventKind::Remove => "remove".into(),
        EventKind::HookSuccess { .. } | EventKind::HookFailure { .. } => return None,
        EventKind::Flapping { wid, .. } => format!("flapping {wid}"),
        EventKind::GaveUp { wid: Some(wid), .. } => format!("gave_up {wid}"),
        EventKind::GaveUp { wid: None, .. } => "gave_up".into(),
        EventKind::Adopt { wid, .. } => format!("adopt {wid}"),
        EventKind::Oom { wid, .. } => format!("oom {wid}"),
        EventKind::Unfit { wid, fault, .. } => format!("unfit {wid} {fault:?}"),
        EventKind::Freeze => "freeze".into(),
        EventKind::Thaw => "thaw".into(),
        EventKind::DaemonReady => "ready".into(),
        EventKind::DaemonStopping => "stopping".into(),
        EventKind::Announced(_) => "announced".into(),
    };
    let name = event.watcher.as_ref().map_or("circusd", Name::as_str);
    Some(format!("{name}: {what}"))
}
