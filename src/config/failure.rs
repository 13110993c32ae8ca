//! What can be wrong with a setting, and how that is said: the setting's path, where it was written, and the nearest valid name.

use std::fmt;
use std::sync::Arc;

use serde::de::{Expected, Unexpected};

use crate::error::Error;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// In the file, at this line and column, both from 1.
    File { name: Arc<str>, line: usize, column: usize },
    /// In this environment variable.
    Environment(Arc<str>),
    /// On the command line.
    CommandLine,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "in {name} (line {line}, column {column})"),
            Self::Environment(name) => write!(f, "in the environment variable `{name}`"),
            Self::CommandLine => f.write_str("on the command line"),
        }
    }
}

/// One step of a setting's path.
#[derive(Clone, Debug)]
pub(super) enum Segment {
    Key(String),
    Index(usize),
}

/// A setting that is not valid.
#[derive(Debug)]
pub(super) struct Failure {
    /// The innermost step first.
    path: Vec<Segment>,
    origin: Option<Origin>,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    Message(String),
    UnknownKey { key: String, known: &'static [&'static str] },
    UnknownValue { value: String, known: &'static [&'static str] },
    Missing(&'static str),
}

impl Failure {
    pub(super) fn message(message: impl Into<String>) -> Self {
        Self::new(Problem::Message(message.into()))
    }

    const fn new(problem: Problem) -> Self {
        Self { path: Vec::new(), origin: None, problem }
    }

    /// Adds an outer step of the path.
    pub(super) fn within(mut self, segment: Segment) -> Self {
        self.path.push(segment);
        self
    }

    /// States where the value was written, unless that is known more closely already.
    pub(super) fn written(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    fn path(&self, last: Option<&str>) -> String {
        let mut path = String::new();
        for segment in self.path.iter().rev() {
            match segment {
                Segment::Key(key) if path.is_empty() => path.push_str(key),
                Segment::Key(key) => path.extend([".", key]),
                Segment::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        match last {
            Some(key) if path.is_empty() => key.to_owned(),
            Some(key) => format!("{path}.{key}"),
            None => path,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.origin.as_ref().map(|origin| format!(" {origin}")).unwrap_or_default();
        match &self.problem {
            Problem::Message(message) if self.path.is_empty() => write!(f, "the configuration{origin}: {message}"),
            Problem::Message(message) => write!(f, "`{}`{origin}: {message}", self.path(None)),
            Problem::UnknownKey { key, known } => {
                write!(f, "unknown key `{}`{origin}, {}", self.path(Some(key)), suggestion(key, known))
            }
            Problem::UnknownValue { value, known } => {
                write!(f, "`{}`{origin}: unknown value `{value}`, {}", self.path(None), suggestion(value, known))
            }
            Problem::Missing(key) => write!(f, "`{}` is missing{origin}", self.path(Some(key))),
        }
    }
}

/// Names the nearest valid name, or all of them when none is near.
fn suggestion(given: &str, known: &[&str]) -> String {
    let given = given.to_lowercase();
    let nearest = known.iter().map(|name| (strsim::damerau_levenshtein(&given, name), *name)).min();
    match nearest {
        Some((distance, name)) if distance <= 2.max(name.len() / 3) => format!("did you mean `{name}`?"),
        _ => format!("known are `{}`", known.join("`, `")),
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::configuration(failure.to_string())
    }
}

/// Values are never shown: they may be secrets. What `custom` is given comes from this crate's own parsers, which mind that.
impl serde::de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::message(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match unexpected {
            Unexpected::Bool(_) => "a boolean",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a number with a fraction",
            Unexpected::Char(_) | Unexpected::Str(_) => "a string",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a table",
            _ => "something else",
        };
        Self::message(format!("expected {}, found {found}", in_words(expected)))
    }

    fn invalid_value(_value: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::message(format!("the value is out of range, expected {}", in_words(expected)))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownKey { key: field.to_owned(), known: expected })
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Problem::UnknownValue { value: variant.to_owned(), known: expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Problem::Missing(field))
    }
}

/// Puts what serde calls a type into words for people.
fn in_words(expected: &dyn Expected) -> String {
    match expected.to_string().as_str() {
        "usize" | "u64" | "u32" => "a whole number that is not negative".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u8" => "a whole number from 0 to 255".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        text if text.starts_with("struct ") => "a table".to_owned(),
        text => text.to_owned(),
    }
}
