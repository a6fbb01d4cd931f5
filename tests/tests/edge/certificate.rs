//! Certificates for a gateway on loopback, and connections to it.

use anyhow::{Context, Result};
use lpm_tests::gateway::{Gateway, Options};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::{X509Builder, X509NameBuilder};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

/// A certificate that signs itself, and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) cert: Vec<u8>,
    pub(crate) key: Vec<u8>,
}

impl Pair {
    /// With this name, by which a test knows it again.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let key = EcKey::generate(EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?.as_ref())?;
        let key = PKey::from_ec_key(key)?;
        let mut subject = X509NameBuilder::new()?;
        subject.append_entry_by_text("CN", name)?;
        let subject = subject.build();
        let mut cert = X509Builder::new()?;
        cert.set_version(2)?;
        cert.set_serial_number(BigNum::from_u32(1)?.to_asn1_integer()?.as_ref())?;
        cert.set_subject_name(&subject)?;
        cert.set_issuer_name(&subject)?;
        cert.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
        cert.set_not_after(Asn1Time::days_from_now(1)?.as_ref())?;
        cert.set_pubkey(&key)?;
        cert.sign(&key, MessageDigest::sha256())?;
        Ok(Self { cert: cert.build().to_pem()?, key: key.private_key_to_pem_pkcs8()? })
    }
}

/// The two files that a gateway reads.
pub(crate) struct Files {
    directory: TempDir,
}

impl Files {
    pub(crate) fn new(pair: &Pair) -> Result<Self> {
        let files = Self { directory: tempfile::tempdir()? };
        files.put(pair)?;
        Ok(files)
    }

    pub(crate) fn cert(&self) -> PathBuf {
        self.directory.path().join("cert.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }

    /// Replaces both, one after the other.
    pub(crate) fn put(&self, pair: &Pair) -> Result<()> {
        replace(&self.key(), &pair.key)?;
        replace(&self.cert(), &pair.cert)
    }

    /// Has a gateway use them.
    pub(crate) fn options(&self, options: Options) -> Options {
        options
            .argument(format!("--tls-cert={}", self.cert().display()))
            .argument(format!("--tls-key={}", self.key().display()))
    }
}

/// Puts a new file in the place of an old one, as tools that renew certificates do.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let next = path.with_extension("next");
    std::fs::write(&next, bytes)?;
    Ok(std::fs::rename(next, path)?)
}

/// A connection to a gateway, with no newer version than `newest`, for one of these protocols.
pub(crate) async fn connect(
    gateway: &Gateway,
    newest: SslVersion,
    protocols: &[u8],
) -> Result<SslStream<TcpStream>> {
    let address = gateway.url().strip_prefix("https://").context("TLS")?;
    let mut context = SslContext::builder(SslMethod::tls_client())?;
    context.set_verify(SslVerifyMode::NONE);
    // OpenSSL's own refusal of old versions must not be what is seen
    context.set_security_level(0);
    context.set_min_proto_version(None)?;
    context.set_max_proto_version(Some(newest))?;
    context.set_alpn_protos(protocols)?;
    let mut stream = SslStream::new(Ssl::new(&context.build())?, TcpStream::connect(address).await?)?;
    Pin::new(&mut stream).connect().await?;
    Ok(stream)
}

/// The name in the certificate that the other side has shown.
pub(crate) fn name(stream: &SslStream<TcpStream>) -> Result<String> {
    let shown = stream.ssl().peer_certificate().context("no certificate")?;
    let entry = shown.subject_name().entries_by_nid(Nid::COMMONNAME).next().context("no name")?;
    Ok(entry.data().to_string()?)
}
