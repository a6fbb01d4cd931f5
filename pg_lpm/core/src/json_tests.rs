use super::*;

const LIMITS: Limits = Limits { depth: 3, members: 3, items: 4, string: 8 };

fn nested(depth: usize) -> Vec<u8> {
    [vec![b'['; depth], vec![b']'; depth]].concat()
}

#[test]
fn a_document_keeps_types_and_order() {
    let value = parse(br#" {"b":[null,true,-1,2.5],"a":"x\u00e9","c":{}} "#, &LIMITS).expect("good");
    let names: Vec<&str> = value.as_object().expect("object").iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["b", "a", "c"]);
    assert_eq!(value.get("a").and_then(Value::as_str), Some("xé"));
    let types: Vec<_> =
        value.get("b").and_then(Value::as_array).expect("list").iter().map(Value::type_name).collect();
    assert_eq!(types, ["null", "a boolean", "a number", "a number"]);
    assert_eq!(value.get("d"), None);
    assert_eq!(check(br#"{"b":[null,true,-1,2.5],"a":"x"}"#, &LIMITS), Ok(()));
}

#[test]
fn what_reaches_a_limit_exactly_is_accepted() {
    for document in
        [&br#"[[[]]]"#[..], br#"{"a":1,"b":2,"c":3}"#, b"[1,2,3,4]", br#""12345678""#, br#"{"12345678":0}"#]
    {
        parse(document, &LIMITS).expect("within the limits");
    }
}

#[test]
fn each_kind_of_document_has_the_limits_that_are_documented() {
    for (limits, expected) in [
        (Limits::HEADER, [1, 8, 0, 2_048]),
        (Limits::CLAIMS, [8, 128, 256, 4_096]),
        (Limits::KEYS, [8, 32, 1_024, 16_384]),
        (Limits::BODY, [64, 4_096, 16_384, 16_777_216]),
    ] {
        assert_eq!([limits.depth, limits.members, limits.items, limits.string], expected);
    }
}

#[test]
fn every_rule_is_refused_with_its_place() {
    let path = |path: &str| path.to_owned();
    let cases: &[(&str, &[u8], JsonError)] = &[
        ("J7 twice", br#"{"a":1,"a":1}"#, JsonError::DuplicateName { path: path("$") }),
        ("J7 twice, escaped", br#"{"a":1,"\u0061":1}"#, JsonError::DuplicateName { path: path("$") }),
        (
            "J7 twice, deep",
            br#"{"x":[0,{"a":1,"b":2,"a":3}]}"#,
            JsonError::DuplicateName { path: path("${0}[1]") },
        ),
        (
            "J23 members",
            br#"{"a":1,"b":2,"c":3,"d":4}"#,
            JsonError::TooManyMembers { path: path("$"), max: 3 },
        ),
        ("J23 items", br#"{"x":[1,2,3,4,5]}"#, JsonError::TooManyItems { path: path("${0}"), max: 4 }),
        (
            "J23 string",
            br#"{"a":1,"x":"123456789"}"#,
            JsonError::StringTooLong { path: path("${1}"), max: 8 },
        ),
        ("J23 name", br#"{"123456789":1}"#, JsonError::StringTooLong { path: path("${0}"), max: 8 }),
        (
            "J23 bytes, not characters",
            "\"ééééé\"".as_bytes(),
            JsonError::StringTooLong { path: path("$"), max: 8 },
        ),
        ("J24 lists", b"[[[[]]]]", JsonError::TooDeep { max: 3 }),
        ("J24 objects", br#"{"a":{"a":{"a":{}}}}"#, JsonError::TooDeep { max: 3 }),
        ("J26 NUL in a string", br#"["\u0000"]"#, JsonError::Nul { path: path("$[0]") }),
        ("J26 NUL in a name", br#"{"iss\u0000":1}"#, JsonError::Nul { path: path("${0}") }),
    ];
    for (name, document, expected) in cases {
        assert_eq!(parse(document, &LIMITS).as_ref(), Err(expected), "{name}");
        assert_eq!(check(document, &LIMITS).as_ref(), Err(expected), "{name}, checked only");
    }
}

#[test]
fn what_is_not_json_is_refused() {
    let long_number = "9".repeat(131_072);
    let cases: &[(&str, &[u8])] = &[
        ("empty", b""),
        ("J25 beyond double", b"[1e400]"),
        ("J25 far beyond double", b"1e100000"),
        ("J25 131072 digits", long_number.as_bytes()),
        ("J25 NaN", b"NaN"),
        ("J25 infinity", b"-Infinity"),
        ("J25 plus", b"+1"),
        ("J25 leading zero", b"01"),
        ("J26 invalid UTF-8", b"\"\xff\""),
        ("J26 overlong slash", b"\"\xc0\xaf\""),
        ("J26 UTF-8 surrogate", b"\"\xed\xa0\x80\""),
        ("J26 invalid UTF-8 in a name", b"{\"\xff\":1}"),
        ("J26 lone leading surrogate", br#""\ud800""#),
        ("J26 lone trailing surrogate", br#""\udc00""#),
        ("J26 surrogates the wrong way round", br#""\udc00\ud800""#),
        ("J26 raw NUL", b"\"\0\""),
        ("J26 raw line feed", b"\"\n\""),
        ("byte order mark", b"\xef\xbb\xbf{}"),
        ("UTF-16", b"{\0}\0"),
        ("trailing data", b"{} {}"),
        ("trailing comma", b"[1,]"),
        ("comment", b"[1/* */]"),
        ("single quotes", b"{'a':1}"),
        ("cut off", br#"{"a":"#),
        ("name without value", br#"{"a"}"#),
        ("number as name", b"{1:1}"),
    ];
    for (name, document) in cases {
        let error = parse(document, &Limits::BODY).expect_err(name);
        assert!(matches!(error, JsonError::Syntax(_)), "{name}: {error}");
        assert_eq!(check(document, &Limits::BODY), Err(error), "{name}, checked only");
    }
}

#[test]
fn an_error_of_syntax_says_where_it_is() {
    for (document, text) in [
        (&b"[1,]"[..], "trailing comma at line 1 column 4"),
        (b"{\n\"a\": 01}", "invalid number at line 2 column 7"),
        (br#"{"a":"#, "EOF while parsing a value at line 1 column 5"),
        (b"", "EOF while parsing a value at line 1 column 0"),
    ] {
        assert_eq!(parse(document, &LIMITS), Err(JsonError::Syntax(text.to_owned())));
    }
}

#[test]
fn j24_a_hundred_thousand_levels_do_not_reach_the_stack() {
    for limits in [Limits::HEADER, Limits::CLAIMS, Limits::KEYS, Limits::BODY] {
        assert_eq!(parse(&nested(100_000), &limits), Err(JsonError::TooDeep { max: limits.depth }));
        assert!(parse(&nested(limits.depth), &limits).is_ok());
    }
}

#[test]
fn an_error_never_repeats_the_document() {
    let documents = [
        r#"{"canary":"canary","canary":1}"#,
        r#"{"x":"canary\u0000"}"#,
        r#"{"x":"canary-canary"}"#,
        r#"{"canary\u0000":1}"#,
        r#"{"canary" "canary"}"#,
        r#"canary"#,
        r#"{"canary": canary}"#,
        r#"["canary\ud800"]"#,
        r#"[1e999, "canary"]"#,
    ];
    for document in documents {
        let error = parse(document.as_bytes(), &LIMITS).expect_err(document);
        let failure = error.failure();
        for text in [error.to_string(), format!("{error:?}"), failure.body()] {
            assert!(!text.contains("canary"), "{document}: {text}");
        }
        assert_eq!(failure.code, Code::BadRequest);
    }
}
