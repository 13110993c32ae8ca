//! `chancery quickstart`: from an empty directory to a verified certificate, again on the same directory, on both databases; and the
//! tour of the README.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::support::service::{Database, Service, chancery};
use crate::support::tools::{Scratch, openssl, run};

fn quickstart(directory: &Path, environment: &[(&str, &str)]) -> Output {
    chancery()
        .args(["quickstart", "--once", "--data-dir", "chancery-data", "--listen", "127.0.0.1:0"])
        .args(["--public-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"])
        .envs(environment.iter().copied())
        .current_dir(directory)
        .output()
        .unwrap()
}

fn succeeds(directory: &Path, environment: &[(&str, &str)]) -> String {
    let output = quickstart(directory, environment);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn leaves_everything(directory: &Path, has_database: bool) {
    let data = directory.join("chancery-data");
    let mode = |name: &str| std::fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777;
    for (name, expected) in
        [("admin.token", 0o600), ("key-encryption.key", 0o600), ("root.pem", 0o644), ("first/key.pem", 0o600)]
    {
        assert_eq!(mode(name), expected, "{name}");
    }
    assert_eq!(data.join("chancery.db").exists(), has_database);
    let endpoints: Value =
        serde_json::from_str(&std::fs::read_to_string(data.join("endpoints.json")).unwrap()).unwrap();
    assert!(endpoints["api"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{endpoints}");
    let at = |name: &str| data.join(name).display().to_string();
    let said = openssl(&format!(
        "verify -x509_strict -CAfile {} -untrusted {} {}",
        at("root.pem"),
        at("chain.pem"),
        at("first/certificate.pem")
    ));
    assert!(said.trim_end().ends_with(": OK"), "{said}");
    let key = openssl(&format!("pkey -in {} -pubout", at("first/key.pem")));
    assert_eq!(key, openssl(&format!("x509 -in {} -noout -pubkey", at("first/fullchain.pem"))));
    assert_eq!(key, openssl(&format!("req -in {} -noout -pubkey", at("first/csr.pem"))));
}

#[test]
fn comes_up_in_an_empty_directory_and_again() {
    let scratch = Scratch::new();
    succeeds(scratch.path(), &[]);
    leaves_everything(scratch.path(), true);
    let keep = ["chancery-data/root.pem", "chancery-data/admin.token", "chancery-data/key-encryption.key"];
    let before = keep.map(|name| scratch.read(name));
    succeeds(scratch.path(), &[]);
    leaves_everything(scratch.path(), true);
    assert_eq!(keep.map(|name| scratch.read(name)), before, "everything is used again");
}

#[test]
fn comes_up_on_postgresql_and_again() {
    let scratch = Scratch::new();
    let url = crate::support::new_postgres_database();
    for _ in 0..2 {
        succeeds(scratch.path(), &[("CHANCERY__DATABASE__URL", &url)]);
        leaves_everything(scratch.path(), false);
    }
}

#[test]
fn a_directory_with_a_space_is_quoted_in_what_is_printed() {
    let scratch = Scratch::new();
    let directory = scratch.file("with space");
    std::fs::create_dir(&directory).unwrap();
    let output = chancery()
        .args([
            "quickstart",
            "--once",
            "--listen",
            "127.0.0.1:0",
            "--public-listen",
            "127.0.0.1:0",
            "--metrics-listen",
            "127.0.0.1:0",
        ])
        .arg("--data-dir")
        .arg(directory.join("data"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("with space/data'"), "{said}");
}

/// A broken set-up is an error with words, not a half-made CA.
#[test]
fn a_lost_key_is_reported() {
    let scratch = Scratch::new();
    succeeds(scratch.path(), &[]);
    std::fs::remove_file(scratch.file("chancery-data/key-encryption.key")).unwrap();
    let output = quickstart(scratch.path(), &[]);
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("key-encryption.key"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The commands that are printed under "Your turn", pasted into a shell.
#[test]
fn the_printed_commands_work() {
    let service = Service::shared(Database::Sqlite);
    let log = service.log();
    let turn = log.split("Your turn").nth(1).unwrap_or_else(|| panic!("nothing to paste in {log}"));
    let script: String = turn
        .lines()
        .skip(1)
        .take_while(|line| line.starts_with("   "))
        .map(|line| format!("{}\n", line.trim_start()))
        .collect();
    assert!(script.contains("openssl req") && script.contains("curl "), "{script}");
    let scratch = Scratch::new();
    let output = Command::new("sh").args(["-e", "-c", &script]).current_dir(scratch.path()).output().unwrap();
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(scratch.read("app.pem").matches("-----BEGIN CERTIFICATE-----").count(), 2);
    let data = service.data();
    openssl(&format!(
        "verify -x509_strict -CAfile {}/root.pem -untrusted {}/chain.pem {}/app.pem",
        data.display(),
        data.display(),
        scratch.path().display()
    ));
}

/// The tour of the README, block by block, pasted into a shell beside a running `quickstart`.
#[test]
fn the_tour_of_the_readme_works() {
    let readme = include_str!("../../README.md");
    let tour = readme.split("## A tour").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks: Vec<&str> = tour.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap()).collect();
    assert_eq!(blocks.len(), 3, "the tour has three blocks to paste");
    let service = Service::start(Database::Sqlite);
    let scratch = Scratch::new();
    run("ln", &["-s", service.data().to_str().unwrap(), scratch.file("chancery-data").to_str().unwrap()]);
    let script = format!("set -e\nshopt -s expand_aliases\n{}", blocks.join("\n"))
        .replace("https://127.0.0.1:8443", service.api())
        .replace("http://127.0.0.1:8080", service.public());
    let output = Command::new("bash").args(["-c", &script]).current_dir(scratch.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let problems = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{problems}");
    for expected in
        ["app.pem: OK", "name_not_allowed", "\"app.internal\"", "\"superseded\"", "Superseded", "certificate.revoke"]
    {
        assert!(said.contains(expected), "{expected} is not in {said}{problems}");
    }
}
