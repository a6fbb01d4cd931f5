//! Which addresses an issuer may have.
//!
//! An issuer's URL comes from the database, but its name is resolved by whoever runs its DNS zone: without
//! this check a name could be pointed at a metadata service or a machine behind the firewall. The check
//! sits inside the resolver of the HTTP client, so the address that was checked is the one that is connected
//! to.

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Where a fetch may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The public Internet.
    Public,
    /// Anywhere, because the issuer's row allows private addresses.
    Anywhere,
    /// This machine only: plain HTTP, and the issuer's row allows private addresses.
    Loopback,
}

impl Reach {
    /// Is this address within reach?
    pub(crate) fn covers(self, address: IpAddr) -> bool {
        match self {
            Reach::Public => is_public(address),
            Reach::Anywhere => true,
            Reach::Loopback => address.to_canonical().is_loopback(),
        }
    }
}

/// Resolves a name and refuses it when any of its addresses is out of reach.
pub(crate) struct Resolver(pub(crate) Reach);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let reach = self.0;
        Box::pin(async move {
            let addresses = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(within(reach, addresses)?.into_iter()) as Addrs)
        })
    }
}

/// The addresses of a name, all of which must be within reach: the client may connect to any of them.
fn within(reach: Reach, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, String> {
    match addresses.iter().find(|address| !reach.covers(address.ip())) {
        Some(address) => Err(format!("its address {} is not {}", address.ip(), reach.words())),
        None => Ok(addresses),
    }
}

impl Reach {
    /// What an address out of reach is not.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Reach::Public | Reach::Anywhere => {
                "public, and the issuer's row does not set `allow_private_addresses`"
            }
            Reach::Loopback => "loopback, the only place for plain http",
        }
    }
}

/// Is it an address of the public Internet? Everything that is not clearly one is refused.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Ranges of <https://www.iana.org/assignments/iana-ipv4-special-registry>.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a >= 240
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || (a == 100 && (64..128).contains(&b)) // carrier-grade NAT
        || (a == 198 && (18..20).contains(&b)) // benchmarks
        || (a, b, c) == (192, 0, 0)
        || (a, b, c) == (192, 88, 99)) // 6to4 relays
}

/// Only global unicast (`2000::/3`) without what is carved out of it, and NAT64 of a public address; see
/// <https://www.iana.org/assignments/iana-ipv6-special-registry>.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        [0x64, 0xFF9B, 0, 0, 0, 0, high, low] => {
            let [a, b] = high.to_be_bytes();
            let [c, d] = low.to_be_bytes();
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // protocol assignments with Teredo, documentation, 6to4
        [0x2001, 0..=0x1FF, ..] | [0x2001, 0xDB8, ..] | [0x2002, ..] => false,
        [0x3FFF, 0..=0xFFF, ..] => false,
        [first, ..] => first & 0xE000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn j31_j34_only_public_addresses_are_public() {
        for text in [
            "140.82.121.4",
            "8.8.8.8",
            "172.32.0.1",
            "2606:50c0:8000::153",
            "64:ff9b::8.8.8.8",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(text.parse().expect("an address")), "{text}");
        }
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "3fff::1",
            "4000::1",
        ] {
            assert!(!is_public(text.parse().expect("an address")), "{text}");
        }
    }

    #[test]
    fn j34_plain_http_reaches_loopback_only() {
        for (text, covered) in [
            ("127.0.0.1", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("8.8.8.8", false),
        ] {
            assert_eq!(Reach::Loopback.covers(text.parse().expect("an address")), covered, "{text}");
        }
    }

    #[test]
    fn j34_one_address_out_of_reach_refuses_the_name() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| SocketAddr::new(text.parse().expect("an address"), 443)).collect()
        };
        let public = addresses(&["140.82.121.4", "2606:50c0:8000::153"]);
        assert_eq!(within(Reach::Public, public.clone()), Ok(public), "as they were checked, and no others");
        for private in ["169.254.169.254", "127.0.0.1", "10.0.0.1", "::1", "fd00:ec2::254", "::ffff:10.0.0.1"]
        {
            for mixed in [["140.82.121.4", private], [private, "140.82.121.4"]] {
                let problem = within(Reach::Public, addresses(&mixed)).expect_err(private);
                let named: IpAddr = private.parse().expect("an address");
                assert!(problem.starts_with(&format!("its address {named} is not public")), "{problem}");
            }
            assert!(within(Reach::Anywhere, addresses(&[private])).is_ok(), "{private}");
        }
        assert!(within(Reach::Loopback, addresses(&["127.0.0.1", "8.8.8.8"])).is_err());
    }

    #[tokio::test]
    async fn j34_a_name_is_checked_when_it_is_resolved() {
        let resolve = |reach| Resolver(reach).resolve("localhost".parse().expect("a name"));
        let problem = resolve(Reach::Public).await.err().expect("it is this machine").to_string();
        assert!(problem.contains("is not public"), "{problem}");
        assert!(resolve(Reach::Loopback).await.expect("loopback").all(|address| address.ip().is_loopback()));
    }
}
