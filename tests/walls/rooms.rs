//! Which room may know which: the house as a table, and what of it a file breaks.
//!
//! It sees paths, not types: what a room is handed through an allowed one is not its doing.

use super::source::{Source, Token};

const ROOMS: [&str; 9] = [
    "api", "arbiter", "cli", "client", "config", "core", "plugin", "server", "sys",
];

/// A room, the rooms it may know besides itself, and why no others.
const WALLS: [(&str, &[&str], &str); 10] = [
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
        &["api", "client", "config"],
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
        "arbiter",
        &["api", "client", "config", "core", "server", "sys"],
        "an arbiter is the daemon's loop in another program; it knows no command line",
    ),
    (
        "bin",
        &["cli", "config", "plugin", "server"],
        "a program is flags in, exit code out",
    ),
];

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Breach {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) reason: String,
}

/// A breach in line `line`, from 1, of `source`.
pub(crate) fn breach(source: &Source, line: usize, reason: impl Into<String>) -> Breach {
    Breach {
        path: source.path.clone(),
        line,
        reason: reason.into(),
    }
}

/// The room a file lies in: `core` for `src/core/mod.rs`, `bin` for a program, none for `lib.rs`.
pub(crate) fn room(path: &str) -> Option<&str> {
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
    // Only the programs know the library by its name; inside it that is a module of config.
    let is_bin = room(&source.path) == Some("bin");
    let after = if at > 0 && source.tokens[at - 1].text == "::" {
        None
    } else if source.reads(at, &["crate", "::"]) || is_bin && source.reads(at, &["circusd", "::"]) {
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
pub(crate) fn breaches_of_walls(source: &Source) -> Vec<Breach> {
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
