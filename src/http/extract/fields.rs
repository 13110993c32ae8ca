//! Query parameters, and JSON objects with the same names: read field by field, unknown and repeated ones refused.

use std::fmt::Display;
use std::future::{Ready, ready};
use std::str::FromStr;

use actix_web::{FromRequest, HttpRequest, dev};
use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer as _;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::http::problem::shorten;

/// The longest value: names have 2,048 octets at most, cursors and times far less.
const LONGEST: usize = 4096;
/// The most parameters of one request.
const MOST: usize = 200;

/// The fields of a query or of a JSON object that has the same names. Each is taken by name; [`Fields::finish`] refuses what is left.
#[derive(Clone, Debug)]
pub struct Fields {
    given: Vec<(String, String)>,
    known: Vec<&'static str>,
    noun: &'static str,
}

impl Fields {
    /// Reads a query string (`application/x-www-form-urlencoded`).
    ///
    /// # Errors
    /// `Malformed` when there are too many parameters.
    pub fn from_query(query: &str) -> Result<Self> {
        let given: Vec<(String, String)> =
            url::form_urlencoded::parse(query.as_bytes()).into_owned().take(MOST + 1).collect();
        Self::bounded(given, "query parameter")
    }

    /// Reads a JSON object whose values are strings, numbers, booleans, or lists of these; null is as if it were not there.
    ///
    /// # Errors
    /// `Malformed` for other values.
    pub fn from_json(object: &Map<String, Value>) -> Result<Self> {
        let mut given = Vec::new();
        for (name, value) in object {
            match value {
                Value::Null => {}
                Value::Array(values) => {
                    for value in values {
                        given.push((name.clone(), plain(name, value)?));
                    }
                }
                value => given.push((name.clone(), plain(name, value)?)),
            }
        }
        Self::bounded(given, "field")
    }

    fn bounded(given: Vec<(String, String)>, noun: &'static str) -> Result<Self> {
        if given.len() > MOST {
            return Err(Error::malformed(format!("there are more than {MOST} {noun}s")));
        }
        if let Some((name, _)) = given.iter().find(|(name, value)| name.contains('\0') || value.contains('\0')) {
            return Err(Error::malformed(format!(
                "the {noun} `{}` holds a NUL character",
                shorten(name).escape_default()
            )));
        }
        if let Some((name, _)) = given.iter().find(|(_, value)| value.len() > LONGEST) {
            return Err(Error::malformed(format!("the {noun} `{}` is over {LONGEST} octets", shorten(name))));
        }
        Ok(Self { given, known: Vec::new(), noun })
    }

    /// Whether there is no field at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.given.is_empty()
    }

    /// Takes every value of a field, in order.
    pub fn all(&mut self, name: &'static str) -> Vec<String> {
        self.known.push(name);
        let (taken, left) = std::mem::take(&mut self.given).into_iter().partition(|(given, _)| given == name);
        self.given = left;
        let taken: Vec<(String, String)> = taken;
        taken.into_iter().map(|(_, value)| value).collect()
    }

    /// Takes the value of a field that may be there once.
    ///
    /// # Errors
    /// `Malformed` when it is there more than once.
    pub fn one(&mut self, name: &'static str) -> Result<Option<String>> {
        let mut values = self.all(name).into_iter();
        let first = values.next();
        if values.next().is_some() {
            return Err(Error::malformed(format!("the {} `{name}` is there more than once", self.noun)));
        }
        Ok(first)
    }

    /// Takes and parses the value of a field.
    ///
    /// # Errors
    /// `Malformed`, naming the field, when it cannot be parsed.
    pub fn parsed<T: FromStr<Err: Display>>(&mut self, name: &'static str) -> Result<Option<T>> {
        let noun = self.noun;
        self.one(name)?
            .map(|text| {
                text.parse().map_err(|error| Error::malformed(format!("the {noun} `{name}` is not valid: {error}")))
            })
            .transpose()
    }

    /// Takes the value of a field that is one of the words of an enumeration.
    ///
    /// # Errors
    /// `Malformed`, naming the words.
    pub fn word<T: DeserializeOwned>(&mut self, name: &'static str) -> Result<Option<T>> {
        let noun = self.noun;
        let Some(text) = self.one(name)? else { return Ok(None) };
        let parsed: Result<T, serde::de::value::Error> = T::deserialize(shorten(&text).into_deserializer());
        parsed.map(Some).map_err(|error| {
            Error::malformed(format!("the {noun} `{name}` is not valid: {}", super::json::known(&error.to_string())))
        })
    }

    /// Takes a field that is `true` or `false`.
    ///
    /// # Errors
    /// `Malformed` when it is neither.
    pub fn flag(&mut self, name: &'static str) -> Result<bool> {
        Ok(self.parsed::<bool>(name)?.unwrap_or(false))
    }

    /// Refuses what was not taken.
    ///
    /// # Errors
    /// `Malformed`, naming the first that is not known and those that are.
    pub fn finish(self) -> Result<()> {
        let Some((unknown, _)) = self.given.first() else { return Ok(()) };
        let known = if self.known.is_empty() {
            "none is known here".to_owned()
        } else {
            format!("known are `{}`", self.known.join("`, `"))
        };
        Err(Error::malformed(format!("unknown {} `{}`; {known}", self.noun, shorten(unknown))))
    }
}

fn plain(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(Error::malformed(format!(
            "the field `{}` must be a string, a number, a boolean, or a list of these",
            shorten(name)
        ))),
    }
}

/// A type that is read from fields.
pub trait FromFields: Sized + 'static {
    /// Takes its fields.
    ///
    /// # Errors
    /// `Malformed`, naming the field.
    fn from_fields(fields: &mut Fields) -> Result<Self>;
}

/// No fields: every one is refused.
impl FromFields for () {
    fn from_fields(_fields: &mut Fields) -> Result<Self> {
        Ok(())
    }
}

/// The query parameters of a request.
#[derive(Clone, Debug)]
pub struct Parameters<T>(pub T);

impl<T: FromFields> Parameters<T> {
    /// Reads a query string.
    ///
    /// # Errors
    /// `Malformed` for a bad, unknown or repeated parameter.
    pub fn read(query: &str) -> Result<Self> {
        let mut fields = Fields::from_query(query)?;
        let value = T::from_fields(&mut fields)?;
        fields.finish()?;
        Ok(Self(value))
    }
}

impl<T: FromFields> FromRequest for Parameters<T> {
    type Error = Error;
    type Future = Ready<Result<Self>>;

    fn from_request(request: &HttpRequest, _payload: &mut dev::Payload) -> Self::Future {
        ready(Self::read(request.query_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Colour {
        Red,
        Green,
    }

    #[derive(Debug, PartialEq)]
    struct Sample {
        limit: Option<u16>,
        colour: Option<Colour>,
        labels: Vec<String>,
    }

    impl FromFields for Sample {
        fn from_fields(fields: &mut Fields) -> Result<Self> {
            Ok(Self { limit: fields.parsed("limit")?, colour: fields.word("colour")?, labels: fields.all("label") })
        }
    }

    fn read(query: &str) -> Result<Sample> {
        Parameters::read(query).map(|parameters: Parameters<Sample>| parameters.0)
    }

    #[test]
    fn parameters_are_decoded() {
        let expected =
            Sample { limit: Some(5), colour: Some(Colour::Green), labels: vec!["a:1 2".into(), "b:".into()] };
        assert_eq!(read("limit=5&colour=green&label=a%3A1+2&label=b:").unwrap(), expected);
        assert_eq!(read("").unwrap(), Sample { limit: None, colour: None, labels: vec![] });
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused_by_name() {
        let detail = |query: &str| read(query).unwrap_err().detail().to_owned();
        assert_eq!(detail("limt=5"), "unknown query parameter `limt`; known are `limit`, `colour`, `label`");
        assert_eq!(detail("limit=5&limit=5"), "the query parameter `limit` is there more than once");
        assert_eq!(
            detail("colour=blue"),
            "the query parameter `colour` is not valid: unknown value `blue`; known are `red` or `green`"
        );
        assert!(detail("limit=x").starts_with("the query parameter `limit` is not valid"));
        assert!(read(&"label=a&".repeat(201)).is_err());
    }

    #[test]
    fn a_json_object_gives_the_same_fields() {
        let object = serde_json::json!({"limit": 7, "label": ["a:1", "b:2"], "colour": null});
        let mut fields = Fields::from_json(object.as_object().unwrap()).unwrap();
        let sample = Sample::from_fields(&mut fields).unwrap();
        assert_eq!(sample, Sample { limit: Some(7), colour: None, labels: vec!["a:1".into(), "b:2".into()] });
        fields.finish().unwrap();
        let nested = serde_json::json!({"limit": {"a": 1}});
        assert!(Fields::from_json(nested.as_object().unwrap()).is_err());
    }
}
