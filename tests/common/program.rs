//! Programs that tests put in place to be started there.
//!
//! Never written by the test's own process: a child that another thread is just starting would hold
//! them open for writing, and what is open for writing cannot be executed (execve(2), ETXTBSY).

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Puts a program there, in place of what there is, at once, as a package manager does.
pub(crate) fn put_program(content: &[u8], to: &Path) {
    let new = to.with_extension("new");
    let mut writer = Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(&new)
        .stdin(Stdio::piped())
        .spawn()
        .expect("every machine has a shell");
    let mut stdin = writer.stdin.take().expect("it is a pipe");
    stdin.write_all(content).expect("it reads all");
    drop(stdin);
    let status = writer.wait().expect("our own child can be waited for");
    assert!(status.success(), "{}: {status}", new.display());
    fs::rename(new, to).expect("the directory is ours");
}

/// The same with a copy.
pub(crate) fn copy_program(from: impl AsRef<Path>, to: &Path) {
    put_program(&fs::read(from).expect("it is there"), to);
}
