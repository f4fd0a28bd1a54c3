//! What a hook is told: the one JSON object of circusd-hooks(7).

use serde::Serialize;
use serde_json::Value as Json;

use super::Point;
use crate::api::types::Object;
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
        let name = &watcher.spec().name;
        let status = self.statuses(std::slice::from_ref(name)).pop();
        let mut context = Object::new();
        let mut put = |key: &str, value: Json| {
            context.insert(key.to_owned(), value);
        };
        put("hook", point.as_str().into());
        put("watcher", json(&status));
        put("options", Json::Object(self.hook_options(name)));
        put("daemon", self.surroundings.context());
        if let Some(worker) = worker {
            put("wid", worker.wid().into());
            if let Some(pid) = worker.pid() {
                put("pid", pid.into());
                let processes = status.iter().flat_map(|status| &status.processes);
                let process = processes
                    .into_iter()
                    .find(|process| process.pid as i32 == pid);
                put("process", json(&process));
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
            | Point::Daemon(_) => {}
        }
        context
    }

    /// None are left of a watcher that is being removed.
    fn hook_options(&self, name: &Name) -> Object {
        self.store.get(name.as_str(), None).unwrap_or_default()
    }
}

pub(super) fn json(value: &impl Serialize) -> Json {
    serde_json::to_value(value).expect("what goes over the socket is JSON")
}
