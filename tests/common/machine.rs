//! Machines with a systemd of their own, in which tests run the `circusd` that was just built.
//!
//! The scripts in `tests/machines` boot them and have them gone afterwards; this drives them from
//! outside. It never falls back to something less real: where there is no machine, the test is
//! skipped aloud with the reason that `tests/setup` left.

use std::any::type_name;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::facts::http_worker;
use super::{Connection, eventually, output, skip};

/// A running container. It has nothing but its own tmpfs above a root file system that all share,
/// so a test may do to it what it likes, and any number may run at once. About half a second to
/// boot, and gone when it goes out of scope.
///
/// `circusd` and `circusctl` are in its `/usr/local/bin`.
pub(crate) struct Container {
    script: Child,
    /// Its init, as seen from outside.
    init: u32,
    /// Whether the script was killed, and cannot end well.
    killed: bool,
}

impl Container {
    /// Boots one, or tells that the test is skipped.
    pub(crate) fn boot() -> Option<Self> {
        let programs = [
            ("circusd", env!("CARGO_BIN_EXE_circusd")),
            ("circusctl", env!("CARGO_BIN_EXE_circusctl")),
        ];
        let binds = programs.map(|(name, file)| format!("--bind-ro={file}:/usr/local/bin/{name}"));
        Self::boot_with(&binds)
    }

    /// The same with other options of systemd-nspawn(1) in place of the two programs.
    pub(crate) fn boot_with(options: &[String]) -> Option<Self> {
        let tools = tools_for("container")?;
        let mut script = script("container")
            .arg(tools)
            .args(options)
            // It runs until this ends, so not even a test that is killed leaves it behind.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script can be started");
        let stdout = script.stdout.take().expect("it is a pipe");
        let mut line = String::new();
        BufReader::new(stdout)
            .read_line(&mut line)
            .expect("it writes text");
        let init = line
            .strip_prefix("ready ")
            .and_then(|pid| pid.trim().parse().ok());
        let init = init.expect("the container boots; it has said why not");
        Some(Self {
            script,
            init,
            killed: false,
        })
    }

    /// Ends the script that runs it by SIGKILL, and nothing else.
    pub(crate) fn kill_script(mut self) {
        self.script.kill().expect("our own child can be killed");
        self.killed = true;
    }

    /// A command in the container, to be run as root in a clean environment.
    pub(crate) fn command(&self, command: &[&str]) -> Command {
        let mut enter = script("container");
        enter
            .arg("--enter")
            .arg(self.init.to_string())
            .args(command)
            .stdin(Stdio::null());
        enter
    }

    /// Runs a command in it to its end.
    pub(crate) fn run(&self, command: &[&str]) -> Output {
        output(self.command(command))
    }

    /// The same, and it must succeed; returns what it wrote to its standard output.
    pub(crate) fn succeed(&self, command: &[&str]) -> String {
        let output = self.run(command);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{command:?}: {}\n{text}{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// One property of a unit, as systemd has it.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        let text = self.succeed(&["systemctl", "show", "--value", "--property", name, unit]);
        text.trim_end().to_owned()
    }

    /// A file of the container, given by its absolute path in it. A symbolic link that is absolute
    /// leads out of the container.
    pub(crate) fn path(&self, inside: &str) -> PathBuf {
        assert!(inside.starts_with('/'), "not absolute: '{inside}'");
        PathBuf::from(format!("/proc/{}/root{inside}", self.init))
    }

    /// The namespace of its network.
    pub(crate) fn network(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.init))
    }

    /// Writes a file, making its directory.
    pub(crate) fn write(&self, inside: &str, text: &str) {
        let path = self.path(inside);
        let directory = path.parent().expect("it is in the container");
        fs::create_dir_all(directory).expect("a directory can be made");
        fs::write(&path, text).unwrap_or_else(|error| panic!("{inside}: {error}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its own file");
    }

    /// Copies a file with its mode; a program with `copy_program`.
    pub(crate) fn copy_in(&self, from: &Path, inside: &str) {
        fs::copy(from, self.path(inside))
            .unwrap_or_else(|error| panic!("{} to {inside}: {error}", from.display()));
    }

    /// Makes and starts a service, with these lines of its `[Service]` section.
    ///
    /// # Panics
    ///
    /// If it does not become active; its journal is shown.
    pub(crate) fn start_service(&self, unit: &str, service: &str) {
        self.write(
            &format!("/etc/systemd/system/{unit}"),
            &format!("[Service]\n{service}\n"),
        );
        self.succeed(&["systemctl", "daemon-reload"]);
        let output = self.run(&["systemctl", "start", unit]);
        assert!(
            output.status.success(),
            "{unit} does not start: {}{}",
            String::from_utf8_lossy(&output.stderr),
            self.succeed(&["journalctl", "--no-pager", "--unit", unit])
        );
    }

    /// A connection to a daemon in it, over its socket.
    pub(crate) fn connect(&self, socket: &str) -> Connection {
        Connection::open(&self.path(socket))
    }

    /// The records of the journal that have these fields (`FIELD=value`, as journalctl(1) takes
    /// them), oldest first.
    pub(crate) fn journal(&self, matches: &[&str]) -> Vec<Value> {
        // What a process has sent before this is written.
        self.succeed(&["journalctl", "--sync"]);
        let arguments = ["journalctl", "--quiet", "--output=json", "--all"];
        let text = self.succeed(&[&arguments, matches].concat());
        let record = |line| serde_json::from_str(line).expect("journalctl writes JSON");
        text.lines().map(record).collect()
    }

    /// Waits until the journal has as many records with these fields.
    pub(crate) fn wait_for_journal(&self, matches: &[&str], count: usize) -> Vec<Value> {
        eventually(&format!("{count} records with {matches:?}"), || {
            Some(self.journal(matches)).filter(|records| records.len() >= count)
        })
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if std::thread::panicking() {
            show_journal(self);
        }
        // The end of its input is what it waits for.
        drop(self.script.stdin.take());
        let status = self.script.wait().expect("our own child can be waited for");
        assert!(
            std::thread::panicking() || self.killed || status.success(),
            "the container has ended with {status}"
        );
    }
}

#[expect(
    clippy::print_stderr,
    reason = "a test that failed shows what the container saw"
)]
fn show_journal(container: &Container) {
    let journal = container.run(&["journalctl", "--no-pager", "--lines=200"]);
    eprintln!(
        "---- the journal of the container\n{}----",
        String::from_utf8_lossy(&journal.stdout)
    );
}

/// Set in the virtual machine, where [`in_vm`] runs the test itself.
const IN_VM: &str = "CIRCUSD_TEST_IN_VM";

/// Runs `test` in a virtual machine that has all cgroup controllers, or tells that it is skipped.
///
/// The whole test binary runs there, once, whichever of its tests were asked for here; each asks
/// what has become of it. So every test of such a binary has to go through here. The harness finds
/// there what it has here: `circusd`, `circusctl`, the HTTP worker of the examples, the programs of
/// Debian. The test is in a cgroup one below a delegated one. All is about ten times as slow as here.
///
/// # Panics
///
/// If the test has failed there; all that was written there is shown.
pub(crate) fn in_vm<T: FnOnce()>(test: T) {
    if env::var_os(IN_VM).is_some() {
        return test();
    }
    let Some(tools) = tools_for("vm") else {
        return;
    };
    static RUN: OnceLock<VmRun> = OnceLock::new();
    let run = RUN.get_or_init(|| VmRun::new(&tools));
    // Of a closure it is "binary::test::{{closure}}"; a thread has its test's name not always.
    let name = type_name::<T>();
    let name = name.trim_end_matches("::{{closure}}");
    let (_, name) = name.split_once("::").expect("it is in a crate");
    match run.verdict(name) {
        Some(Verdict::Passed) => {}
        Some(Verdict::Skipped(reason)) => skip(reason),
        Some(Verdict::Failed) | None => {
            panic!("it fails in the virtual machine:\n{}", run.output)
        }
    }
}

/// What has become of a test in the virtual machine.
enum Verdict {
    Passed,
    Failed,
    Skipped(String),
}

/// A test binary that has run in a virtual machine.
struct VmRun {
    /// What it, or the script, has written.
    output: String,
    /// `skipped: NAME: REASON`, in lines.
    skips: String,
}

impl VmRun {
    fn new(tools: &Path) -> Self {
        let program = env::current_exe().expect("the test binary knows its path");
        let results = tempfile::tempdir().expect("a temporary directory can be made");
        // Not even a test that is killed leaves the machine behind.
        let output = Command::new("setpriv")
            .args(["--pdeathsig", "TERM"])
            .arg(script("vm").get_program())
            .arg(tools)
            .arg("--with")
            .arg(&program)
            .args(["--with", env!("CARGO_BIN_EXE_circusd")])
            .args(["--with", env!("CARGO_BIN_EXE_circusctl")])
            .arg("--with")
            .arg(http_worker())
            .arg("--results")
            .arg(results.path())
            .args(["--", "env", "CIRCUSD_TEST_SKIPS=/results/skips"])
            .arg(format!("{IN_VM}=1"))
            .arg(&program)
            // With a thread of its own each test has its name, for its skips.
            .arg("--test-threads=2")
            .stdin(Stdio::null())
            .output()
            .expect("the script can be started");
        let texts =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        Self {
            output: texts.concat(),
            skips: fs::read_to_string(results.path().join("skips")).unwrap_or_default(),
        }
    }

    fn verdict(&self, test: &str) -> Option<Verdict> {
        let skip = format!("skipped: {test}: ");
        if let Some(reason) = self.skips.lines().find_map(|line| line.strip_prefix(&skip)) {
            return Some(Verdict::Skipped(reason.to_owned()));
        }
        let line = format!("test {test} ... ");
        match self
            .output
            .lines()
            .find_map(|text| text.strip_prefix(&line))?
        {
            "ok" => Some(Verdict::Passed),
            _ => Some(Verdict::Failed),
        }
    }
}

/// A script of `tests/machines`.
pub(crate) fn script(name: &str) -> Command {
    Command::new(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/machines")
            .join(name),
    )
}

/// Where `tests/setup` has left what the script `name` needs, or `None` after telling that the
/// test is skipped.
pub(crate) fn tools_for(name: &str) -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("cargo's target directory holds it");
    let tools = target.join("test-tools");
    if let Ok(reason) = fs::read_to_string(tools.join(format!("{name}.missing"))) {
        skip(reason.trim());
        return None;
    }
    if !nix::unistd::geteuid().is_root() {
        skip("only root can boot a machine");
        return None;
    }
    if !tools.join("machines").exists() {
        skip("tests/setup has not made the machines yet");
        return None;
    }
    Some(tools)
}
