//! The published test vectors (C2SP/wycheproof) against the product's own functions.
//!
//! They are read from the folder in `LPM_TEST_VECTORS`, else from `shared/vectors` beside the repository; the
//! repository holds no copy. A vector for something that the product does not support is refused by its
//! functions, or cannot even be said to them; each test prints how many were which.

#![allow(clippy::unwrap_used, reason = "tests")]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lpm_core::envelope::EnvelopeError;
use lpm_core::envelope::aead::{self, IV, KEY, TAG};
use lpm_core::envelope::vault;
use lpm_core::secret::Secret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::io::Write;
use std::path::PathBuf;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<G> {
    number_of_tests: usize,
    test_groups: Vec<G>,
}

/// Says it past the test harness, which keeps what passing tests print to itself.
fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").expect("stderr is open");
}

/// Reads a file of vectors; says so where the folder is absent, and fails where it is there without the file.
fn read<G: DeserializeOwned>(name: &str) -> Option<File<G>> {
    let (folder, source) = match std::env::var_os("LPM_TEST_VECTORS") {
        Some(folder) => (PathBuf::from(folder), "LPM_TEST_VECTORS"),
        None => {
            (PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"), "the default folder")
        }
    };
    if !folder.is_dir() {
        say(&format!("{name}: skipped, there is no folder {} ({source})", folder.display()));
        return None;
    }
    let text = std::fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name} in {source}: {error}"));
    Some(serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{name}: {error}")))
}

mod bytes {
    use serde::{Deserialize, Deserializer};

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let digits = String::deserialize(deserializer)?;
        hex::decode(digits).map_err(serde::de::Error::custom)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Expected {
    Valid,
    Invalid,
    /// Allowed by the standard, and up to the implementation.
    Acceptable,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AeadGroup {
    key_size: usize,
    iv_size: usize,
    tag_size: usize,
    tests: Vec<AeadTest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AeadTest {
    tc_id: u32,
    #[serde(with = "bytes")]
    key: Vec<u8>,
    #[serde(with = "bytes")]
    iv: Vec<u8>,
    #[serde(with = "bytes")]
    aad: Vec<u8>,
    #[serde(with = "bytes")]
    msg: Vec<u8>,
    #[serde(with = "bytes")]
    ct: Vec<u8>,
    #[serde(with = "bytes")]
    tag: Vec<u8>,
    result: Expected,
}

impl AeadTest {
    fn sealed(&self) -> Vec<u8> {
        [&self.ct[..], &self.tag].concat()
    }

    /// As an `encryptedBlob`, the form in which ciphertext reaches the product.
    fn blob(&self) -> String {
        format!("{}:{}", STANDARD.encode(&self.iv), STANDARD.encode(self.sealed()))
    }

    fn opened_as_blob(&self) -> Result<Secret, EnvelopeError> {
        vault::open_blob(&Secret::new(self.key.clone()), &self.blob())
    }

    /// With the IV and key that the product has.
    fn run(&self) {
        let (id, iv) = (self.tc_id, <&[u8; IV]>::try_from(&self.iv[..]).unwrap());
        let opened = aead::open(&self.key, iv, &self.aad, &self.sealed());
        match self.result {
            Expected::Valid => {
                assert_eq!(opened.ok().unwrap().expose(), self.msg, "case {id} opened");
                let sealed = aead::seal(&self.key, iv, &self.aad, &self.msg);
                assert_eq!(sealed.unwrap(), self.sealed(), "case {id} sealed");
            }
            _ => assert_eq!(opened.err(), Some(EnvelopeError::DoesNotOpen), "case {id}"),
        }
        // Vaults have no AAD.
        let in_a_vault = self.result == Expected::Valid && self.aad.is_empty();
        assert_eq!(self.opened_as_blob().is_ok(), in_a_vault, "case {id} as a blob");
    }

    /// With a key or IV that the product does not have.
    fn is_refused(&self) {
        let id = self.tc_id;
        if let Ok(iv) = <&[u8; IV]>::try_from(&self.iv[..]) {
            let opened = aead::open(&self.key, iv, &self.aad, &self.sealed());
            assert_eq!(opened.err(), Some(EnvelopeError::KeyLength), "case {id}");
            let sealed = aead::seal(&self.key, iv, &self.aad, &self.msg);
            assert_eq!(sealed.err(), Some(EnvelopeError::KeyLength), "case {id}");
        }
        assert!(self.opened_as_blob().is_err(), "case {id} as a blob");
    }
}

#[test]
fn aes_gcm() {
    let Some(file) = read::<AeadGroup>("aes_gcm_test.json") else { return };
    let (mut tested, mut refused) = (0, 0);
    for group in &file.test_groups {
        let supported = (group.key_size, group.iv_size, group.tag_size) == (8 * KEY, 8 * IV, 8 * TAG);
        for test in &group.tests {
            if supported {
                test.run();
                tested += 1;
            } else {
                test.is_refused();
                refused += 1;
            }
        }
    }
    say(&format!("AES-256-GCM: {tested} tested, {refused} with another key or IV size and refused"));
    assert_eq!(tested + refused, file.number_of_tests);
    assert!(tested > 0);
}

#[derive(Deserialize)]
struct AgreementGroup {
    curve: String,
    tests: Vec<AgreementTest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AgreementTest {
    tc_id: u32,
    #[serde(with = "bytes")]
    public: Vec<u8>,
    #[serde(with = "bytes")]
    private: Vec<u8>,
    #[serde(with = "bytes")]
    shared: Vec<u8>,
    result: Expected,
}

#[test]
fn x25519() {
    let Some(file) = read::<AgreementGroup>("x25519_test.json") else { return };
    let (mut agreed, mut zero, mut out_of_scope) = (0, 0, 0);
    for group in &file.test_groups {
        for test in &group.tests {
            let keys = (<[u8; KEY]>::try_from(&test.private[..]), <[u8; KEY]>::try_from(&test.public[..]));
            let ("curve25519", (Ok(private), Ok(public))) = (group.curve.as_str(), keys) else {
                // A key of another length cannot be said to `agree`.
                out_of_scope += 1;
                continue;
            };
            let shared = aead::agree(&private, &public);
            if test.result == Expected::Invalid || test.shared.iter().all(|byte| *byte == 0) {
                assert_eq!(shared.err(), Some(EnvelopeError::PublicKey), "case {}", test.tc_id);
                zero += 1;
            } else {
                assert_eq!(shared.ok().unwrap().expose(), test.shared, "case {}", test.tc_id);
                agreed += 1;
            }
        }
    }
    say(&format!(
        "X25519: {agreed} agreed, {zero} all-zero and refused, {out_of_scope} out of scope (another key size)"
    ));
    assert_eq!(agreed + zero + out_of_scope, file.number_of_tests);
    assert!(agreed > 0 && zero > 0);
}

#[derive(Deserialize)]
struct DerivationGroup {
    tests: Vec<DerivationTest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DerivationTest {
    tc_id: u32,
    #[serde(with = "bytes")]
    ikm: Vec<u8>,
    #[serde(with = "bytes")]
    salt: Vec<u8>,
    #[serde(with = "bytes")]
    info: Vec<u8>,
    size: usize,
    #[serde(with = "bytes")]
    okm: Vec<u8>,
    result: Expected,
}

#[test]
fn hkdf_sha256() {
    let Some(file) = read::<DerivationGroup>("hkdf_sha256_test.json") else { return };
    let (mut tested, mut first_block, mut out_of_scope) = (0, 0, 0);
    for test in file.test_groups.iter().flat_map(|group| &group.tests) {
        if test.result != Expected::Valid {
            // All of them ask for more than HKDF can give: `hkdf` cannot be asked for anything but 32 bytes.
            assert!(test.size > 255 * KEY, "case {}", test.tc_id);
            out_of_scope += 1;
            continue;
        }
        let output = aead::hkdf(&test.ikm, &test.salt, &test.info).unwrap();
        if test.size == KEY {
            assert_eq!(output[..], test.okm, "case {}", test.tc_id);
            tested += 1;
        } else {
            // The first block of an output does not depend on its length (RFC 5869, section 2.3).
            let common = KEY.min(test.size);
            assert_eq!(output[..common], test.okm[..common], "case {}", test.tc_id);
            first_block += 1;
        }
    }
    say(&format!(
        "HKDF-SHA256: {tested} tested, {out_of_scope} out of scope (too long an output), {first_block} with another \
         output size, whose first 32 bytes agree"
    ));
    assert_eq!(tested + first_block + out_of_scope, file.number_of_tests);
    assert!(tested > 0);
}
