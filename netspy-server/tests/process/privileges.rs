//! What the server may still do once it serves, and that it needs not be root.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::process::CommandExt,
    process::Command,
};

use netspy_api::{Client, ConnectionEvent, ListRequest};
use rustix::process::Signal;

use crate::server::{Installed, NOBODY, Running, status_of};

/// `CAP_DAC_READ_SEARCH`, `CAP_SYS_PTRACE`, `CAP_SYS_ADMIN`, `CAP_BPF`, by number (include/uapi/linux/capability.h).
const KEPT: u64 = 1 << 2 | 1 << 19 | 1 << 21 | 1 << 39;
/// What a server that is not root is given, in setpriv's words: `CAP_SYSLOG` and `CAP_PERFMON` are given up.
const GIVEN: &str = "+bpf,+perfmon,+sys_ptrace,+dac_read_search,+sys_admin,+syslog";

/// What every thread of the server has is exactly this much.
#[track_caller]
fn has_only(server: &Running, capabilities: u64) {
    let threads = fs::read_dir(format!("/proc/{}/task", server.child.id())).unwrap();
    let mut count = 0;
    for thread in threads.flatten() {
        let status = thread.path().join("status");
        let of = |field: &str| status_of(status.to_str().unwrap(), field);
        let mask = |field: &str| u64::from_str_radix(&of(field), 16).unwrap();
        assert_eq!(mask("CapEff"), capabilities, "{}", of("Name"));
        assert_eq!(mask("CapPrm"), capabilities);
        assert_eq!((mask("CapInh"), mask("CapAmb")), (0, 0));
        assert_eq!((of("NoNewPrivs"), of("Seccomp")), ("1".to_owned(), "2".to_owned()), "{}", of("Name"));
        count += 1;
    }
    assert!(count > 2, "threads begin after privileges are given up");
}

/// A tracing server, started by this command with the server behind it.
fn traced(installed: &Installed, before: &[&str]) -> Running {
    let words = ["--port", "0", "--db", "history.db", "--socket", "off"];
    let Some((program, rest)) = before.split_first() else {
        return Running::start(&mut installed.command(&words));
    };
    let mut command = Command::new(program);
    command.args(rest).arg("./netspy-server").args(words).current_dir(installed.0.path());
    Running::start(&mut command)
}

async fn own_connections(client: &Client) -> Vec<ConnectionEvent> {
    let pid = Some(std::process::id());
    let request = ListRequest { pid, limit: Some(100), ..ListRequest::default() };
    client.list_connections(&request).await.unwrap().events_by_pid.into_values().flatten().collect()
}

/// It traces, knows who it was, and finds sockets in namespaces of other users' processes, with what it kept.
async fn does_its_work(server: &Running, installed: &Installed) {
    let client = Client::new(&server.url).unwrap();
    let health = client.health().await.unwrap();
    for event in ["connection", "process", "packet_drop", "existing_sockets"] {
        let program = health.programs.iter().find(|program| program.name == event).unwrap();
        assert_eq!(program.status, "active", "{event}: {}", program.note);
    }
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(TcpStream::connect(closed).is_err());
    let seen = own_connections(&client).await;
    let refused = seen.iter().find(|event| event.destination == closed.to_string()).unwrap();
    assert_eq!(refused.outcome, "refused");
    assert_eq!(refused.exe.as_deref(), std::env::current_exe().unwrap().to_str());
    // The place of the drop is a name only for who may read the kernel's addresses.
    let drops = client.list_packet_drops(&ListRequest { limit: Some(1_000), ..ListRequest::default() }).await;
    let drops: Vec<_> = drops.unwrap().events_by_pid.into_values().flatten().collect();
    let drop = drops.iter().find(|drop| drop.destination.as_deref() == Some(&closed.to_string())).unwrap();
    assert!(drop.location.contains("+0x"), "{drop:?}");

    let directory = tempfile::tempdir_in("/tmp").unwrap();
    std::os::unix::fs::chown(directory.path(), Some(NOBODY), None).unwrap();
    let socket = directory.path().join("elsewhere.sock");
    let words = ["--net", "--", "./netspy-server", "--replay", "demo.netspy", "--listen", "off", "--socket"];
    let mut command = Command::new("unshare");
    command.args(words).arg(&socket).current_dir(installed.0.path());
    let elsewhere = Running::start(&mut command);
    let listeners = client.listeners().await.unwrap().listeners;
    let found = listeners.iter().find(|listener| listener.path.as_deref() == socket.to_str());
    assert_eq!(found.map(|listener| listener.pid), Some(elsewhere.child.id()), "{listeners:#?}");
    assert_eq!(elsewhere.stop(Signal::TERM), Some(0));
}

#[tokio::test]
async fn root_keeps_four_capabilities_and_cannot_get_more() {
    let installed = Installed::new();
    let server = traced(&installed, &[]);
    has_only(&server, KEPT);
    let bounding = u64::from_str_radix(&server.status("CapBnd"), 16).unwrap();
    assert_eq!(bounding & !KEPT, 0, "{bounding:x}");
    does_its_work(&server, &installed).await;
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

#[tokio::test]
async fn a_user_with_the_right_capabilities_needs_no_root() {
    let installed = Installed::new();
    std::os::unix::fs::chown(installed.0.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let (user, inherit, ambient) =
        (NOBODY.to_string(), format!("--inh-caps={GIVEN}"), format!("--ambient-caps={GIVEN}"));
    let before = ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", &inherit, &ambient, "--"];
    let server = traced(&installed, &before);
    assert!(server.status("Uid").starts_with(&user));
    has_only(&server, KEPT);
    does_its_work(&server, &installed).await;
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

#[test]
fn a_recording_is_served_without_any() {
    let installed = Installed::new();
    let as_root = installed.replay(&[]);
    has_only(&as_root, 0);
    assert_eq!(as_root.status("CapBnd"), format!("{:016x}", 0));
    assert_eq!(as_root.stop(Signal::TERM), Some(0));
    let mut command = installed.command(&["--port", "0", "--replay", "demo.netspy"]);
    let as_nobody = Running::start(command.uid(NOBODY).gid(NOBODY));
    has_only(&as_nobody, 0);
    assert_eq!(as_nobody.stop(Signal::TERM), Some(0));
}
