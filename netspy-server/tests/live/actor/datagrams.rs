//! An actor that exchanges datagrams, and counts them.

use std::{
    io::{ErrorKind, Read},
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Attempt, Part, local, raw_errno};

/// What is sent to `Part::to` and received from anybody, through each of `Part::times` sockets.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent wish")]
pub struct Datagrams {
    /// Connect first.
    pub connect: bool,
    /// Payload of each datagram that is sent, in bytes.
    pub send: Vec<usize>,
    /// Receive the first one before anything is sent, and send to where it came from.
    pub answer: bool,
    /// How many are received after that.
    pub receive: usize,
    /// How many are only looked at before (`MSG_PEEK`).
    pub peek: usize,
    /// ICMP echo instead of UDP.
    pub ping: bool,
    /// The same through a raw socket.
    pub raw: bool,
    /// Answer them, at `Part::to`, in the same process.
    pub echo: bool,
    /// Close the socket at the end.
    pub close: bool,
}

/// What a socket's calls said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub packets_sent: u64,
    pub bytes_sent: u64,
    pub packets_received: u64,
    pub bytes_received: u64,
}

/// Sends every datagram back from a thread of this process; where it is.
pub fn echo(at: SocketAddr) -> SocketAddr {
    let socket = UdpSocket::bind(at).unwrap();
    let at = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    at
}

impl Datagrams {
    /// Each socket's report, and the sockets that are still open.
    pub(super) fn exchange(&self, part: &Part) -> (Vec<Attempt>, Vec<Socket>) {
        let to = (!part.to.is_empty()).then(|| part.to.parse().unwrap());
        if let Some(to) = to.filter(|_| self.echo) {
            echo(to);
        }
        let mut held = Vec::new();
        let attempts = (0..part.times.max(1)).map(|_| {
            let (attempt, socket) = self.exchange_once(part, to);
            held.extend(socket);
            attempt
        });
        (attempts.collect(), held)
    }

    fn exchange_once(&self, part: &Part, to: Option<SocketAddr>) -> (Attempt, Option<Socket>) {
        let began = Instant::now();
        let mut socket = self.socket(part, to);
        let mut attempt = Attempt::default();
        let mut to = to.map(SockAddr::from);
        if self.answer {
            let mut buffer = [std::mem::MaybeUninit::uninit(); 2048];
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            attempt.counters.packets_received += 1;
            attempt.counters.bytes_received += length as u64;
            to = Some(from);
        }
        if self.connect {
            attempt.errno = raw_errno(socket.connect(to.as_ref().unwrap()).err());
        }
        for size in &self.send {
            let sent = match (self.connect, &to) {
                (false, Some(to)) => socket.send_to(&self.message(*size), to),
                _ => socket.send(&self.message(*size)),
            };
            match sent {
                Ok(length) => {
                    attempt.counters.packets_sent += 1;
                    attempt.counters.bytes_sent += length as u64;
                }
                Err(error) => attempt.errno = raw_errno(Some(error)),
            }
        }
        for _ in 0..self.peek {
            socket.peek(&mut [std::mem::MaybeUninit::uninit(); 2048]).unwrap();
        }
        for _ in 0..self.receive {
            match socket.read(&mut [0; 2048]) {
                Ok(length) => {
                    attempt.counters.packets_received += 1;
                    attempt.counters.bytes_received += length as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing came"),
                Err(error) => attempt.errno = raw_errno(Some(error)),
            }
        }
        attempt.took_us = u64::try_from(began.elapsed().as_micros()).unwrap();
        attempt.source = local(&socket);
        let held = (!self.close).then_some(socket);
        attempt.lasted_us = u64::try_from(began.elapsed().as_micros()).unwrap();
        (attempt, held)
    }

    fn socket(&self, part: &Part, to: Option<SocketAddr>) -> Socket {
        let bind = part.bind.as_ref().map(|bind| bind.parse::<SocketAddr>().unwrap());
        let domain = match bind.or(to) {
            _ if part.v6_socket => Domain::IPV6,
            Some(address) => Domain::for_address(address),
            None => Domain::IPV4,
        };
        let (kind, protocol) = match (self.raw, self.ping) {
            (true, _) => (Type::RAW, Protocol::ICMPV4),
            (_, true) => (Type::DGRAM, Protocol::ICMPV4),
            _ => (Type::DGRAM, Protocol::UDP),
        };
        let socket = Socket::new(domain, kind, Some(protocol)).unwrap();
        if let Some(bind) = bind {
            socket.bind(&SockAddr::from(bind)).unwrap();
        }
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    /// An echo request (RFC 792) where it is one.
    fn message(&self, size: usize) -> Vec<u8> {
        let mut message = vec![0; size];
        if self.ping || self.raw {
            message[0] = 8;
            // The checksum of nothing but the type.
            message[2..4].copy_from_slice(&(!0x0800_u16).to_be_bytes());
        }
        message
    }
}
