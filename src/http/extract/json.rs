//! Strict JSON: unknown fields and duplicate keys are refused, and an error names the path of what is wrong.

use std::fmt;

use actix_web::{FromRequest, HttpRequest, dev};
use futures_util::future::LocalBoxFuture;
use serde::de::{DeserializeOwned, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::body::{limits, read, unsupported};
use crate::ca::issuance::Idempotency;
use crate::error::{Error, Result};

/// A type that is read from a JSON body.
pub trait RequestBody: DeserializeOwned + 'static {
    /// Whether it carries a CSR, so that the smaller limit holds.
    const CARRIES_CSR: bool = false;

    /// What an empty body or `null` means, if it means anything.
    #[must_use]
    fn when_empty() -> Option<Self> {
        None
    }
}

/// A JSON body with the idempotency key that was sent along.
#[derive(Clone, Debug)]
pub struct JsonBody<T> {
    /// The value.
    pub value: T,
    /// The idempotency key, if the request has one.
    pub idempotency: Option<Idempotency>,
}

impl<T: RequestBody> FromRequest for JsonBody<T> {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), payload.take());
        Box::pin(async move {
            let (csr_limit, body_limit) = limits(&request)?;
            let submission = read(&request, payload, if T::CARRIES_CSR { csr_limit } else { body_limit }).await?;
            if matches!(submission.octets.trim_ascii(), b"" | b"null")
                && let Some(value) = T::when_empty()
            {
                return Ok(Self { value, idempotency: submission.idempotency });
            }
            if submission.media_type != "application/json" {
                return Err(unsupported(&submission.media_type, &["application/json"]));
            }
            Ok(Self { value: parse(&submission.octets)?, idempotency: submission.idempotency })
        })
    }
}

/// Reads JSON strictly.
///
/// # Errors
/// `Malformed`, naming the path and what is known there.
pub fn parse<T: DeserializeOwned>(octets: &[u8]) -> Result<T> {
    // To keep note of the path costs more than to read, and is needed by errors only.
    let unique = serde_json::from_slice::<UniqueKeys>(octets);
    match unique.and_then(|UniqueKeys| serde_json::from_slice(octets)) {
        Ok(value) => Ok(value),
        Err(_) => parse_with_path(octets),
    }
}

fn parse_with_path<T: DeserializeOwned>(octets: &[u8]) -> Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(octets);
    serde_path_to_error::deserialize::<_, UniqueKeys>(&mut deserializer).map_err(refusal)?;
    deserializer.end().map_err(|error| Error::malformed(format!("the body is not one JSON value: {error}")))?;
    let mut deserializer = serde_json::Deserializer::from_slice(octets);
    serde_path_to_error::deserialize(&mut deserializer).map_err(refusal)
}

fn refusal(error: serde_path_to_error::Error<serde_json::Error>) -> Error {
    let path = error.path().to_string();
    let inner = error.into_inner();
    if inner.is_syntax() || inner.is_eof() {
        return Error::malformed(format!("the body is not JSON: {inner}"));
    }
    let place = format!(" at line {} column {}", inner.line(), inner.column());
    let text = inner.to_string();
    let message = known(text.strip_suffix(&place).unwrap_or(&text));
    // The path of an unknown field already ends in the field.
    let detail =
        if path == "." { message } else { format!("{message} (at `{}`)", crate::http::problem::shorten(&path)) };
    Error::malformed(detail)
}

/// Says in the words of JSON what serde says in those of Rust: what is known where it says what it expected, and which kind of value it
/// expected where another one is.
pub(crate) fn known(message: &str) -> String {
    if message.starts_with("invalid ")
        && let Some((found, expected)) = message.rsplit_once(", expected ")
    {
        return format!("{}, expected {}", found_words(found), expected_words(expected));
    }
    if !message.starts_with("unknown ") {
        return message.to_owned();
    }
    let message = match message.strip_prefix("unknown variant ") {
        Some(rest) => format!("unknown value {rest}"),
        None => message.to_owned(),
    };
    message
        .replace(", expected one of ", "; known are ")
        .replace(", there are no fields", "; no fields are known here")
        .replace(", expected ", "; known are ")
}

/// Renames the kind of value that was found.
fn found_words(found: &str) -> String {
    const KINDS: [(&str, &str); 6] = [
        ("invalid type: sequence", "invalid type: a list"),
        ("invalid type: map", "invalid type: an object"),
        ("invalid type: string", "invalid type: text"),
        ("invalid type: unit value", "invalid type: null"),
        ("invalid type: floating point", "invalid type: number"),
        ("invalid type: integer", "invalid type: number"),
    ];
    let renamed = KINDS.iter().find_map(|(serde, ours)| found.strip_prefix(serde).map(|rest| format!("{ours}{rest}")));
    renamed.unwrap_or_else(|| found.to_owned())
}

/// Names the kind of value that was expected.
fn expected_words(expected: &str) -> String {
    let whole = |least: i128, greatest: i128| format!("a whole number from {least} to {greatest}");
    match expected {
        "u8" => whole(0, u8::MAX.into()),
        "u16" => whole(0, u16::MAX.into()),
        "u32" => whole(0, u32::MAX.into()),
        "u64" | "usize" => whole(0, u64::MAX.into()),
        "i8" => whole(i8::MIN.into(), i8::MAX.into()),
        "i16" => whole(i16::MIN.into(), i16::MAX.into()),
        "i32" => whole(i32::MIN.into(), i32::MAX.into()),
        "i64" | "isize" => whole(i64::MIN.into(), i64::MAX.into()),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" | "bool" => "`true` or `false`".to_owned(),
        "a string" | "string" | "a borrowed string" | "string or map" | "string only" | "variant identifier" => {
            "text".to_owned()
        }
        "a map" | "map" => "an object".to_owned(),
        "a sequence" | "sequence" => "a list".to_owned(),
        "unit" | "null" => "null".to_owned(),
        _ if expected.starts_with("struct ") || expected.contains("tagged enum ") => "an object".to_owned(),
        _ if expected.starts_with("enum ") => "text".to_owned(),
        _ if expected.starts_with("a tuple ") || expected.starts_with("an array ") => "a list".to_owned(),
        _ => expected.to_owned(),
    }
}

/// Reads an object whose `kind` decides what the rest of it is. serde's own way of doing so forgets where in it an error is.
pub(crate) fn by_kind<'de, D, T>(
    deserializer: D,
    kinds: &'static [&'static str],
    read: impl FnOnce(&str, serde_json::Value) -> Option<Result<T, serde_path_to_error::Error<serde_json::Error>>>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
{
    let mut object = serde_json::Map::deserialize(deserializer)?;
    let kind = match object.remove("kind") {
        Some(serde_json::Value::String(kind)) => kind,
        Some(_) => return Err(de::Error::custom(format!("`kind` is text; known are `{}`", kinds.join("`, `")))),
        None => return Err(de::Error::missing_field("kind")),
    };
    match read(&kind, serde_json::Value::Object(object)) {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => {
            let path = error.path().to_string();
            let message = known(&error.into_inner().to_string());
            let place =
                if path == "." { String::new() } else { format!(" (at `{}`)", crate::http::problem::shorten(&path)) };
            Err(de::Error::custom(format!("{message}{place}")))
        }
        None => Err(de::Error::custom(format!(
            "unknown value `{}`; known are `{}` (at `kind`)",
            crate::http::problem::shorten(&kind),
            kinds.join("`, `")
        ))),
    }
}

/// Any JSON value; reading one checks that no object in it has a key twice, which serde's maps and flattened structs let pass.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeysVisitor)
    }
}

struct UniqueKeysVisitor;

impl<'de> Visitor<'de> for UniqueKeysVisitor {
    type Value = UniqueKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }
    fn visit_bool<E>(self, _value: bool) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }
    fn visit_i64<E>(self, _value: i64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }
    fn visit_u64<E>(self, _value: u64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }
    fn visit_f64<E>(self, _value: f64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }
    fn visit_str<E>(self, _value: &str) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }
    fn visit_unit<E>(self) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<UniqueKeys, A::Error> {
        while sequence.next_element::<UniqueKeys>()?.is_some() {}
        Ok(UniqueKeys)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys, A::Error> {
        let mut seen = std::collections::HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if seen.contains(&key) {
                return Err(de::Error::custom(format!(
                    "the key `{}` is there more than once",
                    crate::http::problem::shorten(&key)
                )));
            }
            map.next_value::<UniqueKeys>()?;
            seen.insert(key);
        }
        Ok(UniqueKeys)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use std::collections::BTreeMap;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Vec<Inner>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        a: u8,
        #[serde(default)]
        b: u8,
    }

    fn detail(text: &str) -> String {
        let error = parse::<Outer>(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Malformed);
        error.detail().to_owned()
    }

    #[test]
    fn a_whole_value_is_read() {
        let value: Outer = parse(br#"{"inner": [{"a": 1}], "labels": {"k": "v"}}"#).unwrap();
        assert_eq!(value.inner, [Inner { a: 1, b: 0 }]);
    }

    #[test]
    fn an_unknown_field_is_named_with_its_path_and_the_known_ones() {
        assert_eq!(
            detail(r#"{"inner": [{"a": 1}, {"c": 2}]}"#),
            "unknown field `c`; known are `a` or `b` (at `inner[1].c`)"
        );
    }

    #[test]
    fn a_wrong_type_is_named_with_its_path() {
        assert_eq!(
            detail(r#"{"inner": [{"a": 300}]}"#),
            "invalid value: integer `300`, expected a whole number from 0 to 255 (at `inner[0].a`)"
        );
        assert_eq!(
            detail(r#"{"inner": {"u8": ", expected u8"}}"#),
            "invalid type: an object, expected a list (at `inner`)"
        );
        assert_eq!(detail(r#"{"inner": [[]]}"#), "invalid length 0, expected an object (at `inner[0]`)");
        assert_eq!(detail(r#"{"inner": [5]}"#), "invalid type: number `5`, expected an object (at `inner[0]`)");
        assert!(!detail("[1]").contains("struct"));
    }

    #[test]
    fn a_key_twice_is_refused_in_structs_and_in_maps() {
        assert!(detail(r#"{"inner": [], "inner": []}"#).contains("the key `inner` is there more than once"));
        assert!(detail(r#"{"inner": [], "labels": {"k": "1", "k": "2"}}"#).contains("(at `labels"));
    }

    #[test]
    fn rests_and_broken_text_are_refused() {
        assert!(detail(r#"{"inner": []} {}"#).starts_with("the body is not one JSON value"));
        assert!(detail(r#"{"inner": ["#).starts_with("the body is not JSON"));
        assert!(detail("").starts_with("the body is not JSON"));
    }

    #[test]
    fn depth_is_bounded() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(detail(&deep).contains("recursion limit"));
    }
}
