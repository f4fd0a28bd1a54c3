//! How far a long start or stop has come, on standard error.
//!
//! A thread of its own draws, because the caller waits for the daemon meanwhile. It says nothing
//! of work that is done within [`QUIET`], and takes its bar away when the work is done.

use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Stream, emit};
use super::print::printable;
use crate::api::types::Progress;

/// Nobody wants to be told how long a moment lasts.
const QUIET: Duration = Duration::from_secs(1);

/// How often the time that has passed is drawn anew.
const TICK: Duration = Duration::from_secs(1);

const TEMPLATE: &str = "{msg} [{bar:30}] {pos}/{len} {elapsed}";

/// The drawing of the progress of one call; ends when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    /// The thread, from the first progress on.
    drawing: Option<(Sender<Progress>, JoinHandle<()>)>,
}

impl Reporter {
    /// Shows `progress`, or will when the work takes longer.
    pub(super) fn report(&mut self, progress: Progress) {
        let (sender, _) = self.drawing.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel();
            (sender, thread::spawn(move || draw(&receiver)))
        });
        // The thread ends before us only if it panicked; the work itself goes on without it.
        let _ = sender.send(progress);
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        if let Some((sender, thread)) = self.drawing.take() {
            drop(sender);
            // Whatever is printed next must not run into the bar, so it has to be gone.
            let _ = thread.join();
        }
    }
}

fn draw(progress: &Receiver<Progress>) {
    let Some(first) = after_quiet(progress) else {
        return;
    };
    if stderr().is_terminal() {
        draw_bar(first, progress);
    } else {
        draw_lines(first, progress);
    }
}

/// The newest progress at the end of the quiet time; `None` if the work was done before.
fn after_quiet(progress: &Receiver<Progress>) -> Option<Progress> {
    let loud = Instant::now() + QUIET;
    let mut newest = progress.recv().ok()?;
    loop {
        match progress.recv_timeout(loud.saturating_duration_since(Instant::now())) {
            Ok(newer) => newest = newer,
            Err(RecvTimeoutError::Timeout) => return Some(newest),
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}

fn draw_bar(first: Progress, progress: &Receiver<Progress>) {
    let bar = ProgressBar::with_draw_target(Some(first.total), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(TEMPLATE).expect("the template is a constant");
    let bar = bar
        .with_style(style.progress_chars("=> "))
        .with_elapsed(QUIET);
    for now in std::iter::once(first).chain(progress) {
        bar.set_message(printable(&format!("{} {}", now.action, now.watcher)));
        bar.set_length(now.total);
        bar.set_position(now.done);
        // Only now, because the first tick draws what is known so far.
        bar.enable_steady_tick(TICK);
    }
    bar.finish_and_clear();
}

fn draw_lines(first: Progress, progress: &Receiver<Progress>) {
    for now in std::iter::once(first).chain(progress) {
        // Without a standard error to write to there is nobody to report to.
        let _ = emit(Stream::Err, line(&now));
    }
}

fn line(now: &Progress) -> String {
    let Progress {
        watcher,
        action,
        done,
        total,
    } = now;
    printable(&format!("{action} {watcher}: {done} of {total}")) + "\n"
}
