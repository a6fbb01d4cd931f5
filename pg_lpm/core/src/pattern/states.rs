//! The automaton of a pattern: its states are bits, so that a byte moves all of them at once.

use super::{MAX_PATTERN, Step};
use std::ops::{BitAnd, BitOr};

/// One state more than there are steps.
const WORDS: usize = (MAX_PATTERN + 1).div_ceil(64);

/// A set of states. State `i`: the first `i` steps can have consumed what was read so far.
#[derive(Clone, Copy, Default)]
struct States([u64; WORDS]);

impl States {
    fn insert(&mut self, state: usize) {
        self.0[state / 64] |= 1 << (state % 64);
    }

    fn contains(&self, state: usize) -> bool {
        self.0[state / 64] >> (state % 64) & 1 == 1
    }

    /// Each state moved on by one step.
    fn next(self) -> Self {
        let mut carry = 0;
        Self(self.0.map(|word| {
            let moved = word << 1 | carry;
            carry = word >> 63;
            moved
        }))
    }
}

impl BitAnd for States {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }
}

impl BitOr for States {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }
}

/// What each state does with a byte.
pub(super) struct Machine {
    /// For each byte, the states whose step it is.
    steps: Box<[States; 256]>,
    /// The states before `*`.
    segments: States,
    /// The states before `**`.
    anything: States,
    last: usize,
}

impl Machine {
    pub(super) fn new(steps: &[Step]) -> Self {
        let mut machine = Self {
            steps: Box::new([States::default(); 256]),
            segments: States::default(),
            anything: States::default(),
            last: steps.len(),
        };
        for (state, step) in steps.iter().enumerate() {
            match step {
                Step::Byte(byte) => machine.steps[usize::from(*byte)].insert(state),
                Step::Segment => machine.segments.insert(state),
                Step::Any => machine.anything.insert(state),
            }
        }
        machine
    }

    /// Whether the steps consume the whole of `name`.
    pub(super) fn accepts(&self, name: &[u8]) -> bool {
        let mut reached = States::default();
        reached.insert(0);
        reached = self.skip_wildcards(reached);
        for byte in name {
            let stays = if *byte == b'/' { self.anything } else { self.anything | self.segments };
            let moved = (reached & self.steps[usize::from(*byte)]).next();
            reached = self.skip_wildcards(moved | reached & stays);
        }
        reached.contains(self.last)
    }

    /// A wildcard may also consume nothing. No two of them follow each other: `**` is one, `***` none.
    fn skip_wildcards(&self, reached: States) -> States {
        reached | (reached & (self.segments | self.anything)).next()
    }
}
