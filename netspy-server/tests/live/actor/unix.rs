//! An actor that connects a UNIX socket.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, time::Instant};

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
}

impl Unix {
    pub fn address(&self) -> SockAddr {
        SockAddr::unix(OsStr::from_bytes(&self.name)).unwrap()
    }

    pub fn socket(&self) -> Socket {
        Socket::new(Domain::UNIX, Type::from(self.socket_type), None).unwrap()
    }

    pub(super) fn connect(&self, non_blocking: bool) -> Attempt {
        let socket = self.socket();
        socket.set_nonblocking(non_blocking).unwrap();
        let before = Instant::now();
        let errno = raw_errno(socket.connect(&self.address()).err());
        let took_us = u64::try_from(before.elapsed().as_micros()).unwrap();
        Attempt { errno, took_us, ..Attempt::default() }
    }
}
