//! `lpm env pair` and `unpair`: a browser of the same account gets this machine's vault key, sealed for it.

use super::local::done;
use super::logout;
use super::{Session, given_token, wait_for};
use crate::args::PairArgs;
use crate::client::{Bearer, Client, Request, Retry};
use crate::error::{Error, Result};
use crate::local::library;
use crate::output::{note, printable};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::{aead, pairing, share};
use lpm_core::failure::{Code, Failure, exit};
use lpm_core::secret::Secret;
use lpm_core::wire::{ApprovePairingRequest, Done, PairingReply};
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey, PointConversionForm};
use openssl::nid::Nid;
use reqwest::Method;
use serde_json::json;
use std::io::{IsTerminal, Write};

/// `lpm env pair`.
pub(crate) fn pair(session: &Session, args: &PairArgs) -> Result<()> {
    // Not repeated: it may be anything.
    let code = pairing::parse_code(args.code.trim())
        .ok_or_else(|| Error::usage("a pairing code has six letters and digits, as the browser shows it"))?;
    let check = args.check.as_deref().map(parse_check).transpose()?;
    let token = session_token(session)?;
    let home = session.home()?;
    // What the browser gets must be the key that lasts.
    let _key = home.use_key()?;
    if home.next_key()?.is_some() {
        return Err(Error::failure(
            "the vault key of this machine is being replaced, and that is not finished",
        )
        .hint("`lpm env rotate-key` goes on with it; pair afterwards"));
    }
    let key = home.wrapping_key()?.ok_or_else(|| {
        Error::failure("this machine has no vault key to give").hint("`lpm env set KEY` makes one")
    })?;
    let client = session.client()?;
    let (browser, label) = wait_for(pending(&client, &token, &code))?;
    let number = pairing::check_number(&browser, &code);
    confirm(&label, &number, check.as_deref(), args.yes)?;
    wait_for(approve(&client, &token, &code, &sealed(&browser, &key)?))?;
    done(session, json!({ "success": true, "device": label, "check": number }), || {
        format!("paired: {} has this machine's vault key, once it fetches it", printable(&label))
    })
}

/// The six digits of `--check`, however they are grouped.
fn parse_check(text: &str) -> Result<String> {
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
    if digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(digits);
    }
    Err(Error::usage("`--check` takes the six digits that the browser shows"))
}

/// Only who signed in as a person may hand out the key.
fn session_token(session: &Session) -> Result<Secret> {
    if given_token().is_some() {
        return Err(
            Error::from(Failure::new(Code::SessionNeeded)).hint("run `lpm login`, and unset LPM_TOKEN")
        );
    }
    match session.login()?.load()? {
        Some(login) if !login.is_session() => Err(Failure::new(Code::SessionNeeded).into()),
        _ => session.token(),
    }
}

/// The browser that waits: its key, and what it calls itself.
async fn pending(client: &Client, token: &Secret, code: &str) -> Result<([u8; pairing::POINT], String)> {
    let request = Request {
        method: Method::GET,
        path: &["api", "vault", "pair", code],
        query: &[],
        body: None,
        bearer: Bearer::Account(token),
        retry: Retry::Repeatable,
    };
    let reply: PairingReply = client.send(&request).await?;
    let key = match (reply.status.as_str(), &reply.browser_public_key) {
        ("pending", Some(key)) => key,
        _ => return Err(Failure::new(Code::PairingEnded).into()),
    };
    let key = pairing::public_key(key, "browserPublicKey").map_err(|error| {
        Error::failure(format!("the browser's key is not acceptable: {error}"))
            .hint("start again in the browser")
    })?;
    Ok((key, reply.device_label.unwrap_or_else(|| "a browser".to_owned())))
}

/// Whether the browser that asks is the one that the user looks at.
fn confirm(label: &str, number: &str, check: Option<&str>, yes: bool) -> Result<()> {
    let differs = || {
        Error::answered(
            "the browser shows another number, so it was not given the key",
            Some("pairing_differs".to_owned()),
            exit::DENIED,
        )
        .hint(
            "start again in the browser; if it happens again, something between here and there changes keys",
        )
    };
    if check.is_some_and(|check| check != number) {
        return Err(differs());
    }
    let shown = format!("{} {}", &number[..3], &number[3..]);
    note(format!("{} asks for this machine's vault key; its number is {shown}", printable(label)));
    if yes && check.is_some() {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Error::usage("there is nobody to ask whether the browser shows the same number")
            .hint("in scripts: `--check=NUMBER --yes`, with the number that the browser shows"));
    }
    eprint!("lpm: does the browser show the same number? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .map_err(|error| Error::failure(format!("cannot read the answer: {error}")))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(differs()),
    }
}

/// The key for that browser alone, under a key pair that nothing else is sealed with.
fn sealed(browser: &[u8; pairing::POINT], key: &Secret) -> Result<ApprovePairingRequest> {
    let failed = |error: openssl::error::ErrorStack| Error::failure(format!("cannot seal the key: {error}"));
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).map_err(failed)?;
    let own = EcKey::generate(&group).map_err(failed)?;
    let mut context = BigNumContext::new().map_err(failed)?;
    let public =
        own.public_key().to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context).map_err(failed)?;
    let iv = aead::random().map_err(library)?;
    Ok(ApprovePairingRequest {
        encrypted_wrapping_key: share::seal_for_browser(browser, &own, &iv, key).map_err(library)?,
        ephemeral_public_key: STANDARD.encode(public),
    })
}

async fn approve(client: &Client, token: &Secret, code: &str, body: &ApprovePairingRequest) -> Result<()> {
    let request = Request {
        method: Method::POST,
        path: &["api", "vault", "pair", code],
        query: &[],
        body: Some(super::sync::encode(body)?),
        bearer: Bearer::Account(token),
        retry: Retry::Unsent,
    };
    client.send::<Done>(&request).await.map(|_| ())
}

/// `lpm env unpair`.
pub(crate) fn unpair(session: &Session) -> Result<()> {
    let token = session_token(session)?;
    wait_for(logout::unpair(&session.client()?, &token))?;
    done(session, json!({ "success": true }), || {
        "no browser can fetch the vault key any more, and those that were paired are signed out".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_may_be_typed_as_it_is_shown() {
        for text in ["123456", "123 456", "123-456"] {
            assert_eq!(parse_check(text).expect("six digits"), "123456");
        }
        for text in ["", "12345", "1234567", "12345a", "١٢٣٤٥٦"] {
            assert_eq!(parse_check(text).err().map(|error| error.exit_code()), Some(2), "{text}");
        }
    }

    #[test]
    fn a_number_that_differs_is_refused_whatever_else_is_said() {
        for yes in [false, true] {
            let error = confirm("Firefox", "123456", Some("123457"), yes).expect_err("it differs");
            assert_eq!((error.code(), error.exit_code()), ("pairing_differs", exit::DENIED));
        }
        assert!(confirm("Firefox", "123456", Some("123456"), true).is_ok());
    }

    #[test]
    fn the_browser_opens_what_was_sealed_for_it_and_nobody_else_does() {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("a curve");
        let pair = || EcKey::generate(&group).expect("a key");
        let point = |key: &EcKey<openssl::pkey::Private>| -> [u8; pairing::POINT] {
            let mut context = BigNumContext::new().expect("a context");
            let bytes = key.public_key().to_bytes(&group, PointConversionForm::UNCOMPRESSED, &mut context);
            bytes.expect("a point").try_into().expect("65 bytes")
        };
        let (browser, other, key) = (pair(), pair(), Secret::new(vec![7; 32]));
        let approved = sealed(&point(&browser), &key).expect("sealed");
        let own = STANDARD.decode(&approved.ephemeral_public_key).expect("base64");
        let opened = share::open_in_browser(&own, &browser, &approved.encrypted_wrapping_key);
        assert_eq!(opened.expect("it opens").expose(), key.expose());
        assert!(share::open_in_browser(&own, &other, &approved.encrypted_wrapping_key).is_err());
        let again = sealed(&point(&browser), &key).expect("sealed");
        assert_ne!(again.ephemeral_public_key, approved.ephemeral_public_key);
    }
}
