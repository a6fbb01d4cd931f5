//! Guarantees 1, 4, 5 and 6, each as a test that fails when it is broken.

use anyhow::{Context, Result};
use lpm_tests::cluster;
use lpm_tests::escrowed::{Escrowed, SECRET, answer, claims};
use lpm_tests::issuer::Issuer;
use lpm_tests::stack::Seed;
use serde_json::Value;
use std::path::Path;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

async fn ready() -> Result<(Escrowed, Client)> {
    let escrowed = Escrowed::new().await?;
    let client = escrowed.gateway().await?;
    Ok((escrowed, client))
}

// ---- 1: without escrow a vault can never be CI-pulled ------------------------------------------------------

#[tokio::test]
async fn guarantee_1_a_vault_without_escrow_is_denied() -> Result<()> {
    let (escrowed, client) = ready().await?;
    let vault_id = Uuid::new_v4().to_string();
    escrowed.push(&client, &vault_id).await?;
    escrowed.allow(&client, &vault_id).await?;
    let request = Uuid::now_v7();
    let (status, body) = escrowed.decide(&client, request, &vault_id, "main").await?;
    assert_eq!((status, body["code"].as_str()), (403, Some("escrow_off")), "{body}");
    assert_eq!(escrowed.open(&client, request).await?.0, 403);
    Ok(())
}

#[tokio::test]
async fn guarantee_1_turning_escrow_off_ends_every_pull_and_every_copy() -> Result<()> {
    let (escrowed, client) = ready().await?;
    let vault_id = escrowed.vault(&client).await?;
    escrowed.push(&client, &vault_id).await?;
    let arguments: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &None::<&str>, &escrowed.token, &vault_id];
    assert_eq!(answer(&client, "disable_escrow", &arguments).await?.0, 200);
    let (_, body) = escrowed.decide(&client, Uuid::now_v7(), &vault_id, "main").await?;
    assert_eq!(body["code"], "escrow_off");
    let copies = "select count(*) from (select ci_escrow_wrapping_key from lpm.vault_sync union all
                  select ci_escrow_wrapping_key from lpm.vault_version) e where ci_escrow_wrapping_key is not null";
    assert_eq!(escrowed.database.value(copies)?, "0");
    Ok(())
}

#[tokio::test]
async fn guarantee_1_escrow_of_another_row_opens_nothing() -> Result<()> {
    let (escrowed, client) = ready().await?;
    let (with, without) = (escrowed.vault(&client).await?, Uuid::new_v4().to_string());
    escrowed.push(&client, &without).await?;
    escrowed.allow(&client, &without).await?;
    escrowed.database.value(&format!(
        "update lpm.vault_sync v set ci_escrow_wrapping_key = o.ci_escrow_wrapping_key, escrow_kind = o.escrow_kind
           from lpm.vault_sync o where o.vault_id = '{with}' and v.vault_id = '{without}'"
    ))?;
    let request = Uuid::now_v7();
    assert_eq!(escrowed.decide(&client, request, &without, "main").await?.0, 200);
    let (status, body) = escrowed.open(&client, request).await?;
    assert_eq!((status, body["code"].as_str()), (409, Some("escrow_mismatch")), "{body}");
    Ok(())
}

#[tokio::test]
async fn guarantee_1_developer_pulls_return_ciphertext_only() -> Result<()> {
    let (escrowed, client) = ready().await?;
    let vault_id = escrowed.vault(&client).await?;
    let arguments: [&(dyn ToSql + Sync); 4] = [&Uuid::now_v7(), &None::<&str>, &escrowed.token, &vault_id];
    let (status, body) = answer(&client, "pull", &arguments).await?;
    assert_eq!(status, 200);
    assert!(!body.to_string().contains(SECRET));
    let stored = escrowed.database.value("select string_agg(v::text, ' ') from lpm.vault_sync v")?;
    assert!(!stored.contains(SECRET));
    Ok(())
}

// ---- 4: a member of lpm_gateway reads no table, calls no primitive, changes nothing without a token -------

#[tokio::test]
async fn guarantee_4_the_gateway_reads_no_table_and_no_view() -> Result<()> {
    let (escrowed, client) = ready().await?;
    let relations = escrowed.database.value(
        "select string_agg(format('%I.%I', n.nspname, c.relname), ' ') from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname in ('lpm', 'lpm_dashboard') and c.relkind in ('r', 'v', 'S')",
    )?;
    assert!(relations.contains("lpm.vault_sync") && relations.contains("lpm_dashboard.audit"));
    for relation in relations.split(' ') {
        for sql in [
            format!("select * from {relation} limit 1"),
            format!("delete from {relation}"),
            format!("table {relation}"),
        ] {
            refused(&client, &sql).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn guarantee_4_the_gateway_calls_no_function_outside_lpm_api() -> Result<()> {
    let (escrowed, client) = ready().await?;
    let functions = escrowed.database.value(
        "select string_agg(format('%s(%s)', p.oid::regproc, (select string_agg('null::' || t::regtype, ', ' order by i)
                from unnest(p.proargtypes) with ordinality a(t, i))), ' | ') from pg_proc p where p.pronamespace = 'lpm'::regnamespace",
    )?;
    assert!(functions.contains("lpm.open_vault(") && functions.contains("lpm.set_scope("));
    for call in functions.split(" | ") {
        refused(&client, &format!("select {call}")).await?;
    }
    for role in ["lpm_owner", "lpm_definer", "lpm_admin", "lpm_operator"] {
        refused(&client, &format!("set role {role}")).await?;
    }
    for sql in [
        "create table lpm_api.t (x int)",
        "create function lpm_api.f() returns int language sql as 'select 1'",
        "create schema mine",
    ] {
        refused(&client, sql).await?;
    }
    Ok(())
}

async fn refused(client: &Client, sql: &str) -> Result<()> {
    let error = client.batch_execute(sql).await.err().with_context(|| format!("`{sql}` was not refused"))?;
    let code = error.as_db_error().map(|error| error.code().code().to_owned()).unwrap_or_default();
    // insufficient_privilege, or a relation that this role may not even look for
    anyhow::ensure!(code == "42501", "`{sql}`: {error:?}");
    Ok(())
}

#[tokio::test]
async fn guarantee_4_nothing_of_an_account_changes_without_its_token() -> Result<()> {
    let (escrowed, client) = ready().await?;
    let vault_id = escrowed.vault(&client).await?;
    let policy = escrowed.database.value("select id from lpm.oidc_policy")?;
    let sealed = escrowed.sealed(&client, &vault_id).await?;
    let stored = "select md5(string_agg(t::text, ',' order by t::text)) from (select v::text t from lpm.vault_sync v union all
                  select p::text from lpm.oidc_policy p union all select n::text from lpm.oidc_subject_pin n) x";
    let before = escrowed.database.value(stored)?;
    let other =
        Escrowed::of(escrowed.database.clone(), escrowed.login.clone(), "not a token", &escrowed.issuer);
    let hashes = [other.token.clone(), vec![0; 32], Vec::new()];
    let (none, id) = (None::<&str>, Uuid::now_v7());
    let body = format!(
        r#"{{"vaultId":"{vault_id}","provider":"github","subject":"repo:evil/web","allowedBranches":[],"allowedEnvironments":[],"allowForks":false}}"#
    );
    for hash in &hashes {
        let calls: [(&str, Vec<&(dyn ToSql + Sync)>); 13] = [
            ("push", vec![&id, &none, hash, &vault_id, &"x", &"x", &None::<i32>, &true, &none, &none]),
            ("pull", vec![&id, &none, hash, &vault_id]),
            ("list_vaults", vec![&id, &none, hash]),
            ("audit", vec![&id, &none, hash, &vault_id, &none]),
            ("create_policy", vec![&id, &none, hash, &body]),
            ("list_policies", vec![&id, &none, hash, &vault_id]),
            ("revoke_policy", vec![&id, &none, hash, &policy]),
            ("repin", vec![&id, &none, hash, &vault_id, &"repo:acme/web"]),
            ("escrow_key", vec![&id, &none, hash]),
            ("put_escrow", vec![&id, &none, hash, &vault_id, &sealed]),
            ("disable_escrow", vec![&id, &none, hash, &vault_id]),
            ("list_versions", vec![&id, &none, hash, &vault_id]),
            ("restore_version", vec![&id, &none, hash, &vault_id, &1, &None::<i32>]),
        ];
        for (function, arguments) in calls {
            let (status, body) = answer(&client, function, &arguments).await?;
            assert_eq!((status, body["code"].as_str()), (401, Some("unauthorized")), "{function}: {body}");
        }
    }
    assert_eq!(escrowed.database.value(stored)?, before);
    Ok(())
}

#[tokio::test]
async fn guarantee_4_another_accounts_token_finds_nothing() -> Result<()> {
    let (escrowed, client) = ready().await?;
    let vault_id = escrowed.vault(&client).await?;
    let policy = escrowed.database.value("select id from lpm.oidc_policy")?;
    escrowed.database.value("select lpm.create_user('mallory', plan => 'org')")?;
    let token = escrowed.database.value("select lpm.create_token('mallory')")?;
    let mallory = Escrowed::of(escrowed.database.clone(), escrowed.login.clone(), &token, &escrowed.issuer);
    let (none, id, hash) = (None::<&str>, Uuid::now_v7(), &mallory.token);
    let (status, _) = answer(&client, "pull", &[&id, &none, hash, &vault_id]).await?;
    assert_eq!(status, 404);
    let (_, body) = answer(&client, "list_vaults", &[&id, &none, hash]).await?;
    assert_eq!(body["vaults"], Value::Array(Vec::new()));
    let (_, body) = answer(&client, "audit", &[&id, &none, hash, &vault_id, &none]).await?;
    assert_eq!(body["entries"], Value::Array(Vec::new()));
    let (_, body) = answer(&client, "list_policies", &[&id, &none, hash, &vault_id]).await?;
    assert_eq!((&body["policies"], body["escrow"].as_str()), (&Value::Array(Vec::new()), Some("off")));
    let (status, _) = answer(&client, "revoke_policy", &[&id, &none, hash, &policy]).await?;
    assert_eq!(status, 404);
    let (status, _) = answer(&client, "repin", &[&id, &none, hash, &vault_id, &"repo:acme/web"]).await?;
    assert_eq!(status, 404);
    let (status, _) = answer(&client, "disable_escrow", &[&id, &none, hash, &vault_id]).await?;
    assert_eq!(status, 404);
    let (status, _) = answer(&client, "list_versions", &[&id, &none, hash, &vault_id]).await?;
    assert_eq!(status, 404);
    let (status, _) =
        answer(&client, "restore_version", &[&id, &none, hash, &vault_id, &1, &None::<i32>]).await?;
    assert_eq!(status, 404);
    let sealed = mallory.sealed(&client, &vault_id).await?;
    let (status, body) = answer(&client, "put_escrow", &[&id, &none, hash, &vault_id, &sealed]).await?;
    assert_eq!((status, body["code"].as_str()), (409, Some("vault_claimed")));
    let claims = claims(&escrowed.issuer, "main");
    let (status, _) =
        answer(&client, "explain", &[&id, &none, hash, &vault_id, &none, &claims, &none]).await?;
    assert_eq!(status, 404);
    assert!(mallory.allow(&client, &vault_id).await.is_err(), "a claimed vault id takes no policy of others");
    // an own personal row under the same id is theirs alone, and CI never reads it
    mallory.push(&client, &vault_id).await?;
    let request = Uuid::now_v7();
    assert_eq!(escrowed.decide(&client, request, &vault_id, "main").await?.0, 200);
    assert_eq!(escrowed.open(&client, request).await?.1["vars"]["API_KEY"], SECRET);
    Ok(())
}

// ---- 5: the escrow key is not in the database or its directory ---------------------------------------------

#[tokio::test]
async fn guarantee_5_no_file_and_no_dump_holds_the_escrow_key() -> Result<()> {
    let raw = cluster::random_key();
    let (cluster, escrowed) =
        Escrowed::alone(cluster::Options::default().escrow_keys(format!("k1:{raw}\n"))).await?;
    let client = escrowed.gateway().await?;
    let vault_id = escrowed.vault(&client).await?;
    let request = Uuid::now_v7();
    escrowed.decide(&client, request, &vault_id, "main").await?;
    assert_eq!(escrowed.open(&client, request).await?.0, 200);
    escrowed.database.value("checkpoint")?;
    let key = hex::decode(&raw)?;
    let needles = [raw.as_bytes(), &key, SECRET.as_bytes()];
    // the search itself must be able to find something
    assert!(
        found_in(&cluster.data_dir(), &[vault_id.as_bytes()])?.is_some(),
        "the search finds what is there"
    );
    assert_eq!(found_in(&cluster.data_dir(), &needles)?, None);

    let mut dump = std::process::Command::new(cluster.bin_dir().join("pg_dump"));
    let dump = dump.arg(escrowed.database.url()).output()?;
    assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
    assert!(contains(&dump.stdout, vault_id.as_bytes()));
    assert!(needles.iter().all(|needle| !contains(&dump.stdout, needle)));
    Ok(())
}

#[tokio::test]
async fn guarantee_5_a_restored_dump_keeps_everything_and_opens_with_the_key_only() -> Result<()> {
    let issuer = Issuer::start()?;
    let keys = format!("k1:{}\n", cluster::random_key());
    let old = cluster::Options::default().escrow_keys(keys.clone()).start()?;
    let seed = Seed::create(&old, "kept", issuer.url()).await?;
    let escrowed = Escrowed::of(seed.database, seed.gateway_login.clone(), &seed.alice, issuer.url());
    let client = escrowed.gateway().await?;
    let vault_id = escrowed.vault(&client).await?;
    escrowed.push(&client, &vault_id).await?;
    let dump =
        std::process::Command::new(old.bin_dir().join("pg_dump")).arg(escrowed.database.url()).output()?;
    assert!(dump.status.success());

    for (with_key, keys) in [(true, keys), (false, format!("k1:{}\n", cluster::random_key()))] {
        let new = cluster::Options::default().escrow_keys(keys).start()?;
        let database = new.create_database("kept", None).await?;
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), &dump.stdout)?;
        let restored = database.psql_command().arg("--file").arg(file.path()).output()?;
        assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
        let password = database.value("select lpm.create_gateway_login('gateway')")?;
        let login = lpm_tests::database::Login { user: "gateway".to_owned(), password };
        let again = Escrowed::of(database, login, &seed.alice, issuer.url());
        let client = again.gateway().await?;
        let request = Uuid::now_v7();
        assert_eq!(again.decide(&client, request, &vault_id, "main").await?.0, 200);
        let (status, body) = again.open(&client, request).await?;
        if with_key {
            assert_eq!((status, &body["vars"]["API_KEY"]), (200, &Value::from(SECRET)));
        } else {
            assert_eq!((status, body["code"].as_str()), (409, Some("escrow_mismatch")));
        }
        // sequences went along, so new rows find their place
        again.push(&client, &vault_id).await?;
    }
    Ok(())
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

/// The first file under `directory` that holds one of the needles.
fn found_in(directory: &Path, needles: &[&[u8]]) -> Result<Option<std::path::PathBuf>> {
    for entry in std::fs::read_dir(directory)? {
        let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type()))?;
        let kind = kind?;
        let found = if kind.is_dir() {
            found_in(&path, needles)?
        } else if kind.is_file() {
            let text = std::fs::read(&path)?;
            needles.iter().any(|needle| contains(&text, needle)).then_some(path)
        } else {
            None
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

// ---- 6: nothing in SQL shows the escrow key or changes its source ------------------------------------------

#[tokio::test]
async fn guarantee_6_settings_cannot_be_changed_in_sql_and_are_hidden() -> Result<()> {
    let (escrowed, gateway) = ready().await?;
    let superuser = escrowed.database.connect().await?;
    for name in ["pg_lpm.escrow_key_file", "pg_lpm.escrow_key_command", "pg_lpm.protect_memory"] {
        for sql in [
            format!("set {name} = '/tmp/x'"),
            format!("alter system set {name} = '/tmp/x'"),
            format!("alter database {} set {name} = '/tmp/x'", escrowed.database.name()),
            format!("alter role {} set {name} = '/tmp/x'", escrowed.login.user),
        ] {
            assert!(superuser.batch_execute(&sql).await.is_err(), "{sql}");
        }
    }
    for name in ["pg_lpm.escrow_key_file", "pg_lpm.escrow_key_command"] {
        assert!(gateway.batch_execute(&format!("show {name}")).await.is_err(), "{name}");
    }
    let shown = escrowed.database.value("select count(*) from pg_settings where name in ('pg_lpm.escrow_key_file', 'pg_lpm.escrow_key_command')")?;
    assert_eq!(shown, "0", "NO_SHOW_ALL");
    Ok(())
}

#[tokio::test]
async fn guarantee_6_no_view_or_function_shows_a_key() -> Result<()> {
    let raw = cluster::random_key();
    let cluster = cluster::Options::default().escrow_keys(format!("k1:{raw}\n")).start()?;
    let database = cluster.create_database("shown", None).await?;
    database.value("create extension pg_lpm cascade")?;
    let shown = database.value(
        "select string_agg(t, ' ') from (select k::text t from lpm.escrow_keys k union all select h::text from lpm.health h
           union all select l::text from lpm.loaded_escrow_keys() l union all select s::text from lpm.escrow_key_source() s) x",
    )?;
    assert!(shown.contains("k1") && shown.contains("SHA256:"), "{shown}");
    let prk = lpm_core::envelope::aead::hkdf(&hex::decode(&raw)?, b"lpm-ci-escrow-v1", b"aead")?;
    for needle in [raw.clone(), hex::encode(*prk), openssl::base64::encode_block(&*prk)] {
        assert!(!shown.contains(&needle));
    }
    Ok(())
}

#[tokio::test]
async fn guarantee_6_a_key_file_that_others_can_read_or_that_backups_copy_is_refused() -> Result<()> {
    let cluster = cluster::Options::default().start()?;
    let database = cluster.create_database("refused", None).await?;
    database.value("create extension pg_lpm cascade")?;
    let finding = || {
        database.value("select string_agg(what, ' ') from lpm.health where severity = 'critical' and what like '%escrow key%'")
    };
    let file = cluster.escrow_key_file();
    assert_eq!(database.value("select lpm.reload_escrow_keys()")?, "1");

    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    assert!(!database.psql("select lpm.reload_escrow_keys()")?.status.success());
    assert!(finding()?.contains("mode 0644"), "{}", finding()?);
    assert_eq!(database.value("select count(*) from lpm.escrow_keys")?, "1", "the last good keys stay");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    assert_eq!(database.value("select lpm.reload_escrow_keys()")?, "1");

    cluster.write_escrow_keys(&format!("a:{k}\na:{k}\n", k = cluster::random_key()))?;
    assert!(!database.psql("select lpm.reload_escrow_keys()")?.status.success());
    assert!(finding()?.contains("`a` occurs twice"), "{}", finding()?);

    // within the data directory, also behind a link
    let inside = cluster.data_dir().join("escrow.keys");
    std::fs::copy(&file, &inside)?;
    let link = file.with_extension("link");
    std::os::unix::fs::symlink(&inside, &link)?;
    cluster.set("pg_lpm.escrow_key_file", &link.display().to_string())?;
    cluster.reload()?;
    assert!(!database.psql("select lpm.reload_escrow_keys()")?.status.success());
    assert!(finding()?.contains("base backups copy"), "{}", finding()?);
    assert_eq!(database.value("select count(*) from lpm.escrow_keys")?, "1");
    Ok(())
}

#[tokio::test]
async fn without_an_escrow_key_the_server_starts_and_everything_else_works() -> Result<()> {
    let (_cluster, escrowed) = Escrowed::alone(cluster::Options::default().without_escrow_key()).await?;
    let client = escrowed.gateway().await?;
    let vault_id = Uuid::new_v4().to_string();
    escrowed.push(&client, &vault_id).await?;
    escrowed.allow(&client, &vault_id).await?;
    let (status, body) =
        answer(&client, "escrow_key", &[&Uuid::now_v7(), &None::<&str>, &escrowed.token]).await?;
    assert_eq!((status, body["code"].as_str()), (503, Some("no_escrow_key")), "{body}");
    assert!(
        escrowed
            .database
            .value("select string_agg(what, ' ') from lpm.health")?
            .contains("no escrow key is configured")
    );
    Ok(())
}
