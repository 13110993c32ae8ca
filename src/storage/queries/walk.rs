//! Listings whose cost is bounded, whatever is asked for.
//!
//! A listing by row walks one source of row numbers in order, a window of it for a page, and keeps what the other conditions admit: a page
//! may have fewer rows than were asked for, and says where the next one begins. The source is the one with the fewest rows, counted up to a
//! bound, of those that the conditions offer; without any it is the table itself. No page reads more than a window.

use diesel::sql_types::BigInt;
use diesel_async::RunQueryDsl;

use super::statement::{Bind, Statement};
use super::{Connection, dialect};
use crate::error::Result;

/// The most rows that a page looks at.
pub(super) const WINDOW: i64 = 4000;
/// How far the rows of a source are counted to compare it with others.
const COMPARED: i64 = 2000;
/// The most rows that are put in order for a page.
pub(super) const SORTED: i64 = 20_000;

/// SQL with its values.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Fragment {
    pub(in super::super) sql: String,
    pub(in super::super) binds: Vec<Bind>,
}

impl Fragment {
    /// Begins with SQL.
    pub(super) fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), binds: Vec::new() }
    }

    /// Gives the value of the next `?`.
    pub(super) fn bind(mut self, value: impl Into<Bind>) -> Self {
        self.binds.push(value.into());
        self
    }

    /// Adds SQL.
    pub(super) fn sql(mut self, sql: &str) -> Self {
        self.sql.push_str(sql);
        self
    }

    /// Adds another one.
    pub(super) fn then(mut self, other: Self) -> Self {
        self.sql.push_str(&other.sql);
        self.binds.extend(other.binds);
        self
    }

    /// Makes a statement of it.
    pub(super) fn statement(self) -> Statement {
        self.binds.into_iter().fold(Statement::new(self.sql), Statement::bind)
    }
}

/// An index whose entries with the same values are in the order of rows.
#[derive(Debug)]
pub(in super::super) struct Index {
    pub(in super::super) table: &'static str,
    /// The name that SQLite knows it by; none when it is the table itself.
    #[allow(dead_code, reason = "PostgreSQL is told by the form of the condition")]
    pub(in super::super) name: Option<&'static str>,
    pub(in super::super) columns: &'static [&'static str],
    /// The last column, a row number.
    pub(in super::super) row: &'static str,
    /// The condition of a partial index.
    pub(in super::super) partial: Option<&'static str>,
}

/// Rows between two numbers, both outside.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) low: i64,
    pub(super) high: i64,
}

impl Range {
    /// Every row.
    pub(super) const ALL: Self = Self { low: -1, high: i64::MAX };

    /// Leaves out what comes before the place where a page ended.
    pub(super) fn behind(self, last: Option<i64>, descending: bool) -> Self {
        match last {
            None => self,
            Some(last) if descending => Self { high: self.high.min(last), ..self },
            Some(last) => Self { low: self.low.max(last), ..self },
        }
    }
}

/// Where row numbers come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// The rows of a table.
    Table(&'static str),
    /// The entries of an index with certain values, for each list of values; in order.
    Entries(&'static Index, Vec<Vec<Bind>>),
    /// A select of a column `id` in an order of its own, which may name a row twice; of use only when there are few.
    Unordered(Fragment),
    /// The same, of which there are always few.
    Few(Fragment),
}

impl Source {
    /// Selects rows as `id`, at most `window` in the order of their numbers.
    fn walk(&self, range: Range, descending: bool, window: i64) -> Fragment {
        let direction = if descending { "DESC" } else { "ASC" };
        let in_range = |fragment: Fragment| {
            fragment
                .sql(" WHERE id > ? AND id < ?")
                .bind(range.low)
                .bind(range.high)
                .sql(&format!(" ORDER BY id {direction} LIMIT {window}"))
        };
        match self {
            Self::Table(table) => in_range(Fragment::new(format!("SELECT id FROM {table}"))),
            Self::Entries(index, lists) => match lists.as_slice() {
                [values] => entries(index, values, range, direction, window),
                lists => {
                    let mut union = Fragment::new("SELECT id FROM (");
                    for (number, values) in lists.iter().enumerate() {
                        let begin = if number == 0 { "SELECT id FROM (" } else { " UNION SELECT id FROM (" };
                        union = union
                            .sql(begin)
                            .then(entries(index, values, range, direction, window))
                            .sql(&format!(") AS list_{number}"));
                    }
                    union.sql(&format!(") AS merged ORDER BY id {direction} LIMIT {window}"))
                }
            },
            Self::Unordered(select) | Self::Few(select) => in_range(
                Fragment::new("SELECT DISTINCT id FROM (")
                    .then(select.clone())
                    .sql(&format!(" LIMIT {SORTED}) AS few")),
            ),
        }
    }

    /// Selects the rows of a table themselves as the walk meets them, at most `window`, if the source is of that table and the database reads
    /// them best so; and the columns that they are in the order of.
    pub(super) fn rows(
        &self,
        table: &str,
        range: Range,
        descending: bool,
        window: i64,
    ) -> Option<(Fragment, Vec<String>)> {
        let (select, columns): (Fragment, &[&str]) = match self {
            Self::Table(of) if *of == table => (
                Fragment::new(format!("SELECT * FROM {table} WHERE id > ? AND id < ?"))
                    .bind(range.low)
                    .bind(range.high),
                &[],
            ),
            Self::Entries(index, lists) if index.table == table && index.row == "id" => {
                let [values] = lists.as_slice() else { return None };
                let partial = index.partial.map_or_else(String::new, |condition| format!(" AND {condition}"));
                let select = Fragment::new(format!("SELECT * FROM {table} WHERE "))
                    .then(dialect::index_range(index, values, range.low, range.high))
                    .sql(&partial);
                (select, index.columns)
            }
            Self::Table(_) | Self::Entries(..) | Self::Unordered(_) | Self::Few(_) => return None,
        };
        if !dialect::ROWS_WITH_ENTRIES {
            return None;
        }
        let direction = if descending { "DESC" } else { "ASC" };
        let columns: Vec<&str> = columns.iter().copied().chain(["id"]).collect();
        let order: Vec<String> = columns.iter().map(|column| format!("{column} {direction}")).collect();
        let select = select.sql(&format!(" ORDER BY {} LIMIT {window}", order.join(", ")));
        Some((select, columns.into_iter().map(|column| format!("{table}.{column}")).collect()))
    }

    /// The columns that a walk is in the order of. All but the last have one value in it, which planners do not know.
    fn order(&self) -> Vec<String> {
        let keys = match self {
            Self::Entries(index, lists) if lists.len() == 1 => index.columns.len(),
            Self::Table(_) | Self::Entries(..) | Self::Unordered(_) | Self::Few(_) => 0,
        };
        (0..keys).map(|number| format!("walk.key_{number}")).chain(["walk.id".to_owned()]).collect()
    }

    /// Selects rows as `id` in any order, at most `most`.
    pub(super) fn any(&self, range: Range, most: i64) -> Fragment {
        match self {
            Self::Table(_) | Self::Entries(..) => self.walk(range, true, most),
            Self::Unordered(select) | Self::Few(select) => select.clone().sql(&format!(" LIMIT {most}")),
        }
    }

    /// Counts the rows, up to `most`.
    pub(super) async fn count(&self, connection: &mut Connection, range: Range, most: i64) -> Result<i64> {
        let counted = Fragment::new("SELECT COUNT(*) AS number FROM (").then(self.any(range, most)).sql(") AS counted");
        let count: Number = counted.statement().get_result(connection).await?;
        Ok(count.number)
    }
}

/// Selects the rows of an index with certain values, in order. One that stands there twice is given once.
fn entries(index: &Index, values: &[Bind], range: Range, direction: &str, window: i64) -> Fragment {
    let Index { table, columns, row, partial, .. } = index;
    let hint = dialect::indexed_by(index);
    let columns_and_row: Vec<&str> = columns.iter().copied().chain([*row]).collect();
    let partial = partial.map_or_else(String::new, |condition| format!(" AND {condition}"));
    let grouped = if *row == "id" { String::new() } else { format!(" GROUP BY {}", columns_and_row.join(", ")) };
    let order: Vec<String> = columns_and_row.iter().map(|column| format!("{column} {direction}")).collect();
    let keys: String =
        columns.iter().enumerate().map(|(number, column)| format!(", {column} AS key_{number}")).collect();
    Fragment::new(format!("SELECT {row} AS id{keys} FROM {table}{hint} WHERE "))
        .then(dialect::index_range(index, values, range.low, range.high))
        .sql(&format!("{partial}{grouped} ORDER BY {} LIMIT {window}", order.join(", ")))
}

/// A condition on rows, and the rows that it holds for if an index knows them.
#[derive(Debug)]
pub(super) struct Clause {
    pub(super) condition: Fragment,
    pub(super) source: Option<Source>,
    /// Whether the condition holds for every row of the source.
    pub(super) exact: bool,
}

impl Clause {
    /// A condition without an index.
    pub(super) fn filter(condition: Fragment) -> Self {
        Self { condition, source: None, exact: false }
    }

    /// A condition that holds for the rows of a source and no others.
    pub(super) fn exactly(condition: Fragment, source: Source) -> Self {
        Self { condition, source: Some(source), exact: true }
    }
}

/// A number as read.
#[derive(Debug, diesel::QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

/// How many rows a window has, and the last of them.
#[derive(Debug, diesel::QueryableByName)]
struct Window {
    #[diesel(sql_type = BigInt)]
    number: i64,
    #[diesel(sql_type = BigInt)]
    last: i64,
}

/// A listing by row.
#[derive(Debug)]
pub(super) struct Walk {
    table: &'static str,
    source: Source,
    conditions: Vec<Fragment>,
    range: Range,
    descending: bool,
}

impl Walk {
    /// Chooses the source.
    pub(super) async fn choose(
        connection: &mut Connection,
        table: &'static str,
        clauses: Vec<Clause>,
        range: Range,
        descending: bool,
    ) -> Result<Self> {
        let chosen = fewest(connection, &clauses, range).await?;
        let (source, conditions) = split(clauses, chosen);
        Ok(Self { table, source: source.unwrap_or(Source::Table(table)), conditions, range, descending })
    }

    /// Selects a page with these columns of the table.
    pub(super) fn page(&self, columns: &str, limit: u16) -> Statement {
        let (table, direction) = (self.table, if self.descending { "DESC" } else { "ASC" });
        let limit = i64::from(limit);
        let page = Fragment::new(format!("SELECT {columns} FROM ("));
        let (mut page, order) = match self.source.rows(table, self.range, self.descending, self.window(limit)) {
            Some((rows, order)) => (page.then(rows).sql(&format!(") AS {table} WHERE TRUE")), order),
            None => (
                page.then(self.source.walk(self.range, self.descending, self.window(limit)))
                    .sql(&format!(") AS walk {}", dialect::rows_of("walk", table))),
                self.source.order(),
            ),
        };
        for condition in &self.conditions {
            page = page.sql(" AND ").then(condition.clone());
        }
        page.sql(&dialect::order_of_walk(&order, direction)).sql(" LIMIT ?").bind(limit).statement()
    }

    fn window(&self, limit: i64) -> i64 {
        // Few texts: each is prepared once for a connection.
        if self.conditions.is_empty() && limit <= 100 {
            100
        } else if self.conditions.is_empty() {
            1000
        } else {
            WINDOW
        }
    }

    /// Returns the row behind which the next page begins, given the rows of this one; `None` when there is none.
    pub(super) async fn next(&self, connection: &mut Connection, limit: u16, rows: &[i64]) -> Result<Option<i64>> {
        let limit = usize::from(limit);
        if let Some(last) = rows.last().filter(|_| rows.len() >= limit) {
            return Ok(Some(*last));
        }
        if self.conditions.is_empty() {
            return Ok(None);
        }
        let extreme = if self.descending { "MIN" } else { "MAX" };
        let window: Window =
            Fragment::new(format!("SELECT COUNT(*) AS number, COALESCE({extreme}(id), 0) AS last FROM ("))
                .then(self.source.walk(self.range, self.descending, WINDOW))
                .sql(") AS walk")
                .statement()
                .get_result(connection)
                .await?;
        Ok((window.number >= WINDOW).then_some(window.last))
    }
}

/// Takes the chosen source out of the clauses.
fn split(mut clauses: Vec<Clause>, chosen: Option<usize>) -> (Option<Source>, Vec<Fragment>) {
    let chosen = chosen.and_then(|number| clauses.get_mut(number));
    let source = chosen.and_then(|clause| {
        let source = clause.source.take();
        if clause.exact {
            clause.condition = Fragment::default();
        }
        source
    });
    let conditions = clauses.into_iter().map(|clause| clause.condition).filter(|one| !one.sql.is_empty()).collect();
    (source, conditions)
}

/// Finds the source with the fewest rows that can be walked in order.
async fn fewest(connection: &mut Connection, clauses: &[Clause], range: Range) -> Result<Option<usize>> {
    let offered: Vec<(usize, &Source)> =
        clauses.iter().enumerate().filter_map(|(number, clause)| Some((number, clause.source.as_ref()?))).collect();
    if let Some((number, _few)) = offered.iter().find(|(_number, source)| matches!(source, Source::Few(_))) {
        return Ok(Some(*number));
    }
    if let [(number, Source::Entries(..))] = offered.as_slice() {
        return Ok(Some(*number));
    }
    let mut best: Option<(i64, usize)> = None;
    for (number, source) in offered {
        let (most, refused) = match source {
            Source::Unordered(_) => (SORTED, SORTED),
            Source::Table(_) | Source::Entries(..) | Source::Few(_) => (COMPARED, i64::MAX),
        };
        let count = source.count(connection, range, most).await?;
        // Of sources with more rows than are counted the first is taken: they are offered in an order.
        if count < refused && best.is_none_or(|(fewest, _number)| count < fewest) {
            best = Some((count, number));
        }
        if count == 0 {
            break;
        }
    }
    Ok(best.map(|(_count, number)| number))
}

/// Finds the source with the fewest rows, if it has at most so many, and takes it out of the clauses.
pub(super) async fn take_few(
    connection: &mut Connection,
    clauses: Vec<Clause>,
    range: Range,
    most: i64,
) -> Result<(Option<Source>, Vec<Fragment>)> {
    let mut best: Option<(i64, usize)> = None;
    for (number, clause) in clauses.iter().enumerate() {
        let Some(source) = &clause.source else { continue };
        let limit = best.map_or(most, |(count, _number)| count);
        let count = source.count(connection, range, limit.saturating_add(1)).await?;
        if count <= limit {
            best = Some((count, number));
        }
        if count == 0 {
            break;
        }
    }
    Ok(split(clauses, best.map(|(_count, number)| number)))
}
