//! Attaching to `syscalls:*` needs tracefs to look up an id. Where it is not mounted it is mounted in a
//! mount namespace of one short-lived thread: the machine is left as it was.

use std::{io, path::Path, thread};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    thread::UnshareFlags,
};

const TRACEFS: &str = "/sys/kernel/tracing";

/// Runs `work` where tracefs can be read.
pub fn with_tracefs<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let mounted = [TRACEFS, "/sys/kernel/debug/tracing"];
    if mounted.iter().any(|root| Path::new(root).join("events").exists()) {
        return Ok(work());
    }
    with_mounted("tracefs", TRACEFS, work)
}

/// Runs `work` in a thread that alone sees a file system of this type mounted at `place`.
pub fn with_mounted<T: Send>(kind: &str, place: &str, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            // SAFETY: only this thread's view of the mounts changes, and it ends below.
            #[allow(unsafe_code)]
            unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }?;
            mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
            mount("nodev", place, kind, MountFlags::empty(), None)?;
            Ok(work())
        });
        inside.join().unwrap_or_else(|_| Err(io::Error::other("the thread that mounts panicked")))
    })
}
