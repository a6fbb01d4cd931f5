//! To which trace a request belongs, as its caller says: <https://www.w3.org/TR/trace-context/#traceparent-header>.
//!
//! It goes into the log and nowhere else. What is not well-formed is as good as nothing, as the standard has it.

use http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `00-` trace id `-` parent id `-01`; later versions may go on behind another `-`.
const LENGTH: usize = 55;

/// A `traceparent`, checked: ASCII of fixed length.
pub(super) struct TraceParent([u8; LENGTH]);

impl TraceParent {
    /// What the only header of this name says.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => Self::parse(value.as_bytes()),
            _ => None,
        }
    }

    fn parse(value: &[u8]) -> Option<Self> {
        let (fixed, rest) = value.split_first_chunk::<LENGTH>()?;
        let hex = |part: &[u8]| part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let zero = |part: &[u8]| part.iter().all(|byte| *byte == b'0');
        let [version, trace, parent, flags] = [&fixed[..2], &fixed[3..35], &fixed[36..52], &fixed[53..]];
        let separated = [2, 35, 52].iter().all(|at| fixed[*at] == b'-');
        let ends = rest.is_empty() || (version != b"00" && rest.starts_with(b"-"));
        let valid = [version, trace, parent, flags].into_iter().all(hex) && version != b"ff";
        (separated && ends && valid && !zero(trace) && !zero(parent)).then_some(Self(*fixed))
    }

    pub(super) fn trace_id(&self) -> &str {
        self.text(3..35)
    }

    /// The caller's own step of the trace.
    pub(super) fn parent_id(&self) -> &str {
        self.text(36..52)
    }

    fn text(&self, part: std::ops::Range<usize>) -> &str {
        std::str::from_utf8(&self.0[part]).expect("hexadecimal digits were checked")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    /// The standard's own example.
    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parse(text: &str) -> Option<(String, String)> {
        let found = TraceParent::parse(text.as_bytes())?;
        Some((found.trace_id().to_owned(), found.parent_id().to_owned()))
    }

    #[test]
    fn a_valid_header_gives_both_ids() {
        let expected = ("4bf92f3577b34da6a3ce929d0e0e4736".to_owned(), "00f067aa0ba902b7".to_owned());
        for text in [
            VALID.to_owned(),
            VALID.replace("-01", "-00"),
            VALID.replace("00-4", "cc-4"),
            VALID.replace("00-4", "cc-4") + "-what-the-future-will-be-like",
        ] {
            assert_eq!(parse(&text), Some(expected.clone()), "{text}");
        }
    }

    #[test]
    fn a_malformed_header_is_none() {
        for (problem, text) in [
            ("empty", String::new()),
            ("short", VALID[..54].to_owned()),
            ("long", format!("{VALID}-00")),
            ("longer by nothing", format!("{VALID}-")),
            ("a later version without its separator", format!("{}.x", VALID.replace("00-4", "cc-4"))),
            ("a version that is none", VALID.replace("00-4", "ff-4")),
            ("upper case in the trace id", VALID.replace("4bf9", "4BF9")),
            ("upper case in the version", VALID.replace("00-4", "CC-4")),
            ("no trace id", VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32))),
            ("no parent id", VALID.replace("00f067aa0ba902b7", &"0".repeat(16))),
            ("no hexadecimal digits", VALID.replace("4bf9", "4bg9")),
            ("flags that are none", VALID.replace("-01", "-0.")),
            ("other separators", VALID.replace('-', "_")),
            ("not ASCII", VALID.replace("4bf9", "4bé")),
            ("a line of JSON", VALID.replace("4bf9", "4b\",")),
        ] {
            assert_eq!(parse(&text), None, "{problem}: {text}");
        }
    }

    #[test]
    fn two_headers_are_none() {
        let mut headers = HeaderMap::new();
        assert!(TraceParent::of(&headers).is_none());
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert!(TraceParent::of(&headers).is_some());
        headers.append(TRACEPARENT, HeaderValue::from_static(VALID));
        assert!(TraceParent::of(&headers).is_none());
    }
}
