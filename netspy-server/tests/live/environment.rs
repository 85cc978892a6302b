//! Worse surroundings for a server: fewer privileges, other kernel types, no loopback.

use std::{fs, os::unix::process::CommandExt, process::Command};

use rustix::{
    mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount},
    thread::UnshareFlags,
};

use crate::types::VMLINUX;

/// Where tracefs stands, and debugfs, below which the kernel mounts it again.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug"];

/// What is different. Nothing, by default.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The only capabilities that the process can have, by number.
    pub capabilities: Option<Vec<u8>>,
    /// What stands in `/sys/kernel/btf/vmlinux`; empty: no such file.
    pub types: Option<Vec<u8>>,
    /// A network namespace in which no interface is up.
    pub without_network: bool,
    /// Whoever has mounted tracefs, it is not mounted here.
    pub without_tracefs: bool,
}

/// An environment whose files exist as long as it does.
pub struct Prepared {
    environment: Environment,
    types: Option<tempfile::NamedTempFile>,
}

impl Environment {
    /// Writes the files that it needs.
    pub fn prepare(self) -> Prepared {
        let types = self.types.as_ref().filter(|types| !types.is_empty()).map(|types| {
            let file = tempfile::NamedTempFile::new().unwrap();
            fs::write(file.path(), types).unwrap();
            file
        });
        Prepared { environment: self, types }
    }
}

impl Prepared {
    /// The command will run there.
    pub fn surround(&self, command: &mut Command) {
        let Environment { capabilities, types, without_network, without_tracefs } = self.environment.clone();
        let file = self.types.as_ref().map(|file| file.path().to_owned());
        let mut unshare = UnshareFlags::empty();
        unshare.set(UnshareFlags::NEWNET, without_network);
        let mounts = types.is_some() || without_tracefs;
        unshare.set(UnshareFlags::NEWNS, mounts);
        let enter = move || {
            // SAFETY: the child has one thread, and nothing in it refers to the namespaces it leaves.
            unsafe { rustix::thread::unshare_unsafe(unshare) }?;
            if mounts {
                mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
            }
            match (&types, &file) {
                (Some(_), Some(file)) => mount_bind(file, VMLINUX)?,
                (Some(_), None) => {
                    mount("none", "/sys/kernel/btf", "tmpfs", MountFlags::empty(), None)?;
                }
                (None, _) => {}
            }
            for place in TRACEFS.into_iter().filter(|_| without_tracefs) {
                // Fails where nothing is mounted.
                let _ = unmount(place, UnmountFlags::DETACH);
            }
            for capability in
                (0..64_u8).filter(|c| capabilities.as_ref().is_some_and(|kept| !kept.contains(c)))
            {
                // SAFETY: integers only. It fails for numbers that the kernel does not know.
                unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability), 0, 0, 0) };
            }
            Ok(())
        };
        // SAFETY: the closure makes system calls on values made before the fork, and nothing else.
        unsafe { command.pre_exec(enter) };
    }
}
