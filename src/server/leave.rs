//! Making room for the next daemon without stopping anything: because the service manager restarts
//! us, or because this program is to be replaced by another one.
//!
//! SIGTERM comes for a stop and for a restart alike. Which of them it is, the job of our unit tells.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use tokio::sync::{mpsc, oneshot};

use super::connection::Answer;
use super::driver::Driver;
use super::state::Records;
use super::tool;
use crate::api::Error;
use crate::api::frame::{Reply, Terminator, encode};
use crate::api::reply;
use crate::sys::cgroup;

/// Whoever goes on with an old state takes processes that have started since for nobody's.
const STALE_STATE: &str = "the state that it would go on with cannot be written";

/// Why the loop ends although nothing was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Another process goes on.
    HandOver,
    /// Another program goes on in this process.
    Reexec,
}

/// What was asked outside, and has been answered.
#[derive(Debug)]
pub(super) enum Verdict {
    /// What the manager wants with our unit.
    Job(Result<String, String>),
    /// Whether the new program can go on.
    Check(Result<String, String>),
}

/// What waits for answers from outside.
#[derive(Debug)]
pub(super) struct Leaving {
    sender: mpsc::UnboundedSender<Verdict>,
    pub(super) verdicts: mpsc::UnboundedReceiver<Verdict>,
    /// The program that we were started from, as long as it had its name.
    program: Option<PathBuf>,
    state: PathBuf,
    asking_job: bool,
    checking: bool,
    /// Who wants to hear whether we can be replaced.
    callers: Vec<(Terminator, oneshot::Sender<Answer>)>,
    pub(super) decided: Option<Leave>,
}

impl Leaving {
    /// `state`: the directory that the next daemon finds ours in.
    pub(super) fn new(state: &Path) -> Leaving {
        let (sender, verdicts) = mpsc::unbounded_channel();
        Leaving {
            sender,
            verdicts,
            // To be asked early: when a package manager has replaced it, it has no name any more.
            program: std::env::current_exe().ok(),
            state: state.to_owned(),
            asking_job: false,
            checking: false,
            callers: Vec::new(),
            decided: None,
        }
    }

    /// The program that is to go on.
    pub(super) fn program(&self) -> Option<&Path> {
        self.program.as_deref()
    }
}

impl Driver {
    /// SIGTERM: the manager is asked what it is for; where there is none, it is for a stop. A second
    /// one does not wait for the answer.
    pub(super) fn on_terminate(&mut self) {
        let unit = match self.leaving.asking_job {
            true => None,
            false => own_unit(),
        };
        let Some((unit, of_user)) = unit else {
            return self.end_gracefully();
        };
        self.leaving.asking_job = true;
        let argv = job_arguments(&unit, of_user);
        self.ask_tool(argv.into_iter().map(OsString::from).collect(), Verdict::Job);
    }

    /// Asks the program that is there by now whether it can go on.
    pub(super) fn ask_to_reexec(&mut self, caller: Option<(Terminator, oneshot::Sender<Answer>)>) {
        self.leaving.callers.extend(caller);
        if self.leaving.checking {
            return;
        }
        let Some(program) = self.leaving.program.clone() else {
            return self.reexec_refused("the path of our program is not known");
        };
        // The state that it is to read is that of this moment.
        self.write_all();
        if self.is_state_broken() {
            return self.reexec_refused(STALE_STATE);
        }
        self.leaving.checking = true;
        let mut argv = vec![program.into_os_string()];
        argv.extend(std::env::args_os().skip(1));
        argv.extend(["--check-state".into(), self.leaving.state.clone().into()]);
        self.ask_tool(argv, Verdict::Check);
    }

    fn is_state_broken(&self) -> bool {
        (self.records.as_ref()).is_some_and(Records::are_broken)
    }

    fn ask_tool(
        &self,
        argv: Vec<OsString>,
        verdict: impl FnOnce(Result<String, String>) -> Verdict + 'static,
    ) {
        let (sender, known) = (self.leaving.sender.clone(), Rc::clone(&self.workers.known));
        tokio::task::spawn_local(async move {
            // The daemon has ended if nobody hears it.
            let _ = sender.send(verdict(tool::ask(argv, known).await));
        });
    }

    pub(super) fn on_verdict(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Job(answer) => self.on_job(answer),
            Verdict::Check(Ok(_)) => {
                self.leaving.checking = false;
                // What has changed while it was looking.
                self.write_all();
                if self.is_state_broken() {
                    return self.reexec_refused(STALE_STATE);
                }
                tracing::info!("replacing this program by the one that is there now");
                let done = |terminator| encode(&Reply::last(reply::Empty {}), terminator);
                self.answer_callers(done);
                self.leaving.decided = Some(Leave::Reexec);
            }
            Verdict::Check(Err(why)) => {
                self.leaving.checking = false;
                self.reexec_refused(&why);
            }
        }
    }

    fn on_job(&mut self, answer: Result<String, String>) {
        let restarts = match answer {
            Ok(jobs) => is_restart(&jobs),
            Err(why) => {
                tracing::warn!(
                    "cannot tell a restart from a stop, so everything is stopped: {why}"
                );
                false
            }
        };
        match restarts && !self.core.ending() {
            true => {
                tracing::info!("being restarted; all processes go on");
                self.manager.handing_over();
                self.leaving.decided = Some(Leave::HandOver);
            }
            false => self.end_gracefully(),
        }
    }

    fn reexec_refused(&mut self, why: &str) {
        tracing::error!("not replaced by another program, going on: {why}");
        let reason = why.to_owned();
        let error = Error::ReexecFailed { reason };
        self.answer_callers(|terminator| encode(&error, terminator));
    }

    fn answer_callers(&mut self, message: impl Fn(Terminator) -> Vec<u8>) {
        for (terminator, answer) in self.leaving.callers.drain(..) {
            // Who has gone needs no answer.
            let _ = answer.send(Answer::Last(message(terminator)));
        }
    }

    /// What a program that goes on in this process is given: what is open, by name.
    pub(super) fn descriptors_to_pass(&self) -> Vec<(String, OwnedFd)> {
        let mut passed = self.sockets.pass_on();
        passed.extend(self.workers.streams.pass_on());
        passed
    }
}

/// The unit that we are the main process of, and whether it is one of a user's manager; `None` where
/// no manager listens.
fn own_unit() -> Option<(String, bool)> {
    std::env::var_os("NOTIFY_SOCKET")?;
    unit_around()
}

/// The unit that we are a process of, and whether it is one of a user's manager.
pub(super) fn unit_around() -> Option<(String, bool)> {
    unit_in(&cgroup::own().ok()?)
}

/// The unit of the system's manager that we are a process of, by which the journal files what we and
/// our workers say.
pub(super) fn system_unit() -> Option<String> {
    let (unit, of_user) = unit_around()?;
    (!of_user).then_some(unit)
}

/// What asks the manager for the jobs of a unit: the program and its arguments.
pub(super) fn job_arguments(unit: &str, of_user: bool) -> Vec<String> {
    let all = [
        "systemctl",
        "list-jobs",
        "--no-legend",
        "--plain",
        "--no-pager",
    ];
    let of_user = of_user.then_some("--user");
    let arguments = all.into_iter().chain(of_user).chain([unit]);
    arguments.map(ToOwned::to_owned).collect()
}

fn unit_in(group: &Path) -> Option<(String, bool)> {
    let names = group.iter().filter_map(|name| name.to_str());
    let services: Vec<&str> = names.filter(|name| name.ends_with(".service")).collect();
    let unit = services.last()?;
    let of_user = services.len() > 1 && services.iter().any(|name| name.starts_with("user@"));
    Some(((*unit).to_owned(), of_user))
}

/// Whether a job of our unit brings it up again: `123 circusd.service restart running`.
fn is_restart(jobs: &str) -> bool {
    jobs.lines().any(|line| {
        let kind = line.split_whitespace().nth(2);
        kind.is_some_and(|kind| kind.contains("restart"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_the_innermost_service() {
        for (group, expected) in [
            (
                "/sys/fs/cgroup/system.slice/circusd.service/supervisor",
                Some(("circusd.service", false)),
            ),
            (
                "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/circusd.service",
                Some(("circusd.service", true)),
            ),
            (
                "/sys/fs/cgroup/user.slice/user-0.slice/session-1.scope",
                None,
            ),
        ] {
            let found = unit_in(Path::new(group));
            let expected = expected.map(|(unit, of_user)| (unit.to_owned(), of_user));
            assert_eq!(found, expected, "{group}");
        }
    }

    #[test]
    fn only_what_brings_it_up_again_is_a_restart() {
        for (jobs, expected) in [
            ("123 circusd.service restart running", true),
            ("123 circusd.service try-restart waiting", true),
            ("123 circusd.service stop running", false),
            ("", false),
            ("restart", false),
        ] {
            assert_eq!(is_restart(jobs), expected, "{jobs}");
        }
    }
}
