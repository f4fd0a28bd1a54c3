//! What a process may say on its notify socket (sd_notify(3), circusd.toml(5)), read from the bytes.
//!
//! Nothing in here is an error: new words come with every version of systemd, and what is not
//! understood is passed over. Does not know who has said it, nor what follows.

use std::time::Duration;

use nix::unistd::Pid;

/// More than that of a status is not shown to anybody.
const STATUS_CHARS_MAX: usize = 256;

/// The longest time that a process may ask for, as for every time of the configuration.
const DURATION_MAX: Duration = Duration::from_secs(86400);

/// One thing that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Word {
    /// `MAINPID=`: this is the main process from now on.
    MainPid(Pid),
    /// `READY=1`: it serves, or serves again after a reload of its own.
    Ready,
    /// `RELOADING=1`: it reads its configuration again.
    Reloading,
    /// `STOPPING=1`: it is on its way out.
    Stopping,
    /// `STATUS=`: one line for people, fit to be shown to them; empty for none.
    Status(String),
    /// `WATCHDOG=1`: it is alive.
    Alive,
    /// `WATCHDOG=trigger`: it is stuck.
    Stuck,
    /// `WATCHDOG_USEC=`: how often it will say that it is alive.
    Watchdog(Duration),
    /// `EXTEND_TIMEOUT_USEC=`: it needs so long from now on for what it is at.
    Extend(Duration),
    /// `CIRCUS_REQUESTS=`: how many requests it has served.
    Requests(u64),
}

/// What a message says: the main process first, as all else is about that, then in the order said.
pub(super) fn words(message: &[u8]) -> Vec<Word> {
    let mut words: Vec<_> = message
        .split(|byte| *byte == b'\n')
        .filter_map(word)
        .collect();
    words.sort_by_key(|word| !matches!(word, Word::MainPid(_)));
    words
}

fn word(line: &[u8]) -> Option<Word> {
    let at = line.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&line[..at], &line[at + 1..]);
    if name == b"STATUS" {
        return Some(Word::Status(printable(value)));
    }
    let value = str::from_utf8(value).ok()?;
    match (name, value) {
        (b"READY", "1") => Some(Word::Ready),
        (b"RELOADING", "1") => Some(Word::Reloading),
        (b"STOPPING", "1") => Some(Word::Stopping),
        (b"WATCHDOG", "1") => Some(Word::Alive),
        (b"WATCHDOG", "trigger") => Some(Word::Stuck),
        (b"WATCHDOG_USEC", _) => duration(value).map(Word::Watchdog),
        (b"EXTEND_TIMEOUT_USEC", _) => duration(value).map(Word::Extend),
        (b"CIRCUS_REQUESTS", _) => number(value).map(Word::Requests),
        (b"MAINPID", _) => {
            let pid = number(value).and_then(|pid| i32::try_from(pid).ok())?;
            (pid > 0).then(|| Word::MainPid(Pid::from_raw(pid)))
        }
        _ => None,
    }
}

/// Digits and nothing else.
fn number(text: &str) -> Option<u64> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn duration(micros: &str) -> Option<Duration> {
    number(micros).map(|micros| Duration::from_micros(micros).min(DURATION_MAX))
}

/// Without what would move a cursor or begin a line, and no longer than [`STATUS_CHARS_MAX`].
fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = shown.take(STATUS_CHARS_MAX + 1).collect();
    if let Some((end, _)) = shown.char_indices().nth(STATUS_CHARS_MAX) {
        shown.truncate(end);
        shown.push('…');
    }
    shown.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_understood() {
        let text = b"READY=1\nSTATUS=up \x1b[2J\xff\nSTOPPING=1\nRELOADING=1\nMONOTONIC_USEC=5\n\
                     WATCHDOG=1\nWATCHDOG=trigger\nWATCHDOG_USEC=2000000\nEXTEND_TIMEOUT_USEC=5\n\
                     CIRCUS_REQUESTS=18446744073709551615\nBARRIER=1\nMAINPID=7";
        let expected = [
            Word::MainPid(Pid::from_raw(7)),
            Word::Ready,
            Word::Status("up  [2J\u{fffd}".into()),
            Word::Stopping,
            Word::Reloading,
            Word::Alive,
            Word::Stuck,
            Word::Watchdog(Duration::from_secs(2)),
            Word::Extend(Duration::from_micros(5)),
            Word::Requests(u64::MAX),
        ];
        assert_eq!(words(text), expected);
    }

    #[test]
    fn what_is_not_understood_is_passed_over() {
        for text in [
            "",
            "\n\n",
            "READY",
            "READY=0",
            "READY=1 ",
            " READY=1",
            "ready=1",
            "=1",
            "MAINPID=0",
            "MAINPID=-1",
            "MAINPID=99999999999",
            "WATCHDOG_USEC=+5",
            "CIRCUS_REQUESTS=1e3",
            "CIRCUS_REQUESTS=18446744073709551616",
            "ERRNO=2",
            "EXIT_STATUS=1",
        ] {
            assert_eq!(words(text.as_bytes()), [], "{text:?}");
        }
    }

    #[test]
    fn what_the_manual_names_is_understood() {
        for notice in crate::config::NOTICES {
            let text = notice.text.replace("...", "up").replace("=n", "=5");
            let understood = !words(text.as_bytes()).is_empty();
            // That is a matter of the descriptor, which is closed whatever was said.
            assert_ne!(understood, notice.text == "BARRIER=1", "{text}");
        }
    }

    #[test]
    fn nobody_asks_for_more_than_a_day() {
        let text = format!("EXTEND_TIMEOUT_USEC={}", u64::MAX);
        assert_eq!(words(text.as_bytes()), [Word::Extend(DURATION_MAX)]);
    }

    #[test]
    fn whatever_comes_is_read_and_a_status_stays_short_and_plain() {
        let mut rng = fastrand::Rng::with_seed(7);
        let pieces: [&[u8]; 8] = [
            b"STATUS=",
            b"=",
            b"\n",
            b"READY=1",
            b"\xf0\x9f\x98\x80",
            b"\x1b",
            b"MAINPID=",
            b"9",
        ];
        for _ in 0..20_000 {
            let mut message = Vec::new();
            for _ in 0..rng.usize(..40) {
                match rng.bool() {
                    true => message.extend(pieces[rng.usize(..pieces.len())]),
                    false => message.push(rng.u8(..)),
                }
            }
            for word in words(&message) {
                if let Word::Status(text) = word {
                    assert!(text.chars().count() <= STATUS_CHARS_MAX + 1, "{message:?}");
                    assert!(!text.contains(char::is_control), "{message:?}");
                }
            }
        }
        let long = [b"STATUS=".to_vec(), vec![b'x'; 4000]].concat();
        let Word::Status(text) = &words(&long)[0] else {
            panic!("a status");
        };
        assert!(text.ends_with('…') && text.chars().count() == STATUS_CHARS_MAX + 1);
    }
}
