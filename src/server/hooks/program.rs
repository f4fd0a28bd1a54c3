//! A program that is asked: started as a process of the watcher would be, given its context on
//! standard input, and understood by its exit code and what it writes.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use nix::fcntl::OFlag;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

use super::Scene;
use super::tree::{Ground, Tree};
use crate::api::types::Object;
use crate::config::Expanded;
use crate::core::{HookAnswer, SpawnFailure};
use crate::server::said::{Said, drain, read};
use crate::server::{convert, program};
use crate::sys::pidfd::ExitStatus;
use crate::sys::spawn::{self, Command};

/// How much of standard output is kept, and of that the end: an answer is a line. The rest is read
/// and thrown away, so that the program does not wait for us.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Runs the program. Dropping the future ends it with all that it has started.
pub(super) async fn ask(argv: &[String], scene: &Scene, ground: &Rc<Ground>) -> HookAnswer {
    match start(argv, scene, ground) {
        Ok(running) => running.finish(scene).await,
        Err(words) => HookAnswer::Failed(words),
    }
}

struct Running {
    tree: Tree,
    input: pipe::Sender,
    output: pipe::Receiver,
    errors: pipe::Receiver,
}

fn start(argv: &[String], scene: &Scene, ground: &Rc<Ground>) -> Result<Running, String> {
    let told = |stage: &'static str| move |error: io::Error| program::failure(stage, &error).error;
    let room = ground.budget.check(io::stderr());
    room.map_err(told("making room for its descriptors"))?;
    let (their_input, input) = new_pipe().map_err(told("making a pipe"))?;
    let (output, their_output) = new_pipe().map_err(told("making a pipe"))?;
    let (errors, their_errors) = new_pipe().map_err(told("making a pipe"))?;
    let run = ground.next_run();
    let command = command(argv, scene, ground, run)?;
    let homes = &ground.homes;
    let cgroup = homes.cgroup(scene.watcher.as_str(), scene.point.as_str(), run);
    let cgroup = cgroup.map_err(told("making its cgroup"))?;
    let fds = [
        (their_input.as_fd(), 0),
        (their_output.as_fd(), 1),
        (their_errors.as_fd(), 2),
    ];
    let child = spawn::spawn(&command, &fds, cgroup.as_ref()).map_err(|error| {
        if let Some(cgroup) = &cgroup {
            crate::server::homes::remove(cgroup.path().to_owned());
        }
        program::refused(&error, &scene.recipe.watcher.working_dir).error
    })?;
    let tree = Tree::new(ground, child, cgroup, run).map_err(told("watching over it"))?;
    Ok(Running {
        tree,
        input: pipe::Sender::from_owned_fd(input).map_err(told("making a pipe"))?,
        output: pipe::Receiver::from_owned_fd(output).map_err(told("making a pipe"))?,
        errors: pipe::Receiver::from_owned_fd(errors).map_err(told("making a pipe"))?,
    })
}

fn new_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}

fn command(argv: &[String], scene: &Scene, ground: &Ground, run: u64) -> Result<Command, String> {
    let wid = scene.wid.unwrap_or(0);
    let watcher = &scene.recipe.watcher;
    let expanded = Expanded {
        argv: argv.to_vec(),
        ..watcher.expand(wid)
    };
    let told = |failure: SpawnFailure| failure.error;
    let credentials = scene.recipe.credentials().map_err(told)?;
    let mark = ground.homes.mark(run);
    let surroundings = &ground.surroundings;
    let command = program::command(watcher, credentials, expanded, wid, mark, surroundings);
    let mut command = command.map_err(told)?;
    if scene.wid.is_none() {
        command.env.retain(|(name, _)| name != "CIRCUS_WID");
    }
    let own = [
        ("CIRCUS_HOOK", Some(scene.point.as_str().to_owned())),
        ("CIRCUS_PID", scene.pid.map(|pid| pid.to_string())),
        (
            "CIRCUS_SIGNUM",
            scene.signal.map(|signal| signal.to_string()),
        ),
    ];
    for (name, value) in own {
        command.env.retain(|(known, _)| known != name);
        command
            .env
            .extend(value.map(|value| (name.into(), value.into())));
    }
    Ok(command)
}

impl Running {
    async fn finish(mut self, scene: &Scene) -> HookAnswer {
        let mut answer = Kept::default();
        let (watcher, hook) = (&scene.watcher, scene.point.as_str());
        let mut log = Said::new(format!("{watcher}: hook {hook}"));
        let mut input = Some(self.input);
        let talk = async {
            tokio::join!(
                feed(&mut input, scene),
                read(&self.output, |bytes| answer.push(bytes)),
                read(&self.errors, |bytes| log.push(bytes)),
            );
            std::future::pending::<()>().await;
        };
        let status = tokio::select! {
            status = self.tree.ended() => status,
            () = talk => unreachable!("it waits for ever"),
        };
        // First of all what it has left behind, which may be writing still.
        drop(self.tree);
        drain(&self.output, |bytes| answer.push(bytes));
        drain(&self.errors, |bytes| log.push(bytes));
        drop(log);
        match status {
            Ok(status) => understand(status, answer),
            Err(error) => HookAnswer::Failed(format!("nobody knows how it ended: {error}")),
        }
    }
}

/// Gives the program its context; one that does not read it need not.
async fn feed(input: &mut Option<pipe::Sender>, scene: &Scene) {
    let Some(mut input) = input.take() else {
        return;
    };
    let mut line = serde_json::to_vec(&scene.context).unwrap_or_default();
    line.push(b'\n');
    // It has closed its end, or is gone: its answer counts all the same.
    let _ = input.write_all(&line).await;
}

/// The end of standard output.
#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    /// The beginning is lost; whether it was that of an object.
    cut: Option<bool>,
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        // Now and then, so that each byte is moved once at most.
        if self.bytes.len() >= 2 * ANSWER_BYTES_MAX {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let too_much = self.bytes.len().saturating_sub(ANSWER_BYTES_MAX);
        if too_much > 0 {
            let is_object = self.bytes.trim_ascii_start().starts_with(b"{");
            self.cut.get_or_insert(is_object);
            self.bytes.drain(..too_much);
        }
    }

    /// The object that is all of the output, or its last line.
    ///
    /// # Errors
    ///
    /// There was one, and it is too long.
    fn object(mut self) -> Result<Option<Object>, String> {
        self.cut();
        let text = String::from_utf8_lossy(&self.bytes);
        let last = text.trim().lines().next_back().unwrap_or_default();
        let found = match self.cut {
            None => serde_json::from_str(&text).or_else(|_| serde_json::from_str(last)),
            Some(_) => serde_json::from_str(last),
        };
        match (found, self.cut) {
            (Ok(object), _) => Ok(Some(object)),
            (Err(_), Some(true)) => Err(format!(
                "its answer is longer than {ANSWER_BYTES_MAX} bytes"
            )),
            (Err(_), _) => Ok(None),
        }
    }
}

fn understand(status: ExitStatus, answer: Kept) -> HookAnswer {
    let object = match answer.object() {
        Ok(object) => object.unwrap_or_default(),
        Err(words) => return HookAnswer::Failed(words),
    };
    let reason = object.get("reason").and_then(serde_json::Value::as_str);
    let because = |how: String| match reason {
        Some(reason) => format!("{reason} ({how})"),
        None => how,
    };
    let code = match status {
        ExitStatus::Exited(code) => code,
        ExitStatus::Signaled { signal, .. } => {
            let signal = convert::signal_name(signal);
            return HookAnswer::Failed(because(format!("it was ended by {signal}")));
        }
    };
    let said_no = |how: &str| HookAnswer::False(reason.unwrap_or(how).to_owned());
    match (code, object.get("result")) {
        (0, None | Some(serde_json::Value::Bool(true))) => HookAnswer::True,
        (0, Some(serde_json::Value::Bool(false))) => said_no("it says no"),
        (0, Some(other)) => HookAnswer::Failed(because(format!(
            "its result is neither true nor false: {other}"
        ))),
        (1, _) => said_no("it ended with exit code 1"),
        (code, _) => HookAnswer::Failed(because(format!("it ended with exit code {code}"))),
    }
}
