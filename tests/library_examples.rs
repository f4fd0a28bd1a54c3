//! The examples of the library do what they say at their heads.
//!
//! They are run as programs, as a reader would run them.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};

use circusd::{Arbiter, Watcher};
use common::{eventually, facts};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// An example that runs, and what it says.
struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(example: &str, arguments: &[&str]) -> Running {
        let mut child = Command::new(facts::example(example))
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Running { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("it says something");
        line.trim_end().to_owned()
    }

    fn children(&self) -> BTreeSet<u64> {
        let pid = self.child.id();
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
        let children = tasks.flatten().map(|task| task.path().join("children"));
        let children: Vec<String> = children.map(|path| facts::text_of(&path)).collect();
        let children = children
            .iter()
            .flat_map(|children| children.split_whitespace());
        children.map(|pid| pid.parse().expect("a pid")).collect()
    }

    /// Ctrl-C, once it is listened to.
    fn interrupt(&self) {
        let pid = self.child.id();
        eventually("somebody listens to SIGINT", || {
            let status = facts::text_of(format!("/proc/{pid}/status").as_ref());
            let caught = status
                .lines()
                .find_map(|line| line.strip_prefix("SigCgt:"))?;
            let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
            (caught & 2 != 0).then_some(())
        });
        let pid = Pid::from_raw(pid.try_into().expect("a pid fits"));
        kill(pid, Signal::SIGINT).expect("it runs");
    }

    /// Waits for its end, which is a good one.
    fn ends(mut self) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("it is text");
        let status = self.child.wait().expect("it is our child");
        assert!(status.success(), "{status}: {rest}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Where the test has failed it may still run.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn three_lines_run_three_processes() {
    let example = Running::start("three_lines", &["sleep", "1000"]);
    let workers = eventually("three processes", || {
        let workers = example.children();
        (workers.len() == 3).then_some(workers)
    });
    example.interrupt();
    example.ends();
    assert!(workers.iter().all(|pid| !facts::runs(*pid)));
}

/// Who answers.
fn ask(address: &str) -> u64 {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    let (head, body) = answer.split_once("\r\n\r\n").expect("it is HTTP");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    body.trim().parse().expect("it is a pid")
}

#[test]
fn a_pool_serves_on_whoever_dies() {
    let mut example = Running::start("web_pool", &["0", "2"]);
    let line = example.line();
    let address = line.strip_prefix("2 workers on http://").expect(&line);
    let before = example.children();
    assert_eq!(before.len(), 2);
    let first = ask(address);
    assert!(before.contains(&first));
    let pid = Pid::from_raw(first.try_into().expect("a pid fits"));
    kill(pid, Signal::SIGKILL).expect("it runs");
    // Until it has heard of it, it may still be given a client.
    eventually("its end", || (!facts::runs(first)).then_some(()));
    assert!(ask(address) != first);
    assert_eq!(example.line(), "watcher.web.reap");
    eventually("its successor", || {
        let now = example.children();
        (now.len() == 2 && !now.contains(&first)).then_some(())
    });
    example.interrupt();
    example.ends();
}

#[test]
fn a_closure_keeps_a_worker_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    fs::write(dir.path().join("busy"), "").unwrap();
    let mut example = Running::start("hook_closure", &[path]);
    let reason = example.line();
    assert!(reason.contains("the directory is busy"), "{reason}");
    example.ends();

    fs::remove_file(dir.path().join("busy")).unwrap();
    let mut example = Running::start("hook_closure", &[path]);
    assert_eq!(example.line(), "started");
    let worker = *example.children().first().expect("it runs");
    let worker = Pid::from_raw(worker.try_into().expect("a pid fits"));
    kill(worker, Signal::SIGTERM).expect("it runs");
    assert_eq!(example.line(), "worker has ended");
    assert_eq!(example.line(), "stopping");
    example.ends();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_follows_events_to_the_last() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock").to_string_lossy().into_owned();
    let arbiter = Arbiter::builder()
        .api_socket(&*socket)
        .watcher(Watcher::builder("job", ["sleep", "1000"]))
        .build()
        .unwrap();
    arbiter.start_in_background().await.unwrap();
    let mut example = Running::start("follow_events", &[&socket]);
    let from = example.line();
    let cursor = from.strip_prefix("from ").expect(&from).to_owned();
    let job = arbiter.get_watcher("job").await.unwrap();
    job.restart().await.unwrap();
    let mut heard = Vec::new();
    while !heard
        .iter()
        .any(|line: &String| line.ends_with("watcher.job.spawn"))
    {
        heard.push(example.line());
    }
    // Another one comes later, and hears the same.
    let mut other = Running::start("follow_events", &[&socket, &cursor]);
    assert_eq!(other.line(), format!("from {cursor}"));
    let again: Vec<String> = heard.iter().map(|_| other.line()).collect();
    assert_eq!(again, heard);
    let stopped = tokio::spawn({
        let arbiter = arbiter.handle();
        async move { arbiter.stop().await }
    });
    for mut example in [example, other] {
        while !example.line().ends_with("watcher.job.stop") {}
        example.ends();
    }
    stopped.await.unwrap().unwrap();
}
