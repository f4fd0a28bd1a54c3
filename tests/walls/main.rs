//! The walls between the rooms, and what must not stand anywhere: each rule of the house is a test.
//!
//! It reads the sources as text; it neither compiles nor runs them.

mod rooms;
mod rules;
mod source;

use rooms::{Breach, breaches_of_walls};
use rules::{
    LINES_MAX, breaches_by_unsafe, breaches_by_unwrap, breaches_of_form, breaches_of_purity,
};
use source::{Source, read_all};

/// The library and its programs; in the files of `#[cfg(test)] mod name;` everything is test code.
fn library() -> Vec<Source> {
    let mut sources = read_all("src");
    let test_files: Vec<String> = sources.iter().flat_map(test_files).collect();
    for source in &mut sources {
        let is_test = test_files.iter().any(|file| {
            source.path == format!("{file}.rs") || source.path.starts_with(&format!("{file}/"))
        });
        source
            .tokens
            .iter_mut()
            .for_each(|token| token.in_test |= is_test);
    }
    sources
}

/// The paths, without `.rs`, of the modules that `source` declares for tests alone.
fn test_files(source: &Source) -> Vec<String> {
    let file = source.path.trim_end_matches(".rs");
    let base = file.trim_end_matches("/mod").trim_end_matches("/lib");
    source
        .test_modules
        .iter()
        .map(|module| format!("{base}/{module}"))
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
    let sources = library();
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
    check(&library(), breaches_of_purity);
}

#[test]
fn unsafe_stays_in_sys_and_says_why() {
    check(&everything(), breaches_by_unsafe);
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    check(&library(), breaches_by_unwrap);
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
