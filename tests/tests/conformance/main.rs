//! The published client's wire contract, endpoint by endpoint: what that client sends, byte for byte, against a real
//! gateway and database, and what it prints of each answer. Written from the contract alone; every answer is also
//! held against `/openapi.json`.

mod addresses;
mod ci;
mod document;
mod orgs;
mod pairing;
mod personal;
mod platforms;
mod policies;
mod sessions;
mod tokens;
mod world;
