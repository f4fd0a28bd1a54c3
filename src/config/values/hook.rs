//! Hooks: at which turning points a watcher asks the outside, and what it asks.
//!
//! [`HOOKS`] is the one list of them, for the manual too. What an answer does is core's to know,
//! and how it is had the server's.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::{HttpUrl, SocketPath, TcpAddress};
use crate::config::diagnostic::nearest;
use crate::config::kind::{Kind, Problem, Read, collect};
use crate::config::node::{Entry, Node, Table, Value};
use crate::config::shapes::{choices, record};
use crate::config::variables::{self, Context};

choices! {
    /// A turning point in the life of a watcher; see circusd-hooks(7).
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
    }
    later: "extended_stats",
}

/// A hook of a later version: known, and refused.
const LATER: &str = "extended_stats";

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
pub const HOOKS: [HookRow; 10] = [
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
];

/// How long a hook may take unless it or `circusd.hook_timeout` says otherwise.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// How many things one hook may ask: each may take its time, and somebody waits for them all.
const LIST_MAX: usize = 64;

/// One thing that is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// What.
    pub form: HookForm,
    timeout: Option<Duration>,
    /// A failure (not a *false*) counts as *true*.
    pub ignore_failure: bool,
}

impl Hook {
    /// How long it may take.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(HOOK_TIMEOUT)
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookForm {
    /// A program: its name and its arguments; never empty.
    Exec(Vec<String>),
    /// Whether somebody listens there.
    Tcp(TcpAddress),
    /// Whether somebody listens there.
    Unix(SocketPath),
    /// Whether the page is answered with one of these codes.
    Http(HttpUrl, Vec<u16>),
    /// Whether it exists.
    File(PathBuf),
    /// The clients that have registered for the hook.
    Plugin,
}

record! {
    /// A hook as it is written.
    pub struct HookTable("a table", switch: false) {
        /// Run this program, an array, or a string that is split as a shell would, without a shell.
        exec: Option<Argv> = None;
        /// Connect to this address, an IP address or localhost, ':' and a port, until that succeeds.
        tcp: Option<TcpAddress> = None;
        /// Connect to this Unix socket, a path, or @ and an abstract name, until that succeeds.
        unix: Option<SocketPath> = None;
        /// Ask for this URL, http://HOST:PORT/PATH or http://unix:SOCKET:/PATH, until the status
        /// is one of those expected.
        http: Option<HttpUrl> = None;
        /// The status codes that http waits for.
        expect: Vec<u16> = vec![200];
        /// Wait until this file exists.
        file: Option<PathBuf> = None;
        /// Ask the clients that have registered for the hook; without one it has failed.
        plugin: bool = false;
        /// How long it may take; hook_timeout of [circusd] unless given.
        timeout: Option<Duration> = None, 0.001 => 86400.0;
        /// Whether a failure, but not a false answer, counts as true.
        ignore_failure: bool = false;
    }
}

const FORMS: [&str; 6] = ["exec", "tcp", "unix", "http", "file", "plugin"];

impl HookTable {
    /// Checks what concerns several keys; `node` is the table.
    fn into_hook(self, node: &Node, table: &Table) -> Read<Hook> {
        let given = |key: &&&str| table.get(key).is_some();
        let mut forms = FORMS.iter().filter(given);
        if let (Some(first), Some(second)) = (forms.next(), forms.next()) {
            let reason = format!(
                "not beside '{first}': several things are asked by an array of tables, one each"
            );
            return Err(problem_at(table, second, &reason).into());
        }
        if let Some(wrong) = self.expect.iter().find(|code| !(100..600).contains(*code)) {
            let reason = format!("{wrong} is no status code, which are 100 to 599");
            return Err(problem_at(table, "expect", &reason).into());
        }
        if self.http.is_none() && table.get("expect").is_some() {
            return Err(problem_at(table, "expect", "means nothing without 'http'").into());
        }
        let form = match (self.exec, self.tcp, self.unix, self.http, self.file) {
            (Some(Argv(words)), ..) => HookForm::Exec(words),
            (_, Some(address), ..) => HookForm::Tcp(address),
            (_, _, Some(path), ..) => HookForm::Unix(path),
            (_, _, _, Some(url), _) => HookForm::Http(url, self.expect),
            (_, _, _, _, Some(path)) => HookForm::File(path),
            _ if self.plugin => HookForm::Plugin,
            _ => {
                let reason = format!("asks nothing: it needs one of '{}'", FORMS.join("', '"));
                return Err(Problem::new(node, reason).into());
            }
        };
        Ok(Hook {
            form,
            timeout: self.timeout,
            ignore_failure: self.ignore_failure,
        })
    }
}

fn problem_at(table: &Table, key: &str, reason: &str) -> Problem {
    let entry = table.iter().find(|entry| entry.key == key);
    let entry = entry.expect("the caller has found it in the table");
    let mut problem = Problem::new(&entry.node, reason).inside(key);
    problem.at = entry.key_at.clone();
    problem
}

/// A program and its arguments, the same for every process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argv(pub Vec<String>);

const COMMAND: &str = "a string or an array of strings";

impl Kind for Argv {
    fn name() -> String {
        COMMAND.into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        // Split first, so that a space inside a variable's value splits nothing.
        let words = match &node.value {
            Value::String(line) => {
                let words = shlex::split(line).ok_or_else(|| super::unclosed_quote(node))?;
                collect(words.iter().map(|word| {
                    variables::expand(word, cx)
                        .map_err(|error| Problem::variable(node, &error).into())
                }))?
            }
            Value::Array(items) => collect(items.iter().map(|item| String::read(item, cx)))?,
            _ => return Err(Problem::expected(COMMAND, node).into()),
        };
        match words.first() {
            Some(program) if !program.is_empty() => Ok(Self(words)),
            _ => Err(Problem::new(node, "names no program").into()),
        }
    }

    fn json(&self) -> Json {
        self.0.json()
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
        ]})
    }
}

/// The hooks of a watcher; no name twice, and no list empty.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hooks(Vec<(HookName, Vec<Hook>)>);

const HOOK: &str = "a command, a table, or an array of tables";

impl Hooks {
    /// What is asked there, in order; nothing where there is no hook.
    pub fn at(&self, name: HookName) -> &[Hook] {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map_or(&[], |(_, list)| list)
    }

    /// Gives a time-out to every hook that was written without one.
    pub(crate) fn limit(&mut self, timeout: Duration) {
        for hook in self.0.iter_mut().flat_map(|(_, list)| list) {
            hook.timeout.get_or_insert(timeout);
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
        let hooks = self.0.iter().map(|(name, list)| {
            let list = list.iter().map(hook_json).collect();
            (name.as_str().to_owned(), Json::Array(list))
        });
        Json::Object(hooks.collect())
    }

    fn schema() -> Json {
        let hook = HookTable::schema();
        json!({
            "type": "object",
            "propertyNames": {"enum": HookName::WORDS},
            "additionalProperties": {"anyOf": [
                hook,
                {"type": "array", "items": hook, "minItems": 1, "maxItems": LIST_MAX},
                Argv::schema(),
            ]},
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
            match &mut entry.node.value {
                Value::Array(list) => list.iter_mut().for_each(HookTable::anchor),
                _ => HookTable::anchor(&mut entry.node),
            }
        }
    }
}

fn hook_json(hook: &Hook) -> Json {
    let mut table = Map::new();
    let (key, value) = match &hook.form {
        HookForm::Exec(words) => ("exec", words.json()),
        HookForm::Tcp(address) => ("tcp", address.json()),
        HookForm::Unix(path) => ("unix", path.json()),
        HookForm::Http(url, expect) => {
            table.insert("expect".into(), expect.json());
            ("http", url.json())
        }
        HookForm::File(path) => ("file", path.json()),
        HookForm::Plugin => ("plugin", Json::Bool(true)),
    };
    table.insert(key.into(), value);
    if let Some(timeout) = hook.timeout {
        table.insert("timeout".into(), timeout.json());
    }
    table.insert("ignore_failure".into(), hook.ignore_failure.into());
    Json::Object(table)
}

fn read_entry(entry: &Entry, cx: &Context) -> Read<(HookName, Vec<Hook>)> {
    let inside = |problems: Vec<Problem>| -> Vec<Problem> {
        problems.into_iter().map(|p| p.inside(&entry.key)).collect()
    };
    // The key is read as if it were a value, to get its place and its suggestion.
    let key = Node {
        at: entry.key_at.clone(),
        value: Value::String(entry.key.clone()),
    };
    let name = HookName::read(&key, cx).map_err(|problems| match entry.key.as_str() {
        LATER => inside(problems),
        // Without the list of all hooks, which would hide the one that is nearest.
        unknown => {
            let nearest = nearest(unknown, HookName::WORDS.iter().copied());
            inside(
                Problem::new(&key, "unknown hook")
                    .suggesting(nearest)
                    .into(),
            )
        }
    })?;
    let list = read_list(&entry.node, cx).map_err(inside)?;
    Ok((name, list))
}

/// An array of strings is a command, and any other a list of hooks.
fn read_list(node: &Node, cx: &Context) -> Read<Vec<Hook>> {
    let is_word = |item: &Node| matches!(item.value, Value::String(_));
    match &node.value {
        Value::Table(table) => Ok(vec![read_hook(node, table, cx)?]),
        Value::Array(items) if items.is_empty() => Err(Problem::new(node, "asks nothing").into()),
        Value::Array(items) if items.len() > LIST_MAX && !items.iter().all(is_word) => {
            let reason = format!("{} hooks are more than {LIST_MAX}", items.len());
            Err(Problem::new(node, reason).into())
        }
        Value::Array(items) if !items.iter().all(is_word) => {
            collect(items.iter().map(|item| match &item.value {
                Value::Table(table) => read_hook(item, table, cx),
                _ => Err(Problem::expected("a table for each hook of the array", item).into()),
            }))
        }
        Value::String(_) | Value::Array(_) => Ok(vec![Hook {
            form: HookForm::Exec(Argv::read(node, cx)?.0),
            timeout: None,
            ignore_failure: false,
        }]),
        _ => Err(Problem::expected(HOOK, node).into()),
    }
}

fn read_hook(node: &Node, table: &Table, cx: &Context) -> Read<Hook> {
    HookTable::read(node, cx)?.into_hook(node, table)
}
