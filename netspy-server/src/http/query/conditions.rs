//! Conditions on events: what each parameter takes, and what it means.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use ipnet::IpNet;

use crate::domain::{Direction, End, Filter, PacketDirection, Verdict, Window, errno_of_name};
use crate::http::error::Failure;
use crate::http::params::{Names, Params};
use crate::http::render::PROTOCOLS;

/// What only connections have.
pub(in crate::http) const OF_CONNECTIONS: [&str; 2] = ["outcome", "errno"];
/// What only packets have.
pub(in crate::http) const OF_PACKETS: [&str; 1] = ["drop_reason"];

/// What the history's sums do not know.
pub(in crate::http) const NOT_OF_SUMS: [&str; 11] = [
    "pid",
    "unit",
    "container",
    "protocol",
    "family",
    "local",
    "local_port",
    "remote",
    "remote_port",
    "errno",
    "cursor",
];

/// Those that are not in the contract with the earlier netspy, but for another name of `command`.
const OTHERS: [&str; 13] = [
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
];

/// Conditions besides pid and name, as they were given.
pub(super) fn given(params: &Params) -> Result<BTreeMap<&'static str, String>, Failure> {
    let names = OTHERS.into_iter().chain(OF_PACKETS);
    let given = names.map(|name| Ok(params.word(name)?.map(|text| (name, text.into_owned()))));
    given.filter_map(Result::transpose).collect()
}

pub(super) fn filter(params: &Params, window: Window) -> Result<Filter, Failure> {
    let pid = params.number("pid", 0..=u32::MAX.into(), "0 for any")?;
    let uid = params.whole("uid", 0..=u32::MAX.into(), "a user's number from 0 to 4294967295")?;
    let names = ["command", "process_name", "process"];
    let names = names.map(|name| params.text(name).map(|text| (name, text)));
    let [command, process_name, process] = names;
    let (direction, packet_direction) = directions(params)?;
    let mut filter = Filter {
        pid: pid.map(|pid| pid as u32),
        process: super::one_of([command?, process_name?, process?])?,
        exe: params.text("exe")?,
        uid: uid.map(|uid| uid as u32),
        unit: params
            .text("unit")?
            .map(|unit| if unit.contains('.') { unit } else { format!("{unit}.service") }),
        container: params.text("container")?,
        direction,
        packet_direction,
        verdicts: verdicts(params)?,
        family: params.read("family", "inet, inet6, unix or a number from 1 to 65535", family)?,
        local: end(params, "local", "local_port")?,
        remote: end(params, "remote", "remote_port")?,
        errno: params.read("errno", "a name such as ECONNREFUSED or a number from 1 to 4095", errno)?,
        reason: params.text("drop_reason")?,
        ..Filter::within(window)
    };
    let takes =
        "tcp, udp, icmp, icmpv6, unix, another protocol's name, or an IP protocol number from 0 to 255";
    match params.read("protocol", takes, protocol)? {
        Some(Protocol::Ip(number)) => filter.protocol = Some(number),
        Some(Protocol::Unix) if filter.family.is_none_or(|family| family == UNIX) => {
            filter.family = Some(UNIX);
        }
        Some(Protocol::Unix) => {
            return Err(Failure::invalid("protocol unix has the family unix: leave family out"));
        }
        None => {}
    }
    Ok(filter)
}

/// `AF_UNIX`
const UNIX: u16 = libc::AF_UNIX as u16;

enum Protocol {
    Ip(u8),
    Unix,
}

fn protocol(text: &str) -> Option<Protocol> {
    if text.eq_ignore_ascii_case("unix") {
        return Some(Protocol::Unix);
    }
    let named = PROTOCOLS.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(number, _)| *number);
    named.or_else(|| number(text)).map(Protocol::Ip)
}

fn family(text: &str) -> Option<u16> {
    match text {
        "inet" | "ipv4" => Some(libc::AF_INET as u16),
        "inet6" | "ipv6" => Some(libc::AF_INET6 as u16),
        "unix" => Some(UNIX),
        _ => number(text).filter(|family| *family != 0),
    }
}

fn errno(text: &str) -> Option<u32> {
    errno_of_name(text).or_else(|| number(text).filter(|errno| (1..=4_095).contains(errno)))
}

/// Digits only: Rust's own parser would also take "+5".
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn directions(params: &Params) -> Result<(Option<Direction>, Option<PacketDirection>), Failure> {
    let takes = "outbound or inbound (connections), or received, sent or forwarded (dropped packets)";
    let directions = params.read("direction", takes, |text| {
        let directions = (Direction::from_name(text), PacketDirection::from_name(text));
        (directions != (None, None)).then_some(directions)
    })?;
    Ok(directions.unwrap_or_default())
}

fn verdicts(params: &Params) -> Result<Vec<Verdict>, Failure> {
    let names = Names(Verdict::ALL.into_iter().map(Verdict::name));
    let takes = format_args!("one or more of {names}, separated by commas");
    let verdicts = params.read("outcome", takes, |text| text.split(',').map(Verdict::from_name).collect())?;
    Ok(verdicts.unwrap_or_default())
}

fn end(params: &Params, address: &str, port: &str) -> Result<End, Failure> {
    let takes = "an address such as 10.0.0.1 or 2001:db8::1, or a network such as 10.0.0.0/8";
    let network = params.read(address, takes, |text| match text.parse::<IpAddr>() {
        Ok(ip) => Some(IpNet::from(ip.to_canonical())),
        Err(_) => text.parse().ok(),
    })?;
    let ports = params.read(port, "a port from 0 to 65535, or a range such as 8000-8999", ports)?;
    Ok(End { network, ports })
}

fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVER: Window = Window { since_ns: i64::MIN, until_ns: i64::MAX };

    fn asked(body: &str) -> Result<Filter, String> {
        let params = Params::from_body(body.as_bytes()).map_err(|failure| failure.message().to_owned())?;
        filter(&params, EVER).map_err(|failure| failure.message().to_owned())
    }

    #[test]
    fn conditions_mean_what_they_say() {
        let network = |text: &str| End { network: Some(text.parse().unwrap()), ports: None };
        let ports = |ports| End { network: None, ports: Some(ports) };
        let any = Filter::within(EVER);
        for (body, expected) in [
            (r#"{"uid":0}"#, Filter { uid: Some(0), ..any.clone() }),
            (
                r#"{"process":"curl","command":"curl"}"#,
                Filter { process: Some("curl".into()), ..any.clone() },
            ),
            (r#"{"unit":"nginx"}"#, Filter { unit: Some("nginx.service".into()), ..any.clone() }),
            (r#"{"unit":"a.scope"}"#, Filter { unit: Some("a.scope".into()), ..any.clone() }),
            (r#"{"container":"web"}"#, Filter { container: Some("web".into()), ..any.clone() }),
            (r#"{"direction":"inbound"}"#, Filter { direction: Some(Direction::Inbound), ..any.clone() }),
            (
                r#"{"direction":"sent"}"#,
                Filter { packet_direction: Some(PacketDirection::Sent), ..any.clone() },
            ),
            (r#"{"protocol":"UDP"}"#, Filter { protocol: Some(17), ..any.clone() }),
            (r#"{"protocol":0}"#, Filter { protocol: Some(0), ..any.clone() }),
            (r#"{"protocol":"unix","family":1}"#, Filter { family: Some(1), ..any.clone() }),
            (r#"{"family":"ipv6"}"#, Filter { family: Some(10), ..any.clone() }),
            (r#"{"local":"::ffff:10.0.0.1"}"#, Filter { local: network("10.0.0.1/32"), ..any.clone() }),
            (r#"{"remote":"2001:db8::/32"}"#, Filter { remote: network("2001:db8::/32"), ..any.clone() }),
            (r#"{"remote_port":443}"#, Filter { remote: ports(443..=443), ..any.clone() }),
            (r#"{"local_port":"0-1023"}"#, Filter { local: ports(0..=1023), ..any.clone() }),
            (
                r#"{"outcome":"refused,timed_out"}"#,
                Filter { verdicts: vec![Verdict::Refused, Verdict::TimedOut], ..any.clone() },
            ),
            (r#"{"errno":"ECONNREFUSED"}"#, Filter { errno: Some(111), ..any.clone() }),
            (r#"{"errno":13}"#, Filter { errno: Some(13), ..any.clone() }),
            (r#"{"drop_reason":"NO_SOCKET"}"#, Filter { reason: Some("NO_SOCKET".into()), ..any.clone() }),
            (r#"{"unit":"","outcome":"","local_port":"","exe":null}"#, any.clone()),
        ] {
            assert_eq!(asked(body), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_a_condition_does_not_take_is_refused_by_name() {
        for (body, expected) in [
            (r#"{"uid":"root"}"#, "uid takes a user's number from 0 to 4294967295, not \"root\""),
            (r#"{"uid":-1}"#, "uid takes a user's number"),
            (r#"{"direction":"both"}"#, "direction takes outbound or inbound"),
            (r#"{"protocol":"quic"}"#, "protocol takes tcp, udp"),
            (r#"{"protocol":256}"#, "protocol takes tcp, udp"),
            (r#"{"protocol":-6}"#, "protocol takes"),
            (r#"{"protocol":"unix","family":2}"#, "leave family out"),
            (r#"{"family":"ip"}"#, "family takes inet, inet6, unix"),
            (r#"{"family":0}"#, "family takes"),
            (r#"{"local":"10.0.0"}"#, "local takes an address such as"),
            (r#"{"remote":"10.0.0.0/33"}"#, "remote takes an address such as"),
            (r#"{"remote":"example.org"}"#, "remote takes an address such as"),
            (r#"{"remote_port":65536}"#, "remote_port takes a port from 0 to 65535"),
            (r#"{"remote_port":"9-8"}"#, "remote_port takes a port"),
            (r#"{"local_port":"-1"}"#, "local_port takes a port"),
            (r#"{"outcome":"refused,bad"}"#, "outcome takes one or more of pending, unanswered"),
            (r#"{"outcome":["refused"]}"#, "outcome takes a string"),
            (r#"{"errno":"EWHAT"}"#, "errno takes a name such as ECONNREFUSED"),
            (r#"{"errno":0}"#, "errno takes"),
            (r#"{"errno":5000}"#, "errno takes"),
            (r#"{"process":"a","command":"b"}"#, "command and process mean the same"),
            (r#"{"exe":7}"#, "exe takes a string"),
        ] {
            let refused = asked(body).unwrap_err();
            assert!(refused.contains(expected), "{body}: {refused}");
        }
    }
}
