//! `[plugin.NAME]` of all sources together, made into the watchers that plugins are.
//!
//! Only here it is known which plugin a section is, as `use` may stand in another file than the
//! keys it decides about.

use serde_json::{Map, Value as Json};

use super::settings::BuiltIn;
use super::{PREFIX, PRIORITY, PROGRAM, Plugin, plugin_of};
use crate::config::diagnostic::{Diagnostic, nearest};
use crate::config::document::{Checker, Declared, Document, diagnose};
use crate::config::kind::{Kind, Problem, Read, collect, text};
use crate::config::node::{Entry, Node, Place, Table, Value};
use crate::config::table::{Section, USER_PREFIX};
use crate::config::variables::Context;

/// What a plugin's watcher does not take: its section says it, or nobody may.
const NOT_OF_WATCHER: [(&str, &str); 3] = [
    ("cmd", "the program of a plugin is cmd of its own section"),
    (
        "args",
        "the arguments of a plugin are args of its own section",
    ),
    ("singleton", "a plugin is a singleton, and has one process"),
];

/// Gives every plugin its watcher in `document`.
pub(crate) fn settle(document: &mut Document, cx: &Context, errors: &mut Vec<Diagnostic>) {
    let all: Vec<(String, Declared)> = document
        .plugins
        .in_order()
        .into_iter()
        .map(|(name, declared)| (name.to_owned(), declared.clone()))
        .collect();
    for (name, declared) in all {
        Settling {
            title: format!("plugin.{name}"),
            name,
            declared,
            document: &mut *document,
            checker: Checker {
                cx,
                errors: &mut *errors,
            },
        }
        .settle();
    }
    orphans(document, errors);
}

/// Watchers of plugins that there are none of: an option on the command line made them.
fn orphans(document: &mut Document, errors: &mut Vec<Diagnostic>) {
    let is_orphan =
        |name: &&str| plugin_of(name).is_some_and(|name| !document.plugins.contains(name));
    let orphans: Vec<String> = (document.watchers.names())
        .filter(is_orphan)
        .map(ToOwned::to_owned)
        .collect();
    for watcher in orphans {
        let plugin = plugin_of(&watcher).unwrap_or_default();
        if let Some(declared) = document.watchers.get(&watcher) {
            let meant = nearest(plugin, document.plugins.names());
            let reason = format!("there is no plugin '{plugin}'");
            let key = format!("plugin.{plugin}");
            errors.push(Diagnostic::at(&declared.at, Some(key), reason).suggesting(meant));
        }
        document.watchers.remove(&watcher);
    }
}

/// One plugin on its way.
struct Settling<'a> {
    name: String,
    title: String,
    declared: Declared,
    document: &'a mut Document,
    checker: Checker<'a>,
}

impl Settling<'_> {
    fn settle(mut self) {
        let table = &self.declared.table;
        let (used, cmd) = (table.get("use").cloned(), table.get("cmd").cloned());
        match (used, cmd) {
            (Some(node), None) => {
                // One that does not exist has been told of.
                if let Ok(Some(built_in)) = Option::<BuiltIn>::read(&node, self.checker.cx) {
                    return self.built_in(built_in, &node);
                }
            }
            (None, Some(cmd)) => return self.program(cmd),
            (Some(_), Some(cmd)) => {
                let problem = Problem::new(&cmd, "has no effect with use");
                self.checker
                    .problem(&format!("{}.cmd", self.title), problem);
            }
            (None, None) => {
                let at = self.declared.at.clone();
                self.checker.fault(&at, &self.title, "needs use or cmd");
            }
        }
        self.document.watchers.remove(&watcher_of(&self.name));
    }

    fn built_in(mut self, built_in: BuiltIn, used: &Node) {
        if let Some(args) = self.declared.table.get("args") {
            let problem = Problem::new(args, "has no effect with use");
            self.checker
                .problem(&format!("{}.args", self.title), problem);
        }
        let mut own = self.own_keys();
        let before = self.checker.errors.len();
        let prefix = format!("{}.", self.title);
        let at = self.declared.at.clone();
        let cx = self.checker.cx;
        check_own(built_in, &prefix, &mut own, &at, cx, self.checker.errors);
        if self.checker.errors.len() > before {
            return;
        }
        if built_in == BuiltIn::Flapping {
            return self.flapping(&own, used);
        }
        let settings = match built_in.filled_in(&own, cx) {
            Ok(settings) => settings,
            Err(problems) => {
                let faults = problems.into_iter().map(|p| diagnose(&self.title, p));
                return self.checker.errors.extend(faults);
            }
        };
        let words = [PROGRAM, built_in.as_str()].map(|word| Node {
            at: used.at.clone(),
            value: Value::String(word.to_owned()),
        });
        let cmd = Node {
            at: used.at.clone(),
            value: Value::Array(words.to_vec()),
        };
        self.watcher(cmd, Some(built_in), settings);
    }

    fn program(mut self, cmd: Node) {
        let own = self.own_keys();
        let cx = self.checker.cx;
        let read = own.iter().map(|entry| {
            let value = free(&entry.node, cx)
                .map_err(|problems| problems.into_iter().map(|p| p.inside(&entry.key)).collect());
            value.map(|value| (entry.key.clone(), value))
        });
        match collect(read) {
            Ok(settings) => self.watcher(cmd, None, settings.into_iter().collect()),
            Err(problems) => {
                let faults = problems.into_iter().map(|p| diagnose(&self.title, p));
                self.checker.errors.extend(faults);
            }
        }
    }

    /// The keys that only this plugin knows.
    fn own_keys(&self) -> Table {
        let is_own = |entry: &&Entry| {
            Section::Plugin.row(&entry.key).is_none() && !entry.key.starts_with(USER_PREFIX)
        };
        let own = self.declared.table.iter().filter(is_own);
        own.cloned().collect()
    }

    /// Makes the watcher what the section says.
    fn watcher(&mut self, cmd: Node, built_in: Option<BuiltIn>, settings: Map<String, Json>) {
        let watcher = watcher_of(&self.name);
        let at = self.declared.at.clone();
        let args = self.declared.table.get("args").cloned();
        let title = super::title_of(&watcher);
        // A daemon always has one; the program that we are in may have wished for none.
        if self.checker.cx.embedded && self.document.circusd.get("socket").is_none() {
            let reason = "a plugin connects to circusd, and there is no socket (api_socket)";
            self.checker.fault(&at, &self.title, reason);
        }
        let table = self.document.watchers.entry(&watcher, &at);
        for (key, reason) in NOT_OF_WATCHER {
            if let Some(node) = table.get(key) {
                let problem = Problem::new(node, reason);
                self.checker
                    .errors
                    .push(diagnose(&format!("{title}.{key}"), problem));
            }
        }
        let value = |value: Value| Node {
            at: at.clone(),
            value,
        };
        if table.get("priority").is_none() {
            table.set("priority", value(Value::Integer(PRIORITY.into())));
        }
        if built_in.is_some() && table.get("ready").is_none() {
            // It says so when it hears what happens; only then the watchers are to start.
            table.set("ready", value(Value::String("notify".to_owned())));
        }
        table.set("singleton", value(Value::Boolean(true)));
        table.set("cmd", cmd);
        if let Some(args) = args {
            table.set("args", args);
        }
        let plugin = Plugin {
            name: self.name.clone(),
            built_in,
            settings,
        };
        self.document.settled.insert(watcher, plugin);
    }

    /// Puts `flapping` where every watcher takes it from that has none of its own.
    fn flapping(mut self, own: &Table, used: &Node) {
        let watcher = watcher_of(&self.name);
        if let Some(entry) =
            (self.document.watchers.get(&watcher)).and_then(|d| d.table.iter().next())
        {
            let name = format!("{}.watcher.{}", self.title, entry.key);
            let at = entry.key_at.clone();
            let reason = "has no effect: flapping has no process";
            self.checker.fault(&at, &name, reason);
        }
        self.document.watchers.remove(&watcher);
        if let Some(other) = self.document.defaults.get("flapping") {
            let reason = format!("{} says already what flapping is", other.at.describe());
            let problem = Problem::new(used, reason);
            return self
                .checker
                .problem(&format!("{}.use", self.title), problem);
        }
        let active = own.get("active");
        let is_active = active.is_none_or(|node| bool::read(node, self.checker.cx).unwrap_or(true));
        let value = match is_active {
            false => Value::Boolean(false),
            true => Value::Table(own.iter().filter(|e| e.key != "active").cloned().collect()),
        };
        let at = used.at.clone();
        self.document.defaults.set("flapping", Node { at, value });
    }
}

fn watcher_of(plugin: &str) -> String {
    format!("{PREFIX}{plugin}")
}

/// Every fault of a built-in's own keys, which get their paths made absolute; `at` is to blame for
/// what is missing.
pub(super) fn check_own(
    built_in: BuiltIn,
    prefix: &str,
    own: &mut Table,
    at: &Place,
    cx: &Context,
    errors: &mut Vec<Diagnostic>,
) {
    let mut checker = Checker { cx, errors };
    let rows = built_in.rows();
    for entry in own.iter_mut() {
        let name = format!("{prefix}{}", entry.key);
        let Some(row) = rows.iter().find(|row| row.key == entry.key) else {
            if Section::Watcher.row(&entry.key).is_some() {
                let reason =
                    format!("unknown key; what its watcher takes goes into {prefix}watcher");
                checker.fault(&entry.key_at, &name, &reason);
                continue;
            }
            let known = rows.iter().map(|row| row.key);
            let known: Vec<_> = known.chain(["use", "watcher"]).collect();
            checker.unknown(&entry.key_at, &name, "unknown key", &known);
            continue;
        };
        row.anchor(&mut entry.node);
        if let Err(problems) = row.check(&entry.node, cx) {
            problems.into_iter().for_each(|p| checker.problem(&name, p));
        }
    }
    let missing = rows
        .iter()
        .filter(|row| row.is_required() && own.get(row.key).is_none());
    for row in missing {
        checker.fault(at, &format!("{prefix}{}", row.key), "required, and not set");
    }
}

/// A value that means something to its plugin only, its variables filled in.
fn free(node: &Node, cx: &Context) -> Read<Json> {
    match &node.value {
        Value::String(_) => text(node, "a string", cx).map(Json::from),
        Value::Array(items) => collect(items.iter().map(|item| free(item, cx))).map(Json::from),
        Value::Table(table) => {
            let entries = table.iter().map(|entry| {
                let value = free(&entry.node, cx).map_err(|problems| {
                    let inside = problems.into_iter().map(|p| p.inside(&entry.key));
                    inside.collect::<Vec<_>>()
                });
                value.map(|value| (entry.key.clone(), value))
            });
            collect(entries).map(|entries| Json::Object(entries.into_iter().collect()))
        }
        Value::Float(number) if !number.is_finite() => {
            Err(Problem::new(node, "JSON has no such number").into())
        }
        Value::Null
        | Value::Boolean(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Datetime(_) => Ok(node.to_json()),
    }
}
