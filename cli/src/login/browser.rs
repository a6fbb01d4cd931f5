//! Opens the user's browser.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Opens the address in the user's browser. `false`: there is none here, or it would be in the terminal.
pub(crate) fn open(address: &str) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let program = if cfg!(target_os = "macos") {
        "open"
    } else if set("DISPLAY") || set("WAYLAND_DISPLAY") {
        "xdg-open"
    } else {
        return false;
    };
    let mut command = Command::new(program);
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // A browser stays open for days, and so does its environment.
    for name in ["LPM_TOKEN", "LPM_OIDC_TOKEN", "LPM_GITLAB_OIDC_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"] {
        command.env_remove(name);
    }
    // In a group of its own: Ctrl-C ends the command line, not the browser.
    command.process_group(0).spawn().is_ok()
}
