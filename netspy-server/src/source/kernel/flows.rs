//! Reading the counters of flows from the map in which the programs keep them.

use std::io;

use aya::maps::{HashMap, MapData, MapError};
use netspy_common::{ABI_VERSION, Flow, FlowKey, RecordHeader, Task, TrafficRecord, kind};

use crate::domain::{FlowReading, Input, Ring};

/// Plain old data that the kernel may fill in.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub(super) struct Raw<T>(T);

// SAFETY: integers and arrays of integers, `repr(C)` and explicitly padded: every bit pattern is valid.
#[allow(unsafe_code)]
unsafe impl aya::Pod for Raw<FlowKey> {}
// SAFETY: likewise.
#[allow(unsafe_code)]
unsafe impl aya::Pod for Raw<Flow> {}

/// The map `FLOWS`.
pub(super) type FlowMap = HashMap<MapData, Raw<FlowKey>, Raw<Flow>>;

/// A flow of a connected socket that was never used.
const UNUSED: Flow = Flow {
    started_ns: 0,
    last_ns: 0,
    answered_ns: 0,
    failed_ns: 0,
    packets_sent: 0,
    bytes_sent: 0,
    packets_received: 0,
    bytes_received: 0,
    errno: 0,
    pad: 0,
    owner: Task {
        tgid: 0,
        tid: 0,
        uid: 0,
        exec_id: 0,
        cgroup_id: 0,
        started_ns: 0,
        comm: [0; 16],
        process: [0; 16],
    },
};

/// Delivers the reading of a flow, if there is anything new in it, and removes its entry if it is over. A packet of an
/// idle flow in the microsecond between the two is not counted.
pub(super) fn read(
    map: &mut FlowMap,
    now_ns: u64,
    reading: &FlowReading,
    take: &mut dyn FnMut(Input<'_>),
) -> io::Result<()> {
    let counters = match map.get(&Raw(reading.flow), 0) {
        Ok(Raw(counters)) => Some(counters),
        Err(MapError::KeyNotFound) => None,
        Err(error) => return Err(io::Error::other(error)),
    };
    let news = counters.is_some_and(|counters| counters.last_ns.max(counters.failed_ns) > reading.seen_ns);
    // What was taken for idle is not if there was a packet since; the flow of a closed socket is over in any case.
    let over = reading.over && (reading.seen_ns == 0 || !news);
    if over && counters.is_some() {
        // Its counters are read: that it should be gone already does no harm.
        let _ = map.remove(&Raw(reading.flow));
    }
    if news || over {
        let record = TrafficRecord {
            header: RecordHeader {
                abi: ABI_VERSION,
                kind: kind::TRAFFIC,
                len: size_of::<TrafficRecord>() as u32,
                time_ns: now_ns,
            },
            flow: reading.flow,
            counters: counters.unwrap_or(UNUSED),
            over: u64::from(over),
        };
        take(Input::Record { ring: Ring::Events, bytes: bytes_of(&record) });
    }
    Ok(())
}

fn bytes_of(record: &TrafficRecord) -> &[u8] {
    let start = std::ptr::from_ref(record).cast();
    // SAFETY: `repr(C)` without padding: all of its bytes are initialised, and borrowed for as long as it is.
    #[allow(unsafe_code)]
    unsafe {
        std::slice::from_raw_parts(start, size_of::<TrafficRecord>())
    }
}
