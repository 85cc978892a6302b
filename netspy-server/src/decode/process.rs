//! The records of `netspy_common::record::process`.

use netspy_common::{ARGUMENTS_LEN, PATH_LEN};

use super::fields::Fields;
use crate::domain::ProcessEvent;

impl Fields<'_> {
    pub(super) fn forked(&mut self) -> ProcessEvent {
        ProcessEvent::Forked { creator: self.thread(), child: self.process(), parent: self.process() }
    }

    pub(super) fn executed(&mut self) -> ProcessEvent {
        let (thread, parent) = (self.thread(), self.process());
        let (arguments_length, read, path_length) = (self.u32(), self.u32(), self.u32());
        let _pad = self.u32();
        let path: [u8; PATH_LEN] = self.take();
        let arguments: [u8; ARGUMENTS_LEN] = self.take();
        ProcessEvent::Executed {
            thread,
            parent,
            exe: path.get(..path_length as usize).and_then(path_of),
            arguments: arguments.get(..read as usize).unwrap_or_default().to_vec(),
            arguments_length,
        }
    }

    pub(super) fn exited(&mut self) -> ProcessEvent {
        ProcessEvent::Exited { process: self.process() }
    }
}

/// The path whose components these are, the last one first, each ended by NUL.
fn path_of(components: &[u8]) -> Option<String> {
    let components = components.strip_suffix(&[0])?;
    let mut path = String::with_capacity(components.len() + 1);
    for component in components.rsplit(|byte| *byte == 0) {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(component));
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use netspy_common::{ABI_VERSION, ExecRecord, kind};

    use super::*;
    use crate::{
        decode::{Record, decode},
        domain::Ring,
    };

    /// An exec record that says that it uses so many bytes of each array.
    fn exec_record(path: &[u8], path_length: u32, arguments: &[u8], arguments_read: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(ABI_VERSION.to_ne_bytes());
        bytes.extend(kind::EXEC.to_ne_bytes());
        bytes.extend((size_of::<ExecRecord>() as u32).to_ne_bytes());
        bytes.extend(7_u64.to_ne_bytes());
        for word in [42_u32, 42, 0, 3, 9, 0, 10, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(*b"curl\0\0\0\0\0\0\0\0\0\0\0\0curl\0\0\0\0\0\0\0\0\0\0\0\0");
        for word in [41_u32, 2, 8, 0, 1000, arguments_read, path_length, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        let mut array = [0; PATH_LEN];
        array[..path.len()].copy_from_slice(path);
        bytes.extend(array);
        let mut array = [0; ARGUMENTS_LEN];
        array[..arguments.len()].copy_from_slice(arguments);
        bytes.extend(array);
        bytes
    }

    #[test]
    fn an_exec_says_who_runs_what() {
        let record = exec_record(b"curl\0bin\0usr\0", 13, b"curl\0-s\0", 8);
        let Ok(Record::Process(ProcessEvent::Executed { thread, parent, exe, arguments, arguments_length })) =
            decode(Ring::Events, &record)
        else {
            panic!("not an exec")
        };
        assert_eq!((thread.pid, thread.exec_id, thread.started_ns), (42, 3, 10));
        assert_eq!((parent.pid, parent.exec_id, parent.started_ns), (41, 2, 8));
        assert_eq!((exe.as_deref(), &arguments[..]), (Some("/usr/bin/curl"), &b"curl\0-s\0"[..]));
        assert_eq!(arguments_length, 1000);
    }

    #[test]
    fn lengths_that_cannot_be_are_nothing() {
        for length in [0, u32::MAX, PATH_LEN as u32 + 1, 2] {
            let record = exec_record(b"sh\0", length, b"sh\0", u32::MAX);
            let Ok(Record::Process(ProcessEvent::Executed { exe, arguments, .. })) =
                decode(Ring::Events, &record)
            else {
                panic!("not an exec")
            };
            assert_eq!((exe, arguments.len()), (None, 0), "{length}");
        }
    }
}
