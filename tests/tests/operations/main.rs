//! What those see who run the gateway: health, metrics, logs, and restarts.

mod health;
mod logs;
mod metrics;
mod restart;
mod world;
