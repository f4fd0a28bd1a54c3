//! The program's own services beside the workers: started last and together, ended first.
//!
//! What they do is not known here. Whoever looks after them also looks after the end: when it goes,
//! with the runtime that it runs on, the arbiter ends in order; and it does where that runtime is
//! held up, which nobody waits for without a limit.

use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use signal_hook::consts::SIGTERM;
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinSet};

/// How long the end waits for servers to be dropped. They are at their next `.await`; who blocks
/// instead, or has a runtime that nobody drives, does not keep workers from being stopped.
const SERVERS_END_MAX: Duration = Duration::from_secs(5);

use super::error::{BoxError, Error};
use super::executor::unfinished;
use super::handle::{Handle, Shared, State};

/// A service, on its way or running.
type Serving = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// A service that is to be.
pub(super) type Server = Box<dyn FnOnce(Handle) -> Serving + Send>;

pub(super) fn server<F, E>(start: impl FnOnce(Handle) -> F + Send + 'static) -> Server
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<BoxError>,
{
    Box::new(|arbiter| {
        let serving = start(arbiter);
        Box::pin(async move { serving.await.map_err(Into::into) })
    })
}

/// Has the arbiter end in order when this goes.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        // If it has ended, all is done.
        let _ = self.0.orders.send(SIGTERM);
    }
}

/// Starts the services when the watchers have settled, and looks after them to the end.
pub(super) async fn look_after(
    shared: Arc<Shared>,
    servers: Vec<Server>,
    ready: oneshot::Receiver<()>,
) {
    let _ending = Ending(Arc::clone(&shared));
    let mut tasks = JoinSet::new();
    tokio::select! {
        ready = ready => if ready.is_err() { return },
        () = wanted_to_end(&shared) => return,
    }
    shared.state.send_if_modified(|state| {
        let runs = matches!(state, State::Running);
        if runs {
            *state = State::Settled;
        }
        runs
    });
    let handle = Handle::new(Arc::clone(&shared));
    for server in servers {
        let handle = handle.clone();
        tasks.spawn(async move { server(handle).await });
    }
    let failed = tokio::select! {
        failed = first_failure(&mut tasks) => Some(failed),
        () = wanted_to_end(&shared) => None,
    };
    if failed.is_some() {
        *shared.failed.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        shared.stopping.send_replace(true);
    }
    tasks.shutdown().await;
}

/// Has the arbiter end in order when somebody wants it, whatever becomes of the services: `number`
/// of them have their time to end first. For the thread of the loop, whose clock this needs.
pub(super) async fn end_when_wanted(shared: Arc<Shared>, number: usize) {
    let mut stopping = shared.stopping.subscribe();
    // We hold the other end, so it is waited for until it comes true.
    let _ = stopping.wait_for(|stopping| *stopping).await;
    if number > 0 {
        tokio::time::sleep(SERVERS_END_MAX).await;
    }
    // If it has ended, all is done.
    let _ = shared.orders.send(SIGTERM);
}

/// Waits until somebody wants the end, or it has come.
async fn wanted_to_end(shared: &Shared) {
    let mut stopping = shared.stopping.subscribe();
    let mut state = shared.state.subscribe();
    // We hold the other ends, so both are waited for until they come true.
    tokio::select! {
        _ = stopping.wait_for(|stopping| *stopping) => {}
        _ = state.wait_for(|state| matches!(state, State::Ended(_))) => {}
    }
}

/// Waits until a service fails; one that ends well is no longer waited for.
async fn first_failure(tasks: &mut JoinSet<Result<(), BoxError>>) -> Error {
    loop {
        match tasks.join_next().await {
            Some(Ok(Ok(()))) => {}
            Some(Ok(Err(error))) => return Error::Server(Arc::from(error)),
            Some(Err(panicked)) => return Error::Server(Arc::from(told(panicked))),
            None => std::future::pending().await,
        }
    }
}

fn told(panicked: JoinError) -> BoxError {
    unfinished(panicked).into()
}
