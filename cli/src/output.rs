//! Where results go: data to standard output, everything said to people to standard error.

use crate::args::OutputArgs;
use crate::error::{Error, Result};
use crate::files;
use lpm_core::dotenv::{self, Format};
use lpm_core::environment::{Text, Vars};
use lpm_core::failure::presentable;
use lpm_core::secret::Secret;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Says something to people.
pub(crate) fn note(text: impl AsRef<str>) {
    // Nobody to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "lpm: {}", text.as_ref());
}

/// Warns people.
pub(crate) fn warn(text: impl AsRef<str>) {
    note(format!("warning: {}", text.as_ref()));
}

/// Writes data; a reader that has gone away (`| head`) has had enough, and that is fine.
pub(crate) fn data(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Error::failure(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes one line of data.
pub(crate) fn line(text: impl AsRef<str>) -> Result<()> {
    data(format!("{}\n", text.as_ref()).as_bytes())
}

/// Writes one JSON document.
pub(crate) fn json(value: &serde_json::Value) -> Result<()> {
    line(serde_json::to_string_pretty(value).map_err(|error| Error::failure(error.to_string()))?)
}

/// Text of somebody else's, safe to show: control characters escaped, however long it is.
pub(crate) fn printable(text: &str) -> String {
    let mut buffer = [0; 4];
    // One character at a time, because `presentable` cuts what is long.
    text.chars().map(|c| presentable(c.encode_utf8(&mut buffer))).collect()
}

/// Where variables go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Standard output.
    Stdout,
    /// This file, replaced in one step.
    File(PathBuf),
    /// The file of `$GITHUB_ENV`, at its end.
    GithubEnv,
    /// Standard output, as one JSON document with the environment's name.
    Document,
}

/// Where variables go, in which form, and what is refused on the way.
pub(crate) struct Sink {
    target: Target,
    format: Format,
    enters_process: bool,
    allowed_names: Vec<String>,
    json: bool,
}

impl Sink {
    /// What `--output`, `--format`, `--allow-name` and `--json` ask for. Refused here, before anything is
    /// pulled, is what could only fail afterwards.
    pub(crate) fn new(args: &OutputArgs, json: bool) -> Result<Self> {
        let sink = Self::asked(args, json);
        if json && sink.target == Target::Stdout {
            return Err(Error::usage("`--json` and another form cannot both go to standard output")
                .hint("leave out `--output` and `--format`, or write to a file"));
        }
        if sink.target == Target::GithubEnv && github_env().is_none() {
            return Err(Error::usage("GITHUB_ENV is not set, so there is nothing to append to")
                .hint("outside of a GitHub job use `--output=FILE`"));
        }
        Ok(sink)
    }

    fn asked(args: &OutputArgs, json: bool) -> Self {
        let output = args.output.as_deref().filter(|output| !output.is_empty());
        let format = args.format.unwrap_or(if output == Some("-") { Format::Shell } else { Format::Dotenv });
        let target = match output {
            Some("-") => Target::Stdout,
            Some(file) => Target::File(file.into()),
            None if format == Format::Github => Target::GithubEnv,
            None if json && args.format.is_none() => Target::Document,
            None => Target::Stdout,
        };
        let enters_process = output == Some("-") || format.enters_process();
        Self { target, format, enters_process, allowed_names: args.allow_name.allow_name.clone(), json }
    }

    /// Writes the variables of an environment, or nothing. `origin` is the second line of a `.env` file.
    pub(crate) fn write(&self, environment: &str, origin: &str, vars: &Vars) -> Result<()> {
        if self.enters_process {
            refuse_hijacking(vars, &self.allowed_names)?;
        }
        if self.target == Target::Document {
            mask(vars);
            return data(vars_json(environment, vars)?.expose());
        }
        let header = format!("LPM vault secrets (env: {})\n{origin}", presentable(environment));
        let delimiter = format!("lpm_{}", uuid::Uuid::new_v4().simple());
        let rendered = dotenv::render(self.format, &header, vars, &delimiter).map_err(|error| {
            Error::failure(error.to_string()).hint("`--format=json` carries every name and value")
        })?;
        mask(vars);
        let file = match &self.target {
            Target::Stdout | Target::Document => return data(rendered.expose()),
            Target::File(path) => {
                files::write(path, rendered.expose(), files::PRIVATE)?;
                path.display().to_string()
            }
            Target::GithubEnv => {
                files::append(&github_env().unwrap_or_default(), rendered.expose())?;
                "$GITHUB_ENV".to_owned()
            }
        };
        let count = vars.len();
        if self.json {
            json(&serde_json::json!({ "success": true, "env": environment, "count": count, "output": file }))
        } else {
            note(format!("wrote {} of `{}` to `{file}`", variables(count), presentable(environment)));
            Ok(())
        }
    }
}

/// The file that GitHub's runner reads variables from.
fn github_env() -> Option<PathBuf> {
    std::env::var_os("GITHUB_ENV").filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// `1 variable`, `2 variables`.
pub(crate) fn variables(count: usize) -> String {
    if count == 1 { "1 variable".to_owned() } else { format!("{count} variables") }
}

/// Refuses names that take over the process that gets them, except those that the caller lists.
pub(crate) fn refuse_hijacking(vars: &Vars, allowed: &[String]) -> Result<()> {
    let refused: Vec<&str> = vars
        .keys()
        .map(String::as_str)
        .filter(|name| dotenv::hijacks_process(name) && !allowed.iter().any(|listed| listed == name))
        .collect();
    if refused.is_empty() {
        return Ok(());
    }
    let names = refused.join(",");
    Err(Error::failure(format!(
        "refused to let `{}` into a process: such a name takes it over",
        presentable(&names)
    ))
    .hint(format!("if that is what you want: `--allow-name={}`", presentable(&names))))
}

/// Under GitHub Actions: tells the runner to hide every value, and each line of one, in all logs.
pub(crate) fn mask(vars: &Vars) {
    if std::env::var("GITHUB_ACTIONS").is_ok_and(|value| value == "true") {
        let commands = Zeroizing::new(vars.values().flat_map(masks).collect::<String>());
        let _ = std::io::stderr().write_all(commands.as_bytes());
    }
}

/// The runner's commands for one value. Blank ones would hide every blank of the log.
fn masks(value: &Text) -> impl Iterator<Item = String> {
    let value = value.expose();
    let lines = value.lines().filter(move |line| *line != value);
    std::iter::once(value).chain(lines).filter(|text| !text.trim().is_empty()).map(|text| {
        let escaped = text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
        format!("::add-mask::{escaped}\n")
    })
}

/// `{"env", "vars", "count"}`, without a copy of the values that outlives it.
pub(crate) fn vars_json(environment: &str, vars: &Vars) -> Result<Secret> {
    let object =
        dotenv::render(Format::Json, "", vars, "").map_err(|error| Error::failure(error.to_string()))?;
    let name = serde_json::Value::from(environment).to_string();
    let count = vars.len().to_string();
    let parts = [
        b"{\"env\": " as &[u8],
        name.as_bytes(),
        b", \"vars\": ",
        object.expose().trim_ascii_end(),
        b", \"count\": ",
        count.as_bytes(),
        b"}\n",
    ];
    Ok(Secret::new(parts.concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::AllowNameArg;

    fn vars(pairs: &[(&str, &str)]) -> Vars {
        pairs.iter().map(|&(name, value)| (name.to_owned(), Text::from(value))).collect()
    }

    fn sink(output: Option<&str>, format: Option<Format>) -> Sink {
        let allow_name = AllowNameArg { allow_name: vec!["PATH".into()] };
        Sink::asked(&OutputArgs { output: output.map(str::to_owned), format, allow_name }, false)
    }

    #[test]
    fn the_form_follows_from_where_it_goes() {
        for (output, format, target, expected, enters) in [
            (None, None, Target::Stdout, Format::Dotenv, false),
            (Some(""), None, Target::Stdout, Format::Dotenv, false),
            (Some("-"), None, Target::Stdout, Format::Shell, true),
            (Some("-"), Some(Format::Dotenv), Target::Stdout, Format::Dotenv, true),
            (Some("x"), None, Target::File("x".into()), Format::Dotenv, false),
            (Some("x"), Some(Format::Github), Target::File("x".into()), Format::Github, true),
            (None, Some(Format::Github), Target::GithubEnv, Format::Github, true),
            (None, Some(Format::Shell), Target::Stdout, Format::Shell, true),
            (None, Some(Format::Json), Target::Stdout, Format::Json, false),
        ] {
            let sink = sink(output, format);
            assert_eq!(
                (sink.target, sink.format, sink.enters_process),
                (target, expected, enters),
                "{output:?}"
            );
        }
    }

    #[test]
    fn json_goes_to_standard_output_alone() {
        let args = |output: Option<&str>, format| {
            let allow_name = AllowNameArg { allow_name: vec![] };
            OutputArgs { output: output.map(str::to_owned), format, allow_name }
        };
        assert_eq!(Sink::new(&args(None, None), true).expect("fine").target, Target::Document);
        assert!(Sink::new(&args(Some("x"), None), true).is_ok());
        for (output, format) in [(Some("-"), None), (None, Some(Format::Dotenv)), (None, Some(Format::Json))]
        {
            assert_eq!(Sink::new(&args(output, format), true).err().map(|error| error.exit_code()), Some(2));
        }
    }

    #[test]
    fn hijacking_names_are_refused_together_unless_listed() {
        let vars =
            vars(&[("API_KEY", "x"), ("LD_PRELOAD", "hush"), ("NODE_OPTIONS", "hush"), ("PATH", "hush")]);
        let error = refuse_hijacking(&vars, &["PATH".into()]).expect_err("two are not listed");
        let said = error.lines().join("\n");
        assert!(
            said.contains("`LD_PRELOAD,NODE_OPTIONS`")
                && said.contains("--allow-name=LD_PRELOAD,NODE_OPTIONS"),
            "{said}"
        );
        assert!(!said.contains("hush"));
        let all = ["PATH", "LD_PRELOAD", "NODE_OPTIONS"].map(str::to_owned);
        assert!(refuse_hijacking(&vars, &all).is_ok());
        assert!(refuse_hijacking(&vars, &["path".into(), "LD_*".into()]).is_err());
    }

    #[test]
    fn every_value_and_each_of_its_lines_is_masked() {
        let of = |value: &str| masks(&Text::from(value)).collect::<Vec<_>>();
        assert_eq!(of("s3cret"), ["::add-mask::s3cret\n"]);
        assert_eq!(of("50%\r"), ["::add-mask::50%25%0D\n"]);
        assert_eq!(
            of("line one\n\n  \nline%two\r\n"),
            [
                "::add-mask::line one%0A%0A  %0Aline%25two%0D%0A\n",
                "::add-mask::line one\n",
                "::add-mask::line%25two\n"
            ]
        );
        assert_eq!(
            of("::add-mask::x\n::set-env::y"),
            [
                "::add-mask::::add-mask::x%0A::set-env::y\n",
                "::add-mask::::add-mask::x\n",
                "::add-mask::::set-env::y\n"
            ]
        );
        assert!(of("").is_empty() && of(" \n\t").is_empty());
    }

    #[test]
    fn the_json_document_has_name_variables_and_count() {
        let text = vars_json("a\"b", &vars(&[("A", "x\ny"), ("B", "")])).expect("it can be written");
        let value: serde_json::Value = serde_json::from_slice(text.expose()).expect("it is JSON");
        assert_eq!(value, serde_json::json!({"env": "a\"b", "vars": {"A": "x\ny", "B": ""}, "count": 2}));
    }

    #[test]
    fn a_servers_text_cannot_move_the_cursor() {
        let long = "é".repeat(500);
        assert_eq!(printable(&long), long);
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\\u{1b}[2Jb\\u{a}c");
    }
}
