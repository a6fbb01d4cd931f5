//! No answer, and no error, ever holds a value of another environment: each value is a marker of its own.

use crate::doc::Doc;
use crate::failure;
use crate::input::Bytes;
use lpm_core::environment::select;
use lpm_core::secret::Secret;

/// Names that environments and variables have here: ordinary ones, look-alikes, and those with a meaning.
const NAMES: &[&str] = &[
    "production",
    "default",
    "staging",
    "Production",
    "prod",
    "environments",
    "",
    "production\u{0}",
    "pro\"duction\\",
    "vars",
    "env",
    "größe/x y",
];

/// The environment asked for, its alias, how the payload is damaged and where; then two bytes for each
/// variable: the name of its environment, and its own name and form.
pub fn isolation(data: &[u8]) {
    let mut bytes = Bytes(data);
    let name = |byte: u8| NAMES[usize::from(byte) % NAMES.len()];
    let (asked, alias, shape) = (name(bytes.byte()), name(bytes.byte()), bytes.byte());
    let cut = usize::from(u16::from_be_bytes(bytes.array()));
    let mut environments: Vec<(&str, Vec<String>)> = Vec::new();
    for n in 0..64 {
        if bytes.is_empty() {
            break;
        }
        let environment = name(bytes.byte());
        let form = bytes.byte();
        let at = environments.iter().position(|(name, _)| *name == environment).unwrap_or_else(|| {
            environments.push((environment, Vec::new()));
            environments.len() - 1
        });
        let variable = format!("{}:{}", quoted(name(form)), value(form / 16, at, n));
        environments[at].1.push(variable);
    }
    let objects: Vec<String> = environments
        .iter()
        .map(|(name, variables)| format!("{}:{{{}}}", quoted(name), variables.join(",")))
        .collect();
    let mut payload = match shape % 4 {
        0 | 1 => format!("{{\"environments\":{{{}}}}}", objects.join(",")),
        2 => format!(
            "{{{}}}",
            environments.first().map(|(_, variables)| variables.join(",")).unwrap_or_default()
        ),
        _ => format!("{{\"environments\":{{{0}}},{0}}}", objects.join(",")),
    }
    .into_bytes();
    if shape & 16 != 0 {
        payload.truncate(cut % (payload.len() + 1));
    }
    if shape & 32 != 0
        && let Some(byte) = payload.get_mut(cut)
    {
        *byte ^= 0x80;
    }
    let permitted = match shape / 64 {
        0 => vec![asked.to_owned()],
        1 => vec![asked.to_owned(), alias.to_owned()],
        2 => vec![alias.to_owned()],
        _ => Vec::new(),
    };
    check(&payload, asked, &permitted, &environments, shape);
}

fn check(payload: &[u8], asked: &str, permitted: &[String], environments: &[(&str, Vec<String>)], shape: u8) {
    let flat = shape % 4 == 2;
    match select(&Secret::new(payload.to_vec()), asked, permitted) {
        Ok(selected) => {
            assert!(permitted.contains(&selected.name));
            let body = Doc::parse(selected.body.expose()).expect("an answer is JSON");
            let at = environments.iter().position(|(name, _)| *name == selected.name);
            let at = if flat { Some(0) } else { at };
            let own = format!("marker-{}-", at.expect("what is answered is in the payload"));
            let vars = body.get("vars").expect("an answer has variables").members();
            assert!(!vars.is_empty() && vars.len() == selected.count);
            for (name, value) in vars {
                assert!(value.str().is_some_and(|value| value.starts_with(&own)), "{name}: {value:?}");
                assert!(!name.contains("marker-"));
            }
            let text = selected.body.expose_str().expect("an answer is text");
            assert!(!text.contains("47110815"), "a number of the payload is in an answer");
        }
        Err(error) => {
            failure::holds(&error.failure());
            let told = format!("{error} {error:?} {}", error.failure().body());
            assert!(!told.contains("marker") && !told.contains("47110815"), "{told}");
        }
    }
}

/// A value in one of the forms that a payload may bring, each with the marker of its environment.
fn value(form: u8, environment: usize, n: usize) -> String {
    let marker = format!("marker-{environment}-{n}");
    match form {
        0 => "47110815".to_owned(),
        1 => format!("[\"{marker}\"]"),
        2 => format!("{{\"{marker}\":\"{marker}\"}}"),
        3 => "null".to_owned(),
        4 => format!("\"{marker}\\ud800\""),
        5 => format!("\"{marker}\\n\\\"\\u0000\""),
        6 => format!("\"{marker}\\ud83d\\ude00\""),
        7 => format!("\"\\u006d{}\"", &marker[1..]),
        _ => format!("\"{marker}\""),
    }
}

fn quoted(name: &str) -> String {
    serde_json::to_string(name).expect("a string")
}
