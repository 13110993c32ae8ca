//! The statements of the hot path, each with a type of its own by which the connection finds it prepared, and with values that are borrowed.
//!
//! Diesel makes the text of an insertion anew each time to look it up, which takes as long as to run it. All other statements are diesel's or those of
//! `queries/statement.rs`.

use std::marker::PhantomData;

use diesel::RunQueryDsl;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::result::QueryResult;
use diesel::sql_types::{BigInt, Binary, Integer, Nullable, SmallInt, Text};
use diesel::sqlite::{Sqlite, SqliteConnection};

/// The text of a statement; each `?` in it stands for the next value.
pub(super) trait StatementText: 'static {
    /// The SQL.
    const SQL: &'static str;
}

/// A statement with its values.
#[derive(Debug)]
pub(super) struct Prepared<'v, T> {
    values: &'v [Value<'v>],
    text: PhantomData<T>,
}

impl<'v, T: StatementText> Prepared<'v, T> {
    /// Gives the statement its values.
    pub(super) fn new(_text: T, values: &'v [Value<'v>]) -> Self {
        Self { values, text: PhantomData }
    }
}

/// A value of a statement.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'v> {
    SmallInt(i16),
    Integer(i32),
    BigInt(i64),
    Text(&'v str),
    OptionalText(Option<&'v str>),
    Binary(&'v [u8]),
    OptionalBinary(Option<&'v [u8]>),
}

impl<'v> Value<'v> {
    fn push<'b>(&'b self, out: &mut AstPass<'_, 'b, Sqlite>) -> QueryResult<()>
    where
        'v: 'b,
    {
        match self {
            Self::SmallInt(value) => out.push_bind_param::<SmallInt, _>(value),
            Self::Integer(value) => out.push_bind_param::<Integer, _>(value),
            Self::BigInt(value) => out.push_bind_param::<BigInt, _>(value),
            Self::Text(value) => out.push_bind_param::<Text, str>(value),
            Self::OptionalText(value) => out.push_bind_param::<Nullable<Text>, _>(value),
            Self::Binary(value) => out.push_bind_param::<Binary, [u8]>(value),
            Self::OptionalBinary(value) => out.push_bind_param::<Nullable<Binary>, _>(value),
        }
    }
}

impl<T: StatementText> QueryFragment<Sqlite> for Prepared<'_, T> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        let mut pieces = T::SQL.split('?');
        if let Some(first) = pieces.next() {
            out.push_sql(first);
        }
        // A value too few or too many is refused by the database.
        let mut values = self.values.iter();
        for piece in pieces {
            if let Some(value) = values.next() {
                value.push(&mut out)?;
            }
            out.push_sql(piece);
        }
        Ok(())
    }
}

impl<T: StatementText> QueryId for Prepared<'_, T> {
    type QueryId = T;

    const HAS_STATIC_QUERY_ID: bool = true;
}

impl<T> RunQueryDsl<SqliteConnection> for Prepared<'_, T> {}
