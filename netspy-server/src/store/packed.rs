//! Numbers as bytes, the smaller the fewer: how summaries of blocks and segments are stored.

/// Seven bits a byte, the lowest first; the eighth says that more follow.
pub(super) fn put(bytes: &mut Vec<u8>, number: impl Into<u64>) {
    let mut number = number.into();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Takes numbers off the beginning of what [`put`] wrote. `None` at the end and where it is damaged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbers<'a>(pub(super) &'a [u8]);

impl Numbers<'_> {
    pub(super) fn long(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, after) = self.0.split_first()?;
            self.0 = after;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn short(&mut self) -> Option<u32> {
        self.long()?.try_into().ok()
    }

    /// The next of rising numbers, each stored as its distance from the one before.
    pub(super) fn rising(&mut self, before: &mut u32) -> Option<u32> {
        *before = before.checked_add(self.short()?)?;
        Some(*before)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(written in prop::collection::vec(any::<u64>(), 0..20)) {
            let mut bytes = Vec::new();
            for number in &written { put(&mut bytes, *number); }
            let mut rest = Numbers(&bytes);
            let read: Vec<_> = std::iter::from_fn(|| rest.long()).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn damage_ends_them(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut rest = Numbers(&bytes);
            let (mut last, mut read) = (0, 0);
            while rest.rising(&mut last).is_some() {
                read += 1;
            }
            prop_assert!(read <= bytes.len());
        }
    }
}
