//! The gateway's edge: who is who behind proxies, and what happens when there are too many; certificates, and HTTP/2.

mod certificate;
mod http2;
mod limits;
mod overload;
mod proxies;
mod site;
mod tls;
