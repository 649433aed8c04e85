//! Numbers for masking keys, handshake nonces and the run's identity.

use std::io;

/// SplitMix64, seeded by the kernel.
///
/// RFC 6455 section 10.3 wants unpredictable masking keys, against scripts in browsers that attack proxies. A load
/// generator's payloads come from no script, so keys that merely look random will do, and cost nothing.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// # Errors
    /// When the kernel gives no entropy.
    pub(crate) fn from_kernel() -> io::Result<Self> {
        Ok(Self(getrandom::u64()?))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn mask(&mut self) -> [u8; 4] {
        (self.next() as u32).to_ne_bytes()
    }

    pub(crate) fn nonce(&mut self) -> [u8; 16] {
        (u128::from(self.next()) << 64 | u128::from(self.next())).to_ne_bytes()
    }
}
