//! A statement in SQL's own words with its values. Unlike diesel's `sql_query` it is prepared once for each connection, and unlike its
//! builder it writes statuses as numbers, so that the planners find partial indexes.

use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Binary, Bool, Integer, Nullable, SmallInt, Text, Untyped};

use super::{Backend, dialect};

/// A statement; each `?` in it stands for the next value.
#[derive(Debug)]
pub(in super::super) struct Statement {
    sql: String,
    binds: Vec<Bind>,
}

impl Statement {
    /// Begins a statement. The text holds no values, so that there are few texts.
    pub(in super::super) fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), binds: Vec::new() }
    }

    /// Gives the value of the next `?`.
    pub(in super::super) fn bind(mut self, value: impl Into<Bind>) -> Self {
        self.binds.push(value.into());
        self
    }
}

/// A value of a statement.
#[derive(Clone, Debug)]
pub(in super::super) enum Bind {
    Bool(bool),
    SmallInt(i16),
    Integer(Option<i32>),
    BigInt(i64),
    OptionalBigInt(Option<i64>),
    Text(String),
    OptionalText(Option<String>),
    Binary(Vec<u8>),
    OptionalBinary(Option<Vec<u8>>),
    List(dialect::List),
}

impl Bind {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Backend>) -> QueryResult<()> {
        match self {
            Self::Bool(value) => out.push_bind_param::<Bool, _>(value),
            Self::SmallInt(value) => out.push_bind_param::<SmallInt, _>(value),
            Self::Integer(value) => out.push_bind_param::<Nullable<Integer>, _>(value),
            Self::BigInt(value) => out.push_bind_param::<BigInt, _>(value),
            Self::OptionalBigInt(value) => out.push_bind_param::<Nullable<BigInt>, _>(value),
            Self::Text(value) => out.push_bind_param::<Text, _>(value),
            Self::OptionalText(value) => out.push_bind_param::<Nullable<Text>, _>(value),
            Self::Binary(value) => out.push_bind_param::<Binary, _>(value),
            Self::OptionalBinary(value) => out.push_bind_param::<Nullable<Binary>, _>(value),
            Self::List(list) => list.push(out),
        }
    }
}

impl QueryFragment<Backend> for Statement {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Backend>) -> QueryResult<()> {
        let mut pieces = self.sql.split('?');
        if let Some(first) = pieces.next() {
            out.push_sql(first);
        }
        // A value too few or too many is refused by the database.
        let mut binds = self.binds.iter();
        for piece in pieces {
            if let Some(bind) = binds.next() {
                bind.push(&mut out)?;
            }
            out.push_sql(piece);
        }
        Ok(())
    }
}

impl QueryId for Statement {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Statement {
    type SqlType = Untyped;
}

macro_rules! bind_from {
    ($($from:ty => $variant:ident),* $(,)?) => {
        $(impl From<$from> for Bind {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        })*
    };
}

bind_from!(
    bool => Bool,
    i16 => SmallInt,
    Option<i32> => Integer,
    i64 => BigInt,
    Option<i64> => OptionalBigInt,
    &str => Text,
    String => Text,
    Option<String> => OptionalText,
    &[u8] => Binary,
    Vec<u8> => Binary,
    Option<Vec<u8>> => OptionalBinary,
    dialect::List => List,
);
