//! Which segment of one message belongs to which of the other.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::Segment;

/// Above so many pairs the segments are paired by their number alone, so that two large messages that share
/// nothing take no minutes.
const PAIRS_MAX: usize = 4 << 20;

/// What alignment looks at: the id, and a mark for each field.
pub(super) struct Line<'m> {
    pub(super) raw: &'m [u8],
    id: &'m str,
    fields: Vec<u64>,
}

impl<'m> Line<'m> {
    pub(super) fn new(segment: &Segment<'m>) -> Self {
        let mark = |raw: Option<&[u8]>| {
            let mut hasher = DefaultHasher::new();
            raw.unwrap_or_default().hash(&mut hasher);
            hasher.finish()
        };
        let mut fields: Vec<u64> = segment.fields().map(|field| mark(field.raw())).collect();
        let empty = mark(None);
        while fields.last() == Some(&empty) {
            fields.pop();
        }
        Self { raw: segment.raw(), id: segment.id(), fields }
    }

    /// How much two segments with the same id have in common, from 1; 0 for different ids.
    fn likeness(&self, other: &Self) -> u32 {
        if self.id != other.id {
            return 0;
        }
        let most = self.fields.len().max(other.fields.len()).max(1);
        // What names the thing counts more than what is said about it: OBX-3, OBR-4, DG1-3 and the like. Set ids
        // change whenever a segment comes or goes.
        let key = |line: &Self| line.fields.get(2..4.min(line.fields.len()).max(2)).map(<[u64]>::to_vec);
        let named = if key(self) == key(other) { 60 } else { 0 };
        let same = self.fields.iter().zip(&other.fields).filter(|(left, right)| left == right).count();
        1 + named + (39 * same / most) as u32
    }
}

type Pair = (Option<usize>, Option<usize>);

/// Pairs in order; a segment without partner stands alone.
pub(super) fn align(left: &[Line<'_>], right: &[Line<'_>]) -> Vec<Pair> {
    let same = |(left, right): &(&Line<'_>, &Line<'_>)| left.raw == right.raw;
    let head = left.iter().zip(right).take_while(same).count();
    let tail = left[head..].iter().rev().zip(right[head..].iter().rev()).take_while(same).count();
    let (left_end, right_end) = (left.len() - tail, right.len() - tail);
    let mut pairs: Vec<Pair> = (0..head).map(|index| (Some(index), Some(index))).collect();
    let middle = (&left[head..left_end], &right[head..right_end]);
    let inner = if middle.0.len() * middle.1.len() <= PAIRS_MAX {
        best(middle.0, middle.1)
    } else {
        by_number(middle.0, middle.1)
    };
    pairs.extend(inner.into_iter().map(|(l, r)| (l.map(|l| l + head), r.map(|r| r + head))));
    pairs.extend((0..tail).map(|index| (Some(left_end + index), Some(right_end + index))));
    pairs
}

/// The pairing, in order, with the most in common.
fn best(left: &[Line<'_>], right: &[Line<'_>]) -> Vec<Pair> {
    let width = right.len() + 1;
    let mut scores = vec![0_u32; (left.len() + 1) * width];
    for l in (0..left.len()).rev() {
        for r in (0..right.len()).rev() {
            let likeness = left[l].likeness(&right[r]);
            let paired = if likeness > 0 { likeness + scores[(l + 1) * width + r + 1] } else { 0 };
            scores[l * width + r] = paired.max(scores[(l + 1) * width + r]).max(scores[l * width + r + 1]);
        }
    }
    let (mut l, mut r) = (0, 0);
    let mut pairs = Vec::with_capacity(left.len().max(right.len()));
    while l < left.len() && r < right.len() {
        let likeness = left[l].likeness(&right[r]);
        let here = scores[l * width + r];
        if likeness > 0 && here == likeness + scores[(l + 1) * width + r + 1] {
            pairs.push((Some(l), Some(r)));
            l += 1;
            r += 1;
        } else if here == scores[(l + 1) * width + r] {
            pairs.push((Some(l), None));
            l += 1;
        } else {
            pairs.push((None, Some(r)));
            r += 1;
        }
    }
    pairs.extend((l..left.len()).map(|l| (Some(l), None)));
    pairs.extend((r..right.len()).map(|r| (None, Some(r))));
    pairs
}

fn by_number(left: &[Line<'_>], right: &[Line<'_>]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for index in 0..left.len().max(right.len()) {
        match (left.get(index), right.get(index)) {
            (Some(l), Some(r)) if l.id == r.id => pairs.push((Some(index), Some(index))),
            (l, r) => {
                pairs.extend(l.map(|_| (Some(index), None)));
                pairs.extend(r.map(|_| (None, Some(index))));
            }
        }
    }
    pairs
}
