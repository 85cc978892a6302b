//! The groups of most events, from rollups alone.

use std::collections::HashMap;
use std::hash::Hash;

use rusqlite::Connection;

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

/// What a rollup says that groups are made of.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Program(u32),
    Destination(Destination),
    Class(u32),
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
    let what = format!("{column}, class, count, bytes_sent, bytes_received");
    let mut found = HashMap::<Key, Sum>::new();
    sums::each(file, kinds, minutes, &programs, &what, |columns| {
        let key = match column {
            "program" => Key::Program(columns.take(column)?),
            "destination" => Key::Destination(columns.take(column)?),
            _ => Key::Class(columns.take(column)?),
        };
        if question.wants_class(columns.take("class")?) {
            let sum = Sum {
                count: columns.unsigned("count")?,
                bytes_sent: columns.unsigned("bytes_sent")?,
                bytes_received: columns.unsigned("bytes_received")?,
            };
            add(&mut found, key, sum);
        }
        Ok(())
    })?;
    let mut groups = HashMap::new();
    let mut name = Names { file, causes: CauseReader::of(file) };
    for (key, sum) in found.into_iter().filter(|(_, sum)| sum.count > 0) {
        add(&mut groups, name.group(key, by)?, sum);
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

fn add<K: Eq + Hash>(sums: &mut HashMap<K, Sum>, key: K, more: Sum) {
    let sum = sums.entry(key).or_default();
    sum.count += more.count;
    sum.bytes_sent += more.bytes_sent;
    sum.bytes_received += more.bytes_received;
}

/// What numbers stand for.
struct Names<'a> {
    file: &'a Connection,
    causes: CauseReader<'a>,
}

impl Names<'_> {
    /// Several keys may be one group: programs of the same name, causes of the same reason.
    fn group(&mut self, key: Key, by: GroupBy) -> Result<Group, HistoryError> {
        match (key, by) {
            (Key::Program(0), _) => Ok(Group::Others),
            (Key::Program(number), by) => self.program(number, by),
            (Key::Class(number), GroupBy::Reason) => Ok(Group::Reason(self.causes.get(number)?.reason)),
            (Key::Class(number), _) => match codes::from_class(number) {
                Some((_, verdict)) => Ok(Group::Outcome(verdict)),
                None => Err(unreadable("class", &format!("nothing has number {number}"))),
            },
            (Key::Destination(Destination::Ip(end, _)), GroupBy::Address) => {
                Ok(Group::Address(end.canonical().ip))
            }
            (Key::Destination(Destination::Ip(end, protocol)), GroupBy::Port) => {
                Ok(Group::Port { port: end.port, protocol })
            }
            (Key::Destination(destination), _) => Ok(destination.group()),
        }
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
