//! The life of a process: who made it, what it runs, when it ends.

use super::{ProcessId, RecordHeader, Task};
use crate::{ARGUMENTS_LEN, PATH_LEN};

/// A process was made (`sched_process_fork`; threads are not reported). It runs what its creator runs.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForkRecord {
    /// Kind [`super::kind::FORK`].
    pub header: RecordHeader,
    /// Who called fork.
    pub creator: Task,
    /// The new process.
    pub child: ProcessId,
    /// Its parent: the creator, or with `CLONE_PARENT` the creator's parent.
    pub parent: ProcessId,
}

/// A process runs another program from here on (`sched_process_exec`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecRecord {
    /// Kind [`super::kind::EXEC`].
    pub header: RecordHeader,
    /// Who: the names and `exec_id` are the new program's.
    pub task: Task,
    /// The parent at this moment.
    pub parent: ProcessId,
    /// Length of all arguments in bytes (`mm->arg_end - mm->arg_start`).
    pub arguments_length: u32,
    /// Bytes of them that are in `arguments`; 0 where they could not be read.
    pub arguments_read: u32,
    /// Bytes used in `path`; 0 where the path is deeper or longer than what fits.
    pub path_length: u32,
    /// Explicit padding, always 0.
    pub pad: u32,
    /// Path of the executable (`mm->exe_file`) up to the root of its mount namespace: names of its components,
    /// the last one first, each ended by NUL.
    pub path: [u8; PATH_LEN],
    /// The first arguments, each ended by NUL.
    pub arguments: [u8; ARGUMENTS_LEN],
}

/// The last thread of a process ends (`sched_process_exit`).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitRecord {
    /// Kind [`super::kind::EXIT`].
    pub header: RecordHeader,
    /// Which process.
    pub process: ProcessId,
}

const _: () = {
    assert!(size_of::<ForkRecord>() == 112);
    assert!(core::mem::offset_of!(ExecRecord, path) == 112);
    assert!(size_of::<ExecRecord>() == 112 + PATH_LEN + ARGUMENTS_LEN);
    assert!(size_of::<ExitRecord>() == 32);
};
