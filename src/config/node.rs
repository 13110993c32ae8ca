//! The settings as written: a tree that knows of each value where it comes from. Their meaning is given by the types it is read into.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::failure::{Failure, Origin};

/// A value and where it was written.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) origin: Origin,
    pub(super) value: Value,
}

/// A value as written.
pub(super) enum Value {
    /// A string of the file.
    Text(Zeroizing<String>),
    /// The text of an environment variable: its type is the one that is asked for.
    Given(Zeroizing<String>),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// Shows the kind of value only: it may be a secret.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text(_) | Self::Given(_) => "a string",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Boolean(_) => "a boolean",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        })
    }
}

/// A key of a table with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) origin: Origin,
    pub(super) node: Node,
}

/// Reads a TOML file into a tree.
pub(super) fn parse_file(name: &str, text: &str) -> Result<Vec<Entry>, Failure> {
    let name: Arc<str> = name.into();
    let position = |offset: usize| {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
        Origin::File { name: name.clone(), line: before.matches('\n').count() + 1, column }
    };
    // The error's own display quotes the line, which may hold a secret: only its message and place are taken.
    let document = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        Failure::message(error.message()).written(&position(offset))
    })?;
    table(document.get_ref(), &position)
}

/// Reads the text of an environment variable as a TOML value; `None` when it is not one.
pub(super) fn parse_given(text: &str, origin: &Origin) -> Option<Node> {
    let parsed = DeValue::parse(text.trim()).ok()?;
    node(&parsed, &|_offset| origin.clone()).ok()
}

fn table(table: &DeTable<'_>, position: &impl Fn(usize) -> Origin) -> Result<Vec<Entry>, Failure> {
    table
        .iter()
        .map(|(key, value)| {
            Ok(Entry {
                key: key.get_ref().to_string(),
                origin: position(key.span().start),
                node: node(value, position)?,
            })
        })
        .collect()
}

fn node(value: &Spanned<DeValue<'_>>, position: &impl Fn(usize) -> Origin) -> Result<Node, Failure> {
    let origin = position(value.span().start);
    let value = match value.get_ref() {
        DeValue::String(text) => Value::Text(Zeroizing::new(text.to_string())),
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map(Value::Integer)
            .map_err(|_digits| Failure::message("the number is too great").written(&origin))?,
        DeValue::Float(float) => float
            .as_str()
            .parse()
            .map(Value::Float)
            .map_err(|_digits| Failure::message("the number cannot be read").written(&origin))?,
        DeValue::Boolean(boolean) => Value::Boolean(*boolean),
        DeValue::Datetime(_) => {
            return Err(Failure::message("no setting is a date; write it in quotes if it is text").written(&origin));
        }
        DeValue::Array(array) => Value::Array(array.iter().map(|item| node(item, position)).collect::<Result<_, _>>()?),
        DeValue::Table(inner) => Value::Table(table(inner, position)?),
    };
    Ok(Node { origin, value })
}
