//! The processes that are watched: this test binary again, told what to do. Each reports what it saw itself.

mod datagrams;
mod talk;
mod unix;

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::{fd::RawFd, unix::process::CommandExt},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

pub use datagrams::{Counters, Datagrams, echo};
pub use talk::{End, Talk};
pub use unix::Unix;

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
    /// Send UDP datagrams of five bytes, as often as `times` says, instead of connecting.
    pub datagram: bool,
    /// Exchange datagrams instead of connecting.
    pub datagrams: Option<Datagrams>,
    /// Connect or send this many times, holding every socket that is connected.
    pub times: usize,
    /// Network namespace of its own, prepared by these commands.
    pub namespace: Option<Vec<String>>,
    /// Settings under /proc/sys in that namespace.
    pub sysctl: Vec<(String, String)>,
    /// Listen there before connecting (for a namespace of its own).
    pub listen: Option<String>,
    /// Connect this UNIX socket instead.
    pub unix: Option<Unix>,
    /// Become this user first.
    pub uid: Option<u32>,
    /// Exit without waiting to be seen.
    pub short_lived: bool,
    /// Close each connected socket at once instead of holding it.
    pub hang_up: bool,
    /// What to do with a connection.
    pub talk: Option<Talk>,
    /// Accept this many connections on the listener at descriptor 3 instead of connecting.
    pub accept: usize,
    /// Keep the connections until the process ends.
    pub hold: bool,
    /// Listen with `IPPROTO_MPTCP`.
    pub listen_mptcp: bool,
    /// `IPPROTO_MPTCP` instead of `IPPROTO_TCP`.
    pub mptcp: bool,
    /// Send the first bytes with the SYN (`MSG_FASTOPEN`).
    pub fast_open: bool,
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
    /// The error that the conversation ended with.
    pub end_errno: i32,
    /// From before the call to after the socket was closed, in µs.
    pub lasted_us: u64,
    /// What the kernel told about the conversation before the socket was closed (`TCP_INFO`): segments sent again, and
    /// smoothed RTT in µs.
    pub retransmits: u32,
    pub srtt_us: u32,
    /// Of datagrams.
    pub counters: Counters,
}

/// Runs a part in a process of its own until its report is in, and lets it go when dropped.
pub struct Actor {
    pub report: Report,
    child: std::process::Child,
}

impl Actor {
    pub fn run(part: &Part) -> Self {
        Self::start(part).wait()
    }

    /// Runs a part without waiting for its report.
    pub fn start(part: &Part) -> Started {
        Started(command(part).spawn().unwrap())
    }

    /// The same, with a listener of this process as descriptor 3.
    pub fn start_with(part: &Part, listener: RawFd) -> Started {
        let mut command = command(part);
        // SAFETY: dup2 may be called between fork and exec.
        unsafe {
            command.pre_exec(move || {
                // Nothing is duplicated if it already is 3: then it only is to survive the exec.
                if libc::dup2(listener, 3) == -1 || libc::fcntl(3, libc::F_SETFD, 0) == -1 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        Started(command.spawn().unwrap())
    }
}

fn command(part: &Part) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(format!("act-{}", serde_json::to_string(part).unwrap()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// An actor whose report is not in yet.
pub struct Started(std::process::Child);

impl Started {
    pub fn wait(mut self) -> Actor {
        let child = &mut self.0;
        let mut line = String::new();
        let mut output = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let report = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the actor failed: {line:?}"));
        Actor { report, child: self.0 }
    }
}

impl Actor {
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
    let listener = part.listen.as_ref().map(|at| listen(at.parse().unwrap(), part.listen_mptcp));
    if let (Some(talk), Some(listener)) = (part.talk.clone(), &listener) {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            while let Ok((socket, _)) = listener.accept() {
                talk.answer(socket);
            }
        });
    }
    if let Some(uid) = part.uid {
        // SAFETY: the process has one thread.
        assert_eq!(unsafe { libc::setuid(uid) }, 0);
    }
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
pub fn set_name(name: &str) {
    rustix::thread::set_name(&std::ffi::CString::new(name).unwrap()).unwrap();
}

pub fn netns() -> u32 {
    let link = fs::read_link("/proc/self/ns/net").unwrap();
    let text = link.to_string_lossy();
    text.trim_start_matches("net:[").trim_end_matches(']').parse().unwrap()
}

pub fn enter_namespace(commands: &[String], sysctl: &[(String, String)]) {
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

fn listen(at: SocketAddr, mptcp: bool) -> std::net::TcpListener {
    let protocol = if mptcp { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(protocol)).unwrap();
    socket.bind(&SockAddr::from(at)).unwrap();
    socket.listen(16).unwrap();
    socket.into()
}

fn perform(part: &Part) -> Report {
    let mut report = Report {
        pid: std::process::id(),
        tid: rustix::thread::gettid().as_raw_nonzero().get().cast_unsigned(),
        uid: rustix::process::getuid().as_raw(),
        ..Report::default()
    };
    if let Some(unix) = &part.unix {
        report.attempts.push(unix.connect(part.non_blocking));
        return report;
    }
    if part.datagram {
        report.attempts.push(send_datagram(part));
        return report;
    }
    if let Some(datagrams) = &part.datagrams {
        let (attempts, held) = datagrams.exchange(part);
        std::mem::forget(held); // until the process ends
        report.attempts = attempts;
        return report;
    }
    if part.accept > 0 {
        accept_inherited(part.accept);
        return report;
    }
    let mut held = Vec::new();
    for _ in 0..part.times.max(1) {
        let began = Instant::now();
        let (mut attempt, socket) = connect(part);
        if let (Some(talk), Some(socket), 0) = (&part.talk, &socket, attempt.errno) {
            attempt.end_errno = talk.begin(socket);
            (attempt.retransmits, attempt.srtt_us) = tcp_info(socket);
        }
        if part.talk.is_none() && !part.hang_up {
            held.extend(socket.filter(|_| attempt.errno == 0));
        } else {
            drop(socket);
            attempt.lasted_us = u64::try_from(began.elapsed().as_micros()).unwrap();
        }
        report.attempts.push(attempt);
    }
    if part.hold {
        std::mem::forget(held);
    }
    report
}

/// Accepts on a listener that another process made, and closes what it accepted.
fn accept_inherited(times: usize) {
    use std::os::fd::FromRawFd;
    // SAFETY: the parent put a listening socket there for this process alone.
    let listener = unsafe { std::net::TcpListener::from_raw_fd(3) };
    for _ in 0..times {
        listener.accept().unwrap();
    }
}

fn send_datagram(part: &Part) -> Attempt {
    let to: SocketAddr = part.to.parse().unwrap();
    let any = if to.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
    let socket = std::net::UdpSocket::bind(any).unwrap();
    for _ in 0..part.times.max(1) {
        socket.send_to(b"hello", to).unwrap();
    }
    Attempt { source: Some(socket.local_addr().unwrap().to_string()), ..Attempt::default() }
}

fn connect(part: &Part) -> (Attempt, Option<Socket>) {
    let to: SocketAddr = part.to.parse().unwrap();
    let domain = if part.v6_socket { Domain::IPV6 } else { Domain::for_address(to) };
    let protocol = if part.mptcp { Protocol::MPTCP } else { Protocol::TCP };
    let socket = Socket::new(domain, Type::STREAM, Some(protocol)).unwrap();
    if let Some(bind) = &part.bind {
        socket.bind(&SockAddr::from(bind.parse::<SocketAddr>().unwrap())).unwrap();
    }
    socket.set_nonblocking(part.non_blocking || part.close_at_once).unwrap();
    let before = Instant::now();
    let mut errno = if part.fast_open {
        raw_errno(socket.send_to_with_flags(b"early", &SockAddr::from(to), libc::MSG_FASTOPEN).err())
    } else {
        raw_errno(socket.connect(&SockAddr::from(to)).err())
    };
    if part.close_at_once {
        let source = local(&socket);
        return (Attempt { source, errno, ..Attempt::default() }, None);
    }
    if errno == libc::EINPROGRESS {
        errno = wait_for_outcome(&socket);
    }
    let took_us = u64::try_from(before.elapsed().as_micros()).unwrap();
    (Attempt { source: local(&socket), errno, took_us, ..Attempt::default() }, Some(socket))
}

fn wait_for_outcome(socket: &Socket) -> i32 {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec::try_from(Duration::from_secs(10)).unwrap();
    assert_eq!(poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&limit)).unwrap(), 1);
    raw_errno(socket.take_error().unwrap())
}

fn tcp_info(socket: &Socket) -> (u32, u32) {
    use std::os::fd::AsRawFd;
    // SAFETY: integers; the length is theirs.
    let info = unsafe {
        let mut info: libc::tcp_info = std::mem::zeroed();
        let mut length = size_of_val(&info) as libc::socklen_t;
        let into = (&raw mut info).cast();
        assert_eq!(
            libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, into, &raw mut length),
            0
        );
        info
    };
    (info.tcpi_total_retrans, info.tcpi_rtt)
}

fn local(socket: &Socket) -> Option<String> {
    let address = socket.local_addr().ok()?.as_socket()?;
    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
    (address.port() != 0 && !address.ip().is_unspecified()).then(|| address.to_string())
}

fn raw_errno(error: Option<std::io::Error>) -> i32 {
    error.map_or(0, |error| error.raw_os_error().unwrap())
}
