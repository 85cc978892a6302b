//! The overview from the server's sums (`/api/top`), which have whole minutes and count everything.

use std::collections::BTreeMap;

use jiff::Timestamp;
use netspy_api::{Client, ClientError, ConnectionEvent, DropEvent, TopGroup, TopList, TopRequest};

use super::Overview;
use super::panels::Groups;
use crate::registry::ToolError;
use crate::registry::listing::Listing;
use crate::registry::question::{MOST_EVENTS, Question, Since};
use crate::render::remark::Remark;
use crate::render::{connection, drops, loss, time};

/// Groups that one answer has at most.
const MOST_GROUPS: u32 = 1_000;

pub(super) async fn overview(
    client: &Client,
    question: &Question,
    request: &TopRequest,
) -> Result<Overview, ToolError> {
    let all = TopRequest { limit: Some(MOST_GROUPS), ..request.clone() };
    let failing = TopRequest { outcome: Some(connection::failures()), ..all.clone() };
    let dropped = TopRequest { event_type: Some("packet_drop".to_owned()), outcome: None, ..all.clone() };
    let (outcomes, processes, failing_processes, destinations, failing_destinations, dropping, reasons) = tokio::try_join!(
        by(client, &all, "outcome"),
        by(client, &all, "process"),
        by(client, &failing, "process"),
        by(client, &all, "destination"),
        by(client, &failing, "destination"),
        by(client, &dropped, "process"),
        by(client, &dropped, "drop_reason"),
    )?;
    // What single events have to say is asked of the same window.
    let since = outcomes.since.parse().ok().map(Since::Moment).or(question.since);
    let same = Question { since, duration: 0, ..question.clone() };
    let failed = Question { failed: true, ..same.clone() };
    let failures = Listing::<ConnectionEvent>::ask(client, &failed, MOST_EVENTS).await?;
    let examples = Listing::<DropEvent>::ask(client, &same, MOST_GROUPS).await?;

    let mut groups = Groups::default();
    for group in &processes.groups {
        groups.processes.add(&[name(group)], [group.count, 0, 0, bytes(group)]);
    }
    failing_processes
        .groups
        .iter()
        .for_each(|group| groups.processes.add(&[name(group)], [0, group.count, 0, 0]));
    dropping.groups.iter().for_each(|group| groups.processes.add(&[name(group)], [0, 0, group.count, 0]));
    for group in &destinations.groups {
        groups.destinations.add(&[name(group), protocol(group)], [group.count, 0, bytes(group)]);
    }
    for group in &failing_destinations.groups {
        groups.destinations.add(&[name(group), protocol(group)], [0, group.count, 0]);
    }
    failures.events.iter().for_each(|event| groups.add_failure(event));
    let classes: BTreeMap<_, _> =
        examples.events.iter().map(|event| (drops::reason(event), event.class.as_str())).collect();
    for group in &reasons.groups {
        let class = classes.get(name(group)).copied().unwrap_or_default();
        groups.drops.add(&[name(group), class], [group.count]);
    }

    let mut remarks = Vec::new();
    let many = [&processes, &destinations].into_iter().filter(|top| top.groups.len() >= MOST_GROUPS as usize);
    remarks.extend(many.map(|top| {
        Remark::Notice(format!(
            "  ! Only the {MOST_GROUPS} {} of most connections are shown.",
            plural(&top.by)
        ))
    }));
    if failures.hidden() > 0 {
        let newest = failures.events.len();
        remarks.push(Remark::Notice(format!("  ! Only the newest {newest} failures are in their panel.")));
    }
    remarks.extend(loss::lines(&[], outcomes.lost.as_ref(), loss::COUNTS));
    let is_failing = |group: &&TopGroup| connection::is_failure(name(group));
    Ok(Overview {
        window: window(&outcomes),
        query_time: time::utc(&outcomes.query_time),
        connections: outcomes.groups.iter().map(|group| group.count).sum(),
        failed: outcomes.groups.iter().filter(is_failing).map(|group| group.count).sum(),
        drops: reasons.groups.iter().map(|group| group.count).sum(),
        panels: groups.panels(),
        remarks,
    })
}

async fn by(client: &Client, request: &TopRequest, by: &str) -> Result<TopList, ClientError> {
    client.top(&TopRequest { by: Some(by.to_owned()), ..request.clone() }).await
}

fn name(group: &TopGroup) -> &str {
    match &group.group {
        Some(name) => name,
        None if group.others => "(others)",
        None => "(unknown)",
    }
}

/// A path has none.
fn protocol(group: &TopGroup) -> &str {
    match (&group.protocol, &group.group) {
        (Some(protocol), _) => protocol,
        (None, Some(_)) => "UNIX",
        (None, None) => "",
    }
}

fn bytes(group: &TopGroup) -> u64 {
    group.bytes_sent + group.bytes_received
}

fn plural(by: &str) -> &'static str {
    if by == "process" { "processes" } else { "destinations" }
}

/// The length of a window that begins with a whole minute.
fn window(top: &TopList) -> String {
    let moment = |text: &str| text.parse::<Timestamp>().ok();
    let length =
        moment(&top.query_time).zip(moment(&top.since)).map(|(end, begin)| end.duration_since(begin));
    length.map_or("since then".to_owned(), |length| format!("{} s", length.as_secs()))
}
