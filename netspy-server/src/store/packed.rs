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
    #[inline]
    pub(super) fn long(&mut self) -> Option<u64> {
        if let [byte @ 0..0x80, after @ ..] = self.0 {
            self.0 = after;
            return Some(u64::from(*byte));
        }
        self.longer()
    }

    fn longer(&mut self) -> Option<u64> {
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

    /// Passes over so many numbers.
    pub(super) fn skip(&mut self, mut numbers: u32) -> Option<()> {
        while numbers > 0
            && let Some((word, after)) = self.0.split_first_chunk()
        {
            // A number ends with each byte that lacks the eighth bit.
            let mut ends = !u64::from_le_bytes(*word) & 0x8080_8080_8080_8080;
            if ends.count_ones() < numbers {
                (numbers, self.0) = (numbers - ends.count_ones(), after);
                continue;
            }
            for _ in 1..numbers {
                ends &= ends - 1; // without the lowest
            }
            let (_, after) = self.0.split_at_checked(ends.trailing_zeros() as usize / 8 + 1)?;
            (numbers, self.0) = (0, after);
        }
        (0..numbers).try_for_each(|_| self.long().map(drop))
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
        fn numbers_are_passed_over(
            written in prop::collection::vec(any::<u64>().prop_map(|number| number >> (number % 64)), 0..40),
            skipped in 0_u32..45,
        ) {
            let mut bytes = Vec::new();
            for number in &written { put(&mut bytes, *number); }
            let mut rest = Numbers(&bytes);
            let all = rest.skip(skipped).is_some();
            prop_assert_eq!(all, skipped as usize <= written.len());
            if all {
                let read: Vec<_> = std::iter::from_fn(|| rest.long()).collect();
                prop_assert_eq!(&read, &written[skipped as usize..]);
            }
        }

        #[test]
        fn damage_ends_them(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let mut rest = Numbers(&bytes);
            let (mut last, mut read) = (0, 0);
            while rest.rising(&mut last).is_some() {
                read += 1;
            }
            Numbers(&bytes).skip(u32::MAX);
            prop_assert!(read <= bytes.len());
        }
    }
}
