//! One process of the simulated world: how it lives, what it obeys and what it leaves behind.
//!
//! All of it is drawn before it is born; nothing in here happens.

use super::agenda::Dice;
use super::kernel::Happening;
use crate::core::{ExitStatus, Name, Time};
use std::time::Duration;

/// A process, from before its birth until it is forgotten.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) watcher: Name,
    pub(super) pid: i32,
    pub(super) born: bool,
    pub(super) dead: bool,
    pub(super) fails: Option<i32>,
    /// How long it takes to end when told to; `None`: it does not.
    pub(super) obeys: Option<Duration>,
    pub(super) life: Option<(Duration, ExitStatus)>,
    pub(super) descendants: Vec<i32>,
    /// What it will do when it thaws, and what it will say.
    pub(super) held: Option<Happening>,
    pub(super) unsaid: Vec<Happening>,
    /// What is found out about its health no longer reaches anybody.
    pub(super) unheard: bool,
    /// Nothing about it is told before this.
    pub(super) told: Time,
}

impl Process {
    /// Whether the main process runs.
    pub(super) fn alive(&self) -> bool {
        self.born && !self.dead
    }
}

/// What the processes of one watcher are like as a rule.
#[derive(Debug, Clone, Copy)]
pub(super) enum Temper {
    Steady,
    Mixed,
    Crashing,
    Unstartable,
}

impl Temper {
    /// The temper of another watcher's processes.
    pub(super) fn any(dice: &mut Dice) -> Temper {
        dice.pick(&[
            Temper::Steady,
            Temper::Steady,
            Temper::Mixed,
            Temper::Mixed,
            Temper::Crashing,
            Temper::Unstartable,
        ])
    }
}

/// A process that is about to be.
pub(super) fn draw(temper: Temper, healthy: bool, dice: &mut Dice) -> Process {
    let crashes = match temper {
        _ if healthy => 0,
        Temper::Steady => 3,
        Temper::Mixed | Temper::Unstartable => 35,
        Temper::Crashing => 90,
    };
    let unstartable = match temper {
        _ if healthy => 0,
        Temper::Steady => 1,
        Temper::Mixed | Temper::Crashing => 10,
        Temper::Unstartable => 90,
    };
    let life = dice.percent(crashes).then(|| {
        let after = dice.millis(&[0, 0, 1, 50, 500, 1000, 5000, 30_000]);
        let how = [
            ExitStatus::Exited(0),
            ExitStatus::Exited(1),
            ExitStatus::Signaled(11),
            ExitStatus::Dumped(6),
            ExitStatus::Unknown,
        ];
        (after, dice.pick(&how))
    });
    let obeys = (healthy || dice.percent(80)).then(|| dice.millis(&[0, 0, 0, 1, 100, 1000, 4000]));
    Process {
        watcher: Name::from(""),
        pid: 0,
        born: false,
        dead: false,
        fails: dice
            .percent(unstartable)
            .then(|| dice.pick(&[2, 11, 12, 13])),
        obeys,
        life,
        descendants: if !healthy && dice.percent(20) {
            vec![0]
        } else {
            Vec::new()
        },
        held: None,
        unsaid: Vec::new(),
        unheard: false,
        told: Time::ZERO,
    }
}
