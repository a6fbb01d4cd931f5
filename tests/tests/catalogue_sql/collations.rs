//! D5: text is compared byte by byte, whatever the database's locale is and whatever collation an argument brings.
//!
//! In PostgreSQL 15 a database's default collation is always deterministic: equal means the same bytes. What its
//! locale changes is order and the rules for case; what takes two texts for one are collations that someone makes.

use crate::World;
use anyhow::Result;
use lpm_tests::cluster::{self, Cluster};
use lpm_tests::escrowed::Escrowed;
use lpm_tests::job::Job;
use lpm_tests::stack::Seed;
use serde_json::json;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

type Arguments<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// Takes texts that differ in case only for one.
const CASELESS: &str =
    "create collation public.caseless (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";

/// A database of this ICU locale, in a cluster of its own.
async fn in_locale(locale: &str) -> Result<(Cluster, World)> {
    let (cluster, issuer) = (cluster::Options::default().start()?, "https://issuer.example");
    let postgres = cluster.database("postgres");
    for sql in [
        "alter database template1 is_template false".to_owned(),
        "drop database template1".to_owned(),
        format!(
            "create database template1 template template0 locale_provider icu icu_locale '{locale}' locale 'C.UTF-8'"
        ),
    ] {
        postgres.value(&sql)?;
    }
    let seed = Seed::create(&cluster, "localised", issuer).await?;
    let provider = seed.database.value("select datlocprovider::text || ' ' || daticulocale from pg_database where datname = current_database()")?;
    assert_eq!(provider, format!("i {locale}"), "the database has the locale");
    let world = World::of(Escrowed::of(seed.database, seed.gateway_login, &seed.alice, issuer)).await?;
    Ok((cluster, world))
}

/// Names that differ in case, or in nothing but what a locale may ignore, are different names.
async fn names_differ(world: &World, locale: &str) -> Result<()> {
    let client = &world.client;
    let gitlab = json!({"provider": "gitlab", "subject": "project:My-Group/Project"});
    world.alice.allow_with(client, &world.vault_id, &gitlab).await?;
    let project = |path: &str, id: &str| Job::gitlab("https://issuer.example/gitlab", path, id);
    let job = || world.job();
    for (name, job, vault, expected) in [
        ("the job", job(), world.vault_id.clone(), (200, "")),
        (
            "GitHub's names have no case",
            job().repository("ACME/Web", "42"),
            world.vault_id.clone(),
            (200, ""),
        ),
        ("branch", job().branch("Main"), world.vault_id.clone(), (403, "branch_not_allowed")),
        (
            "environment",
            job().environment("PRODUCTION"),
            world.vault_id.clone(),
            (403, "environment_not_allowed"),
        ),
        ("vault", job(), world.vault_id.to_uppercase(), (403, "no_policy")),
        (
            "repository id",
            job().claim("repository_id", "４２"),
            world.vault_id.clone(),
            (401, "token_claims"),
        ),
        ("the project", project("My-Group/Project", "20"), world.vault_id.clone(), (200, "")),
        ("project path", project("my-group/project", "21"), world.vault_id.clone(), (403, "no_policy")),
        (
            "project path, accent",
            project("My-Group/Projéct", "22"),
            world.vault_id.clone(),
            (401, "token_claims"),
        ),
    ] {
        let met = job.decide(client, &vault).await?;
        assert_eq!(met.seen(), expected, "D5 {locale}, {name}: {}", met.body);
    }
    let foreign = Job::of("HTTPS://issuer.example").decide(client, &world.vault_id).await?;
    assert_eq!(foreign.seen(), (401, "token_issuer"), "D5 {locale}, issuer");
    // two tokens whose ids differ in case are two
    for jti in ["abc", "ABC", "a\u{301}bc"] {
        let job = world.job().claim("jti", jti);
        assert_eq!(job.decide(client, &world.vault_id).await?.status, 200, "D5 {locale}, jti `{jti}`");
        assert_eq!(
            job.decide(client, &world.vault_id).await?.seen(),
            (403, "replayed"),
            "D5 {locale}, jti `{jti}`"
        );
    }
    // two accounts, two vault ids, two orgs
    let upper = world.vault_id.to_uppercase();
    let mallory = world.alice.account("mallory", "org")?;
    mallory.push(client, &upper).await?;
    mallory.allow(client, &upper).await?;
    assert!(mallory.allow(client, &world.vault_id).await.is_err(), "D5 {locale}: alice's id");
    for sql in [
        "select lpm.create_token('ALICE')",
        "select lpm.set_plan('Alice', 'free')",
        "select lpm.add_member('ACME', 'mallory')",
    ] {
        assert!(!world.alice.database.psql(sql)?.status.success(), "D5 {locale}: {sql}");
    }
    Ok(())
}

/// What differs, the call, its arguments, and the statuses that are no grant.
type Call<'a> = (&'static str, String, Arguments<'a>, &'static [i32]);

#[tokio::test]
async fn d5_in_a_database_whose_locale_ignores_case_names_differ_by_their_bytes() -> Result<()> {
    let (_cluster, world) = in_locale("und-u-ks-level2").await?;
    names_differ(&world, "und-u-ks-level2").await
}

#[tokio::test]
async fn d5_in_a_database_with_turkish_rules_ascii_is_lowered_as_ascii() -> Result<()> {
    let (_cluster, world) = in_locale("tr-TR").await?;
    assert_eq!(world.value("select lower('I')")?, "ı", "the locale does what it is known for");
    names_differ(&world, "tr-TR").await?;
    world.alice.allow_with(&world.client, &world.vault_id, &json!({"subject": "repo:ACME/INFRA-IX"})).await?;
    assert_eq!(
        world.value("select count(*) from lpm.oidc_policy where subject = 'repo:acme/infra-ix'")?,
        "1"
    );
    let job = || world.job().repository("acme/INFRA-IX", "77");
    assert_eq!(job().decide(&world.client, &world.vault_id).await?.status, 200, "D5");
    let dotless =
        world.job().repository("acme/\u{131}nfra-ix", "77").decide(&world.client, &world.vault_id).await?;
    assert_eq!(dotless.seen(), (401, "token_claims"), "D5");
    assert_eq!(
        world.value(&format!("select lpm.repin('{}', 'repo:ACME/INFRA-IX')", world.vault_id))?,
        "1",
        "D5"
    );
    Ok(())
}

#[tokio::test]
async fn d5_an_argument_with_a_collation_that_ignores_case_finds_nothing_more() -> Result<()> {
    let world = World::new().await?;
    world.value(CASELESS)?;
    world.value("create extension citext schema public")?;
    let caseless: bool =
        world.client.query_one("select 'A' = 'a' collate public.caseless", &[]).await?.get(0);
    assert!(caseless, "the collation does what it is made for");
    let (claims, token, none) = (world.job().payload(), &world.alice.token, None::<Uuid>);
    let (upper, issuer) = (world.vault_id.to_uppercase(), world.alice.issuer.to_uppercase());
    let hash = vec![9_u8; 32];
    assert_eq!(world.job().exchange(&world.client, &world.vault_id, &hash).await?.status, 200);
    for spelling in [
        "%::text collate public.caseless",
        "%::text::public.citext",
        "(%::text collate public.caseless)::public.citext",
    ] {
        let text = |place: usize| spelling.replace('%', &format!("${place}"));
        let right = &world.alice.issuer;
        let calls: [Call<'_>; 11] = [
            (
                "vault",
                format!("decide(gen_random_uuid(), null, $1, $2, {}, 'production', $4)", text(3)),
                vec![right, &claims, &upper, &none],
                &[403],
            ),
            (
                "environment",
                format!("decide(gen_random_uuid(), null, $1, $2, $3, {}, $5)", text(4)),
                vec![right, &claims, &world.vault_id, &"PRODUCTION", &none],
                &[403],
            ),
            (
                "issuer",
                format!("decide(gen_random_uuid(), null, {}, $2, $3, 'production', $4)", text(1)),
                vec![&issuer, &claims, &world.vault_id, &none],
                &[401],
            ),
            (
                "CI token, environment",
                format!("decide_ci(gen_random_uuid(), null, $1, $2, {})", text(3)),
                vec![&hash, &world.vault_id, &"PRODUCTION"],
                &[403],
            ),
            (
                "CI token, vault",
                format!("decide_ci(gen_random_uuid(), null, $1, {}, 'production')", text(2)),
                vec![&hash, &upper],
                &[403],
            ),
            ("pull", format!("pull(gen_random_uuid(), null, $1, {})", text(2)), vec![token, &upper], &[404]),
            (
                "audit",
                format!("audit(gen_random_uuid(), null, $1, {}, null)", text(2)),
                vec![token, &upper],
                &[200],
            ),
            (
                "policies",
                format!("list_policies(gen_random_uuid(), null, $1, {})", text(2)),
                vec![token, &upper],
                &[200],
            ),
            (
                "repin, vault",
                format!("repin(gen_random_uuid(), null, $1, {}, 'repo:acme/web')", text(2)),
                vec![token, &upper],
                &[404],
            ),
            (
                "repin, subject",
                format!("repin(gen_random_uuid(), null, $1, $2, {})", text(3)),
                vec![token, &world.vault_id, &"PROJECT:ACME/WEB"],
                &[404],
            ),
            (
                "escrow off",
                format!("disable_escrow(gen_random_uuid(), null, $1, {})", text(2)),
                vec![token, &upper],
                &[404],
            ),
        ];
        for (name, function, arguments, expected) in calls {
            let sql = format!("select (r).status, (r).body from (select lpm_api.{function} r offset 0) s");
            match world.client.query_one(&sql, &arguments).await {
                // PostgreSQL does not choose between two collations: it refuses, and so nothing is compared
                Err(error) => assert_eq!(
                    error.code().map(|code| code.code()),
                    Some("42P22"),
                    "D5 {name}, {spelling}: {error:?}"
                ),
                Ok(row) => {
                    let (status, body): (i32, &str) = (row.get(0), row.get(1));
                    assert!(expected.contains(&status), "D5 {name}, {spelling}: {status} {body}");
                    assert!(!body.contains(&world.vault_id), "D5 {name}, {spelling}: {body}");
                }
            }
        }
    }
    let met = world.job().pull(&world.client, &world.vault_id).await?;
    assert_eq!(met.status, 200, "D5: nothing was changed, {}", met.body);
    Ok(())
}

#[tokio::test]
async fn d5_no_column_index_or_expression_has_a_collation_that_takes_two_texts_for_one() -> Result<()> {
    let world = World::new().await?;
    let ours = "('lpm'::regnamespace, 'lpm_api'::regnamespace, 'lpm_dashboard'::regnamespace)";
    let odd = world.value(&format!(
        "select string_agg(what, ' ') from (
             select format('%s.%s', c.oid::regclass, a.attname) as what, a.attcollation as used from pg_attribute a join pg_class c on c.oid = a.attrelid
              where c.relnamespace in {ours} and a.attnum > 0 and not a.attisdropped
             union all select i.indexrelid::regclass::text, unnest(i.indcollation) from pg_index i join pg_class c on c.oid = i.indrelid where c.relnamespace in {ours}
             union all select t.oid::regtype::text, t.typcollation from pg_type t where t.typnamespace in {ours}
         ) x join pg_collation l on l.oid = x.used where not l.collisdeterministic or l.collname not in ('C', 'default')"
    ))?;
    assert_eq!(odd, "", "D5");
    // what identifies something is compared byte by byte also where one day a default collation need not be deterministic
    let plain = world.value(&format!(
        "select string_agg(format('%s.%s', c.oid::regclass, a.attname), ' ' order by a.attname) from pg_attribute a join pg_class c on c.oid = a.attrelid
           join pg_collation l on l.oid = a.attcollation
          where c.relnamespace in {ours} and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped and l.collname <> 'C'
            and a.attname in ('vault_id', 'issuer', 'subject', 'subject_id', 'owner_id', 'environment', 'handle', 'slug')"
    ))?;
    assert_eq!(
        plain, "lpm.audit_log.issuer lpm.oidc_stranger.subject",
        "D5: these are shown, never looked up"
    );
    Ok(())
}

#[tokio::test]
async fn d5_tokens_and_ids_are_no_text() -> Result<()> {
    let world = World::new().await?;
    let keys = world.value(
        "select string_agg(distinct format_type(a.atttypid, null), ' ') from pg_attribute a
          where a.attrelid in ('lpm.access_token'::regclass, 'lpm.ci_token'::regclass, 'lpm.oidc_token_use'::regclass) and a.attname in ('stored_hash', 'use_key')",
    )?;
    assert_eq!(keys, "bytea", "D5");
    Ok(())
}
