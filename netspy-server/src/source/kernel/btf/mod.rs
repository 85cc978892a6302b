//! Questions to the running kernel's type information (BTF): where a field is, at which position a
//! tracepoint has an argument, what an enum's values are called.

mod format;

use std::{collections::BTreeMap, fs, io, path::Path};

use netspy_common::MISSING;
use thiserror::Error;

use self::format::{Kind, Type, Types};

/// Where the kernel shows its own BTF (Documentation/bpf/btf.rst).
pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// And that of each loaded module.
const MODULES: &str = "/sys/kernel/btf";
/// More typedefs, qualifiers and nested structs than any type has: damaged types may go round in circles.
const DEPTH: u32 = 32;

/// Why there are no answers at all.
#[derive(Debug, Error)]
#[error(
    "the kernel's type information cannot be read from {VMLINUX}: {0}; netspy needs a kernel built with CONFIG_DEBUG_INFO_BTF=y"
)]
pub struct BtfError(String);

/// The running kernel's types.
pub struct KernelTypes(Types<'static>);

impl KernelTypes {
    /// Reads them.
    pub fn read() -> Result<Self, BtfError> {
        let bytes = fs::read(VMLINUX).map_err(|error| BtfError(error.to_string()))?;
        Types::parse(bytes, None).map(Self).map_err(|error| BtfError(error.to_owned()))
    }

    /// Offset in bytes of `path`, such as `sock.__sk_common.skc_net.net`; [`MISSING`] where there is none.
    /// Members of anonymous structs and unions count as members of what contains them.
    pub fn offset(&self, path: &str) -> u32 {
        let mut names = path.split('.');
        let offset = names.next().and_then(|name| self.structure(name)).and_then(|start| {
            let mut at = (0, start);
            for name in names {
                let (offset, member) = self.member(at.1, name, DEPTH)?;
                at = (at.0 + offset, member);
            }
            Some(at.0)
        });
        offset.unwrap_or(MISSING)
    }

    /// Position among the arguments of raw tracepoint `tracepoint` of the first one that `wanted` accepts;
    /// it sees the argument's type, `*` before it for each pointer (`*sk_buff`).
    pub fn argument(&self, tracepoint: &str, wanted: impl Fn(&str) -> bool) -> u32 {
        // typedef void (*btf_trace_NAME)(void *data, arguments…)
        let typedef = self.first(&format!("btf_trace_{tracepoint}"), Kind::Typedef);
        self.parameter_of(typedef.and_then(|t| t.target()?.target()), 1, wanted)
    }

    /// The same among the arguments of a function.
    pub fn parameter(&self, function: &str, wanted: impl Fn(&str) -> bool) -> u32 {
        self.parameter_of(self.first(function, Kind::Function).and_then(|t| t.target()), 0, wanted)
    }

    fn parameter_of(&self, prototype: Option<Type>, skip: usize, wanted: impl Fn(&str) -> bool) -> u32 {
        let parameters = prototype.into_iter().flat_map(Type::parameters);
        let mut named = parameters.skip(skip).map(|number| self.type_name(number));
        named.position(|name| wanted(&name)).map_or(MISSING, |position| position as u32)
    }

    /// Whether the kernel has a function of this name.
    pub fn has_function(&self, name: &str) -> bool {
        self.first(name, Kind::Function).is_some()
    }

    /// Names of an enum by value, each without `prefix`; empty where there is no such enum.
    pub fn enumerators(&self, name: &str, prefix: &str) -> BTreeMap<u32, String> {
        enumerators(&self.0, name, prefix)
    }

    /// The same of an enum in a loaded module, in full.
    pub fn enumerators_of_module(&self, module: &str, name: &str) -> BTreeMap<u32, String> {
        let file = Path::new(MODULES).join(module);
        let bytes = match fs::read(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
            bytes => bytes.map_err(|error| error.to_string()),
        };
        match bytes.and_then(|bytes| Types::parse(bytes, Some(&self.0)).map_err(str::to_owned)) {
            Ok(types) => enumerators(&types, name, ""),
            Err(error) => {
                tracing::warn!(
                    module,
                    error,
                    "the module's types cannot be read: its drop reasons have no names"
                );
                BTreeMap::new()
            }
        }
    }

    /// The first of this name that has members: a forward declaration shares the name.
    fn structure(&self, name: &str) -> Option<Type<'_>> {
        self.0.named(name).find(|found| (*found).members().next().is_some())
    }

    fn first(&self, name: &str, kind: Kind) -> Option<Type<'_>> {
        self.0.named(name).find(|found| found.kind == kind)
    }

    /// Offset in bytes and type of a member.
    fn member<'a>(&'a self, of: Type<'a>, name: &str, depth: u32) -> Option<(u32, Type<'a>)> {
        let depth = depth.checked_sub(1)?;
        for member in stripped(of)?.members() {
            let offset = member.bits / 8;
            if member.name == name.as_bytes() {
                // A bitfield has no address of its own: what a program would read there is not the field.
                return (!member.is_bitfield).then_some((offset, self.0.get(member.of)?));
            }
            if member.name.is_empty()
                && let Some((inner, found)) = self.member(self.0.get(member.of)?, name, depth)
            {
                return Some((offset + inner, found));
            }
        }
        None
    }

    /// The bare name behind an argument.
    fn type_name(&self, number: u32) -> String {
        let mut name = String::new();
        let mut at = self.0.get(number);
        for _ in 0..DEPTH {
            match at.and_then(stripped) {
                Some(pointer) if pointer.kind == Kind::Pointer => {
                    name.push('*');
                    at = pointer.target();
                }
                Some(other) => return name + &String::from_utf8_lossy(other.name()),
                None => break,
            }
        }
        name
    }
}

/// A type without its typedefs and qualifiers.
fn stripped(mut of: Type<'_>) -> Option<Type<'_>> {
    for _ in 0..DEPTH {
        match of.kind {
            Kind::Typedef | Kind::Qualifier => of = of.target()?,
            _ => return Some(of),
        }
    }
    None
}

fn enumerators(types: &Types, name: &str, prefix: &str) -> BTreeMap<u32, String> {
    let found = types.named(name).find(|found| found.kind == Kind::Enum);
    let named = found.into_iter().flat_map(Type::enumerators).map(|(value, name)| {
        let name = String::from_utf8_lossy(name);
        (value, name.strip_prefix(prefix).unwrap_or(&name).to_owned())
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> KernelTypes {
        KernelTypes::read().unwrap()
    }

    #[test]
    fn fields_are_found_through_structs_without_a_name() {
        let kernel = kernel();
        // include/uapi/linux/bpf.h cannot change: u32 map_type, key_size, … in the first of the union's structs.
        assert_eq!(kernel.offset("bpf_attr.key_size"), 4);
        assert_eq!(kernel.offset("iphdr.daddr"), 16);
        assert_eq!(kernel.offset("tcphdr.dest"), 2);
        assert_eq!(kernel.offset("bpf_link_info.raw_tracepoint.tp_name_len"), 24);
        assert_eq!(kernel.offset("sock.sk_no_such_member"), MISSING);
        assert_eq!(kernel.offset("no_such_struct.member"), MISSING);
        assert_eq!(kernel.offset("tcphdr.syn"), MISSING, "a bitfield has no address");
    }

    #[test]
    fn arguments_are_found_by_their_types() {
        let kernel = kernel();
        assert_eq!(kernel.argument("kfree_skb", |name| name == "*sk_buff"), 0);
        assert_eq!(kernel.argument("inet_sock_set_state", |name| name == "int"), 1);
        assert_eq!(kernel.parameter("tcp_v4_connect", |name| name == "*sockaddr"), 1);
        assert_eq!(kernel.parameter("tcp_v4_connect", |name| name == "**sock"), MISSING);
        assert_eq!(kernel.argument("no_such_tracepoint", |_| true), MISSING);
        assert_eq!(
            ["tcp_v4_connect", "no_such_function"].map(|name| kernel.has_function(name)),
            [true, false]
        );
    }

    #[test]
    fn enumerators_lose_their_prefix() {
        let states = kernel().enumerators("bpf_link_type", "BPF_LINK_TYPE_");
        assert_eq!(states[&1], "RAW_TRACEPOINT");
        assert_eq!(kernel().enumerators("no_such_enum", ""), BTreeMap::new());
    }
}
