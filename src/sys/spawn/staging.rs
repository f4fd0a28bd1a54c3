//! Puts the descriptors that a worker is to get where they can be had without copying our whole table.
//!
//! A new process copies the table of its parent, and closes most of it again: with a pidfd for each worker a
//! start would take longer the more there are. So the child shares our table at first, and unshares it with
//! the part above a certain number cut off (close_range(2), `CLOSE_RANGE_UNSHARE`). Below that number are a few
//! places kept for this, into which its descriptors are duplicated before. When they do not suffice, the whole
//! table is copied.
//!
//! Only a matter of cost: what the child gets is the same either way.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::fcntl::OFlag;
use nix::unistd::dup3;

/// How many places are kept: the standard three, and some sockets.
const PLACES: usize = 8;

thread_local! {
    // Each thread that spawns has its own, so that no lock is needed; the daemon has one such thread.
    static BLOCK: Cell<Option<Block>> = const { Cell::new(None) };
}

/// The places of one thread; those not in use lead to the null device.
struct Block {
    null: File,
    places: Vec<OwnedFd>,
}

impl Block {
    fn new() -> io::Result<Self> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        let places = (0..PLACES)
            .map(|_| Ok(null.try_clone()?.into()))
            .collect::<io::Result<_>>()?;
        Ok(Self { null, places })
    }

    /// Keeps the one it has, or makes one.
    fn take() -> io::Result<Self> {
        BLOCK.take().map_or_else(Self::new, Ok)
    }
}

/// Takes the places now, while the numbers of descriptors are low; the first start does it otherwise.
///
/// To be called at the beginning of the thread that spawns.
///
/// # Errors
///
/// `EMFILE`, and those of opening `/dev/null`.
pub fn reserve() -> io::Result<()> {
    BLOCK.set(Some(Block::take()?));
    Ok(())
}

/// Descriptors in their places, until this is dropped.
pub(super) struct Staged {
    null: Option<File>,
    places: Vec<OwnedFd>,
    used: usize,
}

impl Staged {
    /// Puts the sources of `wanted` in place and changes their numbers accordingly.
    ///
    /// `None`, and nothing changed, if there are not enough places.
    pub(super) fn put(wanted: &mut [(RawFd, RawFd)]) -> Option<Self> {
        let Block { null, places } = Block::take().ok()?;
        let mut staged = Self {
            null: Some(null),
            places,
            used: 0,
        };
        let last = staged.last();
        let mut changed = wanted.to_vec();
        for n in 0..changed.len() {
            let (from, _) = changed[n];
            if from <= last {
                continue;
            }
            let place = staged.copy(from)?;
            // One source may have several targets.
            changed
                .iter_mut()
                .filter(|(source, _)| *source == from)
                .for_each(|pair| pair.0 = place);
        }
        wanted.copy_from_slice(&changed);
        Some(staged)
    }

    fn copy(&mut self, from: RawFd) -> Option<RawFd> {
        let place = self.places.get_mut(self.used)?;
        // SAFETY: the caller of `spawn` has lent it for the whole of the start.
        let from = unsafe { BorrowedFd::borrow_raw(from) };
        dup3(from, place, OFlag::O_CLOEXEC).ok()?;
        self.used += 1;
        Some(place.as_raw_fd())
    }

    /// The highest number that the child needs of our table.
    pub(super) fn last(&self) -> RawFd {
        self.places
            .iter()
            .map(AsRawFd::as_raw_fd)
            .max()
            .unwrap_or(0)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Some(null) = self.null.take() else { return };
        let mut places = std::mem::take(&mut self.places);
        for place in &mut places[..self.used] {
            // Or we would hold the worker's pipes open. It cannot fail: both numbers are open.
            let _ = dup3(&null, place, OFlag::O_CLOEXEC);
        }
        BLOCK.set(Some(Block { null, places }));
    }
}
