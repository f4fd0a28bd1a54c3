//! Requests: each is answered exactly once, in time, and truthfully as far as the books know.

use super::books::{Asked, Watch};
use super::{Checker, Verdict, ensure};
use crate::core::{Action, Change, Command, Name, Progress, Refusal, Reply, Request, RequestId};
use std::collections::BTreeSet;

/// The watchers a command names.
fn names(command: &Command) -> Vec<&Name> {
    match command {
        Command::Start(names)
        | Command::Stop(names)
        | Command::Restart(names)
        | Command::Reload {
            watchers: names, ..
        }
        | Command::Freeze(names)
        | Command::Thaw(names) => names.iter().collect(),
        Command::Scale { watcher, .. }
        | Command::Signal { watcher, .. }
        | Command::Kill { watcher, .. }
        | Command::Remove { watcher, .. } => vec![watcher],
        Command::Set { spec, .. } => vec![&spec.name],
        Command::Add { .. } | Command::Apply { .. } | Command::Quit => Vec::new(),
    }
}

/// Whether a stop of `stopped` may be undone or prolonged by this.
fn contradicts(command: &Command, stopped: &[Name]) -> bool {
    match command {
        Command::Start(_)
        | Command::Restart(_)
        | Command::Reload { .. }
        | Command::Set { .. }
        | Command::Remove { .. } => names(command).iter().any(|name| stopped.contains(name)),
        Command::Add { .. } | Command::Apply { .. } => true,
        Command::Stop(_)
        | Command::Scale { .. }
        | Command::Signal { .. }
        | Command::Kill { .. }
        | Command::Freeze(_)
        | Command::Thaw(_)
        | Command::Quit => false,
    }
}

impl Checker {
    pub(super) fn requested(&mut self, request: &Request, actions: &[Action]) -> Verdict {
        let refusal = actions.iter().find_map(|action| match action {
            Action::Reply {
                request: id,
                result: Err(refusal),
            } if *id == request.id => Some(refusal),
            _ => None,
        });
        self.refused_rightly(&request.command, refusal)?;
        if refusal.is_none_or(|refusal| !self.is_refusal(&request.command, refusal)) {
            for asked in self.requests.values_mut() {
                if let Command::Stop(stopped) = &asked.request.command {
                    asked.contradicted |= contradicts(&request.command, stopped);
                }
            }
            self.accept(&request.command);
        }
        let stops = matches!(request.command, Command::Stop(_)) && request.wait;
        let asked = Asked {
            request: request.clone(),
            at: self.now,
            late: self.late,
            answered: false,
            contradicted: false,
            within: stops.then(|| self.stop_bound()),
            scaled: self.target_of(&request.command),
        };
        self.requests.insert(request.id, asked);
        Ok(())
    }

    /// Whether this means that nothing was begun; else it was begun, and failed on the spot or was
    /// overruled in the same moment.
    fn is_refusal(&self, command: &Command, refusal: &Refusal) -> bool {
        let there = |name: &Name| self.watchers.get(name).is_some_and(Watch::is_there);
        match (refusal, command) {
            (Refusal::NoSuchWatcher(_), _) => !names(command).into_iter().all(there),
            (Refusal::WatcherExists(_), Command::Add { spec, .. }) => {
                self.watchers.contains_key(&spec.name)
            }
            (Refusal::WatcherExists(_), _)
            | (
                Refusal::StartFailed { .. }
                | Refusal::HookRefused { .. }
                | Refusal::HookFailed { .. },
                _,
            ) => false,
            (Refusal::ShuttingDown, _) => self.ending.is_some(),
            (
                Refusal::NoSuchProcess { .. } | Refusal::Singleton(_) | Refusal::TooMany { .. },
                _,
            ) => true,
        }
    }

    /// Whether what names nothing is refused, and nothing else for that reason.
    fn refused_rightly(&self, command: &Command, refusal: Option<&Refusal>) -> Verdict {
        if self.ending.is_some() {
            return Ok(());
        }
        let unknown = names(command)
            .into_iter()
            .any(|name| !self.watchers.contains_key(name));
        let known = names(command)
            .into_iter()
            .all(|name| self.watchers.get(name).is_some_and(|w| w.is_there()));
        let missing = matches!(refusal, Some(Refusal::NoSuchWatcher(_)));
        ensure!(
            !unknown || missing,
            "unknown watchers are refused",
            "{command:?}: {refusal:?}"
        );
        ensure!(
            !known || !missing || self.step.several,
            "known watchers are not refused",
            "{command:?}: {refusal:?}"
        );
        if let Command::Add { spec, .. } = command {
            let there = self.watchers.get(&spec.name).is_some_and(|w| w.is_there());
            ensure!(
                !there || refusal.is_some(),
                "a name is given once",
                "{command:?}"
            );
        }
        Ok(())
    }

    fn target_of(&self, command: &Command) -> Option<u32> {
        let Command::Scale { watcher, .. } = command else {
            return None;
        };
        match self.watchers.get(watcher)?.targets[..] {
            [target] => Some(target),
            _ => None,
        }
    }

    pub(super) fn replies(&mut self, id: RequestId, result: &Result<Reply, Refusal>) -> Verdict {
        let Some(asked) = self.requests.get_mut(&id).filter(|asked| !asked.answered) else {
            ensure!(
                false,
                "every request is answered once",
                "{id:?} is not open: {result:?}"
            );
            return Ok(());
        };
        asked.answered = true;
        let command = asked.request.command.clone();
        let (wait, sure, scaled) = (asked.request.wait, !asked.contradicted, asked.scaled);
        let out_of_place = *result == Err(Refusal::ShuttingDown) && self.ending.is_none();
        ensure!(
            !out_of_place,
            "refused as shutting down only then",
            "{command:?}"
        );
        let Ok(reply) = result else { return Ok(()) };
        ensure!(
            suits(&command, reply) || !wait,
            "the answer suits the question",
            "{command:?}: {reply:?}"
        );
        ensure!(
            disjoint(reply),
            "a process is started, stopped or kept",
            "{command:?}: {reply:?}"
        );
        if let (Some(scaled), Reply::Scaled { numprocesses, .. }) = (scaled, reply) {
            ensure!(
                scaled == *numprocesses,
                "scale does its sums",
                "{command:?}: {numprocesses}, not {scaled}"
            );
        }
        if let (Command::Stop(names), true, true) = (&command, wait, sure) {
            let left = self
                .workers
                .values()
                .find(|w| names.contains(&w.watcher) && !w.is_gone());
            ensure!(
                left.is_none(),
                "stopped means empty",
                "{command:?} is done, but there is {left:?}"
            );
        }
        Ok(())
    }

    pub(super) fn progresses(&mut self, id: RequestId, progress: &Progress) -> Verdict {
        let open = self
            .requests
            .get(&id)
            .filter(|asked| !asked.answered && asked.request.progress);
        ensure!(
            open.is_some(),
            "progress is told to who asked for it",
            "{id:?}: {progress:?}"
        );
        ensure!(
            progress.done <= progress.total,
            "progress stays within its total",
            "{id:?}: {progress:?}"
        );
        Ok(())
    }

    pub(super) fn close_requests(&mut self) -> Verdict {
        for (id, asked) in &self.requests {
            if asked.answered {
                continue;
            }
            // Whom a signal reached is the answer, so it is waited for in any case.
            let waits = matches!(asked.request.command, Command::Signal { .. });
            ensure!(
                asked.request.wait || waits,
                "who does not wait is answered at once",
                "{id:?} {asked:?}"
            );
            let Some(within) = asked.within.filter(|_| !asked.contradicted) else {
                continue;
            };
            let took = self.now.since(asked.at);
            let late = self.late.saturating_sub(asked.late);
            ensure!(
                took <= within + late,
                "a stop always ends",
                "{id:?} {:?} takes {took:?}, more than {within:?} and {late:?} of lateness",
                asked.request.command
            );
        }
        Ok(())
    }

    pub(super) fn close_ending(&mut self) -> Verdict {
        let Some(ending) = self.ending.filter(|_| !self.exited) else {
            return Ok(());
        };
        let late = self.late.saturating_sub(ending.late);
        ensure!(
            self.now <= ending.due + late,
            "a shutdown ends in time",
            "{ending:?}, {late:?} of lateness, now {:?}",
            self.now
        );
        Ok(())
    }
}

fn suits(command: &Command, reply: &Reply) -> bool {
    match command {
        Command::Start(_) | Command::Stop(_) | Command::Restart(_) | Command::Reload { .. } => {
            matches!(reply, Reply::Changes(_))
        }
        Command::Scale { .. } => matches!(reply, Reply::Scaled { .. }),
        Command::Signal { .. } | Command::Kill { .. } => matches!(reply, Reply::Pids(_)),
        Command::Set { .. } => matches!(reply, Reply::Applied { .. }),
        Command::Freeze(_)
        | Command::Thaw(_)
        | Command::Add { .. }
        | Command::Remove { .. }
        | Command::Apply { .. }
        | Command::Quit => true,
    }
}

fn disjoint(reply: &Reply) -> bool {
    let changes: &[Change] = match reply {
        Reply::Changes(changes)
        | Reply::Scaled { changes, .. }
        | Reply::Applied { changes, .. } => changes,
        Reply::Pids(_) | Reply::Done => &[],
    };
    changes.iter().all(|change| {
        let all: Vec<i32> = [&change.started, &change.stopped, &change.kept]
            .into_iter()
            .flatten()
            .copied()
            .collect();
        all.iter().collect::<BTreeSet<_>>().len() == all.len()
    })
}
