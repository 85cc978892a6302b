//! The groups of most events, from rollups alone.

use foldhash::{HashMap, HashMapExt as _};
use rusqlite::Connection;
use rusqlite::types::{FromSql, ValueRef};
use smallvec::SmallVec;

use super::block::{CONNECTIONS, DROPS, Table};
use super::dictionary::CauseReader;
use super::question::{self, Question};
use super::rollup::{Destination, MINUTE_NS, Rollup};
use super::row::{cannot_read, unreadable};
use super::{codes, sums};
use crate::domain::{Filter, Group, GroupBy, HistoryError, Sum};

/// The groups of most connections.
pub(super) fn connections(
    file: &Connection,
    filter: &Filter,
    by: GroupBy,
    limit: u32,
) -> Result<Vec<(Group, Sum)>, HistoryError> {
    if by == GroupBy::Reason {
        return Err(HistoryError("connections have no drop reason to be summed by".to_owned()));
    }
    top(file, CONNECTIONS, &Question::of_connections(file, filter)?, filter, by, limit)
}

/// The groups of most drops.
pub(super) fn drops(
    file: &Connection,
    filter: &Filter,
    by: GroupBy,
    limit: u32,
) -> Result<Vec<(Group, Sum)>, HistoryError> {
    if !matches!(by, GroupBy::Process | GroupBy::Exe | GroupBy::User | GroupBy::Reason) {
        return Err(HistoryError(
            "sums of drops are kept by process, executable, user and reason".to_owned(),
        ));
    }
    top(file, DROPS, &Question::of_drops(file, filter)?, filter, by, limit)
}

/// Room for any [`Destination`] that is no path.
type Bytes = SmallVec<[u8; 24]>;

/// What a rollup says that groups are made of, as it is stored: there are far more rollups than groups, so that it is not read
/// before it is known to be another one.
#[derive(Default)]
struct Stored(Bytes);

impl Stored {
    fn set(&mut self, value: ValueRef<'_>) {
        self.0.clear();
        match value {
            ValueRef::Integer(number) => {
                self.0.push(b'i');
                self.0.extend_from_slice(&number.to_ne_bytes());
            }
            ValueRef::Text(text) => {
                self.0.push(b't');
                self.0.extend_from_slice(text);
            }
            ValueRef::Blob(bytes) => {
                self.0.push(b'b');
                self.0.extend_from_slice(bytes);
            }
            ValueRef::Null | ValueRef::Real(_) => {} // not in this table
        }
    }

    fn value(bytes: &[u8]) -> ValueRef<'_> {
        match bytes.split_first() {
            Some((b't', text)) => ValueRef::Text(text),
            Some((b'b', bytes)) => ValueRef::Blob(bytes),
            Some((_, number)) => number
                .try_into()
                .map_or(ValueRef::Null, |number| ValueRef::Integer(i64::from_ne_bytes(number))),
            None => ValueRef::Null,
        }
    }
}

fn top(
    file: &Connection,
    table: Table,
    question: &Question,
    filter: &Filter,
    by: GroupBy,
    limit: u32,
) -> Result<Vec<(Group, Sum)>, HistoryError> {
    let Some(programs) = question::programs(filter) else {
        return Err(HistoryError(
            "sums are kept by process name, executable, user, direction and outcome: ask by those".to_owned(),
        ));
    };
    let kinds = if table.rows == CONNECTIONS.rows {
        (Rollup::ConnectionsByMinute, Rollup::ConnectionsByHour)
    } else {
        (Rollup::DropsByMinute, Rollup::DropsByHour)
    };
    let minutes =
        (filter.window.since_ns.div_euclid(MINUTE_NS), filter.window.until_ns.div_euclid(MINUTE_NS));
    let column = match by {
        GroupBy::Process | GroupBy::Exe | GroupBy::User => "program",
        GroupBy::Destination | GroupBy::Address | GroupBy::Port => "destination",
        GroupBy::Outcome | GroupBy::Reason => "class",
    };
    // The class comes last, and is read only where it matters.
    let what = format!("{column}, count, bytes_sent, bytes_received, class");
    let (mut found, mut key) = (HashMap::<Bytes, Sum>::new(), Stored::default());
    sums::each(file, kinds, minutes, &programs, &what, |columns| {
        key.set(columns.raw(column)?);
        let sum = Sum {
            count: columns.unsigned("count")?,
            bytes_sent: columns.unsigned("bytes_sent")?,
            bytes_received: columns.unsigned("bytes_received")?,
        };
        if question.wants_any_class() || question.wants_class(columns.take("class")?) {
            match found.get_mut(&key.0) {
                Some(known) => add(known, sum),
                None => {
                    found.insert(key.0.clone(), sum);
                }
            }
        }
        Ok(())
    })?;
    let mut groups = HashMap::<_, Sum>::new();
    let mut name = Names { file, causes: CauseReader::of(file) };
    for (key, sum) in found.into_iter().filter(|(_, sum)| sum.count > 0) {
        add(groups.entry(name.group(Stored::value(&key), by)?).or_default(), sum);
    }
    Ok(most(groups.into_iter().collect(), limit as usize))
}

/// Those of most events, in their order. There may be tens of thousands, of which few are asked for.
fn most(mut groups: Vec<(Group, Sum)>, limit: usize) -> Vec<(Group, Sum)> {
    let order = |one: &(Group, Sum), other: &(Group, Sum)| {
        other.1.count.cmp(&one.1.count).then_with(|| one.0.cmp(&other.0))
    };
    if limit < groups.len() {
        groups.select_nth_unstable_by(limit, order);
        groups.truncate(limit);
    }
    groups.sort_unstable_by(order);
    groups
}

fn add(sum: &mut Sum, more: Sum) {
    sum.count += more.count;
    sum.bytes_sent += more.bytes_sent;
    sum.bytes_received += more.bytes_received;
}

fn read<T: FromSql>(value: ValueRef<'_>, column: &str) -> Result<T, HistoryError> {
    T::column_result(value).map_err(|error| unreadable(column, &error))
}

/// What numbers stand for.
struct Names<'a> {
    file: &'a Connection,
    causes: CauseReader<'a>,
}

impl Names<'_> {
    /// Several values may be one group: programs of the same name, causes of the same reason.
    fn group(&mut self, value: ValueRef<'_>, by: GroupBy) -> Result<Group, HistoryError> {
        let number = || read::<u32>(value, "number");
        let destination = || read::<Destination>(value, "destination");
        Ok(match by {
            GroupBy::Process | GroupBy::Exe | GroupBy::User => match number()? {
                0 => Group::Others,
                number => self.program(number, by)?,
            },
            GroupBy::Reason => Group::Reason(self.causes.get(number()?)?.reason),
            GroupBy::Outcome => {
                let number = number()?;
                let (_, verdict) = codes::from_class(number)
                    .ok_or_else(|| unreadable("class", &format!("nothing has number {number}")))?;
                Group::Outcome(verdict)
            }
            GroupBy::Destination => destination()?.group(),
            GroupBy::Address => match destination()? {
                Destination::Ip(end, _) => Group::Address(end.canonical().ip),
                other => other.group(),
            },
            GroupBy::Port => match destination()? {
                Destination::Ip(end, protocol) => Group::Port { port: end.port, protocol },
                other => other.group(),
            },
        })
    }

    fn program(&self, number: u32, by: GroupBy) -> Result<Group, HistoryError> {
        let mut statement = self
            .file
            .prepare_cached("SELECT name, exe, uid FROM programs WHERE id = ?1")
            .map_err(cannot_read)?;
        let row = statement.query_row([number], |row| {
            Ok(match by {
                GroupBy::Exe => row.get::<_, Option<String>>(1)?.map_or(Group::Unknown, Group::Exe),
                GroupBy::User => Group::User(row.get(2)?),
                _ => Group::Process(row.get(0)?),
            })
        });
        row.map_err(cannot_read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_are_those_that_sorting_all_would_give() {
        let groups = || {
            let counts = (0..100_u32).map(|n| (Group::User(n), u64::from(n * 37 % 10)));
            counts.map(|(group, count)| (group, Sum { count, ..Sum::default() })).collect::<Vec<_>>()
        };
        let all = most(groups(), 100);
        assert!(all.is_sorted_by_key(|(group, sum)| (std::cmp::Reverse(sum.count), group.clone())));
        for limit in [0, 1, 10, 99, 100, 101] {
            assert_eq!(most(groups(), limit), all[..limit.min(100)]);
        }
    }
}
