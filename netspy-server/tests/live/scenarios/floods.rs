//! More trouble than there can be records of: every single one must be accounted for.

use std::{net::UdpSocket, time::Instant};

use netspy_api::{DropEvent, DropSummary};

use super::{
    acting, closed_port,
    drops::{is_its_own_place, kernel_gives_reasons},
};
use crate::{actor::Actor, server::Server};

/// A full receive buffer; where other processors receive what one sends, also their full queues.
const FULL: [&str; 2] = ["SOCKET_RCVBUFF", "CPU_BACKLOG"];

/// How many drops for one of these a summary has. A kernel without reasons is asked for the place.
fn full_buffers(summary: &DropSummary) -> u64 {
    if kernel_gives_reasons() {
        return FULL.iter().filter_map(|reason| summary.reasons.get(*reason)).sum();
    }
    let udp = |location: &str| location.contains("udp_queue_rcv") || is_its_own_place(location);
    summary.unclassified_at.iter().filter(|at| udp(&at.location)).map(|at| at.count).sum()
}

/// Fifty thousand datagrams for a process that reads none of them. What its socket still holds afterwards
/// was not dropped, the rest was.
pub fn datagrams() {
    const SENT: usize = 50_000;
    let mut part = acting("actor-flood-udp", "");
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let server = Server::start(&["--record", path]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket2::SockRef::from(&socket).set_recv_buffer_size(4_096).unwrap();
    part.to = socket.local_addr().unwrap().to_string();
    (part.datagram, part.times) = (true, SENT);
    let began = Instant::now();
    Actor::run(&part);
    let a_second = SENT as u128 * 1_000 / began.elapsed().as_millis().max(1);

    let summary = server.drop_summary();
    socket.set_nonblocking(true).unwrap();
    let held = std::iter::repeat_with(|| socket.recv(&mut [0; 8])).take_while(Result::is_ok).count();
    let dropped = (SENT - held) as u64;
    assert!(held > 0 && dropped > SENT as u64 / 2, "{held} were held");

    let lost = summary.lost.clone().unwrap();
    let counted = full_buffers(&summary) + lost.total;
    // Where all drops have the same place, a few of others are among them.
    let others = if summary.unclassified_at.iter().any(|at| is_its_own_place(&at.location)) { 20 } else { 0 };
    let all_of_them = dropped..=dropped + others;
    assert!(all_of_them.contains(&counted), "{counted} of {dropped}: {summary:#?}");
    assert_eq!(lost.total, 0, "{lost:?}");
    // Some have a record, too many for all to have one; the sum is exact all the same.
    let sampled = summary.sampled.clone().unwrap();
    assert_eq!(sampled.counted, summary.count);
    assert!(sampled.recorded > 1_000, "{sampled:?}");
    // An emulated machine may be too slow for a flood.
    assert!(sampled.recorded < summary.count || a_second < 16_000, "{sampled:?} at {a_second}/s");
    // As many as are let through: nothing of these comes twice.
    let listed = server.drops_to(&part.to);
    assert!(!listed.is_empty() && listed.len() as u64 <= sampled.recorded, "{}", listed.len());
    if kernel_gives_reasons() {
        let full = |drop: &DropEvent| FULL.contains(&drop.drop_reason.as_str()) && drop.class == "harmful";
        assert!(listed.iter().all(full));
    }

    assert_eq!(server.stop(), Some(0));
    let replay = Server::start(&["--replay", path]);
    let replayed = full_buffers(&replay.drop_summary());
    assert!(all_of_them.contains(&replayed), "{replayed} of {dropped}");
    assert_eq!(replay.stop(), Some(0));
}

/// Refused connects: each is a RST received, and each of them is the actor's, with a record or without.
pub fn resets() {
    const ATTEMPTS: usize = 10_000;
    let mut part = acting("actor-flood-rst", &closed_port("127.0.0.1:0"));
    part.times = ATTEMPTS;
    let server = Server::start(&[]);
    let actor = Actor::run(&part);
    let sampled = server.sampled("reset_received", actor.report.pid);
    assert_eq!(sampled.counted, ATTEMPTS as u64, "{sampled:?}");
    assert!(sampled.recorded > 0 && sampled.recorded <= sampled.counted, "{sampled:?}");
    assert_eq!(server.stop(), Some(0));
}
