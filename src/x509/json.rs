//! Reads JSON that was signed: objects only where objects are meant, members once, texts without copies, and messages of bounded length.
//!
//! Bodies of the REST API are read by `http/extract/json.rs`, which says where in a document something is wrong.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::printable;
use crate::error::{Error, Result};

/// A text that is borrowed from the input unless it has escapes.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Text<'_> {
    /// Returns a copy of the text.
    pub(crate) fn into_owned(self) -> String {
        self.0.into_owned()
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// A value that must be written as an object. What serde derives for a struct would also take a list of the members' values.
#[derive(Debug)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        object(deserializer).map(Self)
    }
}

/// Reads a value that must be written as an object.
pub(crate) fn object<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Members<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Members(PhantomData))
}

/// Reads one JSON object and nothing behind it.
///
/// # Errors
/// `Malformed`: not JSON, another value than an object, members that are missing, unknown, double or of the wrong type.
pub(crate) fn parse_object<'a, T: Deserialize<'a>>(octets: &'a [u8], what: &str) -> Result<T> {
    serde_json::from_slice(octets).map(|Object(value)| value).map_err(|error| {
        Error::malformed(format!("{what}: {}", printable::text(&error.to_string()))).with_source(error)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example<'a> {
        #[serde(borrow)]
        a: Text<'a>,
    }

    fn refusal(text: &str) -> String {
        parse_object::<Example<'_>>(text.as_bytes(), "the example").unwrap_err().detail().to_owned()
    }

    #[test]
    fn texts_are_borrowed_unless_they_have_escapes() {
        let Example { a } = parse_object(br#" {"a": "b"} "#, "the example").unwrap();
        assert!(matches!(a, Text(Cow::Borrowed("b"))));
        let Example { a } = parse_object(br#"{"a":"\u0062"}"#, "the example").unwrap();
        assert_eq!(a.into_owned(), "b");
    }

    #[test]
    fn lists_double_members_and_what_follows_are_refused() {
        assert!(refusal(r#"["b"]"#).contains("the example: invalid type: sequence, expected an object"));
        assert!(refusal(r#"{"a":"b","a":"b"}"#).contains("duplicate field `a`"));
        assert!(refusal(r#"{"a":"b"}{}"#).contains("trailing characters"));
        assert!(refusal(r#"{"a":["b"]}"#).contains("invalid type: sequence, expected"));
        assert!(refusal("").contains("EOF"));
    }

    #[test]
    fn messages_are_one_bounded_line() {
        let shown = refusal(&format!(r#"{{"a":"b","\n{}":1}}"#, "x".repeat(100_000)));
        assert!(shown.chars().count() < 400 && !shown.contains('\n'), "{shown}");
    }
}
