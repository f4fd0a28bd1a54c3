//! One hook as it is written, and lists of them: what is asked, and how long that may take.
//!
//! Does not know the names of hooks; nor how an answer is had, which is the server's to know.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};

use super::{HttpUrl, SocketPath, TcpAddress};
use crate::config::kind::{Kind, Problem, Read, collect};
use crate::config::node::{Node, Table, Value};
use crate::config::shapes::record;
use crate::config::variables::{self, Context};

/// How long a hook may take unless it or `circusd.hook_timeout` says otherwise.
pub const HOOK_TIMEOUT: Duration = Duration::from_secs(30);

const HOOK: &str = "a command, a table, or an array of tables";

/// How many things one hook may ask: each may take its time, and somebody waits for them all.
pub(super) const LIST_MAX: usize = 64;

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

    /// Whether it can answer more than yes and no.
    pub(super) fn can_tell(&self) -> bool {
        matches!(self.form, HookForm::Exec(_) | HookForm::Plugin)
    }

    /// Gives it a time-out if it was written without one.
    pub(super) fn limit(&mut self, timeout: Duration) {
        self.timeout.get_or_insert(timeout);
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
        /// How long it may take; as long as circusd.hook_timeout says unless given.
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
        check_expect(&self.expect, self.http.is_some(), table)?;
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

/// Checks the status codes of a probe; `http` says whether it asks for a page.
pub(super) fn check_expect(expect: &[u16], http: bool, table: &Table) -> Result<(), Problem> {
    if expect.is_empty() {
        return Err(problem_at(table, "expect", "names no status code"));
    }
    if let Some(wrong) = expect.iter().find(|code| !(100..600).contains(*code)) {
        let reason = format!("{wrong} is no status code, which are 100 to 599");
        return Err(problem_at(table, "expect", &reason));
    }
    match http || table.get("expect").is_none() {
        true => Ok(()),
        false => Err(problem_at(table, "expect", "means nothing without 'http'")),
    }
}

/// A problem with one key of a table, which has it.
pub(super) fn problem_at(table: &Table, key: &str, reason: &str) -> Problem {
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

/// What is asked at one turning point, in order; nothing where nobody is.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct HookList(pub Vec<Hook>);

impl HookList {
    /// Gives a time-out to every hook that was written without one.
    pub(crate) fn limit(&mut self, timeout: Duration) {
        self.0.iter_mut().for_each(|hook| hook.limit(timeout));
    }
}

impl Kind for HookList {
    fn name() -> String {
        HOOK.into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        read_list(node, cx).map(Self)
    }

    fn json(&self) -> Json {
        match self.0.is_empty() {
            true => Json::Null,
            false => self.0.iter().map(hook_json).collect(),
        }
    }

    fn schema() -> Json {
        list_schema()
    }

    fn anchor(node: &mut Node) {
        anchor_list(node);
    }
}

/// A command, a table, or an array of tables.
pub(super) fn list_schema() -> Json {
    let hook = HookTable::schema();
    json!({"anyOf": [
        hook,
        {"type": "array", "items": hook, "minItems": 1, "maxItems": LIST_MAX},
        Argv::schema(),
    ]})
}

/// Makes the paths of all hooks of a list absolute.
pub(super) fn anchor_list(node: &mut Node) {
    match &mut node.value {
        Value::Array(list) => list.iter_mut().for_each(HookTable::anchor),
        _ => HookTable::anchor(node),
    }
}

/// It as it would stand in a file.
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

/// An array of strings is a command, and any other a list of hooks.
pub(super) fn read_list(node: &Node, cx: &Context) -> Read<Vec<Hook>> {
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
