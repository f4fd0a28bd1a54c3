//! What the next daemon is told of the pipes of workers, so that it goes on where this one stopped.
//!
//! A pipe may outlive its worker, and is told of by itself. Nothing is read here.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::Streams;
use super::heirs::KeptLogger;
use super::lines::Label;
use super::pipe::Pipe;
use crate::config::{Expanded, Keeping, Stream};
use crate::server::recipes::Recipe;
use crate::sys::epoll::{Interest, Watch};
use crate::sys::process::Process;

/// A pipe, and all that it takes to go on with it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::server) struct KeptOutput {
    pub(in crate::server) number: u64,
    pub(in crate::server) watcher: String,
    #[serde(flatten)]
    pub(super) to: KeptTo,
}

/// Who reads it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum KeptTo {
    /// We do, to write it to this file.
    File(KeptFile),
    /// A program does.
    Logger(KeptLogger),
}

/// A file, and how a process writes to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptFile {
    path: PathBuf,
    keeping: Keeping,
    label: Option<Label>,
}

/// All pipes of an earlier daemon, and what it takes to go on with them.
pub(in crate::server) struct Heritage<'a> {
    /// In the order of their numbers.
    pub(in crate::server) kept: &'a [KeptOutput],
    /// The end by which it is read, if somebody has held it for us: what is in a pipe that nobody else has
    /// open any more is only there.
    pub(in crate::server) held: &'a mut dyn FnMut(u64) -> Option<OwnedFd>,
    /// What the processes of a watcher are made from now.
    pub(in crate::server) recipe: &'a dyn Fn(&str) -> Option<Rc<Recipe>>,
    /// Those to which processes write that have not ended, as far as is known.
    pub(in crate::server) used: BTreeSet<u64>,
}

impl KeptOutput {
    /// All pipes that belong to it.
    fn numbers(&self) -> impl Iterator<Item = u64> {
        let errors = match &self.to {
            KeptTo::File(_) => None,
            KeptTo::Logger(logger) => logger.errors(),
        };
        std::iter::once(self.number).chain(errors)
    }
}

/// The numbers of the pipes of which there is something new to be told to the next daemon.
#[derive(Debug, Default)]
pub(in crate::server) struct Changes {
    numbers: RefCell<BTreeSet<u64>>,
    news: Notify,
}

impl Changes {
    pub(super) fn push(&self, number: u64) {
        self.numbers.borrow_mut().insert(number);
        self.news.notify_one();
    }

    /// Those of which something was new since this was asked.
    pub(in crate::server) fn take(&self) -> BTreeSet<u64> {
        self.numbers.take()
    }

    /// Whether there are any.
    pub(in crate::server) fn are_there(&self) -> bool {
        !self.numbers.borrow().is_empty()
    }

    /// Waits until there may be some. May be dropped at any point.
    pub(in crate::server) async fn come(&self) {
        self.news.notified().await;
    }
}

impl Streams {
    /// What is to be known of a pipe; `None` if nobody can go on with it, as it has ended.
    pub(in crate::server) fn kept(&self, number: u64) -> Option<KeptOutput> {
        match self.pipes.get(&number) {
            Some(pipe) => self.keep(number, pipe),
            None => self.loggers.kept(number),
        }
    }

    /// The same of all.
    pub(in crate::server) fn all_kept(&self) -> Vec<KeptOutput> {
        let pipes = self.pipes.iter();
        let kept = pipes.filter_map(|(number, pipe)| self.keep(*number, pipe));
        kept.chain(self.loggers.all_kept()).collect()
    }

    fn keep(&self, number: u64, pipe: &Pipe) -> Option<KeptOutput> {
        let (path, keeping) = self.files.as_ref()?.files.place(pipe.to)?;
        // The state is text, and so is what is told in it.
        path.to_str()?;
        pipe.named.then(|| KeptOutput {
            number,
            watcher: pipe.watcher.clone(),
            to: KeptTo::File(KeptFile {
                path: path.to_owned(),
                keeping,
                label: pipe.label.as_deref().cloned(),
            }),
        })
    }

    /// The end by which a pipe is read that has a name.
    pub(in crate::server) fn reader(&self, number: u64) -> Option<BorrowedFd<'_>> {
        match self.pipes.get(&number) {
            Some(pipe) => Some(pipe.from.as_fd()),
            None => self.loggers.reader(number),
        }
    }

    /// All of them, by the names under which the next daemon looks for them.
    pub(in crate::server) fn pass_on(&self) -> Vec<(String, OwnedFd)> {
        let all = self.all_kept().into_iter();
        let passed = all.filter_map(|kept| {
            let reader = self.reader(kept.number)?.try_clone_to_owned().ok()?;
            Some((output_name(kept.number), reader))
        });
        passed.collect()
    }

    /// Goes on with the pipes of an earlier daemon.
    pub(in crate::server) fn resume(
        &mut self,
        outputs: Heritage<'_>,
        watch: &mut Watch,
        token: impl Fn(u64) -> u64,
    ) {
        let Heritage {
            kept,
            held,
            recipe,
            used,
        } = outputs;
        let all = kept.iter().flat_map(KeptOutput::numbers);
        all.for_each(|number| self.fifos.is_taken(number));
        // Of two loggers of a stream the later one is the one that new processes write to.
        for output in kept.iter().rev() {
            let number = output.number;
            self.changes.push(number);
            let held = held(number);
            let resumed = match &output.to {
                KeptTo::File(file) => self.resume_file(output, file, held, watch, &token),
                KeptTo::Logger(logger) => match recipe(&output.watcher) {
                    Some(recipe) => {
                        let used = used.contains(&number);
                        self.loggers.resume((number, logger), &recipe, held, used)
                    }
                    None => {
                        self.fifos.remove(number);
                        Ok(())
                    }
                },
            };
            match resumed {
                // It has ended before that could be written down.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::error!(
                    "{}: failed to go on with what a process writes, which will wait: {error}",
                    output.watcher
                ),
                Ok(()) => {}
            }
        }
    }

    /// Reads on from the pipes of a process of an earlier daemon of which nothing was told, as its state was
    /// damaged, if they lead to files: who waits for a reader would wait for ever.
    pub(in crate::server) fn claim(
        &mut self,
        recipe: &Recipe,
        (wid, pid): (u32, Pid),
        watch: &mut Watch,
        token: impl Fn(u64) -> u64,
    ) {
        let watcher = &recipe.watcher.name;
        if !Process::read(pid).is_ok_and(|process| !process.is_dead()) {
            // It writes nothing any more, and nobody can tell what it wrote to.
            return;
        }
        let Expanded { stdout, stderr, .. } = recipe.watcher.expand(wid);
        for (number, stream) in [(1, stdout), (2, stderr)] {
            let Some(Stream::File {
                path,
                keeping,
                format,
            }) = stream
            else {
                continue;
            };
            let end = PathBuf::from(format!("/proc/{pid}/fd/{number}"));
            let known = |pipe| self.pipes.contains_key(&pipe);
            let claimed = self.fifos.claim(&end, known).and_then(|claimed| {
                let Some((number, from)) = claimed else {
                    return Ok(());
                };
                let to = (path.as_path(), keeping, watcher.as_str());
                let pipe = self.read_on(number, from, to, watch, &token)?;
                pipe.format = format;
                pipe.belongs_to(watcher, wid, pid.as_raw());
                Ok(())
            });
            if let Err(error) = claimed {
                tracing::error!(
                    "{watcher}: failed to find what a process writes, which may wait for ever: {error}"
                );
            }
        }
    }

    /// Forgets the pipes that nobody goes on with.
    pub(in crate::server) fn forget_others(&self) {
        let kept = self.all_kept();
        let known: BTreeSet<u64> = kept.iter().flat_map(KeptOutput::numbers).collect();
        self.fifos.retain(|number| known.contains(&number));
    }

    fn resume_file(
        &mut self,
        kept: &KeptOutput,
        file: &KeptFile,
        held: Option<OwnedFd>,
        watch: &mut Watch,
        token: impl Fn(u64) -> u64,
    ) -> io::Result<()> {
        let (number, watcher) = (kept.number, &kept.watcher);
        let from: File = match held {
            Some(held) => held.into(),
            None => self.fifos.open(number)?,
        };
        let to = (file.path.as_path(), file.keeping, watcher.as_str());
        let pipe = self.read_on(number, from, to, watch, token)?;
        pipe.label = file.label.clone().map(Arc::new);
        Ok(())
    }

    /// Reads a pipe that somebody writes to already.
    fn read_on(
        &mut self,
        number: u64,
        from: File,
        (path, keeping, watcher): (&Path, Keeping, &str),
        watch: &mut Watch,
        token: impl Fn(u64) -> u64,
    ) -> io::Result<&mut Pipe> {
        let open = self.open_files(watch, &token)?;
        watch.add(&from, token(number), Interest::News)?;
        let to = open.files.resume(path, keeping, watcher);
        open.look_at(number);
        self.changes.push(number);
        let pipe = Pipe::new((number, token(number)), from, to).for_watcher(watcher);
        Ok(self.pipes.entry(number).insert_entry(pipe).into_mut())
    }
}

/// What the names of pipes begin with that the service manager keeps for us.
pub(in crate::server) const IN_STORE_OF_OUTPUT: &str = "output/";

/// What it is told to call one.
pub(in crate::server) fn output_name(number: u64) -> String {
    format!("{IN_STORE_OF_OUTPUT}{number}")
}
