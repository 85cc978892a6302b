//! Network namespaces that processes live in.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// One network namespace, held open.
pub(super) struct Namespace {
    /// Its inode number, by which it is known everywhere.
    pub(super) inode: u32,
    file: File,
}

/// Each once. A process that goes away meanwhile takes nothing with it but itself.
pub(super) fn all() -> io::Result<Vec<Namespace>> {
    let mut namespaces = BTreeMap::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        if !entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        let Ok(file) = File::open(entry.path().join("ns/net")) else { continue };
        let Ok(inode) = file.metadata().map(|metadata| metadata.ino() as u32) else { continue };
        namespaces.entry(inode).or_insert(file);
    }
    Ok(namespaces.into_iter().map(|(inode, file)| Namespace { inode, file }).collect())
}

impl Namespace {
    /// Runs `work` inside, in a thread of its own: the namespace belongs to the thread that enters it.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))?;
                Ok(work())
            });
            inside.join().unwrap_or_else(|_| Err(io::Error::other("the thread that looked around panicked")))
        })
    }
}
