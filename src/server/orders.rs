//! What the loop is told beside calls: the signals of a daemon, or what stands in for them where it
//! runs in somebody else's program.
//!
//! Nothing follows here from what is told. A program's own signals are its own: a guest hears none
//! of them.

use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream;
use signal_hook::consts::SIGINT;
use signal_hook_tokio::Signals;
use tokio::sync::mpsc;

/// Whose the process is that the loop runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Ours: what belongs to a whole process, its signals, its children, its limits, is ours to use.
    Daemon,
    /// Somebody else's, who has children of his own: only what we have started is touched.
    Guest,
}

/// Where orders come from.
pub(super) enum Orders {
    /// The kernel.
    Signals(Signals),
    /// The program that we are in, in the words of the kernel.
    Host(mpsc::UnboundedReceiver<i32>),
}

impl Orders {
    /// The next signal; `None` if there will be none. May be dropped at any point: nothing is lost.
    pub(super) async fn next(&mut self) -> Option<i32> {
        match self {
            Orders::Signals(signals) => poll_fn(|cx| Pin::new(&mut *signals).poll_next(cx)).await,
            Orders::Host(orders) => orders.recv().await,
        }
    }

    /// Waits until somebody wants the end at once.
    pub(super) async fn interrupt(&mut self) {
        while let Some(signal) = self.next().await {
            if signal == SIGINT {
                return;
            }
        }
        std::future::pending().await
    }
}
