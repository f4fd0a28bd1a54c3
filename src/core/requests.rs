//! Requests under way: what each waits for at each watcher, and its one answer.

use super::context::Context;
use super::dependencies::Prospect;
use super::watcher::{Phase, Up, Wanted, Watcher};
use super::worker::Standing;
use super::{
    Action, Cause, Change, Name, Progress, Reason, Refusal, Reply, RequestId, SignalId, WorkerId,
};
use std::collections::{BTreeMap, BTreeSet};

/// How many requests may wait for one watcher; one more is refused, so that a client that floods
/// costs a bounded amount of memory.
pub(super) const TICKETS_MAX: usize = 1024;

/// A request's interest in one watcher.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) request: RequestId,
    goal: Goal,
    /// The processes that ran when it came, oldest first.
    before: Vec<(WorkerId, i32)>,
    /// What was last told of its progress; `None` if nobody wants to hear.
    told: Option<(u32, u32)>,
}

/// What a request waits for.
#[derive(Debug)]
pub(super) enum Goal {
    /// All processes ready; under this name in progress.
    Up(&'static str),
    /// Stopped, for the first time since this count of stops.
    Down(u64),
    /// Processes of this generation serve.
    Reloaded(u64),
    /// As many processes as asked for.
    Settled,
    /// These workers are gone.
    Gone(Vec<WorkerId>),
    /// The watcher is removed.
    Removed,
    /// These signals were sent.
    Signals(BTreeSet<SignalId>, Vec<i32>),
}

/// How a request is answered when all its tickets are done.
#[derive(Debug)]
pub(super) enum Form {
    Changes,
    Scaled(u32),
    Pids(Vec<i32>),
    Applied(super::Effect),
    Done,
}

/// A request that is not answered yet.
#[derive(Debug)]
struct Pending {
    open: usize,
    form: Form,
    changes: Vec<Change>,
    pids: Vec<i32>,
    failure: Option<Refusal>,
}

/// All requests under way.
#[derive(Debug, Default)]
pub(super) struct Requests {
    pending: BTreeMap<RequestId, Pending>,
    /// Those that are answered when everything has ended.
    pub(super) quitting: Vec<RequestId>,
}

impl Requests {
    /// Keeps a request until `open` tickets are done; with none, it is answered at once.
    pub(super) fn open(&mut self, id: RequestId, open: usize, form: Form, ctx: &mut Context) {
        let pending = Pending {
            open,
            form,
            changes: Vec::new(),
            pids: Vec::new(),
            failure: None,
        };
        self.pending.insert(id, pending);
        self.answer_if_done(id, ctx);
    }

    fn close_one(&mut self, outcome: Outcome, ctx: &mut Context) {
        let Some(pending) = self.pending.get_mut(&outcome.request) else {
            return;
        };
        pending.open -= 1;
        pending.changes.push(outcome.change);
        pending.pids.extend(outcome.pids);
        if let Err(refusal) = outcome.result {
            pending.failure.get_or_insert(refusal);
        }
        self.answer_if_done(outcome.request, ctx);
    }

    fn answer_if_done(&mut self, id: RequestId, ctx: &mut Context) {
        if self.pending.get(&id).is_none_or(|pending| pending.open > 0) {
            return;
        }
        let Some(pending) = self.pending.remove(&id) else {
            return;
        };
        let changes = pending.changes;
        let result = match (pending.failure, pending.form) {
            (Some(refusal), _) => Err(refusal),
            (None, Form::Changes) => Ok(Reply::Changes(changes)),
            (None, Form::Scaled(numprocesses)) => Ok(Reply::Scaled {
                numprocesses,
                changes,
            }),
            (None, Form::Pids(mut pids)) => {
                pids.extend(pending.pids);
                Ok(Reply::Pids(pids))
            }
            (None, Form::Applied(effect)) => Ok(Reply::Applied { effect, changes }),
            (None, Form::Done) => Ok(Reply::Done),
        };
        ctx.act(Action::Reply {
            request: id,
            result,
        });
    }
}

/// What became of a ticket.
#[derive(Debug)]
struct Outcome {
    request: RequestId,
    result: Result<(), Refusal>,
    change: Change,
    pids: Vec<i32>,
}

impl Ticket {
    /// Whether this process ran when it came.
    fn knows(&self, worker: WorkerId) -> bool {
        let found = self.before.binary_search_by_key(&worker, |(id, _)| *id);
        found.is_ok()
    }

    pub(super) fn signalled(&mut self, id: SignalId, pids: &[i32]) {
        if let Goal::Signals(open, reached) = &mut self.goal
            && open.remove(&id)
        {
            reached.extend(pids);
        }
    }
}

impl Watcher {
    /// Notes that a request waits for this watcher.
    pub(super) fn add_ticket(&mut self, request: RequestId, goal: Goal, progress: bool) {
        let before = (self.workers.values())
            .filter(|worker| worker.runs())
            .filter_map(|worker| Some((worker.id, worker.pid?)))
            .collect();
        let told = progress.then_some((0, 0));
        self.tickets.push(Ticket {
            request,
            goal,
            before,
            told,
        });
    }

    /// Answers the requests that have what they waited for, and tells the others how far it is.
    pub(super) fn judge(&mut self, requests: &mut Requests, ctx: &mut Context) {
        if self.tickets.is_empty() {
            return;
        }
        let mut tickets = std::mem::take(&mut self.tickets);
        tickets.retain_mut(|ticket| match self.verdict(&ticket.goal) {
            Some(result) => {
                requests.close_one(self.outcome(ticket, result), ctx);
                false
            }
            None => {
                self.tell_progress(ticket, ctx);
                true
            }
        });
        self.tickets = tickets;
    }

    /// Answers all requests, those that cannot be granted any more with `refusal`: the watcher is
    /// no more.
    pub(super) fn close_tickets(
        &mut self,
        refusal: &Refusal,
        requests: &mut Requests,
        ctx: &mut Context,
    ) {
        for ticket in std::mem::take(&mut self.tickets) {
            let result = self.verdict(&ticket.goal);
            let result = result.unwrap_or_else(|| Err(refusal.clone()));
            requests.close_one(self.outcome(&ticket, result), ctx);
        }
    }

    /// Whether a goal is reached (`Ok`), out of reach (`Err`), or still ahead (`None`).
    fn verdict(&self, goal: &Goal) -> Option<Result<(), Refusal>> {
        match goal {
            Goal::Up(_) => self.verdict_up(),
            // Wanted up again before it could stop: what there was to stop is no longer to stop.
            Goal::Down(stops) => {
                let stopped = self.phase == Phase::Stopped || self.stops > *stops;
                let overruled = self.wanted == Wanted::Up
                    && !self.must_stop
                    && matches!(self.phase, Phase::Up(_) | Phase::BeforeStart(_));
                (stopped || overruled).then_some(Ok(()))
            }
            Goal::Reloaded(generation) => match &self.reloaded {
                (done, result) if done >= generation => Some(result.clone()),
                // It is done some day, but only after somebody's thaw.
                _ if self.stands_still() => Some(Err(
                    self.overruled("it is frozen; its processes are replaced when it is thawed")
                )),
                _ if self.reload.is_some() || self.held => self.verdict_overruled(),
                _ => self.verdict_up(),
            },
            Goal::Settled => self.verdict_settled(),
            Goal::Gone(ids) => ids
                .iter()
                .all(|id| !self.workers.contains_key(id))
                .then_some(Ok(())),
            Goal::Removed => (self.removed || self.wanted != Wanted::Gone).then_some(Ok(())),
            Goal::Signals(open, _) => open.is_empty().then_some(Ok(())),
        }
    }

    fn verdict_overruled(&self) -> Option<Result<(), Refusal>> {
        if self.wanted == Wanted::Up {
            return None;
        }
        Some(Err(match (&self.trouble, self.wanted) {
            (Some(trouble), Wanted::Up | Wanted::Down) => trouble.refusal.clone(),
            (None, Wanted::Up | Wanted::Down) => self.overruled("it was stopped meanwhile"),
            (_, Wanted::Gone) => self.overruled("it was removed meanwhile"),
        }))
    }

    /// The answer to who wanted something else than what somebody wanted after him.
    pub(super) fn overruled(&self, text: &str) -> Refusal {
        Refusal::StartFailed {
            watcher: self.spec.name.clone(),
            reason: Reason {
                cause: Cause::Operator,
                text: text.into(),
                since: self.since,
                next_attempt: None,
            },
        }
    }

    fn verdict_up(&self) -> Option<Result<(), Refusal>> {
        if self.wanted != Wanted::Up {
            return self.verdict_overruled();
        }
        if self.held || self.must_stop {
            return None;
        }
        let up = match self.phase {
            Phase::Up(up) if !self.going_down() => up,
            Phase::Stopped => return self.verdict_waiting(),
            _ => return None,
        };
        if let Some(trouble) = &self.trouble {
            return Some(Err(trouble.refusal.clone()));
        }
        // A frozen pool gets nothing new; to wait for it would be to wait for somebody's thaw.
        (up == Up::Started && self.whole() || self.frozen).then_some(Ok(()))
    }

    /// Nobody waits for what does not come unless somebody does something.
    fn verdict_waiting(&self) -> Option<Result<(), Refusal>> {
        let waits_for = self.ties.waits_for.as_ref()?;
        match waits_for.prospect {
            Prospect::Never => Some(Err(self.start_failed(self.reason()?))),
            Prospect::Ready | Prospect::Coming | Prospect::Troubled => None,
        }
    }

    fn verdict_settled(&self) -> Option<Result<(), Refusal>> {
        let Phase::Up(_) = self.phase else {
            return Some(Ok(()));
        };
        if self.wanted != Wanted::Up {
            return Some(Ok(()));
        }
        if let Some(trouble) = &self.trouble
            && (self.gate.failures > 0 || self.gate.given_up)
        {
            return Some(Err(trouble.refusal.clone()));
        }
        let whole = self.tally.ready() + self.places.kept() >= self.target();
        let settled = self.tally.fresh(Standing::Unready) == 0
            && self.reload.is_none()
            && self.tally.fresh_total() <= self.target();
        (whole && settled || self.frozen).then_some(Ok(()))
    }

    fn outcome(&self, ticket: &Ticket, result: Result<(), Refusal>) -> Outcome {
        let runs = |id: &WorkerId| self.workers.get(id).is_some_and(|worker| worker.runs());
        let (kept, stopped): (Vec<_>, Vec<_>) = ticket.before.iter().partition(|(id, _)| runs(id));
        let started = (self.workers.values())
            .filter(|worker| worker.runs() && !ticket.knows(worker.id))
            .filter_map(|worker| worker.pid)
            .collect();
        let pids = |list: Vec<&(WorkerId, i32)>| list.into_iter().map(|(_, pid)| *pid).collect();
        Outcome {
            request: ticket.request,
            result,
            change: Change {
                watcher: self.spec.name.clone(),
                started,
                stopped: pids(stopped),
                kept: pids(kept),
            },
            pids: match &ticket.goal {
                Goal::Signals(_, pids) => pids.clone(),
                _ => Vec::new(),
            },
        }
    }

    fn tell_progress(&self, ticket: &mut Ticket, ctx: &mut Context) {
        let Some(told) = ticket.told else { return };
        let ready = self.tally.fresh(Standing::Ready);
        let running = self.tally.total();
        let (action, done, total) = match &ticket.goal {
            Goal::Up(action) => (*action, ready, self.target()),
            Goal::Down(_) | Goal::Removed => {
                let total = ticket.before.len().max(running);
                ("stop", total - running, total)
            }
            Goal::Reloaded(_) => ("reload", ready, self.target()),
            Goal::Settled => ("scale", ready, self.target()),
            Goal::Gone(ids) => {
                let left = ids
                    .iter()
                    .filter(|id| self.workers.contains_key(id))
                    .count();
                ("kill", ids.len() - left, ids.len())
            }
            Goal::Signals(..) => return,
        };
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (done, total) = (count(done.min(total)), count(total));
        if (done, total) != told {
            ticket.told = Some((done, total));
            let watcher: Name = self.spec.name.clone();
            let progress = Progress {
                watcher,
                action,
                done,
                total,
            };
            ctx.act(Action::Progress {
                request: ticket.request,
                progress,
            });
        }
    }
}
