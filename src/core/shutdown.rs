//! The end of everything, within a limit.

use super::supervisor::Supervisor;
use super::timers::Timer;
use super::watcher::{Phase, Wanted};
use super::waves::Direction;
use super::{Action, Cause, Command, EventKind, ExitReason, Input, Name, Refusal, Reply, Shutdown};
use std::time::Duration;

/// What is left after a kill of everything has so long to vanish before we go without it. The
/// kernel needs milliseconds; only a process stuck inside it (state D) takes longer.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// How far the end is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    #[default]
    NotBegun,
    /// A critical watcher has given up; that all is to end is for whoever drives us to say.
    Due,
    /// Level by level, with grace.
    Stopping(ExitReason),
    /// Everything was killed.
    Killing(ExitReason),
    /// The exit was asked for.
    Over,
}

impl Ending {
    pub(super) fn begun(self) -> bool {
        !matches!(self, Ending::NotBegun | Ending::Due)
    }

    pub(super) fn over(self) -> bool {
        self == Ending::Over
    }
}

impl Supervisor {
    pub(super) fn shut_down(&mut self, how: Shutdown) {
        match (how, self.ending) {
            (_, Ending::Over) | (Shutdown::Graceful, Ending::Stopping(_) | Ending::Killing(_)) => {}
            (Shutdown::Graceful, Ending::NotBegun) => self.begin_end(ExitReason::Asked),
            (Shutdown::Graceful, Ending::Due) => self.begin_end(ExitReason::Critical),
            (Shutdown::AtOnce, Ending::NotBegun | Ending::Due) => {
                self.begin_end(ExitReason::AskedAtOnce);
                self.kill_everything(ExitReason::AskedAtOnce);
            }
            (Shutdown::AtOnce, Ending::Stopping(_) | Ending::Killing(_)) => {
                self.kill_everything(ExitReason::AskedAtOnce);
            }
        }
    }

    /// A critical watcher has given up.
    pub(super) fn critical_failure(&mut self) {
        if self.ending == Ending::NotBegun {
            self.ending = Ending::Due;
            self.ctx.act(Action::CriticalFailure);
        }
    }

    fn begin_end(&mut self, why: ExitReason) {
        self.ending = Ending::Stopping(why);
        self.ctx.emit(None, EventKind::DaemonStopping);
        self.ctx.timers.set(
            Timer::Shutdown,
            Some(self.ctx.now + self.limits.stop_timeout),
        );
        self.waves.clear(&mut self.ctx);
        let names: Vec<Name> = self.watchers.keys().cloned().collect();
        for name in &names {
            self.with_watcher(name, |watcher, ctx| {
                let ran = watcher.phase != Phase::Stopped;
                watcher.want_down(Wanted::Down, ctx);
                if ran {
                    let text = "circusd is shutting down".into();
                    watcher.set_trouble(Cause::Operator, text, ctx.now);
                }
            });
        }
        self.refresh_links();
        let (watchers, now) = (&mut self.watchers, self.ctx.now);
        self.waves
            .start(&names, Direction::Down, false, &self.links, watchers, now);
    }

    /// The limit has passed.
    pub(super) fn shutdown_due(&mut self) {
        match self.ending {
            Ending::Stopping(why) => self.kill_everything(why),
            Ending::Killing(why) => self.exit(why),
            Ending::NotBegun | Ending::Due | Ending::Over => {}
        }
    }

    fn kill_everything(&mut self, why: ExitReason) {
        self.ending = Ending::Killing(why);
        self.ctx.hooks_off = true;
        self.ctx
            .timers
            .set(Timer::Shutdown, Some(self.ctx.now + LAST_WAIT));
        self.waves.clear(&mut self.ctx);
        let names: Vec<Name> = self.watchers.keys().cloned().collect();
        for name in &names {
            self.with_watcher(name, |watcher, ctx| watcher.force_down(ctx));
        }
    }

    /// Ends when nothing is left to end.
    pub(super) fn end_if_over(&mut self) {
        let (Ending::Stopping(why) | Ending::Killing(why)) = self.ending else {
            return;
        };
        if self
            .watchers
            .values()
            .all(|watcher| watcher.phase == Phase::Stopped)
        {
            self.exit(why);
        }
    }

    /// The exit was asked for, and may take its time: every request is still answered, and news
    /// still told. Nothing else matters any more.
    pub(super) fn record_afterwards(&mut self, input: Input) {
        if let Input::Request(request) = input {
            let result = match request.command {
                Command::Quit => Ok(Reply::Done),
                _ => Err(Refusal::ShuttingDown),
            };
            let request = request.id;
            self.ctx.act(Action::Reply { request, result });
        } else if let Input::Announce(news) = input {
            self.announce(news);
        }
    }

    fn exit(&mut self, why: ExitReason) {
        self.ending = Ending::Over;
        self.ctx.timers.set(Timer::Shutdown, None);
        for watcher in self.watchers.values_mut() {
            watcher.close_tickets(&Refusal::ShuttingDown, &mut self.requests, &mut self.ctx);
        }
        for request in std::mem::take(&mut self.requests.quitting) {
            self.ctx.act(Action::Reply {
                request,
                result: Ok(Reply::Done),
            });
        }
        let left = self
            .watchers
            .values()
            .map(|watcher| watcher.tally.total())
            .sum();
        self.ctx.act(Action::Exit { why, left });
    }
}
