//! A server that speaks TLS on an address of its own.

use super::{Cluster, give_to_server};
use crate::authority::{Authority, Identity};
use anyhow::Result;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;

impl Cluster {
    /// Has the server listen on a loopback address that nobody else has, with this certificate, and trust client
    /// certificates of the authority. `methods` are the lines of `pg_hba.conf` for whoever comes that way.
    pub fn listen_with_tls(
        &self,
        server: &Identity,
        authority: &Authority,
        methods: &[&str],
    ) -> Result<Ipv4Addr> {
        let [.., a, b, c] = uuid::Uuid::new_v4().into_bytes();
        let address = Ipv4Addr::new(127, a | 0x80, b, c.clamp(1, 254));
        let (certificate, key) = server.write(&self.data_dir(), "server")?;
        let ca = authority.write(&self.data_dir(), "clients")?;
        for file in [&certificate, &key, &ca] {
            give_to_server(file)?;
        }
        for (name, value) in [
            ("listen_addresses", address.to_string()),
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", certificate.display().to_string()),
            ("ssl_key_file", key.display().to_string()),
            ("ssl_ca_file", ca.display().to_string()),
        ] {
            self.set(name, &value)?;
        }
        let hba = self.data_dir().join("pg_hba.conf");
        // the first line that fits decides
        let rest = fs::read_to_string(&hba)?;
        let mut file = OpenOptions::new().write(true).truncate(true).open(&hba)?;
        // whoever connects to a loopback address comes from another
        for method in methods {
            writeln!(file, "hostssl all all 127.0.0.0/8 {method}")?;
        }
        file.write_all(rest.as_bytes())?;
        self.restart()?;
        Ok(address)
    }
}
