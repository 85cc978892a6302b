//! An actor that connects a UNIX socket.

use std::{
    ffi::OsStr,
    io::Write,
    os::unix::ffi::OsStrExt,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Attempt, raw_errno};

/// Which socket, and where to.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Unix {
    /// `SOCK_*`
    pub socket_type: i32,
    /// `sun_path`: abstract if it begins with a NUL.
    pub name: Vec<u8>,
    /// Sent to the peer, which need not read it.
    pub send: Vec<u8>,
    /// Milliseconds from the connect to what comes next.
    pub pause_ms: u64,
    /// Connected to next, before it is closed (datagrams).
    pub then: Option<Vec<u8>>,
}

fn address(name: &[u8]) -> SockAddr {
    SockAddr::unix(OsStr::from_bytes(name)).unwrap()
}

impl Unix {
    pub fn address(&self) -> SockAddr {
        address(&self.name)
    }

    pub fn socket(&self) -> Socket {
        Socket::new(Domain::UNIX, Type::from(self.socket_type), None).unwrap()
    }

    pub(super) fn connect(&self, non_blocking: bool) -> Attempt {
        let mut socket = self.socket();
        socket.set_nonblocking(non_blocking).unwrap();
        let before = Instant::now();
        let since = || u64::try_from(before.elapsed().as_micros()).unwrap();
        let errno = raw_errno(socket.connect(&self.address()).err());
        let took_us = since();
        if errno == 0 {
            socket.write_all(&self.send).unwrap();
            std::thread::sleep(Duration::from_millis(self.pause_ms));
        }
        if let Some(name) = &self.then {
            socket.connect(&address(name)).unwrap();
        }
        drop(socket);
        Attempt { errno, took_us, lasted_us: since(), ..Attempt::default() }
    }
}
