//! The operator of the simulated world, who contradicts himself.
//!
//! He knows some names, of which some exist, and nothing of what became of his requests.

use super::agenda::Dice;
use crate::core::{
    Announcement, Backoff, Command, Flapping, Hook, HookSpec, Input, Limits, Name, Readiness,
    Recipients, ReloadMode, Request, RequestId, Restart, Revision, Scale, Shutdown, WatcherSpec,
    Who,
};
use std::collections::BTreeMap;
use std::time::Duration;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

const HOOKS: [Hook; 10] = [
    Hook::BeforeStart,
    Hook::AfterStart,
    Hook::BeforeSpawn,
    Hook::AfterSpawn,
    Hook::BeforeStop,
    Hook::AfterStop,
    Hook::BeforeSignal,
    Hook::AfterSignal,
    Hook::BeforeReap,
    Hook::AfterReap,
];

/// The longest grace that a kill may ask for.
pub(super) const GRACE_MAX: Duration = Duration::from_secs(3);

/// Somebody with ideas.
#[derive(Debug)]
pub(super) struct Operator {
    requests: u64,
    revisions: u64,
    specs: BTreeMap<Name, WatcherSpec>,
    hooks_percent: u32,
    ties_percent: u32,
    /// Whether he names watchers in circles, and those that do not exist.
    careless: bool,
}

impl Operator {
    pub(super) fn new(dice: &mut Dice) -> Operator {
        Operator {
            requests: 0,
            revisions: 0,
            specs: BTreeMap::new(),
            hooks_percent: dice.pick(&[0, 8, 30]),
            ties_percent: dice.pick(&[0, 0, 15, 50]),
            careless: dice.percent(5),
        }
    }

    /// The configuration at boot.
    pub(super) fn boot(&mut self, limits: Limits, dice: &mut Dice) -> Input {
        let specs = self.configuration(dice);
        let changed = BTreeMap::new();
        self.request(
            Command::Apply {
                specs,
                changed,
                limits,
            },
            true,
            dice.percent(50),
        )
    }

    /// Asks for something.
    pub(super) fn request(&mut self, command: Command, wait: bool, progress: bool) -> Input {
        self.requests += 1;
        Input::Request(Request {
            id: RequestId(self.requests),
            wait,
            progress,
            command,
        })
    }

    /// Another idea.
    pub(super) fn whim(&mut self, limits: Limits, dice: &mut Dice) -> Input {
        if dice.percent(3) {
            return Input::Announce(Announcement::ConfigChanged {
                watchers: vec!["a".into()],
            });
        }
        if dice.percent(2) {
            return Input::Shutdown(dice.pick(&[Shutdown::Graceful, Shutdown::AtOnce]));
        }
        let command = self.command(limits, dice);
        self.request(command, dice.percent(60), dice.percent(40))
    }

    fn command(&mut self, limits: Limits, dice: &mut Dice) -> Command {
        match dice.number(0, 99) {
            0..14 => Command::Start(names(dice)),
            14..28 => Command::Stop(names(dice)),
            28..38 => Command::Restart(names(dice)),
            38..48 => Command::Reload {
                watchers: names(dice),
                sequential: dice.percent(30),
            },
            48..60 => Command::Scale {
                watcher: name(dice),
                to: scale(dice),
            },
            60..66 => signal(dice),
            66..74 => kill(dice),
            74..77 => Command::Freeze(names(dice)),
            77..81 => Command::Thaw(names(dice)),
            81..85 => Command::Add {
                spec: Box::new(self.spec(name(dice), dice)),
                start: dice.percent(70),
            },
            85..89 => Command::Remove {
                watcher: name(dice),
                keep_processes: dice.percent(30),
            },
            89..96 => self.set(dice),
            96..99 => Command::Apply {
                changed: BTreeMap::new(),
                specs: self.configuration(dice),
                limits,
            },
            _ => Command::Quit,
        }
    }

    fn set(&mut self, dice: &mut Dice) -> Command {
        let name = name(dice);
        let mut spec = self.spec(name.clone(), dice);
        if let Some(old) = self.specs.get(&name).filter(|_| dice.percent(60)) {
            let revision = if dice.percent(50) {
                spec.revision
            } else {
                old.revision
            };
            let (after, requires, ready) = match dice.percent(60) {
                true => (old.after.clone(), old.requires.clone(), old.ready),
                false => (spec.after, spec.requires, other_timeout(old.ready, dice)),
            };
            spec = WatcherSpec {
                revision,
                after,
                requires,
                ready,
                watchdog: spec.watchdog,
                health: spec.health,
                max_requests: spec.max_requests,
                graceful_timeout: spec.graceful_timeout,
                numprocesses: spec.numprocesses,
                ..old.clone()
            };
            spec.numprocesses = if spec.singleton {
                spec.numprocesses.min(1)
            } else {
                spec.numprocesses
            };
        }
        self.specs.insert(name, spec.clone());
        Command::Set {
            spec: Box::new(spec),
            keys: vec!["numprocesses".into()],
        }
    }

    fn configuration(&mut self, dice: &mut Dice) -> Vec<WatcherSpec> {
        let many = dice.number(1, 5) as usize;
        let mut specs: Vec<WatcherSpec> = Vec::new();
        for name in NAMES.iter().take(many) {
            let name = Name::from(*name);
            let known = self.specs.get(&name).filter(|_| dice.percent(70)).cloned();
            specs.push(known.unwrap_or_else(|| self.spec(name, dice)));
        }
        for spec in &specs {
            self.specs.insert(spec.name.clone(), spec.clone());
        }
        specs
    }

    fn spec(&mut self, name: Name, dice: &mut Dice) -> WatcherSpec {
        self.revisions += 1;
        let singleton = dice.percent(10);
        let least = u32::from(dice.percent(90));
        let most = if singleton { 1 } else { dice.pick(&[2, 3, 6]) };
        let (after, requires) = (self.named(&name, dice), self.named(&name, dice));
        WatcherSpec {
            name,
            revision: Revision(self.revisions),
            numprocesses: dice.number(least, most),
            singleton,
            priority: dice.pick(&[-1, 0, 0, 0, 1]),
            after,
            requires,
            autostart: dice.percent(85),
            on_demand: dice.percent(15),
            warmup_delay: dice.millis(&[0, 0, 0, 10, 700]),
            graceful_timeout: dice.millis(&[0, 10, 500, 2000, 10_000]),
            stop_signal: dice.pick(&[15, 15, 2, 3, 10]),
            stop_children: dice.percent(30),
            send_hup: dice.percent(10),
            reload: dice.pick(&[ReloadMode::NewFirst, ReloadMode::Sequential]),
            restart: dice.pick(&[
                Restart::Always,
                Restart::Always,
                Restart::Always,
                Restart::OnFailure,
                Restart::Never,
            ]),
            success_exit_status: vec![0],
            max_retry: dice.pick(&[None, Some(0), Some(1), Some(5)]),
            backoff: dice.percent(80).then(|| backoff(dice)),
            flapping: dice.percent(70).then(|| flapping(dice)),
            max_age: dice.percent(20).then(|| dice.millis(&[500, 3000, 30_000])),
            max_age_variance: dice.millis(&[0, 100, 5000]),
            ready: if dice.percent(25) {
                Readiness::Told {
                    timeout: dice.millis(&[1, 100, 2000]),
                }
            } else {
                Readiness::Spawn
            },
            watchdog: (dice.percent(12)).then(|| dice.millis(&[200, 1000, 20_000])),
            health: dice.percent(20),
            max_requests: (dice.percent(15)).then(|| dice.pick(&[1, 100])),
            critical: dice.percent(3),
            hooks: self.hooks(dice),
        }
    }

    /// Watchers that come before this one: of those before it in the alphabet, unless he is careless.
    fn named(&self, name: &Name, dice: &mut Dice) -> Vec<Name> {
        let mut named = Vec::new();
        for other in NAMES.into_iter().chain(["ghost"]) {
            if (other < name.as_str() || self.careless) && dice.percent(self.ties_percent) {
                named.push(Name::from(other));
            }
        }
        named
    }

    fn hooks(&self, dice: &mut Dice) -> BTreeMap<Hook, HookSpec> {
        let mut hooks = BTreeMap::new();
        for hook in HOOKS {
            if dice.percent(self.hooks_percent) {
                let timeout = dice.millis(&[10, 500, 2000]);
                hooks.insert(
                    hook,
                    HookSpec {
                        timeout,
                        ignore_failure: dice.percent(40),
                    },
                );
            }
        }
        hooks
    }
}

/// The same, with another patience.
fn other_timeout(ready: Readiness, dice: &mut Dice) -> Readiness {
    match ready {
        Readiness::Spawn => ready,
        Readiness::Told { .. } => Readiness::Told {
            timeout: dice.millis(&[1, 500, 3000]),
        },
    }
}

/// What holds for one world as a whole.
pub(super) fn limits(dice: &mut Dice) -> Limits {
    Limits {
        warmup_delay: dice.millis(&[0, 0, 5, 300]),
        stop_timeout: dice.millis(&[0, 100, 3000, 90_000]),
        watchers_max: dice.pick(&[3, 5, 4096]),
        processes_max: dice.pick(&[8, 20, 65_536]),
    }
}

fn backoff(dice: &mut Dice) -> Backoff {
    let initial = dice.millis(&[1, 100, 1000]);
    Backoff {
        initial,
        factor: dice.pick(&[1.0, 1.5, 2.0, 10.0]),
        max: initial.mul_f64(dice.pick(&[1.0, 8.0, 100.0])),
        jitter: dice.pick(&[0.0, 0.1, 0.5]),
        reset_after: dice.millis(&[1000, 10_000]),
    }
}

fn flapping(dice: &mut Dice) -> Flapping {
    Flapping {
        attempts: dice.number(1, 5),
        window: dice.millis(&[100, 1000, 10_000]),
        retry_in: dice.millis(&[100, 1000, 7000]),
        max_retry: dice.pick(&[None, Some(0), Some(1), Some(5)]),
    }
}

fn name(dice: &mut Dice) -> Name {
    if dice.percent(3) {
        return Name::from("ghost");
    }
    let many = if dice.percent(60) { 2 } else { 5 };
    Name::from(dice.pick(&NAMES[..many]))
}

fn names(dice: &mut Dice) -> Vec<Name> {
    let mut names: Vec<Name> = (0..dice.number(1, 3)).map(|_| name(dice)).collect();
    names.sort();
    names.dedup();
    names
}

fn scale(dice: &mut Dice) -> Scale {
    match dice.number(0, 2) {
        0 => Scale::To(dice.number(0, 5)),
        1 => Scale::By(i64::from(dice.number(0, 4)) - 2),
        _ => Scale::By(dice.pick(&[-100, -1, 1, 2])),
    }
}

fn who(dice: &mut Dice) -> Who {
    match dice.number(0, 3) {
        0 | 1 => Who::Wid(dice.number(0, 4)),
        2 => Who::Pid(some_pid(dice)),
        _ => Who::All,
    }
}

/// One that some process, or one of its descendants, may have.
fn some_pid(dice: &mut Dice) -> i32 {
    1000 + i32::try_from(dice.number(1, 20)).unwrap_or(0)
}

fn signal(dice: &mut Dice) -> Command {
    let child = Recipients::Child(some_pid(dice));
    let recipients = dice.pick(&[
        Recipients::Process,
        Recipients::Children,
        Recipients::Tree,
        child,
    ]);
    Command::Signal {
        watcher: name(dice),
        who: who(dice),
        signal: dice.pick(&[1, 9, 12, 15, 18]),
        recipients,
    }
}

fn kill(dice: &mut Dice) -> Command {
    Command::Kill {
        watcher: name(dice),
        who: who(dice),
        signal: dice.percent(30).then(|| dice.pick(&[1, 2, 9])),
        grace: dice
            .percent(40)
            .then(|| dice.pick(&[Duration::ZERO, Duration::from_millis(5), GRACE_MAX])),
    }
}
