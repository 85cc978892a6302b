//! The file itself: that it survives, that it is private, and which files are refused and left alone.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::store::schema;

/// The error of an opening that must not succeed.
fn refused(path: &Path) -> String {
    open(path, Keep::default()).err().unwrap().0
}

#[test]
fn history_survives_a_reopening_and_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    let row = connection(1, 1, Outcome::Established { latency_ns: 3 });
    {
        let (mut sink, _history) = open(&path, Keep::default()).unwrap();
        write_connections(&mut sink, std::slice::from_ref(&row));
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", entry.path().display());
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3, "database, -wal and -shm");
    }
    let (_sink, history) = open(&path, Keep::default()).unwrap();
    assert_eq!(history.connections(&ALL, 100).unwrap().rows, [row]);
}

#[test]
fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "x".repeat(5000)).unwrap();
    let error = refused(&text);
    assert!(
        error.contains("is not a database") && error.contains("move it away or pass --db FILE"),
        "{error}"
    );

    let foreign = directory.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    let error = refused(&foreign);
    assert!(error.contains("not netspy's; move it away or pass --db FILE"), "{error}");
    assert_eq!(std::fs::read(&foreign).unwrap(), before);
}

#[test]
fn a_newer_schema_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("history.db");
    drop(open(&path, Keep::default()).unwrap());
    rusqlite::Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", schema::VERSION + 1)
        .unwrap();
    let error = refused(&path);
    assert!(error.contains("later netspy") && error.contains("pass --db FILE"), "{error}");
}

#[test]
fn a_place_that_cannot_be_had_says_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    for path in [directory.path(), &directory.path().join("absent/history.db"), Path::new("")] {
        let error = refused(path);
        assert!(error.contains("cannot open the history") && error.contains("--db FILE"), "{error}");
    }
}
