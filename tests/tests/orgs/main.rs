//! Organisations through a real gateway: who may do what, who reads what, and who does not.

mod audit;
mod concurrency;
mod invitations;
mod members;
mod policies;
mod published;
mod roles;
mod sharing;
mod strangers;
mod world;
