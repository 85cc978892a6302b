//! Reading the kernel's memory: every offset comes from the injected layout, every read is checked.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext as _,
    helpers::{self, generated::bpf_probe_read_kernel},
    programs::{BtfTracePointContext, TracePointContext},
};
use netspy_common::{KernelLayout, MISSING};

/// Where the running kernel keeps things; injected by the loader before the programs are verified.
#[unsafe(no_mangle)]
pub static LAYOUT: KernelLayout = KernelLayout::UNKNOWN;

/// 1 where connects are found by tracepoints alone, 0 where kprobes find them; injected likewise.
#[unsafe(no_mangle)]
pub static WITHOUT_KPROBES: u32 = 0;

/// 1 where the verifier knows the type of the current task (since 5.11); injected likewise.
#[unsafe(no_mangle)]
pub static TYPED_TASK: u32 = 0;

/// 1 where programs may ask for a socket's cookie (since 5.12); injected likewise.
#[unsafe(no_mangle)]
pub static COOKIES: u32 = 0;

/// A field of the injected layout. The verifier knows it as a constant, the compiler does not.
macro_rules! offset {
    ($field:ident) => {
        // SAFETY: a static that only the loader changes, before the program exists.
        unsafe { core::ptr::read_volatile(&raw const $crate::kernel::LAYOUT.$field) }
    };
}
pub(crate) use offset;

/// Whether this program stands on the rung without kprobes.
#[inline(always)]
pub fn without_kprobes() -> bool {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const WITHOUT_KPROBES) != 0 }
}

/// Whether [`Typed`] can be had of the current task.
#[inline(always)]
pub fn is_task_typed() -> bool {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const TYPED_TASK) != 0 }
}

/// Whether sockets have cookies for the asking.
#[inline(always)]
pub fn gives_cookies() -> bool {
    // SAFETY: as above.
    unsafe { core::ptr::read_volatile(&raw const COOKIES) != 0 }
}

/// A number at `offset` in a tracepoint's record.
///
/// # Safety
///
/// The record must have one there, or the program is refused.
#[inline(always)]
pub unsafe fn from_record(ctx: &TracePointContext, offset: usize) -> u64 {
    // SAFETY: the caller's.
    unsafe { ctx.as_ptr().cast::<u8>().add(offset).cast::<u64>().read_volatile() }
}

/// An argument of a tracepoint as a mere number: of a pointer that may be null some verifiers believe that it is none.
#[inline(always)]
pub fn untyped(ctx: &BtfTracePointContext, position: u32) -> u64 {
    read_or_zero(ctx.as_ptr() as u64, position * 8)
}

/// Reads a `T` at `base + offset`; `None` where the kernel has no such field or the address is bad.
#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    if offset == MISSING || base == 0 {
        return None;
    }
    // SAFETY: the helper checks the address; `T` is an integer or an array of bytes.
    unsafe { helpers::bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}

/// One of the kernel's structs.
pub trait Struct {
    /// What it points to.
    type Target: Struct;

    /// The field at `offset`; zeroes where the kernel has none.
    fn get<T: Copy + Default>(&self, offset: u32) -> T;

    /// The struct that the field at `pointer` points to.
    fn at(&self, pointer: u32) -> Self::Target;
}

/// A struct of which only the address is known: each field is copied by itself.
pub struct Probed(pub u64);

impl Struct for Probed {
    type Target = Self;

    #[inline(always)]
    fn get<T: Copy + Default>(&self, offset: u32) -> T {
        read_or_zero(self.0, offset)
    }

    #[inline(always)]
    fn at(&self, pointer: u32) -> Self {
        Self(self.get(pointer))
    }
}

/// The first `WORDS` eight bytes of a struct of which only the address is known, copied at once: each copy costs more
/// than what it copies.
pub struct Start<const WORDS: usize> {
    base: u64,
    bytes: MaybeUninit<[u64; WORDS]>,
}

impl<const WORDS: usize> Start<WORDS> {
    /// Zeroes where there is nothing at `base`.
    #[inline(always)]
    pub fn of(base: u64) -> Self {
        let mut bytes = MaybeUninit::<[u64; WORDS]>::uninit();
        // SAFETY: the helper checks the source, and writes all of the target: zeroes where it fails.
        unsafe { bpf_probe_read_kernel(bytes.as_mut_ptr().cast(), WORDS as u32 * 8, base as *const c_void) };
        Self { base, bytes }
    }
}

impl<const WORDS: usize> Struct for Start<WORDS> {
    type Target = Probed;

    /// From the copy if it is in there, like [`read_or_zero`] otherwise.
    #[inline(always)]
    fn get<T: Copy + Default>(&self, offset: u32) -> T {
        if offset as usize + size_of::<T>() > WORDS * 8 {
            return read_or_zero(self.base, offset);
        }
        // SAFETY: it lies in the copy, which is as much aligned as the struct; `T` is of integers.
        unsafe { self.bytes.as_ptr().cast::<u8>().add(offset as usize).cast::<T>().read() }
    }

    #[inline(always)]
    fn at(&self, pointer: u32) -> Probed {
        Probed(self.get(pointer))
    }
}

/// A struct whose type the verifier knows, and so lets a program load from: an instruction instead of a helper. Only for what is
/// certain to be there: a load that faults in a program with functions ends 5.10, which finds no entry for it.
#[derive(Clone, Copy)]
pub struct Typed(u64);

impl Typed {
    /// # Safety
    ///
    /// The verifier must know `pointer` as one to a struct of the kernel, or the program is refused.
    #[inline(always)]
    pub unsafe fn of(pointer: u64) -> Self {
        Self(pointer)
    }
}

impl Struct for Typed {
    type Target = Self;

    #[inline(always)]
    fn get<T: Copy + Default>(&self, offset: u32) -> T {
        if offset == MISSING {
            return T::default();
        }
        // SAFETY: the verifier checks that it is a field; where the pointer is null the kernel loads zeroes.
        unsafe { ((self.0 + u64::from(offset)) as *const T).read_volatile() }
    }

    #[inline(always)]
    fn at(&self, pointer: u32) -> Self {
        Self(self.get(pointer))
    }
}

/// Reads straight into `target`, which stays as it is when that fails: for records in the rings, because a
/// program has 512 bytes of stack.
#[inline(always)]
pub fn read_into<T: Copy>(target: &mut T, base: u64, offset: u32) {
    if offset == MISSING || base == 0 {
        return;
    }
    let size = size_of::<T>() as u32;
    // SAFETY: the helper checks the source; `target` is `size` bytes long and any bits are a valid `T`.
    let _ = unsafe {
        bpf_probe_read_kernel((&raw mut *target).cast(), size, (base + u64::from(offset)) as *const c_void)
    };
}

/// [`read`], with 0 for what cannot be read: one path for the verifier, because the helper itself writes zeroes where
/// it fails.
#[inline(always)]
pub fn read_or_zero<T: Copy + Default>(base: u64, offset: u32) -> T {
    let mut value = T::default();
    if offset != MISSING {
        let source = base.wrapping_add(u64::from(offset)) as *const c_void;
        // SAFETY: the helper checks the source, null or not; `T` is an integer.
        unsafe { bpf_probe_read_kernel((&raw mut value).cast(), size_of::<T>() as u32, source) };
    }
    value
}
