//! The numbers of rows of certificates and audit events: time first, so that every index that ends in them is in the order of listings, and
//! a range of time is a range of rows. Where the rest of a number comes from is the backends' part.

use std::ops::RangeInclusive;

/// Bits behind the seconds of a certificate's row: 24 that count and 5 that say what counted.
const COUNT_BITS: u32 = 29;
/// Bits that say what counted: an audit chain (0 to 15), or one of the numbers below.
const SOURCE_BITS: u32 = 5;
/// The greatest second that fits, in the year 2514.
const LAST_SECOND: i64 = (1 << (63 - COUNT_BITS)) - 1;
/// Bits behind the milliseconds of an event's row: 17 of its place in the chain and 4 of the chain.
const PLACE_BITS: u32 = 21;
const CHAIN_BITS: u32 = 4;
/// The greatest millisecond that fits, in the year 2109.
const LAST_MILLISECOND: i64 = (1 << (63 - PLACE_BITS)) - 1;

/// What counts for certificates that are recorded without the events of an issuance; the migration that introduced the numbers is 17.
pub(super) const APART: i64 = 16;

/// Returns the row of a certificate that was issued in a second: `number` is unique for `source`, at least among 16 million in its order.
pub(super) const fn certificate(issued_at: i64, number: i64, source: i64) -> i64 {
    let count = number & ((1 << (COUNT_BITS - SOURCE_BITS)) - 1);
    (second(issued_at) << COUNT_BITS) | (count << SOURCE_BITS) | source
}

/// Returns the rows that certificates issued in a second can have.
pub(super) const fn certificates_of(issued_at: i64) -> RangeInclusive<i64> {
    let first = second(issued_at) << COUNT_BITS;
    first..=(first | ((1 << COUNT_BITS) - 1))
}

/// Returns the count in a certificate's row.
#[cfg(feature = "sqlite")]
pub(super) const fn count(row: i64) -> i64 {
    (row >> SOURCE_BITS) & ((1 << (COUNT_BITS - SOURCE_BITS)) - 1)
}

/// Returns the second of a certificate's row.
pub(super) const fn issued_at(row: i64) -> i64 {
    row >> COUNT_BITS
}

/// Returns the row of an event, given its place in its chain.
pub(super) const fn event(occurred_at_ms: i64, chain: i32, sequence: i64) -> i64 {
    let place = sequence & ((1 << (PLACE_BITS - CHAIN_BITS)) - 1);
    (millisecond(occurred_at_ms) << PLACE_BITS) | (place << CHAIN_BITS) | (chain as i64 & ((1 << CHAIN_BITS) - 1))
}

/// Returns the first row that an event of a millisecond can have.
pub(super) const fn first_event_of(occurred_at_ms: i64) -> i64 {
    millisecond(occurred_at_ms) << PLACE_BITS
}

const fn second(unix: i64) -> i64 {
    within(unix, LAST_SECOND)
}

const fn millisecond(unix_ms: i64) -> i64 {
    within(unix_ms, LAST_MILLISECOND)
}

const fn within(value: i64, last: i64) -> i64 {
    if value < 0 {
        0
    } else if value > last {
        last
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn certificates_sort_by_second_then_number(one in 0i64..1 << 34, other in 0i64..1 << 34, number in 0i64..1 << 24) {
            let (first, second) = (certificate(one, number, 0), certificate(other, 0, APART));
            prop_assert!(first >= 0 && second >= 0);
            prop_assert_eq!(issued_at(first), one);
            prop_assert!(certificates_of(one).contains(&first));
            prop_assert!(one == other || (first < second) == (one < other));
        }

        #[test]
        fn events_sort_by_millisecond(one in 0i64..1 << 42, other in 0i64..1 << 42, chain in 0i32..16, sequence: i64) {
            let (first, second) = (event(one, chain, sequence), event(other, 15, 0));
            prop_assert!(first >= first_event_of(one) && first < first_event_of(one + 1).max(first + 1));
            prop_assert!(one == other || (first < second) == (one < other));
        }

        #[test]
        fn no_moment_is_outside_the_numbers(moment: i64, number: i64) {
            prop_assert!(certificate(moment, number, APART) >= 0);
            prop_assert!(event(moment, 15, number) >= 0);
        }
    }

    #[test]
    fn two_sources_and_two_counts_give_different_rows() {
        assert_ne!(certificate(7, 1, 0), certificate(7, 1, APART));
        assert_ne!(certificate(7, 1, 3), certificate(7, 2, 3));
        assert_ne!(event(7, 1, 5), event(7, 2, 5));
        assert_ne!(event(7, 1, 5), event(7, 1, 6));
    }
}
