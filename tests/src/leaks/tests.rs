#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// Bytes whose base64 has characters of both alphabets at every offset.
const KEY: [u8; 32] = [
    0xFB, 0xFF, 0xBF, 0xFE, 1, 2, 0xFB, 0xEF, 0xBE, 3, 0xFF, 0xFF, 0xFE, 4, 5, 0xFB, 0xFF, 0xBF, 0xFE, 0x80,
    6, 0xFB, 0xEF, 0xBE, 7, 0xFF, 0xFF, 0xFE, 0x7F, 8, 9, 10,
];

fn forms_in(text: &[u8]) -> Vec<Form> {
    let mut markers = Markers::default();
    markers.known("key", KEY);
    let mut search = Search::new(&markers).unwrap();
    search.bytes("text", text);
    search.found.keys().map(|hit| hit.form).collect()
}

#[test]
fn every_form_is_found_at_every_offset() {
    for offset in 0..7 {
        let text = [&b"abcdefg"[..offset], &KEY, b"tail"].concat();
        let decimal: Vec<String> = text.iter().map(|byte| byte.cast_signed().to_string()).collect();
        for (form, written) in [
            (Form::Plain, text.clone()),
            (Form::Hex, hex::encode(&text).into_bytes()),
            (Form::UpperHex, hex::encode_upper(&text).into_bytes()),
            (Form::Base64, STANDARD.encode(&text).into_bytes()),
            (Form::Base64Url, URL_SAFE.encode(&text).into_bytes()),
            (Form::Decimal, format!("[ {} ]", decimal.join(" ")).into_bytes()),
        ] {
            assert_eq!(forms_in(&written), [form], "offset {offset}");
        }
    }
}

#[test]
fn either_half_is_found_alone() {
    assert_eq!(forms_in(&KEY[..16]), [Form::Plain]);
    assert_eq!(forms_in(&KEY[16..]), [Form::Plain]);
    assert_eq!(forms_in(&KEY[10..22]), [], "less than a piece says nothing");
    assert_eq!(forms_in(hex::encode(&KEY[3..]).as_bytes()), [Form::Hex], "cut in front");
}

#[test]
fn of_a_long_marker_both_ends_are_found() {
    let text: Vec<u8> = (0..=255).collect();
    let mut markers = Markers::default();
    markers.known("token", text.clone());
    for (part, found) in [(&text[..12], true), (&text[244..], true), (&text[100..150], false)] {
        let mut search = Search::new(&markers).unwrap();
        search.bytes("log", part);
        assert_eq!(search.has("log", "token", Form::Plain), found, "{part:?}");
    }
}

#[test]
fn what_spans_two_reads_is_found_once() {
    let mut markers = Markers::default();
    let secret = markers.secret("secret");
    for before in [0, 30, 60, 90, 120, 150, 180, 210] {
        let mut search = Search::new(&markers).unwrap();
        let mut text = vec![b' '; CHUNK + search.longest - before];
        text.extend_from_slice(secret.as_bytes());
        text.extend_from_slice(&[b' '; 300]);
        search.reader("pipe", &text[..]).unwrap();
        let trace = search.found.values().next().unwrap();
        let first = (CHUNK + search.longest - before) as u64;
        assert_eq!(
            (search.found.len(), trace.count, trace.offset),
            (1, 4, first),
            "four pieces, of one form"
        );
    }
}

#[test]
fn a_planted_marker_is_no_leak_and_a_secret_is() {
    let mut markers = Markers::default();
    let (secret, control) = (markers.secret("secret"), markers.control("control"));
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("base")).unwrap();
    fs::write(directory.path().join("base/1"), hex::encode(&control)).unwrap();
    let mut search = Search::new(&markers).unwrap();
    search.directory("data", directory.path()).unwrap();
    assert_eq!(search.leaks(), "");
    assert!(search.has("data/base", "control", Form::Hex) && search.has("data/base/1", "control", Form::Hex));
    assert!(!search.has("data/bas", "control", Form::Hex) && !search.has("data", "control", Form::Plain));
    search.bytes("log", secret.as_bytes());
    assert!(
        search.leaks().starts_with("secret as Plain in log, 4 times, first at 0: "),
        "{}",
        search.leaks()
    );
}

#[test]
fn our_own_memory_holds_what_we_hold() {
    let mut markers = Markers::default();
    let secret = markers.secret("secret");
    let mut search = Search::new(&markers).unwrap();
    search.memory("memory", std::process::id()).unwrap();
    assert!(search.has("memory", "secret", Form::Plain));
    drop(secret);
}
