//! Durations, times, sizes, signals and exits in words.
//!
//! Times are told in UTC: the time zone of the reader is not known without asking the C library,
//! and a log of several machines is easier to compare so.

use serde_json::Value;

use crate::api::types::{Exit, ExitCause, Object};

const SECOND: u64 = 1_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Names of the signals 1 to 31 on Linux, except on alpha, mips and sparc (signal(7)).
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// `text` without anything that a terminal would obey: part of what we print was written by
/// workers.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| match c.is_control() {
            true => c.escape_default().collect::<Vec<_>>(),
            false => vec![c],
        })
        .collect()
}

/// A duration in its two largest units.
pub(super) fn duration(usec: u64) -> String {
    let two = |large: u64, unit, small: u64, small_unit| match (usec % large) / small {
        0 => format!("{} {unit}", usec / large),
        rest => format!("{} {unit} {rest} {small_unit}", usec / large),
    };
    match usec {
        0..SECOND => format!("{} ms", usec / 1000),
        SECOND..MINUTE => format!("{} s", usec / SECOND),
        MINUTE..HOUR => two(MINUTE, "min", SECOND, "s"),
        HOUR..DAY => two(HOUR, "h", MINUTE, "min"),
        _ => two(DAY, "d", HOUR, "h"),
    }
}

/// How long ago `then` was; a time to come, by a clock that was set back, is "just now".
pub(super) fn ago(then_usec: u64, now_usec: u64) -> String {
    match now_usec.saturating_sub(then_usec) {
        0..SECOND => "just now".to_owned(),
        usec => format!("{} ago", duration(usec)),
    }
}

/// When something will be tried again.
pub(super) fn again(then_usec: u64, now_usec: u64) -> String {
    match then_usec.saturating_sub(now_usec) {
        0 => "again now".to_owned(),
        usec => format!("again in {}", duration(usec)),
    }
}

/// How a process ended.
pub(super) fn exit(exit: &Exit) -> String {
    match (exit.cause, exit.status) {
        (ExitCause::Exited, Some(code)) => format!("exit code {code}"),
        (ExitCause::Exited, None) => "exited".to_owned(),
        (ExitCause::Signaled, Some(number)) => format!("killed by {}", signal(number)),
        (ExitCause::Signaled, None) => "killed by a signal".to_owned(),
        (ExitCause::Dumped, Some(number)) => format!("killed by {} (core dumped)", signal(number)),
        (ExitCause::Dumped, None) => "killed by a signal (core dumped)".to_owned(),
        (ExitCause::OomKill, _) => "killed by the kernel, out of memory".to_owned(),
        (ExitCause::Watchdog, _) => "ended by its watchdog".to_owned(),
        (ExitCause::Timeout, _) => "ended after a time-out".to_owned(),
        (ExitCause::Unknown, _) => "ended, how is not known".to_owned(),
    }
}

fn signal(number: i32) -> String {
    let name = usize::try_from(number - 1)
        .ok()
        .and_then(|index| SIGNALS.get(index));
    match name {
        Some(name) => format!("SIG{name}"),
        None => format!("signal {number}"),
    }
}

/// ` key=value` for each member.
pub(super) fn members(object: &Object) -> String {
    let member = |(key, value): (&String, &Value)| match value {
        // A word needs no quotes; whatever could be mistaken for two of them does.
        Value::String(text) if !text.contains([' ', '"', '=']) && !text.is_empty() => {
            format!(" {key}={text}")
        }
        value => format!(" {key}={value}"),
    };
    object.iter().map(member).collect()
}

/// Bytes in the largest power of 1024 that leaves at least one.
pub(super) fn size(bytes: u64) -> String {
    let (mut divisor, mut unit) = (1, "B");
    for larger in ["K", "M", "G", "T", "P"] {
        if bytes / divisor < 1024 {
            break;
        }
        (divisor, unit) = (divisor * 1024, larger);
    }
    let tenths = (bytes % divisor) * 10 / divisor;
    match bytes / divisor {
        whole if divisor > 1 && whole < 10 => format!("{whole}.{tenths}{unit}"),
        whole => format!("{whole}{unit}"),
    }
}

/// A point in time as RFC 3339 has it, in UTC and to the millisecond.
pub(super) fn time(usec: u64) -> String {
    let (year, month, day) = date(usec / DAY);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        usec % DAY / HOUR,
        usec % HOUR / MINUTE,
        usec % MINUTE / SECOND,
        usec % SECOND / 1000,
    )
}

/// The Gregorian date of a day counted from 1970-01-01.
///
/// Counted in years that begin with March, so that the leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    // 0000-03-01 is 719 468 days before the epoch.
    let days = days + 719_468;
    let of_era = days % ERA;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / (ERA - 1)) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = days / ERA * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}
