//! Settings: paths and commands, never keys.
//!
//! A setting of an extension is a public placeholder until the library is loaded, so nothing secret may
//! ever stand in one. `DISALLOW_IN_AUTO_FILE` keeps `ALTER SYSTEM` from pointing the server at another key.

use pgrx::guc::{GucContext, GucFlags, GucRegistry, GucSetting};
use pgrx::pg_sys;
use std::ffi::CString;

static ESCROW_KEY_COMMAND: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static ESCROW_KEY_FILE: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static PROTECT_MEMORY: GucSetting<bool> = GucSetting::<bool>::new(true);

/// Defines the settings; `preloading` while `shared_preload_libraries` are loaded.
pub(crate) fn register(preloading: bool) {
    let hidden = GucFlags::SUPERUSER_ONLY | GucFlags::NO_SHOW_ALL | GucFlags::DISALLOW_IN_AUTO_FILE;
    GucRegistry::define_string_guc(
        c"pg_lpm.escrow_key_command",
        c"Command whose output is the escrow keys: lines `id:hex`, newest first.",
        c"Run by the pg_lpm worker at start, on reload and by lpm.reload_escrow_keys(); wins over escrow_key_file.",
        &ESCROW_KEY_COMMAND,
        GucContext::Sighup,
        hidden,
    );
    GucRegistry::define_string_guc(
        c"pg_lpm.escrow_key_file",
        c"File with the escrow keys: lines `id:hex`, newest first.",
        c"Outside the data directory; owned by the server's user with mode 0600, or by root with mode 0640.",
        &ESCROW_KEY_FILE,
        GucContext::Sighup,
        hidden,
    );
    if preloading {
        GucRegistry::define_bool_guc(
            c"pg_lpm.protect_memory",
            c"Make the server's processes undumpable, so that core files and /proc do not show keys.",
            c"",
            &PROTECT_MEMORY,
            GucContext::Postmaster,
            GucFlags::DISALLOW_IN_AUTO_FILE,
        );
    }
    // SAFETY: a static string; from here on a misspelt `pg_lpm.*` is an error, not a silent placeholder.
    #[cfg(not(feature = "pg14"))]
    unsafe {
        pg_sys::MarkGUCPrefixReserved(c"pg_lpm".as_ptr());
    }
    #[cfg(feature = "pg14")]
    // SAFETY: as above, by its older name.
    unsafe {
        pg_sys::EmitWarningsOnPlaceholders(c"pg_lpm".as_ptr());
    }
}

fn text(setting: &GucSetting<Option<CString>>) -> Option<String> {
    setting.get().and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
}

/// `pg_lpm.escrow_key_command`, where set.
pub(crate) fn escrow_key_command() -> Option<String> {
    text(&ESCROW_KEY_COMMAND)
}

/// `pg_lpm.escrow_key_file`, where set.
pub(crate) fn escrow_key_file() -> Option<String> {
    text(&ESCROW_KEY_FILE)
}

/// Makes the postmaster, and so every process it forks, undumpable.
pub(crate) fn protect_memory() {
    if PROTECT_MEMORY.get() {
        // SAFETY: PR_SET_DUMPABLE takes one number and touches no memory of ours.
        unsafe {
            libc::prctl(libc::PR_SET_DUMPABLE, 0);
        }
    }
}

/// Whether this process is undumpable.
pub(crate) fn memory_is_protected() -> bool {
    // SAFETY: PR_GET_DUMPABLE takes no argument.
    unsafe { libc::prctl(libc::PR_GET_DUMPABLE) == 0 }
}
