#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use clap::CommandFactory;
use insta::assert_snapshot;
use std::io::Write;
use tokio_postgres::config::SslMode;

const SOCKET: &str = "postgresql://gateway@%2Fvar%2Frun%2Fpostgresql/lpm";

fn settings(args: &[&str]) -> Result<Settings, ConfigError> {
    Args::try_parse_from(["lpm-gateway"].iter().chain(args)).unwrap().settings()
}

fn database(url: &str) -> Result<Settings, ConfigError> {
    settings(&["--database-url", url])
}

fn refusal(result: Result<Settings, ConfigError>) -> String {
    result.err().expect("these settings are refused").to_string()
}

#[test]
fn every_flag_has_help_and_an_environment_variable() {
    Args::command().debug_assert();
    for arg in Args::command()
        .get_arguments()
        .filter(|arg| !arg.is_positional() && !["help", "version"].contains(&arg.get_id().as_str()))
    {
        assert!(arg.get_help().is_some(), "--{} has no help", arg.get_id());
        let alone = arg.get_id() == "config";
        assert!(
            alone || arg.get_help_heading().is_some(),
            "--{} stands in no group of the help",
            arg.get_id()
        );
        let expected = format!("LPM_GATEWAY_{}", arg.get_id().as_str().to_uppercase());
        assert_eq!(arg.get_env().and_then(|env| env.to_str()), Some(expected.as_str()));
    }
}

#[test]
fn help_shows_no_password() {
    let hidden = Args::command()
        .get_arguments()
        .any(|arg| arg.get_id() == "database_url" && arg.is_hide_env_values_set());
    assert!(hidden);
}

#[test]
fn a_local_socket_and_loopback_are_enough() {
    let settings = database(SOCKET).unwrap();
    assert_eq!(settings.database.tls, database::Tls::Off);
    assert_eq!(settings.public_url, None);
    assert_eq!(settings.audience("127.0.0.1:9".parse().unwrap()), "http://127.0.0.1:9");
    assert!(settings.database.config.get_options().unwrap().contains("-c statement_timeout=10000"));
}

#[test]
fn a_missing_database_is_named_with_an_example() {
    let text = refusal(settings(&[]));
    assert!(
        text.contains("--database-url (LPM_GATEWAY_DATABASE_URL)") && text.contains("create_gateway_login"),
        "{text}"
    );
    assert_eq!(refusal(database("")), text);
}

#[test]
fn metrics_are_for_loopback() {
    let with = |listen: &str, more: &[&str]| {
        let given = ["--database-url", SOCKET, "--metrics-listen", listen];
        settings(&[&given, more].concat())
    };
    for listen in ["0.0.0.0:9473", "192.0.2.1:9473", "[::]:9473"] {
        let text = refusal(with(listen, &[]));
        assert!(text.contains(listen) && text.contains("--metrics-listen-insecure"), "{text}");
        // what is said of the public address does not count for this one
        assert_eq!(refusal(with(listen, &["--listen-insecure"])), text);
        assert!(with(listen, &["--metrics-listen-insecure"]).is_ok(), "{listen}");
    }
    assert!(with("127.0.0.1:9473", &[]).is_ok());
    assert_eq!(database(SOCKET).unwrap().metrics_listen, None);
}

#[test]
fn plain_http_is_for_loopback() {
    let text = refusal(settings(&[
        "--database-url",
        SOCKET,
        "--listen",
        "0.0.0.0:80",
        "--public-url",
        "https://v.example",
    ]));
    assert!(text.contains("--tls-cert") && text.contains("--listen-insecure"), "{text}");
    for listen in ["127.0.0.1:0", "127.8.8.8:1", "[::1]:0"] {
        assert!(settings(&["--database-url", SOCKET, "--listen", listen]).is_ok(), "{listen}");
    }
    let given = [
        "--database-url",
        SOCKET,
        "--listen",
        "0.0.0.0:80",
        "--listen-insecure",
        "--public-url",
        "https://v.example/",
    ];
    assert_eq!(settings(&given).unwrap().public_url.as_deref(), Some("https://v.example"));
}

#[test]
fn tls_needs_both_files() {
    assert_snapshot!(
        refusal(settings(&["--database-url", SOCKET, "--tls-cert", "/c.pem"])),
        @"--tls-cert (LPM_GATEWAY_TLS_CERT) is set and --tls-key (LPM_GATEWAY_TLS_KEY) is not: TLS needs both; set --tls-key (LPM_GATEWAY_TLS_KEY), or neither on a loopback address"
    );
    assert!(refusal(settings(&["--database-url", SOCKET, "--tls-key", "/k.pem"])).starts_with("--tls-key"));
}

#[test]
fn a_public_address_needs_a_public_url() {
    let text = refusal(settings(&[
        "--database-url",
        SOCKET,
        "--listen",
        "10.0.0.1:443",
        "--tls-cert",
        "c",
        "--tls-key",
        "k",
    ]));
    assert!(text.starts_with("--public-url is not set"), "{text}");
}

#[test]
fn public_urls_that_clients_would_refuse_are_refused() {
    for (url, problem) in [
        ("vault.example.com", "is not a URL"),
        ("ftp://vault.example.com", "is not an https URL"),
        ("http://vault.example.com", "is plain http"),
        ("https://vault.example.com/?a=b", "has a query or fragment"),
        ("https://u:p@vault.example.com", "holds a user name or password"),
    ] {
        let text = refusal(settings(&["--database-url", SOCKET, "--public-url", url]));
        assert!(text.contains(problem), "{url}: {text}");
    }
    assert!(settings(&["--database-url", SOCKET, "--public-url", "http://[::1]:80"]).is_ok());
}

#[test]
fn a_remote_database_needs_verify_full() {
    for url in [
        "postgresql://g@db.example/lpm",
        "postgresql://g@db.example/lpm?sslmode=require",
        "postgresql://g@db.example/lpm?sslmode=verify-ca",
        "postgresql://g@127.0.0.1,db.example/lpm",
        "postgresql://g@localhost/lpm?hostaddr=10.0.0.9",
        "host=db.example user=g sslmode=prefer",
        "host=/tmp,10.0.0.1 user=g",
    ] {
        assert!(refusal(database(url)).contains("sslmode=verify-full"), "{url}");
        assert!(settings(&["--database-url", url, "--database-insecure"]).is_ok(), "{url}");
    }
}

#[test]
fn verify_full_and_its_certificate_are_read() {
    for url in [
        "postgresql://g@db.example/lpm?connect_timeout=9&sslmode=verify-full&sslrootcert=%2Fetc%2Fca%20x.pem",
        "host=db.example user=g connect_timeout=9 sslmode=verify-full sslrootcert='/etc/ca x.pem' password='a sslmode=disable'",
    ] {
        let database = database(url).unwrap().database;
        assert_eq!(database.tls, database::Tls::VerifyFull, "{url}");
        assert_eq!(database.config.get_ssl_mode(), SslMode::Require, "{url}");
        assert_eq!(database.ca, Some("/etc/ca x.pem".into()), "{url}");
        assert_eq!(database.config.get_connect_timeout(), Some(&Duration::from_secs(9)), "{url}");
    }
}

#[test]
fn wrong_database_urls_name_the_problem_and_never_the_password() {
    for (url, problem) in [
        ("postgresql:///lpm?password=hunter2", "names no host"),
        ("postgresql://g:hunter2@localhost/lpm?sslmode=sometimes", "sslmode `sometimes` is not known"),
        ("postgresql://g:hunter2@localhost/lpm?colour=blue", "unknown option"),
        ("host=localhost password=hunter2 port=x", "port"),
    ] {
        let text = refusal(database(url));
        assert!(text.starts_with("--database-url (LPM_GATEWAY_DATABASE_URL)"), "{text}");
        assert!(text.contains(problem), "{url}: {text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_password_is_the_first_line_of_its_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"s3cret\r\nsecond").unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let given = settings(&["--database-url", SOCKET, "--database-password-file", &path]).unwrap();
    assert_eq!(given.database.config.get_password(), Some(&b"s3cret"[..]));
    file.as_file().set_len(0).unwrap();
    assert!(
        refusal(settings(&["--database-url", SOCKET, "--database-password-file", &path]))
            .contains("empty first line")
    );
    assert!(
        refusal(settings(&["--database-url", SOCKET, "--database-password-file", "/no/such"]))
            .contains("/no/such")
    );
}

#[test]
fn times_that_cannot_work_are_refused() {
    for (flag, value) in [("--keys-cool-down", "0s"), ("--request-timeout", "10ms"), ("--pool-size", "0")] {
        assert!(refusal(settings(&["--database-url", SOCKET, flag, value])).starts_with(flag), "{flag}");
    }
    assert!(
        refusal(settings(&["--database-url", SOCKET, "--keys-max-age", "1m"])).starts_with("--keys-max-age")
    );
}

#[test]
fn client_certificates_come_with_their_key_and_with_tls() {
    let url = |rest: &str| format!("postgresql://g@db.example/lpm?sslmode=verify-full{rest}");
    let given = database(&url("&sslcert=%2Fc%20c.pem&sslkey=/k.pem")).unwrap().database;
    assert_eq!(given.identity, Some(("/c c.pem".into(), "/k.pem".into())));
    assert_eq!(database(&url("")).unwrap().database.identity, None);
    for (url, problem) in [
        (url("&sslcert=/c.pem"), "sslcert is set and sslkey is not"),
        (url("&sslkey=/k.pem"), "sslkey is set and sslcert is not"),
        ("postgresql://g@localhost/lpm?sslcert=/c.pem&sslkey=/k.pem".to_owned(), "has no TLS to show it in"),
    ] {
        let text = refusal(database(&url));
        assert!(text.starts_with("--database-url (LPM_GATEWAY_DATABASE_URL)"), "{text}");
        assert!(text.contains(problem), "{url}: {text}");
    }
    // as in libpq, a Unix socket has no TLS, whatever was said
    let socket = database(&format!("{SOCKET}?sslmode=verify-full&sslcert=/c.pem&sslkey=/k.pem")).unwrap();
    assert_eq!(socket.database.tls, database::Tls::Off);
    assert_eq!(socket.database.config.get_ssl_mode(), SslMode::Disable);
}

#[test]
fn several_hosts_are_all_verified_by_name() {
    let given = database(
        "postgresql://g@one.example,two.example:5433/lpm?sslmode=verify-full&target_session_attrs=read-write",
    )
    .unwrap();
    assert_eq!(given.database.config.get_hosts().len(), 2);
    for (url, problem) in [
        ("host=/run/postgresql,db.example user=g sslmode=verify-full", "a socket has no TLS"),
        ("hostaddr=10.0.0.9 user=g sslmode=verify-full", "a hostaddr without its host"),
        ("host=one.example,two.example user=g", "sslmode=verify-full"),
        ("host=localhost,two.example user=g sslmode=require", "sslmode=verify-full"),
    ] {
        let text = refusal(database(url));
        assert!(text.contains(problem), "{url}: {text}");
    }
    let pairs = database(
        "host=db.example hostaddr=10.0.0.9 user=g sslmode=verify-full sslcert='/c c.pem' sslkey=/k.pem",
    );
    assert_eq!(pairs.unwrap().database.identity, Some(("/c c.pem".into(), "/k.pem".into())));
}

#[test]
fn a_list_of_proxies_that_would_trust_anybody_is_refused() {
    let given = |list| settings(&["--database-url", SOCKET, "--trusted-proxies", list]);
    assert!(given("10.0.0.0/8, 192.0.2.1,2001:db8::/32").is_ok());
    assert!(given("").is_ok());
    assert_snapshot!(
        refusal(given("10.0.0.0/8,0.0.0.0/0")),
        @"--trusted-proxies (LPM_GATEWAY_TRUSTED_PROXIES): `0.0.0.0/0` is every address there is, so anybody could claim any address; list the addresses or networks of the proxies in front of the gateway, e.g. 10.0.0.0/8,192.0.2.1"
    );
}
