//! What must not stand in a file, whatever its room may know.
//!
//! What clippy and rustc already refuse is not repeated, except where a rule must hold for every
//! feature set and target.

use super::rooms::{Breach, breach, room};
use super::source::Source;

/// A file longer than this is two files.
pub(crate) const LINES_MAX: usize = 700;

/// How far above an `unsafe` its reason may stand: a long sentence, and the start of a statement.
const SAFETY_DISTANCE_MAX: usize = 12;

/// Crates and names that belong to some rooms only, and why.
const OUTSIDE: [(&str, &[&str], &str); 8] = [
    (
        "tokio",
        &["arbiter", "plugin", "server", "bin"],
        "only the server and plugins are async",
    ),
    (
        "signal_hook_tokio",
        &["arbiter", "plugin", "server", "bin"],
        "only the server and plugins are async",
    ),
    (
        "futures_core",
        &["arbiter", "plugin", "server", "bin"],
        "only the server and plugins are async",
    ),
    (
        "Instant",
        &["arbiter", "client", "cli", "plugin", "server", "sys", "bin"],
        "a decision takes the time as a parameter",
    ),
    (
        "SystemTime",
        &["arbiter", "client", "cli", "plugin", "server", "sys", "bin"],
        "a decision takes the time as a parameter",
    ),
    (
        "nix",
        &[
            "arbiter", "client", "cli", "config", "plugin", "server", "sys", "bin",
        ],
        "no system calls here",
    ),
    (
        "libc",
        &["arbiter", "client", "cli", "config", "server", "sys", "bin"],
        "no system calls here",
    ),
    (
        "tracing",
        &["arbiter", "server", "bin"],
        "library code does not log",
    ),
];

/// Rooms whose maps must be ordered, so that one seed tells one story.
const DETERMINISTIC: [&str; 1] = ["core"];

/// `std` modules that reach outside the process.
const OUTSIDE_WORLD: [&str; 5] = ["env", "fs", "net", "process", "thread"];

/// The rooms that reach nothing outside themselves.
const PURE: [&str; 2] = ["api", "core"];

/// Clocks, system calls, input and output, and unordered maps in rooms that decide.
pub(crate) fn breaches_of_purity(source: &Source) -> Vec<Breach> {
    let here = room(&source.path).unwrap_or("bin");
    let mut breaches = Vec::new();
    for (at, token) in source
        .tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| !token.in_test)
    {
        let name = token.text.as_str();
        if let Some((_, rooms, reason)) = OUTSIDE.iter().find(|(outside, ..)| *outside == name)
            && !rooms.contains(&here)
        {
            breaches.push(breach(
                source,
                token.line,
                format!("{here} may not use {name}: {reason}"),
            ));
        }
        let reaches_out = source.reads(at, &["std", "::"])
            && source
                .words(at + 2)
                .next()
                .is_some_and(|module| OUTSIDE_WORLD.contains(&module));
        if PURE.contains(&here) && reaches_out {
            breaches.push(breach(
                source,
                token.line,
                format!("{here} does no input or output"),
            ));
        }
        if DETERMINISTIC.contains(&here) && ["HashMap", "HashSet"].contains(&name) {
            breaches.push(breach(
                source,
                token.line,
                format!("{here} keeps its maps ordered, not in a {name}"),
            ));
        }
    }
    breaches
}

/// `unsafe` outside sys, or without its reason.
pub(crate) fn breaches_by_unsafe(source: &Source) -> Vec<Breach> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut breaches = Vec::new();
    for (at, token) in source
        .tokens
        .iter()
        .enumerate()
        .filter(|(_, token)| token.text == "unsafe")
    {
        if room(&source.path) != Some("sys") {
            breaches.push(breach(source, token.line, "unsafe belongs in sys alone"));
        }
        // An unsafe function (or the type of one) asks its caller for something: it says what if
        // others can call it. Everything else that is unsafe is a claim, and says why it is true.
        let is_function = source.reads(at + 1, &["fn"]) || source.reads(at + 1, &["extern", "fn"]);
        let is_public = at > 0 && ["pub", ")"].contains(&source.tokens[at - 1].text.as_str());
        let wanted = match (is_function, is_public) {
            (true, false) => continue,
            (true, true) => "# Safety",
            (false, _) => "SAFETY:",
        };
        let above = &lines[token.line.saturating_sub(1 + SAFETY_DISTANCE_MAX)..token.line];
        if !above.iter().any(|line| line.contains(wanted)) {
            breaches.push(breach(
                source,
                token.line,
                format!("unsafe without its reason ({wanted})"),
            ));
        }
    }
    breaches
}

/// `.unwrap()` outside tests.
pub(crate) fn breaches_by_unwrap(source: &Source) -> Vec<Breach> {
    (0..source.tokens.len())
        .filter(|at| !source.tokens[*at].in_test && source.reads(*at, &[".", "unwrap", "(", ")"]))
        .map(|at| {
            breach(
                source,
                source.tokens[at].line,
                "unwrap() outside tests: say why it holds, or return the error",
            )
        })
        .collect()
}

/// A file without a head, or too long.
pub(crate) fn breaches_of_form(source: &Source) -> Vec<Breach> {
    let mut breaches = Vec::new();
    if !source.text.starts_with("//!") {
        breaches.push(breach(source, 1, "a file begins with //! and what it is"));
    }
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        breaches.push(breach(
            source,
            lines,
            format!("{lines} lines, more than {LINES_MAX}"),
        ));
    }
    breaches
}
