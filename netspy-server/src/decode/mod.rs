//! From the kernel's bytes to records: length, version and discriminant are checked, nothing is believed.
//! Pure; what a record means is `track`'s business.

mod count;
mod datagram;
mod drop;
mod fields;
mod process;
mod tcp;
mod trouble;
mod unix;

use netspy_common::{
    ABI_VERSION, AcceptRecord, CloseRecord, ConnectRecord, CountRecord, DropRecord, ExecRecord, ExitRecord,
    FlowRecord, ForkRecord, OutcomeRecord, RecordHeader, ReleaseRecord, TrafficRecord, TroubleRecord,
    UnixCloseRecord, UnixRecord, kind,
};
use thiserror::Error;

pub use count::RawCount;
pub use datagram::{RawFlow, RawRelease, RawTraffic};
pub use drop::RawDrop;
pub use tcp::{RawAccept, RawClose, RawConnect, RawOutcome, Role};
pub use trouble::RawTrouble;
pub use unix::{RawUnix, RawUnixClose};

use crate::domain::{Endpoint, ProcessEvent, Ring};
use count::trouble_kind;
use fields::Fields;

/// Why bytes from the kernel are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Shorter than the smallest thing it could be.
    #[error("a record of {0} bytes is too short")]
    Short(usize),
    /// Written by programs of another build.
    #[error("record has ABI version {0}, this server reads {ABI_VERSION}")]
    Version(u16),
    /// No such record in this ring.
    #[error("unknown record kind {0}")]
    Kind(u16),
    /// Not as long as its kind is, or as it says that it is.
    #[error("a record of kind {kind} has {length} bytes and says {said}")]
    Length { kind: u16, length: usize, said: u32 },
    /// A count of events that are never counted.
    #[error("a record counts events of an unknown kind")]
    Counted,
}

/// Two ends and what runs between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// `AF_*`, or 0.
    pub family: u16,
    /// IP protocol number, or 0.
    pub protocol: u8,
    /// Sender or local end; `None` where neither address nor port is known.
    pub source: Option<Endpoint>,
    /// Receiver or remote end, likewise.
    pub destination: Option<Endpoint>,
}

/// A record that passed every check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A connection begins.
    Connect(RawConnect),
    /// What became of an attempt.
    Outcome(RawOutcome),
    /// An inbound connection was accepted.
    Accept(RawAccept),
    /// A connection is over.
    Close(RawClose),
    /// A process began, changed or ended.
    Process(ProcessEvent),
    /// A UNIX socket was connected, or could not be.
    Unix(RawUnix),
    /// A flow of datagrams begins, or could not.
    Flow(RawFlow),
    /// Counters of a flow.
    Traffic(RawTraffic),
    /// A datagram socket was closed.
    Release(RawRelease),
    /// A connected UNIX socket was closed.
    UnixClose(RawUnixClose),
    /// A dropped packet.
    Drop(RawDrop),
    /// A retransmission, a RST or a full listen queue.
    Trouble(RawTrouble),
    /// Drops or other trouble without records.
    Count(RawCount),
}

/// The time of a record, `CLOCK_MONOTONIC` in ns; 0 where it is too short to have one.
pub fn time_ns(record: &[u8]) -> u64 {
    let at = std::mem::offset_of!(RecordHeader, time_ns);
    record.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}

/// Decodes one record of `ring`.
pub fn decode(ring: Ring, bytes: &[u8]) -> Result<Record, DecodeError> {
    if bytes.len() < size_of::<RecordHeader>() {
        return Err(DecodeError::Short(bytes.len()));
    }
    let mut fields = Fields(bytes);
    let abi = fields.u16();
    if abi != ABI_VERSION {
        return Err(DecodeError::Version(abi));
    }
    let kind = fields.u16();
    let expected = match (ring, kind) {
        (Ring::Events, kind::CONNECT) => size_of::<ConnectRecord>(),
        (Ring::Events, kind::OUTCOME) => size_of::<OutcomeRecord>(),
        (Ring::Events, kind::ACCEPT) => size_of::<AcceptRecord>(),
        (Ring::Events, kind::CLOSE) => size_of::<CloseRecord>(),
        (Ring::Events, kind::FORK) => size_of::<ForkRecord>(),
        (Ring::Events, kind::EXEC) => size_of::<ExecRecord>(),
        (Ring::Events, kind::EXIT) => size_of::<ExitRecord>(),
        (Ring::Events, kind::UNIX) => size_of::<UnixRecord>(),
        (Ring::Events, kind::FLOW) => size_of::<FlowRecord>(),
        (Ring::Events, kind::TRAFFIC) => size_of::<TrafficRecord>(),
        (Ring::Events, kind::RELEASE) => size_of::<ReleaseRecord>(),
        (Ring::Events, kind::UNIX_CLOSE) => size_of::<UnixCloseRecord>(),
        (Ring::Drops, kind::DROP) => size_of::<DropRecord>(),
        (Ring::Drops, kind::COUNT) => size_of::<CountRecord>(),
        (Ring::Drops, kind) if trouble_kind(kind).is_some() => size_of::<TroubleRecord>(),
        _ => return Err(DecodeError::Kind(kind)),
    };
    let said = fields.u32();
    if bytes.len() != expected || said as usize != expected {
        return Err(DecodeError::Length { kind, length: bytes.len(), said });
    }
    let time_ns = fields.u64();
    Ok(match kind {
        kind::CONNECT => Record::Connect(fields.connect(time_ns)),
        kind::OUTCOME => Record::Outcome(fields.outcome(time_ns)),
        kind::ACCEPT => Record::Accept(fields.accept(time_ns)),
        kind::CLOSE => Record::Close(fields.close(time_ns)),
        kind::FORK => Record::Process(fields.forked()),
        kind::EXEC => Record::Process(fields.executed()),
        kind::EXIT => Record::Process(fields.exited()),
        kind::UNIX => Record::Unix(fields.unix(time_ns)),
        kind::FLOW => Record::Flow(fields.flow(time_ns)),
        kind::TRAFFIC => Record::Traffic(fields.traffic(time_ns)),
        kind::RELEASE => Record::Release(fields.release(time_ns)),
        kind::UNIX_CLOSE => Record::UnixClose(fields.unix_close(time_ns)),
        kind::COUNT => Record::Count(fields.count(time_ns).ok_or(DecodeError::Counted)?),
        kind => match trouble_kind(kind) {
            Some(trouble) => Record::Trouble(fields.trouble(time_ns, trouble)),
            None => Record::Drop(fields.dropped(time_ns)),
        },
    })
}

#[cfg(test)]
mod tests {
    use netspy_common::direction;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Backlog, CountedKind, PacketDirection, TroubleKind};

    /// Numbers one after the other, as in a `repr(C)` struct.
    macro_rules! put {
        ($bytes:expr, $($number:expr),*) => { $($bytes.extend($number.to_ne_bytes());)* };
    }

    fn header(kind: u16, length: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        put!(bytes, ABI_VERSION, kind, length as u32, 7_u64);
        bytes
    }

    fn task() -> Vec<u8> {
        let mut bytes = Vec::new();
        put!(bytes, 42_u32, 43_u32, 1000_u32, 5_u32, 9_u64, 10_u64);
        bytes.extend(*b"worker-1\0\0\0\0\0\0\0\0");
        bytes.extend(*b"server\0\0\0\0\0\0\0\0\0\0");
        bytes
    }

    fn tuple() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([127, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        put!(bytes, 4000_u16, 80_u16, 2_u16, 6_u16);
        bytes
    }

    /// A drop record with every field set to something else.
    fn drop_record() -> Vec<u8> {
        let mut bytes = header(kind::DROP, size_of::<DropRecord>());
        put!(bytes, 0xffff_ffff_8100_0000_u64, 1_u64, 2_u64);
        bytes.extend(task());
        bytes.extend(tuple());
        put!(bytes, 3_u32, 60_u32, 1_u32, 4_026_531_840_u32, 0x0800_u32, direction::RECEIVED);
        bytes.extend(*b"eth0\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes
    }

    #[test]
    fn every_field_of_a_trouble_is_where_the_abi_says() {
        let mut bytes = header(kind::LISTEN_OVERFLOW, size_of::<TroubleRecord>());
        put!(bytes, 1_u64, 2_u64);
        bytes.extend(task());
        bytes.extend(tuple());
        put!(bytes, 5_u32, 4_026_531_840_u32, 60_u32, 129_u32, 128_u32, 0_u32);
        let Ok(Record::Trouble(trouble)) = decode(Ring::Drops, &bytes) else { panic!("not a trouble") };
        assert_eq!((trouble.time_ns, trouble.kind), (7, TroubleKind::ListenOverflow));
        assert_eq!(trouble.owner.unwrap().pid, 42);
        assert_eq!(trouble.ends.destination.unwrap().to_string(), "127.0.0.2:80");
        assert_eq!((trouble.reason, trouble.netns, trouble.length), (Some(5), 4_026_531_840, 60));
        assert_eq!(trouble.backlog, Some(Backlog { waiting: 129, limit: 128 }));
    }

    #[test]
    fn every_field_of_the_end_of_a_unix_connection_is_where_the_abi_says() {
        let mut bytes = header(kind::UNIX_CLOSE, size_of::<UnixCloseRecord>());
        put!(bytes, 1_u64, 2_u64, 3_u32, 104_u32);
        let Ok(Record::UnixClose(close)) = decode(Ring::Events, &bytes) else { panic!("not an end") };
        assert_eq!(close, RawUnixClose { time_ns: 7, inode: 1, started_ns: 2, closer: 3, errno: 104 });
    }

    #[test]
    fn every_field_of_a_count_is_where_the_abi_says() {
        let count = |kind: u16| {
            let mut bytes = header(kind::COUNT, size_of::<CountRecord>());
            put!(bytes, 0x8100_u64, 10_u64, 42_u32, u32::from(kind), 3_u32, 1_u32, 99_u64);
            bytes.extend(task());
            decode(Ring::Drops, &bytes)
        };
        let Ok(Record::Count(counted)) = count(kind::DROP) else { panic!("not a count") };
        assert_eq!((counted.time_ns, counted.kind, counted.location), (7, CountedKind::Drop, 0x8100));
        assert_eq!((counted.reason, counted.count, counted.owner.unwrap().pid), (Some(3), 99, 42));
        assert_eq!(count(kind::CONNECT), Err(DecodeError::Counted));
    }

    #[test]
    fn every_field_of_a_drop_is_where_the_abi_says() {
        let Ok(Record::Drop(drop)) = decode(Ring::Drops, &drop_record()) else { panic!("not a drop") };
        assert_eq!((drop.time_ns, drop.location), (7, 0xffff_ffff_8100_0000));
        let owner = drop.owner.unwrap();
        assert_eq!((owner.pid, owner.tid, owner.uid), (42, 43, 1000));
        assert_eq!((owner.exec_id, owner.cgroup_id, owner.started_ns), (5, 9, 10));
        assert_eq!((&owner.comm[..9], &owner.name[..7]), (&b"worker-1\0"[..], &b"server\0"[..]));
        assert_eq!(drop.ends.source.unwrap().to_string(), "127.0.0.1:4000");
        assert_eq!(drop.ends.destination.unwrap().to_string(), "127.0.0.2:80");
        assert_eq!((drop.ends.family, drop.ends.protocol), (2, 6));
        assert_eq!((drop.reason, drop.length, drop.interface), (Some(3), 60, 1));
        assert_eq!((drop.netns, drop.ether_type), (4_026_531_840, 0x0800));
        assert_eq!((drop.direction, drop.interface_name.as_str()), (Some(PacketDirection::Received), "eth0"));
    }

    #[test]
    fn wrong_version_kind_ring_and_length_are_named() {
        let good = drop_record();
        assert_eq!(decode(Ring::Drops, &[]), Err(DecodeError::Short(0)));
        let kind = kind::DROP;
        assert_eq!(decode(Ring::Events, &good), Err(DecodeError::Kind(kind)));
        let said = good.len() as u32;
        let short = &good[..good.len() - 1];
        assert_eq!(decode(Ring::Drops, short), Err(DecodeError::Length { kind, length: short.len(), said }));
        let mut long = good.clone();
        long.push(0);
        assert_eq!(decode(Ring::Drops, &long), Err(DecodeError::Length { kind, length: long.len(), said }));
        let mut newer = good.clone();
        newer[..2].copy_from_slice(&(ABI_VERSION + 1).to_ne_bytes());
        assert_eq!(decode(Ring::Drops, &newer), Err(DecodeError::Version(ABI_VERSION + 1)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), events in any::<bool>()) {
            let _ = decode(if events { Ring::Events } else { Ring::Drops }, &bytes);
        }

        #[test]
        fn a_well_formed_header_with_any_body_decodes(body in prop::collection::vec(any::<u8>(), size_of::<DropRecord>() - 16)) {
            let mut bytes = drop_record();
            bytes.splice(16.., body);
            prop_assert!(decode(Ring::Drops, &bytes).is_ok());
        }
    }
}
