//! Processes that fill each place that can lose something: this test binary again, told what to fill, in a network
//! namespace of its own.

use std::{
    net::{SocketAddr, TcpStream, UdpSocket},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::actor::{enter_namespace, set_name};

/// The first ports that a connect may be given, and the last.
const PORTS: (u16, u16) = (20_000, 31_999);
/// Where a rule drops every packet on its way out.
const FORBIDDEN: &str = "127.0.0.1:81";
/// And on its way in: nobody answers, not even that nobody is there.
const UNWELCOME: &str = "127.0.0.1:82";

/// What is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Provocation {
    /// So many threads connect so many times each where every port is taken: looking for one takes the kernel long
    /// enough for all threads to be inside the call at once.
    CrowdedConnects { threads: usize, times: usize },
    /// So many threads wait inside connect for an answer that does not come.
    HangingConnects { threads: usize },
    /// So many datagrams that a rule drops while they are sent and, on another processor, so many that one drops when they
    /// have arrived, which interrupts the first.
    Drops { while_sent: usize, arrived: usize },
    /// For so long and until there were so many on each of both processors, datagrams that a rule drops while they are sent:
    /// whoever sends knows of each that it was dropped.
    Flood { seconds: u64, at_least: usize },
}

/// Who did it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Culprit {
    pub pid: u32,
    /// How many packets were dropped, where that is not what it was told.
    pub dropped: u64,
}

/// Runs it to its end.
pub fn run(what: &Provocation) -> Culprit {
    let argument = format!("provoke-{}", serde_json::to_string(what).unwrap());
    let output = Command::new(std::env::current_exe().unwrap())
        .arg(argument)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    assert!(output.status.success(), "the provocation failed: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The other process's side.
pub fn act(argument: &str) {
    set_name("provocation");
    let mut dropped = 0;
    match serde_json::from_str(argument.trim_start_matches("provoke-")).unwrap() {
        Provocation::CrowdedConnects { threads, times } => crowd(threads, times),
        Provocation::HangingConnects { threads } => hang(threads),
        Provocation::Drops { while_sent, arrived } => drop_packets(while_sent, arrived),
        Provocation::Flood { seconds, at_least } => {
            dropped = flood(Duration::from_secs(seconds), at_least);
        }
    }
    let culprit = Culprit { pid: std::process::id(), dropped };
    println!("{}", serde_json::to_string(&culprit).unwrap());
}

fn crowd(threads: usize, times: usize) {
    let range = format!("{} {}", PORTS.0, PORTS.1);
    enter_namespace(&[], &[("net/ipv4/ip_local_port_range".to_owned(), range)]);
    let needed = u64::from(PORTS.1 - PORTS.0) + 100;
    let most = getrlimit(Resource::Nofile).maximum.map(|most| most.max(needed));
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).unwrap();
    let taken = |port: u16| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into()).unwrap();
        socket
    };
    let taken: Vec<_> = (PORTS.0..=PORTS.1).map(taken).collect();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..times {
                    let error = TcpStream::connect("127.0.0.1:9").unwrap_err();
                    assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
                }
            });
        }
    });
    drop(taken);
}

fn hang(threads: usize) {
    let rule = super::scenarios::drop_rule("input");
    enter_namespace(&rule, &[("net/ipv4/tcp_syn_retries".to_owned(), "1".to_owned())]);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| TcpStream::connect(FORBIDDEN).unwrap_err());
        }
    });
}

/// A namespace in which what arrives is worked on by the second processor, which interrupts what it does.
fn enter_dropping_namespace() {
    let system = tempfile::tempdir().unwrap();
    let place = system.path().display();
    let commands = [
        "nft add table inet t".to_owned(),
        "nft add chain inet t c '{ type filter hook output priority 0; }'".to_owned(),
        "nft add rule inet t c udp dport 81 drop".to_owned(),
        "nft add chain inet t i '{ type filter hook input priority 0; }'".to_owned(),
        "nft add rule inet t i udp dport 82 drop".to_owned(),
        format!(
            "mount -t sysfs none {place} && echo 2 > {place}/class/net/lo/queues/rx-0/rps_cpus; umount {place}"
        ),
    ];
    enter_namespace(&commands, &[]);
}

fn drop_packets(while_sent: usize, arrived: usize) {
    enter_dropping_namespace();
    thread::scope(|scope| {
        scope.spawn(|| send(1, FORBIDDEN.parse().unwrap(), |sent| sent < while_sent));
        scope.spawn(|| send(0, UNWELCOME.parse().unwrap(), |sent| sent < arrived));
    });
    // What is under way arrives.
    thread::sleep(Duration::from_millis(100));
}

fn flood(time: Duration, at_least: usize) -> u64 {
    enter_dropping_namespace();
    let (began, forbidden) = (Instant::now(), FORBIDDEN.parse().unwrap());
    thread::scope(|scope| {
        let senders = [0, 1].map(|processor| {
            let goes_on = move |sent| sent < at_least || began.elapsed() < time;
            scope.spawn(move || send(processor, forbidden, goes_on))
        });
        senders.into_iter().map(|sender| sender.join().unwrap() as u64).sum()
    })
}

/// Sends there, from that processor, as long as `goes_on`, which is told how many were sent; says how many were.
fn send(processor: usize, to: SocketAddr, goes_on: impl Fn(usize) -> bool) -> usize {
    let mut set = CpuSet::new();
    set.set(processor);
    sched_setaffinity(None, &set).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut count = 0;
    while goes_on(count) {
        let sent = socket.send_to(b"x", to);
        assert!(sent.is_ok() || sent.unwrap_err().raw_os_error() == Some(libc::EPERM));
        count += 1;
    }
    count
}
