//! Several servers, tried one after the other, each for a time of its own.
//!
//! tokio-postgres tries them too, but its `connect_timeout` ends with TCP. The kernel of a machine whose processes stand
//! still accepts connections, nobody says anything on them, and the next server would never have its turn.

use deadpool_postgres::{ConfigConnectImpl, Connect};
use postgres_openssl::MakeTlsConnector;
use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::LoadBalanceHosts;
use tokio_postgres::{Client, Config, Error, NoTls};

/// TCP may take `connect_timeout`, and the rest as much again.
const PARTS: u32 = 2;

type Connected = Result<(Client, JoinHandle<()>), Error>;

/// Connects to the first server that serves.
pub(super) struct EachHost {
    connect: Box<dyn Connect>,
}

impl EachHost {
    pub(super) fn new(tls: Option<MakeTlsConnector>) -> Self {
        let connect: Box<dyn Connect> = match tls {
            None => Box::new(ConfigConnectImpl { tls: NoTls }),
            Some(tls) => Box::new(ConfigConnectImpl { tls }),
        };
        Self { connect }
    }
}

impl Connect for EachHost {
    fn connect(&self, config: &Config) -> Pin<Box<dyn Future<Output = Connected> + Send + '_>> {
        let hosts = each(config);
        let limit = config.get_connect_timeout().map_or(Duration::MAX, |time| *time * PARTS);
        Box::pin(async move {
            let mut last = None;
            for host in &hosts {
                match timeout(limit, self.connect.connect(host)).await {
                    Ok(Ok(connected)) => return Ok(connected),
                    Ok(Err(error)) => last = Some(error),
                    Err(_) => {}
                }
            }
            match last {
                Some(error) => Err(error),
                // nobody said anything; the pool's own limit, which is as long, ends this
                None => pending().await,
            }
        })
    }
}

/// How long connecting may take as a whole.
pub(super) fn limit(config: &Config) -> Option<Duration> {
    let hosts = u32::try_from(each(config).len()).unwrap_or(u32::MAX);
    config.get_connect_timeout().map(|time| time.saturating_mul(hosts.saturating_mul(PARTS)))
}

/// One configuration for each server, or the given one where that alone knows what to do: one server, servers in a
/// random order, or as many names as not to fit addresses and ports, which is an error.
fn each(config: &Config) -> Vec<Config> {
    let (names, addresses, ports) =
        (config.get_hosts().len(), config.get_hostaddrs().len(), config.get_ports().len());
    let servers = names.max(addresses);
    let fits = [names, addresses].iter().all(|count| [0, servers].contains(count))
        && (ports < 2 || ports == servers);
    if servers < 2 || !fits || config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        return vec![config.clone()];
    }
    (0..servers).map(|server| only(config, server)).collect()
}

/// The same for one server of several.
fn only(config: &Config, server: usize) -> Config {
    let mut one = Config::new();
    if let Some(user) = config.get_user() {
        one.user(user);
    }
    if let Some(password) = config.get_password() {
        one.password(password);
    }
    if let Some(name) = config.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = config.get_options() {
        one.options(options);
    }
    if let Some(name) = config.get_application_name() {
        one.application_name(name);
    }
    match config.get_hosts().get(server) {
        Some(tokio_postgres::config::Host::Tcp(name)) => drop(one.host(name)),
        Some(tokio_postgres::config::Host::Unix(path)) => drop(one.host_path(path)),
        None => {}
    }
    if let Some(address) = config.get_hostaddrs().get(server) {
        one.hostaddr(*address);
    }
    if let Some(port) = config.get_ports().get(server).or_else(|| config.get_ports().first()) {
        one.port(*port);
    }
    if let Some(time) = config.get_connect_timeout() {
        one.connect_timeout(*time);
    }
    if let Some(time) = config.get_tcp_user_timeout() {
        one.tcp_user_timeout(*time);
    }
    if let Some(time) = config.get_keepalives_interval() {
        one.keepalives_interval(time);
    }
    if let Some(count) = config.get_keepalives_retries() {
        one.keepalives_retries(count);
    }
    one.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding());
    one
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// Everything that a URL can set, for these servers.
    fn config(servers: &str) -> Config {
        format!(
            "{servers} user=g password=p dbname=lpm options='-c a=b' application_name=n sslmode=require sslnegotiation=direct \
             connect_timeout=7 tcp_user_timeout=8 keepalives=1 keepalives_idle=9 keepalives_interval=10 keepalives_retries=11 \
             target_session_attrs=read-write channel_binding=require"
        )
        .parse()
        .unwrap()
    }

    #[test]
    fn each_server_is_tried_with_everything_that_was_said() {
        let several = config("host=one.example,two.example hostaddr=10.0.0.1,10.0.0.2 port=1,2");
        assert_eq!(
            each(&several),
            [
                config("host=one.example hostaddr=10.0.0.1 port=1"),
                config("host=two.example hostaddr=10.0.0.2 port=2")
            ]
        );
        let sockets = config("host=/run/a,/run/b port=5433");
        assert_eq!(each(&sockets), [config("host=/run/a port=5433"), config("host=/run/b port=5433")]);
        let addresses = config("hostaddr=10.0.0.1,10.0.0.2");
        assert_eq!(each(&addresses), [config("hostaddr=10.0.0.1"), config("hostaddr=10.0.0.2")]);
        assert_eq!(limit(&several), Some(Duration::from_secs(28)));
    }

    #[test]
    fn what_is_one_or_does_not_fit_stays_as_it_is() {
        for servers in [
            "host=one.example port=1",
            "host=one.example,two.example port=1,2,3",
            "host=one.example,two.example hostaddr=10.0.0.1",
            "host=one.example,two.example load_balance_hosts=random",
        ] {
            let config = config(servers);
            assert_eq!(each(&config), std::slice::from_ref(&config), "{servers}");
        }
        assert_eq!(limit(&config("host=one.example")), Some(Duration::from_secs(14)));
    }
}
