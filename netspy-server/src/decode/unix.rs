//! The records of `netspy_common::record::unix`.

use netspy_common::UNIX_PATH_LEN;

use super::fields::Fields;
use crate::domain::Thread;

/// `ERESTARTSYS` (include/linux/errno.h): a signal interrupted the call, which the caller sees as `EINTR` or as
/// another call.
const INTERRUPTED: u32 = 512;

/// A UNIX socket was connected, or could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawUnix {
    /// `CLOCK_MONOTONIC` in ns when the call returned.
    pub time_ns: u64,
    /// Inode number of the socket.
    pub inode: u64,
    /// `CLOCK_MONOTONIC` in ns when the call began.
    pub started_ns: u64,
    /// Who connected.
    pub thread: Thread,
    /// 0, or the errno that the caller got.
    pub errno: u32,
    /// Inode number of the network namespace, or 0.
    pub netns: u32,
    /// `SOCK_*`
    pub socket_type: u8,
    /// The peer's pid, where the kernel knows it.
    pub peer_pid: Option<u32>,
    /// The peer's name: a path, or `@` and an abstract name; `None` where the caller gave none.
    pub path: Option<String>,
    /// Whether its end is going to be told.
    pub watched: bool,
}

/// A connected UNIX socket was closed, or left its peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawUnixClose {
    /// `CLOCK_MONOTONIC` in ns.
    pub time_ns: u64,
    /// Inode number of the socket.
    pub inode: u64,
    /// `CLOCK_MONOTONIC` in ns when the call began that connected it; 0 where that was before the programs.
    pub started_ns: u64,
    /// `netspy_common::closer`
    pub closer: u32,
    /// The socket's error, or 0.
    pub errno: u32,
}

impl Fields<'_> {
    pub(super) fn unix(&mut self, time_ns: u64) -> RawUnix {
        let (inode, started_ns, thread) = (self.u64(), self.u64(), self.thread());
        let (errno, netns) = (self.u32(), self.u32());
        let (socket_type, watched, peer_pid) = (self.u16(), self.u16() != 0, self.u32());
        let length = (self.u32() as usize).min(UNIX_PATH_LEN);
        let path: [u8; UNIX_PATH_LEN] = self.take();
        RawUnix {
            time_ns,
            inode,
            started_ns,
            thread,
            errno: if errno == INTERRUPTED { libc::EINTR.unsigned_abs() } else { errno },
            netns,
            socket_type: u8::try_from(socket_type).unwrap_or(0),
            peer_pid: (peer_pid != 0).then_some(peer_pid),
            path: name(&path[..length]),
            watched,
        }
    }

    pub(super) fn unix_close(&mut self, time_ns: u64) -> RawUnixClose {
        let (inode, started_ns) = (self.u64(), self.u64());
        RawUnixClose { time_ns, inode, started_ns, closer: self.u32(), errno: self.u32() }
    }
}

/// A socket's name as `/proc/net/unix` shows it: `@` for each NUL of an abstract name. Bytes that are not UTF-8
/// become U+FFFD.
fn name(given: &[u8]) -> Option<String> {
    let name = match given {
        [] => return None,
        [0, ..] => given.iter().map(|byte| if *byte == 0 { b'@' } else { *byte }).collect(),
        path => path.split(|byte| *byte == 0).next().unwrap_or_default().to_vec(),
    };
    Some(String::from_utf8_lossy(&name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn names_are_paths_or_abstract() {
        assert_eq!(name(b""), None);
        assert_eq!(name(b"/run/x.sock\0\0").unwrap(), "/run/x.sock");
        assert_eq!(name(b"/run/x.sock").unwrap(), "/run/x.sock");
        assert_eq!(name(b"\0dbus").unwrap(), "@dbus");
        assert_eq!(name(b"\0a\0b\x1b\xff\0").unwrap(), "@a@b\u{1b}\u{fffd}@");
        assert_eq!(name(b"\0").unwrap(), "@");
    }
}
