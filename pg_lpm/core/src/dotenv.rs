//! `.env` files and the other forms in which variables leave the command line.
//!
//! [`parse()`] reads what people write, [`render()`] writes what others read: a `.env` file, shell exports,
//! JSON, Docker's `--env-file`, GitHub's `$GITHUB_ENV`. A value is data in every form: nothing in it can
//! end its own quotes, start a new variable or be expanded. Errors name a line or a variable, never a value.

mod parse;
mod render;

pub use parse::{DotenvError, parse};
pub use render::{Format, RenderError, render};

/// Whether `name` can be an environment variable that every tool agrees on: `[A-Za-z_][A-Za-z0-9_]*`.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Prefixes of names that decide what code a process runs, or speak for the CI system.
const HIJACKING_PREFIXES: &[&str] = &[
    // Dynamic linkers, and the allocator and loader switches of the C library.
    "LD_",
    "DYLD_",
    "GLIBC_",
    "MALLOC_",
    "_RLD",
    "LIBPATH",
    "SHLIB_PATH",
    // git runs programs that these name (GIT_SSH_COMMAND, GIT_EXTERNAL_DIFF, GIT_CONFIG_…).
    "GIT_",
    // Exported shell functions, start-up files, loadable builtins.
    "BASH_",
    // Package managers read their whole configuration from these: registries, scripts, indexes.
    "NPM_CONFIG_",
    "YARN_",
    "PNPM_",
    "PIP_",
    "UV_",
    "BUNDLE_",
    "CARGO_",
    "RUSTUP_",
    "COMPOSER_",
    "COREPACK_",
    "NUGET_",
    "NIX_",
    // Runtimes and builds: assemblies, hooks, targets and compilers from anywhere (COMPlus_ is the old DOTNET_).
    "DOTNET_",
    "COMPLUS_",
    "MSBUILD",
    "CMAKE_",
    // Deployment: plugins, connection commands, credential helpers.
    "ANSIBLE_",
    "TF_CLI_",
    "HELM_",
    // psql runs what its start-up file, editor and pager say.
    "PSQL",
    // Where programs look for their configuration: git, npm, pip, editors.
    "XDG_",
    // The CI system's own words to later steps and to its runner.
    "GITHUB_",
    "RUNNER_",
    "ACTIONS_",
    "CI_",
    // This program's own switches: another gateway, another token.
    "LPM_",
];

/// Names that decide what code a process runs.
const HIJACKING_NAMES: &[&str] = &[
    // Where programs and files are looked for.
    "PATH",
    "PATHEXT",
    "CDPATH",
    "FPATH",
    "HOME",
    "TMPDIR",
    "SHELL",
    "COMSPEC",
    "PWD",
    "ENV",
    "ZDOTDIR",
    // Shells.
    "BASHOPTS",
    "SHELLOPTS",
    "IFS",
    "PS0",
    "PS1",
    "PS2",
    "PS4",
    "PROMPT_COMMAND",
    "GLOBIGNORE",
    "EXECIGNORE",
    "HISTFILE",
    "POSIXLY_CORRECT",
    // Programs that other programs start.
    "EDITOR",
    "VISUAL",
    "PAGER",
    "MANPAGER",
    "LESSOPEN",
    "LESSCLOSE",
    "BROWSER",
    "SSH_ASKPASS",
    "SUDO_ASKPASS",
    "RSYNC_RSH",
    "RSYNC_CONNECT_PROG",
    "SVN_SSH",
    "SVN_EDITOR",
    "TAR_OPTIONS",
    "VIMINIT",
    "GVIMINIT",
    "EXINIT",
    "MAKEFLAGS",
    "MFLAGS",
    "GNUMAKEFLAGS",
    "MAKEFILES",
    "CC",
    "CXX",
    "AR",
    "GCC_EXEC_PREFIX",
    "COMPILER_PATH",
    "LIBRARY_PATH",
    "CPATH",
    "C_INCLUDE_PATH",
    "CPLUS_INCLUDE_PATH",
    "CFLAGS",
    "CXXFLAGS",
    "LDFLAGS",
    "RUSTC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    // Language runtimes.
    "NODE_OPTIONS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "DENO_DIR",
    "BUN_OPTIONS",
    "BUN_INSTALL",
    "ELECTRON_RUN_AS_NODE",
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "PYTHONINSPECT",
    "PYTHONWARNINGS",
    "PYTHONBREAKPOINT",
    "PYTHONEXECUTABLE",
    "PYTHONPLATLIBDIR",
    "PYTHONPYCACHEPREFIX",
    "PERL5LIB",
    "PERLLIB",
    "PERL5OPT",
    "PERL5DB",
    "RUBYOPT",
    "RUBYLIB",
    "GEM_HOME",
    "GEM_PATH",
    "JAVA_TOOL_OPTIONS",
    "_JAVA_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "JDK_JAVAC_OPTIONS",
    "JAVA_OPTS",
    "JAVA_HOME",
    "CLASSPATH",
    "MAVEN_OPTS",
    "MAVEN_ARGS",
    "GRADLE_OPTS",
    "ANT_OPTS",
    "SBT_OPTS",
    "KOTLIN_HOME",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "LUA_PATH",
    "LUA_CPATH",
    "LUA_INIT",
    "R_PROFILE",
    "R_PROFILE_USER",
    "R_ENVIRON",
    "R_ENVIRON_USER",
    "JULIA_LOAD_PATH",
    "ERL_AFLAGS",
    "ERL_FLAGS",
    "ERL_ZFLAGS",
    "ERL_LIBS",
    "GOFLAGS",
    "GOPATH",
    "GOROOT",
    "GOENV",
    "GOPROXY",
    "GOAUTH",
    "GOCACHEPROG",
    "GOTOOLCHAIN",
    "GOTOOLDIR",
    "COR_PROFILER",
    "COR_ENABLE_PROFILING",
    "CORECLR_PROFILER",
    "CORECLR_ENABLE_PROFILING",
    "CORECLR_PROFILER_PATH",
    "PSMODULEPATH",
    // Libraries that load code or trust from a path.
    "GCONV_PATH",
    "LOCPATH",
    "NLSPATH",
    "HOSTALIASES",
    "RESOLV_HOST_CONF",
    "RES_OPTIONS",
    "LOCALDOMAIN",
    "OPENSSL_CONF",
    "OPENSSL_MODULES",
    "OPENSSL_ENGINES",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "KRB5_CONFIG",
    "ODBCSYSINI",
    "ODBCINI",
    "ODBCINSTINI",
    "GIO_EXTRA_MODULES",
    "GTK_MODULES",
    "QT_PLUGIN_PATH",
    "TERMINFO",
    "TERMCAP",
    // Where every request goes.
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "CURL_HOME",
    "WGETRC",
    "DOCKER_HOST",
    "DOCKER_CONFIG",
    "KUBECONFIG",
    // Whose `credential_process`, keys or agents are used.
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "GNUPGHOME",
    "CI",
];

/// Whether a variable of this name takes over the process that gets it, or the CI job around it.
///
/// What goes straight into a process is refused under such a name unless the caller lists it. Case is
/// ignored: npm and proxies read lower-case names as well, and Windows reads all of them so.
#[must_use]
pub fn hijacks_process(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    HIJACKING_NAMES.contains(&name.as_str())
        || HIJACKING_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests;
