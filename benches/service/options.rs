//! The arguments of the benchmark.

use std::path::PathBuf;

use serde_json::Value;

use crate::support::service::Database;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Options {
    only: Option<Vec<String>>,
    database: Option<Database>,
    json: Option<PathBuf>,
    /// Whether each part runs with a fraction of its load: to try it, not to quote it.
    pub(crate) quick: bool,
    /// How many certificates the inventory has, where a part needs a large one.
    pub(crate) certificates: u64,
}

impl Options {
    /// Reads the arguments; ends the program with a sentence when one of them is not known.
    pub(crate) fn read(parts: &[&str]) -> Self {
        let mut options = Self { only: None, database: None, json: None, quick: false, certificates: 10_000_000 };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| refuse(&format!("`{argument}` needs a value")));
            match argument.as_str() {
                // Cargo adds it.
                "--bench" => {}
                "--quick" => options.quick = true,
                "--json" => options.json = Some(PathBuf::from(value())),
                "--certificates" => {
                    options.certificates = value().parse().unwrap_or_else(|_| refuse("`--certificates` is a number"));
                }
                "--database" => {
                    options.database = Some(match value().as_str() {
                        "sqlite" => Database::Sqlite,
                        "postgres" => Database::Postgres,
                        other => refuse(&format!("`--database` is `sqlite` or `postgres`, not `{other}`")),
                    });
                }
                "--only" => {
                    let only: Vec<String> = value().split(',').map(str::to_owned).collect();
                    if let Some(other) = only.iter().find(|part| !parts.contains(&part.as_str())) {
                        refuse(&format!("there is no part `{other}`; there are: {}", parts.join(", ")));
                    }
                    options.only = Some(only);
                }
                other => refuse(&format!(
                    "`{other}` is no argument; there are: --only, --database, --certificates, --quick, --json"
                )),
            }
        }
        options
    }

    /// Whether a part runs.
    pub(crate) fn runs(&self, part: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == part))
    }

    /// The databases that are measured.
    pub(crate) fn databases(&self) -> impl Iterator<Item = Database> + use<> {
        let wanted = self.database;
        Database::ALL.into_iter().filter(move |database| wanted.is_none_or(|wanted| wanted == *database))
    }

    /// A number of things to do: a tenth in a quick run.
    pub(crate) fn count(&self, whole: usize) -> usize {
        if self.quick { whole / 10 } else { whole }
    }

    /// Writes the figures to the file that was asked for.
    pub(crate) fn write(&self, figures: &Value) {
        if let Some(path) = &self.json {
            std::fs::write(path, format!("{figures:#}\n")).expect("the file can be written");
        }
    }
}

fn refuse(why: &str) -> ! {
    println!("{why}");
    std::process::exit(2);
}
