//! What a `struct sock` says about itself.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_socket_cookie, bpf_skc_to_tcp_sock};
use netspy_common::Tuple;

use crate::{
    kernel::{Start, Struct, Typed, gives_cookies, offset, read_or_zero},
    maps::Followed,
};

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
pub const IPPROTO_ICMP: u16 = 1;
pub const SOCK_STREAM: u32 = 1;
pub const SOCK_DGRAM: u32 = 2;
pub const SOCK_RAW: u32 = 3;
pub const IPPROTO_TCP: u16 = 6;
pub const IPPROTO_UDP: u16 = 17;
pub const IPPROTO_ICMPV6: u16 = 58;
pub const IPPROTO_UDPLITE: u16 = 136;
pub const IPPROTO_MPTCP: u16 = 262;
/// State of a datagram socket that is connected: `TCP_ESTABLISHED` (include/net/tcp_states.h).
pub const CONNECTED: u8 = 1;

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

/// Whether the socket that is followed is still the one at `socket`, as far as its cookie tells.
#[inline(always)]
pub fn is_still(followed: &Followed, socket: u64) -> bool {
    followed.cookie == 0 || followed.cookie == read_or_zero(socket, offset!(sock_cookie))
}

/// `sk->sk_type` and `sk->sk_protocol`, or zeroes: neighbours on the kernels known so far.
#[inline(always)]
pub fn kind_and_protocol(socket: u64) -> (u32, u16) {
    if offset!(sock_protocol) == offset!(sock_type).wrapping_add(2) {
        let [low, high, third, fourth] = read_or_zero::<[u8; 4]>(socket, offset!(sock_type));
        (u32::from(u16::from_ne_bytes([low, high])), u16::from_ne_bytes([third, fourth]))
    } else {
        (u32::from(read_or_zero::<u16>(socket, offset!(sock_type))), protocol(socket))
    }
}

/// `sk->sk_family`, or 0.
#[inline(always)]
pub fn family(socket: u64) -> u16 {
    read_or_zero(socket, offset!(sock_family))
}

/// Words of eight bytes that hold `struct sock_common` up to its network namespace; sockets of IPv6 have their addresses
/// further on.
const COMMON: usize = 7;

/// What is asked for most of a socket.
pub struct Socket<S = Start<COMMON>> {
    /// The `struct sock`.
    pub address: u64,
    fields: S,
    /// `sk->sk_type`, or 0.
    pub kind: u32,
    /// `sk->sk_protocol`, or 0.
    pub protocol: u16,
}

impl Socket {
    /// Copied at once. Zeroes where there is nothing at `address`.
    #[inline(always)]
    pub fn of(address: u64) -> Self {
        let (kind, protocol) = kind_and_protocol(address);
        Self::of_kind(address, kind, protocol)
    }

    /// The same of one whose type and protocol are known.
    #[inline(always)]
    pub fn of_kind(address: u64, kind: u32, protocol: u16) -> Self {
        Self { address, fields: Start::of(address), kind, protocol }
    }
}

impl Socket<Typed> {
    /// The TCP socket at `socket`, of which the verifier must know that it is one; `None` for one of another protocol.
    #[inline(always)]
    pub fn of_tcp(socket: u64) -> Option<Self> {
        // SAFETY: the helper checks what it is given.
        let address = unsafe { bpf_skc_to_tcp_sock(socket as *mut c_void) } as u64;
        if address == 0 {
            return None;
        }
        // SAFETY: the helper returns a `struct tcp_sock`.
        let fields = unsafe { Typed::of(address) };
        let kind = u32::from(fields.get::<u16>(offset!(sock_type)));
        Some(Self { address, fields, kind, protocol: IPPROTO_TCP })
    }

    /// A number that no other socket has or will have (`sk->sk_cookie`); 0 on kernels before 5.12.
    #[inline(always)]
    pub fn cookie(&self) -> u64 {
        // SAFETY: the verifier knows that it is a socket.
        if gives_cookies() { unsafe { bpf_get_socket_cookie(self.address as *mut c_void) } } else { 0 }
    }
}

impl<S: Struct> Socket<S> {
    /// Any of its fields; zeroes where the kernel has none.
    #[inline(always)]
    pub fn get<T: Copy + Default>(&self, offset: u32) -> T {
        self.fields.get(offset)
    }

    /// `sk->sk_family`, or 0.
    #[inline(always)]
    pub fn family(&self) -> u16 {
        self.get(offset!(sock_family))
    }

    /// `sk->sk_state`, or 0.
    #[inline(always)]
    pub fn state(&self) -> u8 {
        self.get(offset!(sock_state))
    }

    /// `sk->sk_num`: the local port, or 0 while none is bound.
    #[inline(always)]
    pub fn local_port(&self) -> u16 {
        self.get(offset!(sock_num))
    }

    /// Whether the port numbers of a datagram socket mean ports.
    #[inline(always)]
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, IPPROTO_UDP | IPPROTO_UDPLITE) && self.kind == SOCK_DGRAM
    }

    /// Inode number of its network namespace, or 0.
    #[inline(always)]
    pub fn netns(&self) -> u32 {
        self.fields.at(offset!(sock_net)).get(offset!(net_inum))
    }

    /// Writes its own address into a zeroed one.
    #[inline(always)]
    pub fn local(&self, address: &mut [u8; 16]) {
        if self.family() == AF_INET6 {
            self.write_v6(address, offset!(sock_v6_saddr));
        } else {
            *first_four(address) = self.get(offset!(sock_saddr));
        }
    }

    /// Writes its remote address into a zeroed one, and gives its remote port.
    #[inline(always)]
    pub fn remote(&self, address: &mut [u8; 16]) -> u16 {
        if self.family() == AF_INET6 {
            self.write_v6(address, offset!(sock_v6_daddr));
        } else {
            *first_four(address) = self.get(offset!(sock_daddr));
        }
        u16::from_be(self.get(offset!(sock_dport)))
    }

    /// Writes the IPv6 address at `offset`, by words: a zeroed array to copy it into would need a call.
    #[inline(always)]
    fn write_v6(&self, address: &mut [u8; 16], offset: u32) {
        let words = (&raw mut *address).cast::<u32>();
        for at in 0..4 {
            // SAFETY: four words are sixteen bytes, and may be written at any address.
            unsafe { words.add(at).write_unaligned(self.get(offset.saturating_add(at as u32 * 4))) };
        }
    }

    /// Writes its own view into a zeroed tuple: source is local, destination remote. Leaves it zeroed for a socket that
    /// is not of the internet.
    #[inline(always)]
    pub fn write(&self, tuple: &mut Tuple) {
        let family = self.family();
        if !matches!(family, AF_INET | AF_INET6) {
            return;
        }
        self.local(&mut tuple.source);
        tuple.destination_port = self.remote(&mut tuple.destination);
        tuple.family = family;
        tuple.protocol = self.protocol;
        tuple.source_port = self.local_port();
    }

    /// Writes into link-local addresses of the tuple which interface they belong to (`Tuple::SCOPE_AT`).
    #[inline(always)]
    pub fn write_scopes(&self, tuple: &mut Tuple) {
        if tuple.family == AF_INET6 {
            for address in [&mut tuple.source, &mut tuple.destination] {
                write_scope(address, self.device());
            }
        }
    }

    /// [`Socket::write`] of one that is closed: it has given its port back by then, but remembers it.
    #[inline(always)]
    pub fn write_at_close(&self, tuple: &mut Tuple) {
        self.write(tuple);
        if tuple.source_port == 0 {
            tuple.source_port = u16::from_be(self.get(offset!(sock_sport)));
        }
    }

    /// Index of the interface that it is bound to, or 0.
    #[inline(always)]
    pub fn device(&self) -> u32 {
        self.get(offset!(sock_bound_dev))
    }

    /// Local and remote port, also when it is closed, as one number.
    #[inline(always)]
    pub fn ports(&self) -> u32 {
        as_one(self.get(offset!(sock_sport)), self.get(offset!(sock_dport)))
    }
}

/// [`Socket::ports`] of one of which nothing else is asked.
#[inline(always)]
pub fn ports(socket: u64) -> u32 {
    as_one(read_or_zero(socket, offset!(sock_sport)), read_or_zero(socket, offset!(sock_dport)))
}

/// The remote one of such ports, in network order: of an attempt it is known from the beginning.
#[inline(always)]
pub fn remote_port(ports: u32) -> u16 {
    ports as u16
}

#[inline(always)]
fn as_one(local: u16, remote: u16) -> u32 {
    u32::from(local) << 16 | u32::from(remote)
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
