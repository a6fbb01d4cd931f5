//! The environment filter against a reading of the whole payload.

use crate::doc::Doc;
use crate::failure;
use crate::input::fields;
use lpm_core::environment::{DEFAULT, EnvironmentError, Environments, select};
use lpm_core::secret::Secret;
use serde::de::IgnoredAny;
use std::collections::HashSet;

/// An environment's name and its variables, in the order of the payload.
type Environment<'a> = (&'a str, Vec<(&'a str, &'a str)>);

/// The environment asked for, two that are permitted, the payload.
pub fn environment(data: &[u8]) {
    let [asked, first, second, payload] = fields(data);
    let [Ok(asked), Ok(first), Ok(second)] = [asked, first, second].map(std::str::from_utf8) else { return };
    let permitted: Vec<String> =
        [first, second].into_iter().filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let secret = || Secret::new(payload.to_vec());
    let selected = select(&secret(), asked, &permitted);
    if let Err(error) = &selected {
        failure::holds(&error.failure());
    }

    let Some(doc) = Doc::parse(payload) else {
        // What is skipped is not read: a lone surrogate or a huge number may stand there.
        assert!(Environments::parse(&secret()).is_err(), "the command line reads everything");
        let is_json = serde_json::from_slice::<IgnoredAny>(payload).is_ok();
        match selected {
            Err(error) => assert!(is_json || matches!(error, EnvironmentError::Type { .. })),
            Ok(selected) => {
                assert!(is_json);
                let body = Doc::parse(selected.body.expose()).expect("an answer is JSON");
                let vars = body.get("vars").expect("an answer has variables");
                assert!(vars.members().iter().all(|(_, value)| value.str().is_some()));
            }
        }
        return;
    };
    let found = environments(&doc, |name| permitted.iter().any(|permitted| permitted == name));
    match (&selected, expected(found, asked, &permitted)) {
        (Ok(selected), Expected::Answer((name, vars))) => {
            assert_eq!((selected.name.as_str(), selected.count), (name, vars.len()));
            let member = |(name, value): (&str, &str)| (name.to_owned(), Doc::String(value.to_owned()));
            let body = Doc::Object(vec![
                ("env".to_owned(), Doc::String(name.to_owned())),
                ("vars".to_owned(), Doc::Object(vars.into_iter().map(member).collect())),
            ]);
            assert_eq!(Doc::parse(selected.body.expose()), Some(body));
        }
        (Err(EnvironmentError::Type { .. }), Expected::Type) => {}
        (Err(EnvironmentError::NotAllowed(name)), Expected::NotAllowed) => assert_eq!(name, asked),
        (Err(EnvironmentError::Absent(name)), Expected::Absent) => assert_eq!(name, asked),
        (selected, _) => panic!("{:?} for {doc:?}", selected.as_ref().map(|selected| &selected.name)),
    }
    whole(&secret(), &doc);
}

/// The command line's reading of everything, and what it pushes again.
fn whole(payload: &Secret, doc: &Doc) {
    let expected = environments(doc, |_| true);
    let parsed = Environments::parse(payload);
    assert_eq!(parsed.is_ok(), expected.is_some());
    let (Ok(parsed), Some(expected)) = (parsed, expected) else { return };
    assert_eq!(parsed.0.len(), expected.len());
    for (name, vars) in &expected {
        let kept = &parsed.0[*name];
        assert_eq!(kept.len(), vars.len());
        assert!(vars.iter().all(|(name, value)| kept[*name].expose() == *value));
    }
    assert_eq!(parsed.count(), expected.iter().map(|(_, vars)| vars.len()).sum::<usize>());

    let pushed = parsed.to_payload();
    let again = Environments::parse(&pushed).expect("our own payload");
    assert_eq!(again.to_payload().expose(), pushed.expose());
    assert_eq!(again.count(), parsed.count());
    for (name, vars) in parsed.0.iter().filter(|(_, vars)| !vars.is_empty()) {
        let answer =
            select(&pushed, name, std::slice::from_ref(name)).expect("what was pushed can be pulled");
        assert_eq!(answer.count, vars.len());
    }
}

enum Expected<'a> {
    Type,
    NotAllowed,
    Absent,
    Answer(Environment<'a>),
}

fn expected<'a>(found: Option<Vec<Environment<'a>>>, asked: &str, permitted: &[String]) -> Expected<'a> {
    let Some(mut found) = found else { return Expected::Type };
    let has =
        |found: &[Environment<'_>], name: &str| found.iter().position(|environment| environment.0 == name);
    let chosen = if has(&found, asked).is_some() {
        if !permitted.iter().any(|name| name == asked) {
            return Expected::NotAllowed;
        }
        Some(asked)
    } else {
        // An alias only where nothing has the name itself.
        permitted.iter().map(String::as_str).find(|name| has(&found, name).is_some())
    };
    match chosen.and_then(|name| has(&found, name)) {
        Some(at) if !found[at].1.is_empty() => Expected::Answer(found.swap_remove(at)),
        _ => Expected::Absent,
    }
}

/// The payload's environments, with the variables of those that are wanted; `None` where the form is wrong.
fn environments(doc: &Doc, wanted: impl Fn(&str) -> bool) -> Option<Vec<Environment<'_>>> {
    let Doc::Object(members) = doc else { return None };
    let nested: Vec<&Doc> =
        members.iter().filter(|(name, _)| name == "environments").map(|(_, value)| value).collect();
    if nested.iter().any(|value| !matches!(value, Doc::Object(_) | Doc::String(_))) {
        return None;
    }
    if let Some(object @ Doc::Object(own)) = nested.iter().find(|value| matches!(value, Doc::Object(_))) {
        // Beside the object nothing else: a variable there would belong to no environment.
        if members.len() > 1 || object.has_duplicate() {
            return None;
        }
        let mut found = Vec::new();
        for (name, value) in own {
            let vars = match value {
                _ if !wanted(name) => Vec::new(),
                Doc::Object(_) => variables(value)?,
                _ => return None,
            };
            found.push((name.as_str(), vars));
        }
        return Some(found);
    }
    if members.is_empty() {
        return Some(Vec::new());
    }
    let vars = if wanted(DEFAULT) { variables(doc)? } else { Vec::new() };
    Some(vec![(DEFAULT, vars)])
}

/// Strings, each name once.
fn variables(object: &Doc) -> Option<Vec<(&str, &str)>> {
    let mut names = HashSet::new();
    object
        .members()
        .iter()
        .map(|(name, value)| Some((name.as_str(), value.str()?)).filter(|_| names.insert(name)))
        .collect()
}
