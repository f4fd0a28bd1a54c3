//! A watcher that is to be, described in Rust.
//!
//! Nothing is checked here: that is done for all watchers together, by the table of settings.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::watcher::usec;
use crate::api::types::Object;

/// The name of a watcher and its settings, which are those of `[watcher.NAME]` in circusd.toml(5).
///
/// The most common have methods of their own; [`WatcherBuilder::set`] takes all of them. What is
/// wrong is told when it is used: by [`super::Builder::build`], or by
/// [`super::Handle::add_watcher`].
///
/// What is not said is as in circusd.toml(5), with one exception: processes start in the directory
/// that the program is in when the arbiter is built.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct WatcherBuilder {
    name: String,
    settings: Object,
}

impl WatcherBuilder {
    /// A watcher that runs this program with these arguments.
    pub fn new(
        name: impl Into<String>,
        cmd: impl IntoIterator<Item = impl Into<String>>,
    ) -> WatcherBuilder {
        let cmd: Vec<String> = cmd.into_iter().map(Into::into).collect();
        let builder = WatcherBuilder {
            name: name.into(),
            settings: Object::new(),
        };
        builder.set("cmd", cmd)
    }

    /// Sets any key of `[watcher.NAME]`, `env.LANG` and the like included, to any value that it has
    /// in JSON; the last one wins.
    pub fn set(mut self, key: impl AsRef<str>, value: impl Into<Value>) -> WatcherBuilder {
        put(&mut self.settings, key.as_ref(), value.into());
        self
    }

    /// How many processes; 1 unless said.
    pub fn numprocesses(self, numprocesses: u32) -> WatcherBuilder {
        self.set("numprocesses", numprocesses)
    }

    /// Never more than one process.
    pub fn singleton(self) -> WatcherBuilder {
        self.set("singleton", true)
    }

    /// A variable for its processes, which otherwise have only PATH, HOME, USER, LANG and SHELL of
    /// this program's environment (see `copy_env`).
    pub fn env(self, name: &str, value: impl Into<String>) -> WatcherBuilder {
        self.set(format!("env.{name}"), value.into())
    }

    /// The directory that its processes start in; relative to that of the program.
    pub fn working_dir(self, path: impl AsRef<Path>) -> WatcherBuilder {
        self.set("working_dir", path.as_ref().to_string_lossy())
    }

    /// Where standard output goes: `"inherit"`, to that of this program, as it does unless said;
    /// `"null"`; `"journal"`; `"pipe"`, to be read with [`super::Process::stdout`]; or a table, as
    /// `json!({"file": "/var/log/web.log"})`.
    pub fn stdout(self, to: impl Into<Value>) -> WatcherBuilder {
        self.set("stdout", to)
    }

    /// Where standard error goes, as [`WatcherBuilder::stdout`]; or `"stdout"`, where that goes.
    pub fn stderr(self, to: impl Into<Value>) -> WatcherBuilder {
        self.set("stderr", to)
    }

    /// The sockets of [`super::Builder::socket`] that its processes inherit, as descriptors from 3
    /// on in this order (sd_listen_fds(3)).
    pub fn use_sockets(self, names: impl IntoIterator<Item = impl Into<String>>) -> WatcherBuilder {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        self.set("use_sockets", names)
    }

    /// The signal that asks a process to end, by name; SIGTERM unless said.
    pub fn stop_signal(self, signal: impl Into<String>) -> WatcherBuilder {
        self.set("stop_signal", signal.into())
    }

    /// The time from the stop signal to SIGKILL for everything that a process has started; 30 s
    /// unless said, a day at most.
    pub fn graceful_timeout(self, timeout: Duration) -> WatcherBuilder {
        self.set("graceful_timeout", format!("{}us", usec(timeout)))
    }

    /// When the watcher is given up, everything is stopped, and the arbiter ends with
    /// [`super::Error::Critical`].
    pub fn critical(self) -> WatcherBuilder {
        self.set("critical", true)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn into_parts(self) -> (String, Object) {
        (self.name, self.settings)
    }
}

impl From<Value> for WatcherBuilder {
    /// An object of settings, with the name among them as `name`; without one it is the name of the
    /// program's file, as in Circus. What is no object has no settings, and is refused for want of
    /// a program; a name that is no string is refused as well.
    fn from(value: Value) -> WatcherBuilder {
        let mut settings = match value {
            Value::Object(settings) => settings,
            _ => Object::new(),
        };
        let name = match settings.get("name").and_then(Value::as_str) {
            Some(name) => {
                let name = name.to_owned();
                settings.shift_remove("name");
                name
            }
            // What else is there as a name stays, and is found to be no setting.
            None => program_name(settings.get("cmd")),
        };
        WatcherBuilder { name, settings }
    }
}

/// Puts a value where its key says: behind a dot is an entry of a table.
pub(super) fn put(settings: &mut Object, key: &str, value: Value) {
    let Some((table, entry)) = key.split_once('.') else {
        settings.insert(key.to_owned(), value);
        return;
    };
    let table = settings
        .entry(table)
        .or_insert_with(|| Value::Object(Object::new()));
    if !table.is_object() {
        // As for any key, the last one wins.
        *table = Value::Object(Object::new());
    }
    if let Value::Object(table) = table {
        put(table, entry, value);
    }
}

/// The last part of the path of the program.
fn program_name(cmd: Option<&Value>) -> String {
    let program = match cmd {
        Some(Value::String(line)) => shlex::split(line).and_then(|words| words.into_iter().next()),
        Some(Value::Array(words)) => words.first().and_then(Value::as_str).map(str::to_owned),
        Some(_) | None => None,
    };
    let name = program.as_deref().map(Path::new).and_then(Path::file_name);
    name.map_or_else(
        || "watcher".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn without_a_name_it_is_called_as_its_program() {
        let named = |value: Value| WatcherBuilder::from(value).into_parts().0;
        assert_eq!(named(json!({"cmd": "/usr/bin/sleep 5"})), "sleep");
        assert_eq!(named(json!({"cmd": ["sleep", "5"]})), "sleep");
        assert_eq!(named(json!({"cmd": "'/opt/my pool/serve' 5"})), "serve");
        assert_eq!(named(json!({"cmd": "sleep", "name": "web"})), "web");
        assert_eq!(named(json!({})), "watcher");
    }

    #[test]
    fn variables_are_put_together() {
        let web = WatcherBuilder::new("web", ["true"])
            .env("A", "1")
            .env("B", "2");
        assert_eq!(web.into_parts().1["env"], json!({"A": "1", "B": "2"}));
    }
}
