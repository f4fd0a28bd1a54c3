//! What the next daemon needs to go on, written down as it changes: one JSON line for each change,
//! and now and then everything anew.
//!
//! ```text
//! {"head":{"format":1,"circusd":"0.1.0","boot":"…","instance":"…"}}
//! {"watcher":{…}}  {"removed":"web"}      core's own words, see core/saved.rs
//! {"worker":{…}}   {"gone":17}            a process, and where it lives
//! {"last_id":17}                          the last number that was given to one
//! {"made_from":{…}}                       what a revision stands for
//! {"wishes":{…}}                          what came over the socket
//! {"sockets":[…]}                         those that workers inherit
//! {"output":{…}}   {"output_gone":17}     a pipe that workers write to
//! {"let_go":[…]}                          groups with processes that are nobody's any more
//! {"freed":[…]}                           such processes, where there are no groups
//! ```
//!
//! A line is written before anybody hears of what it tells, and whole or not at all: of a write that
//! was cut short the last line has no end, and is left out. Lines of a kind that is not known are
//! passed over, so that an older version reads what a newer one has left, as far as it can.
//!
//! Nothing is decided here, and nothing is known of processes but what they were.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::core::{Name, Revision, Saved, SavedWatcher, SavedWorker, Unsaved, WorkerId};
use crate::server::sockets::KeptSocket;
use crate::server::streams::KeptOutput;

/// The only format there is. One that cannot be read as this is has another number.
const FORMAT: u32 = 1;

/// So many lines more than there were after the last time make it worth while to write all anew.
const LINES_MORE: usize = 1000;

/// How long after a failure all is written anew: what runs is not to be unknown for long once there is
/// room again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What is kept for the next lines: enough for those of a moment.
const BUFFER_BYTES: usize = 4096;

/// No daemon leaves more; whatever is larger is not ours.
const BYTES_MAX: u64 = 1 << 30;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Head(Head),
    Watcher(Box<SavedWatcher>),
    Removed(Name),
    Worker(Box<Kept>),
    Gone(WorkerId),
    LastId(u64),
    MadeFrom(MadeFrom),
    Wishes(Json),
    Sockets(Vec<KeptSocket>),
    Output(Box<KeptOutput>),
    OutputGone(u64),
    LetGo(Vec<PathBuf>),
    Freed(Vec<KeptFreed>),
}

/// Whose state this is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Head {
    format: u32,
    /// The version that has begun it; for people.
    circusd: String,
    /// The boot of the machine, without which no pid and no time means anything (random(4)).
    boot: String,
    pub(super) instance: String,
}

/// A process, and by what it is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::server) struct Kept {
    #[serde(flatten)]
    pub(in crate::server) worker: SavedWorker,
    #[serde(flatten)]
    pub(in crate::server) place: KeptPlace,
}

/// By what a process is found again, and what it is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct KeptPlace {
    pub(in crate::server) home: KeptHome,
    /// The pipes by which it writes to loggers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(in crate::server) loggers: Vec<u64>,
}

/// Where a process lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::server) enum KeptHome {
    /// In this cgroup.
    Cgroup(PathBuf),
    /// Where there are none: the time of its start, in clock ticks after boot.
    Started(u64),
}

/// A process that was let go where there are no cgroups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::server) struct KeptFreed {
    pub(in crate::server) pid: i32,
    /// The time of its start, in clock ticks after boot.
    pub(in crate::server) started: u64,
    /// The variable that it hands on to its children, and its value.
    pub(in crate::server) mark: Option<(String, String)>,
}

impl From<KeptHome> for KeptPlace {
    fn from(home: KeptHome) -> Self {
        let loggers = Vec::new();
        KeptPlace { home, loggers }
    }
}

/// What a revision of a watcher stands for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::server) struct MadeFrom {
    pub(in crate::server) watcher: String,
    pub(in crate::server) revision: Revision,
    pub(in crate::server) what: Json,
}

/// What an earlier daemon has left.
#[derive(Debug, Default)]
pub(in crate::server) struct Left {
    pub(in crate::server) saved: Saved,
    pub(in crate::server) places: HashMap<WorkerId, KeptPlace>,
    pub(in crate::server) made_from: Vec<MadeFrom>,
    pub(in crate::server) wishes: Option<Json>,
    pub(in crate::server) sockets: Vec<KeptSocket>,
    pub(in crate::server) outputs: Vec<KeptOutput>,
    /// Groups in which somebody lives on who was let go.
    pub(in crate::server) let_go: BTreeSet<PathBuf>,
    /// The same, where there are no groups.
    pub(in crate::server) freed: Vec<KeptFreed>,
    /// Lines that could not be read.
    pub(in crate::server) damaged: usize,
}

/// Why there is nothing to go on with.
#[derive(Debug, thiserror::Error)]
pub(in crate::server) enum ReadError {
    /// The file cannot be read.
    #[error("failed to read '{}'", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// It does not begin as a state does.
    #[error("'{}' is not a state of circusd", path.display())]
    Foreign { path: PathBuf },
    /// Another version has written it.
    #[error("'{}' has format {format}, and this circusd knows {FORMAT}", path.display())]
    Format { path: PathBuf, format: u32 },
    /// The machine was started anew since: nothing of it is left.
    #[error("'{}' is of an earlier boot", path.display())]
    Boot { path: PathBuf },
}

/// Reads what was left; `None` if there is nothing.
///
/// # Errors
///
/// What is there is nothing to go on with.
pub(super) fn read(path: &Path) -> Result<Option<(Head, Left)>, ReadError> {
    let failed = |source| ReadError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.is_file() || found.len() > BYTES_MAX => {
            return Err(ReadError::Foreign {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    let text = std::fs::read(path).map_err(failed)?;
    understand(&text, path).map(Some)
}

fn understand(text: &[u8], path: &Path) -> Result<(Head, Left), ReadError> {
    let path = || path.to_owned();
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let head = lines
        .next()
        .and_then(|line| serde_json::from_slice(line).ok());
    let Some(Line::Head(head)) = head else {
        return Err(ReadError::Foreign { path: path() });
    };
    if head.format != FORMAT {
        let format = head.format;
        return Err(ReadError::Format {
            path: path(),
            format,
        });
    }
    if head.boot != boot_id() {
        return Err(ReadError::Boot { path: path() });
    }
    let mut left = Collected::default();
    for line in lines.filter(|line| line.ends_with(b"\n")) {
        left.take(line);
    }
    Ok((head, left.finish()))
}

/// The state as far as the lines have told it.
#[derive(Debug, Default)]
struct Collected {
    watchers: BTreeMap<Name, SavedWatcher>,
    workers: BTreeMap<WorkerId, Kept>,
    last_id: u64,
    made_from: BTreeMap<Revision, MadeFrom>,
    wishes: Option<Json>,
    sockets: Vec<KeptSocket>,
    outputs: BTreeMap<u64, KeptOutput>,
    let_go: BTreeSet<PathBuf>,
    freed: Vec<KeptFreed>,
    damaged: usize,
}

impl Collected {
    fn take(&mut self, line: &[u8]) {
        match serde_json::from_slice(line) {
            Ok(Line::Watcher(watcher)) => {
                self.watchers.insert(watcher.spec.name.clone(), *watcher);
            }
            Ok(Line::Removed(name)) => {
                self.watchers.remove(&name);
                self.workers.retain(|_, kept| kept.worker.watcher != name);
            }
            Ok(Line::Worker(kept)) => {
                self.last_id = self.last_id.max(kept.worker.id.0);
                self.workers.insert(kept.worker.id, *kept);
            }
            Ok(Line::Gone(id)) => {
                self.last_id = self.last_id.max(id.0);
                self.workers.remove(&id);
            }
            Ok(Line::LastId(id)) => self.last_id = self.last_id.max(id),
            Ok(Line::MadeFrom(made_from)) => {
                self.made_from.insert(made_from.revision, made_from);
            }
            Ok(Line::Wishes(wishes)) => self.wishes = Some(wishes),
            Ok(Line::Sockets(sockets)) => self.sockets = sockets,
            Ok(Line::Output(output)) => {
                self.outputs.insert(output.number, *output);
            }
            Ok(Line::OutputGone(number)) => {
                self.outputs.remove(&number);
            }
            Ok(Line::LetGo(groups)) => self.let_go = groups.into_iter().collect(),
            Ok(Line::Freed(freed)) => self.freed = freed,
            Ok(Line::Head(_)) => {}
            Err(error) if error.is_data() && is_unknown(line) => {}
            Err(_) => self.damaged += 1,
        }
    }

    fn finish(self) -> Left {
        let places = self.workers.iter();
        let places = places.map(|(id, kept)| (*id, kept.place.clone()));
        Left {
            places: places.collect(),
            saved: Saved {
                last_seq: 0,
                last_id: self.last_id,
                watchers: self.watchers.into_values().collect(),
                workers: self.workers.into_values().map(|kept| kept.worker).collect(),
            },
            made_from: self.made_from.into_values().collect(),
            wishes: self.wishes,
            sockets: self.sockets,
            outputs: self.outputs.into_values().collect(),
            let_go: self.let_go,
            freed: self.freed,
            damaged: self.damaged,
        }
    }
}

/// Whether a line is well formed, and of a kind that a later version has brought.
fn is_unknown(line: &[u8]) -> bool {
    const KNOWN: [&str; 13] = [
        "head",
        "watcher",
        "removed",
        "worker",
        "gone",
        "last_id",
        "made_from",
        "wishes",
        "sockets",
        "output",
        "output_gone",
        "let_go",
        "freed",
    ];
    let object: Result<BTreeMap<String, serde::de::IgnoredAny>, _> = serde_json::from_slice(line);
    object.is_ok_and(|object| object.keys().all(|key| !KNOWN.contains(&key.as_str())))
}

/// The boot of the machine; empty where the kernel does not tell.
fn boot_id() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.unwrap_or_default().trim().to_owned()
}

/// The state, being written.
#[derive(Debug)]
pub(in crate::server) struct Records {
    path: PathBuf,
    instance: String,
    file: File,
    buffer: Vec<u8>,
    lines: usize,
    /// How many there were when all was written anew.
    least: usize,
    /// What was written last of each watcher, as a hash: most of the time nothing has changed.
    watchers: HashMap<Name, u64>,
    /// Writing has failed, and that was told: when it is tried again.
    broken: Option<Instant>,
}

/// Everything there is to be written, at one moment.
#[derive(Debug)]
pub(in crate::server) struct Everything {
    pub(in crate::server) saved: Saved,
    pub(in crate::server) made_from: Vec<MadeFrom>,
    pub(in crate::server) wishes: Json,
    pub(in crate::server) sockets: Vec<KeptSocket>,
    pub(in crate::server) outputs: Vec<KeptOutput>,
    pub(in crate::server) let_go: Vec<PathBuf>,
    pub(in crate::server) freed: Vec<KeptFreed>,
}

impl Records {
    /// Begins anew: what was there is replaced by the first [`Records::rewrite`].
    ///
    /// # Errors
    ///
    /// The file cannot be made.
    pub(in crate::server) fn begin(directory: &Path, instance: &str) -> io::Result<Records> {
        let path = directory.join("state");
        Ok(Records {
            file: create(&path.with_extension("new"))?,
            path,
            instance: instance.to_owned(),
            buffer: Vec::new(),
            lines: 0,
            least: 0,
            watchers: HashMap::new(),
            broken: None,
        })
    }

    /// Takes in what has changed. `place` tells where a process lives; one that has no place is gone.
    pub(in crate::server) fn note(
        &mut self,
        unsaved: Unsaved,
        place: impl Fn(WorkerId) -> Option<KeptPlace>,
    ) {
        for name in unsaved.removed {
            self.watchers.remove(&name);
            self.push(&Line::Removed(name));
        }
        for worker in unsaved.workers {
            let id = worker.id;
            match place(id) {
                Some(place) => self.push(&Line::Worker(Box::new(Kept { worker, place }))),
                None => self.push(&Line::Gone(id)),
            }
        }
        for id in unsaved.gone {
            self.push(&Line::Gone(id));
        }
        for watcher in unsaved.watchers {
            self.push_watcher(watcher);
        }
    }

    /// Takes in what a revision stands for.
    pub(in crate::server) fn note_made_from(&mut self, made_from: MadeFrom) {
        self.push(&Line::MadeFrom(made_from));
    }

    /// Takes in what came over the socket.
    pub(in crate::server) fn note_wishes(&mut self, wishes: Json) {
        self.push(&Line::Wishes(wishes));
    }

    /// Takes in which sockets are open.
    pub(in crate::server) fn note_sockets(&mut self, sockets: Vec<KeptSocket>) {
        self.push(&Line::Sockets(sockets));
    }

    /// Takes in what there is to be known of a pipe, or that there is nothing more.
    pub(in crate::server) fn note_output(&mut self, number: u64, kept: Option<KeptOutput>) {
        match kept {
            Some(kept) => self.push(&Line::Output(Box::new(kept))),
            None => self.push(&Line::OutputGone(number)),
        }
    }

    /// Takes in where those live who were let go, and who they are where there are no groups.
    pub(in crate::server) fn note_let_go(&mut self, groups: Vec<PathBuf>, freed: Vec<KeptFreed>) {
        self.push(&Line::LetGo(groups));
        self.push(&Line::Freed(freed));
    }

    fn push_watcher(&mut self, watcher: SavedWatcher) {
        let name = watcher.spec.name.clone();
        let begin = self.buffer.len();
        self.push(&Line::Watcher(Box::new(watcher)));
        let mut hasher = DefaultHasher::new();
        self.buffer[begin..].hash(&mut hasher);
        let hash = hasher.finish();
        if self.watchers.insert(name, hash) == Some(hash) {
            self.buffer.truncate(begin);
            self.lines -= 1;
        }
    }

    fn push(&mut self, line: &Line) {
        match serde_json::to_writer(&mut self.buffer, line) {
            Ok(()) => {
                self.buffer.push(b'\n');
                self.lines += 1;
            }
            Err(error) => unreachable!("our own lines have strings for keys: {error}"),
        }
    }

    /// Writes what was taken in; nobody may hear of it before.
    pub(in crate::server) fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        // Behind a line that was cut short nothing can be read.
        if self.broken.is_none() {
            let written = self.file.write_all(&self.buffer);
            self.tell(written);
        }
        self.empty_buffer();
    }

    /// After much at once it does not stay as large as it was.
    fn empty_buffer(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES);
    }

    /// Whether so much has changed that it is better to begin anew.
    pub(in crate::server) fn are_long(&self) -> bool {
        self.lines > 2 * self.least + LINES_MORE
    }

    /// When everything is to be written anew because writing has failed, if it has.
    pub(in crate::server) fn retry_at(&self) -> Option<Instant> {
        self.broken
    }

    /// Whether what is there does not tell of all that was taken in, as writing has failed.
    pub(in crate::server) fn are_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether it is time for that.
    pub(in crate::server) fn are_due(&self) -> bool {
        self.broken.is_some_and(|at| at <= Instant::now())
    }

    /// Writes everything anew, in place of all that was written before.
    pub(in crate::server) fn rewrite(
        &mut self,
        all: Everything,
        place: impl Fn(WorkerId) -> Option<KeptPlace>,
    ) {
        self.buffer.clear();
        (self.lines, self.watchers) = (0, HashMap::new());
        self.push(&Line::Head(Head {
            format: FORMAT,
            circusd: env!("CARGO_PKG_VERSION").to_owned(),
            boot: boot_id(),
            instance: self.instance.clone(),
        }));
        for made_from in all.made_from {
            self.push(&Line::MadeFrom(made_from));
        }
        self.push(&Line::Wishes(all.wishes));
        self.push(&Line::Sockets(all.sockets));
        for output in all.outputs {
            self.push(&Line::Output(Box::new(output)));
        }
        self.push(&Line::LetGo(all.let_go));
        self.push(&Line::Freed(all.freed));
        let (watchers, workers) = (all.saved.watchers, all.saved.workers);
        let (gone, removed) = (Vec::new(), Vec::new());
        let unsaved = Unsaved {
            watchers,
            workers,
            gone,
            removed,
        };
        self.note(unsaved, place);
        // That no number is given out twice, whoever is gone by now.
        self.push(&Line::LastId(all.saved.last_id));
        self.least = self.lines;
        let written = self.replace();
        self.tell(written);
    }

    fn replace(&mut self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        self.file = create(&new)?;
        let written = self.file.write_all(&self.buffer);
        self.empty_buffer();
        written?;
        std::fs::rename(new, &self.path)
    }

    fn tell(&mut self, written: io::Result<()>) {
        let Err(error) = written else {
            if self.broken.take().is_some() {
                tracing::info!("the state is written again");
            }
            return;
        };
        let before = self.broken.replace(Instant::now() + RETRY_PAUSE);
        if before.is_none() {
            let path = self.path.display();
            tracing::error!(
                "failed to write the state '{path}', so that nobody could go on should circusd be \
                 killed; trying again until it succeeds: {error}"
            );
        }
    }

    /// Removes it: there is nothing to go on with.
    pub(in crate::server) fn remove(self) {
        for path in [self.path.with_extension("new"), self.path] {
            // It may be gone already, and nobody is served by a complaint.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// For us alone, as there may be secrets in it, and to append only.
fn create(path: &Path) -> io::Result<File> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.append(true).create_new(true).mode(0o600).open(path)
}
