//! The address that a request came from: the peer's, or what a trusted proxy says of it.
//!
//! `X-Forwarded-For` is a list that anybody can begin and each proxy adds to at its end. So it is read from the
//! right, and only as far as the addresses are those of trusted proxies: what stands left of the first other one
//! was written by that one.

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Whose `X-Forwarded-For` is believed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Reads networks and single addresses; the error is what is wrong with which of them. An empty variable of the
    /// environment is an empty list.
    pub(crate) fn parse(list: &[String]) -> Result<Self, (String, &'static str)> {
        let list = if list == [""] { &[] } else { list };
        list.iter().map(|text| network(text.trim())).collect::<Result<_, _>>().map(Self)
    }

    /// Whose request it is. Where the header is malformed, the last address that a trusted proxy vouched for.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        // Several headers of this name are one list, in their order.
        for line in headers.get_all(FORWARDED_FOR).iter().rev() {
            for entry in line.as_bytes().rsplit(|byte| *byte == b',') {
                if !self.contain(client) {
                    return client;
                }
                let Some(before) = address(entry) else { return client };
                client = before;
            }
        }
        client
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn network(text: &str) -> Result<IpNet, (String, &'static str)> {
    let wrong = |problem| (text.to_owned(), problem);
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse::<IpNet>().map_err(|_| wrong("is neither an address nor a network"))?,
    };
    if network.prefix_len() == 0 {
        return Err(wrong("is every address there is, so anybody could claim any address"));
    }
    // Peers are compared as IPv4 where they are.
    if network.addr().to_canonical() != network.addr() {
        return Err(wrong("is an IPv4 network in IPv6 notation"));
    }
    Ok(network.trunc())
}

/// An entry of the list: an address, in some proxies' spelling with a port.
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?.trim_ascii();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn proxies(list: &[&str]) -> Result<Proxies, (String, &'static str)> {
        Proxies::parse(&list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    fn client(peer: &str, lines: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).expect("a value"));
        }
        let trusted = proxies(&["10.0.0.0/8", "192.0.2.1", "2001:db8:1::/48"]).expect("networks");
        trusted.client(peer.parse().expect("an address"), &headers).to_string()
    }

    #[test]
    fn only_what_trusted_proxies_say_counts() {
        for (name, peer, lines, expected) in [
            ("no header", "10.0.0.1", vec![], "10.0.0.1"),
            ("one proxy", "10.0.0.1", vec!["203.0.113.7"], "203.0.113.7"),
            ("a single address is trusted", "192.0.2.1", vec!["203.0.113.7"], "203.0.113.7"),
            ("its neighbour is not", "192.0.2.2", vec!["203.0.113.7"], "192.0.2.2"),
            ("a peer that is no proxy", "203.0.113.9", vec!["198.51.100.1"], "203.0.113.9"),
            ("a peer that names a proxy", "203.0.113.9", vec!["10.0.0.1"], "203.0.113.9"),
            ("a client that claims another", "10.0.0.1", vec!["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
            ("two proxies", "10.0.0.1", vec!["198.51.100.1, 203.0.113.7, 10.9.9.9"], "203.0.113.7"),
            ("two lines", "10.0.0.1", vec!["198.51.100.1", "203.0.113.7 ,10.9.9.9"], "203.0.113.7"),
            ("a client's own line", "10.0.0.1", vec!["10.3.3.3", "203.0.113.7"], "203.0.113.7"),
            ("proxies only", "10.0.0.1", vec!["10.1.1.1,10.2.2.2"], "10.1.1.1"),
            ("no spaces", "10.0.0.1", vec!["1.2.3.4,203.0.113.7"], "203.0.113.7"),
            ("tabs", "10.0.0.1", vec!["\t203.0.113.7\t"], "203.0.113.7"),
            ("with a port", "10.0.0.1", vec!["203.0.113.7:4711"], "203.0.113.7"),
            ("IPv6", "2001:db8:1::1", vec!["2001:db8:2::7"], "2001:db8:2::7"),
            ("IPv6 in brackets", "10.0.0.1", vec!["[2001:db8:2::7]"], "2001:db8:2::7"),
            ("IPv6 with a port", "10.0.0.1", vec!["[2001:db8:2::7]:443"], "2001:db8:2::7"),
            ("IPv4 as IPv6", "::ffff:10.0.0.1", vec!["::ffff:203.0.113.7"], "203.0.113.7"),
            ("IPv4 as IPv6, untrusted", "::ffff:203.0.113.9", vec!["198.51.100.1"], "203.0.113.9"),
        ] {
            assert_eq!(client(peer, &lines), expected, "{name}");
        }
    }

    #[test]
    fn behind_a_malformed_entry_nothing_counts() {
        for entry in [
            "",
            " ",
            "unknown",
            "_hidden",
            "203.0.113",
            "203.0.113.7.1",
            "0x7f.1",
            "010.0.0.1",
            "203.0.113.7:",
            "203.0.113.7:99999",
            "[203.0.113.7",
            "2001:db8::g",
            "203.0.113.7 198.51.100.1",
            "é",
            "\"203.0.113.7\"",
            "for=203.0.113.7",
            "203.0.113.7/32",
        ] {
            assert_eq!(client("10.0.0.1", &[entry]), "10.0.0.1", "`{entry}`");
            let list = format!("198.51.100.1,{entry},10.9.9.9");
            assert_eq!(client("10.0.0.1", &[&list]), "10.9.9.9", "`{list}`");
        }
    }

    #[test]
    fn without_a_list_nobody_is_believed() {
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_FOR, HeaderValue::from_static("203.0.113.7"));
        let peer: IpAddr = "127.0.0.1".parse().expect("an address");
        assert_eq!(Proxies::default().client(peer, &headers), peer);
    }

    #[test]
    fn lists_that_would_not_do_what_they_say_are_refused() {
        for (text, problem) in [
            ("proxy.example.com", "is neither"),
            ("10.0.0.0/33", "is neither"),
            ("", "is neither"),
            ("0.0.0.0/0", "is every address"),
            ("::/0", "is every address"),
            ("::ffff:10.0.0.0/104", "is an IPv4 network"),
        ] {
            let (named, found) = proxies(&["10.0.0.1", text]).expect_err(text);
            assert_eq!(named, text);
            assert!(found.starts_with(problem), "{text}: {found}");
        }
    }
}
