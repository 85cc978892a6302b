//! The server as systemd's service: what it tells systemd and the journal, sockets that it is handed, and how tightly
//! the unit holds it. systemd itself does not run here; its part is played by sockets and files of the test.

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::{
            fs::MetadataExt,
            net::{UnixDatagram, UnixListener},
        },
    },
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use netspy_api::{Client, ListRequest};
use rustix::process::Signal;

use crate::server::{Installed, NOBODY, Running, failure};

/// A shell that becomes the server, so that variables can hold its process id.
fn shell(installed: &Installed, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(installed.0.path());
    command
}

#[test]
fn systemd_is_told_when_it_serves_lives_reloads_and_ends() {
    let installed = Installed::new();
    let socket = UnixDatagram::bind(installed.path("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    };
    // Another word than WATCHDOG, which comes in between.
    let news = || std::iter::repeat_with(told).find(|word| word != "WATCHDOG=1").unwrap();
    let script = "WATCHDOG_PID=$$ exec ./netspy-server --port 0 --replay demo.netspy";
    let mut command = shell(&installed, script);
    command.env("NOTIFY_SOCKET", installed.path("notify")).env("WATCHDOG_USEC", "200000");
    let server = Running::start(&mut command);
    assert_eq!(news(), "READY=1");
    assert!((0..3).all(|_| told() == "WATCHDOG=1"));
    server.signal(Signal::HUP);
    let reloading = news();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(news(), "READY=1");
    server.signal(Signal::TERM);
    assert_eq!(news(), "STOPPING=1");
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

#[test]
fn a_journals_lines_begin_with_their_priority_and_have_no_time() {
    let installed = Installed::new();
    let path = installed.path("journal");
    let journal = File::create(&path).unwrap();
    let metadata = journal.metadata().unwrap();
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    let mut command = installed.command(&["--listen", "0.0.0.0:0", "--replay", "demo.netspy"]);
    command.env("JOURNAL_STREAM", stream).stderr(Stdio::from(journal));
    assert_eq!(command.status().unwrap().code(), Some(1));
    let mut log = String::new();
    File::open(&path).unwrap().read_to_string(&mut log).unwrap();
    assert!(log.starts_with("<3>--listen 0.0.0.0:0: anybody who can reach"), "{log}");
    // Another standard error than the one that the variable means is no journal.
    let text = installed.fails(&["--listen", "0.0.0.0:0", "--replay", "demo.netspy"]);
    assert!(text.contains("ERROR"), "{text}");
}

/// Everything that the unit gives: capabilities, a network of its own, sockets that were opened outside, and
/// `/proc/kallsyms` as standard input.
#[tokio::test]
async fn sockets_and_symbols_that_are_handed_over_are_used() {
    let installed = Installed::new();
    std::os::unix::fs::chown(installed.0.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let unix = UnixListener::bind(installed.path("handed.sock")).unwrap();
    let address = tcp.local_addr().unwrap();
    let given = "+bpf,+perfmon,+sys_ptrace,+dac_read_search,+sys_admin";
    // Descriptors 3 and 4 are what `sd_listen_fds(3)` means; in between standard input and output carry them.
    let script = format!(
        "exec 3<&0 4<&1 </proc/kallsyms 1>&2; ip link set lo up; \
         LISTEN_PID=$$ LISTEN_FDS=2 exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups \
         --inh-caps={given} --ambient-caps={given} -- ./netspy-server --db history.db"
    );
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", &script]).current_dir(installed.0.path());
    command.stdin(Stdio::from(OwnedFd::from(tcp))).stdout(Stdio::from(OwnedFd::from(unix)));
    let server = Running::start(&mut command);
    assert_eq!(server.url, format!("http://{address}"));
    server.said(&format!("serving on unix:{}", installed.path("handed.sock").display()));

    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert!(TcpStream::connect(closed).is_err());
    let over_unix = Client::new(&format!("unix:{}", installed.path("handed.sock").display())).unwrap();
    for client in [Client::new(&server.url).unwrap(), over_unix] {
        assert_eq!(client.health().await.unwrap().programs.len(), 12);
        let all = ListRequest { limit: Some(10_000), ..ListRequest::default() };
        let drops = client.list_packet_drops(&all).await.unwrap().events_by_pid;
        let at_closed = |drop: &&netspy_api::DropEvent| drop.destination == Some(closed.to_string());
        let drop = drops.values().flatten().find(at_closed).unwrap();
        assert!(drop.location.contains("+0x"), "{drop:?}");
    }
    assert_eq!(server.stop(Signal::TERM), Some(0));
    assert!(installed.path("handed.sock").exists(), "it is systemd's to remove");
}

/// What systemd opened is as public as what the server opens itself.
#[test]
fn a_socket_that_is_handed_over_needs_tokens_where_others_can_reach_it() {
    let installed = Installed::new();
    let outside = TcpListener::bind("0.0.0.0:0").unwrap();
    let script =
        "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec ./netspy-server --replay demo.netspy \"$@\"";
    let mut command = shell(&installed, script);
    let output = command.stdin(Stdio::from(OwnedFd::from(outside.try_clone().unwrap()))).output().unwrap();
    let text = failure(&output);
    assert!(text.contains("--listen 0.0.0.0:") && text.contains("--token-file"), "{text}");

    let made = installed.command(&["token", "ci", "--file", "tokens"]).output().unwrap();
    assert!(made.status.success());
    let mut command = shell(&installed, script);
    command.args(["sh", "--token-file", "tokens"]).stdin(Stdio::from(OwnedFd::from(outside)));
    let server = Running::start(&mut command);
    let mut stream = TcpStream::connect(server.address().replace("0.0.0.0", "127.0.0.1")).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(server.stop(Signal::TERM), Some(0));
}

#[test]
fn the_unit_leaves_little_to_an_intruder() {
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd");
    // The threshold is in tenths; the exit code says whether the exposure is above it.
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=20"])
        .arg(units.join("netspy-server.service"))
        .output()
        .expect("systemd-analyze is missing: apt-get install systemd");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("Overall exposure level"), "{text}");
}
