//! Numbers for masking keys, handshake nonces and the run's identity, and seeded ones for what must be the same each time.

use std::f64::consts::TAU;
use std::io;

/// SplitMix64.
///
/// RFC 6455 section 10.3 wants unpredictable masking keys, against scripts in browsers that attack proxies. A load
/// generator's payloads come from no script, so keys that merely look random will do, and cost nothing.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// # Errors
    /// When the kernel gives no entropy.
    pub fn from_kernel() -> io::Result<Self> {
        Ok(Self(getrandom::u64()?))
    }

    /// The same numbers for the same seed.
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Above 0, at most 1, all equally likely.
    pub(crate) fn unit(&mut self) -> f64 {
        ((self.number() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// A standard normal deviate (Box and Muller).
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (TAU * self.unit()).cos()
    }

    pub(crate) fn mask(&mut self) -> [u8; 4] {
        (self.number() as u32).to_ne_bytes()
    }

    pub(crate) fn nonce(&mut self) -> [u8; 16] {
        (u128::from(self.number()) << 64 | u128::from(self.number())).to_ne_bytes()
    }
}
