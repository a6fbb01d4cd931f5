//! Is anybody there?

use super::{Gateway, Outcome};
use crate::reply::Answer;
use std::sync::Arc;

/// Is the process alive? Asks nobody.
pub(crate) async fn alive() -> Outcome {
    Ok(Answer::new(200, r#"{"status":"ok"}"#))
}

/// Can requests be answered?
pub(crate) async fn ready(gateway: Arc<Gateway>) -> Outcome {
    Ok(gateway.db.ready().await?)
}
