//! `lpm-gateway check-config`: tries what the settings name, and says line by line what is fine and what is not.
//!
//! It binds nothing and changes nothing, so it can run beside a gateway that serves.

mod certificate;
mod database;
mod issuers;

use crate::config::Settings;
use crate::db::Db;
use crate::oidc::{Oidc, Proxies};
use std::fmt::Display;
use std::io::Write;

/// What was found so far.
#[derive(Default)]
struct Report {
    wrong: bool,
}

impl Report {
    fn ok(&mut self, about: &str, text: impl Display) {
        Self::line("ok", about, text);
    }

    /// Something to know, and nothing to mend.
    fn note(&mut self, about: &str, text: impl Display) {
        Self::line("note", about, text);
    }

    fn wrong(&mut self, about: &str, text: impl Display) {
        self.wrong = true;
        Self::line("WRONG", about, text);
    }

    /// Whoever has closed stdout does not want it.
    fn line(verdict: &str, about: &str, text: impl Display) {
        let _ = writeln!(std::io::stdout(), "{verdict:<6}{about}: {text}");
    }
}

/// Tries everything. `true` when nothing is wrong.
pub(crate) async fn run(settings: &Settings) -> anyhow::Result<bool> {
    let mut report = Report::default();
    report.ok("settings", "they can be read and fit together");
    certificate::check(&mut report, settings);
    let proxies = Proxies::from_environment();
    let db = match Db::new(settings) {
        Ok(db) => Some(db),
        Err(error) => {
            report.wrong("database", format!("{error:#}"));
            None
        }
    };
    if let Some(db) = &db {
        let there = database::check(&mut report, db, settings).await;
        match proxies {
            Ok(proxies) => {
                let oidc = Oidc::new(settings.audience(settings.listen), settings.keys, proxies);
                if there {
                    issuers::check(&mut report, db, &oidc).await;
                }
            }
            Err(error) => report.wrong("issuers", format!("{error:#}")),
        }
    }
    Ok(!report.wrong)
}
