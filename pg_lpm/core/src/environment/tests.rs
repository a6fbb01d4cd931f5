use super::*;

const NESTED: &str = r#"{"environments":{"default":{"A":"d"},"production":{"API_KEY":"sk-live","NOTE":"a\"b\\c\né😀"},"staging":{"API_KEY":"sk-stag"}}}"#;

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

fn take(payload: &str, asked: &str, permitted: &[&str]) -> Result<(String, usize, String), EnvironmentError> {
    let permitted: Vec<String> = permitted.iter().map(|&name| name.to_owned()).collect();
    let selected = select(&secret(payload), asked, &permitted)?;
    let body = selected.body.expose_str().expect("the answer is UTF-8").to_owned();
    Ok((selected.name, selected.count, body))
}

fn refused(payload: &str, asked: &str, permitted: &[&str]) -> EnvironmentError {
    match take(payload, asked, permitted) {
        Err(error) => error,
        Ok((name, ..)) => panic!("`{name}` was handed out"),
    }
}

fn type_error(payload: &str, path: &str, expected: &'static str) {
    let error = refused(payload, "production", &["production", "default"]);
    assert_eq!(error, EnvironmentError::Type { path: path.to_owned(), expected }, "{payload}");
    assert!(!error.to_string().contains("hush"), "{error}");
    assert!(!error.failure().body().contains("hush"));
}

// --- what is handed out ---------------------------------------------------------------------------

#[test]
fn the_environment_asked_for_is_handed_out_and_no_other() {
    let (name, count, body) = take(NESTED, "production", &["production"]).expect("it is there");
    assert_eq!((name.as_str(), count), ("production", 2));
    assert_eq!(body, r#"{"env":"production","vars":{"API_KEY":"sk-live","NOTE":"a\"b\\c\né😀"}}"#);
}

#[test]
fn a_flat_payload_is_the_default_environment() {
    let (name, count, body) = take(r#"{"K":"V","L":""}"#, DEFAULT, &[DEFAULT]).expect("it is there");
    assert_eq!((name.as_str(), count), (DEFAULT, 2));
    assert_eq!(body, r#"{"env":"default","vars":{"K":"V","L":""}}"#);
}

#[test]
fn a_flat_payload_may_have_a_variable_named_environments() {
    let payload = r#"{"A":"1","environments":"x\"y","B":"2"}"#;
    let (_, count, body) = take(payload, DEFAULT, &[DEFAULT]).expect("it is there");
    assert_eq!(count, 3);
    assert_eq!(body, r#"{"env":"default","vars":{"A":"1","environments":"x\"y","B":"2"}}"#);
}

#[test]
fn names_that_need_escapes_stay_what_they_are() {
    let payload = r#"{"environments":{"pr\u006fd":{"A\"\n":"v"}}}"#;
    let (name, _, body) = take(payload, "prod", &["prod"]).expect("it is there");
    assert_eq!(name, "prod");
    assert_eq!(body, r#"{"env":"prod","vars":{"A\"\n":"v"}}"#);
}

#[test]
fn large_environments_outgrow_the_first_buffer() {
    let value = "v".repeat(3000);
    let payload = format!(r#"{{"environments":{{"e":{{"A":"{value}","B":"{value}","C":"{value}"}}}}}}"#);
    let (_, count, body) = take(&payload, "e", &["e"]).expect("it is there");
    assert_eq!(count, 3);
    assert_eq!(body, format!(r#"{{"env":"e","vars":{{"A":"{value}","B":"{value}","C":"{value}"}}}}"#));
}

// --- aliases --------------------------------------------------------------------------------------

#[test]
fn an_alias_is_used_where_no_environment_has_the_name() {
    let (name, ..) = take(NESTED, "prod", &["prod", "production"]).expect("the alias leads there");
    assert_eq!(name, "production");
    let (name, ..) = take(NESTED, "prod", &["production"]).expect("the canonical name is permitted");
    assert_eq!(name, "production");
}

#[test]
fn the_name_itself_wins_over_its_alias() {
    for payload in [
        r#"{"environments":{"prod":{"A":"itself"},"production":{"A":"other"}}}"#,
        r#"{"environments":{"production":{"A":"other"},"prod":{"A":"itself"}}}"#,
    ] {
        let (name, _, body) = take(payload, "prod", &["prod", "production"]).expect("it is there");
        assert_eq!(name, "prod");
        assert!(body.contains("itself"));
    }
}

#[test]
fn an_existing_environment_that_is_not_permitted_is_never_replaced_by_its_alias() {
    for payload in [
        r#"{"environments":{"prod":{"A":"1"},"production":{"A":"2"}}}"#,
        r#"{"environments":{"production":{"A":"2"},"prod":{"A":"1"}}}"#,
        r#"{"environments":{"production":{"A":"2"},"prod":{}}}"#,
    ] {
        assert_eq!(refused(payload, "prod", &["production"]), EnvironmentError::NotAllowed("prod".into()));
    }
}

#[test]
fn an_empty_environment_is_not_replaced_by_its_alias() {
    let payload = r#"{"environments":{"prod":{},"production":{"A":"2"}}}"#;
    assert_eq!(refused(payload, "prod", &["prod", "production"]), EnvironmentError::Absent("prod".into()));
}

// --- what is not there, or not permitted ----------------------------------------------------------

#[test]
fn an_environment_that_is_not_permitted_is_refused() {
    let error = refused(NESTED, "staging", &["production"]);
    assert_eq!(error, EnvironmentError::NotAllowed("staging".into()));
    assert_eq!(error.failure().code, Code::EnvironmentNotAllowed);
    assert_eq!(
        refused(r#"{"K":"V"}"#, DEFAULT, &["production"]),
        EnvironmentError::NotAllowed(DEFAULT.into())
    );
    assert_eq!(refused(NESTED, "staging", &[]), EnvironmentError::NotAllowed("staging".into()));
}

#[test]
fn an_absent_environment_is_never_an_empty_success() {
    for payload in [
        NESTED,
        "{}",
        r#"{"K":"V"}"#,
        r#"{"environments":{}}"#,
        r#"{"environments":{"preview":{}}}"#,
        r#"{"environments":{"Preview":{"A":"case matters"}}}"#,
        r#"{"environments":{"preview ":{"A":"so do spaces"}}}"#,
    ] {
        let error = refused(payload, "preview", &["preview"]);
        assert_eq!(error, EnvironmentError::Absent("preview".into()), "{payload}");
        assert_eq!(error.failure().code, Code::EnvironmentAbsent);
    }
    assert_eq!(refused("{}", DEFAULT, &[DEFAULT]), EnvironmentError::Absent(DEFAULT.into()));
}

#[test]
fn a_permission_for_default_opens_no_named_environment() {
    assert_eq!(refused(NESTED, "nope", &[]), EnvironmentError::Absent("nope".into()));
    assert_eq!(
        refused(r#"{"K":"V"}"#, "production", &["production"]),
        EnvironmentError::Absent("production".into())
    );
}

// --- wrong types: a path and what should be there, never text --------------------------------------

#[test]
fn a_payload_that_is_no_object_is_refused() {
    for payload in [r#""hush""#, r#"["hush"]"#, "7", "null", "true"] {
        type_error(payload, "the payload", "a JSON object");
    }
}

#[test]
fn a_payload_that_is_no_json_is_refused() {
    for payload in [
        "",
        "hush",
        r#"{"A":"hush"#,
        r#"{"A":"hush"} trailing"#,
        r#"{"A":"hush",}"#,
        r#"{'A':'hush'}"#,
        "{\"A\":\"hush\nnewline\"}",
        r#"{"A":"hush\x"}"#,
        r#"{"\ud800":"hush"}"#,
        r#"{"environments":{"staging":{"A":hush}}}"#,
    ] {
        type_error(payload, "the payload", "valid JSON");
    }
    let error = select(&Secret::new(b"{\"A\":\"\xFF\"}".to_vec()), "a", &[]).err();
    assert_eq!(error, Some(EnvironmentError::Type { path: "the payload".into(), expected: "UTF-8" }));
}

#[test]
fn depth_is_no_way_to_exhaust_the_stack() {
    let deep = format!(r#"{{"environments":{{"staging":{}{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(refused(&deep, "production", &["production"]), EnvironmentError::Absent("production".into()));
    let deep = format!(
        r#"{{"environments":{{"production":{{"A":{}{}}}}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    type_error(&deep, "environments.production.A", "a string");
}

#[test]
fn environments_must_be_an_object() {
    for value in ["[]", "7", "null", "true", r#"["hush"]"#] {
        type_error(&format!(r#"{{"environments":{value}}}"#), "environments", "an object");
    }
}

#[test]
fn an_environment_must_be_an_object() {
    for value in [r#""hush""#, "7", "null", r#"["hush"]"#] {
        let payload = format!(r#"{{"environments":{{"production":{value}}}}}"#);
        type_error(&payload, "environments.production", "an object");
    }
}

#[test]
fn a_value_must_be_a_string() {
    for value in ["7", "null", "true", r#"["hush"]"#, r#"{"x":"hush"}"#] {
        let payload = format!(r#"{{"environments":{{"production":{{"A":"hush","PORT":{value}}}}}}}"#);
        type_error(&payload, "environments.production.PORT", "a string");
        type_error(&format!(r#"{{"A":"hush","PORT":{value}}}"#), "PORT", "a string");
    }
}

#[test]
fn half_a_surrogate_pair_is_no_text() {
    for value in [r"hush\ud800", r"\udc00hush", r"\ud800\ud800", r"\ud800\u0041", r"\\\ud800", r"\ud83d\n"] {
        let payload = format!(r#"{{"environments":{{"production":{{"A":"{value}"}}}}}}"#);
        type_error(&payload, "environments.production.A", "a string");
    }
    for value in [r"\ud83d\ude00", r"\\ud800", r"\u0041\n", r"\\"] {
        let payload = format!(r#"{{"environments":{{"production":{{"A":"{value}"}}}}}}"#);
        let (_, _, body) = take(&payload, "production", &["production"]).expect("this is text");
        assert!(body.contains(value));
        let all = Environments::parse(&secret(&payload)).expect("this is text");
        assert_eq!(all.count(), 1);
    }
}

#[test]
fn names_are_there_only_once() {
    let once = "there only once";
    type_error(r#"{"environments":{"production":{"A":"hush","A":"2"}}}"#, "environments.production.A", once);
    type_error(
        r#"{"environments":{"production":{"A":"hush","\u0041":"2"}}}"#,
        "environments.production.A",
        once,
    );
    type_error(
        r#"{"environments":{"production":{"A":"hush"},"production":{}}}"#,
        "environments.production",
        once,
    );
    type_error(r#"{"environments":{"x":{"A":"hush"},"x":{}}}"#, "environments.x", once);
    type_error(r#"{"environments":{},"environments":{"production":{"A":"hush"}}}"#, "environments", once);
    type_error(r#"{"A":"hush","A":"hush"}"#, "A", once);
    type_error(r#"{"environments":"a","environments":"hush"}"#, "environments", once);
}

#[test]
fn nothing_stands_beside_the_environments() {
    let alone = "either `environments` alone or variables";
    type_error(r#"{"environments":{"production":{"A":"hush"}},"v":"2"}"#, "the payload", alone);
    type_error(r#"{"v":"2","environments":{"production":{"A":"hush"}}}"#, "the payload", alone);
    type_error(r#"{"environments":{"production":{"A":"hush"}},"v":2}"#, "the payload", alone);
}

#[test]
fn what_was_not_asked_for_is_not_judged() {
    let payload = r#"{"environments":{"staging":{"A":7,"A":[]},"production":{"A":"1"},"x":null}}"#;
    assert!(take(payload, "production", &["production"]).is_ok());
    // Nor is its content a way to learn names from it.
    let flat = r#"{"SECRET_NAME":7}"#;
    assert_eq!(refused(flat, "production", &["production"]), EnvironmentError::Absent("production".into()));
}

#[test]
fn a_long_name_in_a_path_is_cut_in_the_answer() {
    let payload = format!(r#"{{"environments":{{"production":{{"{}":7}}}}}}"#, "N".repeat(5000));
    let failure = refused(&payload, "production", &["production"]).failure();
    assert_eq!(failure.code, Code::PayloadType);
    assert!(failure.body().len() < 500);
}

// --- the whole vault, for the command line --------------------------------------------------------

#[test]
fn a_vault_is_read_and_written_back_sorted() {
    let all = Environments::parse(&secret(
        r#"{"environments":{"b":{"Z":"1","A":"é\n\"\\"},"a":{"K":""},"empty":{}}}"#,
    ))
    .expect("it is valid");
    assert_eq!(all.0.keys().collect::<Vec<_>>(), ["a", "b", "empty"]);
    assert_eq!(all.0["b"]["A"].expose(), "é\n\"\\");
    assert_eq!(all.count(), 3);
    assert_eq!(
        all.to_payload().expose_str(),
        Some(r#"{"environments":{"a":{"K":""},"b":{"A":"é\n\"\\","Z":"1"}}}"#)
    );
}

#[test]
fn a_flat_vault_becomes_the_default_environment() {
    let all = Environments::parse(&secret(r#"{"K":"V"}"#)).expect("it is valid");
    assert_eq!(all.to_payload().expose_str(), Some(r#"{"environments":{"default":{"K":"V"}}}"#));
}

#[test]
fn an_empty_vault_has_an_empty_payload() {
    assert_eq!(Environments::default().to_payload().expose_str(), Some(r#"{"environments":{}}"#));
    for empty in ["{}", r#"{"environments":{}}"#] {
        assert_eq!(Environments::parse(&secret(empty)).expect("it is valid").count(), 0);
    }
}

#[test]
fn a_vault_of_the_wrong_form_is_refused_as_a_whole() {
    for payload in [
        "[]",
        r#"{"K":7}"#,
        r#"{"environments":{"a":{"K":"1"},"b":{"K":2}}}"#,
        r#"{"environments":{"a":{"K":"1"},"a":{"K":"2"}}}"#,
        r#"{"environments":{"a":{"K":"1","K":"2"}}}"#,
        r#"{"environments":{"a":{"K":"\ud800"}}}"#,
        r#"{"environments":{},"v":"2"}"#,
    ] {
        assert!(Environments::parse(&secret(payload)).is_err(), "{payload}");
    }
}
