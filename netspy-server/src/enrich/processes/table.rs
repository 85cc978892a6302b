//! The processes that are known, by pid and start. Pure: it is told what happened and asked who was who.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::proc::{Found, NS_PER_TICK, ticks};
use crate::domain::{Ancestor, Identity, ProcessId, Thread};

/// Parents, grandparents, … that are remembered of each process.
pub const GENERATIONS: usize = 8;
/// Processes remembered at once.
const MAX_PROCESSES: usize = 32_768;
/// Of them, processes that have ended: events of theirs may still be on their way.
const MAX_ENDED: usize = 8_192;

/// The nearest first.
pub type Chain = Arc<[Arc<Ancestor>]>;

/// What a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Path of the executable.
    pub exe: Option<String>,
    /// Its arguments.
    pub cmdline: Option<String>,
}

/// What the table can say about a thread's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// All.
    Known,
    /// The process has executed something else since: nobody can tell any more.
    Past,
    /// Nothing: it began before netspy, or what was told of it was lost.
    Unknown,
}

/// When a process started, as exactly as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    /// ns since boot.
    Exact(u64),
    /// Clock ticks since boot, from `/proc`.
    Ticks(u64),
}

impl Start {
    /// Whole ticks are from `/proc`; the kernel's own ns are whole ticks once in ten million times.
    fn of(started_ns: u64) -> Self {
        let is_exact = !started_ns.is_multiple_of(NS_PER_TICK);
        if is_exact { Self::Exact(started_ns) } else { Self::Ticks(ticks(started_ns)) }
    }

    fn ticks(self) -> u64 {
        match self {
            Self::Exact(started_ns) => ticks(started_ns),
            Self::Ticks(started_ticks) => started_ticks,
        }
    }
}

struct Entry {
    start: Start,
    /// Which of its programs `image` is; `None` until an event tells.
    exec_id: Option<u32>,
    name: String,
    image: Arc<Image>,
    parents: Chain,
    /// The chain of its children, once it has one.
    of_children: Option<Chain>,
    ended: bool,
}

/// Who is known.
#[derive(Default)]
pub struct Table {
    /// By pid; several where a pid was reused.
    by_pid: HashMap<u32, Vec<Entry>>,
    count: usize,
    /// Who has ended, in that order: pid and start in ns.
    ended: VecDeque<(u32, u64)>,
}

impl Table {
    /// Takes over everybody who is there.
    pub fn found(&mut self, all: Vec<(Image, Found)>) {
        let by_pid: HashMap<u32, (u32, Arc<Ancestor>)> = all
            .iter()
            .map(|(image, found)| {
                let ancestor = Ancestor { pid: found.pid, name: found.name.clone(), exe: image.exe.clone() };
                (found.pid, (found.parent, ancestor.into()))
            })
            .collect();
        for (image, found) in all {
            let above = |pid: &u32| by_pid.get(pid).map(|(parent, _)| *parent);
            let parents = std::iter::successors(Some(found.parent), above);
            let parents = parents.map_while(|pid| by_pid.get(&pid).map(|known| known.1.clone()));
            let parents = parents.take(GENERATIONS).collect();
            self.add(
                found.pid,
                entry(Start::Ticks(found.started_ticks), None, found.name, image.into(), parents),
            );
        }
    }

    /// A process made another, which runs the same program.
    pub fn forked(&mut self, creator: &Thread, child: ProcessId, parent: ProcessId) {
        if self.see(creator, true) != Seen::Known {
            return; // whoever asks for the child has to look it up
        }
        let name = creator.process_name();
        let Some(known) = self.entry(creator.pid, creator.started_ns) else { return };
        if known.name != name {
            known.name = name;
            known.of_children = None;
        }
        let image = known.image.clone();
        let own = known.chain_of_children(creator.pid);
        // With CLONE_PARENT the child's parent is the creator's.
        let parents = if parent.pid == creator.pid {
            own
        } else {
            self.entry(parent.pid, parent.started_ns)
                .map_or_else(|| [].into(), |e| e.chain_of_children(parent.pid))
        };
        // The child's only thread has the name of the thread that made it.
        let name = crate::domain::Process::of_thread(creator).comm;
        self.end_others(child.pid, child.started_ns);
        self.remove(child.pid, child.started_ns);
        self.add(child.pid, entry(Start::of(child.started_ns), Some(child.exec_id), name, image, parents));
    }

    /// A process runs another program from here on.
    pub fn executed(&mut self, thread: &Thread, parent: ProcessId, image: Image) {
        if self.entry(thread.pid, thread.started_ns).is_none() {
            let parents = self.entry(parent.pid, parent.started_ns).map(|e| e.chain_of_children(parent.pid));
            let parents = parents.unwrap_or_else(|| [].into());
            self.learnt(thread, image, parents);
        } else if let Some(known) = self.entry(thread.pid, thread.started_ns) {
            known.runs(thread, image);
        }
    }

    /// The last thread of a process ended.
    pub fn exited(&mut self, process: ProcessId) {
        let Some(known) = self.entry(process.pid, process.started_ns) else { return };
        if !known.ended {
            known.ended = true;
            self.ended.push_back((process.pid, process.started_ns));
        }
        while self.ended.len() > MAX_ENDED {
            self.forget_oldest();
        }
    }

    /// Somebody looked it up.
    pub fn learnt(&mut self, thread: &Thread, image: Image, parents: Chain) {
        if let Some(known) = self.entry(thread.pid, thread.started_ns) {
            known.runs(thread, image);
            return;
        }
        let (start, exec_id) = (Start::of(thread.started_ns), Some(thread.exec_id).filter(|id| *id != 0));
        self.end_others(thread.pid, thread.started_ns);
        self.add(thread.pid, entry(start, exec_id, thread.process_name(), image.into(), parents));
    }

    /// Whether the process of a thread is known as it was then. `told`: the kernel tells of every exec; otherwise only a
    /// name that is still the same makes sure.
    pub fn see(&mut self, thread: &Thread, told: bool) -> Seen {
        let Some(known) = self.entry(thread.pid, thread.started_ns) else { return Seen::Unknown };
        let same_name = known.name == thread.process_name();
        match known.exec_id {
            // From `/proc`, which has no such numbers.
            _ if thread.exec_id == 0 && same_name => Seen::Known,
            // Told or not, an exec that was lost shows in the number.
            Some(exec_id) if exec_id == thread.exec_id => {
                let sure = known.image.exe.is_some() && (told || same_name);
                if sure { Seen::Known } else { Seen::Unknown }
            }
            Some(exec_id) if exec_id > thread.exec_id => Seen::Past,
            None if same_name => {
                known.exec_id = Some(thread.exec_id);
                Seen::Known
            }
            _ => Seen::Unknown,
        }
    }

    /// What is known of a thread's process.
    pub fn identity(&mut self, thread: &Thread) -> Identity {
        let Some(known) = self.entry(thread.pid, thread.started_ns) else { return Identity::default() };
        let parents = known.parents.iter().map(|parent| Ancestor::clone(parent)).collect();
        let same_name = || thread.exec_id == 0 && known.name == thread.process_name();
        let same = known.exec_id == Some(thread.exec_id) || same_name();
        let Image { exe, cmdline } = if same { Image::clone(&known.image) } else { Image::default() };
        Identity { exe, cmdline, parents, ..Identity::default() }
    }

    /// The chain of the children of the process that has this pid now.
    pub fn chain_of_living(&mut self, pid: u32) -> Option<Chain> {
        let known = self.by_pid.get_mut(&pid)?.iter_mut().rev().find(|known| !known.ended)?;
        Some(known.chain_of_children(pid))
    }

    /// Whether nobody can be added.
    pub fn is_full(&self) -> bool {
        self.count >= MAX_PROCESSES && self.ended.is_empty()
    }

    /// Forgets whoever is not there any more.
    pub fn retain(&mut self, is_there: impl Fn(u32) -> bool) {
        self.by_pid.retain(|pid, _| is_there(*pid));
        self.count = self.by_pid.values().map(Vec::len).sum();
    }

    /// The entry of a process; a start that is known in ticks only becomes exact.
    fn entry(&mut self, pid: u32, started_ns: u64) -> Option<&mut Entry> {
        let all = self.by_pid.get_mut(&pid)?;
        let start = Start::of(started_ns);
        let at = all.iter().position(|known| known.start == start).or_else(|| {
            let same = |known: &Entry| match (known.start, start) {
                (Start::Exact(_), Start::Exact(_)) => false,
                _ => known.start.ticks() == start.ticks(),
            };
            all.iter().rposition(same)
        })?;
        let known = &mut all[at];
        if matches!(start, Start::Exact(_)) {
            known.start = start;
        }
        Some(known)
    }

    fn add(&mut self, pid: u32, entry: Entry) {
        while self.count >= MAX_PROCESSES && !self.ended.is_empty() {
            self.forget_oldest();
        }
        // Somebody who is not added is looked up when it is asked for.
        if self.count < MAX_PROCESSES {
            self.by_pid.entry(pid).or_default().push(entry);
            self.count += 1;
        }
    }

    fn remove(&mut self, pid: u32, started_ns: u64) {
        if let Some(all) = self.by_pid.get_mut(&pid) {
            let before = all.len();
            all.retain(|known| known.start != Start::of(started_ns));
            self.count -= before - all.len();
            if all.is_empty() {
                self.by_pid.remove(&pid);
            }
        }
    }

    /// A pid has one living process: an earlier one's end was not told.
    fn end_others(&mut self, pid: u32, started_ns: u64) {
        let Some(all) = self.by_pid.get_mut(&pid) else { return };
        for known in all.iter_mut().filter(|known| !known.ended) {
            if let Start::Exact(other) = known.start
                && other != started_ns
            {
                known.ended = true;
                self.ended.push_back((pid, other));
            }
        }
        let before = all.len();
        all.retain(|known| matches!(known.start, Start::Exact(_)));
        self.count -= before - all.len();
    }

    fn forget_oldest(&mut self) {
        if let Some((pid, started_ns)) = self.ended.pop_front() {
            self.remove(pid, started_ns);
        }
    }
}

fn entry(start: Start, exec_id: Option<u32>, name: String, image: Arc<Image>, parents: Chain) -> Entry {
    Entry { start, exec_id, name, image, parents, of_children: None, ended: false }
}

impl Entry {
    fn runs(&mut self, thread: &Thread, image: Image) {
        self.exec_id = Some(thread.exec_id);
        self.name = thread.process_name();
        self.image = image.into();
        self.of_children = None;
    }

    fn chain_of_children(&mut self, pid: u32) -> Chain {
        let (name, exe) = (&self.name, &self.image.exe);
        let parents = &self.parents;
        let chain = self.of_children.get_or_insert_with(|| {
            let own = Arc::new(Ancestor { pid, name: name.clone(), exe: exe.clone() });
            std::iter::once(own).chain(parents.iter().take(GENERATIONS - 1).cloned()).collect()
        });
        chain.clone()
    }
}

#[cfg(test)]
mod tests;
