//! What those see who run the gateway: metrics and logs.

mod logs;
mod metrics;
mod world;
