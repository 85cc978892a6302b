//! A server on loopback with a history to ask, and a client that sends exactly the bytes it is given.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use netspy_server::access::{self, Door};
use netspy_server::domain::{
    Attribution, Backlog, Barrier, Batch, Check, Clock, Connection, Counted, CountedKind, Endpoint,
    ExistingSocket, History, HistoryError, Hook, HookState, Identity, Loss, LossKind, LossPlace, Outcome,
    PacketDirection, PacketDrop, Process, ProgramCost, Programs, Refusal, Sink, SocketRole, Sockets, Stage,
    Thread, Told, Trouble, TroubleKind,
};
use netspy_server::feed::Feed;
use netspy_server::http::{Api, ApiState};
use netspy_server::store::{self, SqliteSink};
use serde_json::Value;

/// 2026-11-21T00:52:16.5Z
pub(crate) const NOW: i64 = 1_795_222_336_500_000_000;
pub(crate) const SECOND: i64 = 1_000_000_000;

/// Counts its calls; may write something or fail when it is waited for.
#[derive(Default)]
pub(crate) struct TestBarrier {
    pub(crate) calls: AtomicUsize,
    pub(crate) writes: Mutex<Batch>,
    pub(crate) fails: Mutex<Option<String>>,
    /// Why the store takes nothing.
    pub(crate) unwritten: Mutex<Option<String>>,
    pub(crate) feed: Arc<Feed>,
    sink: Mutex<Option<SqliteSink>>,
}

impl Barrier for TestBarrier {
    fn ask(&self, told: Told) {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let failure = |message: &Mutex<Option<String>>| {
            message.lock().unwrap().clone().map_or(Ok(()), |message| Err(HistoryError(message)))
        };
        let reached = failure(&self.fails)
            .and_then(|()| self.write(std::mem::take(&mut *self.writes.lock().unwrap())))
            .map(|()| failure(&self.unwritten));
        told(reached);
    }
}

impl TestBarrier {
    /// Into the history, and nobody is told.
    pub(crate) fn record_silently(&self, batch: &Batch) {
        self.sink.lock().unwrap().as_mut().unwrap().write(batch).unwrap();
    }

    /// As the pipeline does it: into the history, then to who follows.
    fn write(&self, batch: Batch) -> Result<(), HistoryError> {
        if let Some(sink) = self.sink.lock().unwrap().as_mut() {
            let lost = sink.write(&batch)?;
            if !batch.is_empty() {
                self.feed.wrote(batch);
                self.feed.lost(&lost);
            }
        }
        Ok(())
    }
}

/// Programs of which these cost something, and these are gone.
#[derive(Default)]
pub(crate) struct TestPrograms {
    pub(crate) costs: Mutex<Option<Vec<ProgramCost>>>,
    pub(crate) detached: Mutex<Vec<String>>,
}

impl Programs for TestPrograms {
    fn costs(&self) -> Option<Vec<ProgramCost>> {
        self.costs.lock().unwrap().clone()
    }

    fn detached(&self) -> Vec<String> {
        self.detached.lock().unwrap().clone()
    }
}

/// Stops when it is dropped, with the runtime that it runs on.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) barrier: Arc<TestBarrier>,
    pub(crate) programs: Arc<TestPrograms>,
    _runtime: tokio::runtime::Runtime,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

impl Server {
    pub(crate) fn empty() -> Self {
        Self::start(&Batch::default(), hooks(HookState::Active))
    }

    pub(crate) fn with(batch: &Batch) -> Self {
        Self::start(batch, hooks(HookState::Active))
    }

    pub(crate) fn start(batch: &Batch, hooks: Vec<Hook>) -> Self {
        let (sink, history) = store::open_temporary().unwrap();
        let barrier = TestBarrier { sink: Mutex::new(Some(sink)), ..TestBarrier::default() };
        barrier.write(batch.clone()).unwrap();
        Self::serve(Arc::new(history), barrier, hooks)
    }

    /// A server over another history than the real one.
    pub(crate) fn over(history: Arc<dyn History>) -> Self {
        Self::serve(history, TestBarrier::default(), hooks(HookState::Active))
    }

    fn serve(history: Arc<dyn History>, barrier: TestBarrier, hooks: Vec<Hook>) -> Self {
        let (barrier, programs) = (Arc::new(barrier), Arc::new(TestPrograms::default()));
        let state = ApiState {
            history,
            barrier: barrier.clone(),
            clock: Clock::Frozen(NOW),
            sockets: Arc::new(TwoListeners),
            feed: barrier.feed.clone(),
            programs: programs.clone(),
            hooks: hooks.into(),
            allowed_hosts: Arc::new(["monitor.lan".to_owned()]),
            answers: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            // Whoever drops the sender says stop: it lives as long as the runtime.
            let (_go_on, stopped) = tokio::sync::watch::channel(false);
            access::serve(vec![Door::Tcp(listener)], Api::of(state), None, stopped).await.unwrap();
        });
        Self { address, barrier, programs, _runtime: runtime }
    }

    /// Something happens.
    pub(crate) fn record(&self, batch: Batch) {
        self.barrier.write(batch).unwrap();
    }

    /// Sends `bytes` and reads until the server closes.
    pub(crate) fn send(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn request(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let host = if headers.contains("Host:") { "" } else { "Host: localhost:8080\r\n" };
        let length = body.len();
        let mut bytes = format!(
            "{method} {target} HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Length: {length}\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body);
        self.send(&bytes)
    }

    /// The answer of a GET that must succeed.
    pub(crate) fn get(&self, target: &str) -> Value {
        let answer = self.request("GET", target, "", b"");
        assert_eq!(answer.status, 200, "GET {target}: {}", answer.body);
        answer.json()
    }

    /// The answer of a POST that must succeed.
    pub(crate) fn post(&self, target: &str, body: &str) -> Value {
        let answer = self.request("POST", target, "", body.as_bytes());
        assert_eq!(answer.status, 200, "POST {target} {body}: {}", answer.body);
        answer.json()
    }
}

pub(crate) fn hooks(state: HookState) -> Vec<Hook> {
    let connection = Hook {
        event: "connection",
        rung: "kprobe",
        state: HookState::Active,
        refused: Vec::new(),
        remarks: Vec::new(),
        check: Check::Passed,
    };
    let refused = vec![Refusal {
        rung: "fentry",
        reason: "no function tcp_drop".to_owned(),
        remedy: "another kernel".to_owned(),
    }];
    let remarks = vec!["without reasons".to_owned()];
    let check = Check::Undone("no loopback".to_owned());
    vec![connection, Hook { event: "packet_drop", rung: "tracepoint", state, refused, remarks, check }]
}

#[expect(clippy::unnecessary_wraps, reason = "as the fields it fills want it")]
pub(crate) fn end(ip: &str, port: u16) -> Option<Endpoint> {
    Some(Endpoint { ip: ip.parse().unwrap(), port, scope: 0 })
}

pub(crate) fn process(pid: u32, comm: &str) -> Process {
    Process {
        pid,
        tid: pid,
        uid: 1000,
        cgroup_id: 5,
        started_ns: 3,
        comm: comm.into(),
        name: comm.into(),
        identity: Identity { exe: Some(format!("/usr/bin/{comm}")), ..Identity::default() }.into(),
    }
}

/// An attempt `ago` seconds before now.
pub(crate) fn attempt(id: u64, ago: i64, pid: u32, comm: &str, outcome: Outcome) -> Connection {
    Connection {
        id,
        monotonic_ns: u64::MAX - ago as u64,
        wall_ns: NOW - ago * SECOND,
        process: process(pid, comm).into(),
        family: 2,
        source: end("10.0.0.1", 40_000),
        destination: end("93.184.216.34", 443),
        protocol: 6,
        netns: 1,
        outcome,
        ..Connection::default()
    }
}

/// A drop `ago` seconds before now; of nobody with pid 0.
pub(crate) fn packet_drop(id: u64, ago: i64, pid: u32, reason: &str) -> PacketDrop {
    PacketDrop {
        id,
        monotonic_ns: u64::MAX - ago as u64,
        wall_ns: NOW - ago * SECOND,
        owner: (pid != 0).then(|| process(pid, "curl").into()),
        attribution: if pid == 0 { Attribution::None } else { Attribution::Socket },
        reason_code: Some(u32::MAX),
        reason: reason.into(),
        location: "tcp_v4_rcv+0x84".into(),
        family: 2,
        protocol: 6,
        source: end("10.0.0.2", 443),
        destination: end("10.0.0.1", 40_000),
        length: u32::MAX,
        ether_type: 0x0800,
        direction: Some(PacketDirection::Received),
        interface: 2,
        interface_name: "eth0".into(),
        netns: 1,
    }
}

/// Trouble `ago` seconds before now; of nobody with pid 0.
pub(crate) fn trouble(id: u64, ago: i64, pid: u32, kind: TroubleKind) -> Trouble {
    Trouble {
        id,
        kind,
        monotonic_ns: u64::MAX - ago as u64,
        wall_ns: NOW - ago * SECOND,
        owner: (pid != 0).then(|| process(pid, "curl").into()),
        attribution: if pid == 0 { Attribution::None } else { Attribution::Socket },
        reason: None,
        family: 2,
        source: end("10.0.0.2", 443),
        destination: end("10.0.0.1", 40_000),
        netns: 1,
        length: 1_448,
        backlog: (kind == TroubleKind::ListenOverflow).then_some(Backlog { waiting: 129, limit: 128 }),
    }
}

/// Events without records.
pub(crate) fn counted(id: u64, ago: i64, pid: u32, kind: CountedKind, count: u64) -> Counted {
    let owner = (pid != 0).then(|| process(pid, "curl").into());
    let (reason, location) = ("NO_SOCKET".into(), "udp_rcv+0x1".into());
    Counted { id, wall_ns: NOW - ago * SECOND, kind, reason, location, owner, count }
}

/// A little of everything, at known moments.
pub(crate) fn sample() -> Batch {
    let refused = Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: 9_000 };
    let mut mapped = attempt(6, 50, 777, "snapd", Outcome::Pending);
    (mapped.family, mapped.destination) = (10, end("::ffff:1.2.3.4", 65_535));
    Batch {
        connections: vec![
            attempt(1, 10, 4242, "curl", Outcome::Established { latency_ns: 12_345_678 }),
            attempt(2, 20, 4242, "curl", refused),
            attempt(3, 30, 4243, "curl", Outcome::Aborted { after_ns: 1 }),
            attempt(4, 60, u32::MAX, "systemd-resolve", Outcome::Pending),
            attempt(5, 61, 1, "old", Outcome::Pending),
            mapped,
            attempt(7, 3_601, 1, "older", Outcome::Pending),
        ],
        drops: vec![
            packet_drop(1, 5, 4242, "NO_SOCKET"),
            packet_drop(2, 15, 0, "NETFILTER_DROP"),
            packet_drop(3, 25, 0, "NO_SOCKET"),
            packet_drop(4, 90, 4242, "NO_SOCKET"),
            packet_drop(5, 4_000, 0, "NO_SOCKET"),
        ],
        losses: vec![
            Loss {
                wall_ns: NOW - SECOND,
                place: LossPlace::EventsRingFull,
                kind: LossKind::Unknown,
                count: 3,
            },
            Loss {
                wall_ns: NOW - 1_000 * SECOND,
                place: LossPlace::Store,
                kind: LossKind::Connection,
                count: 4,
            },
            Loss {
                wall_ns: NOW - 5_000 * SECOND,
                place: LossPlace::Store,
                kind: LossKind::Connection,
                count: 5,
            },
        ],
        ..Batch::default()
    }
}

/// A machine on which one process listens twice, and is connected once.
struct TwoListeners;

impl Sockets for TwoListeners {
    fn existing(&self) -> Result<Vec<ExistingSocket>, HistoryError> {
        let mut name = [0; 16];
        name[..4].copy_from_slice(b"sshd");
        let socket = ExistingSocket {
            role: SocketRole::Listener,
            family: 2,
            protocol: 6,
            socket_type: 1,
            local: Some(Endpoint { ip: [127, 0, 0, 1].into(), port: 22, scope: 0 }),
            remote: None,
            path: None,
            peer_pid: None,
            netns: 4_026_531_840,
            inode: 4711,
            owner: Some(Thread { pid: 42, tid: 42, comm: name, name, ..Thread::default() }),
            backlog: Some(3),
            backlog_limit: Some(128),
        };
        let connected = ExistingSocket { role: SocketRole::Inbound, ..socket.clone() };
        let path = Some("@sshd".to_owned());
        let unix =
            ExistingSocket { family: 1, protocol: 0, local: None, path, owner: None, ..socket.clone() };
        Ok(vec![unix, connected, socket])
    }
}
