//! The figures: printed as they come, at the end as a table beside the targets of `quality.md`, and as JSON.

use serde_json::{Map, Value, json};

use crate::support::service::Database;

/// One measured case.
#[derive(Debug)]
struct Row {
    part: &'static str,
    database: Database,
    case: String,
    figures: Vec<(&'static str, f64)>,
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Report {
    now: Option<(&'static str, Database)>,
    rows: Vec<Row>,
}

/// What a figure should be.
enum Target {
    AtMost(f64),
    AtLeast(f64),
}

/// Part, words that the case begins with, figure, database (both if none), target.
const TARGETS: &[(&str, &str, &str, Option<Database>, Target)] = &[
    ("issuance", "P-256, TLS, 64", "ratio", Some(Database::Postgres), Target::AtMost(2.4)),
    ("issuance", "P-256, TLS, 64", "ratio", Some(Database::Sqlite), Target::AtMost(2.6)),
    ("issuance", "P-256, TLS, 64", "per_second", Some(Database::Postgres), Target::AtLeast(7_000.0)),
    ("issuance", "P-256, TLS, 64", "per_second", Some(Database::Sqlite), Target::AtLeast(6_000.0)),
    ("issuance", "P-256, TLS, 64", "p99_ms", None, Target::AtMost(30.0)),
    ("issuance", "P-256, TLS, 1", "p50_ms", None, Target::AtMost(1.5)),
    ("acme", "TLS, 32 clients", "per_second", None, Target::AtLeast(300.0)),
    ("acme", "statements of an order", "statements", None, Target::AtMost(25.0)),
    ("acme", "statements of an order", "durable_commits", None, Target::AtMost(6.0)),
    ("revocation", "full CRL", "service_cpu_s", None, Target::AtMost(1.0)),
    ("revocation", "full CRL", "extra_mib", None, Target::AtMost(200.0)),
    ("revocation", "OCSP, asked again", "per_second", None, Target::AtLeast(25_000.0)),
    ("revocation", "OCSP, asked again", "service_cpu_us", None, Target::AtMost(40.0)),
    ("footprint", "program", "size_mib", None, Target::AtMost(40.0)),
    ("footprint", "start to ready", "median_ms", None, Target::AtMost(300.0)),
    ("footprint", "idle", "resident_mib", None, Target::AtMost(40.0)),
    ("inventory", "", "p99_ms", None, Target::AtMost(20.0)),
];

impl Report {
    /// Says which part the following cases belong to.
    pub(crate) fn begin(&mut self, part: &'static str, database: Database) {
        println!("{part}, {database:?}");
        self.now = Some((part, database));
    }

    /// Adds a case. The names of figures end in their unit.
    pub(crate) fn add(&mut self, case: impl Into<String>, figures: &[(&'static str, f64)]) {
        let (part, database) = self.now.expect("a part has begun");
        let row = Row { part, database, case: case.into(), figures: figures.to_vec() };
        let figures: Vec<String> =
            row.figures.iter().map(|(name, value)| format!("{name} {}", shown(*value))).collect();
        println!("  {:<48} {}", row.case, figures.join("  "));
        self.rows.push(row);
    }

    /// Prints the cases that have targets, and the JSON.
    pub(crate) fn print(&self) {
        println!("\n| figure | database | measured | target |\n|---|---|---|---|");
        for (part, case, figure, database, target) in TARGETS {
            let matching = |row: &&Row| {
                row.part == *part
                    && row.case.strip_prefix(case).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
                    && database.is_none_or(|database| database == row.database)
            };
            for row in self.rows.iter().filter(matching) {
                let Some((_, value)) = row.figures.iter().find(|(name, _)| name == figure) else { continue };
                let (words, limit, holds) = match target {
                    Target::AtMost(limit) => ("at most", limit, value <= limit),
                    Target::AtLeast(limit) => ("at least", limit, value >= limit),
                };
                let missed = if holds { "" } else { " (missed)" };
                println!(
                    "| {part}: {}: {figure} | {:?} | {} | {words} {}{missed} |",
                    row.case,
                    row.database,
                    shown(*value),
                    shown(*limit)
                );
            }
        }
        println!("\n{}", self.json());
    }

    /// Everything as JSON.
    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            let figures: Map<String, Value> =
                row.figures.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
            json!({"part": row.part, "database": format!("{:?}", row.database), "case": row.case, "figures": figures})
        };
        self.rows.iter().map(row).collect()
    }
}

/// A number with as many digits as mean something.
fn shown(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
