//! Those who are asked by hooks, and answer at once, late, or never; and those who want to be served.

use super::agenda::{Agenda, Dice, Due};
use crate::core::{HookAnswer, HookId, Input, Name, Shutdown, Time};
use std::time::Duration;

/// Somebody is asked. The answer comes even after the hook was cancelled, unless somebody else
/// sees to it that it does not.
pub(super) fn ask(now: Time, hook: HookId, healthy: bool, out: &mut Agenda, dice: &mut Dice) {
    if !healthy && dice.percent(12) {
        return;
    }
    let after = match healthy {
        true => Duration::from_millis(1),
        false => dice.millis(&[0, 0, 0, 1, 10, 100, 1000, 5000]),
    };
    let answer = match dice.number(0, 99) {
        _ if healthy => HookAnswer::True,
        0..75 => HookAnswer::True,
        75..88 => HookAnswer::False("not today".into()),
        _ => HookAnswer::Failed("it fell over".into()),
    };
    out.put(now + after, Due::Tell(Input::HookFinished { hook, answer }));
}

/// Somebody does what is to be done before the end, and then says that all is to end.
pub(super) fn before_the_end(now: Time, healthy: bool, out: &mut Agenda, dice: &mut Dice) {
    let after = match healthy {
        true => Duration::ZERO,
        false => dice.millis(&[0, 0, 1, 100, 5000]),
    };
    let end = Input::Shutdown(Shutdown::Graceful);
    out.put(now + after, Due::Tell(end));
}

/// Somebody may want to be served, now or later, whether it is still waited for or not.
pub(super) fn connect(now: Time, watcher: &Name, out: &mut Agenda, dice: &mut Dice) {
    while dice.percent(50) {
        let after = dice.millis(&[0, 0, 1, 100, 1000, 5000]);
        let watcher = watcher.clone();
        out.put(now + after, Due::Tell(Input::Demanded { watcher }));
    }
}
