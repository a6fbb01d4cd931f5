//! The certificate that the gateway shows, and its key.

use super::Report;
use crate::config::{Settings, TlsFiles};
use crate::tls::acceptor;
use anyhow::Context;
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::stack::Stack;
use openssl::x509::store::{X509Store, X509StoreBuilder};
use openssl::x509::verify::{X509VerifyFlags, X509VerifyParam};
use openssl::x509::{X509, X509Ref, X509StoreContext};
use std::net::IpAddr;

/// Days before a certificate's end when it is time to say so.
const SOON: i32 = 14;

const CERT: &str = "--tls-cert (LPM_GATEWAY_TLS_CERT)";

pub(super) fn check(report: &mut Report, settings: &Settings) {
    let Some(files) = &settings.tls else {
        report
            .note("tls", format!("plain HTTP on {}; --tls-cert and --tls-key are not set", settings.listen));
        return;
    };
    if let Err(error) = acceptor(files) {
        return report.wrong("tls", format!("{error:#}"));
    }
    report.ok("tls", "the certificate can be read, and the key belongs to it");
    if let Err(error) = look(report, files, settings.public_url.as_deref()) {
        report.wrong("tls", format!("{error:#}"));
    }
}

fn look(report: &mut Report, files: &TlsFiles, public_url: Option<&str>) -> anyhow::Result<()> {
    let pem = std::fs::read(&files.cert).with_context(|| format!("{CERT} cannot be read"))?;
    let chain = X509::stack_from_pem(&pem).with_context(|| format!("{CERT} holds no PEM certificates"))?;
    let leaf = chain.first().with_context(|| format!("{CERT} holds no certificate"))?;
    times(report, &chain)?;
    if let Some(url) = public_url {
        name(report, leaf, url)?;
    }
    match trusted(leaf, &chain[1..])? {
        None => report.ok("tls", "this machine's authorities vouch for it"),
        Some(reason) => report.note(
            "tls",
            format!(
                "this machine's authorities do not vouch for it ({reason}): clients need its CA, and {CERT} every intermediate \
                 certificate behind the leaf"
            ),
        ),
    }
    Ok(())
}

/// The whole chain has to be valid now; what ends first ends it.
fn times(report: &mut Report, chain: &[X509]) -> anyhow::Result<()> {
    let now = Asn1Time::days_from_now(0)?;
    let days = |time: &Asn1TimeRef| -> anyhow::Result<i32> {
        let difference = now.diff(time)?;
        // less than a day has no days
        Ok(if difference.days == 0 { difference.secs.signum() } else { difference.days })
    };
    for certificate in chain {
        let begins = certificate.not_before();
        if days(begins)? > 0 {
            report
                .wrong("tls", format!("{CERT}: a certificate is not valid before {begins}; check the clock"));
            return Ok(());
        }
    }
    let mut ends = None;
    for certificate in chain {
        let left = days(certificate.not_after())?;
        if ends.as_ref().is_none_or(|(least, _)| left < *least) {
            ends = Some((left, certificate.not_after().to_string()));
        }
    }
    match ends {
        Some((left, end)) if left < 0 => {
            report.wrong("tls", format!("{CERT}: the certificate ended on {end}; renew it"));
        }
        Some((left, end)) if left <= SOON => {
            report.note("tls", format!("the certificate ends on {end}, in {left} days; renew it"));
        }
        Some((left, end)) => report.ok("tls", format!("the certificate is valid until {end}, {left} days")),
        None => {}
    }
    Ok(())
}

/// Clients compare the name in `--public-url` with those of the certificate.
fn name(report: &mut Report, leaf: &X509, url: &str) -> anyhow::Result<()> {
    let url = reqwest::Url::parse(url)?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    if carries(leaf, host)? {
        report.ok("tls", format!("the certificate carries `{host}`, the name in --public-url"));
    } else {
        report.wrong(
            "tls",
            format!(
                "{CERT}: the certificate is for {}, not for `{host}` as --public-url (LPM_GATEWAY_PUBLIC_URL) says; clients would \
                 refuse it: get one with this name, or correct the URL",
                names(leaf)
            ),
        );
    }
    Ok(())
}

/// As OpenSSL decides it for a client: the certificate itself is trusted, at any time, so that only its name counts.
fn carries(leaf: &X509, host: &str) -> anyhow::Result<bool> {
    let mut param = X509VerifyParam::new()?;
    match host.parse::<IpAddr>() {
        Ok(address) => param.set_ip(address)?,
        Err(_) => param.set_host(host)?,
    }
    param.set_flags(X509VerifyFlags::PARTIAL_CHAIN | X509VerifyFlags::NO_CHECK_TIME)?;
    let mut store = X509StoreBuilder::new()?;
    store.add_cert(leaf.clone())?;
    store.set_param(&param)?;
    Ok(verify(&store.build(), leaf, &[])?.is_none())
}

/// Why this machine's authorities do not vouch for a chain.
fn trusted(leaf: &X509, intermediates: &[X509]) -> anyhow::Result<Option<String>> {
    let mut store = X509StoreBuilder::new()?;
    store.set_default_paths()?;
    verify(&store.build(), leaf, intermediates)
}

fn verify(store: &X509Store, leaf: &X509Ref, intermediates: &[X509]) -> anyhow::Result<Option<String>> {
    let mut others = Stack::new()?;
    for certificate in intermediates {
        others.push(certificate.clone())?;
    }
    let mut context = X509StoreContext::new()?;
    Ok(context.init(store, leaf, &others, |context| {
        Ok(if context.verify_cert()? { None } else { Some(context.error().error_string().to_owned()) })
    })?)
}

fn names(leaf: &X509Ref) -> String {
    let names = leaf.subject_alt_names();
    let names: Vec<String> = names
        .iter()
        .flatten()
        .filter_map(|name| {
            name.dnsname().map(|name| format!("`{name}`")).or_else(|| address(name.ipaddress()?))
        })
        .collect();
    if names.is_empty() { "no name at all".to_owned() } else { names.join(", ") }
}

fn address(bytes: &[u8]) -> Option<String> {
    let address: IpAddr = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok()?.into(),
        _ => <[u8; 16]>::try_from(bytes).ok()?.into(),
    };
    Some(format!("`{address}`"))
}
