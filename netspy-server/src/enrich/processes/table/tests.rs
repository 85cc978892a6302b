//! The table against lives of processes, told event by event.

use super::*;

const TICK: u64 = 10_000_000;

fn thread(pid: u32, started_ns: u64, exec_id: u32, name: &str) -> Thread {
    let mut thread = Thread { pid, tid: pid, started_ns, exec_id, ..Thread::default() };
    thread.name[..name.len()].copy_from_slice(name.as_bytes());
    thread.comm = thread.name;
    thread
}

fn image(exe: &str) -> Image {
    Image { exe: Some(exe.into()), cmdline: Some(format!("{exe} -x")) }
}

fn found(pid: u32, parent: u32, started_ticks: u64, name: &str) -> (Image, Found) {
    let found = Found { pid, parent, started_ticks, name: name.into(), ..Found::default() };
    (image(&format!("/bin/{name}")), found)
}

/// A machine with init (1), sshd (10) and a shell (20), which was started 2 s after boot.
fn machine() -> (Table, Thread) {
    let mut table = Table::default();
    table.found(vec![found(20, 10, 200, "sh"), found(10, 1, 100, "sshd"), found(1, 0, 0, "init")]);
    (table, thread(20, 200 * TICK + 7, 3, "sh"))
}

fn exe(table: &mut Table, thread: &Thread) -> Option<String> {
    table.identity(thread).exe
}

fn parents(table: &mut Table, thread: &Thread) -> Vec<u32> {
    table.identity(thread).parents.iter().map(|parent| parent.pid).collect()
}

#[test]
fn who_was_there_is_known_once_an_event_names_them() {
    let (mut table, shell) = machine();
    assert_eq!(table.see(&shell, true), Seen::Known);
    assert_eq!(
        (exe(&mut table, &shell).as_deref(), parents(&mut table, &shell)),
        (Some("/bin/sh"), vec![10, 1])
    );
    let reused = Thread { started_ns: shell.started_ns + TICK, ..shell };
    assert_eq!((table.see(&reused, true), exe(&mut table, &reused)), (Seen::Unknown, None));
    let renamed = thread(10, 100 * TICK + 1, 1, "other");
    assert_eq!(table.see(&renamed, true), Seen::Unknown);
}

#[test]
fn a_child_runs_what_its_parent_runs_until_it_executes_something() {
    let (mut table, shell) = machine();
    let child = ProcessId { pid: 21, exec_id: 3, started_ns: 300 * TICK + 1 };
    table.forked(&shell, child, shell.process());
    let forked = thread(21, child.started_ns, 3, "sh");
    assert_eq!(table.see(&forked, true), Seen::Known);
    assert_eq!(
        (exe(&mut table, &forked).as_deref(), parents(&mut table, &forked)),
        (Some("/bin/sh"), vec![20, 10, 1])
    );

    let executed = thread(21, child.started_ns, 4, "curl");
    table.executed(&executed, shell.process(), image("/bin/curl"));
    assert_eq!((table.see(&executed, true), table.see(&forked, true)), (Seen::Known, Seen::Past));
    assert_eq!(table.identity(&executed).cmdline.as_deref(), Some("/bin/curl -x"));
    assert_eq!(parents(&mut table, &executed), [20, 10, 1]);
    // What it ran before is not asked of whoever is there now, and is not what it runs now.
    assert_eq!((exe(&mut table, &forked), parents(&mut table, &forked)), (None, vec![20, 10, 1]));
    // A grandchild's parent is what its parent runs.
    let grandchild = ProcessId { pid: 22, exec_id: 4, started_ns: 301 * TICK + 1 };
    table.forked(&executed, grandchild, executed.process());
    let parent = &table.identity(&thread(22, grandchild.started_ns, 4, "curl")).parents[0];
    assert_eq!((parent.name.as_str(), parent.exe.as_deref()), ("curl", Some("/bin/curl")));
}

#[test]
fn a_child_given_to_its_creators_parent_has_that_parent() {
    let (mut table, shell) = machine();
    let (child, sshd) =
        (ProcessId { pid: 21, exec_id: 3, started_ns: 5 }, thread(10, 100 * TICK + 1, 1, "sshd"));
    table.forked(&shell, child, sshd.process());
    let child = thread(21, 5, 3, "sh");
    assert_eq!(
        (exe(&mut table, &child).as_deref(), parents(&mut table, &child)),
        (Some("/bin/sh"), vec![10, 1])
    );
}

#[test]
fn an_exec_that_was_lost_is_noticed() {
    let (mut table, shell) = machine();
    assert_eq!(table.see(&shell, true), Seen::Known);
    let later = thread(20, shell.started_ns, 4, "sh");
    assert_eq!((table.see(&later, true), exe(&mut table, &later)), (Seen::Unknown, None));
    // Its child's program is not known either, rather than the old one.
    table.forked(&later, ProcessId { pid: 21, exec_id: 4, started_ns: 5 }, later.process());
    assert_eq!(exe(&mut table, &thread(21, 5, 4, "sh")), None);
}

#[test]
fn a_pid_that_is_reused_within_one_clock_tick_is_two_processes() {
    let (mut table, shell) = machine();
    let (first, second) = (thread(30, TICK + 1, 3, "sh"), thread(30, TICK + 2, 3, "sh"));
    table.forked(&shell, first.process(), shell.process());
    let curl = thread(30, TICK + 1, 4, "curl");
    table.executed(&curl, shell.process(), image("/bin/curl"));
    table.exited(curl.process());
    table.forked(&shell, second.process(), shell.process());
    assert_eq!(exe(&mut table, &curl).as_deref(), Some("/bin/curl"), "it may still have events on their way");
    assert_eq!(exe(&mut table, &second).as_deref(), Some("/bin/sh"));
    assert_eq!(table.chain_of_living(30).unwrap()[0].name, "sh");
}

#[test]
fn an_end_that_was_not_told_shows_when_the_pid_is_reused() {
    let (mut table, shell) = machine();
    let heir = thread(10, 400 * TICK + 1, 3, "sh");
    table.forked(&shell, heir.process(), shell.process());
    assert_eq!(table.chain_of_living(10).unwrap()[0].name, "sh");
    assert_eq!(exe(&mut table, &thread(10, 100 * TICK + 1, 1, "sshd")), None);
}

#[test]
fn without_the_kernels_word_only_the_same_name_is_the_same_program() {
    let mut table = Table::default();
    let cat = thread(5, 6, 2, "cat");
    table.learnt(&cat, image("/bin/cat"), [].into());
    assert_eq!(table.see(&cat, false), Seen::Known);
    assert_eq!(table.see(&thread(5, 6, 2, "dog"), false), Seen::Unknown);
    assert_eq!(table.see(&thread(5, 6, 2, "dog"), true), Seen::Known);
}

#[test]
fn a_long_line_of_parents_is_cut() {
    let (mut table, mut parent) = machine();
    for pid in 100..200 {
        let child = thread(pid, pid.into(), 3, "sh");
        table.forked(&parent, child.process(), parent.process());
        table.exited(parent.process());
        parent = child;
    }
    assert_eq!(parents(&mut table, &parent), [198, 197, 196, 195, 194, 193, 192, 191]);
}

#[test]
fn memory_is_bounded_and_the_living_are_kept() {
    let (mut table, shell) = machine();
    for number in 0..3 * MAX_PROCESSES as u32 {
        let child = thread(1000 + number, u64::from(number) * TICK + 1, 3, "sh");
        table.forked(&shell, child.process(), shell.process());
        table.exited(child.process());
    }
    assert_eq!((table.count, table.ended.len()), (MAX_ENDED + 3, MAX_ENDED));
    for number in 0..MAX_PROCESSES as u32 {
        let child = thread(1000 + number, (1 << 40) + 1, 3, "sh");
        table.forked(&shell, child.process(), shell.process());
    }
    assert_eq!((table.count, table.is_full()), (MAX_PROCESSES, true));
    assert_eq!((table.see(&shell, true), exe(&mut table, &shell).as_deref()), (Seen::Known, Some("/bin/sh")));
    table.retain(|pid| pid < 1010);
    assert_eq!((table.count, table.is_full()), (13, false));
}

#[test]
fn a_thread_that_proc_named_is_the_same_process() {
    let (mut table, shell) = machine();
    let listed = thread(20, 200 * TICK, 0, "sh");
    assert_eq!(
        (table.see(&listed, true), exe(&mut table, &listed).as_deref()),
        (Seen::Known, Some("/bin/sh"))
    );
    assert_eq!((table.see(&shell, true), table.count), (Seen::Known, 3));
    assert_eq!(exe(&mut table, &listed).as_deref(), Some("/bin/sh"));
    let became = thread(20, shell.started_ns, 4, "cat");
    table.executed(&became, shell.process(), image("/bin/cat"));
    assert_eq!((table.see(&listed, true), exe(&mut table, &listed)), (Seen::Past, None));
    let other = thread(21, 5 * TICK, 0, "x");
    table.learnt(&other, image("/bin/x"), [].into());
    assert_eq!(exe(&mut table, &other).as_deref(), Some("/bin/x"));
    assert_eq!(table.see(&thread(21, 5 * TICK + 1, 9, "x"), true), Seen::Known);
}
