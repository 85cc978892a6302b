//! From single records to connections with an outcome and drops with an owner. Pure: time is what the
//! records say, so replaying a recording gives what the live run gave.

use std::collections::{BTreeMap, HashMap, VecDeque};

use netspy_common::MAX_SOCKETS;

use crate::{
    decode::{RawConnect, RawDrop, RawOutcome},
    domain::{
        Attribution, Batch, Connection, Endpoint, Loss, LossPlace, Outcome, PacketDrop, Process, Stage,
    },
};

/// How long a drop waits for the connection that it belongs to, in ns: without kprobes the source port of
/// an attempt is only known with its outcome, which comes right after the drop that caused it.
pub const DROP_PATIENCE_NS: u64 = 20_000_000;

/// A connection's two ends in its network namespace.
type TupleKey = (u32, u8, Endpoint, Endpoint);

/// Who used a tuple, and until when.
struct TupleOwner {
    process: Process,
    /// `CLOCK_MONOTONIC` in ns; a failed attempt owns nothing afterwards.
    until_ns: u64,
}

/// Follows attempts until their outcome, and drops until their owner is known.
pub struct Tracker {
    wall_minus_monotonic_ns: i64,
    /// By start and socket: the oldest is the first.
    pending: BTreeMap<(u64, u64), Connection>,
    tuples: HashMap<TupleKey, TupleOwner>,
    /// Keys of `tuples` in order of arrival: the oldest go first.
    tuple_ages: VecDeque<TupleKey>,
    held: VecDeque<PacketDrop>,
    drops_seen: u64,
    /// The latest monotonic time that a record or the source told.
    latest_ns: u64,
}

impl Tracker {
    /// Knows nothing yet; wall time starts out equal to monotonic time.
    pub fn new() -> Self {
        Self {
            wall_minus_monotonic_ns: 0,
            pending: BTreeMap::new(),
            tuples: HashMap::new(),
            tuple_ages: VecDeque::new(),
            held: VecDeque::new(),
            drops_seen: 0,
            latest_ns: 0,
        }
    }

    /// From now on wall time is monotonic time plus this.
    pub fn set_clock(&mut self, wall_minus_monotonic_ns: i64) {
        self.wall_minus_monotonic_ns = wall_minus_monotonic_ns;
    }

    /// Wall time of a monotonic time, both in ns.
    pub fn wall_ns(&self, monotonic_ns: u64) -> i64 {
        i64::try_from(monotonic_ns).unwrap_or(i64::MAX).saturating_add(self.wall_minus_monotonic_ns)
    }

    /// The latest monotonic time that a record or the source told, in ns.
    pub fn latest_ns(&self) -> u64 {
        self.latest_ns
    }

    /// Adds to the ledger what was found lost at `monotonic_ns`; one entry a second and place.
    pub fn lost(&self, monotonic_ns: u64, place: LossPlace, count: u64, batch: &mut Batch) {
        let wall_ns = self.wall_ns(monotonic_ns);
        let same = |known: &&mut Loss| known.place == place && wall_ns - known.wall_ns < 1_000_000_000;
        match batch.losses.iter_mut().rev().find(same) {
            Some(known) => known.count += count,
            None => batch.losses.push(Loss { wall_ns, place, count }),
        }
    }

    /// Whether drops are still waiting for their owner.
    pub fn holds_drops(&self) -> bool {
        !self.held.is_empty()
    }

    /// An attempt: a new connection in `batch`.
    pub fn connect(&mut self, attempt: RawConnect, batch: &mut Batch) {
        let RawConnect { time_ns, key, process, ends, errno, netns } = attempt;
        let wall_ns = self.wall_ns(time_ns);
        let connection = Connection {
            id: mix(mix(wall_ns.cast_unsigned()) ^ key.socket),
            monotonic_ns: time_ns,
            wall_ns,
            process,
            family: ends.family,
            source: ends.source.filter(|source| source.port != 0),
            destination: ends.destination,
            protocol: ends.protocol,
            netns,
            outcome: match errno {
                0 => Outcome::Pending,
                errno => Outcome::Failed { errno, stage: Stage::of_call(errno), after_ns: 0 },
            },
        };
        if errno == 0 {
            self.remember_tuple(&connection, u64::MAX);
            // The kernel follows no more than this; an attempt whose outcome was lost must not stay for ever.
            if self.pending.len() >= MAX_SOCKETS as usize {
                self.pending.pop_first();
            }
            self.pending.insert((key.started_ns, key.socket), connection.clone());
        }
        put(batch, connection);
    }

    /// An outcome; `false` when its attempt was never seen.
    pub fn outcome(&mut self, outcome: &RawOutcome, batch: &mut Batch) -> bool {
        let RawOutcome { time_ns, key, ends, established, errno } = *outcome;
        let Some(mut connection) = self.pending.remove(&(key.started_ns, key.socket)) else { return false };
        let after_ns = time_ns.saturating_sub(key.started_ns);
        connection.outcome = match (established, errno) {
            (true, _) => Outcome::Established { latency_ns: after_ns },
            (false, 0) => Outcome::Aborted { after_ns },
            (false, errno) => {
                Outcome::Failed { errno, stage: failed_stage(connection.source, errno), after_ns }
            }
        };
        if let Some(source) = ends.source.filter(|source| source.port != 0) {
            connection.source = Some(source);
        }
        if let Some(destination) = ends.destination.filter(|end| end.port != 0 && !end.ip.is_unspecified()) {
            connection.destination = Some(destination);
        }
        self.remember_tuple(&connection, if established { u64::MAX } else { time_ns });
        put(batch, connection);
        true
    }

    /// A drop: into `batch` at once if the kernel knew its owner, otherwise when [`Tracker::advance`] says.
    pub fn dropped(&mut self, raw: RawDrop, reason: String, location: String, batch: &mut Batch) {
        let wall_ns = self.wall_ns(raw.time_ns);
        self.drops_seen += 1;
        let attribution = if raw.owner.is_some() { Attribution::Socket } else { Attribution::None };
        let drop = PacketDrop {
            id: mix(mix(wall_ns.cast_unsigned()) ^ self.drops_seen),
            monotonic_ns: raw.time_ns,
            wall_ns,
            owner: raw.owner,
            attribution,
            reason_code: raw.reason,
            reason,
            location,
            family: raw.ends.family,
            protocol: raw.ends.protocol,
            source: raw.ends.source,
            destination: raw.ends.destination,
            length: raw.length,
            ether_type: raw.ether_type,
            interface: raw.interface,
            netns: raw.netns,
        };
        let may_find_owner =
            attribution == Attribution::None && i32::from(drop.protocol) == libc::IPPROTO_TCP;
        if may_find_owner { self.held.push_back(drop) } else { batch.drops.push(drop) }
    }

    /// It is `monotonic_ns` (`u64::MAX`: nothing more will come): drops that have waited long enough get the owner that is known by now.
    pub fn advance(&mut self, monotonic_ns: u64, batch: &mut Batch) {
        if monotonic_ns != u64::MAX {
            self.latest_ns = self.latest_ns.max(monotonic_ns);
        }
        while let Some(drop) = self.held.front() {
            if drop.monotonic_ns.saturating_add(DROP_PATIENCE_NS) > monotonic_ns {
                break;
            }
            if let Some(mut drop) = self.held.pop_front() {
                if let Some(owner) = self.owner_of(&drop) {
                    drop.owner = Some(owner);
                    drop.attribution = Attribution::Tuple;
                }
                batch.drops.push(drop);
            }
        }
    }

    /// The owner of the connection that a packet with this tuple travels on, in either direction.
    fn owner_of(&self, drop: &PacketDrop) -> Option<Process> {
        let (source, destination) = (drop.source?.canonical(), drop.destination?.canonical());
        let sent = (drop.netns, drop.protocol, source, destination);
        let received = (drop.netns, drop.protocol, destination, source);
        [sent, received].iter().find_map(|key| {
            let owner = self.tuples.get(key)?;
            (drop.monotonic_ns <= owner.until_ns).then(|| owner.process.clone())
        })
    }

    fn remember_tuple(&mut self, connection: &Connection, until_ns: u64) {
        let (Some(source), Some(destination)) = (connection.source, connection.destination) else { return };
        let key = (connection.netns, connection.protocol, source.canonical(), destination.canonical());
        let owner = TupleOwner { process: connection.process.clone(), until_ns };
        if self.tuples.insert(key, owner).is_none() {
            self.tuple_ages.push_back(key);
        }
        if self.tuple_ages.len() > MAX_SOCKETS as usize
            && let Some(oldest) = self.tuple_ages.pop_front()
        {
            self.tuples.remove(&oldest);
        }
    }
}

impl Default for Tracker {
    fn default() -> Self {
        Self::new()
    }
}

/// The stage of a failure that came as an outcome: without kprobes the kernel may also take an attempt back
/// before it has a port, which is a failure of the call.
fn failed_stage(source: Option<Endpoint>, errno: u32) -> Stage {
    match Stage::of_call(errno) {
        Stage::Bind if source.is_none() => Stage::Bind,
        _ => Stage::Handshake,
    }
}

/// Adds a connection to the batch, or brings the one in it up to date.
fn put(batch: &mut Batch, connection: Connection) {
    // Outcomes follow their attempts closely: the row to update is near the end, if it is there at all.
    let recent = batch.connections.iter_mut().rev().take(64);
    match recent.into_iter().find(|known| known.id == connection.id) {
        Some(known) => *known = connection,
        None => batch.connections.push(connection),
    }
}

/// A bijection that spreads consecutive numbers (the finaliser of `SplitMix64`).
fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use netspy_common::ConnectionKey;

    use super::*;
    use crate::decode::Ends;

    const MS: u64 = 1_000_000;

    fn end(port: u16) -> Endpoint {
        Endpoint { ip: [127, 0, 0, 1].into(), port }
    }

    fn ends(source: u16, destination: u16) -> Ends {
        Ends { family: 2, protocol: 6, source: Some(end(source)), destination: Some(end(destination)) }
    }

    fn key(started_ns: u64) -> ConnectionKey {
        ConnectionKey { socket: 0xffff, started_ns }
    }

    fn attempt(pid: u32, time_ns: u64, source: u16) -> RawConnect {
        let process = Process { pid, ..Process::default() };
        RawConnect { time_ns, key: key(time_ns), process, ends: ends(source, 80), errno: 0, netns: 1 }
    }

    fn outcome(started_ns: u64, time_ns: u64, errno: u32) -> RawOutcome {
        RawOutcome { time_ns, key: key(started_ns), ends: ends(4000, 80), established: errno == 0, errno }
    }

    fn dropped(time_ns: u64, ends: Ends, netns: u32) -> RawDrop {
        RawDrop {
            time_ns,
            location: 0,
            owner: None,
            ends,
            reason: None,
            length: 60,
            interface: 1,
            netns,
            ether_type: 0x800,
        }
    }

    fn drop_owner(tracker: &mut Tracker, raw: RawDrop) -> Option<u32> {
        let (mut batch, late) = (Batch::default(), raw.time_ns + DROP_PATIENCE_NS);
        tracker.dropped(raw, String::new(), String::new(), &mut batch);
        tracker.advance(late, &mut batch);
        batch.drops.pop().unwrap().owner.map(|owner| owner.pid)
    }

    #[test]
    fn an_attempt_and_its_outcome_are_one_connection() {
        let (mut tracker, mut batch) = (Tracker::new(), Batch::default());
        tracker.connect(attempt(7, MS, 0), &mut batch);
        assert_eq!(batch.connections[0].outcome, Outcome::Pending);
        assert_eq!(batch.connections[0].source, None);
        assert!(tracker.outcome(&outcome(MS, 3 * MS, 0), &mut batch));
        assert_eq!(batch.connections.len(), 1);
        assert_eq!(batch.connections[0].outcome, Outcome::Established { latency_ns: 2 * MS });
        assert_eq!(batch.connections[0].source, Some(end(4000)));
    }

    #[test]
    fn an_outcome_in_a_later_batch_updates_the_same_id() {
        let (mut tracker, mut first, mut second) = (Tracker::new(), Batch::default(), Batch::default());
        tracker.connect(attempt(7, MS, 4000), &mut first);
        tracker.outcome(&outcome(MS, 2 * MS, 111), &mut second);
        assert_eq!(first.connections[0].id, second.connections[0].id);
        let refused = Outcome::Failed { errno: 111, stage: Stage::Handshake, after_ns: MS };
        assert_eq!(second.connections[0].outcome, refused);
    }

    #[test]
    fn an_outcome_without_its_attempt_is_said_to_be_lost() {
        assert!(!Tracker::new().outcome(&outcome(MS, MS, 0), &mut Batch::default()));
    }

    #[test]
    fn a_drop_finds_its_owner_in_both_directions_and_only_in_its_namespace() {
        let mut tracker = Tracker::new();
        tracker.connect(attempt(7, MS, 4000), &mut Batch::default());
        assert_eq!(drop_owner(&mut tracker, dropped(2 * MS, ends(4000, 80), 1)), Some(7));
        assert_eq!(drop_owner(&mut tracker, dropped(2 * MS, ends(80, 4000), 1)), Some(7));
        assert_eq!(drop_owner(&mut tracker, dropped(2 * MS, ends(4000, 80), 2)), None);
        assert_eq!(drop_owner(&mut tracker, dropped(2 * MS, ends(4001, 80), 1)), None);
    }

    #[test]
    fn a_drop_waits_for_the_outcome_that_tells_the_source_port() {
        let (mut tracker, mut batch) = (Tracker::new(), Batch::default());
        tracker.connect(attempt(7, MS, 0), &mut batch);
        tracker.dropped(dropped(2 * MS, ends(4000, 80), 1), String::new(), String::new(), &mut batch);
        assert!(tracker.holds_drops() && batch.drops.is_empty());
        tracker.outcome(&outcome(MS, 2 * MS, 111), &mut batch);
        tracker.advance(2 * MS + DROP_PATIENCE_NS, &mut batch);
        assert_eq!(batch.drops[0].attribution, Attribution::Tuple);
        assert!(!tracker.holds_drops());
    }

    #[test]
    fn a_failed_attempt_owns_no_later_drop() {
        let mut tracker = Tracker::new();
        tracker.connect(attempt(7, MS, 4000), &mut Batch::default());
        tracker.outcome(&outcome(MS, 2 * MS, 111), &mut Batch::default());
        assert_eq!(drop_owner(&mut tracker, dropped(3 * MS, ends(4000, 80), 1)), None);
    }

    #[test]
    fn a_reused_tuple_belongs_to_the_newer_process() {
        let mut tracker = Tracker::new();
        tracker.connect(attempt(7, MS, 4000), &mut Batch::default());
        tracker.connect(attempt(8, 5 * MS, 4000), &mut Batch::default());
        assert_eq!(drop_owner(&mut tracker, dropped(6 * MS, ends(4000, 80), 1)), Some(8));
    }
}
