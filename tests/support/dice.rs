//! Chance that can be had again: the same seed, the same throws.
#![allow(dead_code)] // each test program uses a part of it

use std::ops::RangeInclusive;
use std::time::Duration;

/// `SplitMix64`: small, and good enough to choose test cases with.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A die of its own for something that happens beside, so that neither disturbs the other.
    pub fn split(&mut self) -> Self {
        Self(self.throw())
    }

    pub fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.throw() % (range.end() - range.start() + 1)
    }

    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.throw() % n as u64).unwrap()
    }

    /// True in so many of a hundred throws.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.throw() % 100 < chance
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub fn millis(&mut self, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }
}
