//! Events ↔ Arrow: one column for each fact, so that other people's tools can read the segments as well.
//!
//! Variants are the places in the lists below. An address is its 4 or 16 bytes.

use std::net::IpAddr;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray as _, BinaryViewArray, PrimitiveArray, RecordBatch,
    StringViewArray,
};
use datafusion::arrow::datatypes::{Int64Type, SchemaRef, UInt8Type, UInt16Type, UInt32Type, UInt64Type};
use datafusion::arrow::error::ArrowError;
use netspy_server::domain::{
    Attribution, Close, Connection, Direction, Ending, Endpoint, Identity, Outcome, PacketDirection,
    PacketDrop, Process, Stage, Traffic, Verdict,
};

pub(crate) const DIRECTIONS: [Direction; 2] = [Direction::Outbound, Direction::Inbound];
const STAGES: [Stage; 4] = [Stage::Route, Stage::Bind, Stage::Call, Stage::Handshake];
const ENDINGS: [Ending; 8] = [
    Ending::ClosedLocally,
    Ending::ClosedByPeer,
    Ending::ResetByPeer,
    Ending::ResetLocally,
    Ending::TimedOut,
    Ending::Idle,
    Ending::Failed,
    Ending::Unseen,
];
const ATTRIBUTIONS: [Attribution; 3] = [Attribution::None, Attribution::Socket, Attribution::Tuple];
const WAYS: [PacketDirection; 3] =
    [PacketDirection::Received, PacketDirection::Sent, PacketDirection::Forwarded];

/// The place of a variant in its list.
pub(crate) fn place<T: PartialEq>(list: &[T], of: &T) -> u8 {
    list.iter().position(|one| one == of).unwrap_or_default() as u8
}

/// A batch that is being made of rows.
struct Columns<'a, T> {
    rows: &'a [T],
    made: Vec<(&'static str, ArrayRef, bool)>,
}

impl<'a, T> Columns<'a, T> {
    fn of(rows: &'a [T]) -> Self {
        Self { rows, made: Vec::new() }
    }

    fn number<P: ArrowPrimitiveType>(&mut self, name: &'static str, of: impl Fn(&'a T) -> Option<P::Native>) {
        let column: PrimitiveArray<P> = self.rows.iter().map(of).collect();
        self.made.push((name, Arc::new(column), true));
    }

    fn text<S: AsRef<str>>(&mut self, name: &'static str, of: impl Fn(&'a T) -> Option<S>) {
        let column: StringViewArray = self.rows.iter().map(of).collect();
        self.made.push((name, Arc::new(column), true));
    }

    fn end(&mut self, names: [&'static str; 3], of: impl Fn(&'a T) -> Option<Endpoint>) {
        let address = |end: Endpoint| match end.ip {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let column: BinaryViewArray = self.rows.iter().map(|row| of(row).map(address)).collect();
        self.made.push((names[0], Arc::new(column), true));
        self.number::<UInt16Type>(names[1], |row| of(row).map(|end| end.port));
        self.number::<UInt32Type>(names[2], |row| of(row).map(|end| end.scope));
    }

    fn owner(&mut self, of: impl Fn(&'a T) -> Option<&'a Process>) {
        self.number::<UInt32Type>("pid", |row| of(row).map(|owner| owner.pid));
        self.number::<UInt32Type>("tid", |row| of(row).map(|owner| owner.tid));
        self.number::<UInt32Type>("uid", |row| of(row).map(|owner| owner.uid));
        self.number::<UInt64Type>("cgroup_id", |row| of(row).map(|owner| owner.cgroup_id));
        self.number::<UInt64Type>("started_ns", |row| of(row).map(|owner| owner.started_ns));
        self.text("comm", |row| of(row).map(|owner| &owner.comm));
        self.text("name", |row| of(row).map(|owner| &owner.name));
        self.text("exe", |row| of(row).and_then(|owner| owner.identity.exe.as_ref()));
        self.text("identity", |row| of(row).and_then(|owner| serde_json::to_string(&*owner.identity).ok()));
    }

    fn finish(self) -> Result<RecordBatch, ArrowError> {
        RecordBatch::try_from_iter_with_nullable(self.made)
    }
}

const SOURCE: [&str; 3] = ["source_ip", "source_port", "source_scope"];
const DESTINATION: [&str; 3] = ["destination_ip", "destination_port", "destination_scope"];

/// A batch of connections.
pub(crate) fn of_connections(rows: &[Connection]) -> Result<RecordBatch, ArrowError> {
    let mut columns = Columns::of(rows);
    columns.number::<UInt64Type>("id", |row| Some(row.id));
    columns.number::<Int64Type>("wall_ns", |row| Some(row.wall_ns));
    columns.number::<UInt64Type>("monotonic_ns", |row| Some(row.monotonic_ns));
    columns.owner(|row| Some(&row.process));
    columns.number::<UInt8Type>("direction", |row| Some(place(&DIRECTIONS, &row.direction)));
    columns.number::<UInt8Type>("verdict", |row| Some(place(&Verdict::ALL, &row.outcome.verdict())));
    columns.number::<UInt8Type>("found", |row| Some(row.found.into()));
    columns.number::<UInt16Type>("family", |row| Some(row.family));
    columns.number::<UInt8Type>("socket_type", |row| Some(row.socket_type));
    columns.number::<UInt8Type>("protocol", |row| Some(row.protocol));
    columns.number::<UInt32Type>("netns", |row| Some(row.netns));
    columns.end(SOURCE, |row| row.source);
    columns.end(DESTINATION, |row| row.destination);
    columns.text("path", |row| row.path.as_ref());
    columns.number::<UInt32Type>("peer_pid", |row| row.peer_pid);
    columns.number::<UInt64Type>("outcome_ns", |row| row.outcome.after_ns());
    columns.number::<UInt32Type>("errno", |row| row.outcome.failure().map(|(errno, _)| errno));
    columns
        .number::<UInt8Type>("stage", |row| row.outcome.failure().map(|(_, stage)| place(&STAGES, &stage)));
    columns.number::<UInt64Type>("accepted_after_ns", |row| row.accepted_after_ns);
    columns.number::<UInt64Type>("bytes_sent", |row| row.traffic.map(|traffic| traffic.bytes_sent));
    columns.number::<UInt64Type>("bytes_received", |row| row.traffic.map(|traffic| traffic.bytes_received));
    columns.number::<UInt64Type>("packets_sent", |row| row.traffic.and_then(|traffic| traffic.packets_sent));
    columns.number::<UInt64Type>("packets_received", |row| {
        row.traffic.and_then(|traffic| traffic.packets_received)
    });
    columns.number::<UInt32Type>("srtt_us", |row| row.traffic.and_then(|traffic| traffic.srtt_us));
    columns.number::<UInt32Type>("retransmits", |row| row.traffic.and_then(|traffic| traffic.retransmits));
    columns.number::<UInt64Type>("close_ns", |row| row.close.map(|close| close.after_ns));
    columns.number::<UInt8Type>("ending", |row| row.close.map(|close| place(&ENDINGS, &close.ending)));
    columns.number::<UInt32Type>("close_errno", |row| row.close.map(|close| close.errno));
    columns.finish()
}

/// A batch of drops.
pub(crate) fn of_drops(rows: &[PacketDrop]) -> Result<RecordBatch, ArrowError> {
    let mut columns = Columns::of(rows);
    columns.number::<UInt64Type>("id", |row| Some(row.id));
    columns.number::<Int64Type>("wall_ns", |row| Some(row.wall_ns));
    columns.number::<UInt64Type>("monotonic_ns", |row| Some(row.monotonic_ns));
    columns.owner(|row| row.owner.as_deref().filter(|_| row.attribution != Attribution::None));
    columns.number::<UInt8Type>("attribution", |row| Some(place(&ATTRIBUTIONS, &row.attribution)));
    columns.number::<UInt32Type>("reason_code", |row| row.reason_code);
    columns.text("reason", |row| Some(&row.reason));
    columns.text("location", |row| Some(&row.location));
    columns.number::<UInt16Type>("family", |row| Some(row.family));
    columns.number::<UInt8Type>("protocol", |row| Some(row.protocol));
    columns.end(SOURCE, |row| row.source);
    columns.end(DESTINATION, |row| row.destination);
    columns.number::<UInt32Type>("length", |row| Some(row.length));
    columns.number::<UInt16Type>("ether_type", |row| Some(row.ether_type));
    columns.number::<UInt8Type>("way", |row| row.direction.map(|way| place(&WAYS, &way)));
    columns.number::<UInt32Type>("interface", |row| Some(row.interface));
    columns.text("interface_name", |row| Some(&row.interface_name));
    columns.number::<UInt32Type>("netns", |row| Some(row.netns));
    columns.finish()
}

/// The columns of an empty batch.
pub(crate) fn schema(empty: Result<RecordBatch, ArrowError>) -> Result<SchemaRef, ArrowError> {
    empty.map(|batch| batch.schema())
}

/// One row of a batch.
struct Row<'a> {
    batch: &'a RecordBatch,
    at: usize,
}

impl Row<'_> {
    fn column(&self, name: &str) -> Option<&dyn Array> {
        self.batch.column_by_name(name).map(AsRef::as_ref).filter(|column| column.is_valid(self.at))
    }

    fn number<P: ArrowPrimitiveType>(&self, name: &str) -> Option<P::Native> {
        Some(self.column(name)?.as_primitive_opt::<P>()?.value(self.at))
    }

    fn small(&self, name: &str) -> Option<u8> {
        self.number::<UInt8Type>(name)
    }

    fn word(&self, name: &str) -> Option<u32> {
        self.number::<UInt32Type>(name)
    }

    fn long(&self, name: &str) -> Option<u64> {
        self.number::<UInt64Type>(name)
    }

    fn text(&self, name: &str) -> Option<String> {
        Some(self.column(name)?.as_string_view_opt()?.value(self.at).to_owned())
    }

    fn variant<T: Copy>(&self, list: &[T], name: &str) -> Option<T> {
        list.get(usize::from(self.small(name)?)).copied()
    }

    fn end(&self, names: [&str; 3]) -> Option<Endpoint> {
        let bytes = self.column(names[0])?.as_binary_view_opt()?.value(self.at);
        let ip = match <[u8; 4]>::try_from(bytes) {
            Ok(octets) => IpAddr::from(octets),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?),
        };
        let port = self.number::<UInt16Type>(names[1])?;
        Some(Endpoint { ip, port, scope: self.word(names[2])? })
    }

    fn owner(&self) -> Option<Process> {
        let identity: Identity = serde_json::from_str(&self.text("identity")?).ok()?;
        Some(Process {
            pid: self.word("pid")?,
            tid: self.word("tid")?,
            uid: self.word("uid")?,
            cgroup_id: self.long("cgroup_id")?,
            started_ns: self.long("started_ns")?,
            comm: self.text("comm")?,
            name: self.text("name")?,
            identity: Arc::new(identity),
        })
    }

    fn outcome(&self) -> Option<Outcome> {
        let verdict = self.variant(&Verdict::ALL, "verdict")?;
        let stage = self.variant(&STAGES, "stage");
        Outcome::of_parts(verdict, self.long("outcome_ns"), self.word("errno"), stage).ok()
    }

    fn traffic(&self) -> Option<Traffic> {
        Some(Traffic {
            bytes_sent: self.long("bytes_sent")?,
            bytes_received: self.long("bytes_received")?,
            packets_sent: self.long("packets_sent"),
            packets_received: self.long("packets_received"),
            srtt_us: self.word("srtt_us"),
            retransmits: self.word("retransmits"),
        })
    }

    fn close(&self) -> Option<Close> {
        Some(Close {
            after_ns: self.long("close_ns")?,
            ending: self.variant(&ENDINGS, "ending")?,
            errno: self.word("close_errno")?,
        })
    }

    fn connection(&self) -> Option<Connection> {
        Some(Connection {
            id: self.long("id")?,
            monotonic_ns: self.long("monotonic_ns")?,
            wall_ns: self.number::<Int64Type>("wall_ns")?,
            process: Arc::new(self.owner()?),
            direction: self.variant(&DIRECTIONS, "direction")?,
            found: self.small("found")? != 0,
            family: self.number::<UInt16Type>("family")?,
            socket_type: self.small("socket_type")?,
            source: self.end(SOURCE),
            destination: self.end(DESTINATION),
            path: self.text("path"),
            peer_pid: self.word("peer_pid"),
            protocol: self.small("protocol")?,
            netns: self.word("netns")?,
            outcome: self.outcome()?,
            accepted_after_ns: self.long("accepted_after_ns"),
            traffic: self.traffic(),
            close: self.close(),
        })
    }

    fn packet_drop(&self) -> Option<PacketDrop> {
        Some(PacketDrop {
            id: self.long("id")?,
            monotonic_ns: self.long("monotonic_ns")?,
            wall_ns: self.number::<Int64Type>("wall_ns")?,
            owner: self.owner().map(Arc::new),
            attribution: self.variant(&ATTRIBUTIONS, "attribution")?,
            reason_code: self.word("reason_code"),
            reason: self.text("reason")?,
            location: self.text("location")?,
            family: self.number::<UInt16Type>("family")?,
            protocol: self.small("protocol")?,
            source: self.end(SOURCE),
            destination: self.end(DESTINATION),
            length: self.word("length")?,
            ether_type: self.number::<UInt16Type>("ether_type")?,
            direction: self.variant(&WAYS, "way"),
            interface: self.word("interface")?,
            interface_name: self.text("interface_name")?,
            netns: self.word("netns")?,
        })
    }
}

/// The connections of a batch; `None` where it is damaged.
pub(crate) fn connections(batch: &RecordBatch) -> Option<Vec<Connection>> {
    (0..batch.num_rows()).map(|at| Row { batch, at }.connection()).collect()
}

/// The drops of a batch; `None` where it is damaged.
pub(crate) fn drops(batch: &RecordBatch) -> Option<Vec<PacketDrop>> {
    (0..batch.num_rows()).map(|at| Row { batch, at }.packet_drop()).collect()
}
