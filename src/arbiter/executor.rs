//! Where the program's own code runs, its hooks and servers: on its runtime, or on a thread for it.
//!
//! Never on the thread of the loop: whatever a closure does, no worker waits for it.

use std::io;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle};

use crate::server::{Said, Saying};

/// A runtime.
#[derive(Debug, Clone)]
pub(super) struct Executor(Handle);

/// A runtime of ours, for as long as this lives. Its thread then ends by itself: a closure that blocks
/// it is not waited for.
#[derive(Debug)]
pub(super) struct OwnRuntime {
    _end: oneshot::Sender<()>,
}

impl Executor {
    /// That of the caller, or a new one if there is none.
    ///
    /// # Errors
    ///
    /// No thread can be started.
    pub(super) fn find() -> io::Result<(Executor, Option<OwnRuntime>)> {
        if let Ok(handle) = Handle::try_current() {
            return Ok((Executor(handle), None));
        }
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        let run = move || {
            // Either word means the end.
            let _ = runtime.block_on(ended);
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("circusd-hooks".into());
        thread.spawn(run)?;
        Ok((Executor(handle), Some(OwnRuntime { _end: end })))
    }

    /// The same, to go on whoever waits for it.
    pub(super) fn spawn_detached(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.0.spawn(future));
    }

    pub(super) fn spawn<F>(&self, future: F) -> Task<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        Task(self.0.spawn(future))
    }

    /// Has something done that may block.
    pub(super) fn spawn_blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Task<T> {
        Task(self.0.spawn_blocking(work))
    }
}

/// Something that runs, and is taken back when this is dropped; what blocks goes on to its end.
#[derive(Debug)]
pub(super) struct Task<T>(JoinHandle<T>);

impl<T> Task<T> {
    /// Its result.
    ///
    /// # Errors
    ///
    /// A sentence: it has panicked, or its runtime has ended.
    pub(super) async fn result(mut self) -> Result<T, String> {
        (&mut self.0).await.map_err(unfinished)
    }
}

/// Why something has no result.
pub(super) fn unfinished(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => match words(panic.as_ref()) {
            Some(words) => format!("it panicked: {words}"),
            None => "it panicked".to_owned(),
        },
        Err(_) => "its runtime has ended".to_owned(),
    }
}

impl Task<Said> {
    /// The answer of a hook; without one it has failed.
    pub(super) fn saying(self) -> Saying {
        Box::pin(async move { self.result().await.unwrap_or_else(Said::Failed) })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a panic has to say for itself.
fn words(panic: &(dyn std::any::Any + Send)) -> Option<&str> {
    let literal = panic.downcast_ref::<&str>().copied();
    literal.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
}
