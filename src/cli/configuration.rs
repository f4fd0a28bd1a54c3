//! What `circusctl` can say of the configuration without a daemon: whether the files are good, and
//! what a key means.
//!
//! The only file of this room that knows `config`, which only the feature `server` has.

use std::fmt::Write;
use std::path::PathBuf;

use super::failure::{Failure, Fault};
use super::output::complain;
use crate::api;
use crate::config::{Diagnostic, OnChange, Row, Sources, Store, manual};

/// Reads `files`, or the usual ones where there are none, as `circusd --check` does, and tells the
/// warnings.
///
/// # Errors
///
/// [`Failure::WrongConfig`] with every fault.
pub(super) fn check(files: Vec<PathBuf>) -> Result<(), Failure> {
    let uid = nix::unistd::geteuid().as_raw();
    let sources = Sources {
        files,
        set: Vec::new(),
        // A name or value that is not text cannot be written in a configuration either.
        env: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        system: uid == 0,
        uid,
        root: "/".into(),
        // Without a directory of our own no relative path can be right.
        directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
        embedded: None,
    };
    match Store::load(sources) {
        Ok(store) => {
            let warnings = store.warnings().iter();
            warnings.for_each(|warning| complain(&format!("warning: {warning}")));
            Ok(())
        }
        Err(errors) => {
            let faults = errors.diagnostics().iter().map(fault).collect();
            Err(Failure::WrongConfig(faults))
        }
    }
}

fn fault(diagnostic: &Diagnostic) -> Fault {
    let number = |position: usize| u64::try_from(position).unwrap_or(u64::MAX);
    let mut reason = diagnostic.reason.clone();
    if let Some(key) = &diagnostic.key {
        reason = format!("{key}: {reason}");
    }
    if let Some(suggestion) = &diagnostic.suggestion {
        reason = format!("{reason}; did you mean '{suggestion}'?");
    }
    Fault {
        text: diagnostic.to_string(),
        error: api::Error::InvalidConfig {
            file: diagnostic.file.clone(),
            line: diagnostic.line.map(number),
            column: diagnostic.column.map(number),
            reason,
        },
    }
}

/// Every key, by section.
pub(super) fn keys() -> String {
    let mut text = String::new();
    for chapter in manual() {
        push(&mut text, &chapter.title);
        for row in chapter.rows {
            push(&mut text, &format!("  {:26}{}", row.key, row.description()));
        }
    }
    text
}

/// What `key` means; given without its section, in each that has it. `None` if none has.
pub(super) fn explain(key: &str) -> Option<String> {
    let mut text = String::new();
    for chapter in manual() {
        for row in chapter.rows {
            if row.key == key || format!("{}.{}", row.section.as_str(), row.key) == key {
                push(&mut text, &format!("{} of {}", row.key, chapter.title));
                facts(&mut text, row);
            }
        }
    }
    (!text.is_empty()).then_some(text)
}

fn facts(text: &mut String, row: &Row) {
    let change = match row.on_change {
        OnChange::Live => "in force at once; no process is touched",
        OnChange::Reload => "the processes are replaced",
        OnChange::RestartDaemon => "in force when circusd is started again",
    };
    let range = row
        .range
        .map(|range| format!("{} to {} {}", range.min, range.max, row.unit()));
    push(text, &format!("  {}", row.description()));
    for (name, fact) in [
        ("type", row.type_name()),
        ("range", range.unwrap_or_default()),
        ("default", row.default_in_words()),
        ("change", change.to_owned()),
        ("since", row.since.to_owned()),
    ] {
        if !fact.is_empty() {
            push(text, &format!("  {name:9}{}", fact.trim_end()));
        }
    }
    for (key, meaning) in row.fields() {
        push(text, &format!("    {key:24}{meaning}"));
    }
}

fn push(text: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{line}");
}
