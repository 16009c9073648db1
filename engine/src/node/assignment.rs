//! Which live node a lane belongs to. Every node computes the same from the same list, so nobody has to decide.

/// The owner of a lane among the live slots: the one whose hash with the lane is greatest (rendezvous hashing). When a
/// node joins or leaves, only lanes that come to it or were its own change hands.
#[must_use]
pub(crate) fn owner(lane: i32, live: &[i16]) -> Option<i16> {
    live.iter().copied().max_by_key(|slot| (weight(lane, *slot), *slot))
}

/// Finalizer of splitmix64 over lane and slot.
fn weight(lane: i32, slot: i16) -> u64 {
    let mut mixed = (u64::from(lane.cast_unsigned()) << 16 | u64::from(slot.cast_unsigned()))
        .wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_joins_takes_its_share_and_nothing_else_moves() {
        let lanes = 1..=300;
        for lane in lanes.clone() {
            let (two, three) = (owner(lane, &[0, 1]), owner(lane, &[0, 1, 2]));
            assert!(three == two || three == Some(2), "lane {lane} went from {two:?} to {three:?}");
        }
        for slot in 0..3 {
            let share = lanes.clone().filter(|lane| owner(*lane, &[0, 1, 2]) == Some(slot)).count();
            assert!((60..140).contains(&share), "node {slot} owns {share} of 300 lanes");
        }
    }

    #[test]
    fn nobody_owns_a_lane_where_nobody_lives() {
        assert_eq!(owner(1, &[]), None);
        assert_eq!(owner(1, &[7]), Some(7));
    }
}
