//! Asking the kernel for the sockets of the current network namespace: `sock_diag(7)`.

use std::{io, net::IpAddr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags, Timer},
    unix::{
        ShowFlags, StateFlags as UnixStateFlags, UnixRequest, UnixResponse,
        nlas::{Nla, UnixDiagName},
    },
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use crate::domain::Endpoint;

/// The kernel fills at most this much at once (`NLMSG_GOODSIZE` and larger on request, netlink(7)).
const BUFFER: usize = 64 << 10;
/// TCP states (`include/net/tcp_states.h`); UDP and UNIX sockets use the same numbers.
const ESTABLISHED: u8 = 1;
const SYN_SENT: u8 = 2;
const CLOSE_WAIT: u8 = 8;
const LISTEN: u8 = 10;

/// What a socket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Connected,
    Connecting,
    Closing,
    Listening,
}

/// A socket as the kernel lists it.
pub(super) struct Found {
    pub(super) state: State,
    pub(super) family: u16,
    pub(super) protocol: u8,
    pub(super) socket_type: u8,
    pub(super) local: Option<Endpoint>,
    pub(super) remote: Option<Endpoint>,
    pub(super) path: Option<String>,
    pub(super) inode: u32,
    /// Inode of the peer, 0 where unknown.
    pub(super) peer: u32,
    pub(super) backlog: Option<u32>,
    pub(super) backlog_limit: Option<u32>,
}

/// Every TCP, UDP and UNIX socket that is connected or waits.
pub(super) fn dump() -> io::Result<Vec<Found>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        for protocol in [libc::IPPROTO_TCP, libc::IPPROTO_UDP] {
            let (family, protocol) = (family as u8, protocol as u8);
            let request = InetRequest {
                family,
                protocol,
                extensions: ExtensionFlags::empty(),
                states: StateFlags::all() - StateFlags::TIME_WAIT - StateFlags::SYN_RECV,
                socket_id: if i32::from(family) == libc::AF_INET {
                    SocketId::new_v4()
                } else {
                    SocketId::new_v6()
                },
            };
            ask(&socket, SockDiagMessage::InetRequest(request), |answer| {
                if let SockDiagMessage::InetResponse(answer) = answer {
                    found.extend(internet(&answer, protocol));
                }
            })?;
        }
    }
    let request = UnixRequest {
        state_flags: UnixStateFlags::all(),
        inode: 0,
        show_flags: ShowFlags::NAME | ShowFlags::PEER | ShowFlags::RQLEN,
        cookie: [0xff; 8],
    };
    ask(&socket, SockDiagMessage::UnixRequest(request), |answer| {
        if let SockDiagMessage::UnixResponse(answer) = answer {
            found.extend(unix(&answer));
        }
    })?;
    Ok(found)
}

/// Sends a request and hands over each part of the answer.
fn ask(socket: &Socket, request: SockDiagMessage, mut take: impl FnMut(SockDiagMessage)) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, request.into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = socket.recv(&mut &mut buffer[..], 0)?;
        let mut rest = buffer.get(..length).unwrap_or_default();
        while !rest.is_empty() {
            let answer = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(io::Error::other)?;
            match answer.payload {
                NetlinkPayload::InnerMessage(part) => take(part),
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
            // Messages are aligned to four bytes (netlink(3)).
            let next = (answer.header.length as usize).next_multiple_of(4).max(4);
            rest = rest.get(next..).unwrap_or_default();
        }
    }
}

fn internet(answer: &InetResponse, protocol: u8) -> Option<Found> {
    let header = &answer.header;
    let id = &header.socket_id;
    let stream = i32::from(protocol) == libc::IPPROTO_TCP;
    // What is left of a closed socket while a packet may still come: it calls itself `FIN_WAIT2` until the peer's FIN is
    // there (net/ipv4/inet_diag.c, inet_twsk_diag_fill).
    if header.timer == Some(Timer::TimeWait) {
        return None;
    }
    let state = match header.state {
        LISTEN => State::Listening,
        SYN_SENT if stream => State::Connecting,
        _ if stream && header.inode == 0 && !matches!(header.state, ESTABLISHED | CLOSE_WAIT) => {
            State::Closing
        }
        _ if stream => State::Connected,
        // A flow of datagrams begins with its next datagram.
        ESTABLISHED => return None,
        _ => State::Listening,
    };
    let backlog = stream && state == State::Listening;
    Some(Found {
        state,
        family: u16::from(header.family),
        protocol,
        socket_type: if stream { libc::SOCK_STREAM } else { libc::SOCK_DGRAM } as u8,
        local: endpoint(id.source_address, id.source_port, id.interface_id),
        remote: endpoint(id.destination_address, id.destination_port, id.interface_id)
            .filter(|_| state != State::Listening),
        path: None,
        inode: header.inode,
        peer: 0,
        backlog: backlog.then_some(header.recv_queue),
        backlog_limit: backlog.then_some(header.send_queue),
    })
}

/// `interface` is the socket's, which a link-local address belongs to.
fn endpoint(ip: IpAddr, port: u16, interface: u32) -> Option<Endpoint> {
    let scope = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()).then_some(interface).unwrap_or(0);
    (port != 0 || !ip.is_unspecified()).then_some(Endpoint { ip, port, scope })
}

fn unix(answer: &UnixResponse) -> Option<Found> {
    let header = &answer.header;
    let listens = header.state == LISTEN;
    let (mut path, mut peer, mut queue) = (None, 0, None);
    for attribute in &answer.nlas {
        match attribute {
            Nla::Name(UnixDiagName::Pathname(name)) => path = Some(name.to_string_lossy().into_owned()),
            Nla::Name(UnixDiagName::Abstract(name)) => {
                path = Some(format!("@{}", String::from_utf8_lossy(name)));
            }
            Nla::Peer(inode) => peer = *inode,
            Nla::ReceiveQueueLength(waiting, limit) if listens => {
                queue = Some((*waiting, *limit));
            }
            _ => {}
        }
    }
    let state = match header.state {
        LISTEN => State::Listening,
        ESTABLISHED => State::Connected,
        // Before 5.15 a datagram socket does not say that it is connected.
        _ if peer != 0 => State::Connected,
        _ => return None,
    };
    Some(Found {
        state,
        family: libc::AF_UNIX as u16,
        protocol: 0,
        socket_type: header.kind,
        local: None,
        remote: None,
        path,
        inode: header.inode,
        peer,
        backlog: queue.map(|queue| queue.0),
        backlog_limit: queue.map(|queue| queue.1),
    })
}
