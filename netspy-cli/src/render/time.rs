//! Moments as a reader wants them: the clock, with the date only where it is another day.

use jiff::Timestamp;
use jiff::fmt::temporal::Pieces;
use jiff::tz::TimeZone;

/// The clock of an RFC 3339 moment, in the zone that the string carries: the server's.
pub(crate) fn clock(time: &str, now: &str) -> String {
    let Ok(moment) = time.parse::<Timestamp>() else { return "--:--:--".to_owned() };
    let Some(offset) = Pieces::parse(time).ok().and_then(|pieces| pieces.to_numeric_offset()) else {
        return "--:--:--".to_owned();
    };
    let local = offset.to_datetime(moment);
    let is_today = now.parse::<Timestamp>().is_ok_and(|now| offset.to_datetime(now).date() == local.date());
    local.strftime(if is_today { "%H:%M:%S" } else { "%m/%d %H:%M:%S" }).to_string()
}

/// The clock of an RFC 3339 moment as the reader's own clock shows it.
pub(crate) fn local(time: &str, now: Timestamp, zone: &TimeZone) -> String {
    let Ok(moment) = time.parse::<Timestamp>() else { return "--:--:--".to_owned() };
    let local = moment.to_zoned(zone.clone());
    let is_today = now.to_zoned(zone.clone()).date() == local.date();
    local.strftime(if is_today { "%H:%M:%S" } else { "%m/%d %H:%M:%S" }).to_string()
}

/// An RFC 3339 moment in UTC; what cannot be read stays as it is.
pub(crate) fn utc(time: &str) -> String {
    time.parse::<Timestamp>().map_or_else(|_| time.to_owned(), |moment| moment.to_string())
}

/// Microseconds in the unit that keeps them short.
pub(crate) fn latency(microseconds: u64) -> String {
    let tenths = |unit: u64, name: &str| {
        let tenths = (microseconds + unit / 20) / (unit / 10);
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    };
    match microseconds {
        0..100 => format!("{microseconds} µs"),
        100..1_000_000 => tenths(1_000, "ms"),
        _ => tenths(1_000_000, "s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_of_the_string_is_kept() {
        assert_eq!(clock("2026-11-21T21:05:53.5+02:00", "2026-11-21T22:00:00+02:00"), "21:05:53");
        assert_eq!(clock("2026-11-21T00:52:10Z", "2026-11-21T00:52:16Z"), "00:52:10");
    }

    #[test]
    fn another_day_is_said() {
        assert_eq!(clock("2026-11-20T23:59:59Z", "2026-11-21T00:00:01Z"), "11/20 23:59:59");
        // The same day for the server, though two days in UTC.
        assert_eq!(clock("2026-11-21T00:30:00+02:00", "2026-11-21T03:00:00+02:00"), "00:30:00");
        assert_eq!(clock("2025-11-21T10:00:00Z", "2026-11-21T10:00:00Z"), "11/21 10:00:00");
        assert_eq!(clock("2026-11-21T10:00:00Z", ""), "11/21 10:00:00");
    }

    #[test]
    fn nonsense_is_shown_as_unknown() {
        for time in ["", "soon", "2026-13-45T99:99:99Z", "2026-11-21T10:00:00"] {
            assert_eq!(clock(time, "2026-11-21T10:00:00Z"), "--:--:--");
        }
    }

    #[test]
    fn programs_read_utc_and_people_their_own_clock() {
        assert_eq!(utc("2026-11-21T00:30:00.5+02:00"), "2026-11-20T22:30:00.5Z");
        assert_eq!(utc("soon"), "soon");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let now = "2026-11-20T23:00:00Z".parse().unwrap();
        assert_eq!(local("2026-11-20T22:30:00.5Z", now, &zone), "00:30:00");
        assert_eq!(local("2026-11-20T21:30:00Z", now, &zone), "11/20 23:30:00");
        assert_eq!(local("soon", now, &zone), "--:--:--");
    }

    #[test]
    fn latencies_are_short() {
        assert_eq!([57, 812, 31_240, 3_049_000].map(latency), ["57 µs", "0.8 ms", "31.2 ms", "3.0 s"]);
    }
}
