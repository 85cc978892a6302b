//! How long an answer stays the same.

use super::*;
use crate::domain::{Counted, CountedKind, GroupBy, Trouble, TroubleKind};

const SECOND: i64 = 1_000_000_000;

/// Everything that a window's beginning may change.
fn everything(history: &SqliteHistory, since_ns: i64) -> impl PartialEq + std::fmt::Debug {
    let filter = Filter::within(Window { since_ns, until_ns: i64::MAX });
    let troubles = TroubleKind::ALL.map(|kind| history.troubles(kind, &filter, 100).unwrap().total);
    let counted = history.unrecorded(CountedKind::Drop, &filter).unwrap();
    (
        (history.connection_counts(&filter).unwrap(), history.connections(&filter, 100).unwrap()),
        (history.drop_counts(&filter).unwrap(), history.drops(&filter, 100).unwrap()),
        (history.top(&filter, GroupBy::Process, 9).unwrap(), troubles, counted),
        history.losses(filter.window).unwrap(),
    )
}

#[test]
fn until_the_first_event_leaves_its_window() {
    let (mut sink, history) = open_temporary().unwrap();
    assert_eq!(history.same_from(5).unwrap(), 5 + SECOND, "an answer says its second");
    assert_eq!(history.same_from(60 * SECOND - 7).unwrap(), 60 * SECOND - 1, "sums are of minutes");
    assert_eq!(history.same_from(i64::MIN).unwrap(), i64::MIN + SECOND);
    let at = |n: i64| 3_600 * SECOND + n * SECOND / 5;
    let loss = |wall_ns| Loss { wall_ns, place: LossPlace::Store, kind: LossKind::Unknown, count: 1 };
    let trouble = Trouble {
        id: 900,
        kind: TroubleKind::ALL[2],
        monotonic_ns: 1,
        wall_ns: at(50),
        owner: None,
        attribution: Attribution::None,
        reason: None,
        family: 2,
        source: None,
        destination: None,
        netns: 1,
        length: 1,
        backlog: None,
    };
    let counted = Counted {
        id: 901,
        wall_ns: at(60),
        kind: CountedKind::Drop,
        reason: "R".into(),
        location: "l".into(),
        owner: None,
        count: 3,
    };
    let batch = Batch {
        connections: [1, 2, 2, 3, 9, 31].map(|n| connection(n as u64, at(n), Outcome::Pending)).into(),
        drops: vec![packet_drop(800, at(40), None, Attribution::None)],
        troubles: vec![trouble],
        counted: vec![counted],
        losses: vec![loss(at(70)), loss(at(71))],
        ..Batch::default()
    };
    sink.write(&batch).unwrap();
    for event in [1, 2, 3, 9, 31, 40, 50, 60, 70, 71] {
        assert_eq!(history.same_from(at(event) - 10).unwrap(), at(event), "{event}");
        assert_eq!(history.same_from(at(event)).unwrap(), at(event), "{event}");
    }
    for n in (0..400).map(|n| at(0) + n * SECOND / 25 + n % 7) {
        let last = history.same_from(n).unwrap();
        assert_eq!(everything(&history, n), everything(&history, last), "{n} to {last}");
    }
}
