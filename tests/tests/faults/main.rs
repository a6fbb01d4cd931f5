//! What breaks under running pulls, and what must hold while it is broken and after: no client received an answer
//! whose audit row is missing, nobody hangs, everything recovers by itself, no connection is left behind.
//!
//! Small disks and cables that can be cut take root. `TMPDIR=/dev/shm` puts the clusters into memory, which makes the
//! thousand kills several times faster and proves as much: what a killed process has written, the kernel keeps.

mod clock;
mod connections;
mod disk;
mod failover;
mod gateway;
mod issuers;
mod kills;
mod listen;
mod network;
mod pooler;
mod server;
mod site;
mod standby;
mod timeouts;
mod upgrade;
