//! Sets of small numbers: a word of 64 at a time where they are many, a list where they are few.

/// A set of the numbers `0..count`, one bit each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// No number of `0..count`.
    pub(super) fn none(count: usize) -> Self {
        Self(vec![0; count.div_ceil(64)])
    }

    /// All numbers of `0..count`.
    pub(super) fn all(count: usize) -> Self {
        let mut bits = Self(vec![u64::MAX; count.div_ceil(64)]);
        if let (Some(last), rest @ 1..) = (bits.0.last_mut(), count % 64) {
            *last = (1 << rest) - 1;
        }
        bits
    }

    pub(super) fn add(&mut self, number: u32) {
        self.0[number as usize / 64] |= 1 << (number % 64);
    }

    pub(super) fn remove(&mut self, number: u32) {
        self.0[number as usize / 64] &= !(1 << (number % 64));
    }

    /// Becomes equal to `other`, in the memory it has.
    pub(super) fn copy(&mut self, other: &Self) {
        self.0.copy_from_slice(&other.0);
    }

    pub(super) fn add_all(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    pub(super) fn remove_all(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= !other;
        }
    }

    /// Keeps what `other` has too.
    pub(super) fn keep(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// The numbers in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(place, word)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros() as usize)?;
                left &= left - 1;
                Some(place * 64 + bit)
            })
        })
    }
}

/// A set that never changes, in the smaller of two forms.
#[derive(Debug)]
pub(super) enum Set {
    Few(Vec<u32>),
    Many(Bits),
}

impl Set {
    /// Of these numbers of `0..count`.
    pub(super) fn new(numbers: Vec<u32>, count: usize) -> Self {
        if numbers.len() <= count.div_ceil(64) {
            return Self::Few(numbers);
        }
        let mut bits = Bits::none(count);
        numbers.into_iter().for_each(|number| bits.add(number));
        Self::Many(bits)
    }

    pub(super) fn add_to(&self, bits: &mut Bits) {
        match self {
            Self::Few(numbers) => numbers.iter().for_each(|number| bits.add(*number)),
            Self::Many(all) => bits.add_all(all),
        }
    }

    pub(super) fn remove_from(&self, bits: &mut Bits) {
        match self {
            Self::Few(numbers) => numbers.iter().for_each(|number| bits.remove(*number)),
            Self::Many(all) => bits.remove_all(all),
        }
    }
}
