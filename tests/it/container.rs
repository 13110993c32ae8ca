//! The container definition: rules of our own for the Dockerfile, a schema for the compose file.
//!
//! There is no Docker engine where these tests run, so no image is built and nothing is started here; what can be judged by
//! reading is judged. That a shipped configuration file loads is tested with the configuration.

use std::path::Path;

use crate::support::tools::{Scratch, attempt, fixture, python};

fn docker(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One instruction with its continuation lines joined.
#[derive(Debug)]
struct Instruction {
    keyword: String,
    arguments: String,
}

fn instructions(dockerfile: &str) -> Vec<Instruction> {
    let mut found = Vec::new();
    let mut current = String::new();
    for line in dockerfile.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_suffix('\\') {
            Some(part) => {
                current.push_str(part);
                current.push(' ');
            }
            None => {
                current.push_str(line);
                let (keyword, arguments) = current.split_once(char::is_whitespace).unwrap_or((&current, ""));
                found.push(Instruction { keyword: keyword.to_owned(), arguments: arguments.trim().to_owned() });
                current.clear();
            }
        }
    }
    assert!(current.is_empty(), "the last line is continued: {current}");
    found
}

/// What is wrong with a Dockerfile.
fn findings(dockerfile: &str) -> Vec<String> {
    const KNOWN: [&str; 14] = [
        "FROM",
        "ARG",
        "RUN",
        "COPY",
        "WORKDIR",
        "LABEL",
        "USER",
        "VOLUME",
        "EXPOSE",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
        "ENV",
    ];
    const SECRETS: [&str; 5] = ["password", "secret", "token", "passphrase", "private_key"];
    let all = instructions(dockerfile);
    let mut found = Vec::new();
    let mut stages = Vec::new();
    for Instruction { keyword, arguments } in &all {
        if !KNOWN.contains(&keyword.as_str()) {
            found
                .push(format!("{keyword} is not used here (ADD fetches and unpacks by itself; MAINTAINER is a label)"));
        }
        let lower = arguments.to_lowercase();
        match keyword.as_str() {
            "FROM" => {
                let image = arguments.split_whitespace().next().unwrap_or_default();
                let from_stage = stages.iter().any(|stage| stage == image);
                match image.rsplit_once(':') {
                    Some((_, "latest")) | None if !from_stage => found.push(format!("FROM {image}: no fixed version")),
                    _ => {}
                }
                if image.split('/').next().is_some_and(|host| host.contains('.') && image.contains('/')) {
                    found.push(format!("FROM {image}: names a host"));
                }
                if let Some((_, name)) = arguments.split_once(" AS ") {
                    stages.push(name.trim().to_owned());
                }
            }
            "ARG" | "ENV" | "LABEL" if SECRETS.iter().any(|secret| lower.contains(secret)) => {
                found.push(format!("{keyword} {arguments}: holds a secret"));
            }
            "RUN" => {
                if lower.contains("apt-get install") && !lower.contains("rm -rf /var/lib/apt/lists") {
                    found.push("RUN apt-get install leaves its lists in the layer".to_owned());
                }
                if lower.contains("curl ") || lower.contains("wget ") || lower.contains("sudo ") {
                    found.push(format!("RUN {arguments}: downloads by hand or raises privileges"));
                }
            }
            "COPY" if arguments == ". ." || arguments.starts_with(". ") => {
                found.push("COPY . takes whatever lies around".to_owned());
            }
            "ENTRYPOINT" | "CMD" if !arguments.starts_with('[') => {
                found.push(format!("{keyword} runs through a shell, which does not pass signals on"));
            }
            _ => {}
        }
    }
    let last_stage: Vec<&Instruction> =
        all.rsplit(|instruction| instruction.keyword == "FROM").next().unwrap_or_default().iter().collect();
    for needed in ["USER", "HEALTHCHECK", "ENTRYPOINT", "LABEL", "EXPOSE"] {
        if !last_stage.iter().any(|instruction| instruction.keyword == needed) {
            found.push(format!("the last stage has no {needed}"));
        }
    }
    if stages.is_empty() {
        found.push("the build is not separated from the image".to_owned());
    }
    for instruction in last_stage.iter().filter(|instruction| instruction.keyword == "USER") {
        let number = instruction.arguments.split(':').next().unwrap_or_default().parse::<u32>();
        if !number.is_ok_and(|user| user > 0) {
            found.push(format!("USER {}: must be a number other than 0", instruction.arguments));
        }
    }
    let runs_as_root = last_stage
        .iter()
        .skip_while(|instruction| instruction.keyword != "USER")
        .skip(1)
        .any(|instruction| instruction.keyword == "USER");
    if runs_as_root {
        found.push("USER changes again".to_owned());
    }
    if last_stage.iter().any(|instruction| instruction.keyword == "RUN") {
        found.push("the last stage runs commands; make its files in the build stage".to_owned());
    }
    found
}

#[test]
fn the_dockerfile_keeps_our_rules() {
    let found = findings(&docker("Dockerfile"));
    assert!(found.is_empty(), "docker/Dockerfile: {found:#?}");
}

/// Every file that the Dockerfile copies exists and is let through by `.dockerignore`.
#[test]
fn the_dockerfile_copies_what_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ignore = std::fs::read_to_string(root.join(".dockerignore")).unwrap();
    let mut copied = 0;
    for instruction in instructions(&docker("Dockerfile")) {
        if instruction.keyword != "COPY" || instruction.arguments.starts_with("--from") {
            continue;
        }
        let mut paths: Vec<&str> = instruction.arguments.split_whitespace().collect();
        paths.pop();
        for path in paths {
            assert!(root.join(path).exists(), "docker/Dockerfile copies `{path}`, which does not exist");
            assert!(
                ignore.lines().any(|line| line == format!("!{path}")),
                "`{path}` is copied, and .dockerignore leaves it out"
            );
            copied += 1;
        }
    }
    assert!(copied >= 4, "only {copied} paths are copied");
}

#[test]
fn careless_dockerfiles_are_caught() {
    let good = docker("Dockerfile");
    for (from, to, expected) in [
        ("FROM debian:bookworm-slim", "FROM debian:latest", "no fixed version"),
        ("FROM debian:bookworm-slim", "FROM debian", "no fixed version"),
        ("FROM debian:bookworm-slim", "FROM images.example.com/debian:12", "names a host"),
        ("USER 10001:10001", "USER root", "must be a number other than 0"),
        ("USER 10001:10001", "USER 0", "must be a number other than 0"),
        ("USER 10001:10001\n", "", "the last stage has no USER"),
        ("COPY src ./src", "ADD src ./src", "ADD is not used here"),
        ("COPY src ./src", "COPY . .", "takes whatever lies around"),
        ("ARG VERSION=0.1.0", "ARG ADMIN_TOKEN=abc", "holds a secret"),
        ("ENTRYPOINT [\"/usr/local/bin/chancery\"]", "ENTRYPOINT chancery", "runs through a shell"),
        (
            "HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \\\n    CMD",
            "LABEL x=1 \\\n   y=",
            "has no HEALTHCHECK",
        ),
    ] {
        assert!(good.contains(from), "the Dockerfile no longer says {from:?}");
        let found = findings(&good.replace(from, to));
        assert!(found.iter().any(|finding| finding.contains(expected)), "{to:?}: expected {expected}, found {found:?}");
    }
}

/// Runs the validator over a compose file: whether it passes, and what it said.
fn validate(compose: &str) -> (bool, String) {
    let scratch = Scratch::new();
    let file = scratch.write("compose.yaml", compose);
    let output = attempt(python(), &[fixture("compose/validate.py"), fixture("compose/schema.json"), file]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said)
}

#[test]
fn the_compose_file_is_valid_and_hardened() {
    let (passes, said) = validate(&docker("compose.yaml"));
    assert!(passes, "docker/compose.yaml:\n{said}");
}

#[test]
fn careless_compose_files_are_caught() {
    let good = docker("compose.yaml");
    for (from, to, expected) in [
        ("read_only: true\n    tmpfs", "read_only: false\n    tmpfs", "True was expected"),
        ("      - ALL", "      - CHOWN", "was expected"),
        ("image: postgres:17-bookworm", "image: postgres:latest", "does not match"),
        ("image: postgres:17-bookworm", "image: images.example.com/postgres:17", "does not match"),
        ("no-new-privileges:true", "seccomp:unconfined", "does not contain"),
        ("    healthcheck:", "    health_check:", "health_check"),
        (
            "POSTGRES_PASSWORD_FILE: /run/secrets/postgres-password",
            "POSTGRES_PASSWORD: postgres",
            "secrets are given by file",
        ),
        ("file: ./secrets/database-url", "environment: DATABASE_URL", "Additional properties"),
        ("condition: service_healthy", "condition: service_ready", "is not one of"),
        ("  state: {}\n", "", "is used and not declared"),
        ("    restart: unless-stopped\n", "    restart: unless-stopped\n    privileged: true\n", "privileged"),
    ] {
        assert!(good.contains(from), "the compose file no longer says {from:?}");
        let (passes, said) = validate(&good.replacen(from, to, 1));
        assert!(!passes && said.contains(expected), "{to:?}: expected {expected}, the validator said: {said}");
    }
}
