//! A certificate authority of a test's own, and what it signs.

use anyhow::Result;
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};
use std::fs::{self, Permissions};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A day, in seconds.
const DAY: i64 = 24 * 60 * 60;

/// A certificate authority.
pub struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

/// A certificate and its key.
pub struct Identity {
    /// The certificate.
    pub certificate: X509,
    /// Its key.
    pub key: PKey<Private>,
}

impl Authority {
    /// A new one, which nobody trusts yet.
    pub fn new() -> Result<Self> {
        let key = new_key()?;
        let mut builder = builder("a test's authority", &key, -1, 30)?;
        builder.append_extension(BasicConstraints::new().critical().ca().build()?)?;
        builder.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build()?)?;
        builder.sign(&key, MessageDigest::sha256())?;
        Ok(Self { certificate: builder.build(), key })
    }

    /// A certificate for these names and addresses, by which a client is known as the first. Valid now.
    pub fn issue(&self, names: &[&str]) -> Result<Identity> {
        self.issue_for(names, -1, 30)
    }

    /// The same, valid between two days, counted from now.
    pub fn issue_for(&self, names: &[&str], from: i64, to: i64) -> Result<Identity> {
        let key = new_key()?;
        let mut builder = builder(names.first().unwrap_or(&""), &key, from, to)?;
        builder.set_issuer_name(self.certificate.subject_name())?;
        builder.append_extension(ExtendedKeyUsage::new().server_auth().client_auth().build()?)?;
        let mut alternatives = SubjectAlternativeName::new();
        for name in names {
            if name.parse::<IpAddr>().is_ok() {
                alternatives.ip(name)
            } else {
                alternatives.dns(name)
            };
        }
        let alternatives = alternatives.build(&builder.x509v3_context(Some(&self.certificate), None))?;
        builder.append_extension(alternatives)?;
        builder.sign(&self.key, MessageDigest::sha256())?;
        Ok(Identity { certificate: builder.build(), key })
    }

    /// Writes its certificate as `NAME.pem`.
    pub fn write(&self, directory: &Path, name: &str) -> Result<PathBuf> {
        let path = directory.join(format!("{name}.pem"));
        fs::write(&path, self.certificate.to_pem()?)?;
        Ok(path)
    }
}

impl Identity {
    /// Writes certificate and key as `NAME.pem` and `NAME.key`, the key for its owner only.
    pub fn write(&self, directory: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        let (certificate, key) =
            (directory.join(format!("{name}.pem")), directory.join(format!("{name}.key")));
        fs::write(&certificate, self.certificate.to_pem()?)?;
        fs::write(&key, self.key.private_key_to_pem_pkcs8()?)?;
        fs::set_permissions(&key, Permissions::from_mode(0o600))?;
        Ok((certificate, key))
    }
}

fn new_key() -> Result<PKey<Private>> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    Ok(PKey::from_ec_key(EcKey::generate(&group)?)?)
}

/// A certificate that is its own issuer until it is given another.
fn builder(name: &str, key: &PKey<Private>, from: i64, to: i64) -> Result<X509Builder> {
    let mut subject = X509NameBuilder::new()?;
    subject.append_entry_by_text("CN", name)?;
    let subject = subject.build();
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())?;
    let mut serial = [0; 16];
    openssl::rand::rand_bytes(&mut serial[1..])?;
    let mut builder = X509Builder::new()?;
    builder.set_version(2)?;
    builder.set_serial_number(BigNum::from_slice(&serial)?.to_asn1_integer()?.as_ref())?;
    builder.set_subject_name(&subject)?;
    builder.set_issuer_name(&subject)?;
    builder.set_pubkey(key)?;
    builder.set_not_before(Asn1Time::from_unix(now + from * DAY)?.as_ref())?;
    builder.set_not_after(Asn1Time::from_unix(now + to * DAY)?.as_ref())?;
    Ok(builder)
}
