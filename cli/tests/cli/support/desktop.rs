//! A desktop's session bus and keychain, of a test's own: `dbus-daemon` and `gnome-keyring-daemon`.

use super::Machine;
use secret_service::{EncryptionType, SecretService};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing is started on demand: what is there is what the test has started.
const CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:tmpdir=/tmp</listen>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"#;

const MISSING: &str = "dbus-daemon and gnome-keyring-daemon are there (`scripts/install-deps.sh check`)";

/// A session bus, and on it a keychain or not.
pub(crate) struct Desktop {
    /// The bus.
    pub(crate) address: String,
    programs: Vec<Child>,
    _directory: tempfile::TempDir,
}

impl Desktop {
    /// A bus that nobody is on.
    pub(crate) fn without_keychain() -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let config = directory.path().join("bus.conf");
        std::fs::write(&config, CONFIG).expect("it can be written");
        let mut bus = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address=1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect(MISSING);
        let mut address = String::new();
        let stdout = bus.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut address).expect("it says where it listens");
        Self { address: address.trim().to_owned(), programs: vec![bus], _directory: directory }
    }

    /// A bus with an unlocked keychain.
    pub(crate) fn new() -> Self {
        let mut desktop = Self::without_keychain();
        let mut keychain = Command::new("gnome-keyring-daemon")
            .args(["--foreground", "--unlock", "--components=secrets"])
            .env_clear()
            .env("DBUS_SESSION_BUS_ADDRESS", &desktop.address)
            .env("HOME", desktop._directory.path())
            .env("XDG_RUNTIME_DIR", desktop._directory.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect(MISSING);
        // The password of the keychain that it makes, up to the end of its input.
        keychain.stdin.take().expect("it is piped").write_all(b"password").expect("it reads");
        desktop.programs.push(keychain);
        let begun = Instant::now();
        while !desktop.answers() {
            assert!(begun.elapsed() < Duration::from_secs(30), "the keychain does not come up");
            std::thread::sleep(Duration::from_millis(50));
        }
        desktop
    }

    /// A service by the keychain's name that never answers.
    pub(crate) fn with_silent_keychain() -> (Self, zbus::blocking::Connection) {
        let desktop = Self::without_keychain();
        let bus = zbus::blocking::connection::Builder::address(desktop.address.as_str());
        let bus = bus.and_then(|bus| bus.name("org.freedesktop.secrets")).and_then(|bus| bus.build());
        let bus = bus.expect("a service");
        (desktop, bus)
    }

    fn answers(&self) -> bool {
        self.with(async |service| service.get_default_collection().await.map(|_| ())).is_ok()
    }

    /// A machine in this session.
    pub(crate) fn on(&self, machine: Machine) -> Machine {
        machine.with("DBUS_SESSION_BUS_ADDRESS", &self.address)
    }

    fn with<T>(
        &self,
        work: impl AsyncFnOnce(&SecretService<'_>) -> Result<T, secret_service::Error>,
    ) -> Result<T, secret_service::Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let bus = zbus::connection::Builder::address(self.address.as_str())?.build().await?;
            work(&SecretService::connect_with_existing(EncryptionType::Dh, bus).await?).await
        })
    }

    /// All secrets that it has for a service, with the attributes of their items.
    pub(crate) fn secrets(&self, service: &str) -> Vec<(String, HashMap<String, String>)> {
        let found = self.with(async |keychain| {
            let mut secrets = Vec::new();
            for item in keychain.search_items([("service", service)].into()).await?.unlocked {
                let secret = String::from_utf8(item.get_secret().await?).expect("it is text");
                secrets.push((secret, item.get_attributes().await?));
            }
            Ok(secrets)
        });
        found.expect("the keychain answers")
    }

    /// Keeps a secret as the library of the published client does.
    pub(crate) fn keep(&self, service: &str, account: &str, target: &str, secret: &str) {
        let attributes = [
            ("service", service),
            ("username", account),
            ("target", target),
            ("application", "rust-keyring"),
        ];
        let kept = self.with(async |keychain| {
            let collection = keychain.get_default_collection().await?;
            collection
                .create_item("theirs", attributes.into(), secret.as_bytes(), true, "text/plain")
                .await?;
            Ok(())
        });
        kept.expect("the keychain answers");
    }

    /// Locks it; nobody is there to ask for the password.
    pub(crate) fn lock(&self) {
        let locked = self.with(async |keychain| keychain.get_default_collection().await?.lock().await);
        locked.expect("the keychain answers");
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        for program in self.programs.iter_mut().rev() {
            let _ = program.kill();
            let _ = program.wait();
        }
    }
}
