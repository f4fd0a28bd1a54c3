//! Where the output of watchers is, from what circusd tells of them.
//!
//! Looks at file names and at nothing else; whether anything can be read there is seen when it is.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::api;
use crate::api::types::{Object, SupervisorStats, Watcher};
use crate::cli::failure::Failure;
use crate::client::ClientError;

/// What circusd replaces by the number of a process in the name of a file.
const WID: &str = "$(circus.wid)";

/// What begins a variable that is not filled in here.
const VARIABLE: &str = "$(circus.";

/// Where groups are in the file system, longest first; the journal has them without that.
const CGROUPS: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// All places of some watchers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    /// Conditions on a record of the journal, in groups: it must meet all of one of them.
    pub(super) journal: Vec<Vec<String>>,
    /// Files, each once.
    pub(super) files: Vec<OutputFile>,
    /// What cannot be shown: sentences that say where it goes.
    pub(super) elsewhere: Vec<String>,
}

/// A file of output.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OutputFile {
    pub(super) path: PathBuf,
    /// Who writes to it; the first of several.
    pub(super) watcher: String,
}

/// Where one stream goes.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Journal,
    /// A file, as it is configured.
    File(String),
    Nowhere,
    /// Somewhere that this sentence tells of, behind the name of the stream.
    Elsewhere(String),
}

impl Places {
    /// Adds those of a watcher with these `options`; with `wid`, of that process alone.
    ///
    /// # Errors
    ///
    /// There is no such process.
    pub(super) fn add(
        &mut self,
        watcher: &Watcher,
        options: &Object,
        daemon: &SupervisorStats,
        wid: Option<i64>,
    ) -> Result<(), Failure> {
        let stdout = place(options.get("stdout"), daemon);
        let stderr = match options.get("stderr").and_then(Value::as_str) {
            Some("stdout") => None,
            _ => Some(place(options.get("stderr"), daemon)).filter(|stderr| *stderr != stdout),
        };
        let shown = |place: &Place| matches!(place, Place::Journal | Place::File(_));
        let any = shown(&stdout) || stderr.as_ref().is_some_and(shown);
        let streams = match stderr {
            None => vec![("output", stdout)],
            Some(stderr) => vec![("standard output", stdout), ("standard error", stderr)],
        };
        for (stream, place) in streams {
            let told = |end: &str| format!("{}: its {stream} {end}", watcher.name);
            match place {
                Place::Journal => self.add_journal(watcher, daemon, wid)?,
                Place::File(path) if wid.is_some() && !path.contains(WID) => {
                    self.elsewhere.push(told(&format!(
                        "goes to '{path}' with that of the others, where --wid cannot tell them apart"
                    )));
                }
                Place::File(path) => self.add_file(watcher, &path, wid),
                // Who wants a stream thrown away does not miss it, as long as there is another.
                Place::Nowhere if any => {}
                Place::Nowhere => self.elsewhere.push(told("is thrown away, as configured")),
                Place::Elsewhere(end) => self.elsewhere.push(told(&end)),
            }
        }
        Ok(())
    }

    /// Whether there is nothing to be shown.
    pub(super) fn are_none(&self) -> bool {
        self.journal.is_empty() && self.files.is_empty()
    }

    fn add_journal(
        &mut self,
        watcher: &Watcher,
        daemon: &SupervisorStats,
        wid: Option<i64>,
    ) -> Result<(), Failure> {
        let mut conditions = vec![
            format!("SYSLOG_IDENTIFIER={}", watcher.name),
            "_TRANSPORT=stdout".to_owned(),
        ];
        // Others may write under the same name: another daemon, or a program that is called so.
        match &daemon.unit {
            _ if daemon.uid != 0 => conditions.push(format!("_UID={}", daemon.uid)),
            Some(unit) => conditions.push(format!("_SYSTEMD_UNIT={unit}")),
            None => {}
        }
        let Some(wid) = wid else {
            self.journal.push(conditions);
            return Ok(());
        };
        for one in process_conditions(watcher, wid)? {
            self.journal.push([&conditions[..], &[one]].concat());
        }
        Ok(())
    }

    fn add_file(&mut self, watcher: &Watcher, path: &str, wid: Option<i64>) {
        let wids = match wid {
            _ if !path.contains(WID) => BTreeSet::from([0]),
            Some(wid) => BTreeSet::from([wid.unsigned_abs()]),
            None => places_of(watcher),
        };
        for wid in wids {
            let path = path.replace(WID, &wid.to_string());
            if path.contains(VARIABLE) {
                let told = format!("{}: its output is in the files '{path}'", watcher.name);
                self.elsewhere.push(told);
                return;
            }
            let (path, watcher) = (PathBuf::from(path), watcher.name.clone());
            if !self.files.iter().any(|known| known.path == path) {
                self.files.push(OutputFile { path, watcher });
            }
        }
    }
}

/// The numbers of the processes of a watcher: those that run, and those that may run again.
fn places_of(watcher: &Watcher) -> BTreeSet<u64> {
    let running = watcher.processes.iter().map(|process| process.wid);
    running.chain(1..=watcher.numprocesses).collect()
}

/// What records of one process have: of who has written them, the pid, or the cgroup, which is that
/// of its children and of its predecessors and successors, too.
fn process_conditions(watcher: &Watcher, wid: i64) -> Result<Vec<String>, Failure> {
    let mut processes = watcher.processes.iter();
    let process = processes.find(|process| process.wid == wid.unsigned_abs());
    let process = process.ok_or_else(|| {
        let missing = api::Error::NoSuchProcess {
            watcher: watcher.name.clone(),
            wid: u64::try_from(wid).ok(),
            pid: None,
        };
        Failure::Daemon(ClientError::Refused(missing))
    })?;
    let group = process
        .cgroup
        .as_deref()
        .and_then(|group| CGROUPS.iter().find_map(|mount| group.strip_prefix(mount)));
    let pid = format!("_PID={}", process.pid);
    let group = group.map(|group| format!("_SYSTEMD_CGROUP={group}"));
    Ok([pid].into_iter().chain(group).collect())
}

/// Where a stream goes whose option has this value; no value is what it is by default.
fn place(value: Option<&Value>, daemon: &SupervisorStats) -> Place {
    match value {
        None | Some(Value::Null) if daemon.journal => Place::Journal,
        None | Some(Value::Null) => inherited(daemon),
        Some(Value::String(word)) => match word.as_str() {
            "journal" => Place::Journal,
            "null" => Place::Nowhere,
            "inherit" => inherited(daemon),
            _ => unknown(value),
        },
        Some(table) => match (&table["file"], &table["command"]) {
            (Value::String(path), _) => Place::File(path.clone()),
            (_, Value::String(line)) => read_by(line),
            (_, Value::Array(words)) => {
                let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
                read_by(&words.join(" "))
            }
            _ => unknown(value),
        },
    }
}

fn read_by(program: &str) -> Place {
    Place::Elsewhere(format!(
        "is read by a program, which alone knows what becomes of it: {program}"
    ))
}

fn inherited(daemon: &SupervisorStats) -> Place {
    Place::Elsewhere(match (daemon.journal, &daemon.unit) {
        (true, Some(unit)) => {
            format!("goes where that of circusd goes; see 'journalctl --unit={unit}'")
        }
        (true, None) => "goes where that of circusd goes, which is the journal".to_owned(),
        (false, _) => {
            "goes where that of circusd goes: the terminal or file that it was started with"
                .to_owned()
        }
    })
}

/// The daemon is newer than we are.
fn unknown(value: Option<&Value>) -> Place {
    let value = value.unwrap_or(&Value::Null);
    Place::Elsewhere(format!(
        "goes to {value}, which this circusctl does not know"
    ))
}

#[cfg(test)]
mod tests;
