//! The file format of a recording: docs/trace-format.md. Pure but for the reader and writer that it is given.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::domain::{ExistingSocket, Identity, KernelNames, ProcessId};

/// First eight bytes of every recording.
const MAGIC: [u8; 8] = *b"NETSPYTR";
/// Version of the frames below.
const FORMAT: u32 = 1;
/// No header or frame is longer: a longer one is damage, not data.
const MAX_LENGTH: u32 = 1 << 20;

/// Where and with what a recording was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceHeader {
    /// `netspy_common::ABI_VERSION` of its records.
    pub abi: u16,
    /// netspy's version.
    pub netspy: String,
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub arch: String,
    /// What the kernel calls its numbers.
    pub names: KernelNames,
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A record of the ring of connects and outcomes.
    Events(Vec<u8>),
    /// A record of the ring of drops.
    Drops(Vec<u8>),
    /// What the kernel could not deliver, noticed at `monotonic_ns`.
    Lost { monotonic_ns: u64, place: String, kind: String, count: u64 },
    /// From here on, wall time in ns is monotonic time plus this.
    Clock(i64),
    /// One of the sockets that there were at `monotonic_ns`.
    Existing { monotonic_ns: u64, socket: Box<ExistingSocket> },
    /// These were all.
    Listed { monotonic_ns: u64 },
    /// What a process was, in a cgroup.
    Identity { process: ProcessId, cgroup_id: u64, identity: Identity },
    /// What a kernel address is called.
    Symbol { address: u64, symbol: String },
    /// The recording ended here (wall time, ns since 1970).
    End(i64),
}

/// The frames whose payload is JSON, in its JSON form.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fact {
    Lost {
        monotonic_ns: u64,
        place: String,
        #[serde(default)]
        kind: String,
        count: u64,
    },
    Existing {
        monotonic_ns: u64,
        socket: Box<ExistingSocket>,
    },
    Listed {
        monotonic_ns: u64,
    },
    Identity {
        pid: u32,
        exec_id: u32,
        started_ns: u64,
        cgroup_id: u64,
        identity: Identity,
    },
    Symbol {
        address: u64,
        symbol: String,
    },
}

const EVENTS: u32 = 1;
const DROPS: u32 = 2;
const CLOCK: u32 = 3;
const END: u32 = 4;
const FACT: u32 = 5;

/// Why a file cannot be replayed.
#[derive(Debug, Error)]
pub enum TraceError {
    /// Opening or reading failed.
    #[error("cannot read the recording: {0}")]
    Io(#[from] io::Error),
    /// Something else than a recording.
    #[error("this is not a netspy recording: make one with `netspy-server --record FILE`")]
    NotATrace,
    /// From a newer netspy.
    #[error(
        "the recording has format version {found}, this server reads {FORMAT}: use a newer netspy-server"
    )]
    Format { found: u32 },
    /// From a netspy with other records.
    #[error(
        "the recording's records have ABI version {found}, this server reads {expected}: replay it with the netspy-server that made it"
    )]
    Abi { found: u16, expected: u16 },
    /// Damaged.
    #[error("the recording is damaged at byte {at}: {what}")]
    Damaged { at: u64, what: String },
}

/// Writes what every recording begins with.
pub fn write_header(out: &mut impl Write, header: &TraceHeader) -> io::Result<()> {
    out.write_all(&MAGIC)?;
    out.write_all(&FORMAT.to_le_bytes())?;
    let json = serde_json::to_vec(header)?;
    out.write_all(&length_of(&json)?.to_le_bytes())?;
    out.write_all(&json)
}

/// Writes one frame: kind, length, payload.
pub fn write_frame(out: &mut impl Write, frame: &Frame) -> io::Result<()> {
    match frame {
        Frame::Events(bytes) => write_payload(out, EVENTS, bytes),
        Frame::Drops(bytes) => write_payload(out, DROPS, bytes),
        Frame::Clock(offset) => write_payload(out, CLOCK, &offset.to_le_bytes()),
        Frame::End(at) => write_payload(out, END, &at.to_le_bytes()),
        Frame::Lost { monotonic_ns, place, kind, count } => {
            let (place, kind) = (place.clone(), kind.clone());
            write_fact(out, &Fact::Lost { monotonic_ns: *monotonic_ns, place, kind, count: *count })
        }
        Frame::Existing { monotonic_ns, socket } => {
            write_fact(out, &Fact::Existing { monotonic_ns: *monotonic_ns, socket: socket.clone() })
        }
        Frame::Listed { monotonic_ns } => write_fact(out, &Fact::Listed { monotonic_ns: *monotonic_ns }),
        Frame::Identity { process, cgroup_id, identity } => {
            let ProcessId { pid, exec_id, started_ns } = *process;
            let (cgroup_id, identity) = (*cgroup_id, identity.clone());
            write_fact(out, &Fact::Identity { pid, exec_id, started_ns, cgroup_id, identity })
        }
        Frame::Symbol { address, symbol } => {
            write_fact(out, &Fact::Symbol { address: *address, symbol: symbol.clone() })
        }
    }
}

fn write_fact(out: &mut impl Write, fact: &Fact) -> io::Result<()> {
    write_payload(out, FACT, &serde_json::to_vec(fact)?)
}

fn write_payload(out: &mut impl Write, kind: u32, payload: &[u8]) -> io::Result<()> {
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length_of(payload)?.to_le_bytes())?;
    out.write_all(payload)
}

fn length_of(payload: &[u8]) -> io::Result<u32> {
    u32::try_from(payload.len())
        .ok()
        .filter(|length| *length <= MAX_LENGTH)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "too long for a frame of a recording"))
}

/// Reads a recording from its start.
pub struct TraceReader<R> {
    input: R,
    at: u64,
}

impl<R: Read> TraceReader<R> {
    /// Reads and checks the header.
    pub fn open(input: R) -> Result<(Self, TraceHeader), TraceError> {
        let mut reader = Self { input, at: 0 };
        let mut magic = [0; 8];
        if !reader.fill(&mut magic)? || magic != MAGIC {
            return Err(TraceError::NotATrace);
        }
        let format = reader.number()?.ok_or(TraceError::NotATrace)?;
        if format != FORMAT {
            return Err(TraceError::Format { found: format });
        }
        let length = reader.number()?.ok_or(TraceError::NotATrace)?;
        let json = reader.payload(length)?.ok_or(TraceError::NotATrace)?;
        let header: TraceHeader =
            serde_json::from_slice(&json).map_err(|e| reader.damaged(&e.to_string()))?;
        if header.abi != netspy_common::ABI_VERSION {
            return Err(TraceError::Abi { found: header.abi, expected: netspy_common::ABI_VERSION });
        }
        Ok((reader, header))
    }

    /// The next frame; `None` at the end, which may be in the middle of a frame if the recording server was
    /// killed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, TraceError> {
        let Some(kind) = self.number()? else { return Ok(None) };
        let Some(length) = self.number()? else { return Ok(None) };
        let Some(payload) = self.payload(length)? else { return Ok(None) };
        Ok(Some(match kind {
            EVENTS => Frame::Events(payload),
            DROPS => Frame::Drops(payload),
            CLOCK => Frame::Clock(self.signed(&payload)?),
            END => Frame::End(self.signed(&payload)?),
            FACT => match serde_json::from_slice(&payload).map_err(|e| self.damaged(&e.to_string()))? {
                Fact::Lost { monotonic_ns, place, kind, count } => {
                    Frame::Lost { monotonic_ns, place, kind, count }
                }
                Fact::Existing { monotonic_ns, socket } => Frame::Existing { monotonic_ns, socket },
                Fact::Listed { monotonic_ns } => Frame::Listed { monotonic_ns },
                Fact::Identity { pid, exec_id, started_ns, cgroup_id, identity } => {
                    let process = ProcessId { pid, exec_id, started_ns };
                    Frame::Identity { process, cgroup_id, identity }
                }
                Fact::Symbol { address, symbol } => Frame::Symbol { address, symbol },
            },
            other => return Err(self.damaged(&format!("unknown frame kind {other}"))),
        }))
    }

    fn signed(&self, payload: &[u8]) -> Result<i64, TraceError> {
        let bytes = payload.try_into().map_err(|_| self.damaged("a time must have eight bytes"))?;
        Ok(i64::from_le_bytes(bytes))
    }

    fn number(&mut self) -> Result<Option<u32>, TraceError> {
        let mut bytes = [0; 4];
        Ok(self.fill(&mut bytes)?.then(|| u32::from_le_bytes(bytes)))
    }

    fn payload(&mut self, length: u32) -> Result<Option<Vec<u8>>, TraceError> {
        if length > MAX_LENGTH {
            return Err(self.damaged(&format!("a frame of {length} bytes")));
        }
        let mut bytes = vec![0; length as usize];
        Ok(self.fill(&mut bytes)?.then_some(bytes))
    }

    /// Fills `bytes`; `false` where the file ends before.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<bool, TraceError> {
        match self.input.read_exact(bytes) {
            Ok(()) => {
                self.at += bytes.len() as u64;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn damaged(&self, what: &str) -> TraceError {
        TraceError::Damaged { at: self.at, what: what.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::Clock(-5),
            Frame::Events(vec![1, 2, 3]),
            Frame::Identity {
                process: ProcessId { pid: 1, exec_id: 2, started_ns: u64::MAX },
                cgroup_id: 3,
                identity: Identity { exe: Some("/bin/\u{1b}\"b".into()), ..Identity::default() },
            },
            Frame::Drops(Vec::new()),
            Frame::Symbol { address: u64::MAX, symbol: "tcp_v4_rcv+0x1".into() },
            Frame::Lost {
                monotonic_ns: 3,
                place: "events_ring_full".into(),
                kind: "unknown".into(),
                count: 9,
            },
            Frame::End(77),
        ]
    }

    fn recording() -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = TraceHeader { abi: netspy_common::ABI_VERSION, ..TraceHeader::default() };
        write_header(&mut bytes, &header).unwrap();
        for frame in frames() {
            write_frame(&mut bytes, &frame).unwrap();
        }
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Frame>, TraceError> {
        let (mut reader, _) = TraceReader::open(bytes)?;
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&recording()).unwrap(), frames());
    }

    #[test]
    fn a_recording_cut_short_gives_what_is_whole() {
        let bytes = recording();
        let cut = read(&bytes[..bytes.len() - 3]).unwrap();
        assert_eq!(cut, frames()[..frames().len() - 1]);
    }

    #[test]
    fn other_files_and_versions_are_refused_by_name() {
        assert!(matches!(read(b"SQLite format 3\0"), Err(TraceError::NotATrace)));
        assert!(matches!(read(b""), Err(TraceError::NotATrace)));
        let mut newer = recording();
        newer[8] = 9;
        assert!(matches!(read(&newer), Err(TraceError::Format { found: 9 })));
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0_usize..400, value in any::<u8>()) {
            let mut bytes = recording();
            let at = at % bytes.len();
            bytes[at] = value;
            let _ = read(&bytes);
        }
    }
}
