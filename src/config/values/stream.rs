//! Where a process's standard input comes from and its output goes.

use serde_json::{Value as Json, json};
use std::path::PathBuf;

use crate::config::kind::{Kind, Problem, Read, no_such_word, not_available, text};
use crate::config::node::{Node, Value};
use crate::config::shapes::record;
use crate::config::variables::Context;

use super::{Bytes, TemplatePath};

record! {
    /// A file that output is appended to, turned over when it has grown too large.
    pub struct FileOutput("a table", switch: false) {
        /// The path; $(circus.wid) makes it one for each process.
        file: TemplatePath = TemplatePath::default();
        /// The size at which the file is turned over; 0: never.
        max_bytes: Bytes = Bytes(0);
        /// How many old files are kept, as FILE.1 (the newest), FILE.2 and so on.
        backup_count: u32 = 5, 0.0 => 1000.0;
    }
    later: "time_format", "prefix", "command"
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
    /// A file.
    File(FileOutput),
}

const OUTPUTS: [&str; 4] = ["journal", "null", "inherit", "stdout"];

impl Kind for Output {
    fn name() -> String {
        "'journal', 'null', 'inherit', or a table with 'file'; 'stdout' for stderr".into()
    }

    fn read(node: &Node, cx: &Context) -> Read<Self> {
        match &node.value {
            Value::Table(table) => {
                let file = FileOutput::read(node, cx)?;
                if table.get("file").is_none() {
                    return Err(Problem::new(node, "'file' is missing")
                        .inside("file")
                        .into());
                }
                Ok(Self::File(file))
            }
            _ => match text(node, &Self::name(), cx)?.as_str() {
                "journal" => Ok(Self::Journal),
                "null" => Ok(Self::Null),
                "inherit" => Ok(Self::Inherit),
                "stdout" => Ok(Self::Stdout),
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
            Self::File(file) => file.json(),
        }
    }

    fn schema() -> Json {
        let mut file = FileOutput::schema();
        file["required"] = json!(["file"]);
        json!({"anyOf": [{"enum": OUTPUTS}, file]})
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
                return Err(not_available(&other.node, "command"));
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
