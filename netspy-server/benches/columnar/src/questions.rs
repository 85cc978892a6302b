//! The same questions to both, in turn. The answers must be the same.

use std::cmp::Reverse;
use std::fmt::Debug;
use std::sync::Arc;

use netspy_server::domain::{End, Filter, Group, GroupBy, History, Place, Window};

use crate::trace::{BEGIN_NS, DAY_NS, RARE};
use crate::{report, timed};

/// Each question is asked so often.
const ASKED: usize = 15;

type Histories = [Arc<dyn History>; 2];

pub(crate) fn ask_all(load: &str, histories: &Histories) {
    let day = Filter::within(Window { since_ns: *BEGIN_NS, until_ns: *BEGIN_NS + DAY_NS - 1 });
    let noon = *BEGIN_NS + DAY_NS / 2 + 7;
    let minute = Filter::within(Window { since_ns: noon, until_ns: noon + 60_000_000_000 });
    let named = |name: &str| Filter { process: Some(name.to_owned()), ..day.clone() };
    let ports = |port| End { network: None, ports: Some(port..=port) };
    let port = Filter { remote: ports(5_432), errno: Some(111), ..minute.clone() };
    let nowhere = Filter { remote: ports(7), ..day.clone() };
    let behind = Filter { after: Some(Place { wall_ns: noon, id: None }), ..day.clone() };
    let ask = |what: &str, question: &dyn Fn(&dyn History) -> Box<dyn Answer>| {
        ask(&format!("{what} ({load})"), histories, question);
    };
    ask("summary of the day", &|history| Box::new(history.connection_counts(&day).unwrap()));
    ask("summary of a minute", &|history| Box::new(history.connection_counts(&minute).unwrap()));
    ask("summary of the day, one process", &|history| {
        Box::new(history.connection_counts(&named("program-1")).unwrap())
    });
    ask("newest 100 of a busy process", &|history| {
        Box::new(history.connections(&named("program-1"), 100).unwrap())
    });
    ask("newest 100 of a rare process", &|history| Box::new(history.connections(&named(RARE), 100).unwrap()));
    ask("refused to a port, of a minute", &|history| Box::new(history.connections(&port, 100).unwrap()));
    ask("100 to a port where nothing went", &|history| Box::new(history.connections(&nowhere, 100).unwrap()));
    ask("a page of 100 by cursor", &|history| Box::new(history.connections(&behind, 100).unwrap()));
    ask("top processes of the day", &|history| Box::new(history.top(&day, GroupBy::Process, 10).unwrap()));
    ask("top destinations of the day", &|history| {
        // The rollups have the sum of a wanderer's destinations instead of each.
        let mut groups = history.top(&day, GroupBy::Destination, 11).unwrap();
        groups.retain(|(group, _)| *group != Group::Others);
        groups.truncate(10);
        // Of groups with the same count, any may come first, and any may be the last of ten.
        let least = groups.last().map(|(_, sum)| sum.count);
        groups.retain(|(_, sum)| Some(sum.count) > least);
        groups.sort_by_key(|(group, sum)| (Reverse(sum.count), format!("{group:?}")));
        Box::new(groups)
    });
    ask("drop reasons of the day", &|history| Box::new(history.drop_counts(&day).unwrap()));
    ask("newest 100 drops", &|history| Box::new(history.drops(&day, 100).unwrap()));
}

/// What can be compared with the other's.
trait Answer {
    fn text(&self) -> String;
}

impl<T: Debug> Answer for T {
    fn text(&self) -> String {
        format!("{self:?}")
    }
}

fn ask(what: &str, histories: &Histories, question: &dyn Fn(&dyn History) -> Box<dyn Answer>) {
    let mut took: [Vec<f64>; 2] = Default::default();
    let mut answers = [const { String::new() }; 2];
    for round in 0..ASKED {
        for of in [round % 2, 1 - round % 2] {
            let (answer, time) = timed(|| question(histories[of].as_ref()));
            took[of].push(time.as_secs_f64() * 1e3);
            answers[of] = answer.text();
        }
    }
    assert_eq!(answers[0], answers[1], "{what}: both say the same");
    took.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    report(what, "ms median", took[0][ASKED / 2], took[1][ASKED / 2]);
    report(what, "ms worst", took[0][ASKED - 1], took[1][ASKED - 1]);
}
