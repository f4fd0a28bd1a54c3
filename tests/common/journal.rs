//! A journal of its own for a test: the real journald in a mount namespace with an empty `/run`,
//! so that neither hears of the machine's own.
//!
//! Less than a container, where journald also knows of units, and a hundred times as quick. Only root
//! may make one; without it, or without journald, the test is skipped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use nix::unistd::geteuid;
use serde_json::Value;

use super::{Daemon, Home, eventually, output, skip};

const JOURNALD: &str = "/usr/lib/systemd/systemd-journald";

/// The catalogs of the machine are not to be changed, and what is kept on disk not to be read.
const ENTER: &str = "\
    set -e
    mount -t tmpfs tmpfs /run
    for dir in /var/log/journal /var/lib/systemd /usr/lib/systemd/catalog; do
        if [ -d $dir ]; then mount -t tmpfs tmpfs $dir; fi
    done
    exec \"$0\"";

/// A journald that runs; it ends with this.
pub(crate) struct Journal {
    journald: Child,
}

impl Journal {
    /// Starts one; `None`, told aloud, where that cannot be.
    pub(crate) fn start() -> Option<Self> {
        if !geteuid().is_root() {
            skip("only root can have a journal of its own");
            return None;
        }
        if !Path::new(JOURNALD).exists() || !has("unshare") || !has("nsenter") {
            skip("there is no systemd-journald, or no unshare and nsenter");
            return None;
        }
        let mut command = Command::new("unshare");
        let journald = command
            .args(["--mount", "/bin/sh", "-c", ENTER, JOURNALD])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare can be started");
        let mut journal = Self { journald };
        let socket = journal.path("/run/systemd/journal/io.systemd.journal");
        let answers = eventually("journald", || {
            let ended = journal.journald.try_wait().expect("it is our child");
            (ended.is_some() || socket.exists()).then_some(ended.is_none())
        });
        if !answers {
            skip("no mount namespace can be made here, or journald does not run in it");
            return None;
        }
        Some(journal)
    }

    /// `path` as it is inside.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.journald.id()))
    }

    /// The same program inside.
    pub(crate) fn inside(&self, command: &Command) -> Command {
        let mut inside = Command::new("nsenter");
        inside
            .arg(format!("--mount=/proc/{}/ns/mnt", self.journald.id()))
            .arg("--")
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    /// Starts the daemon of `home` inside, logging to the journal.
    pub(crate) fn start_daemon(&self, home: &Arc<Home>) -> Daemon {
        let mut circusd = home.circusd();
        circusd.args(["--set", "circusd.log_target=journal"]);
        home.start_command(self.inside(&circusd), |_| {})
    }

    /// What `journalctl` prints for these arguments, of all that was sent so far.
    pub(crate) fn journalctl(&self, arguments: &[&str]) -> String {
        let mut sync = Command::new("journalctl");
        sync.arg("--sync");
        let synced = output(self.inside(&sync));
        assert!(synced.status.success(), "{synced:?}");
        let mut command = Command::new("journalctl");
        command.args(["--no-pager", "--quiet"]).args(arguments);
        let said = output(self.inside(&command));
        assert!(said.status.success(), "{said:?}");
        String::from_utf8(said.stdout).expect("it prints text")
    }

    /// The records that these matches select, oldest first.
    pub(crate) fn records(&self, matches: &[&str]) -> Vec<Value> {
        let arguments = [&["--output=json", "--all"], matches].concat();
        let text = self.journalctl(&arguments);
        let record = |line: &str| serde_json::from_str(line).expect("a record is an object");
        text.lines().map(record).collect()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // It is our own child and was not waited for, or has ended already.
        let _ = self.journald.kill();
        let _ = self.journald.wait();
    }
}

fn has(program: &str) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|path| path.join(program).exists())
}
