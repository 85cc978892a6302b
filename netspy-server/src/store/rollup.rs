//! Rollups: per minute and per hour, how many connections each program had to each destination with each outcome,
//! and how many of its packets were dropped for each cause. They outlive the rows that they count.
//!
//! A row notes how it was counted, so that what comes later for it is moved from exactly where it was.

use std::collections::HashMap;
use std::net::IpAddr;

use rusqlite::types::{FromSql, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, params};

use super::dictionary::Programs;
use super::row::{v6_bytes, v6_of_bytes};
use crate::domain::{self, Endpoint, Group};

/// What a row of the table `rollups` counts, and how long its bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rollup {
    ConnectionsByMinute = 0,
    ConnectionsByHour = 1,
    DropsByMinute = 2,
    DropsByHour = 3,
}

pub(super) const MINUTE_NS: i64 = 60_000_000_000;
pub(super) const HOUR_MINUTES: i64 = 60;

/// Destinations that are told apart per minute and per hour: of one program, and in all. What goes beyond (a
/// scan, a crawl) is counted as [`Destination::Others`], so that nobody's wandering makes the file grow.
const MOST_PER_MINUTE: (u32, u32) = (500, 2_000);
const MOST_PER_HOUR: (u32, u32) = (2_000, 10_000);

/// More than that over one connection (256 TiB) is damage, and would in the end overflow the sums.
const MOST_BYTES: u64 = 1 << 48;

/// How a row was counted: under its own destination, or among the others.
const OWN_IN_MINUTE: u8 = 1;
const OWN_IN_HOUR: u8 = 2;

/// Where connections went.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Destination {
    /// Nowhere that is known.
    Unknown,
    /// Too many to tell apart.
    Others,
    Ip(Endpoint, u8),
    Path(String),
}

impl Destination {
    fn of(connection: &domain::Connection) -> Self {
        match (&connection.path, connection.destination) {
            (Some(path), _) => Self::Path(path.clone()),
            (None, Some(end)) => Self::Ip(end, connection.protocol),
            (None, None) => Self::Unknown,
        }
    }

    pub(super) fn group(self) -> Group {
        match self {
            Self::Unknown => Group::Unknown,
            Self::Others => Group::Others,
            Self::Ip(end, protocol) => Group::Destination { end, protocol },
            Self::Path(path) => Group::Path(path),
        }
    }
}

/// Integers for those that are none, a text for a path, and for the rest protocol, port and address as bytes.
impl ToSql for Destination {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Unknown => ToSqlOutput::from(0),
            Self::Others => ToSqlOutput::from(1),
            Self::Path(path) => ToSqlOutput::from(path.as_str()),
            Self::Ip(end, protocol) => {
                let mut bytes = vec![*protocol];
                bytes.extend(end.port.to_be_bytes());
                match end.ip {
                    IpAddr::V4(ip) => bytes.extend(ip.octets()),
                    IpAddr::V6(ip) => bytes.extend(v6_bytes(ip, end.scope)),
                }
                ToSqlOutput::from(bytes)
            }
        })
    }
}

impl FromSql for Destination {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Integer(1) => Ok(Self::Others),
            ValueRef::Integer(_) => Ok(Self::Unknown),
            ValueRef::Text(_) => String::column_result(value).map(Self::Path),
            _ => {
                let bytes = value.as_blob()?;
                let damaged = || rusqlite::types::FromSqlError::InvalidBlobSize {
                    expected_size: 7,
                    blob_size: bytes.len(),
                };
                let ([protocol, high, low], address) = bytes.split_first_chunk().ok_or_else(damaged)?;
                let (ip, scope) = match <[u8; 4]>::try_from(address) {
                    Ok(octets) => (IpAddr::from(octets), 0),
                    Err(_) => {
                        v6_of_bytes(address).map(|(ip, scope)| (ip.into(), scope)).ok_or_else(damaged)?
                    }
                };
                Ok(Self::Ip(Endpoint { ip, port: u16::from_be_bytes([*high, *low]), scope }, *protocol))
            }
        }
    }
}

/// One thing that is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    is_drop: bool,
    /// Minute since 1970.
    minute: i64,
    program: u32,
    class: u32,
    destination: Destination,
    rolled: u8,
}

/// How much is to be added; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Change {
    count: i64,
    bytes_sent: i64,
    bytes_received: i64,
}

/// Which destinations have a place of their own in the current minute and hour. Kept between batches; forgetting
/// it only gives some more of them one.
#[derive(Debug, Default)]
pub(super) struct Places {
    minute: Bucket,
    hour: Bucket,
}

#[derive(Debug, Default)]
struct Bucket {
    number: i64,
    taken: HashMap<u32, std::collections::HashSet<Destination>>,
    total: u32,
}

impl Bucket {
    /// Whether the program's destination has a place of its own in this bucket.
    fn has_place(&mut self, number: i64, program: u32, to: &Destination, most: (u32, u32)) -> bool {
        if *to == Destination::Unknown {
            return true;
        }
        if self.number != number {
            *self = Self { number, ..Self::default() };
        }
        let taken = self.taken.entry(program).or_default();
        if taken.contains(to) {
            return true;
        }
        if taken.len() >= most.0 as usize || self.total >= most.1 {
            return false;
        }
        self.total += 1;
        taken.insert(to.clone())
    }
}

impl Places {
    fn rolled(&mut self, minute: i64, program: u32, to: &Destination) -> u8 {
        let in_minute = self.minute.has_place(minute, program, to, MOST_PER_MINUTE);
        let in_hour = self.hour.has_place(minute.div_euclid(HOUR_MINUTES), program, to, MOST_PER_HOUR);
        u8::from(in_minute) * OWN_IN_MINUTE + u8::from(in_hour) * OWN_IN_HOUR
    }
}

/// What one batch changes.
#[derive(Debug, Default)]
pub(super) struct Changes(HashMap<Key, Change>);

impl Changes {
    /// Counts a connection; says how.
    pub(super) fn count(
        &mut self,
        places: &mut Places,
        connection: &domain::Connection,
        program: u32,
        class: u32,
    ) -> u8 {
        let (minute, to) = (connection.wall_ns.div_euclid(MINUTE_NS), Destination::of(connection));
        let rolled = places.rolled(minute, program, &to);
        self.change(connection, (program, class), (minute, to, rolled), 1);
        rolled
    }

    /// Takes back what [`Changes::count`] counted.
    pub(super) fn discount(&mut self, connection: &domain::Connection, program: u32, class: u32, rolled: u8) {
        let (minute, to) = (connection.wall_ns.div_euclid(MINUTE_NS), Destination::of(connection));
        self.change(connection, (program, class), (minute, to, rolled), -1);
    }

    fn change(
        &mut self,
        connection: &domain::Connection,
        (program, class): (u32, u32),
        (minute, destination, rolled): (i64, Destination, u8),
        sign: i64,
    ) {
        let traffic = connection.traffic.unwrap_or_default();
        // One of the others in both: where to is in neither sum.
        let destination = if rolled == 0 { Destination::Others } else { destination };
        let key = Key { is_drop: false, minute, program, class, destination, rolled };
        let change = self.0.entry(key).or_default();
        change.count += sign;
        let add = |sum: &mut i64, bytes: u64| *sum += sign * bytes.min(MOST_BYTES).cast_signed();
        add(&mut change.bytes_sent, traffic.bytes_sent);
        add(&mut change.bytes_received, traffic.bytes_received);
    }

    /// Counts a drop.
    pub(super) fn count_drop(&mut self, wall_ns: i64, program: u32, cause: u32) {
        let key = Key {
            is_drop: true,
            minute: wall_ns.div_euclid(MINUTE_NS),
            program,
            class: cause,
            destination: Destination::Unknown,
            rolled: OWN_IN_MINUTE | OWN_IN_HOUR,
        };
        self.0.entry(key).or_default().count += 1;
    }

    /// Writes them.
    pub(super) fn flush(self, file: &Connection, programs: &mut Programs) -> rusqlite::Result<()> {
        let mut add = file.prepare_cached(
            "INSERT INTO rollups VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET
                count = count + excluded.count,
                bytes_sent = bytes_sent + excluded.bytes_sent,
                bytes_received = bytes_received + excluded.bytes_received",
        )?;
        let mut remove = file.prepare_cached(
            "DELETE FROM rollups WHERE kind = ?1 AND bucket = ?2 AND program = ?3 AND class = ?4
                AND destination = ?5 AND count = 0",
        )?;
        for (key, change) in self.0.into_iter().filter(|(_, change)| *change != Change::default()) {
            let hour = key.minute.div_euclid(HOUR_MINUTES);
            let kinds = if key.is_drop {
                [Rollup::DropsByMinute, Rollup::DropsByHour]
            } else {
                [Rollup::ConnectionsByMinute, Rollup::ConnectionsByHour]
            };
            let buckets = [(kinds[0], key.minute, OWN_IN_MINUTE), (kinds[1], hour, OWN_IN_HOUR)];
            for (kind, bucket, own) in buckets {
                let to = if key.rolled & own == 0 { &Destination::Others } else { &key.destination };
                let (kind, count) = (kind as u8, change.count);
                let bytes = (change.bytes_sent, change.bytes_received);
                add.execute(params![kind, bucket, key.program, key.class, to, count, bytes.0, bytes.1])?;
                if count < 0 {
                    remove.execute(params![kind, bucket, key.program, key.class, to])?;
                }
            }
            programs.used(file, key.program, hour)?;
        }
        Ok(())
    }
}
