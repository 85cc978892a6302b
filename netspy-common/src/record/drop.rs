//! Packets that the kernel threw away.

use super::{ConnectionKey, RecordHeader, Task, Tuple};
use crate::INTERFACE_NAME_LEN;

/// Values of [`DropRecord::direction`].
pub mod direction {
    /// The packet does not tell.
    pub const UNKNOWN: u32 = 0;
    /// An interface of this machine had received it.
    pub const RECEIVED: u32 = 1;
    /// A socket of this machine was sending it.
    pub const SENT: u32 = 2;
    /// One interface had received it, and it was on its way out through another.
    pub const FORWARDED: u32 = 3;
}

/// The kernel threw a packet away (`skb:kfree_skb`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropRecord {
    /// Kind [`super::kind::DROP`].
    pub header: RecordHeader,
    /// Address of the kernel code that dropped it.
    pub location: u64,
    /// The connection whose socket the packet belongs to; zeroes where the packet names no followed socket.
    pub key: ConnectionKey,
    /// Owner of that socket; zeroes likewise.
    pub owner: Task,
    /// From the packet's headers, or from its socket when it has none yet.
    pub tuple: Tuple,
    /// `enum skb_drop_reason` of the running kernel; [`crate::MISSING`] where the kernel gives none.
    pub reason: u32,
    /// Bytes in the packet (`skb->len`).
    pub length: u32,
    /// Interface index (`skb->dev`, or `skb->skb_iif` once it has left its device), or 0.
    pub interface: u32,
    /// Inode number of the network namespace, or 0.
    pub netns: u32,
    /// `EtherType` in host order (`skb->protocol`), or 0.
    pub ether_type: u32,
    /// One of [`direction`].
    pub direction: u32,
    /// Name of the interface, NUL-padded; zeroes where the packet has left its device.
    pub interface_name: [u8; INTERFACE_NAME_LEN],
}

const _: () = {
    assert!(size_of::<DropRecord>() == 184);
    assert!(core::mem::offset_of!(DropRecord, reason) == 144);
};
