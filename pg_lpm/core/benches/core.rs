//! What the core's steps cost, each beside the least that it could cost: `cargo bench -p lpm-core --bench core`.
//!
//! * `token`: a signed token, verified; the floor is the signature alone.
//! * `policy`: a decision among 1, 100 and 10,000 policies of the vault's subject, of which the last grants.
//! * `envelope`: a vault of 1 KiB, 64 KiB and 1 MiB, opened with the escrowed wrapping key; the floor is decoding and
//!   AES-256-GCM.
//! * `environment`: one environment of the vault's hundred, filtered; the floor is one pass over the JSON.

#![allow(clippy::unwrap_used, reason = "a benchmark should panic")]

#[path = "../tests/support/mod.rs"]
mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lpm_core::decision::decide;
use lpm_core::envelope::escrow::{EscrowContext, EscrowKind, Owner, open_stored_escrow, store_escrow_random};
use lpm_core::envelope::keyring::EscrowKey;
use lpm_core::envelope::{aead, vault};
use lpm_core::environment;
use lpm_core::secret::Secret;
use lpm_core::token::UnverifiedToken;
use openssl::hash::MessageDigest;
use openssl::sign::Verifier;
use openssl::symm::{Cipher, decrypt_aead};
use serde::de::IgnoredAny;
use serde_json::json;
use std::hint::black_box;
use support::claims::github;
use support::decision::{candidate, changed, facts, facts_of, github_policy};
use support::token::{KEY, NOW, github_rules, keys, token};
use uuid::Uuid;

const SIZES: [(&str, usize); 3] = [("1 KiB", 1 << 10), ("64 KiB", 1 << 16), ("1 MiB", 1 << 20)];
const ENVIRONMENTS: usize = 100;

fn tokens(criterion: &mut Criterion) {
    let (signed, rules, keys) = (token().signed(), github_rules(), keys());
    let mut group = criterion.benchmark_group("token");
    group.bench_function("read and verify", |bencher| {
        bencher
            .iter(|| UnverifiedToken::read(black_box(&signed)).unwrap().verify(&rules, &keys, NOW).unwrap());
    });
    let (message, signature) = signed.rsplit_once('.').unwrap();
    let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
    group.bench_function("floor: OpenSSL's RS256 alone", |bencher| {
        bencher.iter(|| {
            let mut verifier = Verifier::new(MessageDigest::sha256(), &KEY.key).unwrap();
            assert!(verifier.verify_oneshot(black_box(&signature), message.as_bytes()).unwrap());
        });
    });
}

fn policies(criterion: &mut Criterion) {
    let claims = github().parse().unwrap();
    let mut group = criterion.benchmark_group("policy");
    for count in [1_u128, 100, 10_000] {
        let other = changed(github_policy(), json!({ "allowedBranches": ["release/*", "hotfix/**"] }));
        let mut candidates: Vec<_> = (2..=count).map(|n| candidate(n, other.clone())).collect();
        candidates.push(candidate(1, github_policy()));
        let facts = facts(facts_of(candidates));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("decide", count), |bencher| {
            bencher.iter(|| decide(black_box(&claims), black_box(&facts)).outcome.unwrap());
        });
    }
}

/// About so many bytes: a hundred environments with the same variables.
fn payload(size: usize) -> String {
    let value = "x".repeat((size / ENVIRONMENTS).saturating_sub(40).clamp(1, 64));
    let each = (size / ENVIRONMENTS / (value.len() + 20)).max(1);
    let variables: serde_json::Map<_, _> =
        (0..each).map(|n| (format!("VARIABLE_{n:04}"), value.clone().into())).collect();
    let environments: serde_json::Map<_, _> =
        (0..ENVIRONMENTS).map(|n| (format!("env-{n:02}"), variables.clone().into())).collect();
    json!({ "environments": environments }).to_string()
}

fn envelopes(criterion: &mut Criterion) {
    let escrow_key = EscrowKey::derive(None, &aead::random::<32>().unwrap()).unwrap();
    let (wrapping_key, aes_key) = (random_key(), random_key());
    let owner = Owner::User(Uuid::from_u128(1));
    let context = EscrowContext { kind: EscrowKind::Wrapping, vault_id: "vault-abc", owner, blob_hash: None };
    let stored = store_escrow_random(&escrow_key, &context, &wrapping_key).unwrap();
    let wrapped = vault::wrap_key(&wrapping_key, &aead::random().unwrap(), &aes_key).unwrap();
    let mut group = criterion.benchmark_group("envelope");
    for (name, size) in SIZES {
        let payload = payload(size);
        let blob = vault::seal_blob(&aes_key, &aead::random().unwrap(), payload.as_bytes()).unwrap();
        group.throughput(Throughput::Bytes(payload.len() as u64));
        group.bench_function(BenchmarkId::new("open", name), |bencher| {
            bencher.iter(|| {
                let escrowed = open_stored_escrow(&escrow_key, &context, black_box(&stored)).unwrap();
                let aes_key = vault::open_wrapped_key(&escrowed, &wrapped).unwrap();
                vault::open_blob(&aes_key, black_box(&blob)).unwrap()
            });
        });
        let (iv, sealed) = blob.split_once(':').unwrap();
        group.bench_function(BenchmarkId::new("floor: base64 and AES-256-GCM", name), |bencher| {
            bencher.iter(|| {
                let iv = STANDARD.decode(iv).unwrap();
                let sealed = STANDARD.decode(black_box(sealed)).unwrap();
                let (text, tag) = sealed.split_at(sealed.len() - aead::TAG);
                decrypt_aead(Cipher::aes_256_gcm(), aes_key.expose(), Some(&iv), &[], text, tag).unwrap()
            });
        });
    }
}

fn environments(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("environment");
    for (name, size) in SIZES {
        let payload = Secret::from(payload(size));
        let permitted = ["env-99".to_owned()];
        group.throughput(Throughput::Bytes(payload.expose().len() as u64));
        group.bench_function(BenchmarkId::new("select", name), |bencher| {
            bencher.iter(|| environment::select(black_box(&payload), "env-99", &permitted).unwrap());
        });
        group.bench_function(BenchmarkId::new("floor: one pass over the JSON", name), |bencher| {
            bencher.iter(|| serde_json::from_slice::<IgnoredAny>(black_box(payload.expose())).unwrap());
        });
    }
}

fn random_key() -> Secret {
    Secret::new(aead::random::<32>().unwrap().to_vec())
}

criterion_group!(core, tokens, policies, envelopes, environments);
criterion_main!(core);
