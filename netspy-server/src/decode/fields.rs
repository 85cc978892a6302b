//! Taking a checked record apart.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netspy_common::{ConnectionKey, Tuple};

use super::Ends;
use crate::domain::{Endpoint, ProcessId, Thread};

/// The rest of a record whose length has been checked: reading takes from the front.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    /// The next `N` bytes; zeroes past the end, which the length check excludes.
    pub(super) fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        if let Some((head, tail)) = self.0.split_at_checked(N) {
            bytes.copy_from_slice(head);
            self.0 = tail;
        }
        bytes
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_ne_bytes(self.take())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    pub(super) fn key(&mut self) -> ConnectionKey {
        ConnectionKey { socket: self.u64(), started_ns: self.u64() }
    }

    pub(super) fn thread(&mut self) -> Thread {
        let (pid, tid, uid, exec_id) = (self.u32(), self.u32(), self.u32(), self.u32());
        let (cgroup_id, started_ns) = (self.u64(), self.u64());
        Thread { pid, tid, uid, exec_id, cgroup_id, started_ns, comm: self.take(), name: self.take() }
    }

    pub(super) fn process(&mut self) -> ProcessId {
        ProcessId { pid: self.u32(), exec_id: self.u32(), started_ns: self.u64() }
    }

    /// Sixteen bytes of text, NUL-padded; bytes that are not UTF-8 become U+FFFD.
    pub(super) fn text(&mut self) -> String {
        let padded: [u8; 16] = self.take();
        let end = padded.iter().position(|byte| *byte == 0).unwrap_or(padded.len());
        String::from_utf8_lossy(&padded[..end]).into_owned()
    }

    /// Both ends of a socket.
    pub(super) fn scoped_ends(&mut self) -> Ends {
        let ends = self.ends();
        Ends { source: ends.source.map(scoped), destination: ends.destination.map(scoped), ..ends }
    }

    /// Both ends of a packet.
    pub(super) fn ends(&mut self) -> Ends {
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
}

/// Takes out of a socket's link-local address which interface it belongs to ([`Tuple::SCOPE_AT`]).
fn scoped(end: Endpoint) -> Endpoint {
    match end.ip {
        IpAddr::V6(ip) if ip.is_unicast_link_local() => {
            let mut octets = ip.octets();
            let at = &mut octets[Tuple::SCOPE_AT..][..4];
            let scope = at.iter().rev().fold(0, |scope, byte| scope << 8 | u32::from(*byte));
            at.fill(0);
            Endpoint { ip: Ipv6Addr::from(octets).into(), scope, ..end }
        }
        _ => end,
    }
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
    (port != 0 || !ip.is_unspecified()).then_some(Endpoint { ip, port, scope: 0 })
}
