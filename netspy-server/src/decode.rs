//! From the kernel's bytes to records: length, version and discriminant are checked, nothing is believed.
//! Pure; what a record means is `track`'s business.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netspy_common::{
    ABI_VERSION, ConnectRecord, ConnectionKey, DropRecord, MISSING, OutcomeRecord, RecordHeader, kind,
};
use thiserror::Error;

use crate::domain::{Endpoint, Process, Ring};

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
    /// An attempt to connect.
    Connect(RawConnect),
    /// What became of it.
    Outcome(RawOutcome),
    /// A dropped packet.
    Drop(RawDrop),
}

/// An attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawConnect {
    /// `CLOCK_MONOTONIC` in ns when it began.
    pub time_ns: u64,
    /// Which connect.
    pub key: ConnectionKey,
    /// Who asked.
    pub process: Process,
    /// From where to where; the source may be unknown.
    pub ends: Ends,
    /// 0, or the errno with which the call failed before anything was sent.
    pub errno: u32,
    /// Inode number of the network namespace, or 0.
    pub netns: u32,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawOutcome {
    /// `CLOCK_MONOTONIC` in ns.
    pub time_ns: u64,
    /// Which connect.
    pub key: ConnectionKey,
    /// From where to where.
    pub ends: Ends,
    /// Whether the peer answered.
    pub established: bool,
    /// Otherwise, the errno that the caller gets; 0 when the caller gave up.
    pub errno: u32,
}

/// A dropped packet as the kernel reports it, before its reason and location have names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawDrop {
    /// `CLOCK_MONOTONIC` in ns.
    pub time_ns: u64,
    /// Address of the kernel code that dropped it.
    pub location: u64,
    /// Owner of the packet's socket, if that is a followed one.
    pub owner: Option<Process>,
    /// The packet's two ends.
    pub ends: Ends,
    /// The running kernel's number for the reason, where it gives one.
    pub reason: Option<u32>,
    /// Bytes in the packet.
    pub length: u32,
    /// Interface index, or 0.
    pub interface: u32,
    /// Inode number of the network namespace, or 0.
    pub netns: u32,
    /// `EtherType`, or 0.
    pub ether_type: u16,
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
        (Ring::Drops, kind::DROP) => size_of::<DropRecord>(),
        _ => return Err(DecodeError::Kind(kind)),
    };
    let said = fields.u32();
    if bytes.len() != expected || said as usize != expected {
        return Err(DecodeError::Length { kind, length: bytes.len(), said });
    }
    let time_ns = fields.u64();
    Ok(match kind {
        kind::CONNECT => {
            let (key, process, ends) = (fields.key(), fields.process(), fields.ends());
            let (errno, netns) = (fields.u32(), fields.u32());
            Record::Connect(RawConnect { time_ns, key, process, ends, errno, netns })
        }
        kind::OUTCOME => {
            let (key, ends) = (fields.key(), fields.ends());
            let (established, errno) = (fields.u32() == 1, fields.u32());
            Record::Outcome(RawOutcome { time_ns, key, ends, established, errno })
        }
        _ => Record::Drop(fields.dropped(time_ns)),
    })
}

/// The rest of a record whose length has been checked: reading takes from the front.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes; zeroes past the end, which the length check excludes.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        if let Some((head, tail)) = self.0.split_at_checked(N) {
            bytes.copy_from_slice(head);
            self.0 = tail;
        }
        bytes
    }

    fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    fn key(&mut self) -> ConnectionKey {
        ConnectionKey { socket: self.u64(), started_ns: self.u64() }
    }

    fn process(&mut self) -> Process {
        let (pid, tid, uid, _pad) = (self.u32(), self.u32(), self.u32(), self.u32());
        let (cgroup_id, started_ns) = (self.u64(), self.u64());
        let (comm, name) = (name(self.take()), name(self.take()));
        Process { pid, tid, uid, cgroup_id, started_ns, comm, name, exe: None }
    }

    fn ends(&mut self) -> Ends {
        let (source, destination): ([u8; 16], [u8; 16]) = (self.take(), self.take());
        let (source_port, destination_port) = (self.u16(), self.u16());
        let (family, protocol) = (self.u16(), self.u16());
        Ends {
            family,
            protocol: u8::try_from(protocol).unwrap_or(0),
            source: endpoint(family, source, source_port),
            destination: endpoint(family, destination, destination_port),
        }
    }

    fn dropped(&mut self, time_ns: u64) -> RawDrop {
        let location = self.u64();
        let _key = self.key();
        let owner = self.process();
        let ends = self.ends();
        let reason = self.u32();
        RawDrop {
            time_ns,
            location,
            owner: (owner.pid != 0).then_some(owner),
            ends,
            reason: (reason != MISSING).then_some(reason),
            length: self.u32(),
            interface: self.u32(),
            netns: self.u32(),
            ether_type: u16::try_from(self.u32()).unwrap_or(0),
        }
    }
}

/// A NUL-padded name; bytes that are not UTF-8 become U+FFFD.
fn name(bytes: [u8; 16]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn endpoint(family: u16, address: [u8; 16], port: u16) -> Option<Endpoint> {
    let ip = match i32::from(family) {
        libc::AF_INET => {
            let [a, b, c, d, ..] = address;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        }
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(address)),
        _ => return None,
    };
    (port != 0 || !ip.is_unspecified()).then_some(Endpoint { ip, port })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A drop record with every field set to something else.
    fn drop_record() -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(ABI_VERSION.to_ne_bytes());
        bytes.extend(kind::DROP.to_ne_bytes());
        bytes.extend((size_of::<DropRecord>() as u32).to_ne_bytes());
        for word in [7_u64, 0xffff_ffff_8100_0000, 1, 2] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [42_u32, 43, 1000, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        for word in [9_u64, 10] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(*b"worker-1\0\0\0\0\0\0\0\0");
        bytes.extend(*b"server\0\0\0\0\0\0\0\0\0\0");
        bytes.extend([127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([127, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for half in [4000_u16, 80, 2, 6] {
            bytes.extend(half.to_ne_bytes());
        }
        for word in [3_u32, 60, 1, 4_026_531_840, 0x0800, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn every_field_of_a_drop_is_where_the_abi_says() {
        let Ok(Record::Drop(drop)) = decode(Ring::Drops, &drop_record()) else { panic!("not a drop") };
        assert_eq!((drop.time_ns, drop.location), (7, 0xffff_ffff_8100_0000));
        let owner = drop.owner.unwrap();
        assert_eq!((owner.pid, owner.tid, owner.uid), (42, 43, 1000));
        assert_eq!((owner.cgroup_id, owner.started_ns), (9, 10));
        assert_eq!((owner.comm.as_str(), owner.name.as_str()), ("worker-1", "server"));
        assert_eq!(drop.ends.source.unwrap().to_string(), "127.0.0.1:4000");
        assert_eq!(drop.ends.destination.unwrap().to_string(), "127.0.0.2:80");
        assert_eq!((drop.ends.family, drop.ends.protocol), (2, 6));
        assert_eq!((drop.reason, drop.length, drop.interface), (Some(3), 60, 1));
        assert_eq!((drop.netns, drop.ether_type), (4_026_531_840, 0x0800));
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
        newer[..2].copy_from_slice(&2_u16.to_ne_bytes());
        assert_eq!(decode(Ring::Drops, &newer), Err(DecodeError::Version(2)));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), events in any::<bool>()) {
            let _ = decode(if events { Ring::Events } else { Ring::Drops }, &bytes);
        }

        #[test]
        fn a_well_formed_header_with_any_body_decodes(body in prop::collection::vec(any::<u8>(), 160 - 8)) {
            let mut bytes = drop_record();
            bytes.splice(16.., body);
            prop_assert!(decode(Ring::Drops, &bytes).is_ok());
        }
    }
}
