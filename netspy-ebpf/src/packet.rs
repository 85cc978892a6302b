//! From a `struct sk_buff` to the two ends of the packet in it. Only what lies inside the linear part of
//! the buffer is read; a header that does not fit is not guessed.

use netspy_common::Tuple;

use crate::{
    kernel::{Struct, offset, read, read_into, read_or_zero},
    socket::{self, AF_INET, AF_INET6},
};

pub const ETH_P_IP: u16 = 0x0800;
const ETH_P_IPV6: u16 = 0x86dd;
const ETH_P_8021Q: u16 = 0x8100;
const ETH_P_8021AD: u16 = 0x88a8;

/// Inode number of the network namespace that the packet in `skb` is in: its device's, or its socket's; or 0.
///
/// What lies behind `skb->dev` is copied and never loaded, even where the verifier would allow it: there may be no device, or
/// something else in its place (`dev_scratch` of a queued datagram), and a load that faults ends 5.10.
#[inline(always)]
pub fn netns<S: Struct>(socket: u64, skb: &S) -> u32 {
    let device: u64 = skb.get(offset!(skb_dev));
    let net: u64 = read_or_zero(device, offset!(dev_net));
    if net != 0 { read_or_zero(net, offset!(net_inum)) } else { socket::netns(socket) }
}

/// The linear part of a packet buffer.
#[derive(Clone, Copy)]
pub struct Packet {
    head: u64,
    tail: u32,
    /// Where the network header starts, from `head`; 0 where it is not set.
    network: u32,
    /// `EtherType` in host order, 0 where it is not set.
    pub ether_type: u16,
}

impl Packet {
    /// The packet in a `struct sk_buff`.
    #[inline(always)]
    pub fn of<S: Struct>(skb: &S) -> Self {
        let network: u16 = skb.get(offset!(skb_network_header));
        let mut packet = Self {
            head: skb.get(offset!(skb_head)),
            tail: skb.get(offset!(skb_tail)),
            network: if network == u16::MAX { 0 } else { u32::from(network) },
            ether_type: u16::from_be(skb.get(offset!(skb_protocol))),
        };
        if packet.ether_type == ETH_P_8021Q || packet.ether_type == ETH_P_8021AD {
            packet.skip_vlan_tag();
        }
        packet
    }

    /// A tag is two bytes of its own and the EtherType that follows it.
    #[inline(always)]
    fn skip_vlan_tag(&mut self) {
        if let Some(tag) = self.at::<[u8; 4]>(self.network) {
            self.ether_type = u16::from_be_bytes([tag[2], tag[3]]);
            self.network += 4;
        }
    }

    /// Whether it says that it is IP.
    #[inline(always)]
    pub fn is_ip(&self) -> bool {
        self.network != 0 && (self.ether_type == ETH_P_IP || self.ether_type == ETH_P_IPV6)
    }

    /// A `T` at `offset` from `head`, if all of it is inside.
    #[inline(always)]
    fn at<T: Copy>(&self, offset: u32) -> Option<T> {
        if self.network == 0 || offset + size_of::<T>() as u32 > self.tail {
            return None;
        }
        read(self.head, offset)
    }

    /// Writes both ends into a zeroed tuple; leaves it zeroed where the headers do not tell.
    #[inline(always)]
    pub fn tuple(&self, tuple: &mut Tuple) {
        if self.ether_type == ETH_P_IP {
            self.ipv4(tuple);
        } else if self.ether_type == ETH_P_IPV6 {
            self.ipv6(tuple);
        }
    }

    /// RFC 791 §3.1
    #[inline(always)]
    fn ipv4(&self, tuple: &mut Tuple) {
        let Some(header) = self.at::<[u8; 20]>(self.network) else { return };
        let length = u32::from(header[0] & 0xf) * 4;
        if header[0] >> 4 != 4 || length < 20 {
            return;
        }
        tuple.family = AF_INET;
        tuple.protocol = u16::from(header[9]);
        *socket::first_four(&mut tuple.source) = [header[12], header[13], header[14], header[15]];
        *socket::first_four(&mut tuple.destination) = [header[16], header[17], header[18], header[19]];
        let first_fragment = header[6] & 0x1f == 0 && header[7] == 0;
        if first_fragment {
            self.ports(tuple, self.network + length);
        }
    }

    /// RFC 8200 §3; the extension headers are of its §4 and of RFC 4302 §2.
    #[inline(always)]
    fn ipv6(&self, tuple: &mut Tuple) {
        // Version, and eight bytes on the length, next header and hop limit; the addresses follow.
        let Some(header) = self.at::<[u8; 8]>(self.network) else { return };
        if header[0] >> 4 != 6 || self.network + 40 > self.tail {
            return;
        }
        read_into(&mut tuple.source, self.head, self.network + 8);
        read_into(&mut tuple.destination, self.head, self.network + 24);
        let mut next = header[6];
        let mut offset = self.network + 40;
        let mut first_fragment = true;
        for _ in 0..6 {
            if !matches!(next, 0 | 43 | 44 | 51 | 60) {
                break;
            }
            let Some(extension) = self.at::<[u8; 4]>(offset) else { break };
            let units = u32::from(extension[1]);
            if next == 44 {
                offset += 8;
                first_fragment = extension[2] == 0 && extension[3] & 0xf8 == 0;
            } else if next == 51 {
                offset += (units + 2) * 4;
            } else {
                offset += (units + 1) * 8;
            }
            next = extension[0];
        }
        tuple.family = AF_INET6;
        tuple.protocol = u16::from(next);
        if first_fragment {
            self.ports(tuple, offset);
        }
    }

    /// TCP, UDP, DCCP, SCTP and UDP-Lite all begin with source and destination port.
    #[inline(always)]
    fn ports(&self, tuple: &mut Tuple, offset: u32) {
        if !matches!(tuple.protocol, 6 | 17 | 33 | 132 | 136) {
            return;
        }
        if let Some(ports) = self.at::<[u8; 4]>(offset) {
            tuple.source_port = u16::from_be_bytes([ports[0], ports[1]]);
            tuple.destination_port = u16::from_be_bytes([ports[2], ports[3]]);
        }
    }
}
