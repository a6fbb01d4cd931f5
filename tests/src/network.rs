//! A network of its own between this machine and a server: a namespace and a cable that can be cut.

use crate::process::{Guardian, run};
use anyhow::{Context, Result};
use std::net::Ipv4Addr;
use std::process::Command;

/// A network namespace, joined with ours by a pair of virtual interfaces.
pub struct Network {
    name: String,
    /// Two neighbours of a network that is reserved for tests like these (RFC 2544).
    addresses: [Ipv4Addr; 2],
    _guardian: Guardian,
}

impl Network {
    /// Makes one; it takes root.
    pub fn new() -> Result<Self> {
        let id = uuid::Uuid::new_v4().into_bytes();
        let name = format!("lpm{}", hex::encode(&id[..4]));
        let third = id[4];
        // a network of four addresses, of which the outer two are not for hosts
        let fourth = id[5] & 0b1111_1100;
        let addresses = [1, 2].map(|host| Ipv4Addr::new(198, 18, third, fourth + host));
        let guardian = Guardian::new(r#"ip netns del "$1"; ip link del "$1""#, [&name])?;
        let network = Self { name, addresses, _guardian: guardian };
        network.lay().context("a network namespace of its own needs root and the package iproute2")?;
        Ok(network)
    }

    fn lay(&self) -> Result<()> {
        let [ours, theirs] = self.addresses.map(|address| format!("{address}/30"));
        let name = &self.name;
        self.ip(&format!("netns add {name}"))?;
        self.ip(&format!("link add {name} type veth peer name eth0 netns {name}"))?;
        self.ip(&format!("address add {ours} dev {name}"))?;
        self.ip(&format!("-n {name} address add {theirs} dev eth0"))?;
        self.ip(&format!("-n {name} link set lo up"))?;
        self.ip(&format!("link set {name} up"))?;
        self.mend()
    }

    /// The address of the server.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.addresses[1]
    }

    /// The command that runs another in the namespace.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--net=/run/netns/{}", self.name)]
    }

    /// Cuts the cable: whatever is sent is lost, and nobody is told.
    pub fn cut(&self) -> Result<()> {
        self.ip(&format!("-n {} link set eth0 down", self.name))
    }

    /// Mends it.
    pub fn mend(&self) -> Result<()> {
        self.ip(&format!("-n {} link set eth0 up", self.name))
    }

    /// Puts another machine at the end of the cable: the same address, and no memory of any connection.
    pub fn replace(&self) -> Result<()> {
        self.ip(&format!("link del {}", self.name))?;
        self.ip(&format!("netns del {}", self.name))?;
        self.lay()
    }

    fn ip(&self, arguments: &str) -> Result<()> {
        run(Command::new("ip").args(arguments.split(' '))).map(drop)
    }
}
