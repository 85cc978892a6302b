//! Each place that can lose something is filled on purpose; what was recorded and what was counted as lost must add
//! up to what was done.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::unix::net::{UnixListener, UnixStream},
    time::Duration,
};

use netspy_api::{ConnectionEvent, Lost};
use netspy_common::{ConnectRecord, OutcomeRecord, RecordHeader, kind};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::Signal,
};

use super::{acting, closed_port};
use crate::{
    actor::{Actor, Datagrams},
    environment::Environment,
    provoke::{self, Provocation},
    server::Server,
};

/// Other processes of the machine may lose something too: the sums must be right once. A wrong count is always wrong.
fn undisturbed(scenario: impl Fn() -> Result<(), String>) {
    let mut disturbances = Vec::new();
    for _ in 0..8 {
        let Err(disturbance) = scenario() else { return };
        println!("disturbed, so once more: {disturbance}");
        disturbances.push(disturbance);
    }
    panic!("{disturbances:#?}");
}

fn equal(done: u64, accounted: u64, details: impl std::fmt::Debug) -> Result<(), String> {
    if done == accounted {
        Ok(())
    } else {
        Err(format!("{done} done, {accounted} accounted for: {details:?}"))
    }
}

/// A skipped program is counted as one event, although another may have recorded what it would have seen: no more than
/// these may be accounted for twice, and nothing may be missing.
fn equal_but_for_skips(done: u64, recorded: usize, lost: &Lost) -> Result<(), String> {
    let accounted = recorded as u64 + lost.total;
    equal(done, accounted - at(lost, "skipped").min(accounted.saturating_sub(done)), lost)
}

/// What needs many threads at once, or a fast one, is not lost at each try.
fn provoked(lost: &Lost, place: &str) -> Result<(), String> {
    if at(lost, place) > 0 { Ok(()) } else { Err(format!("nothing was lost at {place}: {lost:?}")) }
}

fn at(lost: &Lost, place: &str) -> u64 {
    lost.by_place.get(place).copied().unwrap_or(0)
}

pub fn too_many_sockets() {
    const TIMES: u64 = 20;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    undisturbed(|| {
        let server = Server::start(&["--max-sockets", "8"]);
        server.health();
        let mut part = acting("actor-many", &to);
        part.times = usize::try_from(TIMES).unwrap();
        let actor = Actor::run(&part);
        let (events, lost) = server.connections_and_loss(None, None);
        let recorded = events.iter().filter(|event| event.destination == to).count() as u64;
        drop(actor);
        assert!(at(&lost, "sockets_full") > 0, "{lost:?}");
        assert_eq!(lost.by_kind.get("connection"), Some(&lost.total), "{lost:?}");
        // Each connection has two ends, and both are on this machine.
        equal(2 * TIMES, recorded + at(&lost, "sockets_full"), &lost)
    });
}

/// Of UNIX sockets those that do not fit are recorded, but their end is not seen.
pub fn too_many_unix_sockets() {
    const TIMES: usize = 20;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("many");
    let _listener = UnixListener::bind(&path).unwrap();
    undisturbed(|| {
        let server = Server::start(&["--max-sockets", "8"]);
        drop([&path; TIMES].map(|path| UnixStream::connect(path).unwrap()));
        let (mut events, lost) = server.connections_and_loss(Some(std::process::id()), None);
        events.retain(|event| event.path.as_deref() == path.to_str() && !event.found);
        assert_eq!(events.len(), TIMES);
        if server.program("unix").rung == "tracepoint" {
            assert!(events.iter().all(|event| event.ending.is_none()), "{events:#?}");
            return Ok(());
        }
        let open = events.iter().filter(|event| event.ending.is_none()).count() as u64;
        assert!(open > 0, "{events:#?}");
        assert_eq!(lost.by_kind.get("unix"), Some(&at(&lost, "sockets_full")), "{lost:?}");
        equal(open, at(&lost, "sockets_full"), &lost)
    });
}

/// Few sockets are also few flows of datagrams: each datagram of another one is counted.
pub fn too_many_flows() {
    const TIMES: u64 = 20;
    undisturbed(|| {
        let server = Server::start(&["--max-sockets", "8"]);
        let rung = server.program("udp").rung;
        let mut part = acting("actor-flows", &closed_port("127.0.0.1:0"));
        part.times = usize::try_from(TIMES).unwrap();
        part.datagrams = Some(Datagrams { send: vec![1], ..Datagrams::default() });
        let actor = Actor::run(&part);
        let (events, lost) = server.connections_and_loss(Some(actor.report.pid), None);
        if !matches!(rung.as_str(), "kprobe" | "fentry") {
            // Without connect and without these rungs there is nothing to see.
            assert_eq!((events.as_slice(), at(&lost, "flows_full")), ([].as_slice(), 0));
            return Ok(());
        }
        assert!(at(&lost, "flows_full") > 0, "{lost:?}");
        assert_eq!(lost.by_kind.get("udp"), Some(&at(&lost, "flows_full")), "{lost:?}");
        equal(TIMES, events.len() as u64 + at(&lost, "flows_full"), &lost)
    });
}

/// Few sockets are also few calls in flight.
pub fn too_many_calls() {
    undisturbed(|| {
        let server = Server::start(&["--max-sockets", "8"]);
        let by_kprobe = |p: &netspy_api::Program| p.name == "connection" && p.rung == "kprobe";
        let (done, pid) = if server.health().programs.iter().any(by_kprobe) {
            (24 * 10, provoke::run(&Provocation::CrowdedConnects { threads: 24, times: 10 }).pid)
        } else {
            (12, provoke::run(&Provocation::HangingConnects { threads: 12 }).pid)
        };
        std::thread::sleep(Duration::from_secs(3));
        let (events, lost) = server.connections_and_loss(Some(pid), None);
        equal_but_for_skips(done, events.len(), &lost)?;
        provoked(&lost, "inflight_full")
    });
}

/// On the rung with kprobes the kernel has few instances of a return probe; without, every return is seen.
pub fn missed_returns() {
    undisturbed(|| {
        let server = Server::start(&[]);
        server.health();
        let pid = provoke::run(&Provocation::CrowdedConnects { threads: 24, times: 10 }).pid;
        // For so long a call is taken for one that has not returned yet.
        std::thread::sleep(Duration::from_secs(3));
        let (events, lost) = server.connections_and_loss(Some(pid), None);
        let kprobes = server.health().programs.iter().any(|p| p.name == "connection" && p.rung == "kprobe");
        let told = |event: &&ConnectionEvent| {
            (event.outcome.as_str(), event.stage.as_deref()) == ("failed", Some("bind"))
        };
        // Why the kernel undid an attempt is known to its call alone: who skips that, leaves it untold.
        let untold: Vec<_> = events.iter().filter(|event| !told(event)).collect();
        assert!(untold.len() as u64 <= at(&lost, "skipped"), "{lost:?}: {untold:?}");
        assert!(untold.iter().all(|event| event.errno.is_none()), "{untold:?}");
        equal_but_for_skips(24 * 10, events.len(), &lost)?;
        if kprobes {
            return provoked(&lost, "return_missed");
        }
        assert_eq!(at(&lost, "return_missed"), 0, "{lost:?}");
        Ok(())
    });
}

/// A flood is limited to 4,000 records a second of each kind and place on each processor, and 8,000 at once: two of these
/// fill the ring, which holds 43,690, in seconds. What it does not hold is counted one by one all the same.
pub fn full_drops_ring() {
    undisturbed(|| {
        let server = Server::start(&[]);
        let before = server.drop_summary().count;
        server.signal(Signal::STOP);
        let done = provoke::run(&Provocation::Flood { seconds: 5, at_least: 25_000 }).dropped;
        server.signal(Signal::CONT);
        let summary = server.drop_summary();
        let lost = summary.lost.unwrap();
        equal(done, summary.count - before + at(&lost, "skipped"), &summary.reasons)?;
        provoked(&lost, "drops_ring_full")
    });
}

/// A drop interrupts the handling of a drop: the kernel skips the program that it would enter twice, and counts it
/// where it can.
pub fn skipped_programs() {
    const EACH: usize = 4_500;
    undisturbed(|| {
        let server = Server::start(&[]);
        let health = server.health();
        let traced = health.programs.iter().find(|program| program.name == "packet_drop").unwrap();
        let counts = !traced.note.contains("does not count");
        let before = server.drop_summary().count;
        provoke::run(&Provocation::Drops { while_sent: EACH, arrived: EACH });
        let summary = server.drop_summary();
        let lost = summary.lost.unwrap();
        // A kernel that does not count skips nothing either: it enters the program twice.
        if counts && at(&lost, "skipped") == 0 {
            return Err(format!("nothing was skipped: {lost:?}"));
        }
        // Programs that tell flows are interrupted, too.
        let skipped = lost.by_kind.get("packet_drop").copied().unwrap_or(0);
        equal(2 * EACH as u64, summary.count - before + skipped, &lost)
    });
}

/// A disk without room: what could not be written is counted, in answers at once, and in the history when there is room
/// again.
pub fn store_without_room() {
    const TIMES: u64 = 50;
    undisturbed(|| {
        let mut part = acting("actor-lost", "192.0.2.1:80"); // here: it may connect to the other server once more
        let directory = tempfile::tempdir().unwrap();
        mount("none", directory.path(), "tmpfs", MountFlags::empty(), Some(c"size=1m")).unwrap();
        let server = Server::start_at(directory.path(), &Environment::default().prepare(), &[]);
        server.health();
        let ballast = directory.path().join("ballast");
        let filled = std::fs::write(&ballast, vec![1; 2 << 20]).unwrap_err();
        assert_eq!(filled.raw_os_error(), Some(libc::ENOSPC));
        part.namespace = Some(Vec::new());
        part.times = usize::try_from(TIMES).unwrap();
        let pid = Actor::run(&part).report.pid;
        let (_, meanwhile) = server.connections_and_loss(Some(pid), None);
        assert!(at(&meanwhile, "store") > 0, "what is missing is not said: {meanwhile:?}");
        std::fs::remove_file(&ballast).unwrap();
        let (events, lost) = server.connections_and_loss(Some(pid), None);
        assert_eq!(server.stop(), Some(0));
        unmount(directory.path(), UnmountFlags::empty()).unwrap();
        assert!(at(&lost, "store") > 0 && at(&lost, "store") == lost.total, "{lost:?}");
        equal(TIMES, events.len() as u64 + lost.by_kind["connection"], &lost)
    });
}

/// A damaged recording of this kernel's own records: one beginning is gone, two outcomes cannot be read.
pub fn damaged_recording() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let recorder = Server::start(&["--record", path]);
    let mut part = acting("actor-damage", &closed_port("127.0.0.1:0"));
    part.times = 3;
    let actor = Actor::run(&part);
    assert_eq!(recorder.connections(Some(actor.report.pid), None).len(), 3);
    assert_eq!(recorder.stop(), Some(0));
    std::fs::write(path, damaged(&std::fs::read(path).unwrap(), actor.report.pid)).unwrap();
    let replay = Server::start(&["--replay", path]);
    let (events, lost) = replay.connections_and_loss(Some(actor.report.pid), None);
    let expected = [("undecodable", 2), ("orphaned", 1)].map(|(place, count)| (place.to_owned(), count));
    assert_eq!((lost.total, &lost.by_place), (3, &expected.into()), "{lost:?}");
    // Which event a record that cannot be read was about is not known.
    assert_eq!(lost.by_kind, BTreeMap::from([("connection".to_owned(), 1)]));
    let outcomes: Vec<_> = events.iter().map(|event| event.outcome.as_str()).collect();
    assert_eq!(outcomes, ["pending", "pending"]);
    assert_eq!(replay.stop(), Some(0));
}

/// docs/trace-format.md: 16 bytes, a header of the length that the last four of them say, frames. Records: see
/// `netspy_common`.
fn damaged(recording: &[u8], pid: u32) -> Vec<u8> {
    let number = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let key_at = std::mem::offset_of!(ConnectRecord, key);
    assert_eq!(key_at, std::mem::offset_of!(OutcomeRecord, key));
    let mut at = 16 + number(recording, 12) as usize;
    let (mut result, mut keys, mut outcomes) = (recording[..at].to_vec(), Vec::new(), 0);
    while at < recording.len() {
        let length = number(recording, at + 4) as usize;
        let mut frame = recording[at..at + 8 + length].to_vec();
        at += 8 + length;
        let is_event = number(&frame, 0) == 1;
        let record = &mut frame[8..];
        let of_kind = |wanted: u16| {
            is_event && record[std::mem::offset_of!(RecordHeader, kind)..][..2] == wanted.to_ne_bytes()
        };
        let (connect, outcome) = (of_kind(kind::CONNECT), of_kind(kind::OUTCOME));
        if connect && number(record, std::mem::offset_of!(ConnectRecord, task)) == pid {
            keys.push(record[key_at..key_at + 16].to_vec());
            if keys.len() == 1 {
                continue; // the beginning that is gone
            }
        }
        if outcome && keys.iter().any(|key| record[key_at..key_at + 16] == **key) {
            outcomes += 1;
            match outcomes {
                1 => {}
                2 => record[std::mem::offset_of!(RecordHeader, kind)] = 99,
                _ => record[std::mem::offset_of!(RecordHeader, len)] -= 8,
            }
        }
        result.extend(frame);
    }
    assert_eq!((keys.len(), outcomes), (3, 3));
    result
}
