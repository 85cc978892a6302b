//! The records of `netspy_common::record::drop`.

use netspy_common::{MISSING, direction};

use super::{Ends, fields::Fields};
use crate::domain::{PacketDirection, Thread};

/// A dropped packet as the kernel reports it, before its reason and location have names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawDrop {
    /// `CLOCK_MONOTONIC` in ns.
    pub time_ns: u64,
    /// Address of the kernel code that dropped it.
    pub location: u64,
    /// Owner of the packet's socket, if that is a followed one.
    pub owner: Option<Thread>,
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
    /// Which way it was going, where that is known.
    pub direction: Option<PacketDirection>,
    /// Name of the interface, or empty.
    pub interface_name: String,
}

impl Fields<'_> {
    pub(super) fn dropped(&mut self, time_ns: u64) -> RawDrop {
        let location = self.u64();
        let _key = self.key();
        let owner = self.thread();
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
            direction: match self.u32() {
                direction::RECEIVED => Some(PacketDirection::Received),
                direction::SENT => Some(PacketDirection::Sent),
                direction::FORWARDED => Some(PacketDirection::Forwarded),
                _ => None,
            },
            interface_name: self.text(),
        }
    }
}
