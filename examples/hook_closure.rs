//! A hook as a closure: `hook_closure DIRECTORY` runs a worker only while the directory is free for
//! it, and tells when it has ended. A file `busy` in there keeps it from starting.
//!
//! It ends with the worker, which here sleeps until somebody ends it, or with Ctrl-C.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use circusd::api::types::ReasonCause;
use circusd::arbiter::{Answer, DaemonHook, Hook};
use circusd::{Arbiter, Watcher};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory: PathBuf = std::env::args_os().nth(1).ok_or("no directory")?.into();
    let busy = directory.join("busy");
    let worker = Watcher::builder("worker", ["sleep", "infinity"])
        .working_dir(&directory)
        .set("respawn", false);
    let arbiter = Arbiter::builder()
        .watcher(worker)
        .hook("worker", Hook::BeforeStart, move |_| {
            let busy = busy.clone();
            async move {
                match busy.try_exists()? {
                    true => Ok(Answer::no("the directory is busy")),
                    false => Ok::<_, std::io::Error>(Answer::yes()),
                }
            }
        })
        .hook("worker", Hook::AfterStop, |cx| async move {
            let arbiter = cx.arbiter.clone();
            // Not in here: the stop waits for all hooks, and so for this one.
            tokio::spawn(async move { arbiter.stop().await });
            say(&format!("{} has ended", cx.watcher.name()))
        })
        .on(DaemonHook::PreStop, |_| async { say("stopping") })
        .build()?;
    arbiter.start_in_background().await?;
    let status = arbiter.get_watcher("worker").await?.status().await?;
    if let Some(reason) = status.reason
        && reason.cause == ReasonCause::HookRefused
    {
        say(&reason.text)?;
        arbiter.stop().await?;
        return Ok(());
    }
    say("started")?;
    tokio::select! {
        ended = arbiter.ended() => ended?,
        _ = tokio::signal::ctrl_c() => arbiter.stop().await?,
    }
    Ok(())
}

/// Writes a line; that is all a hook wants to do here, so it answers yes.
fn say(line: &str) -> std::io::Result<bool> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(true)
}
