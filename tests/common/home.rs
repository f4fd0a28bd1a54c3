//! Where a daemon of a test lives: its configuration, its socket, and what it leaves on disk.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::daemon::Daemon;
use super::output;

/// A directory with a configuration; daemons may live in it one after the other.
pub(crate) struct Home {
    directory: TempDir,
}

impl Home {
    /// Writes `config` to `etc/circusd.toml` in a fresh directory that only its owner may enter.
    pub(crate) fn new(config: &str) -> Arc<Self> {
        let directory = tempfile::Builder::new()
            .prefix("circusd-")
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir()
            .expect("a temporary directory can be made");
        let home = Self { directory };
        fs::create_dir(home.path("etc")).expect("a directory can be made");
        home.configure(config);
        Arc::new(home)
    }

    /// Replaces the configuration file, as an editor would: at once.
    pub(crate) fn configure(&self, config: &str) {
        let new = self.path("etc/.circusd.toml.new");
        fs::write(&new, config).expect("the configuration can be written");
        // The daemon of root refuses a file that others can write, whatever our umask.
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).expect("its mode can be set");
        fs::rename(&new, self.path("etc/circusd.toml")).expect("the configuration can be replaced");
    }

    /// `name` in this directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where the daemon of this directory answers.
    pub(crate) fn socket(&self) -> PathBuf {
        self.path("circusd.sock")
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    /// Where the daemon of this directory says that it is ready.
    pub(crate) fn notify_socket(&self) -> PathBuf {
        self.path("notify.sock")
    }

    /// `circusd` with the configuration, the socket and the notify socket of this directory.
    pub(crate) fn circusd(&self) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_circusd"));
        command.arg("--config").arg(self.path("etc/circusd.toml"));
        command
    }

    /// `circusctl` for the daemon of this directory.
    pub(crate) fn circusctl(&self, arguments: &[&str]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_circusctl"));
        command.args(arguments);
        command
    }

    /// A program that knows this directory and nothing of the session the tests run in.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env(
                "PATH",
                std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()),
            )
            // Workers inherit HOME: by it those that are left behind are found.
            .env("HOME", self.directory.path())
            .env("XDG_RUNTIME_DIR", self.directory.path())
            .env("CIRCUSD_SOCKET", self.socket())
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null());
        command
    }

    /// Runs `circusd` with further `arguments` to its end, for starts that must fail or `--check`.
    pub(crate) fn run_to_end(&self, arguments: &[&str]) -> Output {
        let mut command = self.circusd();
        command.args(arguments);
        output(command)
    }

    /// Starts the daemon and returns when it has said READY=1.
    pub(crate) fn start(self: &Arc<Self>) -> Daemon {
        self.start_with(|_| {})
    }

    /// The same with at most `descriptors` open ones, a limit that the daemon cannot raise.
    pub(crate) fn start_with_descriptors(self: &Arc<Self>, descriptors: u32) -> Daemon {
        self.start_with_limit("-n", descriptors)
    }

    /// The same with files that do not grow beyond so many blocks of the shell, which have 512 or
    /// 1024 bytes: as on a disk that is full.
    pub(crate) fn start_with_file_blocks(self: &Arc<Self>, blocks: u32) -> Daemon {
        self.start_with_limit("-f", blocks)
    }

    fn start_with_limit(self: &Arc<Self>, flag: &str, limit: u32) -> Daemon {
        let circusd = self.circusd();
        // Between fork and exec only the shell can do this without unsafe code.
        let mut shell = self.program("/bin/sh");
        shell
            .args(["-c", "ulimit \"$0\" \"$1\" && shift && exec \"$@\"", flag])
            .arg(limit.to_string())
            .arg(circusd.get_program())
            .args(circusd.get_args());
        self.start_command(shell, |_| {})
    }

    /// The same, after `adjust` has given the command its own arguments or environment.
    pub(crate) fn start_with(self: &Arc<Self>, adjust: impl FnOnce(&mut Command)) -> Daemon {
        self.start_command(self.circusd(), adjust)
    }

    /// The same in the cgroup at `group`, from its first instruction on.
    pub(crate) fn start_in(self: &Arc<Self>, group: &Path) -> Daemon {
        let circusd = self.circusd();
        let mut shell = self.program("/bin/sh");
        shell
            .args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""])
            .arg(group)
            .arg(circusd.get_program())
            .args(circusd.get_args());
        self.start_command(shell, |_| {})
    }

    fn start_command(
        self: &Arc<Self>,
        mut command: Command,
        adjust: impl FnOnce(&mut Command),
    ) -> Daemon {
        let notify_path = self.notify_socket();
        remove_if_there(&notify_path);
        let notify = UnixDatagram::bind(&notify_path).expect("a socket can be bound");
        let log = fs::File::options()
            .append(true)
            .create(true)
            .open(self.path("circusd.log"))
            .expect("the log can be opened");
        command
            .env("NOTIFY_SOCKET", &notify_path)
            .stdout(log.try_clone().expect("a descriptor can be doubled"))
            .stderr(log);
        adjust(&mut command);
        let child = command.spawn().expect("circusd can be started");
        Daemon::watch(Arc::clone(self), child, notify)
    }
}

fn remove_if_there(path: &Path) {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => panic!("{path:?}: {error}"),
        _ => {}
    }
}
