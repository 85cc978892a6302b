//! Where a process runs: from the id of its cgroup, which the kernel tells with each event, and where version 1
//! hierarchies hold the units (the id is the unified hierarchy's), from `/proc` as long as the process is there.

mod path;

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{DirEntryExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::domain::Thread;
pub use path::Place;
use path::{place_of, place_of_all};

/// Cgroups remembered at once; all are forgotten when there are more.
const REMEMBERED: usize = 16_384;
/// Id of the unified hierarchy's root: the first that is given (`kernfs_create_root`).
const ROOT: u64 = 1;
/// Cgroups below each other that are looked at.
const DEPTH: u32 = 32;
/// The tree may have thousands of directories: walking it takes no more than one part in so many of the time.
const WALK_SHARE: u32 = 50;

/// Cgroups by id.
pub struct Cgroups {
    proc: PathBuf,
    /// Whether the unified hierarchy is the only one: then the id says all there is to say.
    unified: bool,
    places: HashMap<u64, Place>,
    /// When the tree was last walked, and how long that took.
    walked: (Instant, Duration),
}

impl Cgroups {
    /// Looks at the cgroups that there are. `proc` is `/proc`.
    pub fn new(proc: PathBuf) -> Self {
        let own = fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default();
        let unified = own.lines().all(|line| line.starts_with("0::"));
        let walked = (Instant::now(), Duration::ZERO);
        let mut cgroups = Self { proc, unified, places: HashMap::new(), walked };
        cgroups.walk();
        cgroups
    }

    /// Where a thread ran. `is_same` says whether a process id still is the same process's.
    pub fn place(&mut self, thread: &Thread, is_same: impl Fn(&Path) -> bool) -> Place {
        if let Some(place) = self.places.get(&thread.cgroup_id)
            && (self.unified || *place != Place::default())
        {
            return place.clone();
        }
        let directory = self.proc.join(thread.pid.to_string());
        if let Ok(text) = fs::read_to_string(directory.join("cgroup"))
            && is_same(&directory)
            && (!self.unified || thread.cgroup_id == 0 || self.is_in(&text, thread.cgroup_id))
        {
            let place = place_of_all(&text);
            if self.unified && thread.cgroup_id != 0 {
                self.remember(thread.cgroup_id, place.clone());
            }
            return place;
        }
        if thread.cgroup_id != 0
            && !self.places.contains_key(&thread.cgroup_id)
            && self.walked.0.elapsed() > self.walked.1 * WALK_SHARE
        {
            self.walk();
        }
        self.places.get(&thread.cgroup_id).cloned().unwrap_or_default()
    }

    /// Whether the process has not been moved since the event.
    fn is_in(&self, text: &str, cgroup_id: u64) -> bool {
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"));
        path.zip(self.mount()).is_some_and(|(path, mount)| {
            fs::metadata(mount.join(path)).is_ok_and(|directory| directory.ino() == cgroup_id)
        })
    }

    fn remember(&mut self, cgroup_id: u64, place: Place) {
        if self.places.len() >= REMEMBERED {
            self.places.clear();
        }
        self.places.insert(cgroup_id, place);
    }

    /// Learns the whole unified hierarchy: the id of a cgroup is the inode number of its directory.
    fn walk(&mut self) {
        let began = Instant::now();
        if let Some(mount) = self.mount() {
            if let Ok(root) = fs::metadata(&mount) {
                self.remember(root.ino(), Place::default());
            }
            self.walk_below(&mount, "", DEPTH);
        }
        self.walked = (Instant::now(), began.elapsed());
    }

    fn walk_below(&mut self, directory: &Path, path: &str, depth: u32) {
        let Ok(entries) = fs::read_dir(directory) else { return };
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let path = format!("{path}/{}", entry.file_name().to_string_lossy());
            self.remember(entry.ino(), place_of(&path));
            if depth > 0 {
                self.walk_below(&entry.path(), &path, depth - 1);
            }
        }
    }

    /// Where the whole of the unified hierarchy is mounted. What `mountinfo` says of a mount's root does not tell: in
    /// a cgroup namespace, as a pod has one, `/` is the namespace's own cgroup.
    fn mount(&self) -> Option<PathBuf> {
        let mounts = fs::read_to_string(self.proc.join("self/mountinfo")).ok()?;
        mounts.lines().filter_map(mount_of_unified).find(|at| is_whole(at))
    }
}

/// The mount point in a line of `mountinfo`, proc(5), if it is one of the unified hierarchy or a part of it.
fn mount_of_unified(line: &str) -> Option<PathBuf> {
    let (mount, filesystem) = line.split_once(" - ")?;
    filesystem.starts_with("cgroup2 ").then(|| mount.split(' ').nth(4).map(PathBuf::from))?
}

fn is_whole(mount: &Path) -> bool {
    fs::metadata(mount).is_ok_and(|directory| directory.ino() == ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_unified_hierarchy_are_known_by_their_type() {
        for unified in [
            "38 27 0:32 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw",
            "38 27 0:32 /../../.. /sys/fs/cgroup ro - cgroup2 cgroup rw",
        ] {
            assert_eq!(mount_of_unified(unified), Some("/sys/fs/cgroup".into()), "{unified}");
        }
        for other in
            ["39 27 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids", "nonsense", " - cgroup2 "]
        {
            assert_eq!(mount_of_unified(other), None, "{other}");
        }
    }

    #[test]
    fn a_part_of_the_hierarchy_is_not_the_whole() {
        let cgroups = Cgroups::new("/proc".into());
        let whole = cgroups.mount().unwrap();
        let part =
            fs::read_dir(&whole).unwrap().flatten().map(|entry| entry.path()).find(|path| path.is_dir());
        assert!(is_whole(&whole) && part.is_none_or(|part| !is_whole(&part)));
    }
}
