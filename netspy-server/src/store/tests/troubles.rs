//! Troubles, and what was only counted.

use super::*;
use crate::domain::{Backlog, Counted, CountedKind, Trouble, TroubleKind, Unrecorded};

fn trouble(id: u64, kind: TroubleKind, owner: Option<Process>) -> Trouble {
    Trouble {
        id,
        kind,
        monotonic_ns: 9,
        wall_ns: id.cast_signed(),
        attribution: if owner.is_some() { Attribution::Socket } else { Attribution::None },
        owner: owner.map(Into::into),
        reason: Some("TCP_ABORT_ON_CLOSE".into()),
        family: 2,
        source: end("10.0.0.1", 40000),
        destination: end("::1", 81),
        netns: 1,
        length: 1448,
        backlog: Some(Backlog { waiting: 129, limit: 128 }),
    }
}

#[test]
fn troubles_come_back_whole_by_kind_and_owner() {
    let (mut sink, history) = open_temporary().unwrap();
    let bare = Trouble {
        reason: None,
        source: None,
        destination: None,
        backlog: None,
        ..trouble(3, TroubleKind::ResetSent, None)
    };
    let owned = trouble(2, TroubleKind::ResetSent, Some(process(7, "a", "b")));
    let other = trouble(4, TroubleKind::Retransmit, None);
    let troubles = vec![owned.clone(), bare.clone(), other];
    for _ in 0..2 {
        // A recording that is replayed into the same history.
        sink.write(&Batch { troubles: troubles.clone(), ..Batch::default() }).unwrap();
    }
    let page = history.troubles(TroubleKind::ResetSent, &ALL, 10).unwrap();
    assert_eq!((page.total, page.rows), (2, vec![bare, owned.clone()]));
    for filter in [Filter { pid: Some(7), ..ALL }, Filter { process: Some("b".into()), ..ALL }] {
        let page = history.troubles(TroubleKind::ResetSent, &filter, 10).unwrap();
        assert_eq!(page.rows, std::slice::from_ref(&owned));
    }
    assert_eq!(history.troubles(TroubleKind::ListenOverflow, &ALL, 10).unwrap().total, 0);
}

#[test]
fn counts_are_added_up_and_those_of_nobody_are_told_apart() {
    let (mut sink, history) = open_temporary().unwrap();
    let counted = |id: u64, reason: &str, owner: Option<Process>, count| Counted {
        id,
        wall_ns: id.cast_signed(),
        kind: CountedKind::Drop,
        reason: reason.into(),
        location: "udp_rcv+0x1".into(),
        owner: owner.map(Into::into),
        count,
    };
    let curl = || Some(process(7, "curl", "curl"));
    let batch = Batch {
        counted: vec![
            counted(1, "NO_SOCKET", curl(), 10),
            counted(2, "NO_SOCKET", curl(), 5),
            counted(3, "NO_SOCKET", None, 100),
            counted(4, "QUEUE_PURGE", Some(process(8, "x", "x")), 1_000),
            Counted { kind: CountedKind::Trouble(TroubleKind::Retransmit), ..counted(5, "", curl(), 10_000) },
        ],
        ..Batch::default()
    };
    sink.write(&batch).unwrap();
    sink.write(&batch).unwrap();
    let key = |reason: &str| (reason.to_owned(), "udp_rcv+0x1".to_owned());
    let all = history.unrecorded(CountedKind::Drop, &ALL).unwrap();
    let matching = [(key("NO_SOCKET"), 115), (key("QUEUE_PURGE"), 1_000)].into();
    assert_eq!(all, Unrecorded { matching, undecided: 0 });
    let of_curl = history.unrecorded(CountedKind::Drop, &Filter { pid: Some(7), ..ALL }).unwrap();
    assert_eq!(of_curl, Unrecorded { matching: [(key("NO_SOCKET"), 15)].into(), undecided: 100 });
    let narrow = Filter { window: Window { since_ns: 4, until_ns: 9 }, ..named("curl") };
    assert_eq!(history.unrecorded(CountedKind::Drop, &narrow).unwrap(), Unrecorded::default());
    let retransmits = CountedKind::Trouble(TroubleKind::Retransmit);
    assert_eq!(history.unrecorded(retransmits, &narrow).unwrap().total(), 10_000);
}
