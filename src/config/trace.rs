//! What a configuration was read from: where was looked, and what was there.
//!
//! By it one sees whether it would be read differently now. Nothing in here reads anything, nor knows
//! how one hears that something has changed.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// The places where was looked for files, and a digest of what they said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    places: BTreeSet<PathBuf>,
    /// Of each file that was read or could not be, in that order.
    digest: u64,
}

impl Trace {
    /// Absolute paths: files, of which the content matters, and directories, of which the entries do;
    /// also those that are not there.
    pub fn places(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().map(PathBuf::as_path)
    }

    /// Whether the same was found, wherever was looked.
    pub fn found_the_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Adds a place in which files may be, or come.
    pub(crate) fn looked_at(&mut self, place: &Path) {
        self.places.insert(place.to_owned());
    }

    /// Adds a file, and its text or why it has none.
    pub(crate) fn found(&mut self, file: &Path, text: &Result<String, impl Display>) {
        self.looked_at(file);
        let text = text.as_ref().map_err(ToString::to_string);
        // With the same keys each time: it is compared within one process, and not kept.
        let mut hasher = DefaultHasher::new();
        (self.digest, file, text).hash(&mut hasher);
        self.digest = hasher.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(found: &[(&str, Result<&str, &str>)]) -> Trace {
        let mut trace = Trace::default();
        for (file, text) in found {
            let text = text.map(ToOwned::to_owned);
            trace.found(Path::new(file), &text);
        }
        trace
    }

    #[test]
    fn any_difference_in_what_was_found_is_one() {
        let all = [
            trace(&[]),
            trace(&[("/a", Ok(""))]),
            trace(&[("/b", Ok(""))]),
            trace(&[("/a", Ok("1"))]),
            trace(&[("/a", Err("1"))]),
            trace(&[("/a", Ok("1")), ("/b", Ok("2"))]),
            trace(&[("/b", Ok("2")), ("/a", Ok("1"))]),
        ];
        for (index, one) in all.iter().enumerate() {
            for (other_index, other) in all.iter().enumerate() {
                let same = index == other_index;
                assert_eq!(one.found_the_same(other), same, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_place_without_a_file_is_none() {
        let mut with = trace(&[("/a", Ok("1"))]);
        with.looked_at(Path::new("/conf.d"));
        assert!(with.found_the_same(&trace(&[("/a", Ok("1"))])));
        let places: Vec<_> = with.places().collect();
        assert_eq!(places, [Path::new("/a"), Path::new("/conf.d")]);
    }
}
