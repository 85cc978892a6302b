//! The format (Documentation/bpf/btf.rst, include/uapi/linux/btf.h): types one after the other, then the strings
//! that they refer to. Whatever a damaged file says, it is looked at within its bounds.

use memchr::memmem;

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// Length of `struct btf_header`, which may grow.
const HEADER: usize = 24;
/// Length of `struct btf_type`; what follows it depends on its kind.
const TYPE: usize = 12;
/// Length of `struct btf_member`.
const MEMBER: usize = 12;
/// Length of `struct btf_enum` and of `struct btf_param`.
const ENUMERATOR: usize = 8;
const PARAMETER: usize = 8;

/// What a type is, as far as anybody here asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pointer,
    /// A struct or a union.
    Structure,
    Enum,
    Typedef,
    /// `const`, `volatile`, `restrict` or a tag on a type.
    Qualifier,
    Function,
    Prototype,
    Other,
}

impl Kind {
    /// The kind with this number, and how many bytes follow a type of it that has so many elements.
    fn of(number: u32, elements: usize) -> Option<(Self, usize)> {
        Some(match number {
            1 | 14 | 17 => (Self::Other, 4),
            2 => (Self::Pointer, 0),
            3 => (Self::Other, 12),
            4 | 5 => (Self::Structure, MEMBER * elements),
            6 => (Self::Enum, ENUMERATOR * elements),
            7 | 16 => (Self::Other, 0),
            8 => (Self::Typedef, 0),
            9..=11 | 18 => (Self::Qualifier, 0),
            12 => (Self::Function, 0),
            13 => (Self::Prototype, PARAMETER * elements),
            15 | 19 => (Self::Other, 12 * elements),
            _ => return None,
        })
    }
}

/// All types of a kernel, or of a module on top of its kernel's.
pub(super) struct Types<'base> {
    base: Option<&'base Types<'base>>,
    bytes: Vec<u8>,
    /// Where in `bytes` each type begins, by number without those of the base and without 0, which is `void`.
    starts: Vec<u32>,
    /// Offset of a type's name, and the position in `starts`; sorted.
    names: Vec<(u32, u32)>,
    /// The strings' part of `bytes`.
    strings: (usize, usize),
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Type<'a> {
    types: &'a Types<'a>,
    at: usize,
    pub(super) kind: Kind,
    elements: usize,
    /// Whether the offsets of members hold the sizes of bitfields as well.
    flag: bool,
    /// The number of another type, or a size.
    refers_to: u32,
}

/// A member of a struct or union.
pub(super) struct Member<'a> {
    /// Empty for a struct or union without a name.
    pub(super) name: &'a [u8],
    /// Number of its type.
    pub(super) of: u32,
    /// From the beginning of what it is a member of, in bits.
    pub(super) bits: u32,
    /// Whether it has no address of its own.
    pub(super) is_bitfield: bool,
}

impl<'base> Types<'base> {
    /// Looks at each type once.
    ///
    /// # Errors
    /// Says what is not as the format has it.
    pub(super) fn parse(bytes: Vec<u8>, base: Option<&'base Types<'base>>) -> Result<Self, &'static str> {
        let begins = |with: [u8; 3]| bytes.starts_with(&with);
        let [low, high] = MAGIC.to_ne_bytes();
        if !begins([low, high, VERSION]) || bytes.len() < HEADER {
            return Err("it does not begin as BTF of version 1 does");
        }
        let word = |at| word(&bytes, at).map(|word| word as usize).ok_or("it ends too early");
        let header = word(4)?;
        let part = |offset: usize, length: usize| {
            let from = header.checked_add(offset)?;
            let to = from.checked_add(length)?;
            (to <= bytes.len()).then_some((from, to))
        };
        let (from, to) = part(word(8)?, word(12)?).ok_or("its types lie outside of it")?;
        let strings = part(word(16)?, word(20)?).ok_or("its strings lie outside of it")?;
        let (mut starts, mut names) = (Vec::new(), Vec::new());
        let mut at = from;
        while at < to {
            let (_, length) = shape(&bytes, at).ok_or("a type is of no known kind")?;
            names.push((word(at)? as u32, starts.len() as u32));
            starts.push(at as u32);
            at += length;
        }
        if at != to {
            return Err("its last type is cut off");
        }
        names.sort_unstable();
        Ok(Self { base, bytes, starts, names, strings })
    }

    /// Those of this name, not those of the base.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = Type<'_>> {
        let (from, to) = self.strings;
        let strings = &self.bytes[from..to];
        let ending = [name.as_bytes(), b"\0"].concat();
        let mut found: Vec<_> = memmem::find_iter(strings, &ending).collect();
        found.retain(|at| *at == 0 || strings[at - 1] == 0);
        let offsets = found.into_iter().map(|at| (self.base_strings() + at) as u32);
        offsets.flat_map(|offset| {
            let first = self.names.partition_point(|(of, _)| *of < offset);
            let same = self.names[first..].iter().take_while(move |(of, _)| *of == offset);
            same.filter_map(|(_, index)| self.read(*self.starts.get(*index as usize)? as usize))
        })
    }

    /// The type with this number.
    pub(super) fn get(&self, number: u32) -> Option<Type<'_>> {
        let below = self.base.map_or(0, |base| base.starts.len());
        let index = (number as usize).checked_sub(1)?;
        match index.checked_sub(below) {
            Some(own) => self.read(*self.starts.get(own)? as usize),
            None => self.base?.get(number),
        }
    }

    fn read(&self, at: usize) -> Option<Type<'_>> {
        let info = word(&self.bytes, at + 4)?;
        let (kind, _) = shape(&self.bytes, at)?;
        let refers_to = word(&self.bytes, at + 8)?;
        Some(Type { types: self, at, kind, elements: elements(info), flag: info >> 31 == 1, refers_to })
    }

    /// How many bytes of strings the base has: a module's come after them.
    fn base_strings(&self) -> usize {
        self.base.map_or(0, |base| base.strings.1 - base.strings.0)
    }

    /// Empty where there is none.
    fn string(&self, offset: u32) -> &[u8] {
        match (offset as usize).checked_sub(self.base_strings()) {
            Some(own) => {
                let (from, to) = self.strings;
                let rest = self.bytes[from..to].get(own..).unwrap_or_default();
                rest.split(|byte| *byte == 0).next().unwrap_or_default()
            }
            None => self.base.map_or(&[], |base| base.string(offset)),
        }
    }
}

impl<'a> Type<'a> {
    pub(super) fn name(&self) -> &'a [u8] {
        self.types.string(self.word(0))
    }

    /// What a pointer points to, a typedef or a qualifier is for, a function's prototype is.
    pub(super) fn target(&self) -> Option<Self> {
        self.types.get(self.refers_to)
    }

    /// The members of a struct or union.
    pub(super) fn members(self) -> impl Iterator<Item = Member<'a>> {
        let count = if self.kind == Kind::Structure { self.elements } else { 0 };
        (0..count).map(move |index| {
            let at = TYPE + index * MEMBER;
            let [name, of, offset] = [0, 4, 8].map(|field| self.word(at + field));
            // With the flag: eight bits of size, 24 of offset.
            let (size, bits) = if self.flag { (offset >> 24, offset & 0xff_ffff) } else { (0, offset) };
            Member { name: self.types.string(name), of, bits, is_bitfield: size != 0 }
        })
    }

    /// Value and name of each enumerator.
    pub(super) fn enumerators(self) -> impl Iterator<Item = (u32, &'a [u8])> {
        let count = if self.kind == Kind::Enum { self.elements } else { 0 };
        (0..count).map(move |index| {
            let at = TYPE + index * ENUMERATOR;
            (self.word(at + 4), self.types.string(self.word(at)))
        })
    }

    /// The number of each parameter's type.
    pub(super) fn parameters(self) -> impl Iterator<Item = u32> {
        let count = if self.kind == Kind::Prototype { self.elements } else { 0 };
        (0..count).map(move |index| self.word(TYPE + index * PARAMETER + 4))
    }

    /// It was all there when it was parsed.
    fn word(&self, offset: usize) -> u32 {
        word(&self.types.bytes, self.at + offset).unwrap_or_default()
    }
}

/// Kind and length in bytes of the type that begins there; `None` if it is of no known kind or does not end.
fn shape(bytes: &[u8], at: usize) -> Option<(Kind, usize)> {
    let info = word(bytes, at + 4)?;
    let (kind, tail) = Kind::of(info >> 24 & 0x1f, elements(info))?;
    (at + TYPE + tail <= bytes.len()).then_some((kind, TYPE + tail))
}

fn elements(info: u32) -> usize {
    (info & 0xffff) as usize
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Types made of these words, and these strings.
    fn file(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let length = types.len() as u32 * 4;
        let mut bytes = [MAGIC.to_ne_bytes(), [VERSION, 0]].concat();
        for word in [24, 0, length, length, strings.len() as u32].iter().chain(types) {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(strings);
        bytes
    }

    fn info(kind: u32, elements: u32) -> u32 {
        kind << 24 | elements
    }

    /// 1: `int`; 2: `struct pair { int first; int :4 second }`; 3: `pair *`; 4: `enum pair { first = 7 }`
    fn example() -> Vec<u8> {
        let mut types = vec![1, info(1, 0), 4, 0];
        types.extend([5, info(4, 2) | 1 << 31, 8, 10, 1, 0, 16, 1, 4 << 24 | 0x24]);
        types.extend([0, info(2, 0), 2]);
        types.extend([5, info(6, 1), 4, 10, 7]);
        file(&types, b"\0int\0pair\0first\0second\0")
    }

    #[test]
    fn every_type_is_found_by_number_and_by_name() {
        let types = Types::parse(example(), None).unwrap();
        let kinds: Vec<_> = (1..=4).map(|number| types.get(number).unwrap().kind).collect();
        assert_eq!(kinds, [Kind::Other, Kind::Structure, Kind::Pointer, Kind::Enum]);
        assert!(types.get(0).is_none() && types.get(5).is_none());
        let pairs: Vec<_> = types.named("pair").map(|found| found.kind).collect();
        assert_eq!(pairs, [Kind::Structure, Kind::Enum]);
        assert_eq!(types.named("air").count() + types.named("pai").count(), 0);
        let target = types.get(3).unwrap().target().unwrap();
        let members: Vec<_> = target.members().map(|m| (m.name, m.of, m.bits, m.is_bitfield)).collect();
        assert_eq!(members, [(&b"first"[..], 1, 0, false), (b"second", 1, 36, true)]);
        let enumerators: Vec<_> = types.get(4).unwrap().enumerators().collect();
        assert_eq!(enumerators, [(7, &b"first"[..])]);
    }

    #[test]
    fn a_modules_types_go_on_where_its_kernels_end() {
        let kernel = Types::parse(example(), None).unwrap();
        let strings = 23;
        let module = file(&[strings, info(6, 2), 4, strings + 3, 1, 10, 2], b"no\0way\0");
        let module = Types::parse(module, Some(&kernel)).unwrap();
        let found = module.named("no").next().unwrap();
        assert_eq!(module.get(5).unwrap().name(), found.name());
        assert_eq!(found.name(), b"no");
        assert_eq!(found.enumerators().collect::<Vec<_>>(), [(1, &b"way"[..]), (2, b"first")]);
        assert_eq!(module.get(2).unwrap().name(), b"pair");
    }

    #[test]
    fn what_is_cut_off_is_refused() {
        let whole = example();
        let strings = 23;
        for length in 0..whole.len() - strings {
            assert!(Types::parse(whole[..length].to_vec(), None).is_err(), "{length} bytes");
        }
        assert!(Types::parse(file(&[0, info(20, 0), 0], b"\0"), None).is_err(), "a kind that does not exist");
        assert!(Types::parse(file(&[0, info(4, 2), 0], b"\0"), None).is_err(), "members beyond the end");
    }

    proptest! {
        #[test]
        fn damage_is_refused_or_harmless(at in 0..example().len(), byte: u8) {
            let mut bytes = example();
            bytes[at] = byte;
            let Ok(types) = Types::parse(bytes, None) else { return Ok(()) };
            for found in (0..9).filter_map(|number| types.get(number)) {
                let _ = (found.name(), found.target().map(|target| target.kind));
                let _ = (found.members().count(), found.enumerators().count(), found.parameters().count());
            }
            let _ = types.named("pair").count();
        }
    }
}
