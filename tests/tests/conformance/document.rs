//! `/openapi.json` as a judge: an answer has a documented status and a body that the document describes in full.

use anyhow::{Context, Result, bail, ensure};
use lpm_tests::gateway::Gateway;
use lpm_tests::published::Exchange;
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

/// The document of this build, and the same with nothing allowed that it does not name.
pub(crate) struct Document {
    open: Value,
    closed: Value,
}

impl Document {
    /// As a gateway serves it; every gateway of this build serves the same.
    pub(crate) async fn of(gateway: &Gateway) -> Result<&'static Self> {
        static DOCUMENT: OnceCell<Document> = OnceCell::const_new();
        DOCUMENT
            .get_or_try_init(async || {
                let open = gateway.get("/openapi.json", None).await?.json();
                ensure!(open["openapi"] == "3.1.0", "no document of version 3.1");
                let mut closed = open.clone();
                let schemas = closed["components"]["schemas"].as_object_mut().context("schemas")?;
                for schema in schemas.values_mut() {
                    close(&open, schema)?;
                }
                Ok(Self { open, closed })
            })
            .await
    }

    /// Whether the answer is one that the document promises. A request that succeeds has to be in it as well.
    pub(crate) fn check(&self, exchange: &Exchange) -> Result<()> {
        let path = exchange.target.split('?').next().unwrap_or_default();
        let (name, item) = self.path(path)?;
        let case = format!("{} {name} {}", exchange.method, exchange.reply.status);
        let operation = &item[exchange.method.to_lowercase()];
        ensure!(operation.is_object(), "{case}: no such operation");
        let status = exchange.reply.status.as_u16().to_string();
        let response = operation["responses"].get(&status);
        let response =
            response.with_context(|| format!("{case} is not documented: {}", exchange.reply.text()))?;

        for header in response["headers"].as_object().into_iter().flat_map(Map::keys) {
            ensure!(!exchange.reply.header(header).is_empty(), "{case} has no {header}");
        }
        let signed = !exchange.reply.header("x-lpm-signature").is_empty();
        ensure!(signed == response["headers"].get("X-LPM-Signature").is_some(), "{case}: signed: {signed}");

        let content_type = exchange.reply.header("content-type");
        let schema = &response["content"][&content_type]["schema"];
        ensure!(!schema.is_null(), "{case} is `{content_type}`, which is not documented");
        let body =
            serde_json::from_slice(&exchange.reply.bytes).with_context(|| format!("{case}: no JSON"))?;
        self.fits(&self.closed, schema, &body).with_context(|| format!("{case}: {body}"))?;

        if exchange.reply.status.is_success() {
            self.has_documented_request(exchange, operation).with_context(|| case)?;
        }
        Ok(())
    }

    fn has_documented_request(&self, exchange: &Exchange, operation: &Value) -> Result<()> {
        let head = exchange.sent.windows(4).position(|window| window == b"\r\n\r\n").context("a head")?;
        let body = &exchange.sent[head + 4..];
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        match (body.is_empty(), schema.is_null()) {
            (true, true) => Ok(()),
            (true, false) => bail!("the document asks for a body"),
            // an empty object says nothing
            (false, true) => {
                ensure!(body == b"{}", "the document knows no body");
                Ok(())
            }
            (false, false) => self.fits(&self.open, schema, &serde_json::from_slice(body)?),
        }
    }

    /// The path of the document that this one is. What is spelt out goes before a place for anything.
    fn path(&self, path: &str) -> Result<(&str, &Value)> {
        let path = path.strip_prefix('/').filter(|rest| rest.starts_with('/')).unwrap_or(path);
        let paths = self.open["paths"].as_object().context("paths")?;
        let fits = |name: &str| {
            name.split('/').count() == path.split('/').count()
                && name.split('/').zip(path.split('/')).all(|(a, b)| a == b || a.starts_with('{'))
        };
        let mut found: Vec<(&str, &Value)> =
            paths.iter().map(|(name, item)| (name.as_str(), item)).filter(|(name, _)| fits(name)).collect();
        found.sort_by_key(|(name, _)| name.matches('{').count());
        found.first().copied().with_context(|| format!("`{path}` is not documented"))
    }

    fn fits(&self, document: &Value, schema: &Value, instance: &Value) -> Result<()> {
        let mut schema = schema.clone();
        if std::ptr::eq(document, &self.closed) {
            close(&self.open, &mut schema)?;
        }
        let whole = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "components": document["components"], "allOf": [schema],
        });
        let validator = jsonschema::options().should_validate_formats(true).build(&whole)?;
        let problems: Vec<String> = validator
            .iter_errors(instance)
            .map(|problem| format!("{problem} at `{}`", problem.instance_path()))
            .collect();
        ensure!(problems.is_empty(), "{}", problems.join("; "));
        Ok(())
    }
}

/// Lets no object have a member that its schema does not name. Composed objects are put together first: their parts
/// do not know of each other.
fn close(document: &Value, schema: &mut Value) -> Result<()> {
    if let Some(parts) = schema.get("allOf").and_then(Value::as_array) {
        *schema = merged(document, parts)?;
    }
    match schema {
        Value::Array(items) => items.iter_mut().try_for_each(|item| close(document, item)),
        Value::Object(members) => {
            if members.contains_key("properties") && !members.contains_key("additionalProperties") {
                members.insert("additionalProperties".to_owned(), false.into());
            }
            members.values_mut().try_for_each(|member| close(document, member))
        }
        _ => Ok(()),
    }
}

fn merged(document: &Value, parts: &[Value]) -> Result<Value> {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in parts {
        let part = match part["$ref"].as_str() {
            Some(reference) => document.pointer(reference.trim_start_matches('#')).context("a reference")?,
            None => part,
        };
        properties.extend(part["properties"].as_object().context("a part of an object")?.clone());
        required.extend(part["required"].as_array().into_iter().flatten().cloned());
    }
    Ok(json!({"type": "object", "properties": properties, "required": required}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lpm_tests::gateway::Reply;
    use reqwest::header::{HeaderMap, HeaderValue};

    fn document() -> Document {
        let open = json!({
            "paths": {"/x/{a}": {"get": {"responses": {"200": {"content": {"application/json": {"schema":
                {"$ref": "#/components/schemas/Whole"}}}}}}}},
            "components": {"schemas": {
                "Part": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                "Whole": {"allOf": [{"$ref": "#/components/schemas/Part"},
                    {"type": "object", "properties": {"id": {"type": "string", "format": "uuid"}}}]},
            }},
        });
        let mut closed = open.clone();
        for schema in closed["components"]["schemas"].as_object_mut().expect("schemas").values_mut() {
            close(&open, schema).expect("parts of objects");
        }
        Document { open, closed }
    }

    fn exchange(target: &str, status: u16, body: &str) -> Exchange {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        let reply = Reply { status: status.try_into().expect("a status"), headers, bytes: body.into() };
        Exchange { method: "GET", target: target.to_owned(), sent: b"GET\r\n\r\n".to_vec(), reply }
    }

    #[test]
    fn an_answer_that_the_document_does_not_describe_is_found() {
        let document = document();
        assert!(document.check(&exchange("/x/1?y", 200, r#"{"a":1}"#)).is_ok());
        for (case, target, status, body) in [
            ("another path", "/y/1", 200, r#"{"a":1}"#),
            ("another status", "/x/1", 201, r#"{"a":1}"#),
            ("a member that is not named", "/x/1", 200, r#"{"a":1,"b":2}"#),
            ("a member missing", "/x/1", 200, "{}"),
            ("another type", "/x/1", 200, r#"{"a":"1"}"#),
            ("another format", "/x/1", 200, r#"{"a":1,"id":"x"}"#),
            ("no JSON", "/x/1", 200, "x"),
        ] {
            assert!(document.check(&exchange(target, status, body)).is_err(), "{case}");
        }
    }
}
