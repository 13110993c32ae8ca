//! What the service costs, measured from outside: the release program is started on SQLite and on a PostgreSQL of the benchmark's own, and loaded
//! over loopback.
//!
//! `cargo bench --bench service` runs every part on both databases; `-- --only issuance,footprint` runs some, `--database sqlite` one,
//! `--quick` with less load, `--json FILE` writes the figures to a file beside printing them. CPU time is that of the service and, on PostgreSQL,
//! of every process of the database; the floor that issuance is compared with is measured in the same run. Nothing here asserts a time: machines
//! differ, and `docs/performance.md` says how to read the figures.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a benchmark ends at the first surprise, and prints"
)]

mod acme;
mod floor;
mod footprint;
mod inventory;
mod issuance;
mod load;
mod machine;
mod options;
mod overload;
mod replicas;
mod report;
mod requests;
mod revocation;
#[path = "../../tests/it/support/mod.rs"]
#[allow(dead_code, unused_imports, clippy::print_stderr, reason = "made for the tests, which use more of it")]
mod support;

use crate::options::Options;
use crate::report::Report;
use crate::support::service::Database;

/// A part measures one thing on one database.
type Part = fn(&Options, Database, &mut Report);

/// The parts in the order in which they run.
const PARTS: [(&str, Part); 7] = [
    ("issuance", issuance::run),
    ("acme", acme::run),
    ("revocation", revocation::run),
    ("inventory", inventory::run),
    ("footprint", footprint::run),
    ("overload", overload::run),
    ("replicas", replicas::run),
];

fn main() {
    let names = PARTS.map(|(name, _run)| name);
    let options = Options::read(&names);
    let mut report = Report::default();
    for (name, run) in PARTS.into_iter().filter(|(name, _run)| options.runs(name)) {
        for database in options.databases() {
            report.begin(name, database);
            run(&options, database, &mut report);
        }
    }
    report.print();
    options.write(&report.json());
}
