//! Wrong kernel types: the running kernel's BTF (Documentation/bpf/btf.rst) with one thing changed, as if it were
//! another kernel's.

/// Where the kernel shows them.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Kinds of types that have members, and bytes that follow a type's twelve by kind: fixed, and per element.
const STRUCT: u32 = 4;
const UNION: u32 = 5;
fn tail(kind: u32, elements: usize) -> usize {
    match kind {
        1 | 14 | 17 => 4,
        3 => 12,
        STRUCT | UNION | 15 | 19 => 12 * elements,
        6 | 13 => 8 * elements,
        _ => 0,
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Where a member is said to be.
#[derive(Clone, Copy)]
pub enum Wrong {
    /// So many bytes further on.
    By(u32),
    /// Where its struct has the member of this name: whatever that holds is not 0.
    At(&'static str),
}

/// The running kernel's, with every member of this name somewhere else.
pub fn with_member_moved(name: &str, to: Wrong) -> Vec<u8> {
    let mut types = std::fs::read(VMLINUX).unwrap();
    let header = word(&types, 4) as usize;
    let [from, length, strings] = [8, 12, 16].map(|at| word(&types, at) as usize);
    let (mut at, end, strings) = (header + from, header + from + length, header + strings);
    let mut moved = 0;
    while at < end {
        let info = word(&types, at + 4);
        let (kind, elements) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        let members = at + 12;
        at = members + tail(kind, elements);
        if kind != STRUCT && kind != UNION {
            continue;
        }
        let of_name = |name: &str| {
            (members..at).step_by(12).find(|member| {
                let called = &types[strings + word(&types, *member) as usize..];
                called.starts_with(name.as_bytes()) && called[name.len()] == 0
            })
        };
        let Some(member) = of_name(name) else { continue };
        let offset = match to {
            Wrong::By(bytes) => Some(word(&types, member + 8) + 8 * bytes),
            Wrong::At(other) => of_name(other).map(|other| word(&types, other + 8)),
        };
        let Some(offset) = offset else { continue };
        types[member + 8..member + 12].copy_from_slice(&offset.to_ne_bytes());
        moved += 1;
    }
    assert!(moved > 0, "this kernel has no member {name}");
    types
}

/// The running kernel's, without a function of this name.
pub fn without_function(name: &str) -> Vec<u8> {
    let mut types = std::fs::read(VMLINUX).unwrap();
    let string = [b"\0", name.as_bytes(), b"\0"].concat();
    let at = types.windows(string.len()).position(|window| window == string).unwrap();
    types[at + 1] = b'~';
    types
}
