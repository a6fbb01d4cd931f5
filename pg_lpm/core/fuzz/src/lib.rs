//! Fuzz targets for `lpm-core`.
//!
//! A target is a plain function from bytes to nothing that panics when the core breaks a promise, so that
//! the same function is run by libFuzzer (`fuzz_targets/`) and, over the kept inputs, by a plain test
//! (`tests/corpus.rs`). The promises are checked against something independent of the code under test: a
//! second reader, a definition written out word by word, or the inverse function.
//!
//! Where a target needs several inputs, they are fields separated by 0xFF, a byte that no UTF-8 text holds.

mod choices;
mod claims;
mod decision;
mod doc;
mod dotenv;
mod envelope;
mod environment;
mod failure;
mod input;
mod isolation;
mod issuer;
mod json;
mod keys;
mod model;
mod patterns;
mod policy;
mod readers;
mod seal;
mod token;

pub use choices::choices;
pub use claims::claims;
pub use decision::decision;
pub use dotenv::{dotenv, render, values};
pub use envelope::envelope;
pub use environment::environment;
pub use failure::failure;
pub use isolation::isolation;
pub use json::json;
pub use keys::keys;
pub use patterns::patterns;
pub use policy::policy;
pub use seal::seal;
pub use token::{token, token_signed};

/// What a fuzzer calls.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its program, corpus and regressions.
pub const TARGETS: &[(&str, Target)] = &[
    ("token", token),
    ("token_signed", token_signed),
    ("keys", keys),
    ("claims", claims),
    ("patterns", patterns),
    ("policy", policy),
    ("decision", decision),
    ("choices", choices),
    ("envelope", envelope),
    ("seal", seal),
    ("environment", environment),
    ("isolation", isolation),
    ("dotenv", dotenv),
    ("render", render),
    ("json", json),
    ("failure", failure),
];
