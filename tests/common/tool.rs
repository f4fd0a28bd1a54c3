//! Programs that we did not write and that `tests/setup` has fetched.

use std::path::{Path, PathBuf};

use super::skip;

/// The program `name` that `tests/setup` left, or `None` after telling that the test is skipped.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo's target directory holds it");
    let tools = target.join("test-tools");
    let program = tools.join(name);
    if program.exists() {
        return Some(program);
    }
    let reason = std::fs::read_to_string(tools.join(format!("{name}.missing")));
    skip(
        reason
            .as_deref()
            .unwrap_or("tests/setup has not fetched it yet")
            .trim(),
    );
    None
}
