//! `command_reloader`: watchers run the new program when the file of theirs has changed.
//!
//! One task does it all, as it waits for the kernel as well as for circusd; the events only tell it
//! that it has to look at the watchers again. Nothing is looked at while nothing happens.

use std::collections::BTreeMap;
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::programs::{Mark, directories_of, mark_of, program_of};
use super::{is_meant, is_stopped};
use crate::api::types::{Event, Gap};
use crate::api::{Method, params, reply};
use crate::client::ClientError;
use crate::config::plugins::{CommandReloaderSettings, Renewal};
use crate::plugin::{Handle, Outcome, Plugin, Server};

/// What may mean that another program is at a path, in the directories that lead there.
const CHANGES: AddWatchFlags = AddWatchFlags::IN_CLOSE_WRITE
    .union(AddWatchFlags::IN_MOVED_TO)
    .union(AddWatchFlags::IN_CREATE)
    .union(AddWatchFlags::IN_DELETE)
    .union(AddWatchFlags::IN_ATTRIB)
    .union(AddWatchFlags::IN_ONLYDIR);

/// The pause before circusd is asked again when it was not there.
const PAUSE: Duration = Duration::from_secs(1);

/// The plugin.
#[derive(Debug)]
pub(super) struct CommandReloader {
    settings: CommandReloaderSettings,
    /// Told when watchers came, went, or were started.
    look_again: Rc<Notify>,
}

impl CommandReloader {
    pub(super) fn new(settings: CommandReloaderSettings) -> Self {
        Self {
            settings,
            look_again: Rc::default(),
        }
    }
}

impl Plugin for CommandReloader {
    fn name(&self) -> &str {
        "command_reloader"
    }

    fn topics(&self) -> Option<Vec<String>> {
        let actions = ["add", "remove", "updated", "start", "reload"];
        let of_watchers = actions.map(|action| format!("watcher.*.{action}"));
        Some(of_watchers.into())
    }

    fn servers(&mut self, handle: &Handle) -> Vec<Server> {
        let reloader = Reloader {
            settings: self.settings.clone(),
            handle: handle.clone(),
            look_again: Rc::clone(&self.look_again),
            programs: BTreeMap::new(),
        };
        vec![Box::pin(reloader.serve())]
    }

    async fn event(&mut self, event: Event, _handle: &Handle) -> Outcome {
        let pattern = self.settings.watchers.as_str();
        if event.watcher.is_some_and(|name| is_meant(pattern, &name)) {
            self.look_again.notify_one();
        }
        Ok(())
    }

    async fn gap(&mut self, _gap: Gap, _cursor: &str, _handle: &Handle) -> Outcome {
        // Whatever it was, what is now is all that counts.
        self.look_again.notify_one();
        Ok(())
    }
}

/// An inotify that tokio can wait for.
struct Waited(Inotify);

#[expect(
    deprecated,
    reason = "what replaces it is unsafe for types whose descriptor could change, which ours cannot"
)]
fn wait_for(inotify: Inotify) -> io::Result<AsyncFd<Waited>> {
    AsyncFd::with_interest(Waited(inotify), tokio::io::Interest::READABLE)
}

impl AsRawFd for Waited {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// What a watcher runs, and whether that is still what it was.
#[derive(Debug)]
struct Program {
    path: std::path::PathBuf,
    /// As it was when the watcher was started.
    mark: Option<Mark>,
    /// When the watcher was started, by its youngest process.
    started_usec: u64,
    /// As it is now, if that is something else, and until when it must stay like that.
    changed: Option<(Mark, Instant)>,
}

struct Reloader {
    settings: CommandReloaderSettings,
    handle: Handle,
    look_again: Rc<Notify>,
    /// By watcher.
    programs: BTreeMap<String, Program>,
}

impl Reloader {
    async fn serve(mut self) -> Outcome {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let inotify = wait_for(inotify)?;
        let look_again = Rc::clone(&self.look_again);
        // For what there is at the beginning.
        look_again.notify_one();
        loop {
            let due = self.programs.values().filter_map(|program| program.changed);
            let due = due.map(|(_, at)| at).min();
            let wait = async {
                match due {
                    Some(at) => sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = wait => self.act().await,
                () = look_again.notified() => {
                    if let Err(error) = self.look_at_watchers().await {
                        self.handle.log(&format!("cannot look at the watchers: {error}"));
                    }
                    self.watch(&inotify.get_ref().0)?;
                    self.look();
                }
                ready = inotify.readable() => {
                    let mut ready = ready?;
                    drain(&inotify.get_ref().0)?;
                    ready.clear_ready();
                    self.watch(&inotify.get_ref().0)?;
                    self.look();
                }
            }
        }
    }

    /// Finds the program of each watcher. One that was started since is taken to run what is there.
    async fn look_at_watchers(&mut self) -> Result<(), ClientError> {
        let watchers = Some(self.settings.watchers.as_str().to_owned());
        let status = Method::Status(params::Watchers { watchers });
        let status: reply::Status = self.handle.call(&status).await?;
        let mut programs = BTreeMap::new();
        for watcher in status.watchers {
            if !is_meant(self.settings.watchers.as_str(), &watcher.name) {
                continue;
            }
            let keys = ["cmd", "args", "working_dir", "env"].map(ToOwned::to_owned);
            let get = params::Get {
                watcher: watcher.name.clone(),
                keys: Some(keys.into()),
            };
            // It may have gone meanwhile.
            let Ok(reply::Get { options }) = self.handle.call(&Method::Get(get)).await else {
                continue;
            };
            let Some(path) = program_of(&options) else {
                continue;
            };
            let started = watcher.processes.iter().map(|process| process.started_usec);
            let started_usec = started.max().unwrap_or_default();
            let known = self.programs.remove(&watcher.name);
            let known =
                known.filter(|known| known.path == path && known.started_usec == started_usec);
            let program = known.unwrap_or_else(|| Program {
                mark: mark_of(&path),
                path,
                started_usec,
                changed: None,
            });
            programs.insert(watcher.name, program);
        }
        self.programs = programs;
        Ok(())
    }

    /// Watches every directory on the way to a program. To watch one twice is to watch it once.
    fn watch(&self, inotify: &Inotify) -> io::Result<()> {
        for program in self.programs.values() {
            for directory in directories_of(&program.path) {
                match inotify.add_watch(&directory, CHANGES) {
                    Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                    Err(Errno::EACCES) => {
                        let directory = directory.display();
                        self.handle.log(&format!("may not look into '{directory}'"));
                    }
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(())
    }

    /// Notes what has changed, and since when it is as it is.
    fn look(&mut self) {
        let at = Instant::now() + self.settings.loop_rate;
        for program in self.programs.values_mut() {
            let mark = mark_of(&program.path).filter(|mark| Some(mark) != program.mark.as_ref());
            program.changed = match (mark, program.changed) {
                (Some(mark), Some((known, at))) if mark == known => Some((mark, at)),
                (Some(mark), _) => Some((mark, at)),
                // There is no program, or it is the old one again.
                (None, _) => None,
            };
        }
    }

    /// Has those watchers run their programs that have been left alone for long enough.
    async fn act(&mut self) {
        self.look();
        let now = Instant::now();
        let mut due = Vec::new();
        for (watcher, program) in &mut self.programs {
            if let Some((mark, _)) = program.changed.take_if(|(_, at)| *at <= now) {
                program.mark = Some(mark);
                due.push((watcher.clone(), program.path.display().to_string()));
            }
        }
        for (watcher, path) in due {
            match self.renew(&watcher).await {
                Ok(true) => self.handle.log(&format!("{watcher}: '{path}' has changed")),
                Ok(false) => {}
                Err(error) => {
                    self.handle
                        .log(&format!("{watcher}: '{path}' has changed: {error}"));
                    if !matches!(error, ClientError::Refused(_)) {
                        self.try_again(&watcher);
                    }
                }
            }
        }
    }

    /// circusd could not be asked, and will be there again.
    fn try_again(&mut self, watcher: &str) {
        if let Some(program) = self.programs.get_mut(watcher) {
            let changed = program.mark.take();
            program.changed = changed.map(|mark| (mark, Instant::now() + PAUSE));
        }
    }

    /// False where somebody has stopped the watcher: then it is not for us to start.
    async fn renew(&self, watcher: &str) -> Result<bool, ClientError> {
        if is_stopped(watcher, &self.handle).await? {
            return Ok(false);
        }
        let watchers = Some(watcher.to_owned());
        let wait = Some(false);
        let method = match self.settings.action {
            Renewal::Restart => Method::Restart(params::Verb { watchers, wait }),
            Renewal::Reload => Method::Reload(params::Reload {
                watchers,
                wait,
                ..params::Reload::default()
            }),
        };
        self.handle
            .call::<reply::Changes>(&method)
            .await
            .map(|_| true)
    }
}

/// Takes everything that the kernel has told: that there is something is enough.
fn drain(inotify: &Inotify) -> io::Result<()> {
    loop {
        match inotify.read_events() {
            Ok(events) if events.is_empty() => return Ok(()),
            Ok(_) => {}
            Err(Errno::EAGAIN) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}
