//! Questions to the running kernel's type information (BTF): where a field is, at which position a
//! tracepoint has an argument, what an enum's values are called.

use std::{collections::BTreeMap, path::Path};

use btf_rs::{Btf, BtfType, Type};
use netspy_common::MISSING;
use thiserror::Error;

/// Where the kernel shows its own BTF (Documentation/bpf/btf.rst).
pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// And that of each loaded module.
const MODULES: &str = "/sys/kernel/btf";

/// Why there are no answers at all.
#[derive(Debug, Error)]
#[error(
    "the kernel's type information cannot be read from {VMLINUX}: {0}; netspy needs a kernel built with CONFIG_DEBUG_INFO_BTF=y"
)]
pub struct BtfError(String);

/// The running kernel's types.
pub struct KernelTypes(Btf);

impl KernelTypes {
    /// Reads them.
    pub fn read() -> Result<Self, BtfError> {
        if !Path::new(VMLINUX).exists() {
            return Err(BtfError("no such file".to_owned()));
        }
        Btf::from_file(VMLINUX).map(Self).map_err(|error| BtfError(error.to_string()))
    }

    /// Offset in bytes of `path`, such as `sock.__sk_common.skc_net.net`; [`MISSING`] where there is none.
    /// Members of anonymous structs and unions count as members of what contains them.
    pub fn offset(&self, path: &str) -> u32 {
        let mut names = path.split('.');
        let offset = names.next().and_then(|name| self.structure(name)).and_then(|start| {
            let mut at = (0, start);
            for name in names {
                let (offset, member) = self.member(&at.1, name)?;
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
        let typedef = self.resolve(&format!("btf_trace_{tracepoint}"), |t| matches!(t, Type::Typedef(_)));
        let prototype = typedef.and_then(|t| self.chained(&t)).and_then(|pointer| self.chained(&pointer));
        self.parameter_of(prototype, 1, wanted)
    }

    /// The same among the arguments of a function.
    pub fn parameter(&self, function: &str, wanted: impl Fn(&str) -> bool) -> u32 {
        let found = self.resolve(function, |t| matches!(t, Type::Func(_)));
        self.parameter_of(found.and_then(|function| self.chained(&function)), 0, wanted)
    }

    fn parameter_of(&self, prototype: Option<Type>, skip: usize, wanted: impl Fn(&str) -> bool) -> u32 {
        let Some(Type::FuncProto(prototype)) = prototype else { return MISSING };
        let arguments = prototype.parameters.iter().skip(skip);
        let position = arguments.map(|p| self.type_name(p)).position(|name| wanted(&name));
        position.map_or(MISSING, |position| position as u32)
    }

    /// Names of an enum by value, each without `prefix`; empty where there is no such enum.
    pub fn enumerators(&self, name: &str, prefix: &str) -> BTreeMap<u32, String> {
        let Some(Type::Enum(found)) = self.resolve(name, |t| matches!(t, Type::Enum(_))) else {
            return BTreeMap::new();
        };
        let named = found.members.iter().filter_map(|member| {
            let name = self.0.resolve_name(member).ok()?;
            Some((member.val(), name.strip_prefix(prefix).unwrap_or(&name).to_owned()))
        });
        named.collect()
    }

    /// The same of an enum in a loaded module, in full.
    pub fn enumerators_of_module(&self, module: &str, name: &str) -> BTreeMap<u32, String> {
        let file = Path::new(MODULES).join(module);
        let types = file.exists().then(|| Btf::from_split_file(file, &self.0));
        match types {
            Some(Ok(types)) => Self(types).enumerators(name, ""),
            Some(Err(error)) => {
                tracing::warn!(module, %error, "the module's types cannot be read: its drop reasons have no names");
                BTreeMap::new()
            }
            None => BTreeMap::new(),
        }
    }

    fn structure(&self, name: &str) -> Option<Type> {
        self.resolve(name, |t| matches!(t, Type::Struct(found) if !found.members.is_empty()))
    }

    /// The first type of this name that `wanted` accepts: modules and forward declarations share names.
    fn resolve(&self, name: &str, wanted: impl Fn(&Type) -> bool) -> Option<Type> {
        self.0.resolve_types_by_name(name).ok()?.into_iter().find(wanted)
    }

    /// Offset and type of a member.
    fn member(&self, of: &Type, name: &str) -> Option<(u32, Type)> {
        let (Type::Struct(structure) | Type::Union(structure)) = self.stripped(of)? else { return None };
        for member in &structure.members {
            let called = self.0.resolve_name(member).unwrap_or_default();
            let offset = member.bit_offset() / 8;
            if called == name {
                let bits = member.bitfield_size().unwrap_or(0);
                // A bitfield has no address of its own: what a program would read there is not the field.
                return (bits == 0).then_some((offset, self.chained_member(member)?));
            }
            if called.is_empty()
                && let Some((inner, found)) = self.member(&self.chained_member(member)?, name)
            {
                return Some((offset + inner, found));
            }
        }
        None
    }

    fn chained_member(&self, member: &btf_rs::Member) -> Option<Type> {
        self.0.resolve_chained_type(member).ok()
    }

    /// What a type refers to.
    fn chained(&self, of: &Type) -> Option<Type> {
        self.0.resolve_chained_type(of.as_btf_type()?).ok()
    }

    /// A type without its typedefs and qualifiers.
    fn stripped(&self, of: &Type) -> Option<Type> {
        match of {
            Type::Typedef(_) | Type::Const(_) | Type::Volatile(_) | Type::Restrict(_) | Type::TypeTag(_) => {
                self.stripped(&self.chained(of)?)
            }
            other => Some(other.clone()),
        }
    }

    /// The bare name behind an argument.
    fn type_name(&self, of: &dyn BtfType) -> String {
        let mut stars = String::new();
        let mut at = self.0.resolve_chained_type(of).ok();
        while let Some(found) = at.take() {
            match self.stripped(&found) {
                Some(Type::Ptr(pointer)) => {
                    stars.push('*');
                    at = self.0.resolve_chained_type(&pointer).ok();
                }
                Some(other) => {
                    let name = other.as_btf_type().and_then(|t| self.0.resolve_name(t).ok());
                    return stars + &name.unwrap_or_default();
                }
                None => break,
            }
        }
        stars
    }
}
