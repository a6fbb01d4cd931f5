//! Login sessions: the page that signs in, the code it gives, the sessions that codes buy, and the tokens that they
//! are made of.

mod codes;
mod ends;
mod page;
mod published;
mod refresh;
mod tokens;

use anyhow::Result;
use lpm_tests::gateway::Reply;
use lpm_tests::stack::Stack;

/// Status and machine code of a refusal.
pub(crate) fn refused(reply: &Reply) -> (u16, String) {
    (reply.status.as_u16(), reply.code())
}

/// Who the bearer is, or why not.
pub(crate) async fn whoami(stack: &Stack, token: &str) -> Result<Reply> {
    stack.gateway.get("/api/registry/-/whoami", Some(token)).await
}

/// Asserts that a token is good for its account, or that it is not for this reason.
pub(crate) async fn is_good(stack: &Stack, token: &str) -> Result<bool> {
    let reply = whoami(stack, token).await?;
    assert!([200, 401].contains(&reply.status.as_u16()), "{}", reply.text());
    Ok(reply.status == 200)
}

/// The trail of what an action did, newest last: decision and reason.
pub(crate) fn trail(stack: &Stack, action: &str) -> Result<String> {
    stack.database().value(&format!(
        "select coalesce(string_agg(concat_ws(' ', decision, reason), ', ' order by id), '') from lpm.audit_log
          where action = '{action}' and user_id is not null"
    ))
}
