//! Strangers under attack: whoever runs a trusted issuer invents repositories as they please, and fills neither
//! disk nor trail with them.

use anyhow::{Result, ensure};
use lpm_tests::escrowed::{Escrowed, SECRET};
use lpm_tests::job::Job;
use std::collections::BTreeMap;
use tokio::task::JoinSet;
use tokio_postgres::Client;

/// How many rows an issuer fills in an hour; whoever comes after shares one more.
const ROWS_PER_HOUR: u64 = 1_000;

/// Connections that ask at the same time; each may add a row when all race for the last one.
const SESSIONS: u64 = 4;

/// Another trusted issuer, run by whoever attacks.
const EVIL: &str = "https://evil.example";

/// The honest world: alice's escrowed vault, and the attacker's issuer trusted for somebody else's sake.
async fn ready() -> Result<(Escrowed, Client, String)> {
    let alice = Escrowed::new().await?;
    let client = alice.gateway().await?;
    let vault_id = alice.vault(&client).await?;
    alice.database.value(&format!("select lpm.trust_issuer('github', '{EVIL}')"))?;
    Ok((alice, client, vault_id))
}

/// How many rows each table of ours has, whatever tables there are.
fn rows(alice: &Escrowed) -> Result<BTreeMap<String, u64>> {
    let counted = alice.database.value(
        "select string_agg(format('%s %s', c.relname, (xpath('/row/n/text()',
                    query_to_xml(format('select count(*) as n from %s', c.oid::regclass), false, true, '')))[1]), ' ' order by c.relname)
           from pg_class c where c.relnamespace = 'lpm'::regnamespace and c.relkind in ('r', 'p')",
    )?;
    let words: Vec<&str> = counted.split(' ').collect();
    words.chunks(2).map(|pair| Ok((pair[0].to_owned(), pair[1].parse()?))).collect()
}

/// Attempts of as many repositories, each a transaction of its own, from several sessions at once: half of them at
/// vault ids that nobody has, a new one each time, half at the vault that there is.
async fn attack(alice: &Escrowed, vault_id: &str, attempts: u64) -> Result<()> {
    ensure!(attempts.is_multiple_of(SESSIONS), "each session takes the same part");
    let mut sessions = JoinSet::new();
    for session in 0..SESSIONS {
        let (client, part) = (alice.gateway().await?, attempts / SESSIONS);
        let script = format!(
            "do $$
             declare
                 answer lpm_api.answer;
             begin
                 for n in {first}..{last} loop
                     answer := lpm_api.decide(gen_random_uuid(), '192.0.2.1', '{EVIL}',
                         convert_to(json_build_object('iss', '{EVIL}', 'aud', 'https://lpm.dev', 'iat', extract(epoch from now())::bigint,
                             'exp', extract(epoch from now())::bigint + 300, 'sub', 'x', 'jti', n::text,
                             'repository', 'evil/repo-' || n, 'repository_id', n::text, 'repository_owner', 'evil', 'repository_owner_id', '666',
                             'event_name', 'push', 'ref', 'refs/heads/main', 'ref_type', 'branch')::text, 'UTF8'),
                         case n % 2 when 0 then '{vault_id}' else 'made-up-' || n end, 'production', null);
                     if answer.status is distinct from 403 or answer.body::json ->> 'code' is distinct from 'no_policy' then
                         raise exception 'attempt %: %', n, answer;
                     end if;
                     commit;
                 end loop;
             end $$",
            first = session * part + 1,
            last = (session + 1) * part,
        );
        sessions.spawn(async move { client.batch_execute(&script).await });
    }
    while let Some(result) = sessions.join_next().await {
        result??;
    }
    Ok(())
}

/// Attacks, and asserts what it left: no row but counts, not more of them than the bound, and no attempt uncounted.
async fn leaves_a_bounded_trail(attempts: u64) -> Result<()> {
    let (alice, client, vault_id) = ready().await?;
    let number = |sql: &str| anyhow::Ok(alice.database.value(sql)?.parse::<u64>()?);
    let before = rows(&alice)?;
    ensure!(attempts > 2 * ROWS_PER_HOUR, "a row for each attempt must be more than the bound");
    attack(&alice, &vault_id, attempts).await?;

    let mut after = rows(&alice)?;
    let counts = after.insert("oidc_stranger".to_owned(), before["oidc_stranger"]);
    assert_eq!(after, before, "rows of the other tables, audit and token uses among them");
    let fullest =
        number("select max(n) from (select count(*) n from lpm.oidc_stranger group by issuer, hour) x")?;
    assert!(fullest <= ROWS_PER_HOUR + 1 + SESSIONS, "{fullest} rows in an hour, {counts:?} in all");
    assert_eq!(number("select sum(attempts) from lpm.oidc_stranger")?, attempts, "none is lost");
    let shared =
        "select sum(attempts) from lpm_dashboard.strangers where subject is null and subject_id is null";
    assert!(number(shared)? >= attempts - 2 * fullest, "whoever came late shares a row");

    // another issuer's strangers have rows of their own, and the honest job never noticed
    let met = Job::of(&alice.issuer).repository("evil/repo", "666").pull(&client, &vault_id).await?;
    assert_eq!(met.seen(), (403, "no_policy"));
    let own = format!(
        "select count(*) from lpm_dashboard.strangers where issuer = '{}' and subject = 'repo:evil/repo' and attempts = 1 and vault_id = '{vault_id}'",
        alice.issuer
    );
    assert_eq!(number(&own)?, 1);
    let met = Job::of(&alice.issuer).pull(&client, &vault_id).await?;
    assert_eq!((met.status, met.body["vars"]["API_KEY"].as_str()), (200, Some(SECRET)), "{}", met.body);
    assert_eq!(met.trail(&alice.database)?, "ci_pull granted");
    Ok(())
}

#[tokio::test]
async fn thousands_of_attempts_of_unnamed_repositories_add_a_bounded_number_of_rows() -> Result<()> {
    leaves_a_bounded_trail(4_000).await
}

/// The same with a million: minutes.
#[tokio::test]
#[ignore = "make check-slow"]
async fn a_million_attempts_of_unnamed_repositories_add_a_bounded_number_of_rows() -> Result<()> {
    let began = std::time::Instant::now();
    leaves_a_bounded_trail(1_000_000).await?;
    println!("a million attempts of strangers: bounded, in {} s", began.elapsed().as_secs());
    Ok(())
}

#[tokio::test]
async fn who_was_counted_before_the_rows_ran_out_is_counted_on_and_the_next_hour_starts_anew() -> Result<()> {
    let (alice, client, vault_id) = ready().await?;
    let pull = async |id: &str| {
        let met = Job::of(EVIL).repository("evil/repo", id).pull(&client, &vault_id).await?;
        assert_eq!((met.seen(), met.trail(&alice.database)?.as_str()), ((403, "no_policy"), ""));
        anyhow::Ok(())
    };
    let attempts = |id: &str| {
        alice.database.value(&format!("select coalesce(sum(attempts), 0) from lpm.oidc_stranger where subject_id = '{id}' and issuer = '{EVIL}'"))
    };
    // as they stand when the rows have run out, whichever of two hours it is by now
    alice.database.value(&format!(
        "insert into lpm.oidc_stranger (issuer, hour, subject_id, vault_id, reason, subject)
         select '{EVIL}', h, n::text, '{vault_id}', 'no_policy', 'repo:evil/repo'
           from generate_series(1, {ROWS_PER_HOUR}) n,
                generate_series(date_trunc('hour', now(), 'UTC'), now() + interval '1 hour', interval '1 hour') h returning 1"
    ))?;
    pull("1").await?;
    for late in ["1001", "1002"] {
        pull(late).await?;
        assert_eq!(attempts(late)?, "0");
    }
    assert_eq!((attempts("1")?, attempts("")?), ("3".to_owned(), "2".to_owned()));
    alice.database.value("update lpm.oidc_stranger set hour = hour - interval '2 hours' returning 1")?;
    pull("1001").await?;
    assert_eq!((attempts("1001")?, attempts("")?), ("1".to_owned(), "2".to_owned()));
    // and a month later nothing is left
    alice.database.value("update lpm.oidc_stranger set hour = hour - interval '31 days' returning 1")?;
    alice.database.value("select lpm.remove_expired()")?;
    assert_eq!(rows(&alice)?["oidc_stranger"], 0);
    Ok(())
}
