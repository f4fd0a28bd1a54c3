//! How a test says that this machine lacks what it needs.
//!
//! Never silent: the line goes past the capture of the test harness, and into the file that
//! `tests/run` counts. It stands alone, so that the tests inside the library can use it too.

use std::fmt::Display;
use std::io::Write;

/// Tells aloud that the test that is running does not test here (or not all it should), and why.
///
/// The caller returns after it, or goes on with what can be tested; either way the test counts as
/// skipped. `reason` is one line, lowercase, without a full stop.
pub(crate) fn skip(reason: impl Display) {
    // The harness names the thread of a test after it; with one thread for all it is "main".
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("main");
    let line = format!("skipped: {test}: {reason}\n");
    // Not `eprint!`, which the harness swallows while a test passes.
    std::io::stderr()
        .write_all(line.as_bytes())
        .expect("standard error is open in a test");
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
