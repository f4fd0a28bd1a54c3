//! What a hook is told: the one JSON object of circusd-hooks(7).

use serde::Serialize;
use serde_json::Value as Json;

use super::Point;
use crate::api::types::{self, Object};
use crate::core::{Hook, Name, Watcher, Worker};
use crate::server::convert;
use crate::server::driver::Driver;

impl Driver {
    /// The context of a hook, as things are now.
    pub(super) fn hook_context(
        &self,
        point: Point,
        watcher: &Watcher,
        worker: Option<&Worker>,
        signal: Option<i32>,
    ) -> Object {
        let status = self.status(&watcher.spec().name);
        let mut context = self.context_of_watcher(point, watcher, &status);
        let mut put = |key: &str, value: Json| {
            context.insert(key.to_owned(), value);
        };
        if let Some(worker) = worker {
            put("wid", worker.wid().into());
            if let Some(pid) = worker.pid() {
                put("pid", pid.into());
                put("process", json(&process_of(&status, pid)));
            }
        }
        if let Some(signal) = signal {
            put("signum", signal.into());
        }
        match point {
            Point::Watcher(Hook::BeforeReap | Hook::AfterReap) => {
                let exit = worker.and_then(Worker::exit);
                put(
                    "exit",
                    json(&exit.map(|exit| convert::exit(exit, &self.clock))),
                );
            }
            Point::Watcher(Hook::AfterStart | Hook::BeforeStop) => {
                put("pids", watcher.workers().filter_map(Worker::pid).collect());
            }
            Point::Watcher(Hook::AfterStop) => {
                let exits = watcher.exits().map(|exit| convert::exit(exit, &self.clock));
                put("exits", exits.map(|exit| json(&exit)).collect());
            }
            Point::Watcher(
                Hook::BeforeStart
                | Hook::BeforeSpawn
                | Hook::AfterSpawn
                | Hook::BeforeSignal
                | Hook::AfterSignal,
            )
            | Point::ExtendedStats
            | Point::Daemon(_)
            | Point::Readiness
            | Point::Health => {}
        }
        context
    }

    /// As `Status` tells it; `None` of one that has gone.
    pub(super) fn status(&self, name: &Name) -> Option<types::Watcher> {
        self.statuses(std::slice::from_ref(name)).pop()
    }

    /// What is the same for all that a watcher's hooks are about.
    pub(super) fn context_of_watcher(
        &self,
        point: Point,
        watcher: &Watcher,
        status: &Option<types::Watcher>,
    ) -> Object {
        let options = self.hook_options(&watcher.spec().name);
        let members = [
            ("hook", point.as_str().into()),
            ("watcher", json(status)),
            ("options", Json::Object(options)),
            ("daemon", self.surroundings.context()),
        ];
        let named = members.map(|(key, value)| (key.to_owned(), value));
        named.into_iter().collect()
    }

    /// None are left of a watcher that is being removed.
    fn hook_options(&self, name: &Name) -> Object {
        self.store.get(name.as_str(), None).unwrap_or_default()
    }
}

/// The process of a watcher that has this pid, as `Status` tells it.
pub(super) fn process_of(status: &Option<types::Watcher>, pid: i32) -> Option<&types::Process> {
    let mut processes = status.iter().flat_map(|status| &status.processes);
    processes.find(|process| i32::try_from(process.pid) == Ok(pid))
}

pub(super) fn json(value: &impl Serialize) -> Json {
    serde_json::to_value(value).expect("what goes over the socket is JSON")
}
