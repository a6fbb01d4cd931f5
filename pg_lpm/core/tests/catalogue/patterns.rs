//! P5 to P10: names are data and patterns are patterns.

use crate::random::Random;
use crate::support::claims::{github, gitlab};
use crate::support::decision::*;
use crate::support::requests::{read, request, with};
use lpm_core::failure::Code;
use lpm_core::pattern::{MAX_PATTERN, Pattern, PatternError};
use serde_json::{Value, json};
use std::sync::mpsc;
use std::time::Duration;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text).expect(text)
}

/// What a policy for this branch pattern says to a push to this branch, on both providers.
fn answer(text: &str, branch: &str) -> &'static str {
    let rule = || one("allowedBranches", json!([text]));
    let full = format!("refs/heads/{branch}");
    let on_github = claims_with(github(), &one("ref", full.as_str()));
    let on_gitlab = claims_with(gitlab(), &json!({ "ref": branch, "ref_path": full }));
    let of = |payload, policy| word(&decided(payload, changed(policy, rule()), json!({}), json!({})));
    let (first, second) = (of(&on_github, github_policy()), of(&on_gitlab, gitlab_policy()));
    assert_eq!(first, second, "`{text}` and `{branch}` on GitHub and GitLab");
    first
}

/// A table of (case, pattern, branch, whether it fits).
fn check(row: &str, table: &[(&str, &str, &str, bool)]) {
    for (case, text, branch, fits) in table {
        assert_eq!(pattern(text).matches(branch), *fits, "{row}: {case}: `{text}` and `{branch}`");
        let expected = if *fits { "granted" } else { "branch_not_allowed" };
        assert_eq!(answer(text, branch), expected, "{row}: {case}: `{text}` and `{branch}`");
    }
}

/// What git allows in names beside letters and digits: everything that other matchers give a meaning.
const SPECIAL: &str = "%_{}!|()'\"`;$@#&<>+=,.-/";
const UNICODE: &str = "éſß\u{212A}İıΣ漢🦀\u{301}\u{200B}\u{202E}ａﬁ";

/// A name that git-check-ref-format(1) allows.
fn name(random: &mut Random) -> String {
    let pool: Vec<char> = SPECIAL.chars().chain(UNICODE.chars()).chain("abkKsSxyz019".chars()).collect();
    loop {
        let name: String = (0..1 + random.below(12)).map(|_| random.pick(&pool)).collect();
        if is_git_name(&name) {
            return name;
        }
    }
}

fn is_git_name(name: &str) -> bool {
    let component = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    name.split('/').all(component)
        && !name.contains("..")
        && !name.contains("@{")
        && !name.ends_with('.')
        && name != "@"
        && !name.chars().any(|c| c.is_ascii_control() || " ~^:?*[\\".contains(c))
}

/// A name that differs from this one in a character, its case, its place or its presence.
fn neighbour(random: &mut Random, name: &str) -> String {
    let mut chars: Vec<char> = name.chars().collect();
    let at = random.below(chars.len());
    match random.below(6) {
        0 => drop(chars.remove(at)),
        1 => chars.insert(at, chars[at]),
        2 => chars[at] = random.pick(&['x', '_', '.', '/', '%', 'K']),
        3 => {
            chars[at] = chars[at]
                .to_lowercase()
                .chain(chars[at].to_uppercase())
                .find(|c| *c != chars[at])
                .unwrap_or('q')
        }
        4 => chars.reverse(),
        _ => chars.push(random.pick(&['x', '/', '|', '$'])),
    }
    chars.into_iter().collect()
}

#[test]
fn p05_every_name_is_a_pattern_that_matches_itself_and_nothing_else() {
    let mut random = Random::seeded(5);
    let names: Vec<String> = (0..600).map(|_| name(&mut random)).collect();
    for own in &names {
        // There is nothing to escape: what is special in a pattern cannot stand in a name.
        let itself = pattern(own);
        assert!(itself.matches(own), "P5: `{own}` matches itself");
        assert!(!itself.has_wildcard(), "P5: `{own}` has no wildcard");
        for _ in 0..50 {
            let other = neighbour(&mut random, own);
            assert_eq!(itself.matches(&other), *own == other, "P5: `{own}` and `{other}`");
        }
        for other in &names {
            assert_eq!(itself.matches(other), own == other, "P5: `{own}` and `{other}`");
        }
    }
    for own in &names[..40] {
        let body = with(&[("allowedBranches", json!([own]))]);
        assert_eq!(read(&body).expect(own).policy.allowed_branches[0].as_str(), own, "P5: stored as it is");
        assert_eq!(answer(own, own), "granted", "P5: `{own}`");
    }
}

#[test]
fn p05_what_other_matchers_interpret_is_a_character_like_any_other() {
    check(
        "P5",
        &[
            ("LIKE's underscore", "release/a_b", "release/a_b", true),
            ("LIKE's underscore", "release/a_b", "release/axb", false),
            ("LIKE's percent", "100%", "100%", true),
            ("LIKE's percent", "100%", "100", false),
            ("LIKE's percent", "100%", "100x", false),
            ("braces", "{a,b}", "{a,b}", true),
            ("braces", "{a,b}", "a", false),
            ("braces", "{a,b}", "b", false),
            ("extended glob", "@(a|b)", "a", false),
            ("extended glob", "+(a)", "aa", false),
            ("extended glob", "!(main)", "dev", false),
            ("exclamation mark", "!x", "!x", true),
            ("exclamation mark", "!x", "y", false),
            ("alternation", "a|b", "a|b", true),
            ("alternation", "a|b", "a", false),
            ("alternation", "a|b", "b", false),
            ("plus", "a+", "aa", false),
            ("dollar", "main$", "main", false),
            ("parentheses", "(main)", "main", false),
            ("comma", "main,dev", "dev", false),
            ("quotes", "'main'", "main", false),
            ("hash", "#main", "main", false),
            ("ampersand", "a&b", "a&b", true),
            ("case", "Main", "main", false),
            ("Kelvin sign", "kelvin", "\u{212A}elvin", false),
            ("composed and combined", "é", "e\u{301}", false),
            ("an invisible character", "main", "main\u{200B}", false),
        ],
    );
    for (case, text, expected) in [
        ("an escape", "release/\\*", PatternError::Character('\\')),
        ("one character", "release/?", PatternError::Character('?')),
        ("a class", "[a-z]*", PatternError::Character('[')),
        ("nothing", "", PatternError::Empty),
        ("three stars", "a/***", PatternError::Stars),
        ("a control character", "main\u{1}", PatternError::Character('\u{1}')),
        ("a line feed", "main\n", PatternError::Character('\n')),
        ("too long", &"a".repeat(MAX_PATTERN + 1), PatternError::TooLong),
    ] {
        assert_eq!(Pattern::parse(text).err(), Some(expected), "P5: {case}");
        for field in ["allowedBranches", "allowedTags"] {
            let failure = read(&with(&[(field, json!([text]))])).expect_err(case);
            assert_eq!(failure.code, Code::PolicyInvalid, "P5: {case} in `{field}`");
        }
    }
    assert_eq!(Pattern::parse("main\0").err(), Some(PatternError::Character('\0')), "P5: NUL");
}

#[test]
fn p06_one_star_stays_within_a_segment() {
    check(
        "P6",
        &[
            ("one segment", "release/*", "release/x", true),
            ("two segments", "release/*", "release/x/y", false),
            ("no segment", "release/*", "release", false),
            ("another beginning", "release/*", "releases/x", false),
            ("another end", "*/main", "main", false),
            ("alone", "*", "main", true),
            ("alone", "*", "feature/x", false),
            ("in the middle", "a/*/c", "a/b/c", true),
            ("in the middle", "a/*/c", "a/b/b/c", false),
            ("two stars cross", "release/**", "release/x/y", true),
            ("two stars cross", "release/**", "release/x", true),
            ("two stars in the middle", "a/**/c", "a/b/b/c", true),
            ("two stars are no segment", "a/**/c", "a/c", false),
            ("two stars alone", "**", "feature/x/y", true),
            ("a beginning", "release/**", "releases/x", false),
        ],
    );
    // A wildcard behind any name: the rest is one segment, or anything.
    let mut random = Random::seeded(6);
    for _ in 0..2000 {
        let (own, other) = (name(&mut random), name(&mut random));
        let longer = format!("{own}{other}");
        let (segment, any) = (pattern(&format!("{own}*")), pattern(&format!("{own}**")));
        assert_eq!(segment.matches(&longer), !other.contains('/'), "P6: `{own}*` and `{longer}`");
        assert!(any.matches(&longer), "P6: `{own}**` and `{longer}`");
        assert_eq!(any.matches(&other), other.starts_with(&own), "P6: `{own}**` and `{other}`");
    }
}

#[test]
fn p07_a_pattern_is_anchored_at_both_ends_whatever_it_holds() {
    check(
        "P7",
        &[
            ("the whole name", "main", "main", true),
            ("something behind", "main", "main-evil", false),
            ("something before", "main", "evil-main", false),
            ("alternation, right", "main|dev", "main-evil", false),
            ("alternation, left", "main|dev", "evil-dev", false),
            ("alternation, alone", "main|dev", "main", false),
            ("alternation with a star", "main|*", "main-evil", false),
            ("a line behind", "main", "main\nevil", false),
            ("a star at one end", "main*", "evil-main", false),
            ("a star at the other", "*main", "main-evil", false),
        ],
    );
    for field in ["allowedBranches", "allowedTags"] {
        for text in ["^main$", "^(main|dev)$", "(?i)main", "main[^x]"] {
            let failure = read(&with(&[(field, json!([text]))])).expect_err(text);
            assert!(
                failure.text().contains("which no branch or tag name can hold"),
                "P7: `{text}`: {failure}"
            );
        }
    }
    // The other texts of a policy are no patterns at all.
    let alternatives = [
        ("audience", "https://lpm.dev|x", "audience_not_allowed"),
        ("ciEnvironment", "production|staging", "ci_environment_not_allowed"),
        ("ciEnvironment", "prod.*", "ci_environment_not_allowed"),
        ("issuer", "https://.*", "no_policy"),
        ("workflow", ".github/workflows/.*", "workflow_not_allowed"),
    ];
    for (field, text, expected) in alternatives {
        run_table(github, github_policy, vec![("P7", json!({}), one(field, text), expected)]);
    }
}

#[test]
fn p08_no_pattern_takes_more_time_than_its_length_times_the_names() {
    let hostile = || ["a*".repeat(127) + "b", "a**".repeat(85) + "b", "*a**a".repeat(51) + "/"];
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        // A matcher that backtracks would not come back.
        let name = "a".repeat(1 << 13);
        let push = github().with("ref", format!("refs/heads/{}", &name[..512]));
        for text in hostile() {
            let fitting = pattern(&text[..text.len() - 1]).matches(&name);
            let policy = changed(github_policy(), one("allowedBranches", json!([text])));
            let decided = word(&decided(&push, policy, json!({}), json!({})));
            send.send((pattern(&text).matches(&name), fitting, decided)).unwrap();
        }
    });
    for text in hostile() {
        let answer = receive.recv_timeout(Duration::from_secs(120)).expect("P8: an answer at all");
        assert_eq!(answer, (false, true, "branch_not_allowed"), "P8: {text}");
    }
    // Names end where twice what a provider allows ends: none of the patterns is asked about a longer one.
    for patterns in [json!(["**"]), json!([])] {
        let longer = github().with("ref", format!("refs/heads/{}", "a".repeat(513)));
        let policy = changed(github_policy(), one("allowedBranches", patterns));
        let verdict = decided(&longer, policy, json!({}), json!({}));
        assert_eq!(word(&verdict), "ref_not_allowed", "P8: a name of 513 bytes");
    }
    let long = read(&with(&[("allowedBranches", json!(["a*".repeat(129)]))])).expect_err("258 bytes");
    assert!(long.text().contains("must be at most 256 bytes long"), "P8: {long}");
    let many = read(&with(&[("allowedBranches", json!(vec!["a*"; 101]))])).expect_err("101 patterns");
    assert!(many.text().contains("has more than 100 items"), "P8: {many}");
}

#[test]
fn p09_a_dot_is_a_dot() {
    check(
        "P9",
        &[
            ("in a version", "v1.0", "v1.0", true),
            ("in a version", "v1.0", "v1x0", false),
            ("before a star", ".*", "main", false),
            ("before a star, with a name behind", ".*@acme.dev", "evil@acmexdev", false),
            ("before a star, unescaped", "release-.*", "release-x", false),
        ],
    );
    let near = github().with("repository", "octo-org/octoxrepo");
    let dotted = changed(github_policy(), one("subject", "repo:octo-org/octo.repo"));
    assert_eq!(
        word(&decided(&near, dotted, json!({}), json!({}))),
        "no_policy",
        "P9: in a repository's name"
    );
}

#[test]
fn p10_nothing_in_a_policy_negates() {
    check(
        "P10",
        &[
            ("another branch", "!prod", "main", false),
            ("the branch itself", "!prod", "prod", false),
            ("the branch of that very name", "!prod", "!prod", true),
            ("with a star", "!prod*", "main", false),
            ("a minus", "-prod", "main", false),
            ("extended glob", "!(prod)", "main", false),
        ],
    );
    let refused: &[(&str, Value)] = &[
        ("deniedBranches", json!(["main"])),
        ("denyBranches", json!(["main"])),
        ("excludedBranches", json!([])),
        ("deny", json!(true)),
        ("effect", json!("deny")),
        ("not", json!({"allowedBranches": ["main"]})),
        ("allowedbranches", json!(["main"])),
        ("subjectPattern", json!(".*")),
    ];
    for (field, value) in refused {
        let failure = read(&with(&[(field, value.clone())])).expect_err(field);
        assert_eq!(failure.text(), format!("the policy's `{field}` is not known"), "P10: {field}");
    }
    let failure = read(&with(&[("allowedEnvironments", json!(["!prod"]))])).expect_err("P10: an environment");
    assert!(failure.text().contains("is no environment's name"), "P10: {failure}");
    let failure = read(&with(&[("allowedEvents", json!(["!push"]))])).expect_err("P10: an event");
    assert!(failure.text().contains("is no event's name"), "P10: {failure}");
    read(&request()).expect("P10: the request is good without");
}
