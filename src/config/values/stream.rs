//! Where a process's standard input comes from and its output goes.

use serde_json::{Value as Json, json};
use std::path::PathBuf;

use crate::config::kind::{Kind, Problem, Read, no_such_word, text};
use crate::config::node::{Node, Table, Value};
use crate::config::shapes::record;
use crate::config::variables::Context;

use super::hook::problem_at;
use super::{Argv, Bytes, Prefix, Rotate, TemplatePath, TimeFormat};

record! {
    /// A table as it is written: a file that output is appended to, or a program that reads it.
    pub struct FileOutput("a table", switch: false) {
        /// The path of a file that lines are appended to; $(circus.wid) makes it one for each
        /// process. What was moved or removed is made anew.
        file: TemplatePath = TemplatePath::default();
        /// Instead of a file, a program that reads the stream of all processes of the watcher on
        /// its standard input: an array, or a string that is split as a shell would, without a
        /// shell.
        command: Option<Argv> = None;
        /// The size at which the file is turned over; 0: never.
        max_bytes: Bytes = Bytes(0);
        /// When the file is turned over by the clock: "hourly", "daily", "weekly" (on Mondays),
        /// "monthly", a day of the week, or a duration, counted from midnight. It is done with
        /// the first line after that.
        rotate: Option<Rotate> = None;
        /// How many old files are kept, as FILE.1 (the newest), FILE.2 and so on; 0: the file is
        /// emptied instead. Five unless given.
        backup_count: u32 = 5, 0.0 => 1000.0;
        /// The time before each line, in a format of strftime(3), and a space after it.
        time_format: Option<TimeFormat> = None;
        /// What stands before each line, behind the time; $(circus.wid), $(circus.pid) and
        /// $(circus.watcher) tell whose it is. With time_format alone it is the pid in brackets and
        /// " | ", as in Circus.
        prefix: Option<Prefix> = None;
        /// Whether rotate and time_format mean UTC rather than local time.
        utc: bool = false;
    }
}

impl FileOutput {
    /// Checks what concerns several keys; `node` is the table.
    fn into_output(mut self, node: &Node, table: &Table) -> Read<Output> {
        let given = |key: &str| table.get(key).is_some();
        let fault = |key, reason: &str| Err(problem_at(table, key, reason).into());
        if let Some(Argv(words)) = self.command.take() {
            let other = table.iter().find(|entry| entry.key != "command");
            return match other {
                Some(other) => fault(&other.key, "means nothing beside 'command'"),
                None => Ok(Output::Command(words)),
            };
        }
        if !given("file") {
            let problem = Problem::new(node, "neither 'file' nor 'command' is there");
            return Err(problem.inside("file").into());
        }
        let turned_over = self.max_bytes.0 > 0 || self.rotate.is_some();
        if given("backup_count") && !turned_over {
            let reason = "means nothing without 'max_bytes' or 'rotate'";
            return fault("backup_count", reason);
        }
        if self.utc && self.rotate.is_none() && self.time_format.is_none() {
            return fault("utc", "means nothing without 'rotate' or 'time_format'");
        }
        if self.time_format.is_some() {
            self.prefix.get_or_insert_with(Prefix::after_time);
        }
        Ok(Output::File(self))
    }

    /// Whether both would treat the file in the same way, whatever stands before their lines.
    pub(crate) fn keeps_alike(&self, other: &Self) -> bool {
        let kept = |file: &Self| {
            let clock = file.rotate.map(|rotate| (rotate, file.utc));
            let count = (file.max_bytes.0 > 0 || clock.is_some()).then_some(file.backup_count);
            (file.max_bytes, clock, count)
        };
        kept(self) == kept(other)
    }
}

/// Where one of the two output streams goes.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A journal stream of the process's own.
    Journal,
    /// Nowhere.
    Null,
    /// Where circusd's own stream goes.
    Inherit,
    /// Only for standard error: where standard output goes.
    Stdout,
    /// Only in the library: a pipe that the program reads from, in its own time.
    Pipe,
    /// A file.
    File(FileOutput),
    /// A program that reads the stream of all processes of the watcher; its name and arguments.
    Command(Vec<String>),
}

const ONLY_IN_THE_LIBRARY: &str =
    "a pipe is read by the program that has the library run its workers, and here is none";

const OUTPUTS: [&str; 4] = ["journal", "null", "inherit", "stdout"];

impl Kind for Output {
    fn name() -> String {
        "'journal', 'null', 'inherit', or a table with 'file' or 'command'; 'stdout' for stderr"
            .into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        match &node.value {
            Value::Table(table) => FileOutput::read(node, cx)?.into_output(node, table),
            _ => match text(node, &Self::name(), cx)?.as_str() {
                "journal" => Ok(Self::Journal),
                "null" => Ok(Self::Null),
                "inherit" => Ok(Self::Inherit),
                "stdout" => Ok(Self::Stdout),
                "pipe" if cx.embedded => Ok(Self::Pipe),
                "pipe" => Err(Problem::new(node, ONLY_IN_THE_LIBRARY).into()),
                word => Err(unless_a_path(node, word, &OUTPUTS)),
            },
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Journal => Json::from("journal"),
            Self::Null => Json::from("null"),
            Self::Inherit => Json::from("inherit"),
            Self::Stdout => Json::from("stdout"),
            Self::Pipe => Json::from("pipe"),
            Self::File(file) => {
                let mut table = file.json();
                if let Json::Object(table) = &mut table {
                    table.retain(|_, value| !value.is_null());
                }
                table
            }
            Self::Command(words) => json!({"command": words}),
        }
    }

    fn schema() -> Json {
        let table = |required: &str, has: fn(&str) -> bool| {
            let mut table = FileOutput::schema();
            if let Some(keys) = table["properties"].as_object_mut() {
                keys.retain(|key, _| has(key));
            }
            table["required"] = json!([required]);
            table
        };
        json!({"anyOf": [
            {"enum": OUTPUTS},
            table("file", |key| key != "command"),
            table("command", |key| key == "command"),
        ]})
    }

    fn fields() -> &'static [(&'static str, &'static str)] {
        FileOutput::fields()
    }

    fn anchor(node: &mut Node) {
        FileOutput::anchor(node);
    }
}

/// A bare path was meant as a file.
fn unless_a_path(node: &Node, word: &str, known: &[&str]) -> Vec<Problem> {
    if word.contains('/') {
        return Problem::new(node, "a path is written as a table")
            .suggesting(Some(format!("{{ file = \"{word}\" }}")))
            .into();
    }
    no_such_word(node, word, known)
}

/// Where standard input comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// It is at its end.
    Null,
    /// circusd's own.
    Inherit,
    /// A file, read from its start by each process.
    File(PathBuf),
}

const INPUTS: [&str; 2] = ["null", "inherit"];

impl Kind for Input {
    fn name() -> String {
        "'null', 'inherit', or a table with 'file'".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        let Value::Table(table) = &node.value else {
            return match text(node, &Self::name(), cx)?.as_str() {
                "null" => Ok(Self::Null),
                "inherit" => Ok(Self::Inherit),
                word => Err(unless_a_path(node, word, &INPUTS)),
            };
        };
        if let Some(other) = table.iter().find(|entry| entry.key != "file") {
            if other.key == "command" {
                let mut problem = Problem::new(&other.node, "there is one for output only");
                problem.at = other.key_at.clone();
                return Err(problem.inside("command").into());
            }
            let mut problem = Problem::new(&other.node, "unknown key").inside(&other.key);
            problem.at = other.key_at.clone();
            return Err(problem.into());
        }
        match table.get("file") {
            Some(file) => PathBuf::read(file, cx).map(Self::File),
            None => Err(Problem::new(node, "'file' is missing")
                .inside("file")
                .into()),
        }
    }

    fn json(&self) -> Json {
        match self {
            Self::Null => Json::from("null"),
            Self::Inherit => Json::from("inherit"),
            Self::File(path) => json!({"file": path.json()}),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"enum": INPUTS}, {
            "type": "object",
            "properties": {"file": PathBuf::schema()},
            "required": ["file"],
            "additionalProperties": false,
        }]})
    }

    fn anchor(node: &mut Node) {
        if let Value::Table(table) = &mut node.value
            && let Some(file) = table.get_mut("file")
        {
            PathBuf::anchor(file);
        }
    }
}
