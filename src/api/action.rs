//! The table of events: what is told of, when, with which data, and under which id in the journal.
//!
//! The manual and the journal's message catalog are made from it, and a test of `server` holds
//! against it all that is sent. Whether and when an event is sent is not decided here.

mod table;

pub use table::{ACTIONS, DENIED};

/// One kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Action {
    /// Its word in `action`, and at the end of its topic.
    pub name: &'static str,
    /// Whether it is told of watchers (`watcher.NAME.*`) or of the daemon (`circusd.*`).
    pub of: Of,
    /// When it is told: a sentence.
    pub when: &'static str,
    /// The members of its `data`.
    pub data: &'static [Member],
    /// What it is in the journal.
    pub message: Message,
}

/// A kind of record in the journal, as its catalog explains it (journalctl(1), `-x`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// `MESSAGE_ID`: 128 bits as 32 hexadecimal digits, never changed.
    pub id: &'static str,
    /// What has happened, in a few words. `@FIELD@` stands for a field of the record.
    pub subject: &'static str,
    /// What it means, and what can be done about it.
    pub text: &'static str,
}

/// What an event is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Of {
    /// A watcher, which it names.
    Watcher,
    /// The daemon itself.
    Daemon,
}

/// One member of the data of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Its key.
    pub name: &'static str,
    /// Its type in the words of the IDL; one that begins with `?` may be null or left out.
    pub of_type: &'static str,
    /// What it means, without a full stop.
    pub meaning: &'static str,
}

/// The kind of that name, if there is one.
#[must_use]
pub fn find(of: Of, name: &str) -> Option<&'static Action> {
    let fits = |action: &&Action| action.of == of && action.name == name;
    ACTIONS.iter().find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_128_bits_and_stands_for_one_kind() {
        let messages = ACTIONS.iter().map(|action| action.message);
        let ids: Vec<&str> = messages.chain([DENIED]).map(|message| message.id).collect();
        for (index, id) in ids.iter().enumerate() {
            let is_hexadecimal = id
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            assert!(id.len() == 32 && is_hexadecimal, "{id}");
            assert!(!ids[..index].contains(id), "{id} stands for two");
        }
    }

    #[test]
    fn every_kind_is_found_by_its_name() {
        for action in ACTIONS {
            assert_eq!(find(action.of, action.name), Some(action));
        }
        assert_eq!(find(Of::Daemon, "spawn"), None);
    }
}
