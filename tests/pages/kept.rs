//! What is generated into the repository: compared with what is there, or with `CIRCUSD_BLESS=1`
//! in the environment written.
//!
//! A page is written by hand but for its blocks, each between two comments that name it.

use std::fs;
use std::path::{Path, PathBuf};

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A file of the repository; nothing if there is none.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(file(path)).unwrap_or_default()
}

/// The whole file at `path` is `generated`.
pub(crate) fn check(path: &str, generated: &str) {
    if std::env::var_os("CIRCUSD_BLESS").is_some() {
        fs::write(file(path), generated).expect("the repository can be written");
    }
    let kept = read(path);
    let differs = kept
        .lines()
        .zip(generated.lines())
        .position(|(kept, made)| kept != made);
    assert!(
        kept == generated,
        "{path} is out of date, first in line {:?}; run the tests with CIRCUSD_BLESS=1 to write it",
        differs.map(|line| line + 1),
    );
}

/// The file at `path` has exactly these blocks, each with its text.
pub(crate) fn check_blocks(path: &str, blocks: &[(String, String)]) {
    let mut page = read(path);
    for (name, text) in blocks {
        let (begin, end) = (begin(name), format!(".\\\" end {name}\n"));
        let replaced = page.split_once(&begin).and_then(|(before, rest)| {
            let (_, after) = rest.split_once(&end)?;
            Some(format!("{before}{begin}{text}{end}{after}"))
        });
        page = replaced.unwrap_or_else(|| panic!("{path} does not tell of '{name}': {begin}"));
    }
    let known = |line: &str| {
        blocks
            .iter()
            .any(|(name, _)| begin(name).trim_end() == line)
    };
    for line in page.lines().filter(|line| line.starts_with(BEGIN)) {
        assert!(known(line), "{path} tells of what is not: {line}");
    }
    check(path, &page);
}

const BEGIN: &str = ".\\\" generated: ";

fn begin(name: &str) -> String {
    format!("{BEGIN}{name}\n")
}
