//! The gateway's configuration as somebody meets who starts it: flags, environment, file, and errors that say what to do.

use anyhow::Result;
use lpm_tests::binaries;
use lpm_tests::process::{Daemon, Lifetime};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use tempfile::TempDir;

/// A directory with a configuration file in it.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new(text: &str) -> Result<Self> {
        let place = Self { directory: tempfile::tempdir()? };
        fs::write(place.file(), text)?;
        Ok(place)
    }

    fn file(&self) -> String {
        self.directory.path().join("gateway.toml").display().to_string()
    }

    fn gateway(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<Command> {
        let mut command = Command::new(binaries::path("lpm-gateway")?);
        command.env_clear().args(arguments).envs(environment.iter().copied());
        Ok(command)
    }

    /// Where a gateway says that it listens.
    fn listens(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<String> {
        let log = self.directory.path().join("log");
        let mut command = self.gateway(arguments, environment)?;
        let daemon = Daemon::start(&mut command, &log, "listening on", Lifetime::Bound)?;
        Ok(daemon.ready_line().rsplit_once(':').map_or("", |(address, _)| address).to_owned())
    }

    /// Exit code and stderr of a gateway that does not start.
    fn fails(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Result<(Option<i32>, String)> {
        let output = self.gateway(arguments, environment)?.output()?;
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "it listens to nobody");
        Ok((output.status.code(), String::from_utf8(output.stderr)?))
    }
}

/// A database that is not there: the gateway starts without.
const DATABASE: &str = "database-url = \"postgresql://gateway@%2Fno%2Fsuch/lpm\"\n";

#[test]
fn flags_count_before_the_environment_the_environment_before_the_file() -> Result<()> {
    let place = Place::new(&format!("{DATABASE}listen = \"127.0.0.2:0\"\n"))?;
    let (file, typed) = (place.file(), format!("--config={}", place.file()));
    let environment = [("LPM_GATEWAY_CONFIG", file.as_str()), ("LPM_GATEWAY_LISTEN", "127.0.0.3:0")];
    for (arguments, environment, expected) in [
        (vec![typed.as_str()], &environment[..0], "127.0.0.2"),
        (vec![], &environment[..1], "127.0.0.2"),
        (vec![], &environment[..], "127.0.0.3"),
        (vec!["--listen=127.0.0.4:0"], &environment[..], "127.0.0.4"),
    ] {
        let listens = place.listens(&arguments, environment)?;
        assert_eq!(listens, format!("listening on http://{expected}"), "{arguments:?} {environment:?}");
    }
    Ok(())
}

#[test]
fn a_switch_of_the_file_is_turned_off_by_the_environment() -> Result<()> {
    let text = format!(
        "{DATABASE}listen = \"0.0.0.0:0\"\nlisten-insecure = true\npublic-url = \"https://vault.example.com\"\n"
    );
    let place = Place::new(&text)?;
    let file = place.file();
    let given = ("LPM_GATEWAY_CONFIG", file.as_str());
    assert_eq!(place.listens(&[], &[given])?, "listening on http://127.0.0.1");
    let (code, text) = place.fails(&[], &[given, ("LPM_GATEWAY_LISTEN_INSECURE", "false")])?;
    assert_eq!(code, Some(1));
    assert!(text.contains("--listen 0.0.0.0:0 is not loopback"), "{text}");
    Ok(())
}

#[test]
fn a_file_that_is_wrong_is_named_with_line_and_key_and_nothing_is_started() -> Result<()> {
    for (text, line, expected) in [
        ("pool_size = 4\n", 2, "`pool_size` is not a setting: write `pool-size`"),
        ("pool-size = \"many\"\n", 2, "`pool-size`: invalid value 'many'"),
        ("\npool-size = [4]\n", 3, "`pool-size` is a list, and has to be a string, or a whole number"),
        ("[pool]\nsize = 4\n", 2, "`pool` is a table"),
        ("pool-size 4\n", 2, "is not TOML"),
    ] {
        let place = Place::new(&format!("{DATABASE}{text}"))?;
        let file = place.file();
        let (code, said) = place.fails(&["--config", &file], &[])?;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.starts_with(&format!("lpm-gateway: `{file}:{line}`")), "{text}: {said}");
        assert!(said.contains(expected), "{text}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    Ok(())
}

#[test]
fn a_password_in_a_file_that_others_may_read_is_refused() -> Result<()> {
    let place = Place::new("database-url = \"postgresql://gateway:hunter2@%2Fno%2Fsuch/lpm\"\n")?;
    let file = place.file();
    fs::set_permissions(&file, Permissions::from_mode(0o640))?;
    let (code, said) = place.fails(&["--config", &file], &[])?;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("`database-url` holds a password") && !said.contains("hunter2"), "{said}");
    fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    assert!(place.listens(&["--config", &file, "--listen=127.0.0.1:0"], &[])?.contains("127.0.0.1"));
    Ok(())
}

#[test]
fn help_names_the_file_the_environment_and_every_group() -> Result<()> {
    let place = Place::new("")?;
    let output = place
        .gateway(&["--help"], &[("LPM_GATEWAY_DATABASE_URL", "postgresql://g:hunter2@h/d")])?
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(output.status.success() && !text.contains("hunter2"), "{text}");
    for part in [
        "--config <FILE>",
        "Listening:",
        "TLS:",
        "Database:",
        "Issuers:",
        "Limits:",
        "Logs:",
        "LPM_GATEWAY_POOL_SIZE=32",
        "pool-size = 32",
    ] {
        assert!(text.contains(part), "`{part}` is missing:\n{text}");
    }
    Ok(())
}
