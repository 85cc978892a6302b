//! Whether records say what the system says. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    net::SocketAddr,
};

use netspy_common::{ConnectionKey, closer};

use super::deeds::{Datagram, Deeds, Exchange, Failure, Me};
use crate::{
    decode::{Ends, RawAccept, RawClose, RawConnect, RawDrop, RawOutcome, Record, Role},
    domain::{Aspect, Endpoint, Process, Thread},
};

const TCP: u8 = 6;
const UDP: u8 = 17;
const STREAM: u8 = 1;
const ETHERTYPE_IP: u16 = 0x0800;
/// How much of a hundredth of a second two clocks may differ by.
const TICK_NS: u64 = 10_000_000;

/// What is not right about the records of one event; nothing for one that is.
#[derive(Debug, Default)]
pub(super) struct Findings {
    wrong: Vec<String>,
    missing: Vec<String>,
    aspects: BTreeSet<Aspect>,
}

impl Findings {
    fn same<T: Copy + PartialEq + Debug>(&mut self, aspect: Aspect, what: &str, reported: T, actual: T) {
        if reported != actual {
            self.aspects.insert(aspect);
            self.wrong.push(format!("{what} was reported as {reported:?}, but is {actual:?}"));
        }
    }

    fn end_is(&mut self, what: &str, reported: Option<Endpoint>, actual: SocketAddr) {
        if !is(reported, actual) {
            self.aspects.insert(Aspect::Ends);
            let reported = reported.map_or("unknown".to_owned(), |end| end.to_string());
            self.wrong.push(format!("{what} was reported as {reported}, but is {actual}"));
        }
    }

    fn holds(&mut self, aspect: Aspect, what: &str, holds: bool) {
        if !holds {
            self.aspects.insert(aspect);
            self.wrong.push(what.to_owned());
        }
    }

    /// `aspect`: by which it would have been found.
    fn missing<T>(&mut self, aspect: Aspect, what: &str, found: Option<T>) -> Option<T> {
        if found.is_none() {
            self.aspects.insert(aspect);
            self.missing.push(format!("{what} was not reported"));
        }
        found
    }

    /// In one line; `None` if all is right.
    pub(super) fn verdict(&self) -> Option<String> {
        let all: Vec<_> = self.wrong.iter().chain(&self.missing).map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// What is wrong with them.
    pub(super) fn aspects(&self) -> &BTreeSet<Aspect> {
        &self.aspects
    }

    /// Whether something has not come that may still come; what is wrong stays wrong.
    pub(super) fn may_change(&self) -> bool {
        self.wrong.is_empty() && !self.missing.is_empty()
    }
}

/// Whether a reported end is the one that the system names.
fn is(reported: Option<Endpoint>, actual: SocketAddr) -> bool {
    reported.is_some_and(|end| (end.ip, end.port) == (actual.ip(), actual.port()))
}

/// Whether a record is about one of the server's own deeds.
pub(super) fn is_own(deeds: &Deeds, keys: &[ConnectionKey], record: &Record) -> bool {
    let ends = match record {
        Record::Connect(connect) if keys.contains(&connect.key) => return true,
        Record::Outcome(outcome) => return keys.contains(&outcome.key),
        Record::Accept(accept) => return keys.contains(&accept.key),
        Record::Close(close) => return keys.contains(&close.key),
        Record::Connect(connect) => connect.ends,
        Record::Drop(drop) => drop.ends,
        Record::Trouble(trouble) => trouble.ends,
        Record::Flow(flow) => flow.ends,
        Record::Process(_)
        | Record::Count(_)
        | Record::Unix(_)
        | Record::UnixClose(_)
        | Record::Traffic(_)
        | Record::Release(_) => {
            return false;
        }
    };
    let of = |address: SocketAddr| is(ends.source, address) || is(ends.destination, address);
    of(deeds.exchange.server)
        || of(deeds.exchange.client)
        || deeds.refused.iter().any(|refused| of(refused.destination))
        || of(deeds.at_once.destination)
        || of(deeds.datagram.destination)
}

/// The records of the server's own deeds, by what they are.
#[derive(Default)]
pub(super) struct Reported<'a> {
    connects: Vec<&'a RawConnect>,
    outcomes: Vec<&'a RawOutcome>,
    accepts: Vec<&'a RawAccept>,
    closes: Vec<&'a RawClose>,
    drops: Vec<&'a RawDrop>,
}

impl<'a> Reported<'a> {
    pub(super) fn new(records: impl Iterator<Item = &'a Record>) -> Self {
        let mut reported = Self::default();
        for record in records {
            match record {
                Record::Connect(connect) => reported.connects.push(connect),
                Record::Outcome(outcome) => reported.outcomes.push(outcome),
                Record::Accept(accept) => reported.accepts.push(accept),
                Record::Close(close) => reported.closes.push(close),
                Record::Drop(drop) => reported.drops.push(drop),
                _ => {}
            }
        }
        reported
    }

    fn begun(&self, role: Role, remote_or_local: SocketAddr) -> Option<&'a RawConnect> {
        let at = |connect: &&&RawConnect| {
            let ends = if role == Role::Outbound { connect.ends.destination } else { connect.ends.source };
            connect.role == role && is(ends, remote_or_local)
        };
        self.connects.iter().find(at).copied()
    }

    fn outcome(&self, key: ConnectionKey) -> Option<&'a RawOutcome> {
        self.outcomes.iter().find(|outcome| outcome.key == key).copied()
    }

    fn close(&self, key: ConnectionKey) -> Option<&'a RawClose> {
        self.closes.iter().find(|close| close.key == key).copied()
    }
}

/// The event `connection`.
pub(super) fn connection(deeds: &Deeds, reported: &Reported<'_>) -> Findings {
    let mut findings = Findings::default();
    established(&deeds.me, &deeds.exchange, reported, &mut findings);
    for failure in &deeds.refused {
        refused(&deeds.me, failure, reported, &mut findings);
    }
    let Failure { destination, errno, .. } = deeds.at_once;
    let call = findings.missing(
        Aspect::Ends,
        "a call that failed at once",
        reported.begun(Role::Outbound, destination),
    );
    if let Some(connect) = call {
        findings.same(Aspect::Error, "the error of a call that failed at once", connect.errno, errno);
        caller(&deeds.me, &connect.thread, &mut findings);
    }
    findings
}

fn established(me: &Me, exchange: &Exchange, reported: &Reported<'_>, findings: &mut Findings) {
    let Exchange { client, server, sent, received, took_us } = *exchange;
    let out = findings.missing(Aspect::Ends, "a connection", reported.begun(Role::Outbound, server));
    if let Some(connect) = out {
        begun(me, connect, client, findings);
        caller(me, &connect.thread, findings);
        let outcome = findings.missing(Aspect::Ends, "a connection's outcome", reported.outcome(connect.key));
        if let Some(outcome) = outcome {
            findings.same(Aspect::Error, "the outcome", (outcome.established, outcome.errno), (true, 0));
            ends(&outcome.ends, client, server, findings);
        }
        let close = findings.missing(Aspect::Ends, "a connection's end", reported.close(connect.key));
        if let Some(close) = close {
            ends(&close.ends, client, server, findings);
            findings.same(
                Aspect::Course,
                "bytes sent and received",
                (close.bytes_sent, close.bytes_received),
                (sent, received),
            );
            findings.same(Aspect::Course, "who closed first", close.closer, closer::LOCAL);
            findings.holds(
                Aspect::Course,
                "the round trip took longer than the connection",
                u64::from(close.srtt_us) <= took_us,
            );
        }
    }
    let inbound =
        findings.missing(Aspect::Ends, "an inbound connection", reported.begun(Role::Inbound, server));
    if let Some(connect) = inbound {
        findings.end_is("the peer", connect.ends.destination, client);
        findings.same(Aspect::Namespace, "the network namespace", connect.netns, me.netns);
        let close =
            findings.missing(Aspect::Ends, "an inbound connection's end", reported.close(connect.key));
        if let Some(close) = close {
            findings.same(
                Aspect::Course,
                "bytes sent and received",
                (close.bytes_sent, close.bytes_received),
                (received, sent),
            );
            findings.same(Aspect::Course, "who closed first", close.closer, closer::REMOTE);
        }
    }
}

fn refused(me: &Me, failure: &Failure, reported: &Reported<'_>, findings: &mut Findings) {
    let attempt = reported.begun(Role::Outbound, failure.destination);
    let Some(connect) = findings.missing(Aspect::Ends, "a refused connection", attempt) else { return };
    let Some(source) = failure.source else { return };
    begun(me, connect, source, findings);
    let outcome =
        findings.missing(Aspect::Ends, "a refused connection's outcome", reported.outcome(connect.key));
    if let Some(outcome) = outcome {
        findings.same(
            Aspect::Error,
            "the error of a refusal",
            (outcome.established, outcome.errno),
            (false, failure.errno),
        );
        ends(&outcome.ends, source, failure.destination, findings);
    }
}

/// Without kprobes an attempt may not know its port yet.
fn begun(me: &Me, connect: &RawConnect, source: SocketAddr, findings: &mut Findings) {
    if connect.ends.source.is_some_and(|source| source.port != 0) {
        findings.end_is("the source", connect.ends.source, source);
    }
    findings.same(Aspect::Ends, "the protocol", (connect.ends.protocol, connect.socket_type), (TCP, STREAM));
    findings.same(Aspect::Namespace, "the network namespace", connect.netns, me.netns);
    findings.same(Aspect::Error, "the error of an attempt", connect.errno, 0);
}

fn ends(reported: &Ends, source: SocketAddr, destination: SocketAddr, findings: &mut Findings) {
    findings.end_is("the source", reported.source, source);
    findings.end_is("the destination", reported.destination, destination);
}

/// Whether the kernel names this process as it calls itself.
fn caller(me: &Me, thread: &Thread, findings: &mut Findings) {
    let reported = Process::of_thread(thread);
    if let Some(pid_and_tid) = me.pid_and_tid {
        findings.same(Aspect::Caller, "pid and tid", (reported.pid, reported.tid), pid_and_tid);
    }
    if let Some(uid) = me.uid {
        findings.same(Aspect::Caller, "uid", reported.uid, uid);
    }
    if let Some(ticks) = me.started_ticks {
        let near = reported.started_ns.abs_diff(ticks * TICK_NS) <= TICK_NS;
        findings.holds(Aspect::Caller, "the start of the process was reported wrong", near);
    }
    findings.same(Aspect::Caller, "the thread's name", reported.comm.as_str(), &me.thread);
    findings.same(Aspect::Caller, "the process's name", reported.name.as_str(), &me.process);
}

/// The event `accept`.
pub(super) fn accept(deeds: &Deeds, reported: &Reported<'_>) -> Findings {
    let mut findings = Findings::default();
    let inbound = reported.begun(Role::Inbound, deeds.exchange.server);
    let accepted =
        inbound.and_then(|inbound| reported.accepts.iter().find(|accept| accept.key == inbound.key));
    if let Some(accept) = findings.missing(Aspect::Ends, "an accepted connection", accepted) {
        caller(&deeds.me, &accept.thread, &mut findings);
    }
    findings
}

/// The event `packet_drop`. `reasons`: the kernel's names for them, where it gives any.
pub(super) fn packet_drop(
    deeds: &Deeds,
    reasons: &BTreeMap<u32, String>,
    reported: &Reported<'_>,
) -> Findings {
    let mut findings = Findings::default();
    let Datagram { source, destination, payload } = deeds.datagram;
    let mut segments =
        vec![(TCP, 0, deeds.refused[0].source.unwrap_or(source), deeds.refused[0].destination)];
    segments.push((UDP, payload, source, destination));
    for (protocol, least, source, destination) in segments {
        let between = |drop: &&&RawDrop| {
            drop.ends.protocol == protocol
                && is(drop.ends.source, source)
                && is(drop.ends.destination, destination)
        };
        let name = if protocol == TCP { "a dropped segment" } else { "a dropped datagram" };
        let Some(drop) = findings.missing(Aspect::Packet, name, reported.drops.iter().find(between)) else {
            continue;
        };
        findings.same(Aspect::Packet, "the interface", drop.interface, deeds.me.loopback);
        findings.same(Aspect::Namespace, "the network namespace", drop.netns, deeds.me.netns);
        findings.same(Aspect::Packet, "the protocol of the link", drop.ether_type, ETHERTYPE_IP);
        // Where it is dropped its headers may or may not count any more; 60 bytes is the longest of each.
        findings.holds(
            Aspect::Packet,
            "the length of a packet is impossible",
            (least..=least + 120).contains(&drop.length),
        );
        if !reasons.is_empty() {
            let reason = drop.reason.and_then(|code| reasons.get(&code)).map(String::as_str);
            findings.same(Aspect::Packet, "the reason", reason, Some("NO_SOCKET"));
        }
        if let (Some(owner), Some((pid, _))) = (drop.owner, deeds.me.pid_and_tid) {
            findings.same(Aspect::Packet, "the owner of a packet", owner.pid, pid);
        }
    }
    findings
}
