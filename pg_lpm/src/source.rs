//! Where escrow keys come from: command, file, or the postmaster's environment; the first that is set.

mod command;

use crate::settings;
use lpm_core::envelope::keyring::{self, EscrowKey};
use lpm_core::secret::Secret;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

const VARIABLE: &std::ffi::CStr = c"VAULT_CI_ESCROW_KEY";
/// More than sixteen keys with the longest ids and comments.
const MAX_SOURCE: u64 = 64 * 1024;
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// The environment variable's value, copied while preloading.
static ENVIRONMENT: Mutex<Option<Secret>> = Mutex::new(None);

/// Copies the variable, wipes it from the process's environment and unsets it, so that neither
/// `/proc/*/environ` nor a child process shows it.
pub(crate) fn take_environment() {
    // SAFETY: the postmaster has one thread while it preloads libraries; the pointer stays valid until
    // unsetenv, and its bytes are ours to overwrite.
    let value = unsafe {
        let found = libc::getenv(VARIABLE.as_ptr());
        if found.is_null() {
            return;
        }
        let bytes = std::slice::from_raw_parts_mut(found.cast::<u8>(), libc::strlen(found));
        let copy = Secret::new(bytes.to_vec());
        bytes.fill(0);
        libc::unsetenv(VARIABLE.as_ptr());
        copy
    };
    wipe_initial_environment();
    if let Ok(mut environment) = ENVIRONMENT.lock() {
        *environment = Some(value);
    }
}

/// Wipes the variable where the kernel put it, which is what `/proc/*/environ` shows: PostgreSQL moves its
/// environment elsewhere at start (`save_ps_display_args`), so `getenv` finds the copy only.
fn wipe_initial_environment() {
    let Some((start, end)) = initial_environment() else {
        pgrx::log!(
            "pg_lpm: cannot find the initial environment to wipe VAULT_CI_ESCROW_KEY from it: prefer pg_lpm.escrow_key_file"
        );
        return;
    };
    // SAFETY: the kernel's own bounds of the block on our stack, which stays mapped and writable for the life of
    // the process; nothing refers to it any more but the process title, which may be cut.
    let block = unsafe {
        std::slice::from_raw_parts_mut(std::ptr::with_exposed_provenance_mut::<u8>(start), end - start)
    };
    for entry in block.split_mut(|byte| *byte == 0) {
        if entry.strip_prefix(VARIABLE.to_bytes()).is_some_and(|rest| rest.first() == Some(&b'=')) {
            entry.fill(0);
        }
    }
}

/// `env_start` and `env_end` of proc(5), fields 50 and 51 of `/proc/self/stat`.
fn initial_environment() -> Option<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // the second field, the program's name, may hold anything; it ends at the last parenthesis
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(47);
    let (start, end) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (0 < start && start < end).then_some((start, end))
}

/// Whether the postmaster's environment is where the keys come from.
pub(crate) fn is_environment() -> bool {
    settings::escrow_key_command().is_none()
        && settings::escrow_key_file().is_none()
        && ENVIRONMENT.lock().is_ok_and(|environment| environment.is_some())
}

/// The keys of the configured source, newest first; an empty list where none is configured. `ending` is asked every
/// second whether to give up.
///
/// # Errors
///
/// What is wrong with the source, for `lpm.health`: names paths and rules, never content.
pub(crate) fn read(data_directory: &Path, ending: &dyn Fn() -> bool) -> Result<Vec<EscrowKey>, String> {
    if let Some(command) = settings::escrow_key_command() {
        let output = command::output(&command, MAX_SOURCE, COMMAND_TIMEOUT, ending)
            .map_err(|problem| format!("escrow_key_command {problem}"))?;
        return keyring::parse_key_lines(&output).map_err(|problem| format!("escrow_key_command: {problem}"));
    }
    if let Some(path) = settings::escrow_key_file() {
        let content = read_file(Path::new(&path), data_directory)
            .map_err(|problem| format!("escrow_key_file \"{path}\" {problem}"))?;
        return keyring::parse_key_lines(&content)
            .map_err(|problem| format!("escrow_key_file \"{path}\": {problem}"));
    }
    match ENVIRONMENT.lock() {
        Ok(environment) => match environment.as_ref() {
            Some(value) => {
                keyring::parse_key_env(value).map_err(|problem| format!("VAULT_CI_ESCROW_KEY: {problem}"))
            }
            None => Ok(Vec::new()),
        },
        Err(_) => Err("VAULT_CI_ESCROW_KEY could not be copied".to_owned()),
    }
}

/// Reads a key file under the rules that PostgreSQL has for `ssl_key_file`, and outside of what a base
/// backup takes along.
fn read_file(path: &Path, data_directory: &Path) -> Result<Secret, String> {
    let real = fs::canonicalize(path).map_err(|problem| format!("cannot be found: {problem}"))?;
    for forbidden in backed_up_directories(data_directory) {
        if real.starts_with(&forbidden) {
            return Err(format!(
                "lies under \"{}\", which base backups copy: keep it elsewhere",
                forbidden.display()
            ));
        }
    }
    let mut file = fs::File::open(&real).map_err(|problem| format!("cannot be opened: {problem}"))?;
    let found = file.metadata().map_err(|problem| format!("cannot be examined: {problem}"))?;
    if !found.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mode = found.mode() & 0o777;
    // SAFETY: takes nothing, returns a number.
    let server_user = unsafe { libc::geteuid() };
    let permitted = match found.uid() {
        owner if owner == server_user => 0o600,
        0 => 0o640,
        owner => {
            return Err(format!(
                "belongs to the user {owner}: it must belong to the server's user or to root"
            ));
        }
    };
    if mode & !permitted != 0 {
        return Err(format!("has mode {mode:04o}: at most {permitted:04o} is allowed for its owner"));
    }
    read_limited(&mut file)
}

fn read_limited(reader: &mut impl Read) -> Result<Secret, String> {
    let mut content = Vec::with_capacity(4096);
    let result = reader.take(MAX_SOURCE + 1).read_to_end(&mut content);
    let content = Secret::new(content);
    result.map_err(|problem| format!("cannot be read: {problem}"))?;
    if content.expose().len() as u64 > MAX_SOURCE {
        return Err("is larger than 64 KiB".to_owned());
    }
    Ok(content)
}

/// The data directory and every tablespace, with links resolved.
fn backed_up_directories(data_directory: &Path) -> Vec<PathBuf> {
    let mut directories = vec![data_directory.to_owned()];
    if let Ok(entries) = fs::read_dir(data_directory.join("pg_tblspc")) {
        directories.extend(entries.flatten().map(|entry| entry.path()));
    }
    directories.into_iter().filter_map(|directory| fs::canonicalize(directory).ok()).collect()
}
