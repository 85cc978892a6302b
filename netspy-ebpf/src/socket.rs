//! What a `struct sock` says about itself.

use netspy_common::Tuple;

use crate::kernel::{offset, read_into, read_or_zero};

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const IPPROTO_TCP: u16 = 6;

/// `sk->sk_protocol`, or 0.
#[inline(always)]
pub fn protocol(socket: u64) -> u16 {
    read_or_zero(socket, offset!(sock_protocol))
}

/// `sk->sk_family`, or 0.
#[inline(always)]
pub fn family(socket: u64) -> u16 {
    read_or_zero(socket, offset!(sock_family))
}

/// Writes the socket's own view into a zeroed tuple: source is local, destination remote. Leaves it zeroed
/// for a socket that is not of the internet.
#[inline(always)]
pub fn tuple(socket: u64, tuple: &mut Tuple) {
    let family = family(socket);
    if family == AF_INET {
        read_into(first_four(&mut tuple.source), socket, offset!(sock_saddr));
        read_into(first_four(&mut tuple.destination), socket, offset!(sock_daddr));
    } else if family == AF_INET6 {
        read_into(&mut tuple.source, socket, offset!(sock_v6_saddr));
        read_into(&mut tuple.destination, socket, offset!(sock_v6_daddr));
    } else {
        return;
    }
    tuple.family = family;
    tuple.protocol = protocol(socket);
    tuple.source_port = read_or_zero(socket, offset!(sock_num));
    tuple.destination_port = u16::from_be(read_or_zero(socket, offset!(sock_dport)));
}

/// Inode number of the socket's network namespace, or 0.
#[inline(always)]
pub fn netns(socket: u64) -> u32 {
    read_or_zero(read_or_zero(socket, offset!(sock_net)), offset!(net_inum))
}

/// Where an IPv4 address goes.
#[inline(always)]
pub fn first_four(address: &mut [u8; 16]) -> &mut [u8; 4] {
    // SAFETY: sixteen bytes begin with four.
    unsafe { &mut *(&raw mut *address).cast() }
}
