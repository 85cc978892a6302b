//! What the two ends of a connection say to each other, and who ends it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use socket2::{SockAddr, SockRef, Socket};

use super::raw_errno;

/// A conversation over a connection; the peer does the mirror image of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Talk {
    /// Bytes that the connecting end sends first.
    pub send: usize,
    /// Bytes that it then receives.
    pub receive: usize,
    /// Shell command between the two.
    pub meanwhile: Option<String>,
    /// Milliseconds that both wait before the end.
    pub pause_ms: u64,
    /// How it ends.
    pub end: End,
}

/// Who ends a conversation, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// The connecting end closes first.
    #[default]
    Close,
    /// The accepting end closes first.
    PeerCloses,
    /// The connecting end resets (`SO_LINGER` of 0 s).
    Reset,
    /// The accepting end resets.
    PeerResets,
    /// Whatever is sent is not answered any more (`TCP_USER_TIMEOUT`).
    Timeout,
}

impl Talk {
    /// The accepting end's part; returns when its socket is closed.
    pub fn answer(&self, mut socket: TcpStream) {
        let mut received = vec![0; self.send];
        socket.read_exact(&mut received).unwrap();
        socket.write_all(&vec![7; self.receive]).unwrap();
        sleep(Duration::from_millis(self.pause_ms));
        match self.end {
            End::PeerCloses => {}
            End::PeerResets => SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap(),
            End::Timeout => {
                sleep(Duration::from_secs(3));
                // Its FIN would not be acknowledged either: sent again for minutes, it would end amid another scenario.
                SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
            }
            End::Close | End::Reset => {
                let _ = socket.read(&mut [0]);
            }
        }
    }

    /// The connecting end's part; the error that it ended with.
    pub(super) fn begin(&self, socket: &Socket) -> i32 {
        let mut socket = socket;
        if self.end == End::Timeout {
            socket.set_tcp_user_timeout(Some(Duration::from_millis(500))).unwrap();
        }
        socket.write_all(&vec![7; self.send]).unwrap();
        let mut received = vec![0; self.receive];
        socket.read_exact(&mut received).unwrap();
        sleep(Duration::from_millis(self.pause_ms));
        if let Some(command) = &self.meanwhile {
            assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
        }
        match self.end {
            End::Close => 0,
            End::Reset => {
                socket.set_linger(Some(Duration::ZERO)).unwrap();
                0
            }
            End::Timeout => {
                socket.write_all(b"hello?").unwrap();
                raw_errno(socket.read(&mut [0]).err())
            }
            End::PeerResets => raw_errno(socket.read(&mut [0]).err()),
            End::PeerCloses => {
                let errno = raw_errno(socket.read(&mut [0]).err());
                if errno == 0 { wait_for_peer(socket) } else { errno }
            }
        }
    }
}

/// Waits until the peer's socket has its FIN acknowledged: then it is one in TIME-WAIT, whose timer is number 3
/// (`proc_net_tcp.rst` of the kernel's documentation), or, where its owner still held it, stays one in FIN-WAIT-2, with the timer
/// number 2. Where the kernel has no room for another one in TIME-WAIT it is gone, and what comes for it is answered with a RST,
/// which is the error.
fn wait_for_peer(socket: &Socket) -> i32 {
    let port = |address: SockAddr| format!(":{:04X}", address.as_socket().unwrap().port());
    let begun = Instant::now();
    // A socket that was reset has no peer.
    while let (Ok(here), Ok(there)) = (socket.local_addr().map(port), socket.peer_addr().map(port)) {
        let is_peer = |line: &str| {
            let mut fields = line.split_whitespace().skip(1);
            let (local, remote) = (fields.next().unwrap(), fields.next().unwrap());
            let (state, timer) = (fields.next().unwrap(), fields.nth(1).unwrap());
            let waits = timer.starts_with("03:") || (state == "05" && timer.starts_with("02:"));
            local.ends_with(&there) && remote.ends_with(&here) && waits
        };
        let sockets = |name| fs::read_to_string(format!("/proc/self/net/{name}")).unwrap_or_default();
        if ["tcp", "tcp6"].iter().any(|name| sockets(name).lines().any(is_peer)) {
            return 0;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the peer has not closed its end");
        sleep(Duration::from_millis(1));
    }
    libc::ECONNRESET
}
