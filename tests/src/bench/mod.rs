//! How fast the whole is, beside what the same machine can do at best in the same minutes.
//!
//! [`world`] is a cluster with many vaults and a gateway; [`tokens`] are minted before a measurement, [`wrk`] sends
//! them, and [`floor`] is what PostgreSQL alone does with one audit row per commit.

pub mod floor;
pub mod report;
pub mod tokens;
pub mod world;
pub mod wrk;
