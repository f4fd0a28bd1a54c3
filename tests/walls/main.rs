//! The walls between the rooms, and what must not stand anywhere: each rule of the house is a test.
//!
//! It reads the sources as text; it neither compiles nor runs them. What clippy and rustc already
//! refuse is not repeated here, except where a rule must hold for every feature set and target.

mod source;

use source::{Source, Token, read_all};

/// A file longer than this is two files.
const LINES_MAX: usize = 700;

/// How far above an `unsafe` its reason may stand: a long sentence, and the start of a statement.
const SAFETY_DISTANCE_MAX: usize = 12;

const ROOMS: [&str; 8] = [
    "api", "cli", "client", "config", "core", "plugin", "server", "sys",
];

/// A room, the rooms it may know besides itself, and why no others.
const WALLS: [(&str, &[&str], &str); 9] = [
    (
        "core",
        &[],
        "core decides what should happen; it is pure and knows no other room",
    ),
    (
        "api",
        &[],
        "api is what goes over the socket, whoever sits at either end",
    ),
    (
        "sys",
        &[],
        "sys is how Linux is asked; it knows nothing of us",
    ),
    (
        "config",
        &[],
        "config turns files and flags into specs; what is done with them is not its business",
    ),
    (
        "client",
        &["api"],
        "a client sees of the daemon only what goes over the socket",
    ),
    (
        "plugin",
        &["api", "client"],
        "a plugin is a client like any other",
    ),
    (
        "cli",
        &["api", "client"],
        "circusctl sees of the daemon only what goes over the socket",
    ),
    (
        "server",
        &["api", "config", "core", "plugin", "sys"],
        "the server asks nobody over a socket and prints no tables",
    ),
    (
        "bin",
        &["cli", "config", "server"],
        "a program is flags in, exit code out",
    ),
];

/// Crates and names that belong to some rooms only, and why.
const OUTSIDE: [(&str, &[&str], &str); 8] = [
    ("tokio", &["server", "bin"], "only the server is async"),
    (
        "signal_hook_tokio",
        &["server", "bin"],
        "only the server is async",
    ),
    (
        "futures_core",
        &["server", "bin"],
        "only the server is async",
    ),
    (
        "Instant",
        &["client", "cli", "server", "sys", "bin"],
        "a decision takes the time as a parameter",
    ),
    (
        "SystemTime",
        &["client", "cli", "server", "sys", "bin"],
        "a decision takes the time as a parameter",
    ),
    (
        "nix",
        &["client", "cli", "config", "server", "sys", "bin"],
        "no system calls here",
    ),
    (
        "libc",
        &["client", "cli", "config", "server", "sys", "bin"],
        "no system calls here",
    ),
    ("tracing", &["server", "bin"], "library code does not log"),
];

/// Rooms whose maps must be ordered, so that one seed tells one story.
const DETERMINISTIC: [&str; 1] = ["core"];

/// `std` modules that reach outside the process.
const OUTSIDE_WORLD: [&str; 5] = ["env", "fs", "net", "process", "thread"];

/// The rooms that reach nothing outside themselves.
const PURE: [&str; 2] = ["api", "core"];

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
struct Breach {
    path: String,
    line: usize,
    reason: String,
}

fn breach(source: &Source, line: usize, reason: impl Into<String>) -> Breach {
    Breach {
        path: source.path.clone(),
        line,
        reason: reason.into(),
    }
}

/// The room a file lies in: `core` for `src/core/mod.rs`, `bin` for a program, none for `lib.rs`.
fn room(path: &str) -> Option<&str> {
    let (first, rest) = path
        .strip_prefix("src/")?
        .split_once('/')
        .unwrap_or(("", ""));
    (!rest.is_empty()).then_some(first)
}

/// How many modules deep the file is below the crate's root.
fn depth(path: &str) -> usize {
    let segments = path
        .trim_end_matches(".rs")
        .trim_end_matches("/mod")
        .matches('/')
        .count();
    // `src/lib.rs` is the root itself.
    if path == "src/lib.rs" { 0 } else { segments }
}

/// What the code at token `at` names below the crate's root, if a path from there begins here.
fn named_below_root(source: &Source, at: usize) -> Vec<&Token> {
    let after = if at > 0 && source.tokens[at - 1].text == "::" {
        None
    } else if source.reads(at, &["crate", "::"]) || source.reads(at, &["circusd", "::"]) {
        Some(at + 2)
    } else {
        let supers = source
            .words(at)
            .step_by(2)
            .take_while(|word| *word == "super")
            .count();
        let root = depth(&source.path) + source.tokens[at].inline_modules;
        (supers > 0 && supers == root).then_some(at + 2 * supers)
    };
    let Some(after) = after.filter(|after| *after < source.tokens.len()) else {
        return Vec::new();
    };
    if source.tokens[after].text == "{" {
        heads_of_group(&source.tokens[after..])
    } else {
        vec![&source.tokens[after]]
    }
}

/// `a` and `c` of `{a::b, c::{d, e}}`.
fn heads_of_group(group: &[Token]) -> Vec<&Token> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut at_head = false;
    for token in group {
        match token.text.as_str() {
            "{" => (depth, at_head) = (depth + 1, depth == 0),
            "}" => depth -= 1,
            "," => at_head = depth == 1,
            _ if at_head => {
                heads.push(token);
                at_head = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

/// Names of other rooms in this file that its room may not know.
fn breaches_of_walls(source: &Source) -> Vec<Breach> {
    let Some(here) = room(&source.path) else {
        return Vec::new();
    };
    let Some((_, known, reason)) = WALLS.iter().find(|(name, ..)| *name == here) else {
        return vec![breach(
            source,
            1,
            format!("'{here}' is no room of the house"),
        )];
    };
    let mut breaches = Vec::new();
    for at in 0..source.tokens.len() {
        for token in named_below_root(source, at) {
            let name = token.text.as_str();
            if name == here || known.contains(&name) || (token.in_test && !ROOMS.contains(&name)) {
                continue;
            }
            breaches.push(if ROOMS.contains(&name) {
                breach(
                    source,
                    token.line,
                    format!("{here} may not know {name}: {reason}"),
                )
            } else {
                breach(
                    source,
                    token.line,
                    format!("'{name}' goes through the crate's root; name its room"),
                )
            });
        }
    }
    breaches
}

fn breaches_of_purity(source: &Source) -> Vec<Breach> {
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

fn breaches_by_unsafe(source: &Source) -> Vec<Breach> {
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

fn breaches_by_unwrap(source: &Source) -> Vec<Breach> {
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

fn breaches_of_form(source: &Source) -> Vec<Breach> {
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

/// The files of the library and its programs that are not tests.
fn production() -> Vec<Source> {
    let sources = read_all("src");
    let test_files: Vec<String> = sources
        .iter()
        .flat_map(|source| {
            let base = source
                .path
                .trim_end_matches(".rs")
                .trim_end_matches("/mod")
                .trim_end_matches("/lib");
            source
                .test_modules
                .iter()
                .map(move |module| format!("{base}/{module}"))
        })
        .collect();
    let is_test = |path: &str| {
        test_files
            .iter()
            .any(|file| path == format!("{file}.rs") || path.starts_with(&format!("{file}/")))
    };
    sources
        .into_iter()
        .filter(|source| !is_test(&source.path))
        .collect()
}

/// Everything in Rust that the repository holds.
fn everything() -> Vec<Source> {
    ["src", "tests", "benches", "examples"]
        .iter()
        .flat_map(|directory| read_all(directory))
        .collect()
}

fn check(sources: &[Source], rule: impl Fn(&Source) -> Vec<Breach>) {
    assert!(
        !sources.is_empty(),
        "no sources were found: this test would pass for nothing"
    );
    let breaches: Vec<String> = sources
        .iter()
        .flat_map(rule)
        .map(|breach| format!("{}:{}: {}", breach.path, breach.line, breach.reason))
        .collect();
    assert!(breaches.is_empty(), "\n{}\n", breaches.join("\n"));
}

#[test]
fn no_room_knows_one_it_may_not() {
    // `circusctl validate` and `circusctl help config` read the table of keys, in one file.
    let knows_config = |breach: &Breach| {
        breach.path.starts_with("src/cli/") && breach.reason.starts_with("cli may not know config")
    };
    let sources = read_all("src");
    let mut doors: Vec<String> = sources
        .iter()
        .flat_map(breaches_of_walls)
        .filter(knows_config)
        .map(|breach| breach.path)
        .collect();
    doors.dedup();
    assert!(
        doors.len() <= 1,
        "more than one file of cli knows config: {doors:?}"
    );
    check(&sources, |source| {
        let breaches = breaches_of_walls(source);
        breaches
            .into_iter()
            .filter(|breach| !knows_config(breach))
            .collect()
    });
}

#[test]
fn pure_rooms_stay_pure() {
    check(&production(), breaches_of_purity);
}

#[test]
fn unsafe_stays_in_sys_and_says_why() {
    check(&everything(), breaches_by_unsafe);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    check(&production(), breaches_by_unwrap);
}

#[test]
fn every_file_has_a_head_and_an_end() {
    check(&everything(), breaches_of_form);
}

/// The lines of the breaches that `rule` finds in `text`, were it the file `path`.
fn found(rule: fn(&Source) -> Vec<Breach>, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text))
        .iter()
        .map(|breach| breach.line)
        .collect()
}

#[test]
fn a_forbidden_room_is_found_however_it_is_named() {
    let in_core = |text| found(breaches_of_walls, "src/core/a.rs", text);
    assert_eq!(in_core("use crate::core::b;\nuse crate::sys::Pidfd;"), [2]);
    assert_eq!(
        in_core("use crate::{\n    core::{b, c},\n    api::{self, Value},\n};"),
        [3]
    );
    assert_eq!(in_core("fn f() {\n    crate::server::run();\n}"), [2]);
    assert_eq!(in_core("use super::super::sys;"), [1]);
    assert_eq!(
        in_core("mod m {\n    use super::super::super::config::X;\n}"),
        [2]
    );
    assert_eq!(in_core("use crate::Client;"), [1]);
}

#[test]
fn what_only_looks_like_a_forbidden_room_is_not_found() {
    let in_core = |text| found(breaches_of_walls, "src/core/a.rs", text);
    assert!(in_core("// crate::sys\nlet s = \"crate::sys\"; /* crate::sys */").is_empty());
    assert!(in_core("use super::sys;\nmod m { use super::super::sys; }").is_empty());
    assert!(
        in_core(
            "pub(crate) fn f() -> core::fmt::Result { r#\"crate::sys\"#; '\"'; crate::core::f() }"
        )
        .is_empty()
    );
    assert!(
        found(
            breaches_of_walls,
            "src/server/a.rs",
            "use crate::{api, core, sys};"
        )
        .is_empty()
    );
}

#[test]
fn a_breach_of_each_other_rule_is_found() {
    let twice = "fn f() { x.unwrap(); }\n#[cfg(test)]\nmod tests { fn g() { x.unwrap(); } }";
    assert_eq!(found(breaches_by_unwrap, "src/core/a.rs", twice), [1]);
    assert_eq!(
        found(
            breaches_of_purity,
            "src/core/a.rs",
            "use std::fs;\nuse tokio::net;"
        ),
        [1, 2]
    );
    assert_eq!(
        found(breaches_of_purity, "src/core/a.rs", "fn f(now: Instant) {}"),
        [1]
    );
    let reasoned = "// SAFETY: it is so.\nunsafe { f() }";
    assert!(found(breaches_by_unsafe, "src/sys/a.rs", reasoned).is_empty());
    assert_eq!(
        found(breaches_by_unsafe, "src/sys/a.rs", "unsafe { f() }"),
        [1]
    );
    assert_eq!(found(breaches_by_unsafe, "src/api/a.rs", reasoned), [2]);
    assert_eq!(
        found(
            breaches_by_unsafe,
            "src/sys/a.rs",
            "pub(crate) unsafe fn f() {}"
        ),
        [1]
    );
    assert!(
        found(
            breaches_by_unsafe,
            "src/sys/a.rs",
            "unsafe extern \"C\" fn f() {}"
        )
        .is_empty()
    );
    let long = format!("//! Long.\n{}", "\n".repeat(LINES_MAX));
    assert_eq!(
        found(breaches_of_form, "src/core/a.rs", &long),
        [LINES_MAX + 1]
    );
    assert_eq!(found(breaches_of_form, "src/core/a.rs", "use x;"), [1]);
}
