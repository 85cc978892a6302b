//! Parameters as they were given: from the query string, and from the JSON body of a POST, which wins.
//!
//! The earlier server took a number that it could not parse in a query string for an absent one. Here it is a
//! 400, as it always was in a body: an unfiltered answer to a filtered question is a wrong answer. For the
//! same reason a known parameter may be given once only. Unknown ones are ignored, and `null` is absent.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use axum::extract::{FromRequest, Request};
use axum::http::{Method, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::error::Failure;

/// Everything that any endpoint takes.
pub(super) const KNOWN: [&str; 26] = [
    "type",
    "pid",
    "command",
    "process_name",
    "process",
    "exe",
    "uid",
    "unit",
    "container",
    "direction",
    "protocol",
    "family",
    "local",
    "local_port",
    "remote",
    "remote_port",
    "outcome",
    "errno",
    "drop_reason",
    "duration_seconds",
    "duration",
    "since",
    "until",
    "limit",
    "cursor",
    "by",
];

/// The known parameters of one request.
#[derive(Debug, Default)]
pub(super) struct Params(BTreeMap<&'static str, Given>);

/// A query string has no types; JSON has.
#[derive(Debug)]
enum Given {
    Text(String),
    Json(Value),
}

impl<S: Send + Sync> FromRequest<S> for Params {
    type Rejection = Failure;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Failure> {
        let mut params = Self::from_query(request.uri().query().unwrap_or_default())?;
        if request.method() == Method::POST {
            let body = Limited::new(request.into_body(), super::MOST_BODY_BYTES);
            let body = body.collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Failure::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        format!("the body is longer than {} bytes", super::MOST_BODY_BYTES),
                    )
                } else {
                    Failure::invalid("the body broke off before its end")
                }
            })?;
            params.0.extend(Self::from_body(&body.to_bytes())?.0);
        }
        Ok(params)
    }
}

impl Params {
    pub(super) fn from_query(query: &str) -> Result<Self, Failure> {
        let pairs = form_urlencoded::parse(query.as_bytes());
        Self::collect(pairs.map(|(name, text)| (name, Given::Text(text.into_owned()))))
    }

    /// An empty body asks for the defaults, as `{}` does.
    pub(super) fn from_body(body: &[u8]) -> Result<Self, Failure> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        let members: Members = serde_json::from_slice(body).map_err(|error| {
            if error.is_data() {
                Failure::invalid("the body must be a JSON object, such as {\"pid\": 4242}")
            } else {
                Failure::invalid(format!("the body is not valid JSON: {error}"))
            }
        })?;
        let members = members.0.into_iter().filter(|(_, value)| !value.is_null());
        Self::collect(members.map(|(name, value)| (name.into(), Given::Json(value))))
    }

    fn collect<'a>(given: impl Iterator<Item = (Cow<'a, str>, Given)>) -> Result<Self, Failure> {
        let mut params = BTreeMap::new();
        for (name, value) in given {
            let Some(known) = KNOWN.into_iter().find(|known| *known == name) else { continue };
            if params.insert(known, value).is_some() {
                return Err(Failure::invalid(format!("{known} is given more than once")));
            }
        }
        Ok(Self(params))
    }

    /// A text; absent where it is empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Failure> {
        match self.0.get(name) {
            Some(given @ Given::Json(Value::Number(_))) => Err(wrong(name, "a string", given)),
            _ => Ok(self.word(name)?.map(Cow::into_owned)),
        }
    }

    /// A text that may also be given as a whole number; absent where it is empty.
    pub(super) fn word(&self, name: &str) -> Result<Option<Cow<'_, str>>, Failure> {
        match self.0.get(name) {
            None => Ok(None),
            Some(Given::Json(Value::Number(number))) if number.is_u64() => {
                Ok(Some(number.to_string().into()))
            }
            Some(Given::Text(text) | Given::Json(Value::String(text))) => {
                Ok(Some(text.as_str().into()).filter(|_| !text.is_empty()))
            }
            Some(given) => Err(wrong(name, "a string", given)),
        }
    }

    /// What `read` makes of a text; it takes what `takes` says.
    pub(super) fn read<T>(
        &self,
        name: &str,
        takes: impl Display,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let Some(text) = self.word(name)? else { return Ok(None) };
        read(&text).map(Some).ok_or_else(|| wrong(name, takes, &Given::Text(text.into_owned())))
    }

    /// Refuses a condition that no answer of this endpoint could meet; `elsewhere` says where it belongs.
    pub(super) fn refuse(&self, names: &[&str], elsewhere: &str) -> Result<(), Failure> {
        match names.iter().find(|name| self.0.contains_key(*name)) {
            Some(name) => Err(Failure::invalid(format!("{name} is no condition here: {elsewhere}"))),
            None => Ok(()),
        }
    }

    /// A whole number; absent where it is 0, which `zero` explains.
    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        zero: &str,
    ) -> Result<Option<u64>, Failure> {
        let (least, most) = (*range.start(), *range.end());
        let takes = format_args!("a whole number from {least} to {most} ({zero})");
        Ok(self.whole(name, range, takes)?.filter(|number| *number != 0))
    }

    /// A whole number, of which 0 is one as any other.
    pub(super) fn whole(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        takes: impl Display,
    ) -> Result<Option<u64>, Failure> {
        let number = match self.0.get(name) {
            None => return Ok(None),
            Some(Given::Json(value)) => value.as_u64(),
            // Rust's own parser would also take "+5".
            Some(Given::Text(text)) if text.bytes().all(|byte| byte.is_ascii_digit()) => text.parse().ok(),
            Some(Given::Text(_)) => None,
        };
        match number.filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(name, takes, &self.0[name])),
        }
    }

    /// A moment in ns since 1970; one beyond what is stored as such is the first or last that is.
    pub(super) fn moment(&self, name: &str, now_ns: i64) -> Result<Option<i64>, Failure> {
        let moment = match self.0.get(name) {
            None => return Ok(None),
            Some(Given::Text(text) | Given::Json(Value::String(text))) => {
                ago(text).map(|ns| now_ns.saturating_sub(ns)).or_else(|| absolute(text))
            }
            Some(Given::Json(_)) => None,
        };
        let takes = "an RFC 3339 time such as 2026-11-21T00:52:16Z or 2026-11-21T01:52:16+01:00 (in a query string + \
                     is written %2B), or how long ago, such as 90s, 10m, 2h or 7d";
        moment.map(Some).ok_or_else(|| wrong(name, takes, &self.0[name]))
    }
}

/// Names that a parameter takes; written only where it is refused.
pub(super) struct Names<I>(pub(super) I);

impl<I: Iterator<Item = &'static str> + Clone> Display for Names<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.clone().enumerate() {
            write!(f, "{}{name}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

fn absolute(text: &str) -> Option<i64> {
    let nanoseconds = text.parse::<Timestamp>().ok()?.as_nanosecond();
    Some(nanoseconds.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
}

/// A whole number and its unit, in ns.
fn ago(text: &str) -> Option<i64> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok())??;
    number.checked_mul(seconds)?.checked_mul(1_000_000_000)
}

fn wrong(name: &str, takes: impl Display, given: &Given) -> Failure {
    let given = match given {
        Given::Text(text) => format!("{text:?}"),
        Given::Json(value) => value.to_string(),
    };
    let mut shown: String = given.chars().take(60).collect();
    if shown.len() < given.len() {
        shown.push('…');
    }
    Failure::invalid(format!("{name} takes {takes}, not {shown}"))
}

/// The members of an object in their order, with those that a map would drop: the repeated ones.
struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}
