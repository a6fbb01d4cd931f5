//! Whatever is sealed opens again, and nothing that was changed does.

use crate::envelope::{ESCROW_KEY, wrapping_key};
use crate::input::Bytes;
use lpm_core::envelope::EnvelopeError;
use lpm_core::envelope::aead::{self, IV, KEY};
use lpm_core::envelope::escrow::{self, EscrowContext, EscrowKind, Owner};
use lpm_core::envelope::{share, vault};
use lpm_core::secret::Secret;
use uuid::Uuid;

/// A key, an ephemeral key, an IV, a change (where, to what, of which kind), whose row it is, then the vault's
/// id, which is also the payload of the blob.
pub fn seal(data: &[u8]) {
    let mut bytes = Bytes(data);
    let secret = Secret::new(bytes.array::<KEY>().to_vec());
    let (ephemeral, iv): ([u8; KEY], [u8; IV]) = (bytes.array(), bytes.array());
    let change = Change { at: usize::from(bytes.byte()), to: bytes.byte(), kind: bytes.byte() };
    let (shape, owner) = (bytes.byte(), Uuid::from_bytes(bytes.array()));
    let payload = bytes.0;
    let vault_id = String::from_utf8_lossy(payload);
    let context = EscrowContext {
        kind: if shape & 1 == 0 { EscrowKind::Wrapping } else { EscrowKind::Aes },
        vault_id: &vault_id,
        owner: if shape & 2 == 0 { Owner::User(owner) } else { Owner::Org(owner) },
        blob_hash: (shape & 4 == 0).then(|| openssl::sha::sha256(payload)),
    };
    stored(&context, &secret, &iv, &change);
    sealed(&context, &secret, &ephemeral, &iv, &change);
    personal(&secret, &iv, payload, &change);
    shared(&secret, &ephemeral, &iv, &change);
}

fn stored(context: &EscrowContext<'_>, secret: &Secret, iv: &[u8; IV], change: &Change) {
    let text = escrow::store_escrow(&ESCROW_KEY, context, secret, iv).expect("it seals");
    let open =
        |context: &EscrowContext<'_>, text: &str| escrow::open_stored_escrow(&ESCROW_KEY, context, text);
    opens(open(context, &text), secret.expose());
    change.of(&text, |changed| assert!(open(context, changed).is_err(), "{changed}"));
    let longer = format!("{}x", context.vault_id);
    let (owner, other_owner) = match context.owner {
        Owner::User(id) => (Owner::Org(id), Owner::User(next(id))),
        Owner::Org(id) => (Owner::User(id), Owner::Org(next(id))),
    };
    for elsewhere in [
        EscrowContext { kind: other(context.kind), ..*context },
        EscrowContext { vault_id: &longer, ..*context },
        EscrowContext { owner, ..*context },
        EscrowContext { owner: other_owner, ..*context },
        EscrowContext { blob_hash: other_hash(context.blob_hash), ..*context },
    ] {
        assert_eq!(open(&elsewhere, &text).err(), Some(EnvelopeError::DoesNotOpen), "{elsewhere:?}");
    }
}

fn sealed(
    context: &EscrowContext<'_>,
    secret: &Secret,
    ephemeral: &[u8; KEY],
    iv: &[u8; IV],
    change: &Change,
) {
    let EscrowContext { kind, vault_id, blob_hash, .. } = *context;
    let (id, public) = (ESCROW_KEY.id(), ESCROW_KEY.public());
    let text = escrow::seal_escrow(id, public, kind, vault_id, blob_hash, secret, ephemeral, iv);
    let text = text.expect("it seals");
    let open = |kind, vault_id: &str, blob_hash, text: &str| {
        escrow::open_sealed_escrow(&ESCROW_KEY, kind, vault_id, blob_hash, text)
    };
    opens(open(kind, vault_id, blob_hash, &text), secret.expose());
    change.of(&text, |changed| assert!(open(kind, vault_id, blob_hash, changed).is_err(), "{changed}"));
    let longer = format!("{vault_id}x");
    for elsewhere in [
        open(other(kind), vault_id, blob_hash, &text),
        open(kind, &longer, blob_hash, &text),
        open(kind, vault_id, other_hash(blob_hash), &text),
    ] {
        assert_eq!(elsewhere.err(), Some(EnvelopeError::DoesNotOpen));
    }
}

/// The vault of the published client.
fn personal(aes_key: &Secret, iv: &[u8; IV], payload: &[u8], change: &Change) {
    let blob = vault::seal_blob(aes_key, iv, payload).expect("it seals");
    opens(vault::open_blob(aes_key, &blob), payload);
    let hash = vault::blob_sha256(&blob);
    assert!(hash.is_ok());
    change.of(&blob, |changed| {
        assert!(vault::open_blob(aes_key, changed).is_err(), "{changed}");
        assert_ne!(vault::blob_sha256(changed), hash, "{changed}");
    });
    let wrapped = vault::wrap_key(&wrapping_key(), iv, aes_key).expect("it wraps");
    assert_eq!(vault::check_wrapped_key(&wrapped), Ok(()));
    opens(vault::open_wrapped_key(&wrapping_key(), &wrapped), aes_key.expose());
    change.of(&wrapped, |changed| {
        assert!(vault::open_wrapped_key(&wrapping_key(), changed).is_err(), "{changed}");
    });
}

/// The org's wrapped key of the published client.
fn shared(aes_key: &Secret, ephemeral: &[u8; KEY], iv: &[u8; IV], change: &Change) {
    let member = [1; KEY];
    let public = aead::public_key(&member).expect("a public key");
    let wrapped = share::wrap_for_member(&public, ephemeral, iv, aes_key).expect("it wraps");
    opens(share::open_from_member(&member, &wrapped), aes_key.expose());
    assert!(share::open_from_member(&[2; KEY], &wrapped).is_err());
    change.of(&wrapped, |changed| {
        // The ephemeral key is bound by the shared secret alone, and X25519 has several spellings of one
        // key (RFC 7748, section 5): another one may open, but to nothing else.
        if let Ok(key) = share::open_from_member(&member, changed) {
            assert_eq!(key.expose(), aes_key.expose(), "{changed}");
            assert_eq!(
                changed.split_once(':').map(|(_, rest)| rest),
                wrapped.split_once(':').map(|(_, rest)| rest)
            );
        }
    });
}

/// A change of one place.
struct Change {
    at: usize,
    to: u8,
    kind: u8,
}

impl Change {
    /// Shows the changed text, where it is another one.
    fn of(&self, text: &str, check: impl Fn(&str)) {
        // Every form is ASCII.
        let at = self.at % text.len();
        let (before, rest) = text.split_at(at);
        let (own, after) = rest.split_at(1);
        let to = char::from(self.to);
        let changed = match self.kind % 5 {
            0 => format!("{before}{to}{after}"),
            1 => format!("{before}{after}"),
            2 => format!("{before}{own}{own}{after}"),
            3 => format!("{text}{to}"),
            _ => before.to_owned(),
        };
        if changed != text {
            check(&changed);
        }
    }
}

fn opens(opened: Result<Secret, EnvelopeError>, expected: &[u8]) {
    assert_eq!(opened.as_ref().map(Secret::expose).map_err(Clone::clone), Ok(expected));
}

fn next(id: Uuid) -> Uuid {
    Uuid::from_u128(id.as_u128() ^ 1)
}

fn other(kind: EscrowKind) -> EscrowKind {
    match kind {
        EscrowKind::Wrapping => EscrowKind::Aes,
        EscrowKind::Aes => EscrowKind::Wrapping,
    }
}

fn other_hash(hash: Option<[u8; 32]>) -> Option<[u8; 32]> {
    match hash {
        Some(_) => None,
        None => Some([0; 32]),
    }
}
