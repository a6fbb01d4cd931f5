//! Something valid with one thing changed: what unit tests and integration tests start from.
//!
//! Both compile these files, so they name the crate from outside, as `lpm_core`.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a failing test should panic")]

pub(crate) mod claims;
pub(crate) mod decision;
pub(crate) mod grid;
pub(crate) mod requests;
pub(crate) mod token;

/// Ten seconds after the fixtures were issued.
pub(crate) const NOW: i64 = 1_790_000_010;
