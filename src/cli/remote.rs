//! `--host`: the command line is carried out by the circusctl of another machine, by way of ssh(1).
//!
//! Who may do that, with which key, and by which way the machine is reached, is ssh's to know; what
//! the words mean, the other circusctl's.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, stdin, stdout};
use std::os::unix::ffi::OsStringExt;
use std::process::Command;

use super::exit::Exit;
use super::failure::Failure;

/// Does on `host` what `words`, all behind the name of the program, say, and returns how it ended there.
///
/// # Errors
///
/// ssh cannot be started, or there is no circusctl at its other end; why, it or a shell has written.
pub(super) fn run(host: &str, words: &[OsString]) -> Result<Exit, Failure> {
    let ended = ssh(host, words).status().map_err(Failure::NoSsh)?;
    // ssh has codes of its own, and so has a shell: 255 and 127.
    let exit = ended.code().and_then(Exit::from_code);
    exit.ok_or_else(|| Failure::Remote {
        host: host.to_owned(),
    })
}

fn ssh(host: &str, words: &[OsString]) -> Command {
    let mut ssh = Command::new("ssh");
    if stdin().is_terminal() && stdout().is_terminal() {
        // So that Ctrl-C reaches the command there, and the terminal's width; without a farewell.
        ssh.args(["-t", "-o", "LogLevel=ERROR"]);
    }
    ssh.args(["--", host, "circusctl"]);
    ssh.args(without_host(words).map(quoted));
    ssh
}

/// All words but `--host` and what it says. What stands behind `--` is no flag of ours.
fn without_host(words: &[OsString]) -> impl Iterator<Item = &OsString> {
    let (mut value, mut flags) = (false, true);
    words.iter().filter(move |word| {
        if std::mem::take(&mut value) {
            return false;
        }
        flags &= *word != "--";
        value = flags && *word == "--host";
        let whole = flags && is_host_with_value(word);
        !(value || whole)
    })
}

fn is_host_with_value(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"--host=")
}

/// ssh joins its words with spaces, and a shell takes them apart on the other side.
fn quoted(word: &OsString) -> OsString {
    let quoted = shlex::bytes::Quoter::new().allow_nul(true);
    let bytes = quoted.quote(word.as_encoded_bytes());
    // No argument of a process has a NUL, which is all that cannot be quoted.
    OsString::from_vec(bytes.map_or_else(|_| word.clone().into_vec(), |bytes| bytes.into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(words: &[&str]) -> String {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let sent: Vec<_> = without_host(&words).map(quoted).collect();
        let sent: Vec<_> = sent.iter().map(|word| word.to_string_lossy()).collect();
        sent.join(" ")
    }

    #[test]
    fn only_the_flag_itself_stays_here() {
        assert_eq!(
            sent(&["--host", "db1", "--json", "status"]),
            "--json status"
        );
        assert_eq!(sent(&["status", "--host=root@db1", "web"]), "status web");
        assert_eq!(
            sent(&["--host", "a", "add", "x", "--", "y", "--host", "b"]),
            "add x -- y --host b"
        );
    }

    #[test]
    fn a_shell_on_the_other_side_finds_the_same_words() {
        let words = ["stop", "w*", "it's", "", "a b", "$HOME", "x\ny"];
        let split = shlex::split(&sent(&words));
        assert_eq!(split.unwrap(), words);
    }
}
