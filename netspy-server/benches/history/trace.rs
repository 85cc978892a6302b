//! A synthetic trace: raw records as the kernel side writes them, from a fixed pseudo-random mix.
//!
//! Of ten connections six are established and closed, two are refused, two are inbound; of the established ones
//! one in twenty stays open for a while. 400 processes of 40 programs, a few of which make most connections; one
//! that is rare; 25 usual destinations of each, and a program that goes everywhere.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use netspy_common::{
    ABI_VERSION, AcceptRecord, CloseRecord, ConnectRecord, DropRecord, OutcomeRecord, closer, kind, role,
};
use netspy_server::domain::{Clock, FlowReading, Input, Rest, Ring, Source};
use rustix::time::{ClockId, clock_gettime};

/// A day and two minutes before the measurement began, ns since 1970: questions about "the last day" are about this trace.
pub(super) static BEGIN_NS: LazyLock<i64> = LazyLock::new(|| Clock::System.now_ns() - DAY_NS - 2 * MINUTE_NS);
pub(super) const DAY_NS: i64 = 86_400_000_000_000;
const MINUTE_NS: i64 = 60 * SECOND_NS;
const SECOND_NS: i64 = 1_000_000_000;
/// Name of a process with one in a hundred thousand connections.
pub(super) const RARE: &str = "rare";

/// Records handed over at once.
const AT_ONCE: usize = 4_096;
/// Connections for which a long one stays open.
const LONG: u64 = 20_000;

/// A source of records.
pub(super) struct Trace {
    connections: u64,
    next: u64,
    /// ns since 1970 of the first, and between two.
    begin_ns: i64,
    step_ns: i64,
    /// Whether a connection is handed over only when its time has come.
    live: bool,
    random: u64,
    /// Records to come of connections that stay open, by the connection at which they are due.
    open: VecDeque<(u64, Vec<u8>)>,
    records: Arc<AtomicU64>,
    finished: Arc<AtomicBool>,
}

impl Trace {
    /// Evenly spread over a day.
    pub(super) fn of_a_day(connections: u64) -> Self {
        Self::new(connections, *BEGIN_NS, DAY_NS)
    }

    /// All in the minute after that day.
    pub(super) fn of_the_next_minute(connections: u64) -> Self {
        Self::new(connections, *BEGIN_NS + DAY_NS, MINUTE_NS)
    }

    /// All in the minute before this moment.
    pub(super) fn of_the_last_minute(connections: u64) -> Self {
        Self::new(connections, Clock::System.now_ns() - MINUTE_NS, MINUTE_NS)
    }

    /// All in the minute after this moment, each when its time has come.
    pub(super) fn of_the_minute_to_come(per_second: u64) -> Self {
        let connections = per_second * (MINUTE_NS / SECOND_NS).cast_unsigned();
        Self { live: true, ..Self::new(connections, Clock::System.now_ns(), MINUTE_NS) }
    }

    fn new(connections: u64, begin_ns: i64, length_ns: i64) -> Self {
        Self {
            connections,
            next: 0,
            begin_ns,
            step_ns: length_ns / connections.max(1).cast_signed(),
            random: 0x9e37_79b9_7f4a_7c15,
            live: false,
            open: VecDeque::new(),
            records: Arc::default(),
            finished: Arc::default(),
        }
    }

    pub(super) fn connections(&self) -> u64 {
        self.connections
    }

    /// Counts the records handed over.
    pub(super) fn records(&self) -> Arc<AtomicU64> {
        self.records.clone()
    }

    /// Set when the last was.
    pub(super) fn finished(&self) -> Arc<AtomicBool> {
        self.finished.clone()
    }

    /// Whether there is a next connection by now.
    fn is_due(&self) -> bool {
        let begins_ns = || self.begin_ns + self.step_ns * self.next.cast_signed();
        self.next < self.connections && (!self.live || begins_ns() <= Clock::System.now_ns())
    }

    /// xorshift64*
    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    /// The records of the next connection, in their order.
    fn connection(&mut self, out: &mut Vec<(Ring, Vec<u8>)>) {
        let n = self.next;
        self.next += 1;
        let time_ns = (self.begin_ns + self.step_ns * n.cast_signed()).cast_unsigned();
        let key = Key { socket: 0xffff_8880_0000_0000 + n % 65_536 * 64, started_ns: time_ns };
        // The lower of two: the first processes and destinations are the busiest.
        let process = self.below(400).min(self.below(400));
        let to = (process % 40 * 25 + self.below(25).min(self.below(25))) as u32;
        let who = if n % 100_000 == 77 { Who::rare() } else { Who::of(process) };
        let wanders = who.program == 13;
        let address = if wanders { 0xc600_0000 + self.below(1 << 20) as u32 } else { 0x5db8_0000 + to };
        let local = ([10, 0, 0, 1], 32_768 + (n % 28_000) as u16);
        let remote = (address.to_be_bytes(), [443, 80, 5432, 53][to as usize % 4]);
        let inbound = n % 10 >= 8;
        let ends = if inbound { (([10, 0, 0, 1], 8_080), (remote.0, local.1)) } else { (local, remote) };
        let nobody = Who::default();
        let role = if inbound { role::INBOUND } else { role::OUTBOUND };
        let asks = if inbound { &nobody } else { &who };
        out.push((Ring::Events, connect(time_ns, key, asks, ends, role)));
        if n % 50 == 3 {
            out.push((Ring::Drops, dropped(time_ns + 10_000, key, &who, ends)));
        }
        let after_ns = time_ns + 50_000 + self.below(1_000_000);
        match n % 10 {
            6 | 7 => return out.push((Ring::Events, outcome(after_ns, key, ends, 111))),
            8 | 9 => out.push((Ring::Events, accept(after_ns, key, &who))),
            _ => out.push((Ring::Events, outcome(after_ns, key, ends, 0))),
        }
        let traffic = (100 + self.below(3_000), 200 + self.below(60_000));
        let end_ns = after_ns + 100_000 + self.below(20_000_000);
        let close = close(end_ns, key, ends, traffic);
        if n % 20 == 5 {
            self.open.push_back((n + LONG, close));
        } else {
            out.push((Ring::Events, close));
        }
        while self.open.front().is_some_and(|(due, _)| *due <= n || n + 1 == self.connections) {
            out.extend(self.open.pop_front().map(|(_, close)| (Ring::Events, close)));
        }
    }
}

impl Source for Trace {
    fn drain(&mut self, take: &mut dyn FnMut(Input<'_>)) -> io::Result<bool> {
        if self.next == 0 {
            take(Input::Clock { wall_minus_monotonic_ns: 0 });
        }
        let mut records = Vec::with_capacity(AT_ONCE + 8);
        while records.len() < AT_ONCE && self.is_due() {
            self.connection(&mut records);
        }
        self.records.fetch_add(records.len() as u64, Ordering::Relaxed);
        for (ring, bytes) in &records {
            take(Input::Record { ring: *ring, bytes });
        }
        self.finished.store(self.next == self.connections, Ordering::Release);
        Ok(self.is_due())
    }

    fn settle(&mut self, _take: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn read_flows(&mut self, _: &[FlowReading], _: &mut dyn FnMut(Input<'_>)) -> io::Result<()> {
        Ok(())
    }

    fn rests(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    fn rest(&mut self) -> io::Result<Rest> {
        Ok(Rest::of(Duration::from_millis(5)))
    }

    fn monotonic_ns(&self) -> u64 {
        if self.finished.load(Ordering::Acquire) {
            return u64::MAX; // nothing is later
        }
        let now = clock_gettime(ClockId::Monotonic);
        now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
    }
}

#[derive(Clone, Copy)]
struct Key {
    socket: u64,
    started_ns: u64,
}

type Address = ([u8; 4], u16);

#[derive(Default)]
struct Who {
    pid: u32,
    program: u64,
    name: [u8; 16],
}

impl Who {
    fn of(process: u64) -> Self {
        let program = process % 40;
        Self { pid: 1_000 + process as u32, program, name: padded(&format!("program-{program}")) }
    }

    fn rare() -> Self {
        Self { pid: 7, program: 99, name: padded(RARE) }
    }
}

fn padded(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    bytes
}

/// Writes the fields of a record one after the other.
struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u16, length: usize, time_ns: u64) -> Self {
        let mut bytes = Vec::with_capacity(length);
        bytes.extend(ABI_VERSION.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((length as u32).to_ne_bytes());
        Self(bytes).longs([time_ns])
    }

    fn longs<const N: usize>(mut self, values: [u64; N]) -> Self {
        self.0.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
        self
    }

    fn words<const N: usize>(mut self, values: [u32; N]) -> Self {
        self.0.extend(values.iter().flat_map(|value| value.to_ne_bytes()));
        self
    }

    fn key(self, key: Key) -> Self {
        self.longs([key.socket, key.started_ns])
    }

    fn task(self, who: &Who) -> Self {
        let mut filled = self.words([who.pid, who.pid, 1_000, 0]).longs([9, u64::from(who.pid)]);
        filled.0.extend(who.name);
        filled.0.extend(who.name);
        filled
    }

    fn ends(mut self, (source, destination): (Address, Address)) -> Self {
        for address in [source.0, destination.0] {
            self.0.extend(address);
            self.0.extend([0; 12]);
        }
        for half in [source.1, destination.1, libc::AF_INET as u16, libc::IPPROTO_TCP as u16] {
            self.0.extend(half.to_ne_bytes());
        }
        self
    }
}

const NETNS: u32 = 4_026_531_840;

fn connect(time_ns: u64, key: Key, who: &Who, ends: (Address, Address), role: u32) -> Vec<u8> {
    Writer::new(kind::CONNECT, size_of::<ConnectRecord>(), time_ns)
        .key(key)
        .task(who)
        .ends(ends)
        .words([0, NETNS, role, 1])
        .0
}

fn outcome(time_ns: u64, key: Key, ends: (Address, Address), errno: u32) -> Vec<u8> {
    Writer::new(kind::OUTCOME, size_of::<OutcomeRecord>(), time_ns)
        .key(key)
        .ends(ends)
        .words([u32::from(errno == 0), errno])
        .0
}

fn accept(time_ns: u64, key: Key, who: &Who) -> Vec<u8> {
    Writer::new(kind::ACCEPT, size_of::<AcceptRecord>(), time_ns).key(key).task(who).0
}

fn close(time_ns: u64, key: Key, ends: (Address, Address), traffic: (u64, u64)) -> Vec<u8> {
    Writer::new(kind::CLOSE, size_of::<CloseRecord>(), time_ns)
        .key(key)
        .ends(ends)
        .longs([time_ns - 1_000, traffic.0, traffic.1])
        .words([40 + (traffic.0 % 100) as u32, 0, closer::LOCAL, 0, NETNS, 0])
        .0
}

fn dropped(time_ns: u64, key: Key, who: &Who, ends: (Address, Address)) -> Vec<u8> {
    Writer::new(kind::DROP, size_of::<DropRecord>(), time_ns)
        .longs([0xffff_ffff_8100_0000 + key.started_ns % 8])
        .key(key)
        .task(who)
        .ends(ends)
        .words([2 + (key.started_ns % 5) as u32, 60, 2, NETNS, 0x0800, 1])
        .longs([u64::from_ne_bytes(*b"eth0\0\0\0\0"), 0])
        .0
}
