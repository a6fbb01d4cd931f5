//! What `envSchema` of `lpm.json` says variables are for, and whether an environment keeps to it.
//!
//! ```json
//! "envSchema": {
//!   "DATABASE_URL": { "required": true, "format": "url", "secret": true, "description": "Postgres" },
//!   "LOG_LEVEL":    { "enum": ["debug", "info"], "default": "info" }
//! }
//! ```
//!
//! An empty value counts as an absent one, as the tools that read `.env` files have it. What is said about a
//! variable names it and the rule, never its value.

use crate::error::{Error, Result};
use crate::output::printable;
use lpm_core::dotenv;
use lpm_core::environment::{Text, Vars};
use lpm_core::json::Value;
use regex::{Regex, RegexBuilder};
use std::net::IpAddr;

/// Largest compiled pattern: `lpm.json` comes with a checkout, which may be a stranger's.
const PATTERN_SIZE: usize = 1 << 20;

/// What a variable is for.
pub(crate) struct Declared {
    /// Its name.
    pub name: String,
    /// It must have a value.
    pub required: bool,
    /// The form of its value.
    pub format: Option<Form>,
    pattern: Option<Regex>,
    pattern_text: Option<String>,
    /// The only values that it may have.
    pub allowed: Vec<String>,
    /// What it is where it is not set.
    pub default: Option<String>,
    /// Whether its value is for nobody to see.
    pub secret: bool,
    /// Whether it ends up in what browsers get.
    pub client: bool,
    /// What it is for.
    pub description: Option<String>,
}

/// The form of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Url,
    Port,
    Email,
    Boolean,
    Integer,
    Hostname,
    Ip,
}

impl Form {
    const ALL: [(&'static str, Self); 7] = [
        ("url", Self::Url),
        ("port", Self::Port),
        ("email", Self::Email),
        ("boolean", Self::Boolean),
        ("integer", Self::Integer),
        ("hostname", Self::Hostname),
        ("ip", Self::Ip),
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(known, form)| (known == name).then_some(form))
    }

    /// As `envSchema` names it.
    pub(crate) fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find_map(|(name, form)| (form == self).then_some(name)).unwrap_or_default()
    }

    fn holds(self, value: &str) -> bool {
        match self {
            Self::Url => reqwest::Url::parse(value).is_ok_and(|url| url.has_host()),
            Self::Port => digits(value) && value.parse::<u16>().is_ok_and(|port| port > 0),
            Self::Email => value.rsplit_once('@').is_some_and(|(local, host)| {
                let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '@';
                (1..=64).contains(&local.len())
                    && local.chars().all(plain)
                    && host.contains('.')
                    && is_hostname(host)
            }),
            Self::Boolean => matches!(value, "true" | "false" | "1" | "0"),
            Self::Integer => {
                digits(value.strip_prefix(['-', '+']).unwrap_or(value)) && value.parse::<i64>().is_ok()
            }
            Self::Hostname => is_hostname(value),
            Self::Ip => value.parse::<IpAddr>().is_ok(),
        }
    }

    /// What a value must be, for texts.
    fn expected(self) -> &'static str {
        match self {
            Self::Url => "an address such as https://example.com/x",
            Self::Port => "a port from 1 to 65535",
            Self::Email => "an e-mail address",
            Self::Boolean => "one of true, false, 1, 0",
            Self::Integer => "a whole number",
            Self::Hostname => "a host's name",
            Self::Ip => "an IP address",
        }
    }
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// RFC 1123: labels of letters, digits and inner dashes.
fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// Reads `envSchema`. Everything that is wrong with it is said at once.
pub(crate) fn read(schema: &[(String, Value)]) -> Result<Vec<Declared>> {
    let mut wrong = Vec::new();
    let declared = schema.iter().map(|(name, rules)| Declared::read(name, rules, &mut wrong)).collect();
    if wrong.is_empty() {
        return Ok(declared);
    }
    Err(Error::failure(format!("`envSchema` in lpm.json: {}", wrong.join("; "))))
}

impl Declared {
    fn read(name: &str, rules: &Value, wrong: &mut Vec<String>) -> Self {
        let mut note = |what: String| wrong.push(format!("`{}` {what}", printable(name)));
        if !dotenv::is_name(name) {
            note("is no name of a variable".to_owned());
        }
        if rules.as_object().is_none() {
            note(format!("must be an object, not {}", rules.type_name()));
        }
        // The published client writes null for what is not set.
        let rule = |field: &str| rules.get(field).filter(|value| !value.is_null());
        let mut flag = |field: &str| match rule(field) {
            None => false,
            Some(value) => value.as_bool().unwrap_or_else(|| {
                note(format!("has a `{field}` that is {}, not true or false", value.type_name()));
                false
            }),
        };
        let (required, secret, client) = (flag("required"), flag("secret"), flag("client"));
        let mut text = |field: &str| {
            let value = rule(field)?;
            if value.as_str().is_none() {
                note(format!("has a `{field}` that is {}, not a string", value.type_name()));
            }
            value.as_str().map(str::to_owned)
        };
        let (format, pattern_text) = (text("format"), text("pattern"));
        let (default, description) = (text("default"), text("description"));
        let form = format.as_deref().and_then(Form::parse);
        if form.is_none()
            && let Some(format) = &format
        {
            let known = Form::ALL.map(|(name, _)| name).join(", ");
            note(format!("has the unknown format `{}`; there are {known}", printable(format)));
        }
        let pattern = pattern_text.as_deref().and_then(|text| {
            let built = RegexBuilder::new(text).size_limit(PATTERN_SIZE).build();
            built.map_err(|_| note("has a pattern that is no regular expression here (look-around and back-references are not supported)".to_owned())).ok()
        });
        let allowed = match rule("enum") {
            None => Vec::new(),
            Some(list) => {
                let texts =
                    list.as_array().map(|items| items.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
                match texts.flatten() {
                    Some(texts) if !texts.is_empty() => texts.into_iter().map(str::to_owned).collect(),
                    _ => {
                        note("has an `enum` that is not a list of strings".to_owned());
                        Vec::new()
                    }
                }
            }
        };
        if secret && client {
            note("is both `secret` and `client`: what browsers get is no secret".to_owned());
        }
        let (name, format) = (name.to_owned(), form);
        let declared = Self {
            name,
            required,
            format,
            pattern,
            pattern_text,
            allowed,
            default,
            secret,
            client,
            description,
        };
        if let Some(broken) = declared.default.as_deref().and_then(|default| declared.broken_by(default)) {
            note(format!("has a default that {broken}"));
        }
        declared
    }

    /// The rule that a value breaks, in words that do not show it.
    fn broken_by(&self, value: &str) -> Option<String> {
        if let Some(form) = self.format.filter(|form| !form.holds(value)) {
            return Some(format!("is not {} (format {})", form.expected(), form.as_str()));
        }
        if !self.allowed.is_empty() && !self.allowed.iter().any(|allowed| allowed == value) {
            return Some(format!("is none of {}", printable(&self.allowed.join(", "))));
        }
        if self.pattern.as_ref().is_some_and(|pattern| !pattern.is_match(value)) {
            let pattern = self.pattern_text.as_deref().unwrap_or_default();
            return Some(format!("does not match the pattern `{}`", printable(pattern)));
        }
        None
    }

    /// What is wrong with this variable in an environment.
    pub(crate) fn violation(&self, vars: &Vars) -> Option<String> {
        match vars.get(&self.name).map(Text::expose).filter(|value| !value.is_empty()) {
            None if self.required && self.default.is_none() => Some("is required and not set".to_owned()),
            None => None,
            Some(value) => self.broken_by(value),
        }
    }

    /// Its lines in a `.env.example`: what is known of it, then an assignment without anything secret.
    pub(crate) fn example(&self) -> String {
        let mut lines = Vec::new();
        lines.extend(
            self.description
                .iter()
                .flat_map(|text| text.lines())
                .map(|line| format!("# {}", printable(line))),
        );
        let mut rules = vec![if self.required { "required" } else { "optional" }.to_owned()];
        rules.extend(self.secret.then(|| "secret".to_owned()));
        rules.extend(self.client.then(|| "reaches browsers".to_owned()));
        rules.extend(self.format.map(|form| form.as_str().to_owned()));
        if !self.allowed.is_empty() {
            rules.push(format!("one of {}", printable(&self.allowed.join(", "))));
        }
        rules.extend(self.pattern_text.iter().map(|pattern| format!("matches {}", printable(pattern))));
        lines.push(format!("# {}", rules.join("; ")));
        let default = self.default.as_deref().filter(|_| !self.secret).unwrap_or_default();
        let value = Vars::from([(self.name.clone(), Text::from(default))]);
        let rendered = dotenv::render(dotenv::Format::Dotenv, "", &value, "");
        let assignment = rendered.ok().and_then(|text| {
            text.expose_str()?.lines().find(|line| line.starts_with(&self.name)).map(str::to_owned)
        });
        // A default that no line of a .env file can hold stays out of it.
        lines.push(assignment.unwrap_or_else(|| format!("{}=", self.name)));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lpm_core::json::{self, Limits};

    fn schema(text: &str) -> Result<Vec<Declared>> {
        let value = json::parse(text.as_bytes(), &Limits::BODY).expect("JSON");
        read(value.as_object().expect("an object"))
    }

    fn only(rules: &str) -> Declared {
        schema(&format!(r#"{{"A":{rules}}}"#)).expect("a schema").remove(0)
    }

    fn with(value: &str) -> Vars {
        Vars::from([("A".to_owned(), Text::from(value))])
    }

    #[test]
    fn each_form_holds_for_its_own_values_only() {
        for (form, good, bad) in [
            (
                "url",
                &["https://a.example/x?y", "postgres://u:p@db:5432/x"][..],
                &["a.example", "mailto:a@b.c", "/x", "https://"][..],
            ),
            ("port", &["1", "65535", "080"], &["0", "65536", "-1", "+80", "80 ", "http"]),
            (
                "email",
                &["a@b.example", "a.b+c@d-e.example"],
                &["a", "@b.example", "a@", "a@b", "a b@c.example", "a@b@c.example", "a@-b.example"],
            ),
            ("boolean", &["true", "false", "1", "0"], &["TRUE", "yes", "2", " true"]),
            (
                "integer",
                &["0", "-12", "+7", "9223372036854775807"],
                &["1.5", "1e3", "--1", "-", "9223372036854775808", "0x1"],
            ),
            (
                "hostname",
                &["localhost", "a-b.example", "1.example"],
                &["a_b", "-a", "a-", "a..b", "a.", "a b", "https://a"],
            ),
            ("ip", &["127.0.0.1", "::1"], &["127.0.0.256", "localhost", "127.1", "[::1]"]),
        ] {
            let declared = only(&format!(r#"{{"format":"{form}"}}"#));
            for value in good {
                assert_eq!(declared.violation(&with(value)), None, "{form}: {value}");
            }
            for value in bad {
                let said = declared.violation(&with(value)).unwrap_or_else(|| panic!("{form}: {value}"));
                assert!(said.contains(&format!("(format {form})")), "{said}");
            }
        }
    }

    #[test]
    fn what_is_required_is_set_or_has_a_default() {
        assert!(only(r#"{"required":true}"#).violation(&Vars::new()).is_some());
        assert!(only(r#"{"required":true}"#).violation(&with("")).is_some(), "empty is absent");
        assert_eq!(only(r#"{"required":true,"default":"x"}"#).violation(&Vars::new()), None);
        assert_eq!(
            only(r#"{"required":null,"format":null,"pattern":null,"enum":null,"default":null}"#)
                .violation(&Vars::new()),
            None
        );
        assert_eq!(only(r#"{"format":"port"}"#).violation(&with("")), None, "and breaks no other rule");
    }

    #[test]
    fn a_violation_names_the_rule_and_never_the_value() {
        for (rules, value) in [
            (r#"{"format":"port"}"#, "s3cret"),
            (r#"{"enum":["debug","info"]}"#, "s3cret"),
            (r#"{"pattern":"^sk-[a-z]+$"}"#, "s3cret"),
        ] {
            let said = only(rules).violation(&with(value)).expect("it is wrong");
            assert!(!said.contains("s3cret"), "{said}");
        }
        assert_eq!(only(r#"{"pattern":"^sk-[a-z]+$"}"#).violation(&with("sk-live")), None);
        assert_eq!(
            only(r#"{"pattern":"live"}"#).violation(&with("sk-live")),
            None,
            "a pattern is not anchored"
        );
        assert_eq!(only(r#"{"enum":["debug","info"]}"#).violation(&with("info")), None);
    }

    #[test]
    fn everything_that_is_wrong_with_a_schema_is_said_at_once() {
        let error = schema(
            r#"{"A":"x","B-C":{},"D":{"required":"yes"},"E":{"format":"uuid"},"F":{"pattern":"("},"G":{"pattern":"(?=x)"},
                "H":{"enum":"x"},"I":{"enum":[1]},"J":{"secret":true,"client":true},"K":{"default":"x","format":"port"},"L":{"description":1}}"#,
        );
        let said = error.err().expect("it is refused").lines().join("; ");
        for part in [
            "`A` must be an object, not a string",
            "`B-C` is no name of a variable",
            "`D` has a `required` that is a string",
            "`E` has the unknown format `uuid`; there are url, port",
            "`F` has a pattern that is no regular expression here",
            "`G` has a pattern that is no regular expression here",
            "`H` has an `enum` that is not a list of strings",
            "`I` has an `enum` that is not a list of strings",
            "`J` is both `secret` and `client`",
            "`K` has a default that is not a port",
            "`L` has a `description` that is a number",
        ] {
            assert!(said.contains(part), "{part}\n{said}");
        }
    }

    #[test]
    fn a_pattern_that_would_take_all_memory_is_refused() {
        assert!(schema(r#"{"A":{"pattern":"((a{1000}){1000}){1000}"}}"#).is_err());
    }

    #[test]
    fn an_example_tells_the_rules_and_no_secret() {
        let declared = schema(
            r#"{"URL":{"required":true,"format":"url","description":"where\nto","default":"https://a b"},
                "KEY":{"secret":true,"default":"hush"},"LEVEL":{"enum":["debug","info"],"default":"info","client":true},"P":{"pattern":"^x"}}"#,
        );
        // A default that breaks its own rule makes no schema.
        assert!(declared.is_err());
        let declared = schema(
            r#"{"URL":{"required":true,"format":"url","description":"where\nto","default":"https://a.example/?q=1 #x"},
                "KEY":{"secret":true,"default":"hush"},"LEVEL":{"enum":["debug","info"],"default":"info","client":true},"P":{"pattern":"^x"}}"#,
        )
        .expect("a schema");
        let lines: Vec<String> = declared.iter().map(Declared::example).collect();
        assert!(lines[0].starts_with("# where\n# to\n# required; url\nURL="), "{}", lines[0]);
        let parsed = dotenv::parse(lines[0].lines().last().expect("a line")).expect("a .env line");
        assert_eq!(parsed[0].1, "https://a.example/?q=1 #x");
        assert_eq!(lines[1], "# optional; secret\nKEY=");
        assert_eq!(lines[2], "# optional; reaches browsers; one of debug, info\nLEVEL=info");
        assert_eq!(lines[3], "# optional; matches ^x\nP=");
    }
}
