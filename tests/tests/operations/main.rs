//! What those see who run the gateway: health, metrics, logs, restarts, and what systemd is told.

mod health;
mod logs;
mod metrics;
mod reload;
mod restart;
mod systemd;
mod world;
