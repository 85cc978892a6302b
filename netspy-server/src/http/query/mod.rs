//! Parameters as they are meant: defaults, synonyms, and which of them go together.

mod conditions;
mod cursor;

use std::collections::BTreeMap;

use axum::http::HeaderValue;

pub(super) use self::conditions::{NOT_OF_SUMS, OF_CONNECTIONS, OF_PACKETS};
pub(super) use self::cursor::{Cursor, Kind};
use super::error::Failure;
use super::params::{Names, Params};
use super::top::NAMES;
use crate::domain::{Filter, GroupBy, Window};

/// Ten years, which is "everything" with room to spare and far from overflowing.
const LONGEST_SECONDS: u64 = 10 * 365 * 86_400;
const MOST_EVENTS: u64 = 10_000;
const DEFAULT_EVENTS: u32 = 100;
const MOST_GROUPS: u64 = 1_000;
const DEFAULT_GROUPS: u32 = 10;
const SUMMARY_SECONDS: i64 = 60;
const LIST_SECONDS: i64 = 3_600;
/// A window of a length, up to now, is by less than this longer.
const GRAIN_NS: i64 = 100_000_000;
const SECOND_NS: i64 = 1_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;

/// What a summary is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SummaryQuery {
    pub(super) filter: Filter,
    /// Length of the window.
    pub(super) duration_seconds: i64,
    /// When it ends.
    pub(super) end_ns: i64,
    /// Whether that was asked for, and is not just now.
    pub(super) has_end: bool,
    /// Conditions besides pid and name, as they were given.
    pub(super) conditions: BTreeMap<&'static str, String>,
}

impl SummaryQuery {
    /// The last minute, unless asked for otherwise.
    pub(super) fn parse(params: &Params, now_ns: i64) -> Result<Self, Failure> {
        let asked = Asked::parse(params, now_ns)?;
        let window = asked.window(before(asked.end_ns(), SUMMARY_SECONDS))?;
        let seconds = |ns: i64| ns / SECOND_NS + i64::from(ns % SECOND_NS > 0);
        let duration_seconds = asked.duration_seconds.or_else(|| {
            asked.since_ns.map(|since_ns| seconds(asked.end_ns().saturating_sub(since_ns)).max(0))
        });
        Ok(Self {
            filter: conditions::filter(params, window)?,
            duration_seconds: duration_seconds.unwrap_or(SUMMARY_SECONDS),
            end_ns: asked.end_ns(),
            has_end: asked.until_ns.is_some(),
            conditions: conditions::given(params)?,
        })
    }
}

/// What a list is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListQuery {
    pub(super) filter: Filter,
    pub(super) limit: u32,
    /// Where it goes on.
    pub(super) cursor: Option<Cursor>,
    /// Conditions besides pid and name, as they were given.
    pub(super) conditions: BTreeMap<&'static str, String>,
    /// Both as they were asked for.
    pub(super) since_ns: Option<i64>,
    pub(super) until_ns: Option<i64>,
    pub(super) duration_seconds: Option<i64>,
    pub(super) now_ns: i64,
}

impl ListQuery {
    /// The last hour, unless asked for otherwise.
    pub(super) fn parse(params: &Params, now_ns: i64) -> Result<Self, Failure> {
        Self::parse_with(params, now_ns, |until_ns| before(until_ns, LIST_SECONDS))
    }

    /// Everything that is stored, unless asked for otherwise.
    pub(super) fn parse_unbounded(params: &Params, now_ns: i64) -> Result<Self, Failure> {
        Self::parse_with(params, now_ns, |_| i64::MIN)
    }

    fn parse_with(
        params: &Params,
        now_ns: i64,
        default_since: impl FnOnce(i64) -> i64,
    ) -> Result<Self, Failure> {
        let asked = Asked::parse(params, now_ns)?;
        let window = asked.window(default_since(asked.end_ns()))?;
        let limit = params.number("limit", 0..=MOST_EVENTS, "0 for 100")?;
        Ok(Self {
            filter: conditions::filter(params, window)?,
            limit: limit.map_or(DEFAULT_EVENTS, |limit| limit as u32),
            cursor: params.read("cursor", "the next_cursor of an answer", Cursor::parse)?,
            conditions: conditions::given(params)?,
            since_ns: asked.since_ns,
            until_ns: asked.until_ns,
            duration_seconds: asked.duration_seconds,
            now_ns: asked.now_ns,
        })
    }

    /// Events of this kind that are listed here, and one more if there are more.
    pub(super) fn page(&self, kind: Kind) -> (Filter, u32) {
        let after = self.cursor.map(|cursor| cursor.place(kind));
        (Filter { after, ..self.filter.clone() }, self.limit + 1)
    }

    /// When the window ends.
    pub(super) fn end_ns(&self) -> i64 {
        self.until_ns.unwrap_or(self.now_ns)
    }
}

/// What a stream is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StreamQuery {
    /// Of the present: connections that began before it have a place in it, too.
    pub(super) filter: Filter,
    event_type: Option<String>,
    /// Where of the past it begins.
    pub(super) since_ns: Option<i64>,
    /// Up to where everything was sent before the stream broke off.
    pub(super) resume_ns: Option<i64>,
    /// When it ends.
    pub(super) until_ns: Option<i64>,
}

impl StreamQuery {
    /// The present alone, without end, unless asked for otherwise.
    pub(super) fn parse(
        params: &Params,
        last_event_id: Option<&HeaderValue>,
        now_ns: i64,
    ) -> Result<Self, Failure> {
        let (since_ns, until_ns) = (params.moment("since", now_ns)?, params.moment("until", now_ns)?);
        if since_ns.zip(until_ns).is_some_and(|(since, until)| since > until) {
            return Err(Failure::invalid("since must not be later than until"));
        }
        params.refuse(&["duration_seconds", "duration"], "a stream begins with since")?;
        params.refuse(&["limit", "cursor"], "a stream has no pages")?;
        let resumed = |id: &HeaderValue| id.to_str().ok()?.parse::<i64>().ok();
        let resume_ns = last_event_id.filter(|id| !id.is_empty()).map(|id| {
            resumed(id).ok_or_else(|| Failure::invalid("Last-Event-ID takes the id of an event of a stream"))
        });
        let window = Window { since_ns: i64::MIN, until_ns: until_ns.unwrap_or(i64::MAX) };
        Ok(Self {
            filter: conditions::filter(params, window)?,
            event_type: params.text("type")?,
            since_ns,
            resume_ns: resume_ns.transpose()?,
            until_ns,
        })
    }

    /// Whether events of this kind are asked for.
    pub(super) fn wants(&self, kind: Kind) -> bool {
        self.event_type.as_ref().is_none_or(|name| name == kind.name())
    }
}

/// What a ranking is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopQuery {
    pub(super) filter: Filter,
    pub(super) by: GroupBy,
    /// Or of connections.
    pub(super) of_drops: bool,
    pub(super) limit: u32,
    /// When its window ends, in whole seconds.
    pub(super) end_ns: i64,
}

impl TopQuery {
    /// Processes of the last hour, unless asked for otherwise. Sums are of whole minutes, so that the window begins with one: who
    /// asks the same within a second asks for the same sums.
    pub(super) fn parse(params: &Params, now_ns: i64) -> Result<Self, Failure> {
        let of_drops = params.read("type", "connection or packet_drop", |text| match text {
            "connection" => Some(false),
            "packet_drop" => Some(true),
            _ => None,
        })?;
        let of_drops = of_drops.unwrap_or(false);
        let may_be_by = |by: GroupBy| match by {
            GroupBy::Process | GroupBy::Exe | GroupBy::User => true,
            GroupBy::Reason => of_drops,
            _ => !of_drops,
        };
        let named = NAMES.iter().filter(|(by, _)| may_be_by(*by));
        let names = Names(named.clone().map(|(_, name)| *name));
        let by = params.read("by", format_args!("one of {names}"), |text| {
            named.clone().find(|(_, name)| *name == text).map(|(by, _)| *by)
        })?;
        let asked = Asked::parse(params, now_ns)?;
        let asked_for = asked.window(before(asked.end_ns(), LIST_SECONDS))?;
        let window = Window { since_ns: whole(asked_for.since_ns, MINUTE_NS), ..asked_for };
        let limit = params.number("limit", 0..=MOST_GROUPS, "0 for 10")?;
        let filter = conditions::filter(params, window)?;
        if filter.packet_direction.is_some() && !of_drops {
            return Err(Failure::invalid("direction takes outbound or inbound here"));
        }
        Ok(Self {
            filter,
            by: by.unwrap_or(GroupBy::Process),
            of_drops,
            limit: limit.map_or(DEFAULT_GROUPS, |limit| limit as u32),
            end_ns: whole(asked.end_ns(), SECOND_NS),
        })
    }
}

/// Where a window begins and ends, as far as the request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Asked {
    since_ns: Option<i64>,
    until_ns: Option<i64>,
    duration_seconds: Option<i64>,
    now_ns: i64,
}

impl Asked {
    /// What ends with the present begins with a tenth of a second: those who ask in the same one ask the same.
    fn parse(params: &Params, now_ns: i64) -> Result<Self, Failure> {
        let until_ns = params.moment("until", now_ns)?;
        let now_ns = if until_ns.is_some() { now_ns } else { whole(now_ns, GRAIN_NS) };
        let since_ns = params.moment("since", now_ns)?;
        let duration_seconds = duration(params)?;
        if since_ns.is_some() && duration_seconds.is_some() {
            return Err(Failure::invalid(
                "since and duration_seconds both say where the window begins: give one of them",
            ));
        }
        Ok(Self { since_ns, until_ns, duration_seconds, now_ns })
    }

    fn end_ns(&self) -> i64 {
        self.until_ns.unwrap_or(self.now_ns)
    }

    /// A window without `until` has no end, rather than `now` for one: the wall time of an event is computed
    /// from the kernel's clock, and may be a little later than the server thinks it is.
    fn window(&self, default_since_ns: i64) -> Result<Window, Failure> {
        let since_ns = match (self.since_ns, self.duration_seconds) {
            (Some(since), _) => since,
            (None, Some(duration)) => before(self.end_ns(), duration),
            (None, None) => default_since_ns,
        };
        let until_ns = self.until_ns.unwrap_or(i64::MAX);
        if since_ns > until_ns {
            return Err(Failure::invalid("since must not be later than until"));
        }
        Ok(Window { since_ns, until_ns })
    }
}

fn duration(params: &Params) -> Result<Option<i64>, Failure> {
    let seconds = |name| params.number(name, 0..=LONGEST_SECONDS, "seconds; 0 for the default");
    let duration =
        one_of([("duration_seconds", seconds("duration_seconds")?), ("duration", seconds("duration")?)])?;
    Ok(duration.map(|seconds| seconds as i64))
}

/// The value of parameters that mean the same.
fn one_of<T: PartialEq, const N: usize>(named: [(&str, Option<T>); N]) -> Result<Option<T>, Failure> {
    let mut given = named.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let Some((first, value)) = given.next() else { return Ok(None) };
    match given.find(|(_, other)| *other != value) {
        Some((other, _)) => {
            Err(Failure::invalid(format!("{first} and {other} mean the same but differ: give one of them")))
        }
        None => Ok(Some(value)),
    }
}

/// The last multiple of `unit_ns` up to then.
fn whole(at_ns: i64, unit_ns: i64) -> i64 {
    at_ns.saturating_sub(at_ns.rem_euclid(unit_ns))
}

fn before(at_ns: i64, seconds: i64) -> i64 {
    at_ns.saturating_sub(seconds.saturating_mul(SECOND_NS))
}

#[cfg(test)]
mod tests {
    use netspy_api::{EventsRequest, ListRequest, SummaryRequest};

    use super::*;

    const NOW: i64 = 1_000_000_000_000_000_000;
    const SECOND: i64 = SECOND_NS;

    fn json(body: &str) -> Params {
        Params::from_body(body.as_bytes()).unwrap()
    }

    fn refused(body: &str) -> String {
        let parsed = Params::from_body(body.as_bytes()).and_then(|params| ListQuery::parse(&params, NOW));
        parsed.unwrap_err().message().to_owned()
    }

    #[test]
    fn defaults() {
        for body in ["", "{}", r#"{"pid":0,"command":"","duration":0,"duration_seconds":null,"limit":0}"#] {
            let summary = SummaryQuery::parse(&json(body), NOW).unwrap();
            assert_eq!((summary.filter.pid, summary.filter.process), (None, None));
            assert_eq!(summary.duration_seconds, 60);
            assert_eq!(summary.filter.window, Window { since_ns: NOW - 60 * SECOND, until_ns: i64::MAX });
            assert_eq!(summary.end_ns, NOW);

            let list = ListQuery::parse(&json(body), NOW).unwrap();
            assert_eq!(list.filter.window, Window { since_ns: NOW - 3600 * SECOND, until_ns: i64::MAX });
            assert_eq!((list.limit, list.end_ns()), (100, NOW));

            let events = ListQuery::parse_unbounded(&json(body), NOW).unwrap();
            assert_eq!(events.filter.window, Window { since_ns: i64::MIN, until_ns: i64::MAX });
        }
    }

    #[test]
    fn the_clients_requests_mean_what_they_say() {
        let list = ListRequest {
            pid: Some(7),
            command: Some("curl".into()),
            process_name: Some("curl".into()),
            duration_seconds: Some(30),
            duration: Some(30),
            until: Some("1970-01-01T00:01:40Z".into()),
            limit: Some(10_000),
            ..ListRequest::default()
        };
        let request = EventsRequest { event_type: Some("connection".into()), list: list.clone() };
        let params = json(&serde_json::to_string(&request).unwrap());
        assert_eq!(params.text("type").unwrap().as_deref(), Some("connection"));
        let query = ListQuery::parse(&params, NOW).unwrap();
        assert_eq!(query.filter.window, Window { since_ns: 70 * SECOND, until_ns: 100 * SECOND });
        assert_eq!((query.filter.pid, query.filter.process.as_deref()), (Some(7), Some("curl")));
        assert_eq!((query.limit, query.end_ns()), (10_000, 100 * SECOND));

        let since = ListRequest { since: Some("1970-01-01T00:00:01.5Z".into()), ..ListRequest::default() };
        let params = json(&serde_json::to_string(&since).unwrap());
        assert_eq!(ListQuery::parse(&params, NOW).unwrap().filter.window.since_ns, 1_500_000_000);

        let summary =
            SummaryRequest { duration: Some(5), process_name: Some("x".into()), ..Default::default() };
        let params = json(&serde_json::to_string(&summary).unwrap());
        let query = SummaryQuery::parse(&params, NOW).unwrap();
        assert_eq!((query.duration_seconds, query.filter.process.as_deref()), (5, Some("x")));
    }

    #[test]
    fn moments_may_be_so_long_ago() {
        for (ago, seconds) in
            [("0s", 0), ("90s", 90), ("10m", 600), ("2h", 7_200), ("7d", 604_800), ("1w", 604_800)]
        {
            let params = json(&format!(r#"{{"since":"{ago}"}}"#));
            let query = ListQuery::parse(&params, NOW).unwrap();
            assert_eq!(query.filter.window.since_ns, NOW - seconds * SECOND, "{ago}");
            assert_eq!(SummaryQuery::parse(&params, NOW).unwrap().duration_seconds, seconds, "{ago}");
        }
        let summary = SummaryQuery::parse(&json(r#"{"since":"10m","until":"5m"}"#), NOW).unwrap();
        assert_eq!((summary.duration_seconds, summary.end_ns), (300, NOW - 300 * SECOND));
        assert_eq!(summary.filter.window.until_ns, NOW - 300 * SECOND);
        for wrong in ["", "m", "10", "-1m", "+1m", "1.5h", "10 m", "10y", "99999999999999w", "5µ"] {
            assert!(refused(&format!(r#"{{"since":"{wrong}"}}"#)).contains("or how long ago"), "{wrong}");
        }
    }

    #[test]
    fn what_ends_with_the_present_begins_with_a_tenth_of_a_second() {
        let later = NOW + GRAIN_NS - 1;
        for body in ["", r#"{"since":"60s"}"#, r#"{"duration":60}"#] {
            let summary = SummaryQuery::parse(&json(body), later).unwrap();
            assert_eq!(summary, SummaryQuery::parse(&json(body), NOW).unwrap(), "{body}");
            assert_eq!(summary.filter.window, Window { since_ns: NOW - 60 * SECOND, until_ns: i64::MAX });
        }
        let ended = SummaryQuery::parse(&json(r#"{"since":"60s","until":"0s"}"#), later).unwrap();
        assert_eq!(ended.filter.window, Window { since_ns: later - 60 * SECOND, until_ns: later });
    }

    #[test]
    fn sums_are_of_whole_minutes_and_asked_for_again_each_second() {
        let parse = |body, now_ns| TopQuery::parse(&json(body), now_ns).unwrap();
        let asked = parse(r#"{"since":"24h"}"#, NOW + 7 * SECOND + 5);
        assert_eq!(asked, parse(r#"{"since":"24h"}"#, NOW + 8 * SECOND - 1));
        assert_ne!(asked, parse(r#"{"since":"24h"}"#, NOW + 8 * SECOND));
        let day_ago = NOW - 86_400 * SECOND;
        assert_eq!(asked.filter.window.since_ns, day_ago - day_ago % MINUTE_NS);
        assert_eq!(asked.end_ns, NOW + 7 * SECOND);
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        assert!(refused(r#"{"command":"a","process_name":"b"}"#).contains("command and process_name"));
        assert!(refused(r#"{"duration":1,"duration_seconds":2}"#).contains("duration_seconds and duration"));
        assert!(refused(r#"{"duration":1,"since":"2026-01-01T00:00:00Z"}"#).contains("since and duration"));
        assert!(
            refused(r#"{"since":"2026-01-01T00:00:01Z","until":"2026-01-01T00:00:00Z"}"#)
                .contains("since must not be later than until")
        );
        assert!(refused(r#"{"pid":1,"pid":2}"#).contains("pid is given more than once"));
    }

    #[test]
    fn moments_beyond_the_stored_ones_are_the_outermost() {
        let params = json(r#"{"since":"0001-01-01T00:00:00Z","until":"9999-12-30T00:00:00Z"}"#);
        let window = ListQuery::parse(&params, NOW).unwrap().filter.window;
        assert_eq!(window, Window { since_ns: i64::MIN, until_ns: i64::MAX });
    }
}
