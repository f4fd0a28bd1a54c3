//! Whoever interrupts a test, or a script that has set up a machine for one, leaves nothing behind:
//! no process, mount, cgroup or file.
//!
//! Interrupted as it happens: Ctrl-C, which all processes of a terminal get, and signals to the one
//! that was started.

mod common;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use common::machine::{script, tools_for};
use common::{Container, eventually, output};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// A process, and when it began: its pid may be another's later.
type Process = (u32, String);

/// The parent and the beginning of a process that lives, and is more than a zombie (proc_pid_stat(5)).
fn stat(pid: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = fields.split(' ').collect();
    let lives = !matches!(fields[0], "Z" | "X");
    lives.then(|| (fields[1].parse().expect("a pid"), fields[19].to_owned()))
}

fn lives((pid, began): &Process) -> bool {
    stat(*pid).is_some_and(|(_, since)| since == *began)
}

/// All that descends from a process, and that itself.
fn family(root: u32) -> BTreeSet<Process> {
    let entries = fs::read_dir("/proc").expect("/proc can be read").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let all: Vec<(u32, u32, String)> = pids
        .filter_map(|pid| stat(pid).map(|(parent, began)| (pid, parent, began)))
        .collect();
    let mut family = BTreeSet::from([root]);
    while all
        .iter()
        .any(|(pid, parent, _)| family.contains(parent) && family.insert(*pid))
    {}
    let of_it = all.into_iter().filter(|(pid, ..)| family.contains(pid));
    of_it.map(|(pid, _, began)| (pid, began)).collect()
}

fn name(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm"));
    name.unwrap_or_default().trim_end().to_owned()
}

/// The cgroup that `tests/in-cgroup` makes as the process `pid`, if we could see it.
fn group_of(pid: u32) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc can be read");
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let mount = mount.split(' ').nth(4).expect("a mount has a place");
    let groups = fs::read_to_string("/proc/self/cgroup").expect("/proc can be read");
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let home = Path::new(mount).join(own);
    Some(home.join(format!("circusd-tests.{pid}")))
}

/// Something that has a machine, in a group of processes of its own.
struct Interrupted {
    root: Child,
    files: TempDir,
}

impl Interrupted {
    fn start(command: Command) -> Self {
        let files = TempDir::new().expect("a directory can be made");
        // Who runs us in the background may ignore SIGINT, and a shell cannot undo that for itself.
        let mut heeding = Command::new("env");
        heeding
            .arg("--default-signal")
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => heeding.env(name, value),
                None => heeding.env_remove(name),
            };
        }
        let mut command = heeding;
        command
            .env("TMPDIR", files.path())
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let root = command.spawn().expect("it can be started");
        Self { root, files }
    }

    /// Waits until it has written this.
    fn said(&mut self, wanted: &str) {
        let stdout = self.root.stdout.as_mut().expect("it is a pipe");
        let mut text = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&text).contains(wanted) {
            let read = stdout.read(&mut byte).expect("a pipe can be read");
            assert_eq!(read, 1, "it ends without '{wanted}'");
            text.push(byte[0]);
        }
    }

    /// Waits until something in it is called so.
    fn runs(&self, wanted: &str) {
        eventually(wanted, || {
            let family = family(self.root.id());
            let mut names = family.iter().map(|(pid, _)| name(*pid));
            names.any(|name| name.starts_with(wanted)).then_some(())
        });
    }

    fn end_by(mut self, signal: Signal) {
        let family = family(self.root.id());
        let pid = Pid::from_raw(i32::try_from(self.root.id()).expect("a pid"));
        let target = match signal {
            Signal::SIGINT => Pid::from_raw(-pid.as_raw()),
            _ => pid,
        };
        kill(target, signal).expect("it is ours");
        self.root.wait().expect("our own child can be waited for");
        eventually(&format!("all are gone after {signal}"), || {
            (!family.iter().any(lives)).then_some(())
        });
        self.leaves_nothing(signal);
    }

    fn leaves_nothing(&self, signal: Signal) {
        let group = group_of(self.root.id()).filter(|group| group.exists());
        if let Some(group) = group {
            assert_eq!(signal, Signal::SIGKILL, "{} stays", group.display());
            // Nobody was left to remove it; whoever comes next does.
            output(in_cgroup(&["true"]));
            assert!(!group.exists(), "{} stays", group.display());
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc can be read");
        for ours in [" machine-", " vm-", " circusd-tests "] {
            assert!(!mounts.contains(ours), "{signal}: {mounts}");
        }
        let files = fs::read_dir(self.files.path()).expect("it is ours");
        let files: Vec<_> = files.flatten().map(|file| file.path()).collect();
        assert!(files.is_empty(), "{signal}: {files:?}");
    }
}

fn in_cgroup(command: &[&str]) -> Command {
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/in-cgroup"));
    script.args(command);
    script
}

const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL];

#[test]
fn a_script_around_a_cgroup_leaves_nothing() {
    for signal in SIGNALS {
        let script = Interrupted::start(in_cgroup(&["sleep", "1000"]));
        script.runs("sleep");
        script.end_by(signal);
    }
}

#[test]
fn a_script_around_a_container_leaves_nothing() {
    let Some(tools) = tools_for("container") else {
        return;
    };
    for signal in SIGNALS {
        let mut container = script("container");
        container
            .arg(&tools)
            .args(["--", "sh", "-c", "echo in; sleep 1000"]);
        let mut script = Interrupted::start(container);
        script.said("in");
        script.end_by(signal);
    }
}

#[test]
fn a_script_around_a_virtual_machine_leaves_nothing() {
    let Some(tools) = tools_for("vm") else { return };
    for signal in SIGNALS {
        let mut vm = script("vm");
        vm.arg(&tools).args(["--", "true"]);
        let script = Interrupted::start(vm);
        script.runs("qemu");
        script.end_by(signal);
    }
}

/// Set where the test below is the one that is interrupted.
const HELD: &str = "CIRCUSD_TEST_HELD";

#[test]
fn a_test_that_is_killed_takes_its_container_along() {
    if env::var_os(HELD).is_some() {
        let container = Container::boot().expect("it was tried before");
        println!("held");
        container.run(&["sleep", "1000"]);
        return;
    }
    if tools_for("container").is_none() {
        return;
    }
    for signal in SIGNALS {
        let mut test = Command::new(env::current_exe().expect("a test knows its program"));
        let name = "a_test_that_is_killed_takes_its_container_along";
        test.args(["--exact", name, "--nocapture"]).env(HELD, "1");
        let mut test = Interrupted::start(test);
        test.said("held");
        test.end_by(signal);
    }
}
