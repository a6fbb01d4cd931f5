//! Being signed in: how a login begins in the browser, and how its tokens are renewed.

mod browser;
mod callback;
mod device;
mod page;
mod renew;

pub(crate) use browser::open;
pub(crate) use callback::Listener;
pub(crate) use device::{fingerprint, name as device_name};
pub(crate) use renew::{from_reply, not_signed_in, renew, token};
