//! The decisions of `pg_lpm` as pure functions: no PostgreSQL, no I/O, no clock.
//!
//! The modules follow the flow: **token → claims → policy → decision → envelope → environment → dotenv**.
//! The extension, the gateway and the command line are thin shells around them, so every rule is written
//! and tested once.

pub mod bearer;
pub mod claims;
pub mod decision;
pub mod dotenv;
pub mod envelope;
pub mod environment;
pub mod failure;
pub mod json;
pub mod pattern;
pub mod policy;
pub mod secret;
pub mod token;
pub mod wire;

// `tests/support` is compiled into unit and integration tests alike, so it names the crate from outside.
#[cfg(test)]
extern crate self as lpm_core;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
