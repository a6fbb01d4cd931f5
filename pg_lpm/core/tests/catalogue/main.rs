//! The attack catalogue, as far as pure functions answer it: tokens (J1 to J29), claims and policies (P1 to
//! P34).
//!
//! A function's name begins with its row, and so does every message of a case. Each case is something
//! valid with one thing changed, and what is asserted is which rule refused it. What needs a network, a
//! clock or a row of a table (replay, key refresh, requests to issuers) is tested where that is.

#![allow(clippy::unwrap_used, reason = "a failing test should panic")]

#[path = "../support/mod.rs"]
mod support;

mod absence;
mod algorithm;
mod answers;
mod audience;
mod encoding;
mod environments;
mod events;
mod forks;
mod form;
mod header;
mod identity;
mod issuer;
mod keys;
mod limits;
mod names;
mod numbers;
mod order;
mod patterns;
mod random;
mod refs;

mod signature;
mod times;
mod types;
mod workflows;
