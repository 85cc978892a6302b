//! Who it was. The server sleeps while these processes live and die: what it says of them can only come from the
//! kernel's records.

use std::{
    collections::HashMap,
    fs,
    os::unix::{ffi::OsStrExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use netspy_api::{Ancestor, ConnectionEvent};
use rustix::process::Signal;

use crate::server::Server;

/// A part of `brief` to be played.
fn brief(words: &[&str]) -> Command {
    let mut command = Command::new(own_exe());
    command.args(words);
    command
}

fn own_exe() -> String {
    std::env::current_exe().unwrap().to_str().unwrap().to_owned()
}

/// This process as a parent.
fn oneself() -> Ancestor {
    let name = fs::read_to_string("/proc/self/comm").unwrap().trim_end().to_owned();
    Ancestor { pid: std::process::id(), name, exe: Some(own_exe()) }
}

/// Plays these parts, one after the other, unseen; what a server started with `words` says, by destination.
fn unseen(words: &[&str], parts: Vec<Command>) -> HashMap<String, ConnectionEvent> {
    let server = Server::start(words);
    server.health();
    server.signal(Signal::STOP);
    for mut part in parts {
        let mut child = part.spawn().unwrap();
        assert!(child.wait().unwrap().success(), "{part:?}");
    }
    server.signal(Signal::CONT);
    let mut events = HashMap::new();
    for event in server.connections(None, None) {
        // A process's life is its own: no other event may have been taken for one of these.
        let destination = event.destination.clone();
        let twice = destination.starts_with("127.7.") && events.contains_key(&destination);
        assert!(!twice, "{destination} twice");
        events.insert(destination, event);
    }
    assert_eq!(server.stop(), Some(0));
    events
}

/// Another name for this test binary, gone when dropped.
struct OtherName(PathBuf);

impl OtherName {
    fn new(name: &str) -> Self {
        let path = Path::new(&own_exe()).with_file_name(format!("{name}-{}", std::process::id()));
        fs::hard_link(own_exe(), &path).unwrap();
        Self(path)
    }

    fn as_str(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for OtherName {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn assert_runs(event: &ConnectionEvent, exe: &str, words: &[&str]) {
    assert_eq!(event.exe.as_deref(), Some(exe), "{event:#?}");
    let cmdline = event.cmdline.as_deref().unwrap();
    // The first word is what the caller wrote for the program's name.
    assert_eq!(cmdline.split(' ').skip(1).collect::<Vec<_>>(), words);
}

/// Processes that do nothing but execute, connect and end: about 2 ms each.
pub fn brief_lives() {
    let destinations: Vec<_> = (1..=40).map(|number| format!("127.7.1.{number}:1")).collect();
    let parts = destinations.iter().map(|to| brief(&["brief-connect", to, "--number", to]));
    let events = unseen(&[], parts.collect());
    let mut pids = Vec::new();
    for to in &destinations {
        let event = &events[to];
        assert_runs(event, &own_exe(), &["brief-connect", to, "--number", to]);
        assert_eq!(event.parents[0], oneself());
        let self_known_as = Path::new(&own_exe()).file_name().unwrap().as_bytes().to_vec();
        assert!(self_known_as.starts_with(event.process.as_bytes()), "{}", event.process);
        pids.push(event.pid);
    }
    pids.sort_unstable();
    pids.dedup();
    assert_eq!(pids.len(), destinations.len());
}

pub fn forked_without_exec() {
    let to = "127.7.2.1:1";
    let event = &unseen(&[], vec![brief(&["brief-fork", to])])[to];
    assert_runs(event, &own_exe(), &["brief-fork", to]);
    // It runs what its parent runs, but is somebody else.
    assert_eq!(event.parents[0].exe, Some(own_exe()));
    assert_eq!(event.parents[1], oneself());
    assert_ne!(event.parents[0].pid, event.pid);
}

pub fn executed_in_place() {
    let (other, before, after) = (OtherName::new("other"), "127.7.3.1:1", "127.7.3.2:1");
    let events = unseen(&[], vec![brief(&["brief-exec", before, other.as_str(), after])]);
    assert_runs(&events[before], &own_exe(), &["brief-exec", before, other.as_str(), after]);
    assert_runs(&events[after], other.as_str(), &["brief-connect", after]);
    assert_eq!(events[before].pid, events[after].pid);
    assert_eq!(events[after].parents[0], oneself());
    assert!(events[after].process.starts_with("other-"));
}

/// Three processes with the same pid, one right after the other.
pub fn reused_pid() {
    let other = OtherName::new("first");
    let most: u32 = fs::read_to_string("/proc/sys/kernel/pid_max").unwrap().trim().parse().unwrap();
    let rounds: Vec<_> = (1..=5)
        .map(|round| {
            ((most - 10 - round).to_string(), [1, 2, 3].map(|turn| format!("127.7.4.{round}{turn}:1")))
        })
        .collect();
    let words = |(pid, [first, second, third]): &(String, [String; 3])| {
        ["brief-reuse", pid, other.as_str(), first, second, third].map(str::to_owned)
    };
    let part = |round| brief(&words(round).each_ref().map(String::as_str));
    let events = unseen(&[], rounds.iter().map(part).collect());
    for round in &rounds {
        let (pid, [first, second, third]) = round;
        assert_runs(&events[first], other.as_str(), &["brief-connect", first]);
        assert_runs(&events[second], &own_exe(), &["brief-connect", second]);
        assert_runs(&events[third], &own_exe(), &words(round).each_ref().map(String::as_str));
        for to in [first, second, third] {
            assert_eq!(events[to].pid.to_string(), *pid);
            assert_eq!(events[to].parents[1], oneself());
        }
    }
}

/// Cgroups as systemd, Docker and Kubernetes make them, made and removed by the test itself.
pub fn in_a_cgroup() {
    let id = "5c0ffee5".repeat(8);
    let table = [
        ("system.slice/netspy-test.service".to_owned(), Some("netspy-test.service".to_owned()), None, None),
        (format!("netspy-docker/{id}"), None, Some(id.clone()), None),
        (
            format!(
                "netspy-kubepods.slice/netspy-kubepods-pod00112233_4455_6677_8899_aabbccddeeff.slice/cri-containerd-{id}.scope"
            ),
            Some(format!("cri-containerd-{id}.scope")),
            Some(id.clone()),
            Some("00112233-4455-6677-8899-aabbccddeeff".to_owned()),
        ),
    ];
    let root = unified_hierarchy();
    let made = table.each_ref().map(|(path, ..)| Cgroup::new(&root, path));
    let destinations = [1, 2, 3].map(|number| format!("127.7.5.{number}:1"));
    let parts = made.iter().zip(&destinations).map(|(cgroup, to)| {
        let (mut part, processes) = (brief(&["brief-connect", to]), cgroup.0.join("cgroup.procs"));
        // SAFETY: the test has no locks that writing a file would take.
        unsafe { part.pre_exec(move || fs::write(&processes, "0")) };
        part
    });
    let events = unseen(&[], parts.collect());
    for ((_, unit, container, pod), to) in table.iter().zip(&destinations) {
        let event = &events[to];
        assert_eq!((&event.unit, &event.container_id, &event.pod_uid), (unit, container, pod), "{event:#?}");
        assert_eq!(event.exe, Some(own_exe()));
    }
}

fn unified_hierarchy() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
    mount.unwrap().split(' ').nth(1).unwrap().into()
}

/// A cgroup, and those above it that were not there, gone when dropped.
struct Cgroup(PathBuf, PathBuf);

impl Cgroup {
    fn new(root: &Path, path: &str) -> Self {
        let path = root.join(path);
        fs::create_dir_all(&path).unwrap();
        Self(path, root.to_owned())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // As far up as they are empty; what others use cannot be removed.
        let mut at = self.0.as_path();
        while at != self.1 && fs::remove_dir(at).is_ok() {
            at = at.parent().unwrap();
        }
    }
}

pub fn hostile_arguments() {
    let to = "127.7.6.1:1";
    let mut part = brief(&["brief-connect", to, "\u{1b}[31m\n'; rm -rf \u{202e}"]);
    part.arg(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    // One MiB; no single argument may have more than 128 KiB (`MAX_ARG_STRLEN`).
    part.args(std::iter::repeat_n("x".repeat(128 << 10 >> 1), 16));
    let event = &unseen(&[], vec![part])[to];
    let cmdline = event.cmdline.as_deref().unwrap();
    let told = format!(
        "{} brief-connect {to} '\u{1b}[31m\n'\\''; rm -rf \u{202e}' \u{fffd}\u{fffd} xxxx",
        own_exe()
    );
    assert!(cmdline.starts_with(&told), "{cmdline:?}");
    assert!(cmdline.ends_with("x…") && cmdline.len() < 600, "{} bytes: {cmdline:?}", cmdline.len());
}

pub fn redacted_arguments() {
    let to = "127.7.7.1:1";
    let secret = || vec![brief(&["brief-connect", to, "--password=hunter2", "https://me:hunter2@host/"])];
    let event = &unseen(&["--cmdline", "redacted"], secret())[to];
    assert_runs(event, &own_exe(), &["brief-connect", to, "--password=***", "https://***@host/"]);
    let event = &unseen(&["--cmdline", "off"], secret())[to];
    assert_eq!((event.exe.as_ref(), &event.cmdline), (Some(&own_exe()), &None));
}
