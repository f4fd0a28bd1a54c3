//! A worker that says on its notify socket, and does, whatever the test tells it to.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;

use super::{Daemon, Home, eventually};

/// Reads lines from a pipe named after its pid, so that none goes to its predecessor. A line is a
/// message, with `|` between the lines of that; one that begins with `!` is run.
const SCRIPT: &str = r#"
import os, signal, socket, subprocess, sys, time

out = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

def tell(text):
    out.sendto(text.replace("|", "\n").encode(), os.environ["NOTIFY_SOCKET"])

pipe = os.environ["TELLER_HOME"] + "/say." + str(os.getpid())
os.mkfifo(pipe + ".new")
said = os.fdopen(os.open(pipe + ".new", os.O_RDWR))
os.rename(pipe + ".new", pipe)
for line in said:
    line = line.rstrip("\n")
    if line.startswith("!"):
        exec(line[1:])
    else:
        tell(line)
"#;

/// Where a daemon lives whose watcher `web` is such a worker, with these keys.
pub(crate) fn home(keys: &str) -> Arc<Home> {
    let home = Home::new("");
    let root = home.root().display();
    home.configure(&format!(
        "[watcher.web]\ncmd = \"python3 teller.py\"\nworking_dir = \"..\"\n\
         env.TELLER_HOME = \"{root}\"\n{keys}\n"
    ));
    std::fs::write(home.path("teller.py"), SCRIPT).expect("a script can be written");
    home
}

/// Has the process with this pid say or do something.
pub(crate) fn say(daemon: &Daemon, pid: u64, line: &str) {
    let path = daemon.home().path(&format!("say.{pid}"));
    eventually(&format!("{} listens", path.display()), || {
        path.exists().then_some(())
    });
    let mut pipe = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .expect("who has made it holds it open");
    writeln!(pipe, "{line}").expect("a line fits into a pipe");
}

/// The pid of the only process of `web`, once there is one that is on its way or runs.
pub(crate) fn pid(daemon: &Daemon) -> u64 {
    let has_one = |status: &serde_json::Value| {
        let processes = status["processes"].as_array().map_or(0, Vec::len);
        processes == 1 && status["processes"][0]["state"] != "spawning"
    };
    let status = daemon.wait_until("web", has_one);
    status["processes"][0]["pid"].as_u64().expect("a pid")
}

/// Waits until what a process says of itself is this.
pub(crate) fn wait_said(daemon: &Daemon, text: &str) {
    eventually(&format!("web says '{text}'"), || {
        let status = daemon.status("web");
        (status["processes"][0]["status_text"] == text).then_some(())
    });
}
