use super::*;
use std::fs;

struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory can be made"))
    }

    fn with(text: &str) -> Self {
        let directory = Self::new();
        directory.write(FILE, text);
        directory
    }

    fn path(&self) -> PathBuf {
        self.0.path().canonicalize().expect("it exists")
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.path().join(file);
        fs::create_dir_all(path.parent().expect("it has one")).expect("made");
        fs::write(path, text).expect("written");
    }

    fn project(&self) -> Project {
        Project::find(&self.path()).expect("it can be read")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path().join(FILE)).expect("it is there")
    }
}

#[test]
fn a_first_vault_makes_the_file() {
    let directory = Directory::new();
    let mut project = directory.project();
    assert_eq!((project.vault(), project.version(), project.escrow_key()), (None, None, None));
    project.set_vault("v1");
    project.save().expect("saved");
    assert_eq!(directory.text(), "{\n  \"vault\": \"v1\"\n}\n");
}

#[test]
fn fields_order_and_indentation_stay() {
    let directory = Directory::with(
        "{\n\t\"z\": [1, 2.50, {\"b\": null, \"a\": true}],\n\t\"vault\": \"v1\",\n\t\"vaultSync\": {\"orgVersions\": {\"acme\": 7}, \"personalVersion\": 3},\n\t\"a\": \"é\"\n}",
    );
    let mut project = directory.project();
    assert_eq!(project.version(), Some(3));
    project.set_version(4);
    project.set_owner(Uuid::nil());
    project.set_escrow_key("SHA256:x");
    project.save().expect("saved");
    assert_eq!(
        directory.text(),
        "{\n\t\"z\": [\n\t\t1,\n\t\t2.5,\n\t\t{\n\t\t\t\"b\": null,\n\t\t\t\"a\": true\n\t\t}\n\t],\n\t\"vault\": \"v1\",\n\t\"vaultSync\": {\n\t\t\"orgVersions\": {\n\t\t\t\"acme\": 7\n\t\t},\n\t\t\"personalVersion\": 4\n\t},\n\t\"a\": \"é\",\n\t\"vaultOwner\": \"00000000-0000-0000-0000-000000000000\",\n\t\"escrowKey\": \"SHA256:x\"\n}\n"
    );
    let again = directory.project();
    assert_eq!((again.version(), again.escrow_key()), (Some(4), Some("SHA256:x")));
    assert_eq!(again.owner().expect("a uuid"), Some(Uuid::nil()));
}

#[test]
fn a_new_id_forgets_version_and_owner_of_the_old_one() {
    let directory = Directory::with(
        r#"{"vault":"old","vaultOwner":"00000000-0000-0000-0000-000000000000","vaultSync":{"personalVersion":3},"escrowKey":"SHA256:x","env":{}}"#,
    );
    let mut project = directory.project();
    project.set_vault("new");
    assert_eq!((project.vault(), project.version()), (Some("new"), None));
    assert_eq!(project.owner().expect("none"), None);
    assert_eq!(project.escrow_key(), Some("SHA256:x"));
}

#[test]
fn the_files_mode_stays() {
    let directory = Directory::with("{}");
    let path = directory.path().join(FILE);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).expect("set");
    directory.project().save().expect("saved");
    assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o664);
}

#[test]
fn a_file_that_is_no_object_is_refused() {
    for text in ["", "[]", "7", "{\"vault\":\"a\",\"vault\":\"b\"}", "{\"vault\":", "{\"vault\":\"a\"} x"] {
        let directory = Directory::with(text);
        assert!(Project::find(&directory.path()).is_err(), "{text:?}");
        assert_eq!(directory.text(), text, "and left as it is");
    }
}

#[test]
fn values_of_the_wrong_type_are_none() {
    let project =
        Directory::with(r#"{"vault":7,"vaultSync":{"personalVersion":"3"},"env":[],"vaultOwner":"me"}"#)
            .project();
    assert_eq!((project.vault(), project.version()), (None, None));
    assert_eq!(project.canonical("dev"), "dev");
    assert!(project.owner().is_err());
    assert_eq!(Directory::with(r#"{"vault":""}"#).project().vault(), None);
    assert_eq!(Directory::with(r#"{"vaultSync":{"personalVersion":3000000000}}"#).project().version(), None);
}

#[test]
fn a_file_of_the_repository_is_found_from_below() {
    let directory = Directory::with(r#"{"vault":"top"}"#);
    directory.write(".git/HEAD", "");
    directory.write("packages/web/x", "");
    let below = directory.path().join("packages/web");
    assert_eq!(Project::find(&below).expect("found").vault(), Some("top"));
    directory.write("packages/lpm.json", r#"{"vault":"near"}"#);
    assert_eq!(Project::find(&below).expect("found").vault(), Some("near"));
}

#[test]
fn a_file_above_the_repository_or_outside_of_one_is_not_ours() {
    let directory = Directory::with(r#"{"vault":"stray"}"#);
    directory.write("a/b/x", "");
    assert_eq!(Project::find(&directory.path().join("a/b")).expect("none").vault(), None);
    directory.write("a/.git/HEAD", "");
    assert_eq!(Project::find(&directory.path().join("a/b")).expect("none").vault(), None);
}

#[test]
fn aliases_lead_to_the_names_of_files() {
    let project = Directory::with(
        r#"{"env":{"dev":".env.development","prod":"config/.env.production","base":".env","odd":"settings","n":7,"s":{"file":".env.staging"},"c":{"canonical":"canary","file":".env.x"},"e":".env."}}"#,
    )
    .project();
    for (alias, name) in [
        ("dev", "development"),
        ("prod", "production"),
        ("base", "default"),
        ("s", "staging"),
        ("c", "canary"),
        ("odd", "odd"),
        ("n", "n"),
        ("e", "e"),
        ("production", "production"),
        ("other", "other"),
    ] {
        assert_eq!(project.canonical(alias), name, "{alias}");
    }
}

#[test]
fn the_schema_tells_aliases_and_purposes_and_nothing_else() {
    let project = Directory::with(
        r#"{"vault":"v","secret":"x","env":{"dev":".env.development","odd":"x"},"envSchema":{"vars":{"A":{"required":true}}},"environments":{"base":".env"}}"#,
    )
    .project();
    assert_eq!(
        project.schema().expect("it serializes").get(),
        r#"{"version":2,"envSchema":{"A":{"required":true}},"envConfig":{"dev":{"canonical":"development","file":".env.development"}},"environments":{"base":".env"}}"#
    );
    assert_eq!(Directory::with("{}").project().schema().expect("it serializes").get(), r#"{"version":2}"#);
}

#[test]
fn the_name_is_the_packages_else_the_projects_else_the_directorys() {
    let directory = Directory::with(r#"{"name":"from-lpm"}"#);
    assert_eq!(directory.project().name().as_deref(), Some("from-lpm"));
    directory.write("package.json", r#"{"name":"from-package"}"#);
    assert_eq!(directory.project().name().as_deref(), Some("from-package"));
    let nameless = Directory::with("{}");
    let expected = nameless.path().file_name().expect("it has one").to_string_lossy().into_owned();
    assert_eq!(nameless.project().name(), Some(expected));
}
