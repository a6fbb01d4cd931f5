//! Tables of cases: something valid with one thing changed, and what comes of it. Row ids such as `P4`
//! name the attacks of the threat catalogue.

#![allow(clippy::unwrap_used, reason = "a failing test should panic")]

mod agreement;
mod answers;
mod github;
mod gitlab;
mod identity;
mod narrowing;

use super::*;
use crate::support::claims::Payload;
use crate::support::decision::*;
use serde_json::{Value, json};
