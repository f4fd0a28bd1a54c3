//! The turning points in the life of a watcher at which others are asked, and who is asked at each.
//!
//! [`HOOKS`] is the one list of them, for the manual too. What an answer does is core's to know.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::hook::{Hook, HookList, HookTable, anchor_list, list_schema};
use crate::config::diagnostic::nearest;
use crate::config::kind::{Kind, Problem, Read, collect};
use crate::config::node::{Entry, Node, Value};
use crate::config::shapes::choices;
use crate::config::variables::Context;

choices! {
    /// A turning point in the life of a watcher; see circusd-hooks(7).
    #[non_exhaustive]
    pub enum HookName {
        /// Before the watcher starts.
        BeforeStart = "before_start",
        /// When the first full set of processes is ready.
        AfterStart = "after_start",
        /// Before each process.
        BeforeSpawn = "before_spawn",
        /// When a process runs.
        AfterSpawn = "after_spawn",
        /// Before the first process is told to stop.
        BeforeStop = "before_stop",
        /// After the last process has gone.
        AfterStop = "after_stop",
        /// Before a signal.
        BeforeSignal = "before_signal",
        /// After a signal.
        AfterSignal = "after_signal",
        /// When a process has ended.
        BeforeReap = "before_reap",
        /// When its end was told.
        AfterReap = "after_reap",
        /// When the figures of a process are asked for, with all there are.
        ExtendedStats = "extended_stats",
    }
}

/// What the manual says of a hook.
#[derive(Debug)]
pub struct HookRow {
    /// Which.
    pub name: HookName,
    /// When it is asked: one sentence.
    pub when: &'static str,
    /// The members of its context beside those that every hook has.
    pub context: &'static [&'static str],
    /// What *false* does, or a failure: one sentence or two.
    pub refusal: &'static str,
}

const fn row(
    name: HookName,
    when: &'static str,
    context: &'static [&'static str],
    refusal: &'static str,
) -> HookRow {
    HookRow {
        name,
        when,
        context,
        refusal,
    }
}

const OF_PROCESS: &[&str] = &["wid", "pid", "process"];
const OF_SIGNAL: &[&str] = &["wid", "pid", "process", "signum"];
const OF_END: &[&str] = &["wid", "pid", "process", "exit"];
const NOTHING: &str = "The answer changes nothing.";

/// All hooks, in the order of a life.
pub const HOOKS: [HookRow; 11] = [
    row(
        HookName::BeforeStart,
        "Before the watcher starts, once for each start.",
        &[],
        "The watcher is not started: it is stopped, and says why.",
    ),
    row(
        HookName::BeforeSpawn,
        "Before each process.",
        &["wid"],
        "The process is not started. That counts as a failed attempt: it is tried again after a \
         pause, and after max_retry of them the watcher is given up.",
    ),
    row(
        HookName::AfterSpawn,
        "When a process runs, before it counts as ready.",
        OF_PROCESS,
        "The process is stopped. That counts as a failed attempt, as for before_spawn.",
    ),
    row(
        HookName::AfterStart,
        "When the first full set of processes is ready, before the watcher counts as started.",
        &["pids"],
        "The watcher is stopped at once, and its start has failed.",
    ),
    row(
        HookName::BeforeSignal,
        "Before any signal that circusd or an operator sends, but for SIGKILL.",
        OF_SIGNAL,
        "The signal is not sent. A process that was to end is killed all the same when its \
         graceful_timeout is over.",
    ),
    row(
        HookName::AfterSignal,
        "After a signal was sent.",
        OF_SIGNAL,
        NOTHING,
    ),
    row(
        HookName::BeforeReap,
        "When a process has ended, before its end is told and its cgroup removed.",
        OF_END,
        NOTHING,
    ),
    row(
        HookName::AfterReap,
        "After its end was told.",
        OF_END,
        NOTHING,
    ),
    row(
        HookName::BeforeStop,
        "Before the first process is told to stop.",
        &["pids"],
        NOTHING,
    ),
    row(
        HookName::AfterStop,
        "After the last process has gone.",
        &["exits"],
        NOTHING,
    ),
    row(
        HookName::ExtendedStats,
        "When the figures of a process are asked for with all there are, by circusctl stats \
         --extended: a program writes them as the object stats on its standard output, a client \
         gives them as data of HookResult. Probes may stand beside these, not alone.",
        &["wid", "pid", "process", "stats"],
        "The process has no such figures.",
    ),
];

/// The hooks of a watcher; no name twice, and no list empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hooks(Vec<(HookName, HookList)>);

impl Hooks {
    /// What is asked there, in order; nothing where there is no hook.
    pub fn at(&self, name: HookName) -> &[Hook] {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map_or(&[], |(_, list)| &list.0)
    }

    /// Gives a time-out to every hook that was written without one.
    pub(crate) fn limit(&mut self, timeout: Duration) {
        for (_, list) in &mut self.0 {
            list.limit(timeout);
        }
    }
}

impl Kind for Hooks {
    const ENTRIES: bool = true;

    fn name() -> String {
        "a table of hooks".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let Value::Table(table) = &node.value else {
            return Err(Problem::expected("a table of hooks", node).into());
        };
        collect(table.iter().map(|entry| read_entry(entry, cx))).map(Self)
    }

    fn json(&self) -> Json {
        let hooks = self
            .0
            .iter()
            .map(|(name, list)| (name.as_str().to_owned(), list.json()));
        Json::Object(hooks.collect())
    }

    fn schema() -> Json {
        json!({
            "type": "object",
            "propertyNames": {"enum": HookName::WORDS},
            "additionalProperties": list_schema(),
        })
    }

    fn fields() -> &'static [(&'static str, &'static str)] {
        HookTable::fields()
    }

    fn anchor(node: &mut Node) {
        let Value::Table(table) = &mut node.value else {
            return;
        };
        for entry in table.iter_mut() {
            anchor_list(&mut entry.node);
        }
    }
}

fn read_entry(entry: &Entry, cx: &Context) -> Read<(HookName, HookList)> {
    let inside = |problems: Vec<Problem>| -> Vec<Problem> {
        problems.into_iter().map(|p| p.inside(&entry.key)).collect()
    };
    // The key is read as if it were a value, to get its place and its suggestion.
    let key = Node {
        at: entry.key_at.clone(),
        value: Value::String(entry.key.clone()),
    };
    // Without the list of all hooks, which would hide the one that is nearest.
    let name = HookName::read(&key, cx).map_err(|_| {
        let nearest = nearest(&entry.key, HookName::WORDS.iter().copied());
        let problem = Problem::new(&key, "unknown hook").suggesting(nearest);
        inside(problem.into())
    })?;
    let list = HookList::read(&entry.node, cx).map_err(inside)?;
    if name == HookName::ExtendedStats && !list.0.iter().any(Hook::can_tell) {
        let reason = "asks nobody who could tell any: one of them is to be 'exec' or 'plugin'";
        return Err(inside(Problem::new(&entry.node, reason).into()));
    }
    Ok((name, list))
}
