//! Pages for people: HTML without scripts, and headers that let a browser do nothing else with it.
//!
//! Text gets into a page through [`maud`]'s macro only, which escapes it. The only thing that is not escaped is
//! our own style sheet.

use http::HeaderValue;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use lpm_core::failure::{Code, Failure};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use openssl::base64::encode_block;
use openssl::sha::sha256;
use std::sync::LazyLock;

const STYLE: &str = include_str!("page.css");

/// Nothing but our style, by its hash; forms go to this server, and on from here to a command line that waits on this
/// machine. (Browsers hold redirects of a form against `form-action` too.)
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = encode_block(&sha256(STYLE.as_bytes()));
    HeaderValue::try_from(format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self' http://127.0.0.1:*; \
         frame-ancestors 'none'; base-uri 'none'"
    ))
    .expect("base64 and ASCII")
});

/// A page, or a way to go on.
pub(crate) struct Page {
    pub status: u16,
    /// The machine code of a refusal, for the log.
    pub code: Option<Code>,
    location: Option<HeaderValue>,
    allow: Option<&'static str>,
    html: Markup,
}

impl Page {
    /// A page with this title, which is its heading too.
    pub(crate) fn new(status: u16, title: &str, content: &Markup) -> Self {
        let html = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    main {
                        h1 { (title) }
                        (content)
                    }
                }
            }
        };
        Self { status, code: None, location: None, allow: None, html }
    }

    /// The page that says what a failure says.
    pub(crate) fn refusal(title: &str, failure: &Failure) -> Self {
        let content = html! {
            p .bad role="alert" { (prose(&failure.text())) }
            p { (prose(&failure.hint())) }
        };
        Self::new(failure.code.status(), title, &content).because(failure.code)
    }

    /// With the reason for the log.
    pub(crate) fn because(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    /// With the methods that the path has.
    pub(crate) fn allowing(mut self, methods: &'static str) -> Self {
        self.allow = Some(methods);
        self
    }

    /// On to this address, with a GET, whatever the request was.
    pub(crate) fn see_other(title: &str, address: &str) -> Result<Self, Failure> {
        let mut page =
            Self::new(303, title, &html! { p { "The command line goes on. You can close this page." } });
        page.location = Some(HeaderValue::try_from(address).map_err(|_| Code::Internal)?);
        Ok(page)
    }

    /// The body, once its headers are where they belong.
    pub(crate) fn into_body(self, headers: &mut HeaderMap) -> String {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
        if let Some(location) = self.location {
            headers.insert(LOCATION, location);
        }
        if let Some(methods) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(methods));
        }
        self.html.into_string()
    }
}

/// A text of the failure table as a sentence: they begin in lower case and have no full stop, for they go behind `error:`,
/// and what they quote stands between backticks.
pub(crate) fn prose(text: &str) -> Markup {
    let mut chars = text.chars();
    let sentence = match chars.next() {
        None => String::new(),
        Some(first) => format!("{}{}.", first.to_uppercase(), chars.as_str()),
    };
    html! {
        @for (index, part) in sentence.split('`').enumerate() {
            @if index % 2 == 0 { (part) } @else { code { (part) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_wherever_it_goes() {
        let failure = Failure::new(Code::BadRequest).with("reason", "<script>alert(\"1\")</script> & 'more'");
        let page = Page::refusal("a <b>", &failure).into_body(&mut HeaderMap::new());
        assert!(!page.contains("<script") && !page.contains("a <b>"), "{page}");
        assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; 'more'"), "{page}");
        assert!(page.contains("<title>a &lt;b&gt;</title>"), "{page}");
    }

    #[test]
    fn the_policy_allows_the_very_style_that_the_page_has() {
        let mut headers = HeaderMap::new();
        let page = Page::new(200, "x", &html! {}).into_body(&mut headers);
        let (_, rest) = page.split_once("<style>").expect("a style");
        let (style, _) = rest.split_once("</style>").expect("its end");
        let allowed = format!("'sha256-{}'", encode_block(&sha256(style.as_bytes())));
        let policy = headers[CONTENT_SECURITY_POLICY].to_str().expect("ASCII");
        assert!(policy.contains(&allowed), "{policy}");
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("script"), "{policy}");
    }

    #[test]
    fn a_text_of_the_failure_table_becomes_a_sentence() {
        assert_eq!(prose("no `<b>` here").into_string(), "No <code>&lt;b&gt;</code> here.");
        assert_eq!(prose("`x` is").into_string(), "<code>x</code> is.");
        assert_eq!(prose("").into_string(), "");
    }
}
