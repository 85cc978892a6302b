//! `/api/top`: the groups of most events, from sums that the history keeps by minute and hour.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use jiff::tz::TimeZone;
use netspy_api::{TopGroup, TopList};

use super::answers::Question;
use super::error::Failure;
use super::params::Params;
use super::query::{NOT_OF_SUMS, OF_CONNECTIONS, OF_PACKETS, TopQuery};
use super::{Shared, render};
use crate::domain::{Group, GroupBy, History, HistoryError, Sum};

pub(super) async fn list(State(api): Shared, params: Params) -> Result<Response, Failure> {
    params.refuse(&NOT_OF_SUMS, "sums do not know it; ask a summary or a list for it")?;
    let query = Arc::new(TopQuery::parse(&params, api.clock.now_ns())?);
    if query.of_drops {
        params.refuse(&OF_CONNECTIONS, "it is of connections; leave out type=packet_drop")?;
        params.refuse(&["direction"], "sums of drops do not know it")?;
    } else {
        params.refuse(&OF_PACKETS, "it is of drops; add type=packet_drop")?;
    }
    let asked = Question::Top(query.clone());
    api.answer_again(asked, move |history, zone| rank(history, zone, &query)).await
}

fn rank(history: &dyn History, zone: &TimeZone, query: &TopQuery) -> Result<TopList, HistoryError> {
    let found = if query.of_drops {
        history.top_drops(&query.filter, query.by, query.limit)?
    } else {
        history.top(&query.filter, query.by, query.limit)?
    };
    Ok(TopList {
        event_type: if query.of_drops { "packet_drop" } else { "connection" }.to_owned(),
        by: name(query.by).to_owned(),
        groups: found.into_iter().map(|(group, sum)| wire(&group, sum)).collect(),
        since: render::time(query.filter.window.since_ns, zone),
        query_time: render::time(query.end_ns, zone),
        lost: Some(render::lost(&history.losses(query.filter.window)?)),
    })
}

/// What sums may be asked by, and how the API calls it.
pub(super) const NAMES: [(GroupBy, &str); 8] = [
    (GroupBy::Process, "process"),
    (GroupBy::Exe, "exe"),
    (GroupBy::User, "uid"),
    (GroupBy::Destination, "destination"),
    (GroupBy::Address, "destination_ip"),
    (GroupBy::Port, "destination_port"),
    (GroupBy::Outcome, "outcome"),
    (GroupBy::Reason, "drop_reason"),
];

fn name(by: GroupBy) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == by).map_or("", |(_, name)| name)
}

fn wire(group: &Group, sum: Sum) -> TopGroup {
    let mut wire = TopGroup {
        count: sum.count,
        bytes_sent: sum.bytes_sent,
        bytes_received: sum.bytes_received,
        ..TopGroup::default()
    };
    match group {
        Group::Process(text) | Group::Exe(text) | Group::Path(text) | Group::Reason(text) => {
            wire.group = Some(text.clone());
        }
        Group::User(uid) => wire.group = Some(uid.to_string()),
        Group::Destination { end, protocol } => {
            wire.group = Some(render::address(*end, *protocol));
            wire.protocol = Some(render::protocol(*protocol));
        }
        Group::Address(ip) => wire.group = Some(ip.to_string()),
        Group::Port { port, protocol } => {
            wire.group = Some(port.to_string());
            wire.protocol = Some(render::protocol(*protocol));
        }
        Group::Outcome(verdict) => wire.group = Some(verdict.name().to_owned()),
        Group::Unknown => {}
        Group::Others => wire.others = true,
    }
    wire
}
