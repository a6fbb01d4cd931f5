//! The harness: everything that the product talks to, as real processes.
//!
//! * [`cluster`] makes private PostgreSQL clusters, [`database`] a fresh database per test in them.
//! * [`escrowed`] opens a vault to CI in SQL, [`per_vault`] by a key of its own, [`job`] asks for it, [`wire`] speaks
//!   PostgreSQL's protocol by hand.
//! * [`issuer`] is an OIDC issuer that behaves like GitHub's and GitLab's, and misbehaves on request.
//! * [`gateway`] and [`cli`] run the two binaries of the product; [`raw_http`] speaks to the former by hand, [`balancer`]
//!   stands in front of several.
//! * [`published`] is the published client, as strict and as careless as its contract says.
//! * [`authority`] signs certificates, [`pooler`] stands between a gateway and its database, [`proxy`] between it and issuers.
//! * [`leaks`] searches for secrets in what all of them leave behind.
//! * [`load`] keeps pulling while a test breaks something: [`network`] is a cable that can be cut, [`clock`] one
//!   that can be set.
//! * [`mod@bench`] measures, beside what PostgreSQL can do at best.
//! * [`signin`] signs in as a browser and a command line do.
//! * [`stack`] puts them together: one cluster and one issuer per test binary, one database and one
//!   gateway per test.
//!
//! Nothing outlives the process that started it, however that process ends: see [`process::Guardian`].

pub mod authority;
pub mod balancer;
pub mod bench;
pub mod binaries;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod database;
pub mod escrowed;
pub mod gateway;
pub mod issuer;
pub mod job;
pub mod leaks;
pub mod load;
pub mod network;
pub mod per_vault;
pub mod pooler;
pub mod process;
pub mod proxy;
pub mod published;
pub mod raw_http;
pub mod signin;
pub mod sources;
pub mod stack;
pub mod wire;
