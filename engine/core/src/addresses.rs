//! How many connections each address has, over all shards.
//!
//! A table of an entry for each address would be something that peers can make grow. So an address has a counter in each
//! of four rows instead, which other addresses share by chance, and the smallest one counts: a count-min sketch. It never
//! counts too few, and too many only for an address that shares all of its counters with others. Which addresses share
//! is chosen anew in each life of the process, so nobody can aim at somebody else's counters. The plane's seed would not
//! do for that: the epochs of topics, which anybody may see, lead back to it.

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

/// The counters of a row: one for each value of 16 bits.
const ROW: usize = 1 << 16;

const ROWS: usize = 4;

/// Where an address is counted: its counter in each row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place([u16; ROWS]);

/// The counters, shared by all shards.
pub(crate) struct Addresses {
    rows: [Box<[AtomicU32]>; ROWS],
    connections_max: u32,
    hasher: RandomState,
}

impl std::fmt::Debug for Addresses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Addresses(at most {} connections each)", self.connections_max)
    }
}

impl Addresses {
    /// A table that lets each address have `connections_max` connections.
    pub(crate) fn new(connections_max: u32) -> Self {
        let row = || (0..ROW).map(|_| AtomicU32::new(0)).collect();
        Self { rows: [row(), row(), row(), row()], connections_max, hasher: RandomState::new() }
    }

    /// Counts one more connection of an address, unless it has as many as it may. What is counted is to be taken back
    /// with [`Self::remove`].
    pub(crate) fn add(&self, address: IpAddr) -> Option<Place> {
        let place = self.place_of(address);
        let least = self.counters(place).map(|counter| counter.fetch_add(1, Ordering::Relaxed)).min();
        if least.is_some_and(|before| before < self.connections_max) {
            return Some(place);
        }
        self.remove(place);
        None
    }

    /// Counts one connection less.
    pub(crate) fn remove(&self, place: Place) {
        for counter in self.counters(place) {
            let before = counter.fetch_sub(1, Ordering::Relaxed);
            debug_assert!(before > 0, "what is taken back was counted");
        }
    }

    fn counters(&self, Place(place): Place) -> impl Iterator<Item = &AtomicU32> {
        self.rows.iter().zip(place).map(|(row, counter)| &row[usize::from(counter)])
    }

    fn place_of(&self, address: IpAddr) -> Place {
        // One subscriber of IPv6 has at least 2^64 addresses (RFC 6177), so what they have in common counts. An IPv4
        // peer of a listener for both is an IPv6 address of a network that all IPv4 peers have in common.
        let hash = match address.to_canonical() {
            IpAddr::V4(address) => self.hasher.hash_one(address.to_bits()),
            IpAddr::V6(address) => self.hasher.hash_one((address.to_bits() >> 64) as u64),
        };
        Place([hash as u16, (hash >> 16) as u16, (hash >> 32) as u16, (hash >> 48) as u16])
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(number))
    }

    #[test]
    fn an_address_has_as_many_as_it_may_and_again_after_some_have_gone() {
        let table = Addresses::new(3);
        let places: Vec<Place> = (0..3).map(|_| table.add(address(1)).expect("within its limit")).collect();
        assert_eq!((table.add(address(1)), table.add(address(1))), (None, None));
        table.remove(places[0]);
        assert_eq!(table.add(address(1)), Some(places[0]), "refusals were taken back");
        assert_eq!(table.add(address(1)), None);
    }

    #[test]
    fn nothing_is_left_when_all_have_gone() {
        let table = Addresses::new(2);
        let places: Vec<Place> =
            (0..10_000).filter_map(|number| table.add(address(number % 3_000))).collect();
        assert!(places.len() > 5_900 && places.len() <= 6_000, "{}", places.len());
        places.into_iter().for_each(|place| table.remove(place));
        assert!(table.rows.iter().flatten().all(|counter| counter.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn what_counts_as_one_address() {
        let table = Addresses::new(1);
        let place = |text: &str| table.place_of(text.parse().expect("an address"));
        for (one, other, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            // Two addresses share all counters with a chance of one in 2^64.
            assert_eq!(place(one) == place(other), same, "{one} and {other}");
        }
        let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert!(table.add(v6).is_some() && table.add(v6).is_none());
    }

    #[test]
    fn others_are_seldom_in_the_way() {
        let table = Addresses::new(8);
        // Sixteen thousand addresses with as much as they may have.
        for number in 0..8 * 16_384 {
            table.add(address(number / 8));
        }
        let refused = (0..10_000).filter(|number| table.add(address(1 << 30 | *number)).is_none()).count();
        assert!(refused < 300, "{refused} of 10 000 who came for the first time");
    }
}
