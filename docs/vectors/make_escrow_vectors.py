#!/usr/bin/env python3
"""Known answers for the escrow formats, from an implementation that shares no code with the product.

Primitives come from Python's `cryptography` and the standard library; the formats are written here from
their description in README.md. Every input is fixed, so that every run prints the same bytes.

    make_escrow_vectors.py            write escrow.json beside this file
    make_escrow_vectors.py --check    exit 1 where escrow.json is not what would be written
"""

import base64
import hashlib
import hmac
import json
import pathlib
import sys

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

FILE = pathlib.Path(__file__).with_name("escrow.json")

USER = "0f1e2d3c-4b5a-4978-8796-a5b4c3d2e1f0"
ORG = "a0b1c2d3-e4f5-4061-9728-3a4b5c6d7e8f"
VAULT = "7d444840-9dc0-41d1-b245-5ffdce74fad2"
BLOB_HASH = hashlib.sha256(b"iv, ciphertext and tag of some blob").digest()


def seq(start, count):
    """Bytes that are recognised at a glance: start, start + 1, ..."""
    return bytes((start + i) % 256 for i in range(count))


def b64(data):
    return base64.b64encode(data).decode()


def lp(*parts):
    """Each part with its length before it, 4 bytes, big-endian."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def public_of(private):
    public = X25519PrivateKey.from_private_bytes(private).public_key()
    return public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def fingerprint(public):
    return "SHA256:" + b64(hashlib.sha256(public).digest()).rstrip("=")


class Key:
    """An escrow key with its sub-keys."""

    def __init__(self, raw, key_id=None):
        self.raw = raw
        self.prk = hmac.new(b"lpm-ci-escrow-v1", raw, hashlib.sha256).digest()
        self.aead, self.x25519, self.kid, self.audit = (
            HKDFExpand(SHA256(), 32, info).derive(self.prk) for info in (b"aead", b"x25519", b"kid", b"audit")
        )
        self.id = key_id or self.kid.hex()[:16]
        self.public = public_of(self.x25519)

    def vector(self):
        return {
            "key": self.raw.hex(),
            "prk": self.prk.hex(),
            "aead": self.aead.hex(),
            "x25519": self.x25519.hex(),
            "kid": self.kid.hex(),
            "audit": self.audit.hex(),
            "default_id": self.kid.hex()[:16],
            "public": b64(self.public),
            "fingerprint": fingerprint(self.public),
        }


def context(key, kind, vault, owner, blob):
    vector = {"key": key.raw.hex(), "id": key.id, "kind": kind, "vault_id": vault}
    if owner:
        vector |= {"owner_kind": owner[0], "owner": owner[1]}
    return vector | {"blob_sha256": blob.hex() if blob else None}


def stored(key, kind, vault, owner, blob, secret, iv):
    """v1.<id>.<iv>.<ciphertext and tag>"""
    aad = lp(
        b"lpm-escrow-v1", kind.encode(), vault.encode(), owner[0].encode(), owner[1].encode(), key.id.encode(),
        blob or b"",
    )
    sealed = AESGCM(key.aead).encrypt(iv, secret, aad)
    return context(key, kind, vault, owner, blob) | {
        "secret": secret.hex(),
        "iv": iv.hex(),
        "aad": aad.hex(),
        "text": f"v1.{key.id}.{b64(iv)}.{b64(sealed)}",
    }


def sealed(key, kind, vault, blob, secret, ephemeral, iv, small_order=None):
    """s1.<id>.<ephemeral public key>.<iv>.<ciphertext and tag>

    With `small_order`, that point stands in for the ephemeral public key. Whoever sends it knows the shared
    secret without knowing any key: it is all zero.
    """
    if small_order is None:
        public = public_of(ephemeral)
        peer = X25519PublicKey.from_public_bytes(key.public)
        shared = X25519PrivateKey.from_private_bytes(ephemeral).exchange(peer)
    else:
        public, shared = small_order, bytes(32)
    seal_key = HKDF(SHA256(), 32, public + key.public, b"lpm-ci-seal-v1").derive(shared)
    aad = lp(kind.encode(), vault.encode(), key.id.encode(), blob or b"")
    return context(key, kind, vault, None, blob) | {
        "secret": secret.hex(),
        "ephemeral": ephemeral.hex(),
        "iv": iv.hex(),
        "shared": shared.hex(),
        "seal_key": seal_key.hex(),
        "aad": aad.hex(),
        "text": f"s1.{key.id}.{b64(public)}.{b64(iv)}.{b64(AESGCM(seal_key).encrypt(iv, secret, aad))}",
    }


def respell(text, field, spell):
    """The text with one of its dot-separated fields written in another way."""
    fields = text.split(".")
    fields[field] = spell(fields[field])
    return ".".join(fields)


def stray_bits(field):
    """The same bytes, with the unused bits of the last character set."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    body = field.rstrip("=")
    return body[:-1] + alphabet[alphabet.index(body[-1]) + 1] + field[len(body):]


def refused(why, vector, text=None):
    """What must not open, though key and context are right and, where there is one, the tag holds."""
    names = ("key", "id", "kind", "vault_id", "owner_kind", "owner", "blob_sha256")
    return {"why": why} | {n: vector[n] for n in names if n in vector} | {"text": vector["text"] if text is None else text}


def refused_stored(key):
    good = stored(key, "wrapping", VAULT, ("user", USER), None, seq(0xA0, 32), seq(0x10, 12))
    text = good["text"]
    version, key_id, iv, body = text.split(".")
    args = ("wrapping", VAULT, ("user", USER), None)
    return [
        refused("secret of 31 bytes", stored(key, *args, seq(0xA0, 31), seq(0x10, 12))),
        refused("secret of 33 bytes", stored(key, *args, seq(0xA0, 33), seq(0x10, 12))),
        refused("empty secret", stored(key, *args, b"", seq(0x10, 12))),
        refused("IV of 16 bytes", stored(key, *args, seq(0xA0, 32), seq(0x10, 16))),
        refused("IV of 8 bytes", stored(key, *args, seq(0xA0, 32), seq(0x10, 8))),
        refused("tag cut to 15 bytes", good, respell(text, 3, lambda f: b64(base64.b64decode(f)[:-1]))),
        refused("tag cut to 12 bytes", good, respell(text, 3, lambda f: b64(base64.b64decode(f)[:-4]))),
        refused("URL-safe base64", *url_safe(key, args)),
        refused("surplus padding", good, text + "="),
        refused("line break in the base64", good, respell(text, 3, lambda f: f[:32] + "\n" + f[32:])),
        refused("white space after the text", good, text + "\n"),
        refused("version v2", good, "v2" + text[2:]),
        refused("version V1", good, "V1" + text[2:]),
        refused("no version", good, text[3:]),
        refused("another id", good, respell(text, 1, lambda f: "other")),
        refused("no id", good, f"{version}..{iv}.{body}"),
        refused("id of 33 characters", good, f"{version}.{'x' * 33}.{iv}.{body}"),
        refused("a field too few", good, f"{version}.{key_id}.{iv}"),
        refused("a field too many", good, text + "."),
        refused("colons for dots", good, text.replace(".", ":")),
        refused("empty text", good, ""),
    ]


def url_safe(key, args):
    """An escrow whose base64 differs between the alphabets: the first IV that makes it so."""
    for start in range(256):
        good = stored(key, *args, seq(0xA0, 32), seq(start, 12))
        other = good["text"].replace("+", "-").replace("/", "_")
        if other != good["text"]:
            return good, other
    raise AssertionError("no such IV")


def refused_sealed(key):
    args = (key, "wrapping", VAULT, None)
    tail = (seq(0x60, 32), seq(0x20, 12))
    good = sealed(*args, seq(0xA0, 32), *tail)
    text = good["text"]
    p = 2**255 - 19
    # RFC 7748, section 6.1, and the points that reduce to them: https://cr.yp.to/ecdh.html#validate
    order_8 = (
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
    points = [0, 1, *order_8, p - 1, p, p + 1]
    return [
        *(
            refused(f"all-zero shared secret, point {i}", sealed(*args, seq(0xA0, 32), *tail, n.to_bytes(32, "little")))
            for i, n in enumerate(points)
        ),
        refused("secret of 31 bytes", sealed(*args, seq(0xA0, 31), *tail)),
        refused("secret of 33 bytes", sealed(*args, seq(0xA0, 33), *tail)),
        refused("IV of 16 bytes", sealed(*args, seq(0xA0, 32), tail[0], seq(0x20, 16))),
        refused("tag cut to 12 bytes", good, respell(text, 4, lambda f: b64(base64.b64decode(f)[:-4]))),
        refused("ephemeral key of 31 bytes", good, respell(text, 2, lambda f: b64(base64.b64decode(f)[:-1]))),
        refused("ephemeral key of 33 bytes", good, respell(text, 2, lambda f: b64(base64.b64decode(f) + b"\0"))),
        refused("stray bits in the base64", good, respell(text, 2, stray_bits)),
        refused("missing padding", good, respell(text, 2, lambda f: f.rstrip("="))),
        refused("version s2", good, "s2" + text[2:]),
        refused("a stored escrow's version", good, "v1" + text[2:]),
        refused("another id", good, respell(text, 1, lambda f: "other")),
        refused("a field too many", good, text + "."),
        refused("a field too few", good, text.rsplit(".", 1)[0]),
    ]


def signature(token, body):
    mac = hmac.new(hashlib.sha256(token.encode()).digest(), body.encode(), hashlib.sha256).digest()
    return {"token": token, "body": body, "signature": b64(mac)}


def vectors():
    first, second = Key(seq(0x00, 32)), Key(seq(0xC0, 32), "kms_2026-01")
    owners = {"user": ("user", USER), "org": ("org", ORG)}
    parts = [[], [""], ["a"], ["ab", "c"], ["a", "bc"], ["", "", ""], ["vault-\u00e4\u20ac"], ["x" * 300]]
    return {
        "comment": "Made by make_escrow_vectors.py; described in README.md. Bytes are hexadecimal.",
        "lp": [{"parts": p, "encoded": lp(*(part.encode() for part in p)).hex()} for p in parts],
        "keys": [key.vector() for key in (first, second, Key(bytes(32)), Key(b"\xff" * 32))],
        "stored": [
            stored(key, kind, vault, owners[scope], blob, seq(0x40 + i, 32), seq(0x80 + 12 * i, 12))
            for i, (key, kind, vault, scope, blob) in enumerate([
                (first, "wrapping", VAULT, "user", None),
                (first, "wrapping", VAULT, "user", BLOB_HASH),
                (first, "wrapping", VAULT, "org", None),
                (first, "aes", VAULT, "user", BLOB_HASH),
                (first, "aes", VAULT, "org", BLOB_HASH),
                (first, "aes", VAULT, "org", None),
                (second, "wrapping", "vault-123", "user", None),
                (second, "aes", "vault-\u00e4\u20ac", "org", BLOB_HASH),
            ])
        ],
        "sealed": [
            sealed(key, kind, vault, blob, seq(0x50 + i, 32), seq(0x21 + 7 * i, 32), seq(0x30 + 12 * i, 12))
            for i, (key, kind, vault, blob) in enumerate([
                (first, "wrapping", VAULT, None),
                (first, "wrapping", VAULT, BLOB_HASH),
                (first, "aes", VAULT, BLOB_HASH),
                (first, "aes", VAULT, None),
                (second, "wrapping", "vault-123", None),
                (second, "aes", "vault-\u00e4\u20ac", BLOB_HASH),
            ])
        ],
        "refused_stored": refused_stored(first),
        "refused_sealed": refused_sealed(first),
        "signatures": [
            signature("lpm_test_token_abc123", '{"vaultId":"v1","version":3}'),
            signature("lpm_test_token_abc123", ""),
            signature("", "{}"),
            signature("lpm_ses_\u00e9", '{"name":"\u00e4\u20ac"}'),
            signature("t" * 200, "x" * 1000),
        ],
    }


def main():
    text = json.dumps(vectors(), indent=1, ensure_ascii=True) + "\n"
    if sys.argv[1:] == ["--check"]:
        if not FILE.exists() or FILE.read_text() != text:
            sys.exit(f"{FILE.name} is not what {pathlib.Path(__file__).name} writes")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        FILE.write_text(text)


if __name__ == "__main__":
    main()
