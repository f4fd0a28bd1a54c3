//! What a supervisor leaves to the one after it, so that nobody notices the change: plain data,
//! taken piece by piece while it lives, and made into a supervisor again.
//!
//! Left out is what cannot outlive a process: requests, hooks and signals under way. A hook that
//! was asked before a start is asked again; one that was told of something is not.

use super::context::Context;
use super::place::Places;
use super::pool::Reload;
use super::replace::FailedReload;
use super::supervisor::Supervisor;
use super::timers::Timer;
use super::watcher::{Phase, Up, Wanted, Watcher};
use super::worker::{Life, Stop, Vitals, Worker};
use super::{By, EventKind, Exit, Limits, Name, Reason, Revision, Time, WatcherSpec, WorkerId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// All that is left by a supervisor.
#[derive(Debug, Clone, Default)]
pub struct Saved {
    /// The number of the last event that it told.
    pub last_seq: u64,
    /// No id from here on was given to anything that may still be heard of.
    pub last_id: u64,
    /// Its watchers, in any order.
    pub watchers: Vec<SavedWatcher>,
    /// The processes of all of them; those of a watcher that is not there are left alone.
    pub workers: Vec<SavedWorker>,
}

/// One watcher, without its processes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedWatcher {
    /// The rules that were in force; its name is in there.
    pub spec: WatcherSpec,
    order: u64,
    /// It is to run.
    up: bool,
    /// It is to be removed.
    gone: bool,
    must_stop: bool,
    station: Station,
    since: Time,
    generation: u64,
    reload: Option<Reload>,
    failed_reload: Option<FailedReload>,
    frozen: bool,
    restarts: u64,
    exits: Vec<Exit>,
    reason: Option<Reason>,
    places: Places,
    failures: u32,
    given_up: bool,
    stops: u64,
}

/// How far a watcher was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Station {
    Stopped,
    Filling,
    Started,
    Stopping,
}

/// One process that was spawned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SavedWorker {
    /// Its name, which it keeps.
    pub id: WorkerId,
    /// Whose it is.
    pub watcher: Name,
    /// Its place.
    pub wid: u32,
    /// Its main process.
    pub pid: i32,
    /// What it was made from.
    pub revision: Revision,
    generation: u64,
    outdated: Option<By>,
    started: Time,
    ready: Option<Time>,
    /// That it was told to end: why, when its tree is killed, and whether that was done.
    stop: Option<(By, Time, Option<Duration>)>,
    /// How its main process has ended, and whether that was told; something of its tree is left.
    exit: Option<(Exit, bool)>,
    age_share: f64,
    requests: u64,
    watchdog: Option<Duration>,
    fault: Option<String>,
}

/// What has changed since it was asked for the last time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unsaved {
    /// Watchers that were looked at; most of them will be as they were.
    pub watchers: Vec<SavedWatcher>,
    /// Watchers that are no more.
    pub removed: Vec<Name>,
    /// Processes that have changed.
    pub workers: Vec<SavedWorker>,
    /// Processes that are no more, or never came to be.
    pub gone: Vec<WorkerId>,
}

impl SavedWatcher {
    /// A watcher of which nothing is known but that it ran: as if all of it had been started.
    #[must_use]
    pub fn found(spec: WatcherSpec, order: u64, now: Time) -> SavedWatcher {
        let mut watcher = Watcher::new(spec, order, now);
        watcher.wanted = Wanted::Up;
        watcher.phase = Phase::Up(Up::Started);
        watcher.trouble = None;
        watcher.save()
    }

    /// A process of it of which nothing is known but that it runs: it counts as ready, and as one of
    /// the newest. A watcher that was stopped has not come to rest by that.
    pub fn found_worker(
        &mut self,
        id: WorkerId,
        wid: u32,
        pid: i32,
        started: Time,
        now: Time,
    ) -> SavedWorker {
        if self.station == Station::Stopped {
            self.station = Station::Started;
        }
        SavedWorker {
            id,
            watcher: self.spec.name.clone(),
            wid,
            pid,
            revision: self.spec.revision,
            generation: self.generation,
            outdated: None,
            started,
            ready: Some(now),
            stop: None,
            exit: None,
            age_share: 0.0,
            requests: 0,
            watchdog: None,
            fault: None,
        }
    }
}

impl SavedWorker {
    /// Whether its main process had not ended, as far as was known.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.exit.is_none()
    }
}

impl Supervisor {
    /// Everything that is to be kept.
    #[must_use]
    pub fn save(&self) -> Saved {
        let workers = |watcher: &Watcher| {
            let name = watcher.spec.name.clone();
            let saved = watcher
                .workers
                .values()
                .filter_map(|worker| worker.save(&name));
            saved.collect::<Vec<_>>()
        };
        Saved {
            last_seq: self.ctx.last_seq(),
            last_id: self.ctx.last_id(),
            watchers: self.watchers.values().map(Watcher::save).collect(),
            workers: self.watchers.values().flat_map(workers).collect(),
        }
    }

    /// What is to be kept and was not told of yet.
    pub fn unsaved(&mut self) -> Unsaved {
        let mut unsaved = Unsaved {
            gone: std::mem::take(&mut self.gone).into_iter().collect(),
            ..Unsaved::default()
        };
        for name in std::mem::take(&mut self.unsaved) {
            let Some(watcher) = self.watchers.get_mut(&name) else {
                unsaved.removed.push(name);
                continue;
            };
            for id in std::mem::take(&mut watcher.unsaved) {
                let worker = watcher.workers.get(&id);
                match worker.and_then(|worker| worker.save(&name)) {
                    Some(worker) => unsaved.workers.push(worker),
                    None => unsaved.gone.push(id),
                }
            }
            unsaved.watchers.push(watcher.save());
        }
        unsaved
    }

    /// A supervisor that goes on where another one was. The next input brings out what follows:
    /// an `adopt` event for each process first of all. Whoever has ended meanwhile is told of as
    /// always, by [`Input::Exited`](super::Input::Exited).
    ///
    /// The first configuration is then applied as a later one is: what is not in it goes, what is
    /// new starts.
    #[must_use]
    pub fn resume(now: Time, limits: Limits, seed: u64, saved: Saved) -> Supervisor {
        let mut next = Supervisor::new(now, limits, seed);
        let known = saved.workers.iter().map(|worker| worker.id.0).max();
        let last_id = saved.last_id.max(known.unwrap_or(0));
        next.ctx.continue_from(saved.last_seq, last_id);
        next.links.forget();
        for watcher in saved.watchers {
            next.next_order = next.next_order.max(watcher.order);
            let name = watcher.spec.name.clone();
            next.watchers
                .insert(name.clone(), Watcher::resume(watcher, now));
            next.ctx.touched.insert(name);
        }
        for worker in saved.workers {
            let name = worker.watcher.clone();
            next.ctx.owners.insert(worker.id, name.clone());
            let id = worker.id;
            if next.with_watcher(&name, |watcher, ctx| watcher.inherit(worker, ctx)) != Some(()) {
                next.ctx.owners.remove(&id);
            }
        }
        for watcher in next.watchers.values_mut() {
            let taken = watcher.workers.values().map(|worker| worker.wid);
            watcher.places.resume(&taken.collect());
            // Its turn comes with the first configuration.
            watcher.held = watcher.phase == Phase::Stopped && watcher.wanted == Wanted::Up;
        }
        next
    }

    /// The watchers that were about to start, and have nothing that runs: they wait for their turn
    /// as at any start.
    pub(super) fn unstarted(&self) -> Vec<Name> {
        let waits = |watcher: &&Watcher| watcher.held && watcher.wanted == Wanted::Up;
        let waiting = self.watchers.values().filter(waits);
        waiting.map(|watcher| watcher.spec.name.clone()).collect()
    }
}

impl Watcher {
    fn save(&self) -> SavedWatcher {
        SavedWatcher {
            spec: self.spec.clone(),
            order: self.order,
            up: self.wanted == Wanted::Up,
            gone: self.wanted == Wanted::Gone,
            must_stop: self.must_stop,
            station: match self.phase {
                Phase::Stopped | Phase::BeforeStart(_) => Station::Stopped,
                Phase::Up(Up::Filling | Up::AfterStart(_)) => Station::Filling,
                Phase::Up(Up::Started) => Station::Started,
                Phase::BeforeStop(_) | Phase::Stopping | Phase::AfterStop(_) => Station::Stopping,
            },
            since: self.since,
            generation: self.generation,
            reload: self.reload,
            failed_reload: self.failed_reload.clone(),
            frozen: self.frozen,
            restarts: self.restarts,
            exits: self.exits.iter().cloned().collect(),
            reason: self.trouble.as_ref().map(|trouble| trouble.reason.clone()),
            places: self.places.clone(),
            failures: self.gate.failures,
            given_up: self.gate.given_up,
            stops: self.stops,
        }
    }

    fn resume(saved: SavedWatcher, now: Time) -> Watcher {
        let mut watcher = Watcher::new(saved.spec, saved.order, now);
        watcher.wanted = match (saved.gone, saved.up) {
            (true, _) => Wanted::Gone,
            (false, true) => Wanted::Up,
            (false, false) => Wanted::Down,
        };
        watcher.must_stop = saved.must_stop;
        watcher.phase = match saved.station {
            Station::Stopped => Phase::Stopped,
            Station::Filling => Phase::Up(Up::Filling),
            Station::Started => Phase::Up(Up::Started),
            Station::Stopping => Phase::Stopping,
        };
        watcher.since = saved.since;
        watcher.generation = saved.generation;
        watcher.reload = saved.reload;
        watcher.failed_reload = saved.failed_reload;
        watcher.reloaded.0 = saved.generation;
        watcher.frozen = saved.frozen;
        watcher.restarts = saved.restarts;
        watcher.exits = saved.exits.into();
        watcher.trouble = None;
        if let Some(reason) = saved.reason {
            watcher.set_trouble(reason.cause, reason.text, reason.since);
        }
        watcher.places = saved.places;
        watcher.gate.failures = saved.failures;
        watcher.gate.given_up = saved.given_up;
        watcher.stops = saved.stops;
        watcher
    }

    /// Takes in a process of the supervisor before.
    fn inherit(&mut self, saved: SavedWorker, ctx: &mut Context) {
        let (id, wid, pid) = (saved.id, saved.wid, saved.pid);
        let ended = saved.exit.is_some();
        let told = saved.exit.as_ref().is_none_or(|(_, told)| *told);
        let worker = Worker::resume(saved);
        self.tally.enter(worker.class());
        self.workers.insert(id, worker);
        if !ended {
            self.emit(EventKind::Adopt { pid, wid }, ctx);
        }
        if !told {
            self.tell_reaped(id, ctx);
        }
        let worker = &self.workers[&id];
        match (worker.stop, worker.life) {
            (Some(stop), _) => ctx
                .timers
                .set(Timer::Worker(id), Some(stop.kill_at.max(ctx.now))),
            (None, Life::Running) => {
                ctx.timers.set(Timer::Worker(id), self.age_limit(worker));
                self.look_after(id, ctx);
            }
            (None, Life::Starting) => self.await_readiness(id, ctx),
            // Something of it was left, and it had no time.
            (None, _) => self.kill_tree(id, ctx),
        }
    }
}

impl Worker {
    fn save(&self, watcher: &Name) -> Option<SavedWorker> {
        let told = !matches!(self.life, Life::BeforeReap(_));
        Some(SavedWorker {
            id: self.id,
            watcher: watcher.clone(),
            wid: self.wid,
            pid: self.pid?,
            revision: self.revision,
            generation: self.generation,
            outdated: self.outdated,
            started: self.started,
            ready: self.ready,
            stop: self.stop.map(|stop| (stop.by, stop.kill_at, stop.killed)),
            exit: self.exit.clone().map(|exit| (exit, told)),
            age_share: self.age_share,
            requests: self.vitals.requests,
            watchdog: self.vitals.watchdog,
            fault: self.vitals.fault.as_deref().map(ToOwned::to_owned),
        })
    }

    fn resume(saved: SavedWorker) -> Worker {
        let life = match (&saved.exit, saved.stop, saved.ready) {
            (Some(_), ..) => Life::Reaped,
            (None, Some(_), _) => Life::Stopping,
            (None, None, Some(_)) => Life::Running,
            (None, None, None) => Life::Starting,
        };
        Worker {
            id: saved.id,
            wid: saved.wid,
            generation: saved.generation,
            revision: saved.revision,
            life,
            outdated: saved.outdated,
            pid: Some(saved.pid),
            started: saved.started,
            ready: saved.ready,
            stop: saved.stop.map(|(by, kill_at, killed)| Stop {
                by,
                kill_at,
                killed,
                overdue: killed.is_some(),
            }),
            exit: saved.exit.map(|(exit, _)| exit),
            emptied: false,
            adopted: true,
            vitals: Vitals {
                requests: saved.requests,
                watchdog: saved.watchdog,
                fault: saved.fault.map(Into::into),
                ..Vitals::default()
            },
            age_share: saved.age_share,
        }
    }
}
