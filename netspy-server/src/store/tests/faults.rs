//! What goes wrong on real machines: the process is killed, the disk is full, the clock is set.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::*;
use crate::domain::{CountedKind, TroubleKind};

const STORE: (LossPlace, LossKind) = (LossPlace::Store, LossKind::Connection);
const DATABASE: &str = "NETSPY_TEST_HISTORY";

/// Writes batches of a hundred rows and says, after each, how many are written.
fn write_for_ever(path: &Path) {
    let (mut sink, _history) = open(path, Keep::default()).unwrap();
    for batch in 0_u64.. {
        let ids = batch * 100 + 1..=batch * 100 + 100;
        let rows: Vec<_> = ids
            .map(|id| connection(id, id as i64 * 1_000_000, Outcome::Established { latency_ns: id }))
            .collect();
        write_connections(&mut sink, &rows);
        println!("\nwritten {}", (batch + 1) * 100);
    }
}

/// The test is its own child, too: it is the program that writes and is killed.
#[test]
fn killed_in_the_middle_of_writing_it_keeps_what_it_had_written() {
    if let Some(path) = std::env::var_os(DATABASE) {
        return write_for_ever(&PathBuf::from(path));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let name = std::thread::current().name().unwrap().to_owned();
    for least in [300_u64, 5_000, 9_000] {
        let _ = std::fs::remove_file(&path);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([&name, "--exact", "--nocapture"])
            .env(DATABASE, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut written = 0;
        let mut killed = false;
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(count) = line.strip_prefix("written ") {
                written = count.parse().unwrap();
            }
            if written >= least && !killed {
                child.kill().unwrap(); // SIGKILL, wherever it is just now
                killed = true;
            }
        }
        assert_eq!(child.wait().unwrap().code(), None);
        assert!(written >= least);

        let (mut sink, history) = open(&path, Keep::default()).unwrap();
        let file = rusqlite::Connection::open(&path).unwrap();
        let check: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
        let page = history.connections(&ALL, 1).unwrap();
        assert!(page.total >= written && page.total % 100 == 0, "{} of {written}", page.total);
        assert_eq!(page.rows[0].id, page.total);
        let top = history.top(&ALL, crate::domain::GroupBy::Process, 9).unwrap();
        assert_eq!(top[0].1.count, page.total, "sums are those of the rows");
        write_connections(&mut sink, &[connection(page.total + 1, 1, Outcome::Pending)]);
        assert_eq!(history.connections(&ALL, 0).unwrap().total, page.total + 1);
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
    }
}

/// A file system of its own, so that only this test finds it full.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(directory.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "this test mounts a file system: run it as root");
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_costs_what_the_ledger_says_and_nothing_else() {
    // Room for the whole log in the file is what "room again" means.
    let disk = SmallDisk::new("24m");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; 18 << 20]).unwrap();
    let path = disk.0.path().join("history.db");
    let (mut sink, history) = open(&path, Keep::default()).unwrap();
    let (mut written, mut lost, mut next) = (0, 0, 1_u64);
    let mut write = |history: &SqliteHistory, written: &mut u64, lost: &mut u64| {
        let ids = next..next + 500;
        next += 500;
        let rows: Vec<_> = ids.map(|id| connection(id, id as i64, Outcome::Pending)).collect();
        let losses =
            vec![Loss { wall_ns: next as i64, place: LossPlace::Orphaned, kind: LossKind::Accept, count: 1 }];
        let result = sink.write(&Batch { connections: rows, losses, ..Batch::default() });
        *if result.is_ok() { &mut *written } else { &mut *lost } += 500;
        let total = history.connections(&ALL, 10).unwrap().total;
        let counts = history.losses(EVER).unwrap();
        assert_eq!((total, counts.get(&STORE).copied().unwrap_or(0)), (*written, *lost));
        assert_eq!(
            counts[&(LossPlace::Orphaned, LossKind::Accept)],
            (next - 1) / 500,
            "earlier losses are not lost with it"
        );
        result
    };
    while lost < 5_000 {
        if let Err(error) = write(&history, &mut written, &mut lost) {
            assert!(error.0.contains("full"), "{error}");
        }
        assert!(written < 100_000, "the disk is never full");
    }
    assert!(written > 5_000);
    std::fs::remove_file(&ballast).unwrap();
    let lost_before = lost;
    for _ in 0..3 {
        write(&history, &mut written, &mut lost).unwrap();
    }
    assert_eq!(lost, lost_before, "once there is room again, writing goes on by itself");
    drop((sink, history));
    let (_sink, history) = open(&path, Keep::default()).unwrap();
    assert_eq!(history.losses(EVER).unwrap()[&STORE], lost, "the ledger is on the disk now");
    assert_eq!(history.connections(&ALL, 0).unwrap().total, written);
}

#[test]
fn a_full_disk_costs_nothing_while_the_file_has_free_pages() {
    let disk = SmallDisk::new("16m");
    let path = disk.0.path().join("history.db");
    let mut next = 1_u64;
    let mut write = |sink: &mut SqliteSink| {
        let rows: Vec<_> = (next..next + 500).map(|id| connection(id, id as i64, Outcome::Pending)).collect();
        next += 500;
        sink.write(&Batch { connections: rows, ..Batch::default() })
    };
    for batches in [200, 10] {
        // At the second opening the log is new, and much shorter than it may become.
        let (mut sink, history) = open(&path, Keep { bytes: 2 << 20, ..Keep::default() }).unwrap();
        for _ in 0..batches {
            write(&mut sink).unwrap();
        }
        if batches == 10 {
            let ballast = std::fs::File::create(disk.0.path().join("ballast")).unwrap();
            while std::io::Write::write(&mut &ballast, &[0; 4_096]).is_ok() {}
            for _ in 0..100 {
                write(&mut sink).unwrap();
            }
            assert_eq!(history.losses(EVER).unwrap(), BTreeMap::new());
        }
    }
}

#[test]
fn a_history_that_finds_no_room_says_so() {
    let disk = SmallDisk::new("1m");
    let ballast = disk.0.path().join("ballast");
    std::fs::write(&ballast, vec![0; (1 << 20) - 8_192]).unwrap();
    let path = disk.0.path().join("history.db");
    let error = open(&path, Keep::default()).unwrap_err();
    assert!(error.0.ends_with("make room on its disk, or pass --db FILE"), "{error}");
    std::fs::remove_file(&ballast).unwrap();
    open(&path, Keep::default()).unwrap();
}

#[test]
fn windows_are_of_wall_time_however_the_clock_is_set() {
    let (mut sink, history) = open_temporary().unwrap();
    // The clock is set back by an hour, later a day ahead; ids go on growing.
    let walls = (0..3_000).map(|n| n + 3_600_000).chain(0..3_000).chain((0..3_000).map(|n| n + 90_000_000));
    let rows: Vec<_> =
        walls.enumerate().map(|(n, wall_ns)| connection(n as u64 + 1, wall_ns, Outcome::Pending)).collect();
    for batch in rows.chunks(700) {
        write_connections(&mut sink, batch);
    }
    for (since_ns, until_ns) in [
        (0, 2_999),
        (100, 3_600_050),
        (3_600_010, 3_600_019),
        (2_000, 90_000_001),
        (0, i64::MAX),
        (5_000, 9_000),
    ] {
        let filter = Filter::within(Window { since_ns, until_ns });
        let mut expected: Vec<_> =
            rows.iter().filter(|row| (since_ns..=until_ns).contains(&row.wall_ns)).collect();
        expected.sort_by_key(|row| std::cmp::Reverse((row.wall_ns, row.id)));
        let page = history.connections(&filter, 100).unwrap();
        assert_eq!(page.total, expected.len() as u64, "{since_ns}..{until_ns}");
        assert!(page.rows.iter().eq(expected.into_iter().take(100)), "{since_ns}..{until_ns}");
        let counts = history.connection_counts(&filter).unwrap();
        assert_eq!(counts.values().sum::<u64>(), page.total);
    }
}

#[test]
fn what_cannot_be_written_is_counted_by_kind_and_when_it_was_lost() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let (mut sink, history) = open(&path, Keep::default()).unwrap();
    let editor = rusqlite::Connection::open(&path).unwrap();
    editor.execute_batch("ALTER TABLE programs RENAME TO hidden").unwrap();
    let trouble = |kind, id| crate::domain::Counted {
        id,
        wall_ns: 2,
        kind,
        reason: String::new(),
        location: String::new(),
        owner: None,
        count: 5 * id,
    };
    // The connection began long before what the batch says of it.
    let batch = Batch {
        connections: vec![connection(1, 1, Outcome::Pending), connection(2, 2, Outcome::Pending)],
        drops: vec![packet_drop(1, 3, None, Attribution::None)],
        counted: vec![
            trouble(CountedKind::Drop, 1),
            trouble(CountedKind::Trouble(TroubleKind::Retransmit), 2),
        ],
        losses: vec![Loss { wall_ns: 4, place: LossPlace::Orphaned, kind: LossKind::Accept, count: 3 }],
        until_ns: Some(3_600_000_000_000),
        ..Batch::default()
    };
    for _ in 0..3 {
        sink.write(&batch).unwrap_err();
    }
    let store = |kind, count| ((LossPlace::Store, kind), count);
    let at_the_end = Window { since_ns: 3_600_000_000_000, until_ns: i64::MAX };
    let lost = BTreeMap::from([
        store(LossKind::Connection, 6),
        store(LossKind::PacketDrop, 18),
        store(LossKind::Retransmit, 30),
    ]);
    assert_eq!(history.losses(at_the_end).unwrap(), lost);
    assert_eq!(history.losses(EVER).unwrap()[&(LossPlace::Orphaned, LossKind::Accept)], 9);
    assert_eq!(history.connections(&ALL, 1).unwrap().total, 0);
    editor.execute_batch("ALTER TABLE hidden RENAME TO programs").unwrap();
    sink.write(&Batch::default()).unwrap();
    drop((sink, history));
    let (_sink, history) = open(&path, Keep::default()).unwrap();
    assert_eq!(history.losses(at_the_end).unwrap(), lost, "they are in the file now");
}
