#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::config::{Args, LogFormat, Settings};
use clap::{CommandFactory, FromArgMatches};
use insta::assert_snapshot;

fn file(text: &str) -> File {
    File { path: "/etc/gateway.toml".into(), text: text.to_owned(), mode: 0o600 }
}

fn args(file: &File, typed: &[&str]) -> Result<Args, FileError> {
    let command = file.under(Args::command())?;
    let matches = command.get_matches_from(["lpm-gateway"].iter().chain(typed));
    Ok(Args::from_arg_matches(&matches).unwrap())
}

fn settings(text: &str, typed: &[&str]) -> Settings {
    args(&file(text), typed).unwrap().settings().unwrap()
}

fn refusal(text: &str) -> String {
    args(&file(text), &[]).err().expect("this file is refused").to_string()
}

#[test]
fn every_flag_with_an_environment_variable_is_a_key() {
    for arg in Args::command().get_arguments().filter(|arg| arg.get_env().is_some()) {
        let name = arg.get_long().unwrap();
        // a value of a type that no setting has: the refusal shows that the key is known
        let text = refusal(&format!("# a comment\n\n{name} = 1.5"));
        if name == "config" {
            assert!(text.starts_with("`/etc/gateway.toml:3`: `config` is not a setting"), "{text}");
        } else {
            let known =
                format!("`/etc/gateway.toml:3`: `{name}` is a number with a fraction, and has to be ");
            assert!(text.starts_with(&known), "{text}");
        }
    }
}

#[test]
fn the_file_counts_after_flags_and_before_defaults() {
    let text = r#"
        database-url = "postgresql://gateway@%2Frun%2Fpostgresql/lpm"
        pool-size = 7
        pool-wait = "3s"
        listen = "0.0.0.0:80"
        listen-insecure = true
        public-url = "https://vault.example.com"
        log-format = "json"
    "#;
    let given = settings(text, &["--pool-size=9"]);
    assert_eq!(given.pool_size, 9, "typed");
    assert_eq!(given.pool_wait.as_secs(), 3, "in the file");
    assert_eq!(given.statement_timeout.as_secs(), 10, "in neither");
    assert_eq!((given.listen.to_string().as_str(), given.log_format), ("0.0.0.0:80", LogFormat::Json));
}

#[test]
fn unknown_keys_are_named_with_their_line() {
    assert_snapshot!(
        refusal("pool-size = 7\npool_wait = \"3s\""),
        @"`/etc/gateway.toml:2`: `pool_wait` is not a setting: write `pool-wait`; the keys are the flags of `lpm-gateway --help` without their `--`"
    );
    assert_snapshot!(
        refusal("databse-url = \"postgresql://g:hunter2@localhost/lpm\""),
        @"`/etc/gateway.toml:1`: `databse-url` is not a setting; the keys are the flags of `lpm-gateway --help` without their `--`"
    );
    for (text, expected) in [
        ("help = true", "`help` is not a setting"),
        ("version = true", "`version` is not a setting"),
        ("config = \"/etc/other.toml\"", "`config` is not a setting"),
        ("\"\" = 1", "`` is not a setting"),
        ("[limits]\npool-size = 3", "gateway.toml:1`: `limits` is a table"),
        ("tls.cert = \"c\"", "`tls` is a table"),
    ] {
        let refused = refusal(text);
        assert!(refused.contains(expected), "{text}: {refused}");
    }
}

#[test]
fn values_that_a_flag_would_not_take_are_named_with_their_line() {
    for (text, expected) in [
        ("pool-size = 70000", ":1`: `pool-size`: invalid value '70000' for '--pool-size <N>'"),
        ("\npool-wait = \"soon\"", ":2`: `pool-wait`: invalid value 'soon'"),
        ("listen = \"localhost\"", "`listen`: invalid value 'localhost'"),
        ("log-format = \"xml\"", "[possible values: plain, json]"),
        ("pool-size = true", "`pool-size` is true or false, and has to be a string, or a whole number"),
        ("pool-size = 0x10", "`pool-size` is a number, and has to be a string, or a whole number in decimal"),
        ("pool-wait = 1979-05-27", "`pool-wait` is a date or time"),
        ("listen = [\"127.0.0.1:1\"]", "`listen` is a list"),
        ("[listen]\nport = 1", "`listen` is a table"),
        ("listen-insecure = \"true\"", "`listen-insecure` is a string, and has to be true or false"),
        ("listen-insecure = 1", "`listen-insecure` is a number, and has to be true or false"),
    ] {
        let refused = refusal(text);
        assert!(refused.contains(expected), "{text}: {refused}");
    }
}

#[test]
fn what_is_not_toml_is_refused_without_being_shown() {
    for text in [
        "pool-size = 1\ndatabase-url = postgresql://g:hunter2@localhost/lpm",
        "pool-size = 1\ndatabase-url = \"postgresql://g:hunter2@localhost/lpm",
        "pool-size = 1\npool-size = 2 # hunter2",
        "pool-size = 1\nhunter2",
    ] {
        let refused = refusal(text);
        assert!(refused.starts_with("`/etc/gateway.toml:2` is not TOML: "), "{refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[test]
fn a_password_stands_in_files_that_only_their_owner_may_open() {
    let with = "database-url = \"postgresql://g:hunter2@localhost/lpm\"";
    let as_option = "database-url = \"host=localhost user=g password=hunter2\"";
    let unreadable = "database-url = \"postgresql://g:hunter2@localhost/lpm?colour=blue\"";
    for text in [with, as_option, unreadable] {
        for mode in [0o640, 0o604, 0o644, 0o620, 0o602, 0o601] {
            let refused = args(&File { mode, ..file(text) }, &[]).err().unwrap().to_string();
            assert!(
                refused.contains("holds a password") && refused.contains("chmod 600"),
                "{mode:o}: {refused}"
            );
            assert!(!refused.contains("hunter2"), "{refused}");
        }
        for mode in [0o600, 0o400] {
            assert!(args(&File { mode, ..file(text) }, &[]).is_ok(), "{mode:o}");
        }
    }
    let without =
        "database-url = \"postgresql://g@localhost/lpm\"\ndatabase-password-file = \"/etc/lpm/password\"";
    assert!(args(&File { mode: 0o644, ..file(without) }, &[]).is_ok());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let text = File::read(Path::new("/no/such.toml")).err().unwrap().to_string();
    assert!(text.starts_with("--config (LPM_GATEWAY_CONFIG) `/no/such.toml` cannot be read"), "{text}");
    let latin = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(latin.path(), b"# caf\xe9\n").unwrap();
    assert!(File::read(latin.path()).is_err(), "not UTF-8");
}
