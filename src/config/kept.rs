//! What the next daemon has to know of this configuration: the wishes that came over the socket,
//! and what the processes that run were made from.
//!
//! Both are plain JSON, so that a later version can read them; where it is kept is not known here.

use serde_json::{Map, Value as Json, json};

use super::diagnostic::Errors;
use super::store::Store;
use super::table::{OnChange, Section};
use super::variables::Filling;

impl Store {
    /// What processes of this watcher are made from, as far as the configuration says it: two
    /// answers that are equal make the same processes. Holds only what differs from the default, so
    /// that a later version with more settings gives the same answer. `None` without such a watcher.
    pub fn made_from(&self, watcher: &str) -> Option<Json> {
        let table = self.effective(watcher)?;
        let typed = self.config().watcher(watcher)?;
        let mut options = Map::new();
        for row in Section::Watcher.rows() {
            let value = table.get(row.key).map(|node| node.to_json());
            let value = value.filter(|value| *value != row.default(self.context()));
            if row.on_change != OnChange::Live
                && row.key != "env"
                && let Some(value) = value
            {
                options.insert(row.key.to_owned(), value);
            }
        }
        // What is inherited differs with how the daemon was started, and is no reason to start over.
        let filling = Filling {
            sockets: &typed.sockets,
            ..Filling::default()
        };
        let mut env = typed.environment.expand(filling);
        env.retain(|name, _| typed.environment.is_configured(name));
        let sockets = typed
            .sockets
            .iter()
            .map(|socket| json!([socket.name, self.socket_as_written(&socket.name)]));
        let sockets: Vec<Json> = sockets.collect();
        Some(json!({"options": options, "env": env, "sockets": sockets}))
    }

    /// A socket as it is configured, to be compared; `None` without one of that name.
    pub fn socket_as_written(&self, socket: &str) -> Option<Json> {
        let declared = self.document().sockets.get(socket)?;
        Some(Json::Object(declared.table.to_json()))
    }

    /// What came over the socket and is not in any file.
    pub fn wishes(&self) -> Json {
        let api = self.api();
        let values = api.values.iter().map(|(watcher, values)| {
            let options = values.values().map(|value| {
                let entry = value.entry.as_ref().map(|entry| format!(".{entry}"));
                let option = format!("{}{}", value.key, entry.unwrap_or_default());
                (option, value.node.to_json())
            });
            (watcher.clone(), Json::Object(options.collect()))
        });
        let added: Vec<&String> = api.added.iter().map(|(name, _)| name).collect();
        json!({
            "added": added,
            "removed": api.removed,
            "values": Json::Object(values.collect()),
        })
    }

    /// This configuration with wishes that were kept. Those that do not fit what the files say by
    /// now are left out: their faults come back, each with the name of its watcher.
    #[must_use]
    pub fn with_wishes(&self, wishes: &Json) -> (Self, Vec<(String, Errors)>) {
        let (mut store, mut faults) = (self.clone(), Vec::new());
        let names = |key: &str| {
            let list = wishes.get(key).and_then(Json::as_array);
            let names = list.into_iter().flatten().filter_map(Json::as_str);
            names.map(ToOwned::to_owned).collect::<Vec<String>>()
        };
        for name in names("removed") {
            match store.remove(&name) {
                Ok(without) => store = without,
                Err(errors) => faults.push((name, errors)),
            }
        }
        let nothing = Map::new();
        let values = wishes.get("values").and_then(Json::as_object);
        let values = values.unwrap_or(&nothing);
        let options = |name: &str| values.get(name).and_then(Json::as_object);
        let added = names("added");
        for name in &added {
            match store.add(name, options(name).unwrap_or(&nothing)) {
                Ok(with) => store = with,
                Err(errors) => faults.push((name.clone(), errors)),
            }
        }
        for (name, options) in values {
            let Some(options) = options.as_object().filter(|_| !added.contains(name)) else {
                continue;
            };
            match store.set(name, options) {
                Ok(with) => store = with,
                Err(errors) => faults.push((name.clone(), errors)),
            }
        }
        (store, faults)
    }
}
