//! A clock that one program sees and a test sets, also while the program runs.
//!
//! It is libfaketime's (Debian's package `faketime`): a library that answers instead of the system when a program
//! asks for the time of day. Timers and timeouts go on by the system's own clock, as they do when a real clock is set.

use anyhow::{Context, Result};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Where Debian puts it, for each architecture.
const LIBRARIES: &str = "/usr/lib";

/// Where the library keeps what the processes of a program share, by the first one's id.
const SHARED: &str = "/dev/shm";

/// A clock.
pub struct Clock {
    directory: TempDir,
    library: PathBuf,
}

impl Clock {
    /// A clock that is right.
    pub fn new() -> Result<Self> {
        let library = fs::read_dir(LIBRARIES)?
            .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketime.so.1")))
            .find(|path| path.exists())
            .context("no libfaketime: install the package faketime")?;
        let directory = tempfile::Builder::new().prefix("lpm-clock-").tempdir()?;
        // a server that runs as another user reads it too
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let clock = Self { directory, library };
        clock.show("+0")?;
        Ok(clock)
    }

    /// The environment of a program that goes by this clock. `threads`: it has more than one.
    #[must_use]
    pub fn variables(&self, threads: bool) -> Vec<(&'static str, String)> {
        let library =
            if threads { self.library.with_file_name("libfaketimeMT.so.1") } else { self.library.clone() };
        vec![
            ("LD_PRELOAD", library.display().to_string()),
            ("FAKETIME_TIMESTAMP_FILE", self.file().display().to_string()),
            // each look at the clock is a look at the file
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("NO_FAKE_STAT", "1".to_owned()),
        ]
    }

    /// The command that starts another by this clock.
    #[must_use]
    pub fn launcher(&self) -> Vec<String> {
        let variables = self.variables(false).into_iter().map(|(name, value)| format!("{name}={value}"));
        std::iter::once("env".to_owned()).chain(variables).collect()
    }

    /// Sets it: `+1h` is an hour fast, `-1h` an hour slow, `+0` right.
    pub fn show(&self, offset: &str) -> Result<()> {
        // at once, so that nobody reads half of it
        let fresh = self.directory.path().join("new");
        fs::write(&fresh, format!("{offset}\n"))?;
        Ok(fs::rename(fresh, self.file())?)
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("clock")
    }
}

impl Drop for Clock {
    /// Removes what the library shares between the processes of a program, where they did not end in order.
    fn drop(&mut self) {
        for entry in fs::read_dir(SHARED).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let process =
                ["faketime_shm_", "sem.faketime_sem_"].iter().find_map(|prefix| name.strip_prefix(prefix));
            if process.is_some_and(|process| !Path::new("/proc").join(process).exists()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}
