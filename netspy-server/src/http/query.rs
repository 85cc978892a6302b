//! Parameters as they are meant: defaults, synonyms, and which of them go together.

use super::error::Failure;
use super::params::Params;
use crate::domain::{Filter, Window};

/// Ten years, which is "everything" with room to spare and far from overflowing.
const LONGEST_SECONDS: u64 = 10 * 365 * 86_400;
const MOST_EVENTS: u64 = 10_000;
const DEFAULT_EVENTS: u32 = 100;
const SUMMARY_SECONDS: i64 = 60;
const LIST_SECONDS: i64 = 3_600;

/// What a summary is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SummaryQuery {
    pub(super) filter: Filter,
    pub(super) duration_seconds: i64,
    pub(super) now_ns: i64,
}

impl SummaryQuery {
    pub(super) fn parse(params: &Params, now_ns: i64) -> Result<Self, Failure> {
        let duration_seconds = duration(params)?.unwrap_or(SUMMARY_SECONDS);
        let window = Window { since_ns: before(now_ns, duration_seconds), until_ns: i64::MAX };
        Ok(Self { filter: filter(params, window)?, duration_seconds, now_ns })
    }
}

/// What a list is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListQuery {
    pub(super) filter: Filter,
    pub(super) limit: u32,
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

    /// A window without `until` has no end, rather than `now` for one: the wall time of an event is computed
    /// from the kernel's clock, and may be a little later than the server thinks it is.
    fn parse_with(
        params: &Params,
        now_ns: i64,
        default_since: impl FnOnce(i64) -> i64,
    ) -> Result<Self, Failure> {
        let (asked_since, asked_until) = (params.moment("since")?, params.moment("until")?);
        let duration_seconds = duration(params)?;
        let end_ns = asked_until.unwrap_or(now_ns);
        let since_ns = match (asked_since, duration_seconds) {
            (Some(_), Some(_)) => {
                return Err(Failure::invalid(
                    "since and duration_seconds both say where the window begins: give one of them",
                ));
            }
            (Some(since), None) => since,
            (None, Some(duration)) => before(end_ns, duration),
            (None, None) => default_since(end_ns),
        };
        let until_ns = asked_until.unwrap_or(i64::MAX);
        if since_ns > until_ns {
            return Err(Failure::invalid("since must not be later than until"));
        }
        let limit = params.number("limit", 0..=MOST_EVENTS, "0 for 100")?;
        Ok(Self {
            filter: filter(params, Window { since_ns, until_ns })?,
            limit: limit.map_or(DEFAULT_EVENTS, |limit| limit as u32),
            since_ns: asked_since,
            until_ns: asked_until,
            duration_seconds,
            now_ns,
        })
    }

    /// When the window ends.
    pub(super) fn end_ns(&self) -> i64 {
        self.until_ns.unwrap_or(self.now_ns)
    }
}

fn filter(params: &Params, window: Window) -> Result<Filter, Failure> {
    let pid = params.number("pid", 0..=u32::MAX.into(), "0 for any")?;
    let process =
        one_of(("command", params.text("command")?), ("process_name", params.text("process_name")?))?;
    Ok(Filter { pid: pid.map(|pid| pid as u32), process, ..Filter::within(window) })
}

fn duration(params: &Params) -> Result<Option<i64>, Failure> {
    let seconds = |name| params.number(name, 0..=LONGEST_SECONDS, "seconds; 0 for the default");
    let duration =
        one_of(("duration_seconds", seconds("duration_seconds")?), ("duration", seconds("duration")?))?;
    Ok(duration.map(|seconds| seconds as i64))
}

/// The value of two parameters that mean the same.
fn one_of<T: PartialEq>(a: (&str, Option<T>), b: (&str, Option<T>)) -> Result<Option<T>, Failure> {
    match (a.1, b.1) {
        (Some(first), Some(second)) if first != second => {
            Err(Failure::invalid(format!("{} and {} mean the same but differ: give one of them", a.0, b.0)))
        }
        (first, second) => Ok(first.or(second)),
    }
}

fn before(at_ns: i64, seconds: i64) -> i64 {
    at_ns.saturating_sub(seconds.saturating_mul(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use netspy_api::{EventsRequest, ListRequest, SummaryRequest};

    use super::*;

    const NOW: i64 = 1_000_000_000_000_000_000;
    const SECOND: i64 = 1_000_000_000;

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
            since: None,
            until: Some("1970-01-01T00:01:40Z".into()),
            limit: Some(10_000),
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
