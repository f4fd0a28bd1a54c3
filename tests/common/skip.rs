//! How a test says that this machine lacks what it needs.
//!
//! Never silent: the line goes past the capture of the test harness, and into the file that
//! `tests/run` counts. A skipped test returns at once; it does not test half.

use std::io::Write;

/// Tells aloud that `test` (its full name, as `cargo test` prints it) did not run, and why.
///
/// The caller returns after it. `reason` is one line, lowercase, without a full stop.
pub(crate) fn skip(test: &str, reason: &str) {
    let line = format!("skipped: {test}: {reason}\n");
    // Not `eprint!`, which the harness swallows while a test passes.
    std::io::stderr().write_all(line.as_bytes()).expect("standard error is open in a test");
    if let Some(path) = std::env::var_os("CIRCUSD_TEST_SKIPS") {
        // One write in append mode, so that lines of tests in other processes stay whole.
        std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("the list of skipped tests can be written");
    }
}
