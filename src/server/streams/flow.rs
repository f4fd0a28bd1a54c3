//! How output moves from pipes to files: news come from pipes, from the threads that write, and from a timer
//! while anything is on its way.
//!
//! Nothing in here waits but the end of the daemon, and that not for ever.

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{Expiration, TimerSetTimeFlags};

use std::time::Duration;

use super::files::Room;
use super::pipe::{Fate, Pumped};
use super::{NEWS, Open, Streams, TIME};
use crate::sys::epoll::Watch;

/// How often it is looked whether anything moves, while something is on its way to a file.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// How many pipes are looked at before it is everybody else's turn.
const TURN: usize = 32;

impl Streams {
    /// Does what is to be done about a number in the epoll set: mostly, moves what a worker has
    /// written to its file.
    pub(in crate::server) fn pump(&mut self, id: u64, watch: &mut Watch) {
        match id {
            NEWS => self.on_news(watch),
            TIME => self.on_time(),
            pipe => self.pump_pipe(pipe, watch),
        }
        self.tick();
    }

    fn pump_pipe(&mut self, id: u64, watch: &mut Watch) {
        let (Some(pipe), Some(open)) = (self.pipes.get_mut(&id), &mut self.files) else {
            return;
        };
        let fate = match open.files.admit(pipe.to, id) {
            Room::Free => Fate::Written,
            Room::None => Fate::Dropped,
            Room::Wait => return,
        };
        match pipe.pump(&mut open.files, &mut open.scratch, fate) {
            Pumped::Empty => pipe.listen(watch),
            Pumped::Open if pipe.due => {}
            Pumped::Open => {
                pipe.due = true;
                open.look_at(id);
            }
            Pumped::Ended => {
                pipe.finish(&mut open.files);
                open.files.leave(pipe.to);
                let _ = watch.remove(&pipe.from);
                self.pipes.remove(&id);
                self.fifos.remove(id);
                self.changes.push(id);
            }
        }
    }

    /// Takes what the threads are done with out of its pipes, and looks what has come behind it.
    fn on_news(&mut self, watch: &mut Watch) {
        let Some(open) = &mut self.files else {
            return;
        };
        for batch in open.files.take_news(TURN) {
            if let Some(pipe) = self.pipes.get_mut(&batch.pipe) {
                pipe.settle(batch.batch, &mut open.scratch);
                let waited = open.files.settled(pipe.to, batch);
                open.due.push_back(batch.pipe);
                open.due.extend(waited);
            }
        }
        let now: Vec<u64> = open.due.drain(..TURN.min(open.due.len())).collect();
        if !open.due.is_empty() {
            open.files.writers.poke();
        }
        for id in now {
            if let Some(pipe) = self.pipes.get_mut(&id) {
                pipe.due = false;
            }
            self.pump_pipe(id, watch);
        }
    }

    /// Gives up files that somebody waits for, and that have taken nothing for long.
    fn on_time(&mut self) {
        let Some(open) = &mut self.files else {
            return;
        };
        // It has rung, or somebody else has read that it has.
        let _ = open.timer.wait();
        open.ticking = false;
        for id in open.files.on_time() {
            let (mut in_flight, others) = open.files.waiting(id);
            let pipes = &self.pipes;
            let waits = |id| pipes.get(&id).is_some_and(super::Pipe::is_waited_for);
            if !others && !in_flight.any(waits) {
                continue;
            }
            drop(in_flight);
            for waited in open.files.give_up(id) {
                if let Some(pipe) = self.pipes.get_mut(&waited) {
                    pipe.give_up(&mut open.scratch);
                    open.look_at(waited);
                }
            }
        }
    }

    /// Sets the timer if time matters.
    fn tick(&mut self) {
        if let Some(open) = &mut self.files
            && !open.ticking
            && open.files.wants_time()
        {
            let pause = Expiration::OneShot(TimeSpec::from_duration(LOOK_PAUSE));
            match open.timer.set(pause, TimerSetTimeFlags::empty()) {
                Ok(()) => open.ticking = true,
                Err(error) => tracing::error!("failed to set a timer for files: {error}"),
            }
        }
    }

    /// Writes what is in the pipes, at the end; what somebody who was left goes on to write is not
    /// waited for, nor a file that does not take it.
    pub(in crate::server) fn drain(&mut self) {
        if let Some(open) = &mut self.files {
            for pipe in self.pipes.values_mut() {
                pipe.drain(&mut open.files, &mut open.scratch);
            }
            let (bytes, behind) = open.files.writers.finish();
            if behind > 0 {
                tracing::error!(
                    "{behind} files have not taken their output: {bytes} bytes are lost, or most of them"
                );
            }
            open.files.take_news(usize::MAX);
        }
        // Nobody goes on from here.
        self.fifos.retain(|_| false);
    }

    /// Waits until what is on its way is written, so that the next daemon does not write it again;
    /// everything else stays in the pipes for that, if it can find them. A file that takes nothing is not waited for.
    pub(in crate::server) fn hand_over(&mut self) {
        let Some(open) = &mut self.files else {
            return;
        };
        for pipe in self.pipes.values_mut() {
            match pipe.named {
                true => pipe.finish(&mut open.files),
                false => pipe.drain(&mut open.files, &mut open.scratch),
            }
        }
        let (bytes, behind) = open.files.writers.finish();
        if behind > 0 {
            tracing::error!(
                "{behind} files have not taken their output in time: of {bytes} bytes some may stand in them \
                 twice"
            );
        }
        for batch in open.files.take_news(usize::MAX) {
            if let Some(pipe) = self.pipes.get_mut(&batch.pipe) {
                pipe.settle(batch.batch, &mut open.scratch);
            }
        }
    }
}

impl Open {
    /// Has a pipe looked at soon, although there may be no news of it.
    pub(super) fn look_at(&mut self, id: u64) {
        self.due.push_back(id);
        self.files.writers.poke();
    }
}
