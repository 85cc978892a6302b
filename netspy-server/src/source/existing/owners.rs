//! Who has a socket open: the `socket:[inode]` links of `/proc/*/fd`.

use std::{collections::HashMap, fs, io, path::Path};

use crate::domain::Thread;

/// Processes by the inodes of the sockets that they have open.
pub(super) struct Owners(HashMap<u32, Thread>);

impl Owners {
    /// Looks at every process. The lowest pid wins: the others usually are its children.
    pub(super) fn read() -> io::Result<Self> {
        let mut pids: Vec<u32> = fs::read_dir("/proc")?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .collect();
        pids.sort_unstable();
        let ns_per_tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        let mut owners = HashMap::new();
        for pid in pids {
            let directory = Path::new("/proc").join(pid.to_string());
            let inodes = socket_inodes(&directory);
            if inodes.is_empty() {
                continue;
            }
            let Some(thread) = leader(&directory, pid, ns_per_tick) else { continue };
            for inode in inodes {
                owners.entry(inode).or_insert(thread);
            }
        }
        Ok(Self(owners))
    }

    /// Who has the socket with this inode open.
    pub(super) fn of(&self, inode: u32) -> Option<Thread> {
        self.0.get(&inode).copied()
    }
}

fn socket_inodes(process: &Path) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(process.join("fd")) else { return Vec::new() };
    let links = entries.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    links.filter_map(|link| socket_inode(link.to_str()?)).collect()
}

/// `socket:[4711]` → 4711
fn socket_inode(link: &str) -> Option<u32> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The process's first thread, from `stat` and `status` (proc(5)).
fn leader(process: &Path, pid: u32, ns_per_tick: u64) -> Option<Thread> {
    let stat = fs::read(process.join("stat")).ok()?;
    let (open, close) =
        (stat.iter().position(|byte| *byte == b'(')?, stat.iter().rposition(|byte| *byte == b')')?);
    let name = stat.get(open + 1..close)?;
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let started: u64 = rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()?;
    let status = fs::read_to_string(process.join("status")).ok()?;
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:")?.split_ascii_whitespace().next())?;
    let mut comm = [0; 16];
    let length = name.len().min(comm.len() - 1);
    comm[..length].copy_from_slice(&name[..length]);
    let started_ns = started.saturating_mul(ns_per_tick);
    let uid = uid.parse().ok()?;
    Some(Thread { pid, tid: pid, uid, exec_id: 0, cgroup_id: 0, started_ns, comm, name: comm })
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, os::unix::fs::MetadataExt};

    use super::*;

    #[test]
    fn a_link_to_a_socket_tells_its_inode() {
        assert_eq!(socket_inode("socket:[4711]"), Some(4711));
        assert_eq!(socket_inode("pipe:[4711]"), None);
        assert_eq!(socket_inode("socket:[x]"), None);
    }

    #[test]
    fn this_process_owns_its_sockets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&listener));
        let inode = fs::metadata(link).unwrap().ino() as u32;
        let owner = Owners::read().unwrap().of(inode).unwrap();
        assert_eq!(owner.pid, std::process::id());
        assert_eq!(owner.uid, rustix::process::getuid().as_raw());
        assert!(owner.started_ns > 0);
    }
}
