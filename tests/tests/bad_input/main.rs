//! Bad input on every route of a real gateway: a 4xx in JSON that says what is wrong, never a 5xx, never a
//! hang, and nothing is lost.

mod bodies;
mod heads;
mod members;
mod routes;
mod slow;
mod smuggling;
mod table;
mod tokens;
mod world;
