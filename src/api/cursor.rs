//! A place in the log of events, written `<instance>:<seq>`.
//!
//! It says where, not whether that is still to be had: that depends on the log.

use std::fmt;
use std::str::FromStr;

/// How long the name of an instance may be, in bytes. A UUID with its hyphens has 36.
pub const INSTANCE_BYTES_MAX: usize = 64;

/// The place just behind the event with number `seq`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    /// The daemon's instance id: letters, digits, `-` and `_`, at most [`INSTANCE_BYTES_MAX`].
    pub instance: String,
    /// The number of the event; 0 is the place before the first.
    pub seq: u64,
}

/// A text that is no cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a cursor")]
#[non_exhaustive]
pub struct CursorError {
    /// The text.
    pub text: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.instance, self.seq)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let malformed = || CursorError {
            text: text.to_owned(),
        };
        let (instance, seq) = text.split_once(':').ok_or_else(malformed)?;
        // u64's own parser takes a sign.
        if !is_instance(instance) || !seq.bytes().all(|b| b.is_ascii_digit()) {
            return Err(malformed());
        }
        let seq = seq.parse().map_err(|_| malformed())?;
        Ok(Self {
            instance: instance.to_owned(),
            seq,
        })
    }
}

fn is_instance(text: &str) -> bool {
    let byte = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=INSTANCE_BYTES_MAX).contains(&text.len()) && text.bytes().all(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        for text in ["a:0", "0f3e-9b_Z:17", "i:18446744073709551615"] {
            assert_eq!(
                text.parse::<Cursor>().map(|c| c.to_string()).as_deref(),
                Ok(text)
            );
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let long = format!("{}:1", "x".repeat(INSTANCE_BYTES_MAX + 1));
        let texts = [
            "",
            ":",
            "a",
            "a:",
            ":1",
            "a:b",
            "a:+1",
            "a:-1",
            "a: 1",
            "a b:1",
            "a:1:2",
            "é:1",
            "a:18446744073709551616",
            &long,
        ];
        for text in texts {
            assert_eq!(
                text.parse::<Cursor>(),
                Err(CursorError { text: text.into() })
            );
        }
    }
}
