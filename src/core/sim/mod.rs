//! A seeded world around the supervisor: kernel, hooks, operator and clock, all of them unkind.
//!
//! One number is one world, and the same number is always the same world. Each lives through
//! random watchers, requests and mishaps, comes to rest, has everything started, and ends; after
//! every step [`check`] holds the supervisor to its promises.
//!
//! ```text
//! cargo test --lib sim                                               # many worlds
//! CIRCUSD_SEEDS=1000000 cargo test --lib sim                         # more
//! CIRCUSD_SEED=17 cargo test --lib sim::story -- --nocapture         # the story of one
//! ```
//!
//! In a story, `->` is what the supervisor was told, `<-` what it asked for, `..` what happened
//! without its knowing yet, and the time is in seconds since the beginning of the world.
//!
//! What a seed finds becomes a named test beside the code that was wrong: seeds do not keep, since
//! every change to the dice here makes another world of the same number.
//!
//! It knows nothing of how the supervisor works, real time or the real kernel: the first is so that
//! it is a second reading of the manual, the others are for the tests of the other rooms.

mod agenda;
mod check;
mod kernel;
mod operator;
mod outside;
mod process;
mod sayings;
mod signals;
mod story;
mod world;

use super::Saved;
use check::Violation;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use story::Story;
use world::World;

/// How many worlds are tried unless `CIRCUSD_SEEDS` says otherwise.
const SEEDS: u64 = 20_000;

/// Lives through one world, with its story; a panic of the supervisor is a broken promise too.
fn live(seed: u64, story: Story) -> (Result<(), Violation>, String) {
    let mut world = World::new(seed, story);
    let verdict = catch_unwind(AssertUnwindSafe(|| world.run())).unwrap_or_else(|panic| {
        Err(Violation {
            promise: "no panic",
            detail: words(panic.as_ref()),
        })
    });
    (verdict, world.story().text().to_owned())
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without words")
        .to_owned()
}

/// What a supervisor has left, as it comes back from the disk.
fn copied(saved: Saved) -> Saved {
    fn copy<T: Serialize + DeserializeOwned>(of: &T) -> T {
        let text = serde_json::to_string(of).expect("it can be written");
        serde_json::from_str(&text).expect("it can be read again")
    }
    Saved {
        watchers: saved.watchers.iter().map(copy).collect(),
        workers: saved.workers.iter().map(copy).collect(),
        ..saved
    }
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|error| panic!("{name}={text}: {error}")),
    )
}

/// Tries all worlds up to `seeds` on all processors; for each promise that was broken, how often,
/// and the first seed with the values.
fn try_worlds(seeds: u64) -> BTreeMap<&'static str, (u64, u64, String)> {
    let next = AtomicU64::new(0);
    let broken: Mutex<BTreeMap<&'static str, (u64, u64, String)>> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        return;
                    }
                    if let (Err(violation), _) = live(seed, Story::untold()) {
                        let mut broken = broken.lock().expect("nobody panics while holding it");
                        let entry =
                            broken
                                .entry(violation.promise)
                                .or_insert((0, u64::MAX, String::new()));
                        entry.0 += 1;
                        if seed < entry.1 {
                            (entry.1, entry.2) = (seed, violation.detail);
                        }
                    }
                }
            });
        }
    });
    broken.into_inner().expect("nobody panics while holding it")
}

#[test]
fn twenty_thousand_worlds() {
    let seeds = number("CIRCUSD_SEEDS").unwrap_or(SEEDS);
    let broken = try_worlds(seeds);
    let mut report = String::new();
    for (promise, (times, seed, detail)) in &broken {
        report += &format!(
            "\n{promise}: broken in {times} of {seeds} worlds, first in {seed}: {detail}\n    \
             CIRCUSD_SEED={seed} cargo test --lib sim::story -- --nocapture\n"
        );
    }
    assert!(broken.is_empty(), "{report}");
}

/// Prints the story of the world that `CIRCUSD_SEED` names, and fails if a promise is broken.
#[test]
fn story() {
    let wanted = number("CIRCUSD_SEED");
    let (verdict, text) = live(wanted.unwrap_or(0), Story::told());
    assert!(!text.is_empty(), "every world has a story");
    if wanted.is_some() {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())
            .expect("somebody wants to read it");
        if let Err(Violation { promise, detail }) = verdict {
            panic!("{promise}: {detail}");
        }
    }
}

#[test]
fn a_seed_is_always_the_same_world() {
    let told = || live(17, Story::told()).1;
    assert_eq!(told(), told());
}
