//! Filters as SQL, groups as columns.

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use datafusion::arrow::array::{Array as _, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{UInt8Type, UInt16Type, UInt32Type};
use netspy_server::domain::{Direction, End, Endpoint, Filter, Group, GroupBy, Verdict, as_kernel_keeps};

use crate::rows::{DIRECTIONS, place};

/// What sums are kept by, besides the minute.
pub(crate) const CONNECTION_KEY: [&str; 11] = [
    "name",
    "comm",
    "exe",
    "uid",
    "direction",
    "verdict",
    "destination_ip",
    "destination_port",
    "destination_scope",
    "protocol",
    "path",
];
pub(crate) const DROP_KEY: [&str; 6] = ["name", "comm", "exe", "uid", "reason", "location"];

/// Conditions that must all hold.
struct All(String);

impl All {
    fn and(&mut self, condition: std::fmt::Arguments<'_>) {
        self.0.push_str(if self.0.is_empty() { "" } else { " AND " });
        let _ = self.0.write_fmt(condition); // a String takes everything
    }

    fn equal(&mut self, column: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.and(format_args!("{column} = {value}"));
        }
    }

    /// What rows and sums both know.
    fn program(&mut self, filter: &Filter) {
        if let Some(name) = &filter.process {
            let name = quoted(&as_kernel_keeps(name));
            self.and(format_args!("(name = {name} OR comm = {name})"));
        }
        self.equal("exe", filter.exe.as_deref().map(quoted));
        self.equal("uid", filter.uid);
        self.equal("direction", filter.direction.map(|direction| place(&DIRECTIONS, &direction)));
        self.equal("reason", filter.reason.as_deref().map(quoted));
        if !filter.verdicts.is_empty() {
            let verdicts: Vec<_> =
                filter.verdicts.iter().map(|verdict| place(&Verdict::ALL, verdict).to_string()).collect();
            self.and(format_args!("verdict IN ({})", verdicts.join(", ")));
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Which rows match.
pub(crate) fn of_rows(filter: &Filter, is_of_connections: bool) -> Result<String> {
    if filter.unit.is_some()
        || filter.container.is_some()
        || filter.changed_since_ns.is_some()
        || filter.packet_direction.is_some()
        || filter.local.network.or(filter.remote.network).is_some()
    {
        bail!(
            "this history is there to be measured: it cannot be asked by unit, container, network, change or way"
        );
    }
    if filter.reason.is_some() == is_of_connections && (filter.reason.is_some() || filter.is_of_connections())
    {
        return Ok("false".to_owned());
    }
    let mut all = All(String::new());
    all.and(format_args!(
        "wall_ns >= {} AND wall_ns <= {}",
        filter.window.since_ns.max(-i64::MAX),
        filter.window.until_ns
    ));
    all.program(filter);
    all.equal("pid", filter.pid);
    all.equal("protocol", filter.protocol);
    all.equal("family", filter.family);
    all.equal("errno", filter.errno);
    let inbound = place(&DIRECTIONS, &Direction::Inbound);
    for (end, [near, far]) in
        [(&filter.local, ["destination", "source"]), (&filter.remote, ["source", "destination"])]
    {
        for test in tests(end) {
            let [near, far] = [near, far].map(|side| test.replace("END", side));
            if is_of_connections {
                all.and(format_args!("CASE WHEN direction = {inbound} THEN {near} ELSE {far} END"));
            } else {
                all.and(format_args!("({near} OR {far})"));
            }
        }
    }
    Ok(all.0)
}

/// What must hold of one end.
fn tests(end: &End) -> Vec<String> {
    let mut tests = Vec::new();
    if let Some(ports) = &end.ports {
        tests.push(format!("(END_port >= {} AND END_port <= {})", ports.start(), ports.end()));
    }
    tests
}

/// Which rows come after the last one of a page.
pub(crate) fn behind(filter: &Filter) -> Option<String> {
    let place = filter.after?;
    let at = place.wall_ns;
    Some(match place.id {
        Some(id) => format!("(wall_ns < {at} OR (wall_ns = {at} AND id < {id}))"),
        None => format!("wall_ns < {at}"),
    })
}

/// Which sums match; `None` where they cannot tell.
pub(crate) fn of_sums(filter: &Filter, is_of_connections: bool) -> Option<String> {
    let beyond = filter.pid.is_some()
        || filter.errno.is_some()
        || filter.is_of_packets()
        || filter.reason.is_some() == is_of_connections && filter.reason.is_some();
    let minute = |ns: i64| ns.div_euclid(60_000_000_000);
    let mut all = All(String::new());
    all.and(format_args!(
        "minute >= {} AND minute <= {}",
        minute(filter.window.since_ns),
        minute(filter.window.until_ns)
    ));
    all.program(filter);
    (!beyond).then_some(all.0)
}

/// The columns that say which group a row is in.
pub(crate) fn columns(by: GroupBy) -> Result<&'static [&'static str]> {
    Ok(match by {
        GroupBy::Process => &["name"],
        GroupBy::Exe => &["exe"],
        GroupBy::User => &["uid"],
        GroupBy::Destination => {
            &["destination_ip", "destination_port", "destination_scope", "protocol", "path"]
        }
        GroupBy::Port => &["destination_port", "protocol"],
        GroupBy::Outcome => &["verdict"],
        GroupBy::Reason => &["reason"],
        GroupBy::Address => bail!("this history is there to be measured: it does not group by address alone"),
    })
}

/// The group of a row of sums.
pub(crate) fn group(sums: &RecordBatch, at: usize, by: GroupBy) -> Result<Group> {
    let column = |name: &str| sums.column_by_name(name).with_context(|| format!("there is no column {name}"));
    let text = |name: &str| -> Result<Option<String>> {
        let texts = column(name)?.as_string_view();
        Ok(texts.is_valid(at).then(|| texts.value(at).to_owned()))
    };
    let small = |name: &str| -> Result<u8> { Ok(column(name)?.as_primitive::<UInt8Type>().value(at)) };
    let port = || -> Result<u16> { Ok(column("destination_port")?.as_primitive::<UInt16Type>().value(at)) };
    Ok(match by {
        GroupBy::Process => text("name")?.map_or(Group::Unknown, Group::Process),
        GroupBy::Exe => text("exe")?.map_or(Group::Unknown, Group::Exe),
        GroupBy::User => Group::User(column("uid")?.as_primitive::<UInt32Type>().value(at)),
        GroupBy::Reason => text("reason")?.map_or(Group::Unknown, Group::Reason),
        GroupBy::Outcome => Verdict::ALL
            .get(usize::from(small("verdict")?))
            .map_or(Group::Unknown, |verdict| Group::Outcome(*verdict)),
        GroupBy::Port => Group::Port { port: port()?, protocol: small("protocol")? },
        _ => {
            let (address, path) = (column("destination_ip")?.as_binary_view(), text("path")?);
            let bytes = address.is_valid(at).then(|| address.value(at));
            let v4 = bytes.and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()).map(IpAddr::from);
            let v6 = bytes.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()).map(IpAddr::from);
            match (path, v4.or(v6)) {
                (Some(path), _) => Group::Path(path),
                (None, Some(ip)) => {
                    let scope = column("destination_scope")?.as_primitive::<UInt32Type>().value(at);
                    Group::Destination {
                        end: Endpoint { ip, port: port()?, scope },
                        protocol: small("protocol")?,
                    }
                }
                (None, None) => Group::Unknown,
            }
        }
    })
}
