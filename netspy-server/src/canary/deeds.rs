//! What the server does itself at start, over the loopback, and what the system says about it: the truth that
//! records are compared with.

use std::{
    fs, io,
    io::{Read, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{fd::AsFd, unix::fs::MetadataExt},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{AddressFamily, SocketType, bind, connect, netdevice::name_to_index, socket},
};

/// Nothing on the loopback takes longer, unless a rule drops it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Inodes of the initial namespaces (`include/linux/proc_ns.h`): only there are the kernel's numbers ours.
const INITIAL_PID: u64 = 0xEFFF_FFFC;
const INITIAL_TIME: u64 = 0xEFFF_FFFA;
/// User ids that mean the same to the kernel as to us (`/proc/self/uid_map`).
const SAME_IDS: [&str; 3] = ["0", "0", "4294967295"];

/// Who this is. `None` where this process, in a namespace, cannot know what the kernel calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Me {
    pub(super) pid_and_tid: Option<(u32, u32)>,
    pub(super) uid: Option<u32>,
    /// Start of the process, in hundredths of a second since boot.
    pub(super) started_ticks: Option<u64>,
    pub(super) thread: String,
    pub(super) process: String,
    /// Inode number of the network namespace.
    pub(super) netns: u32,
    /// Index of the loopback interface.
    pub(super) loopback: u32,
}

/// A connection that is established, carries payload both ways, and is closed by the side that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) took_us: u64,
}

/// An attempt that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// `None` where the attempt never got a port.
    pub(super) source: Option<SocketAddr>,
    pub(super) destination: SocketAddr,
    pub(super) errno: u32,
}

/// A datagram to a port on which nobody listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Datagram {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) payload: u32,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Deeds {
    pub(super) me: Me,
    pub(super) exchange: Exchange,
    /// By an answer of the peer; over IPv4, and over IPv6 where there is any.
    pub(super) refused: Vec<Failure>,
    /// By the call itself, before anything was sent.
    pub(super) at_once: Failure,
    pub(super) datagram: Datagram,
}

/// Does it. An error says why it could not be done.
pub(super) fn perform() -> Result<Deeds, String> {
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let on = |what: &'static str| move |error: io::Error| format!("{what} over the loopback failed: {error}");
    let me = me().map_err(|error| format!("/proc cannot be read: {error}"))?;
    let exchange = exchange(loopback).map_err(on("a connection"))?;
    let mut refused = vec![refused(loopback).map_err(on("a connection to a closed port"))?];
    refused.extend(self::refused(SocketAddr::from((Ipv6Addr::LOCALHOST, 0))).ok());
    let at_once = at_once(loopback).map_err(on("a connection to a broadcast address"))?;
    let datagram = datagram(loopback).map_err(on("a datagram"))?;
    Ok(Deeds { me, exchange, refused, at_once, datagram })
}

fn me() -> io::Result<Me> {
    let number_of = |namespace: &str| fs::metadata(format!("/proc/self/ns/{namespace}")).map(|ns| ns.ino());
    let name = |path: &str| fs::read_to_string(path).map(|name| name.trim_end_matches('\n').to_owned());
    let pid_and_tid = (std::process::id(), rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs());
    let maps_ids = fs::read_to_string("/proc/self/uid_map")?.split_whitespace().eq(SAME_IDS);
    // Before 5.6 there are no time namespaces.
    let counts_from_boot = number_of("time").map_or(true, |number| number == INITIAL_TIME);
    let any = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(Me {
        pid_and_tid: (number_of("pid")? == INITIAL_PID).then_some(pid_and_tid),
        uid: maps_ids.then(|| rustix::process::getuid().as_raw()),
        started_ticks: started_ticks(&fs::read_to_string("/proc/self/stat")?).filter(|_| counts_from_boot),
        thread: name("/proc/thread-self/comm")?,
        process: name("/proc/self/comm")?,
        netns: u32::try_from(number_of("net")?).map_err(io::Error::other)?,
        loopback: name_to_index(&any, "lo")?,
    })
}

/// Field 22 of `/proc/PID/stat`; the name before it may contain anything, but ends at the last parenthesis.
fn started_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// A TCP socket that gives up in time, bound to an address of its own if it is told to.
fn client(to: SocketAddr, bound: Option<SocketAddr>) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let client = TcpStream::from(socket(family, SocketType::STREAM, None)?);
    client.set_write_timeout(Some(PATIENCE))?;
    client.set_read_timeout(Some(PATIENCE))?;
    if let Some(address) = bound {
        bind(&client, &address)?;
    }
    Ok(client)
}

fn exchange(on: SocketAddr) -> io::Result<Exchange> {
    let listener = TcpListener::bind(on)?;
    let server = listener.local_addr()?;
    let begun = std::time::Instant::now();
    let mut near = client(server, Some(on))?;
    connect(&near, &server)?;
    let client = near.local_addr()?;
    wait_for(&listener)?;
    let (mut far, _) = listener.accept()?;
    far.set_read_timeout(Some(PATIENCE))?;
    let (question, answer) = (b"netspy asks", b"and answers itself");
    near.write_all(question)?;
    far.read_exact(&mut [0; 11])?;
    far.write_all(answer)?;
    near.read_exact(&mut [0; 18])?;
    drop(near);
    // Its end: only then is the other side the second to close.
    if far.read(&mut [0])? != 0 {
        return Err(io::Error::other("somebody else spoke"));
    }
    drop(far);
    let took_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    Ok(Exchange { client, server, sent: question.len() as u64, received: answer.len() as u64, took_us })
}

fn wait_for(listener: &TcpListener) -> io::Result<()> {
    let limit = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    match poll(&mut [PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN)], Some(&limit))? {
        0 => Err(io::ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

/// A port that is bound, but not listened on, refuses, and nobody else can take it meanwhile.
fn refused(on: SocketAddr) -> io::Result<Failure> {
    let closed = client(on, Some(on))?;
    let failure = failure(closed.local_addr()?, Some(on))?;
    if failure.errno == libc::ECONNREFUSED.unsigned_abs() {
        return Ok(failure);
    }
    Err(io::Error::from_raw_os_error(failure.errno.cast_signed()))
}

/// A broadcast address has no route for TCP, whatever the routes are (`tcp_v4_connect`). The port is one that nobody else has
/// meanwhile: another server that starts must not be taken for this one.
fn at_once(on: SocketAddr) -> io::Result<Failure> {
    let own = client(on, Some(on))?;
    failure((Ipv4Addr::new(127, 255, 255, 255), own.local_addr()?.port()).into(), None)
}

fn failure(destination: SocketAddr, bound: Option<SocketAddr>) -> io::Result<Failure> {
    let client = client(destination, bound)?;
    let source = bound.map(|_| client.local_addr()).transpose()?;
    match connect(&client, &destination) {
        Ok(()) => Err(io::Error::other("it was expected to fail")),
        Err(error) => Ok(Failure { source, destination, errno: error.raw_os_error().unsigned_abs() }),
    }
}

/// The answer says that nobody listened: then the kernel has dropped the datagram.
fn datagram(on: SocketAddr) -> io::Result<Datagram> {
    let destination = UdpSocket::bind(on)?.local_addr()?;
    let sender = UdpSocket::bind(on)?;
    sender.set_read_timeout(Some(PATIENCE))?;
    sender.connect(destination)?;
    let payload = b"netspy";
    sender.send(payload)?;
    match sender.recv(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            let source = sender.local_addr()?;
            Ok(Datagram { source, destination, payload: payload.len() as u32 })
        }
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other("somebody answered")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deeds_are_what_they_claim() {
        let deeds = perform().unwrap();
        assert_eq!(deeds.refused[0].errno, libc::ECONNREFUSED.unsigned_abs());
        assert_eq!(deeds.at_once.errno, libc::ENETUNREACH.unsigned_abs());
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, deeds.at_once.destination.port()));
        assert_ne!(deeds.at_once.destination, perform().unwrap().at_once.destination, "another server's");
        assert_ne!(deeds.exchange.client.port(), 0);
        assert_ne!(deeds.datagram.source.port(), deeds.datagram.destination.port());
    }

    #[test]
    fn a_hostile_name_does_not_move_the_field() {
        let fields: Vec<String> = (3..=30).map(|field| field.to_string()).collect();
        assert_eq!(started_ticks(&format!("1 (a) b) 9) {}", fields.join(" "))), Some(22));
        assert_eq!(started_ticks("garbage"), None);
    }
}
