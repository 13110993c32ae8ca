//! Reads `src/` and fails when a rule of docs/architecture.md is broken: arrows that point the wrong way, impure code in the
//! pure folders, a file without a header, migrations that differ between the databases.
//!
//! What a file says is found out by `architecture/scan.rs`; the rules are the tables here. Each rule is also tried on planted
//! violations, so that a rule that could never catch anything is noticed.

mod scan;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use scan::Scanned;

/// What files below certain folders may not say.
struct Rule {
    /// Folders and files below `src/` that the rule is for; empty: all.
    within: &'static [&'static str],
    /// Folders and files below `src/` that are excepted.
    except: &'static [&'static str],
    /// Words in code (identifiers and keywords); a trailing `*` matches any rest.
    words: &'static [&'static str],
    /// Paths of modules below `crate::`, themselves or anything in them.
    modules: &'static [&'static str],
    /// Why.
    why: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        within: &["x509/", "policy/"],
        except: &[],
        words: &[
            "actix*",
            "diesel*",
            "tokio*",
            "reqwest*",
            "hyper*",
            "async",
            "await",
            "async_trait",
            "SystemTime",
            "Instant",
            "now_utc",
            "now_local",
            "rand",
            "getrandom",
            "SystemRandom",
            "SecureRandom",
            "fs",
            "TcpStream",
            "env",
            "spawn",
        ],
        modules: &[
            "app",
            "auth",
            "ca",
            "cli",
            "config",
            "console",
            "http",
            "jobs",
            "protocols",
            "signer",
            "storage",
            "tasks",
            "telemetry",
        ],
        why: "the pure folders know no async, no database, no clock, no randomness and none of the layers above them",
    },
    Rule {
        within: &["x509/"],
        except: &[],
        words: &[],
        modules: &["policy"],
        why: "bytes do not know what may be signed",
    },
    Rule {
        within: &["ca/"],
        except: &[],
        words: &["actix*", "diesel*", "tokio_postgres*", "libsqlite3_sys", "reqwest*", "HttpRequest", "HttpResponse"],
        modules: &[
            "app",
            "cli",
            "config",
            "console",
            "http",
            "jobs",
            "protocols",
            "storage::sqlite",
            "storage::postgres",
        ],
        why: "the core knows policy, x509 and two traits, not the front doors, the settings or a database",
    },
    Rule {
        within: &["storage/", "signer/"],
        except: &[],
        words: &["actix*"],
        modules: &["app", "ca", "cli", "config", "console", "http", "jobs", "protocols"],
        why: "backends implement a trait and know nothing of their callers",
    },
    Rule {
        within: &["validation/"],
        except: &[],
        words: &["actix*"],
        modules: &["app", "auth", "cli", "config", "console", "http", "jobs", "protocols", "signer", "storage"],
        why: "the validator implements a trait of the core and knows nothing of its callers",
    },
    Rule {
        within: &["auth/"],
        except: &[],
        words: &["actix*"],
        modules: &["app", "ca", "cli", "config", "console", "http", "jobs", "protocols"],
        why: "credentials are checked without knowing the front door they came through, nor the core that they lead to",
    },
    Rule {
        within: &["http/", "protocols/", "console/"],
        except: &[],
        words: &[],
        modules: &["cli", "app", "storage::sqlite", "storage::postgres", "signer::software", "signer::sealing"],
        why: "front doors decode, authorise, call the core and encode; keys and databases are behind it",
    },
    Rule {
        within: &[],
        except: &["storage/"],
        words: &["diesel*", "tokio_postgres*", "libsqlite3_sys"],
        modules: &[],
        why: "only storage/ names the database libraries",
    },
    Rule {
        within: &[],
        except: &["http/", "protocols/", "console/", "main.rs", "app/", "cli/"],
        words: &["actix*", "HttpResponse", "HttpServer"],
        modules: &[],
        why: "only the front doors and the wiring name actix",
    },
    Rule {
        within: &[],
        except: &["main.rs", "lib.rs", "app.rs", "cli/", "config/", "jobs/"],
        words: &[],
        modules: &["cli", "app"],
        why: "nothing depends on the wiring",
    },
    Rule {
        within: &[],
        except: &["main.rs", "cli/"],
        words: &["println", "print", "eprintln", "eprint"],
        modules: &[],
        why: "only the command line prints; everything else logs",
    },
];

fn covers(patterns: &[&str], path: &str) -> bool {
    patterns.iter().any(|pattern| {
        if let Some(folder) = pattern.strip_suffix('/') {
            path.starts_with(pattern) || path == format!("{folder}.rs")
        } else {
            path == *pattern
        }
    })
}

fn word_matches(pattern: &str, word: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => word == prefix || word.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('_')),
        None => word == pattern,
    }
}

/// Every breach of the rules in one file, as `path:line: what (why)`.
fn breaches(path: &str, source: &str) -> Vec<String> {
    let scanned = Scanned::of(path, source);
    let mut found = Vec::new();
    if !scanned.has_header {
        found.push(format!("{path}:1: does not open with a `//!` header"));
    }
    for rule in RULES {
        if !(rule.within.is_empty() || covers(rule.within, path)) || covers(rule.except, path) {
            continue;
        }
        for token in &scanned.words {
            if rule.words.iter().any(|pattern| word_matches(pattern, &token.text)) {
                found.push(format!("{path}:{}: names `{}` ({})", token.line, token.text, rule.why));
            }
        }
        for reference in &scanned.references {
            let named = reference.path.join("::");
            if rule.modules.iter().any(|module| named == *module || named.starts_with(&format!("{module}::"))) {
                found.push(format!("{path}:{}: names `crate::{named}` ({})", reference.line, rule.why));
            }
        }
    }
    found
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files below `src/` as (path below `src/`, text), in order.
fn sources() -> Vec<(String, String)> {
    let root = repository().join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let name = file.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(&file).unwrap())
        })
        .collect()
}

#[test]
fn every_file_keeps_the_rules() {
    let sources = sources();
    assert!(sources.len() > 40, "only {} files were found below src/", sources.len());
    let found: Vec<String> = sources.iter().flat_map(|(path, source)| breaches(path, source)).collect();
    let mut report = String::new();
    for line in &found {
        writeln!(report, "  src/{line}").unwrap();
    }
    assert!(found.is_empty(), "{} breaches of docs/architecture.md:\n{report}", found.len());
}

/// Of the core the validator knows the trait it implements, not what follows from a proof.
#[test]
fn the_validator_knows_nothing_of_the_core_but_its_trait() {
    let mut trait_is_named = false;
    for (path, source) in sources().into_iter().filter(|(path, _)| path.starts_with("validation/")) {
        for reference in Scanned::of(&path, &source).references {
            let of_the_trait = reference.path.starts_with(&["ca", "acme", "validation"].map(str::to_owned));
            trait_is_named |= of_the_trait;
            assert!(
                of_the_trait || reference.path.first().is_none_or(|first| first != "ca"),
                "src/{path}:{}: names `crate::{}`",
                reference.line,
                reference.path.join("::")
            );
        }
    }
    assert!(trait_is_named, "no file below src/validation/ names the trait");
}

/// One certificate may be signed in one place: a second caller of the key would be a second way around the policy.
#[test]
fn only_the_core_signs() {
    let outside: Vec<String> = sources()
        .into_iter()
        .filter(|(path, _)| !(path.starts_with("ca/") || path.starts_with("signer/") || path.starts_with("cli/")))
        .filter(|(path, source)| {
            let scanned = Scanned::of(path, source);
            scanned.words.iter().any(|token| token.text == "Signer" || token.text == "dyn_signer")
        })
        .map(|(path, _)| path)
        .collect();
    assert!(outside.is_empty(), "these files name `Signer` outside ca/, signer/ and the wiring: {outside:?}");
}

#[test]
fn both_databases_have_the_same_migrations() {
    let names = |database: &str| -> BTreeSet<String> {
        let folder = repository().join("migrations").join(database);
        std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().is_dir())
            .map(|entry| {
                for file in ["up.sql", "down.sql"] {
                    let text = std::fs::read_to_string(entry.path().join(file))
                        .unwrap_or_else(|error| panic!("{}/{file}: {error}", entry.path().display()));
                    assert!(!text.trim().is_empty(), "{}/{file} is empty", entry.path().display());
                }
                entry.file_name().into_string().unwrap()
            })
            .collect()
    };
    let sqlite = names("sqlite");
    assert!(!sqlite.is_empty(), "there are no migrations");
    assert_eq!(sqlite, names("postgres"));
}

/// Each planted file breaks exactly the rule it is planted for, in ways that a search for words would miss or over-report.
#[test]
fn planted_breaches_are_caught() {
    let header = "//! A file.\n";
    for (path, code, expected) in [
        ("x509/a.rs", "use diesel::prelude::*;", "names `diesel`"),
        ("x509/a.rs", "use diesel_async::RunQueryDsl;", "names `diesel_async`"),
        ("x509/a.rs", "pub async fn parse() {}", "names `async`"),
        ("policy/a.rs", "let now = std::time::SystemTime::now();", "names `SystemTime`"),
        ("policy/a.rs", "let n = aws_lc_rs::rand::fill(&mut x);", "names `rand`"),
        ("policy/names/a.rs", "use crate::{error::Result, storage};", "names `crate::storage`"),
        ("policy.rs", "use crate::ca;", "names `crate::ca`"),
        ("x509/a.rs", "use crate::policy::Profile;", "names `crate::policy::Profile`"),
        ("ca/a.rs", "use actix_web::web;", "names `actix_web`"),
        (
            "ca/a.rs",
            "use crate::{\n    policy::{self, Profile},\n    http::{problem, state::AppState},\n};",
            "names `crate::http::problem`",
        ),
        ("ca/a.rs", "use super::super::protocols::rest;", "names `crate::protocols::rest`"),
        ("ca/deep/a.rs", "fn f() { super::super::super::config::load(); }", "names `crate::config::load`"),
        ("ca/a.rs", "fn f() -> crate::storage::sqlite::Pool { todo() }", "names `crate::storage::sqlite::Pool`"),
        ("ca/mod.rs", "use super::http::state;", "names `crate::http::state`"),
        ("storage/a.rs", "use crate::ca::Settings;", "names `crate::ca::Settings`"),
        ("signer/a.rs", "use crate::http;", "names `crate::http`"),
        ("auth/a.rs", "use crate::protocols::rest;", "names `crate::protocols::rest`"),
        ("auth/a.rs", "use crate::ca::issuer::Issuers;", "names `crate::ca::issuer::Issuers`"),
        ("validation/a.rs", "use crate::storage::Storage;", "names `crate::storage::Storage`"),
        ("validation/resolver/a.rs", "use actix_web::web;", "names `actix_web`"),
        ("jobs/a.rs", "use diesel::sql_query;", "names `diesel`"),
        ("config/a.rs", "use actix_web::http::Uri;", "names `actix_web`"),
        ("protocols/rest/a.rs", "use crate::storage::postgres::connect;", "names `crate::storage::postgres::connect`"),
        ("http/a.rs", "use crate::cli::serve;", "names `crate::cli::serve`"),
        ("ca/a.rs", "fn f() { println!(\"x\"); }", "names `println`"),
        // After things that a naive reader takes for the start of a comment, a string or a test module.
        ("ca/a.rs", "const S: &str = \"// not a comment\"; use crate::http;", "names `crate::http`"),
        ("ca/a.rs", "const C: char = '\"'; use crate::http; const D: char = '\"';", "names `crate::http`"),
        ("ca/a.rs", "const R: &str = r#\"a \" // b\"#; use crate::http;", "names `crate::http`"),
        ("ca/a.rs", "fn f<'a>(x: &'a str) -> &'a str { crate::http::x(x) }", "names `crate::http::x`"),
        ("ca/a.rs", "/* /* nested */ still */ use crate::http;", "names `crate::http`"),
        ("ca/a.rs", "#[cfg(test)]\nmod tests { fn f() { let b = \"}\"; } }\nuse crate::http;", "names `crate::http`"),
        ("ca/a.rs", "#[cfg(test)]\nuse crate::ca::x;\nuse crate::http;", "names `crate::http`"),
    ] {
        let found = breaches(path, &format!("{header}{code}\n"));
        assert!(
            found.iter().any(|line| line.contains(expected)),
            "{path}: `{code}` should give a breach with {expected}, found {found:?}"
        );
    }
    assert_eq!(
        breaches("ca/a.rs", "use std::fmt;\n"),
        ["ca/a.rs:1: does not open with a `//!` header"],
        "a missing header is a breach"
    );
    assert_eq!(breaches("ca/a.rs", "// A comment.\n//! Too late.\n").len(), 1, "the header comes first");
}

#[test]
fn harmless_files_pass() {
    let header = "//! A file about diesel, actix and crate::http.\n";
    for (path, code) in [
        ("x509/a.rs", "// diesel and tokio are not used here, nor async\nfn f() {}"),
        ("x509/a.rs", "/// Unlike `SystemTime`, see crate::ca.\nfn f() {}"),
        ("x509/a.rs", "const S: &str = \"async diesel crate::http\"; const R: &str = r##\"actix_web \"# \"##;"),
        ("x509/a.rs", "fn asynchronous(random: &[u8], brand: u8) {}"),
        (
            "x509/a.rs",
            "#[cfg(test)]\nmod tests {\n    use aws_lc_rs::rand::SystemRandom;\n    fn f() { let x = '}'; }\n}",
        ),
        ("x509/tests.rs", "use aws_lc_rs::rand::SystemRandom;"),
        ("policy/a.rs", "use crate::x509::{Certificate, key};\nuse super::names;\nuse crate::error::Violation;"),
        ("ca/a.rs", "use crate::storage::Storage; use crate::signer::Signer; use super::http_date;"),
        ("ca/deep/a.rs", "use super::http;"),
        ("storage/a.rs", "use diesel::prelude::*; use crate::x509::SerialNumber;"),
        ("protocols/rest/a.rs", "use actix_web::web; use crate::ca::CertificateAuthority;"),
        ("cli/a.rs", "fn f() { println!(\"x\"); }"),
    ] {
        let found = breaches(path, &format!("{header}{code}\n"));
        assert!(found.is_empty(), "{path}: `{code}` is harmless, found {found:?}");
    }
}
