use super::*;
use crate::environment::{Text, Vars};

const DELIMITER: &str = "ghadelimiter_5f0c";

fn vars(pairs: &[(&str, &str)]) -> Vars {
    pairs.iter().map(|&(name, value)| (name.to_owned(), Text::from(value))).collect()
}

fn written(format: Format, pairs: &[(&str, &str)]) -> Result<String, RenderError> {
    let out = render(format, "one\ntwo", &vars(pairs), DELIMITER)?;
    Ok(out.expose_str().expect("it is UTF-8").to_owned())
}

fn read(text: &str) -> Vec<(String, String)> {
    parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn value(text: &str) -> String {
    let mut all = read(text);
    assert_eq!(all.len(), 1, "{text:?}");
    all.remove(0).1
}

/// Values that have broken parsers and quoting before.
const NASTY: &[&str] = &[
    "",
    " ",
    " leading and trailing ",
    "two\nlines",
    "\n",
    "ends\n",
    "cr\rlf\r\nboth",
    "\r",
    "#no comment",
    "a #b",
    "it's",
    "'",
    "''",
    "\"",
    "\"quoted\"",
    "'\"`",
    "`id`",
    "$(id)",
    "$HOME ${HOME}",
    "it's $HOME",
    "\\",
    "\\\\",
    "C:\\new\\table",
    "ends with \\",
    "it's \\ \"all\" `of` $it\r\n",
    "\\'",
    "\\n",
    "a=b=c",
    "export X=1",
    "'; touch /tmp/x; '",
    "'\\''",
    "!history",
    "~",
    "*",
    "%0A%25",
    "é😀\u{2028}",
    "\t",
    "-----BEGIN KEY-----\nAAA=\n-----END KEY-----\n",
    "\u{1b}[31m",
];

// --- reading --------------------------------------------------------------------------------------

#[test]
fn a_file_is_read_in_its_order() {
    let text =
        "\u{FEFF}# comment\n\nA=1\r\n  export B = two words  \nC=\nexport\tD='x' # why\n\tE=\"y\"\t\nA=2";
    let all = read(text);
    let all: Vec<_> = all.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(all, [("A", "1"), ("B", "two words"), ("C", ""), ("D", "x"), ("E", "y"), ("A", "2")]);
}

#[test]
fn bare_values_end_at_a_comment_after_a_blank() {
    assert_eq!(value("A=b#c # d"), "b#c");
    assert_eq!(value("A= # d"), "");
    assert_eq!(value("A=#d"), "");
    assert_eq!(value("A=é #d"), "é");
    assert_eq!(value("A=it's \"fine\""), "it's \"fine\"");
    assert_eq!(value("A=b\\nc$D"), "b\\nc$D");
}

#[test]
fn single_quotes_are_literal() {
    assert_eq!(value(r"A='a\nb$C#d'"), r"a\nb$C#d");
    assert_eq!(value("A='x\n# y\n\nz'"), "x\n# y\n\nz");
    assert_eq!(value("A=`it's \"x\"`"), "it's \"x\"");
    assert_eq!(value("A=''"), "");
}

#[test]
fn double_quotes_know_escapes() {
    assert_eq!(value(r#"A="a\nb\rc\td\\e\"f\'g\$h\`i""#), "a\nb\rc\td\\e\"f'g$h`i");
    assert_eq!(value(r#"A="\d+ \é""#), r"\d+ \é");
    assert_eq!(value("A=\"x\r\ny\"\r\n"), "x\ny");
    assert_eq!(value("A=\"$B ${C}\""), "$B ${C}");
}

#[test]
fn a_name_may_begin_like_the_word_export() {
    assert_eq!(read("exported=1")[0].0, "exported");
    assert_eq!(read("export=1")[0].0, "export");
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    let no_name = "what is before `=` is no name: letters, digits and `_`, no digit first";
    for (text, line, reason) in [
        ("A=1\nhush\n", 2, "there is no `=`"),
        ("A=1\n\nexport A", 3, "there is no `=`"),
        ("1A=x", 1, no_name),
        ("A-B=x", 1, no_name),
        ("A B=x", 1, no_name),
        ("export export A=x", 1, no_name),
        ("export export\tA=x", 1, no_name),
        ("=x", 1, no_name),
        ("É=x", 1, no_name),
        ("A='x\ny\n", 1, "the quotes are not closed"),
        ("B=1\nA=\"x\\", 2, "the quotes are not closed"),
        ("A=\"x\\\"", 1, "the quotes are not closed"),
        ("A='", 1, "the quotes are not closed"),
        ("A='x'y", 1, "something follows the closing quote"),
        ("A='x\ny' z", 2, "something follows the closing quote"),
        ("A=\"x\"\"y\"", 1, "something follows the closing quote"),
    ] {
        assert_eq!(parse(text), Err(DotenvError { line, reason }), "{text:?}");
    }
}

// --- writing --------------------------------------------------------------------------------------

#[test]
fn every_value_survives_a_dotenv_file() {
    for &nasty in NASTY {
        let text = written(Format::Dotenv, &[("A", "before"), ("B", nasty), ("C", "after")])
            .expect("it can be written");
        let all = read(&text);
        assert_eq!(all.len(), 3, "{text:?}");
        assert_eq!(all[1], ("B".to_owned(), nasty.to_owned()), "{text:?}");
        assert_eq!(all[2].1, "after");
    }
}

#[test]
fn a_dotenv_file_is_sorted_and_has_its_header() {
    let text = written(Format::Dotenv, &[("Z", "1"), ("A", "two words"), ("M", "it's $5"), ("N", "a\"b")])
        .expect("written");
    assert_eq!(text, "# one\n# two\nA=\"two words\"\nM=\"it's \\$5\"\nN='a\"b'\nZ=1\n");
    assert_eq!(written(Format::Dotenv, &[]).expect("written"), "# one\n# two\n");
}

#[test]
fn a_shell_reads_back_every_value() {
    for &nasty in NASTY {
        let text = written(Format::Shell, &[("B", nasty)]).expect("it can be written");
        let script = "eval \"$1\"; printf %s \"$B\"";
        let output = std::process::Command::new("sh")
            .args(["-c", script, "sh", &text])
            .env_clear()
            .output()
            .expect("there is a shell");
        assert!(output.status.success() && output.stderr.is_empty(), "{text:?}");
        assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), nasty, "{text:?}");
    }
}

#[test]
fn json_is_an_object_of_strings() {
    let pairs: Vec<(String, &str)> = NASTY.iter().enumerate().map(|(i, &v)| (format!("V{i}"), v)).collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let text = written(Format::Json, &pairs).expect("it can be written");
    let back: std::collections::BTreeMap<String, String> = serde_json::from_str(&text).expect("it is JSON");
    assert!(pairs.iter().all(|(name, value)| back[*name] == *value));
    assert_eq!(written(Format::Json, &[]).expect("written"), "{}\n");
    assert_eq!(
        written(Format::Json, &[("not a name", "\0")]).expect("written"),
        "{\n  \"not a name\": \"\\u0000\"\n}\n"
    );
}

#[test]
fn docker_takes_values_as_they_are() {
    assert_eq!(
        written(Format::Docker, &[("A", " it's \"x\" #y$Z ")]).expect("written"),
        "A= it's \"x\" #y$Z \n"
    );
}

#[test]
fn docker_cannot_carry_line_breaks() {
    for value in ["a\nb", "a\rb", "\n"] {
        let error = written(Format::Docker, &[("A", value)]).expect_err("there is no way to write it");
        assert_eq!(
            error.to_string(),
            "the value of `A` has a line break, which the format `docker` cannot carry"
        );
    }
}

#[test]
fn github_values_end_at_their_delimiter() {
    let text = written(Format::Github, &[("A", "x\ny"), ("B", "")]).expect("it can be written");
    assert_eq!(text, format!("A<<{DELIMITER}\nx\ny\n{DELIMITER}\nB<<{DELIMITER}\n\n{DELIMITER}\n"));
}

#[test]
fn github_values_cannot_end_early() {
    for value in [format!("x\n{DELIMITER}\nPATH=/tmp"), DELIMITER.to_owned()] {
        let error = written(Format::Github, &[("A", &value)]).expect_err("it would end the value");
        assert_eq!(
            error.to_string(),
            "the value of `A` has the delimiter, which the format `github` cannot carry"
        );
    }
    assert!(written(Format::Github, &[("A", "x\r")]).is_err());
}

#[test]
fn a_nul_character_is_refused_everywhere_but_in_json() {
    for format in [Format::Dotenv, Format::Shell, Format::Docker, Format::Github] {
        assert!(matches!(
            written(format, &[("A", "x\0y")]),
            Err(RenderError::Value { what: "a NUL character", .. })
        ));
    }
}

#[test]
fn a_name_that_is_none_is_refused_everywhere_but_in_json() {
    for name in ["", "A B", "A-B", "1A", "A=B", "A\nB", "$(id)", "É", "A;id"] {
        for format in [Format::Dotenv, Format::Shell, Format::Docker, Format::Github] {
            assert!(matches!(written(format, &[(name, "hush")]), Err(RenderError::Name(_))), "{name:?}");
        }
    }
}

#[test]
fn a_header_cannot_become_a_variable() {
    let text = render(Format::Dotenv, "a\nB=1\r\nC=2\rD=3", &vars(&[]), DELIMITER).expect("written");
    assert_eq!(text.expose_str(), Some("# a\n# B=1\n# C=2\n# D=3\n"));
}

#[test]
fn formats_are_known_by_name() {
    for (name, format) in Format::ALL {
        assert_eq!(name.parse(), Ok(format));
    }
    assert_eq!(
        "yaml".parse::<Format>(),
        Err("must be one of dotenv, shell, json, docker, github".to_owned())
    );
}

// --- names ----------------------------------------------------------------------------------------

#[test]
fn names_that_hijack_a_process_are_known() {
    for name in [
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "DYLD_INSERT_LIBRARIES",
        "BASH_ENV",
        "ENV",
        "NODE_OPTIONS",
        "PATH",
        "GITHUB_ENV",
        "GITHUB_PATH",
        "RUNNER_TEMP",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "PERL5OPT",
        "RUBYOPT",
        "JAVA_TOOL_OPTIONS",
        "IFS",
        "PS4",
        "SHELLOPTS",
        "BASHOPTS",
        "GIT_SSH_COMMAND",
        "BASH_FUNC_ls",
        "npm_config_registry",
        "https_proxy",
        "HTTPS_PROXY",
        "LPM_REGISTRY_URL",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "ld_preload",
        "Path",
    ] {
        assert!(hijacks_process(name), "{name}");
    }
}

#[test]
fn names_that_make_a_tool_run_something_are_known() {
    for (tool, names) in [
        ("tar", &["TAR_OPTIONS"][..]),
        ("gcc", &["GCC_EXEC_PREFIX", "COMPILER_PATH", "LIBRARY_PATH", "CPATH", "C_INCLUDE_PATH"]),
        ("g++", &["CPLUS_INCLUDE_PATH"]),
        ("javac", &["JDK_JAVAC_OPTIONS"]),
        ("go", &["GOAUTH", "GOCACHEPROG"]),
        ("aws", &["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"]),
        ("bash", &["BASH_LOADABLES_PATH", "BASH_ENV", "BASH_FUNC_ls%%"]),
        ("python", &["PYTHONPYCACHEPREFIX"]),
        ("psql", &["PSQLRC", "PSQL_EDITOR", "PSQL_PAGER"]),
        ("rsync", &["RSYNC_RSH", "RSYNC_CONNECT_PROG"]),
        ("svn", &["SVN_SSH", "SVN_EDITOR"]),
        ("vim", &["VIMINIT", "GVIMINIT", "EXINIT"]),
        ("whoever reads ~/.config", &["XDG_CONFIG_HOME", "XDG_CONFIG_DIRS", "XDG_DATA_DIRS"]),
        ("kerberos", &["KRB5_CONFIG"]),
        ("odbc", &["ODBCSYSINI", "ODBCINI", "ODBCINSTINI"]),
        ("ansible", &["ANSIBLE_CONFIG", "ANSIBLE_LIBRARY", "ANSIBLE_SSH_EXECUTABLE"]),
        ("terraform", &["TF_CLI_ARGS", "TF_CLI_ARGS_apply", "TF_CLI_CONFIG_FILE"]),
        ("helm", &["HELM_PLUGINS", "HELM_REPOSITORY_CONFIG"]),
        ("corepack", &["COREPACK_NPM_REGISTRY", "COREPACK_HOME"]),
        ("nuget", &["NUGET_PLUGIN_PATHS", "NUGET_PACKAGES", "NUGET_CREDENTIALPROVIDERS_PATH"]),
        ("dotnet", &["DOTNET_ADDITIONAL_DEPS", "DOTNET_STARTUP_HOOKS", "DOTNET_ROOT", "DOTNET_ROOT_X64"]),
        ("dotnet before 6", &["COMPlus_AltJitName"]),
        ("msbuild", &["MSBuildSDKsPath", "MSBUILD_EXE_PATH"]),
        ("cmake", &["CMAKE_TOOLCHAIN_FILE", "CMAKE_C_COMPILER_LAUNCHER"]),
        ("gpg", &["GNUPGHOME"]),
    ] {
        for name in names {
            assert!(hijacks_process(name), "{tool}: {name}");
            assert!(hijacks_process(&name.to_ascii_lowercase()), "{tool}: {name} in lower case");
        }
    }
}

#[test]
fn ordinary_names_are_free() {
    for name in [
        "API_KEY",
        "DATABASE_URL",
        "DB_HOST",
        "PORT",
        "NODE_ENV",
        "AWS_SECRET_ACCESS_KEY",
        "STRIPE_KEY",
        "PATHS",
        "APP_ENV",
        "ENVIRONMENT",
        "LDAP_URL",
        "GITHUBTOKEN",
        "NPM_TOKEN",
        "CIPHER_KEY",
        "DIGIT_KEY",
        "DEBUG",
        // Beside the names of tools.
        "RSYNC_PASSWORD",
        "SVN_PASSWORD",
        "AWS_PROFILE",
        "AWS_REGION",
        "TF_VAR_region",
        "TF_TOKEN_example_com",
        "PGPASSWORD",
        "PYTHONUNBUFFERED",
        "KRB5CCNAME",
        "ODBC_DSN",
        "VIMEO_TOKEN",
        "GNUPG_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "GCC_COLORS",
        "HELMET_KEY",
        "BASHFUL_KEY",
        "XDGX",
        "CMAKER_KEY",
        "CPATHS",
    ] {
        assert!(!hijacks_process(name), "{name}");
    }
}
