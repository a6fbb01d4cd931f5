//! The attack catalogue at the HTTP layer: real gateways, tokens that an issuer signed, one test per row or
//! group of rows. Test and case names begin with the row's id.

mod bytes;
mod exposure;
mod identity;
mod issuers;
mod policies;
mod races;
mod replay;
mod tenants;
mod tokens;
mod trust;
mod world;
