//! The command line from outside: a home, a project, an environment and nothing else.

mod allow;
mod ci;
mod legacy_key;
mod local;
mod mistakes;
mod process;
mod setup;
mod support;
mod sync;
