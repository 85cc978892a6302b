//! The records of `netspy_common::record::datagram`.

use netspy_common::{Flow, FlowKey, Task};

use super::{Ends, Role, fields::Fields};
use crate::domain::Thread;

/// A flow begins, or could not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFlow {
    /// `CLOCK_MONOTONIC` in ns when it began.
    pub time_ns: u64,
    /// Which flow.
    pub flow: FlowKey,
    /// Who.
    pub thread: Thread,
    /// Source is local and may be unknown, destination is the remote end.
    pub ends: Ends,
    /// 0, or the errno with which connect or send failed.
    pub errno: u32,
    /// Inode number of the network namespace, or 0.
    pub netns: u32,
    /// Who sent first.
    pub role: Role,
    /// `SOCK_*`
    pub socket_type: u8,
    /// Whether the kernel side counts its traffic.
    pub traffic: bool,
    /// Whether its traffic and its end are seen.
    pub watched: bool,
}

/// The counters of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawTraffic {
    /// `CLOCK_MONOTONIC` in ns when they were read.
    pub time_ns: u64,
    /// Which flow.
    pub flow: FlowKey,
    /// The counters; their owner is not decoded.
    pub counters: Flow,
    /// Whether the flow is over.
    pub over: bool,
}

/// A datagram socket was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawRelease {
    /// `CLOCK_MONOTONIC` in ns.
    pub time_ns: u64,
    /// `struct sock` and inode number.
    pub socket: (u64, u64),
}

/// What is not decoded.
const NOBODY: Task = Task {
    tgid: 0,
    tid: 0,
    uid: 0,
    exec_id: 0,
    cgroup_id: 0,
    started_ns: 0,
    comm: [0; 16],
    process: [0; 16],
};

impl Fields<'_> {
    fn flow_key(&mut self) -> FlowKey {
        FlowKey {
            socket: self.u64(),
            inode: self.u64(),
            remote: self.take(),
            port: self.u16(),
            family: self.u16(),
            scope: self.u32(),
        }
    }

    pub(super) fn flow(&mut self, time_ns: u64) -> RawFlow {
        let (flow, thread, mut ends) = (self.flow_key(), self.thread(), self.ends());
        if let Some(remote) = &mut ends.destination {
            remote.scope = flow.scope;
        }
        let (errno, netns) = (self.u32(), self.u32());
        let role = self.role();
        let socket_type = u8::try_from(self.u32()).unwrap_or(0);
        let (traffic, watched) = (self.u32() == 1, self.u32() == 1);
        RawFlow { time_ns, flow, thread, ends, errno, netns, role, socket_type, traffic, watched }
    }

    pub(super) fn traffic(&mut self, time_ns: u64) -> RawTraffic {
        let flow = self.flow_key();
        let counters = Flow {
            started_ns: self.u64(),
            last_ns: self.u64(),
            answered_ns: self.u64(),
            failed_ns: self.u64(),
            packets_sent: self.u64(),
            bytes_sent: self.u64(),
            packets_received: self.u64(),
            bytes_received: self.u64(),
            errno: self.u32(),
            pad: self.u32(),
            owner: NOBODY,
        };
        let _owner = self.thread();
        RawTraffic { time_ns, flow, counters, over: self.u64() == 1 }
    }

    pub(super) fn release(&mut self, time_ns: u64) -> RawRelease {
        RawRelease { time_ns, socket: (self.u64(), self.u64()) }
    }
}
