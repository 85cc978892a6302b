//! The programs in the kernel that this process holds, from what `/proc` tells of its descriptors
//! (`bpf_prog_show_fdinfo` and `bpf_link_show_fdinfo`, kernel/bpf/syscall.c): no privilege is needed for that.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::domain::{ProgramCost, Programs};

const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";
/// All kprobes at once can be switched off here.
const KPROBES: &str = "/sys/kernel/debug/kprobes/enabled";
/// `BPF_PROG_TYPE_KPROBE`
const KPROBE: &str = "2";

/// A descriptor that keeps something in the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Held {
    Program(u32),
    Link(u32),
}

/// What the kernel tells of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    tag: String,
    is_kprobe: bool,
    runs: u64,
    run_ns: u64,
}

/// Of this process.
#[derive(Debug)]
pub struct OwnPrograms {
    descriptors: PathBuf,
    attached: BTreeMap<Held, Option<Told>>,
    /// By tag; asked for once, when they are needed first.
    names: OnceLock<HashMap<String, String>>,
}

impl OwnPrograms {
    /// Those that are attached now are to stay so.
    pub fn now() -> Self {
        Self::of(Path::new("/proc/self/fdinfo"))
    }

    fn of(descriptors: &Path) -> Self {
        let attached = held(descriptors);
        Self { descriptors: descriptors.to_owned(), attached, names: OnceLock::new() }
    }

    fn name(&self, tag: &str) -> String {
        let names =
            self.names.get_or_init(|| names(&fs::read_to_string("/proc/kallsyms").unwrap_or_default()));
        names.get(tag).cloned().unwrap_or_else(|| tag.to_owned())
    }
}

impl Programs for OwnPrograms {
    fn costs(&self) -> Option<Vec<ProgramCost>> {
        let measures = fs::read_to_string(STATISTICS).is_ok_and(|on| on.trim() == "1");
        let programs = || held(&self.descriptors).into_values().flatten();
        measures.then(|| {
            let mut costs = BTreeMap::<String, ProgramCost>::new();
            for told in programs() {
                let name = self.name(&told.tag);
                let none = ProgramCost { name: name.clone(), runs: 0, run_ns: 0 };
                let cost = costs.entry(name).or_insert(none);
                (cost.runs, cost.run_ns) = (cost.runs + told.runs, cost.run_ns + told.run_ns);
            }
            costs.into_values().collect()
        })
    }

    fn detached(&self) -> Vec<String> {
        let now = held(&self.descriptors);
        let gone = self.attached.keys().filter(|held| !now.contains_key(held));
        let mut detached: Vec<_> = gone
            .map(|held| match held {
                Held::Program(id) => format!("program {id} is no longer loaded"),
                Held::Link(id) => format!("link {id} of a program to its hook is gone"),
            })
            .collect();
        let has_kprobes = self.attached.values().flatten().any(|told| told.is_kprobe);
        if has_kprobes && fs::read_to_string(KPROBES).is_ok_and(|on| on.trim() == "0") {
            detached.push(format!("all kprobes of this kernel are switched off: write 1 to {KPROBES}"));
        }
        detached
    }
}

/// Everything that the descriptors hold.
fn held(descriptors: &Path) -> BTreeMap<Held, Option<Told>> {
    let Ok(entries) = fs::read_dir(descriptors) else { return BTreeMap::new() };
    let texts = entries.flatten().filter_map(|entry| fs::read_to_string(entry.path()).ok());
    texts.filter_map(|text| parse(&text)).collect()
}

fn parse(fdinfo: &str) -> Option<(Held, Option<Told>)> {
    let text = |name: &str| {
        fdinfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    let number = |name| text(name).and_then(|text| text.parse::<u64>().ok());
    if let Some(link) = number("link_id") {
        return Some((Held::Link(link.try_into().ok()?), None));
    }
    let id = u32::try_from(number("prog_id")?).ok()?;
    let told = Told {
        tag: text("prog_tag")?.to_owned(),
        is_kprobe: text("prog_type") == Some(KPROBE),
        runs: number("run_cnt").unwrap_or(0),
        run_ns: number("run_time_ns").unwrap_or(0),
    };
    Some((Held::Program(id), Some(told)))
}

/// Names of programs by tag, as the kernel lists them among its symbols: `bpf_prog_TAG_NAME`.
fn names(symbols: &str) -> HashMap<String, String> {
    let named = symbols.lines().filter_map(|line| {
        let symbol = line.split_whitespace().nth(2)?.strip_prefix("bpf_prog_")?;
        let (tag, name) = symbol.split_once('_')?;
        Some((tag.to_owned(), name.to_owned()))
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t2063\nprog_type:\t2\nprog_jited:\t1\n\
        prog_tag:\t6deef7357e7b4530\nmemlock:\t4096\nprog_id:\t42\nrun_time_ns:\t900\nrun_cnt:\t3\nrecursion_misses:\t0\n";
    const LINK: &str = "pos:\t0\nflags:\t02000002\nlink_type:\ttracing\nlink_id:\t7\nprog_tag:\t6deef7357e7b4530\n\
        prog_id:\t42\n";

    #[test]
    fn what_the_kernel_tells_of_a_descriptor() {
        let told = Told { tag: "6deef7357e7b4530".into(), is_kprobe: true, runs: 3, run_ns: 900 };
        assert_eq!(parse(PROGRAM), Some((Held::Program(42), Some(told))));
        assert_eq!(parse(LINK), Some((Held::Link(7), None)));
        assert_eq!(parse("pos:\t0\nflags:\t02\n"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn what_is_gone_is_named() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("3"), PROGRAM).unwrap();
        fs::write(directory.path().join("4"), LINK).unwrap();
        fs::write(directory.path().join("5"), "pos:\t0\n").unwrap();
        let programs = OwnPrograms::of(directory.path());
        let gone = || programs.detached().into_iter().filter(|what| !what.contains("switched off"));
        assert_eq!(gone().count(), 0);
        fs::remove_file(directory.path().join("4")).unwrap();
        assert_eq!(gone().collect::<Vec<_>>(), ["link 7 of a program to its hook is gone"]);
        fs::remove_file(directory.path().join("3")).unwrap();
        assert_eq!(gone().next().unwrap(), "program 42 is no longer loaded");
    }

    #[test]
    fn programs_are_listed_among_the_symbols() {
        let symbols =
            "ffffffff81000000 T _text\nffffffffc0201234 t bpf_prog_6deef7357e7b4530_tcp_v4_connect\t[bpf]\n";
        assert_eq!(names(symbols), [("6deef7357e7b4530".into(), "tcp_v4_connect".into())].into());
    }
}
