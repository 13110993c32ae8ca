//! The documents: links between them lead somewhere, and nothing in the repository names a package registry's host.

use std::path::{Path, PathBuf};

use crate::support::service::chancery;
use crate::support::tools::Scratch;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![repository().to_owned(), repository().join("docs"), repository().join("docs/adr")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|character| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_'))
        .map(|character| if character == ' ' { '-' } else { character })
        .collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let documents = documents();
    assert!(documents.len() >= 10, "only {documents:?}");
    let mut links = 0;
    for document in &documents {
        let text = std::fs::read_to_string(document).unwrap();
        for (index, _) in text.match_indices("](") {
            let target = text[index + 2..].split(')').next().unwrap();
            if target.starts_with("http://") || target.starts_with("https://") {
                continue;
            }
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            assert!(path.exists(), "{} links to `{target}`, which does not exist", document.display());
            if !heading.is_empty() {
                let linked = std::fs::read_to_string(&path).unwrap();
                let there = linked.lines().filter(|line| line.starts_with('#')).any(|line| anchor(line) == heading);
                assert!(there, "{} links to `{target}`, which has no such heading", document.display());
            }
            links += 1;
        }
    }
    assert!(links > 20, "only {links} links were looked at");
}

/// The paths of the source that documents name in backticks exist: `src/ca/issuance.rs`, `tests/it/crash.rs`.
#[test]
fn files_that_documents_name_exist() {
    let mut named = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document).unwrap();
        for part in text.split('`').skip(1).step_by(2) {
            let is_path = ["src/", "tests/", "docs/", "docker/", "scripts/", "migrations/", "openapi/"]
                .iter()
                .any(|folder| part.starts_with(folder));
            if is_path && !part.contains(['*', '<', '{', ' ', '\n']) && !part.starts_with("docker/secrets") {
                let exists = repository().join(part).exists();
                assert!(exists, "{} names `{part}`, which does not exist", document.display());
                named += 1;
            }
        }
    }
    assert!(named > 15, "only {named} paths were looked at");
}

/// Every piece of our configuration in the page on ACME clients is a configuration that `chancery config check` takes.
#[test]
fn configuration_for_acme_clients_is_valid() {
    let text = std::fs::read_to_string(repository().join("docs/acme-clients.md")).unwrap();
    let mut checked = 0;
    for part in text.split("```toml\n# chancery.toml\n").skip(1) {
        let scratch = Scratch::new();
        let snippet = part.split("```").next().unwrap();
        let path = scratch.write("chancery.toml", snippet);
        let mut command = chancery();
        command.args(["config", "check", "--config"]).arg(path).env("CHANCERY__DATA_DIR", scratch.file("data"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{snippet}\n{said}");
        checked += 1;
    }
    assert!(checked >= 3, "only {checked} were looked at");
    // No other piece slips past.
    assert_eq!(text.matches("```toml\n").count(), checked);
}

#[test]
fn the_licence_is_the_whole_apache_licence() {
    let text = std::fs::read_to_string(repository().join("LICENSE")).unwrap();
    for part in ["Version 2.0, January 2004", "3. Grant of Patent License.", "END OF TERMS AND CONDITIONS"] {
        assert!(text.contains(part), "LICENSE does not hold {part:?}");
    }
}
