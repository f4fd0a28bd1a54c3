//! Signals on their way to processes: the hook before, the sending, the hook after.

use super::context::{Context, Purpose};
use super::watcher::Watcher;
use super::worker::Worker;
use super::{
    Action, By, EventKind, Hook, HookAnswer, HookId, Recipients, RequestId, SignalId, WorkerId,
};

/// SIGKILL on every Linux; see signal(7). No hook can keep it.
const SIGKILL: i32 = 9;

/// A signal that was asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignalRun {
    worker: WorkerId,
    signal: i32,
    recipients: Recipients,
    by: By,
    /// Who waits to hear what became of it.
    request: Option<RequestId>,
    step: Step,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Before(HookId),
    Sent,
    After(HookId),
}

impl Watcher {
    /// Sends a signal to a process, if the hook lets it.
    pub(super) fn send(
        &mut self,
        worker: WorkerId,
        signal: i32,
        recipients: Recipients,
        by: By,
        request: Option<RequestId>,
        ctx: &mut Context,
    ) -> SignalId {
        let id = SignalId(ctx.fresh_id());
        let about = self.workers.get(&worker);
        let hook = match signal {
            SIGKILL => None,
            _ => {
                let purpose = Purpose::Signal(id);
                self.ask_about(Hook::BeforeSignal, purpose, about, Some(signal), ctx)
            }
        };
        let step = hook.map_or(Step::Sent, Step::Before);
        self.signals.insert(
            id,
            SignalRun {
                worker,
                signal,
                recipients,
                by,
                request,
                step,
            },
        );
        if hook.is_none() {
            ctx.act(Action::Signal {
                worker,
                id,
                signal,
                recipients,
            });
        }
        id
    }

    /// Kills a tree; no hook is asked.
    pub(super) fn send_kill(&mut self, worker: WorkerId, ctx: &mut Context) {
        let id = SignalId(ctx.fresh_id());
        let by = match self.workers.get(&worker).and_then(|worker| worker.stop) {
            Some(stop) => stop.by,
            None => By::Cleanup,
        };
        let run = SignalRun {
            worker,
            signal: SIGKILL,
            recipients: Recipients::Tree,
            by,
            request: None,
            step: Step::Sent,
        };
        self.signals.insert(id, run);
        ctx.act(Action::KillTree { worker, id });
    }

    /// A hook has spoken about a signal.
    pub(super) fn signal_hook_answered(
        &mut self,
        id: SignalId,
        answer: &HookAnswer,
        ctx: &mut Context,
    ) {
        let Some(run) = self.signals.get_mut(&id) else {
            return;
        };
        match (run.step, answer) {
            // It has ended meanwhile.
            (Step::Before(_), HookAnswer::True)
                if !self.workers.get(&run.worker).is_some_and(Worker::runs) =>
            {
                self.signal_over(id, &[]);
            }
            (Step::Before(_), HookAnswer::True) => {
                run.step = Step::Sent;
                let SignalRun {
                    worker,
                    signal,
                    recipients,
                    ..
                } = *run;
                ctx.act(Action::Signal {
                    worker,
                    id,
                    signal,
                    recipients,
                });
            }
            (Step::Before(_), HookAnswer::False(_) | HookAnswer::Failed(_)) => {
                self.signal_over(id, &[]);
            }
            (Step::After(_) | Step::Sent, _) => {
                let worker = run.worker;
                self.signals.remove(&id);
                self.part_with(worker, ctx);
            }
        }
    }

    /// A signal was sent, or found nobody.
    pub(super) fn on_signalled(&mut self, id: SignalId, pids: &[i32], ctx: &mut Context) {
        let Some(&run) = self.signals.get(&id) else {
            return;
        };
        let worker = self.workers.get(&run.worker);
        if let Some((wid, Some(pid))) = worker.map(|worker| (worker.wid, worker.pid))
            && !pids.is_empty()
        {
            let (signal, by) = (run.signal, run.by);
            let child = match run.recipients {
                Recipients::Child(child) => Some(child),
                Recipients::Process | Recipients::Children | Recipients::Tree => None,
            };
            self.emit(
                EventKind::Kill {
                    pid,
                    wid,
                    child,
                    signal,
                    by,
                },
                ctx,
            );
            if signal != SIGKILL {
                let (purpose, about) = (Purpose::Signal(id), self.workers.get(&run.worker));
                let hook = self.ask_about(Hook::AfterSignal, purpose, about, Some(signal), ctx);
                if let Some(hook) = hook {
                    self.answer_signal(run.request, id, pids);
                    self.signals
                        .entry(id)
                        .and_modify(|run| run.step = Step::After(hook));
                    return;
                }
            }
        }
        self.signal_over(id, pids);
    }

    fn signal_over(&mut self, id: SignalId, pids: &[i32]) {
        if let Some(run) = self.signals.remove(&id) {
            self.answer_signal(run.request, id, pids);
        }
    }

    fn answer_signal(&mut self, request: Option<RequestId>, id: SignalId, pids: &[i32]) {
        let Some(request) = request else { return };
        for ticket in self
            .tickets
            .iter_mut()
            .filter(|ticket| ticket.request == request)
        {
            ticket.signalled(id, pids);
        }
    }

    /// Whether a hook is still asked what follows from a signal to this worker.
    pub(super) fn asks_after_signal(&self, worker: WorkerId) -> bool {
        let asks = |run: &SignalRun| run.worker == worker && matches!(run.step, Step::After(_));
        self.signals.values().any(asks)
    }

    /// No longer waits for what follows from signals to this worker.
    pub(super) fn drop_after_signal(&mut self, worker: WorkerId, ctx: &mut Context) {
        self.signals.retain(|_, run| match run.step {
            Step::After(hook) if run.worker == worker => {
                ctx.cancel_hook(hook);
                false
            }
            Step::Before(_) | Step::Sent | Step::After(_) => true,
        });
    }

    /// A worker is gone, and with it all that was on its way to it.
    pub(super) fn drop_signals(&mut self, worker: WorkerId, ctx: &mut Context) {
        let gone: Vec<(SignalId, Step)> = (self.signals.iter())
            .filter(|(_, run)| run.worker == worker)
            .map(|(id, run)| (*id, run.step))
            .collect();
        for (id, step) in gone {
            match step {
                Step::Before(hook) | Step::After(hook) => ctx.cancel_hook(hook),
                Step::Sent => {}
            }
            self.signal_over(id, &[]);
        }
    }
}
