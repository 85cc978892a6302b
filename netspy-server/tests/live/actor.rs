//! The processes that are watched: this test binary again, told what to do. Each reports what it saw itself.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, UdpSocket},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// What an actor is told, as its one argument.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is an independent wish")]
pub struct Part {
    /// Name that the process gives itself (`comm`).
    pub name: String,
    /// Name of the thread that connects, if it is another one.
    pub thread: Option<String>,
    /// Where to connect to.
    pub to: String,
    /// Which address family the socket has, if not that of `to`.
    pub v6_socket: bool,
    /// Do not wait for the outcome inside connect, but with poll.
    pub non_blocking: bool,
    /// Close the socket instead of waiting for the outcome.
    pub close_at_once: bool,
    /// Local address to bind to first.
    pub bind: Option<String>,
    /// Send one UDP datagram of five bytes instead of connecting.
    pub datagram: bool,
    /// Connect this many times, holding every socket that is connected.
    pub times: usize,
    /// Network namespace of its own, prepared by these commands.
    pub namespace: Option<Vec<String>>,
    /// Settings under /proc/sys in that namespace.
    pub sysctl: Vec<(String, String)>,
    /// Listen there before connecting (for a namespace of its own).
    pub listen: Option<String>,
    /// Exit without waiting to be seen.
    pub short_lived: bool,
}

/// What an actor saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub pid: u32,
    pub tid: u32,
    pub uid: u32,
    pub netns: u32,
    /// Of each attempt.
    pub attempts: Vec<Attempt>,
}

/// What one attempt came to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Attempt {
    /// Local end, where the socket still knows it.
    pub source: Option<String>,
    /// 0 or the errno it ended with.
    pub errno: i32,
    /// From before the call to after the outcome, in µs.
    pub took_us: u64,
}

/// Runs a part in a process of its own until its report is in, and lets it go when dropped.
pub struct Actor {
    pub report: Report,
    child: std::process::Child,
}

impl Actor {
    pub fn run(part: &Part) -> Self {
        let argument = format!("act-{}", serde_json::to_string(part).unwrap());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg(argument)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let report = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the actor failed: {line:?}"));
        Self { report, child }
    }

    /// The one attempt of an actor that made one.
    pub fn attempt(&self) -> &Attempt {
        assert_eq!(self.report.attempts.len(), 1);
        &self.report.attempts[0]
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The actor's side.
pub fn act(argument: &str) {
    let part: Part = serde_json::from_str(argument.trim_start_matches("act-")).unwrap();
    set_name(&part.name);
    if let Some(commands) = &part.namespace {
        enter_namespace(commands, &part.sysctl);
    }
    let _listener = part.listen.as_ref().map(|at| std::net::TcpListener::bind(at.as_str()).unwrap());
    let mut report = match &part.thread {
        None => perform(&part),
        Some(name) => std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                set_name(name);
                perform(&part)
            });
            inside.join().unwrap()
        }),
    };
    report.netns = netns();
    println!("{}", serde_json::to_string(&report).unwrap());
    std::io::stdout().flush().unwrap();
    if !part.short_lived {
        // Lives until the test has asked about it.
        let _ = std::io::stdin().read(&mut [0]);
    }
}

/// Any bytes without NUL, as a hostile process would.
fn set_name(name: &str) {
    rustix::thread::set_name(&std::ffi::CString::new(name).unwrap()).unwrap();
}

fn netns() -> u32 {
    let link = fs::read_link("/proc/self/ns/net").unwrap();
    let text = link.to_string_lossy();
    text.trim_start_matches("net:[").trim_end_matches(']').parse().unwrap()
}

fn enter_namespace(commands: &[String], sysctl: &[(String, String)]) {
    // SAFETY: the process has one thread, and nothing in it refers to the namespace it leaves.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }.unwrap();
    let up = "ip link set lo up".to_owned();
    for command in std::iter::once(&up).chain(commands) {
        let status = Command::new("sh").args(["-c", command]).status().unwrap();
        assert!(status.success(), "{command}: {status}");
    }
    for (name, value) in sysctl {
        fs::write(format!("/proc/sys/{name}"), value).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

fn perform(part: &Part) -> Report {
    let mut report = Report {
        pid: std::process::id(),
        tid: rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned(),
        uid: rustix::process::getuid().as_raw(),
        ..Report::default()
    };
    if part.datagram {
        report.attempts.push(send_datagram(part));
        return report;
    }
    let mut held = Vec::new();
    for _ in 0..part.times.max(1) {
        let (attempt, socket) = connect(part);
        held.extend(socket.filter(|_| attempt.errno == 0));
        report.attempts.push(attempt);
    }
    report
}

fn send_datagram(part: &Part) -> Attempt {
    let to: SocketAddr = part.to.parse().unwrap();
    let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.send_to(b"hello", to).unwrap();
    Attempt { source: Some(socket.local_addr().unwrap().to_string()), ..Attempt::default() }
}

fn connect(part: &Part) -> (Attempt, Option<Socket>) {
    let to: SocketAddr = part.to.parse().unwrap();
    let domain = if part.v6_socket { Domain::IPV6 } else { Domain::for_address(to) };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP)).unwrap();
    if let Some(bind) = &part.bind {
        socket.bind(&SockAddr::from(bind.parse::<SocketAddr>().unwrap())).unwrap();
    }
    socket.set_nonblocking(part.non_blocking || part.close_at_once).unwrap();
    let before = Instant::now();
    let mut errno = raw_errno(socket.connect(&SockAddr::from(to)).err());
    if part.close_at_once {
        let source = local(&socket);
        return (Attempt { source, errno, took_us: 0 }, None);
    }
    if errno == libc::EINPROGRESS {
        errno = wait_for_outcome(&socket);
    }
    let took_us = u64::try_from(before.elapsed().as_micros()).unwrap();
    (Attempt { source: local(&socket), errno, took_us }, Some(socket))
}

fn wait_for_outcome(socket: &Socket) -> i32 {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec::try_from(Duration::from_secs(10)).unwrap();
    assert_eq!(poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&limit)).unwrap(), 1);
    raw_errno(socket.take_error().unwrap())
}

fn local(socket: &Socket) -> Option<String> {
    let address = socket.local_addr().ok()?.as_socket()?;
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    (address.port() != 0 && !address.ip().is_unspecified()).then(|| address.to_string())
}

fn raw_errno(error: Option<std::io::Error>) -> i32 {
    error.map_or(0, |error| error.raw_os_error().unwrap())
}
