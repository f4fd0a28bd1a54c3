//! What a moment is on the calendar: as it is told before a line, and the period it falls into.
//!
//! Asks no clock; moments come as microseconds since the Unix epoch.

use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::config::Rotate;

const DAY: i64 = 86400;

/// 1970-01-01 was a Thursday, the fourth day of a week that begins on Monday.
const EPOCH_WEEKDAY: i64 = 3;

/// The zone of this machine (`TZ`, `/etc/localtime`), or UTC.
pub(super) fn zone(utc: bool) -> TimeZone {
    match utc {
        true => TimeZone::UTC,
        false => TimeZone::system(),
    }
}

/// The moment in a format of strftime(3).
pub(super) fn told(format: &str, usec: i64, zone: TimeZone) -> String {
    // The format was tried when the configuration was read.
    strtime::format(format, &zoned(usec, zone)).unwrap_or_default()
}

/// The number of the period that the moment falls into. It grows with time, but where a clock is
/// set back: then for an hour it is what it was.
pub(super) fn period(rotate: Rotate, usec: i64, zone: TimeZone) -> i64 {
    let at = zoned(usec, zone);
    let seconds = at.timestamp().as_second() + i64::from(at.offset().seconds());
    let days = seconds.div_euclid(DAY);
    match rotate {
        Rotate::Every(length) => seconds.div_euclid(length.cast_signed()),
        Rotate::Weekly(first) => (days + EPOCH_WEEKDAY - i64::from(first)).div_euclid(7),
        Rotate::Monthly => i64::from(at.year()) * 12 + i64::from(at.month()),
    }
}

fn zoned(usec: i64, zone: TimeZone) -> Zoned {
    // Beyond the year 9999 there is no calendar.
    let moment = Timestamp::from_microsecond(usec).unwrap_or(Timestamp::MAX);
    moment.to_zoned(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usec(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    /// Whether a new period begins between the two.
    fn turns(rotate: Rotate, before: &str, after: &str) -> bool {
        let of = |text| period(rotate, usec(text), berlin());
        of(before) < of(after)
    }

    #[test]
    fn a_moment_is_told_in_its_zone() {
        let at = usec("2026-07-01T10:00:00.25Z");
        let format = "%Y-%m-%d %H:%M:%S%.3f %z";
        assert_eq!(
            told(format, at, TimeZone::UTC),
            "2026-07-01 10:00:00.250 +0000"
        );
        assert_eq!(told(format, at, berlin()), "2026-07-01 12:00:00.250 +0200");
    }

    #[test]
    fn days_begin_at_the_local_midnight() {
        let daily = Rotate::Every(86400);
        assert!(turns(daily, "2026-07-01T21:59:59Z", "2026-07-01T22:00:00Z"));
        assert!(!turns(
            daily,
            "2026-07-01T22:00:00Z",
            "2026-07-02T21:59:59Z"
        ));
        // The night in which the clock is set back.
        assert!(!turns(
            daily,
            "2026-10-24T22:00:00Z",
            "2026-10-25T22:59:59Z"
        ));
        assert!(turns(daily, "2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z"));
    }

    #[test]
    fn an_hour_that_is_shown_twice_is_one_period() {
        let hourly = Rotate::Every(3600);
        assert!(!turns(
            hourly,
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:30:00Z"
        ));
        assert!(turns(
            hourly,
            "2026-10-25T01:30:00Z",
            "2026-10-25T02:30:00Z"
        ));
    }

    #[test]
    fn weeks_begin_on_their_day_and_months_on_the_first() {
        // 2026-11-22 is a Sunday.
        let sunday = ("2026-11-21T22:59:59Z", "2026-11-21T23:00:00Z");
        let monday = ("2026-11-22T22:59:59Z", "2026-11-22T23:00:00Z");
        for (first, sundays, mondays) in [(6, true, false), (0, false, true), (3, false, false)] {
            let weekly = Rotate::Weekly(first);
            assert_eq!(turns(weekly, sunday.0, sunday.1), sundays, "{first}");
            assert_eq!(turns(weekly, monday.0, monday.1), mondays, "{first}");
        }
        let (before, after) = ("2026-12-31T22:59:59Z", "2026-12-31T23:00:00Z");
        assert!(turns(Rotate::Monthly, before, after));
        assert!(!turns(Rotate::Monthly, "2026-12-01T00:00:00Z", before));
    }
}
