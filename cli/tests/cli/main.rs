//! The command line from outside: a home, a project, an environment and nothing else.

mod allow;
mod ci;
mod copies;
mod declared;
mod keychain;
mod legacy_key;
mod local;
mod login;
mod login_refused;
mod logout;
mod mistakes;
mod org;
mod pair;
mod process;
mod renewal;
mod rotate;
mod setup;
mod share;
mod support;
mod sync;
