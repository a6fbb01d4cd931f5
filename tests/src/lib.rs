//! The harness: everything that the product talks to, as real processes.
//!
//! * [`cluster`] makes private PostgreSQL clusters, [`database`] a fresh database per test in them.
//! * [`escrowed`] opens a vault to CI in SQL, [`wire`] speaks PostgreSQL's protocol by hand.
//! * [`issuer`] is an OIDC issuer that behaves like GitHub's and GitLab's, and misbehaves on request.
//! * [`gateway`] and [`cli`] run the two binaries of the product.
//! * [`stack`] puts them together: one cluster and one issuer per test binary, one database and one
//!   gateway per test.
//!
//! Nothing outlives the process that started it, however that process ends: see [`process::Guardian`].

pub mod binaries;
pub mod cli;
pub mod cluster;
pub mod database;
pub mod escrowed;
pub mod gateway;
pub mod issuer;
pub mod process;
pub mod stack;
pub mod wire;
