//! What a `struct sock` says about itself.

use netspy_common::Tuple;

use crate::kernel::{Start, offset, read_into, read_or_zero};

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const IPPROTO_ICMP: u16 = 1;
pub const SOCK_DGRAM: u32 = 2;
pub const SOCK_RAW: u32 = 3;
pub const IPPROTO_TCP: u16 = 6;
pub const IPPROTO_UDP: u16 = 17;
pub const IPPROTO_ICMPV6: u16 = 58;
pub const IPPROTO_UDPLITE: u16 = 136;
pub const IPPROTO_MPTCP: u16 = 262;

/// `sk->sk_protocol`, or 0.
#[inline(always)]
pub fn protocol(socket: u64) -> u16 {
    read_or_zero(socket, offset!(sock_protocol))
}

/// The TCP socket of a connection: MPTCP's own socket stands above its first one.
#[inline(always)]
pub fn of_tcp(socket: u64) -> u64 {
    if protocol(socket) == IPPROTO_MPTCP { read_or_zero(socket, offset!(mptcp_first)) } else { socket }
}

/// `sk->sk_state`, or 0.
#[inline(always)]
pub fn state(socket: u64) -> u8 {
    read_or_zero(socket, offset!(sock_state))
}

/// `sk->sk_type`, or 0.
#[inline(always)]
pub fn kind(socket: u64) -> u32 {
    u32::from(read_or_zero::<u16>(socket, offset!(sock_type)))
}

/// Whether the port numbers of a datagram socket mean ports.
#[inline(always)]
pub fn has_ports(socket: u64) -> bool {
    matches!(protocol(socket), IPPROTO_UDP | IPPROTO_UDPLITE) && kind(socket) == SOCK_DGRAM
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
    // `struct sock_common` begins with what is asked for most; sockets of IPv6 have their addresses further on.
    let common = Start::<3>::of(socket);
    let family = common.get(offset!(sock_family));
    if family == AF_INET {
        *first_four(&mut tuple.source) = common.get(offset!(sock_saddr));
        *first_four(&mut tuple.destination) = common.get(offset!(sock_daddr));
    } else if family == AF_INET6 {
        read_into(&mut tuple.source, socket, offset!(sock_v6_saddr));
        read_into(&mut tuple.destination, socket, offset!(sock_v6_daddr));
    } else {
        return;
    }
    tuple.family = family;
    tuple.protocol = protocol(socket);
    tuple.source_port = common.get(offset!(sock_num));
    tuple.destination_port = u16::from_be(common.get(offset!(sock_dport)));
}

/// Writes into link-local addresses of the socket which interface they belong to (`Tuple::SCOPE_AT`).
#[inline(always)]
pub fn write_scopes(socket: u64, record: &mut Tuple) {
    if record.family == AF_INET6 {
        let device: u32 = read_or_zero(socket, offset!(sock_bound_dev));
        for address in [&mut record.source, &mut record.destination] {
            write_scope(address, device);
        }
    }
}

/// Writes the interface into the address if that is link-local.
#[inline(always)]
pub fn write_scope(address: &mut [u8; 16], device: u32) {
    if is_link_local(address) {
        // SAFETY: four bytes of sixteen.
        unsafe { *(&raw mut address[Tuple::SCOPE_AT]).cast::<[u8; 4]>() = device.to_ne_bytes() };
    }
}

/// `fe80::/10` (RFC 4291 §2.5.6): what it means depends on the interface.
#[inline(always)]
pub fn is_link_local(address: &[u8; 16]) -> bool {
    address[0] == 0xfe && address[1] & 0xc0 == 0x80
}

/// [`tuple`] of a socket that is closed: it has given its port back by then, but remembers it.
#[inline(always)]
pub fn tuple_at_close(socket: u64, record: &mut Tuple) {
    tuple(socket, record);
    if record.source_port == 0 {
        record.source_port = u16::from_be(read_or_zero(socket, offset!(sock_sport)));
    }
}

/// Local and remote port of a socket that may be closed, as one number.
#[inline(always)]
pub fn ports_at_close(socket: u64) -> u32 {
    let local: u16 = read_or_zero(socket, offset!(sock_sport));
    let remote: u16 = read_or_zero(socket, offset!(sock_dport));
    u32::from(local) << 16 | u32::from(remote)
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
