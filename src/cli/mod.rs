//! The command line: one module a command. Commands print their results; everything else in the crate logs.
#![allow(clippy::print_stderr, reason = "printing is what a command line is for")]

// First: the modules that follow print by its macros.
#[macro_use]
mod output;

mod config;
mod doctor;
mod files;
mod first_certificate;
mod import_files;
mod init;
mod issuer;
mod issuer_import;
mod keys;
mod profile;
mod quickstart;
mod serve;
mod token;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::error::{Error, Result};
use crate::http::openapi;

/// A certificate authority that services and people use over HTTP.
#[derive(Debug, Parser)]
#[command(name = "chancery", version, about)]
struct CommandLine {
    /// The configuration file; without one, built-in defaults and `CHANCERY__SECTION__KEY` variables hold.
    #[arg(long, global = true, env = "CHANCERY_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start with nothing: create what is missing, serve, and obtain a first certificate.
    Quickstart(quickstart::Arguments),
    /// Serve.
    Serve(serve::Arguments),
    /// Create the root, the issuing CA, the default profiles and an administrator token, unless they are there.
    Init(init::Arguments),
    /// Bring the database to this version and exit.
    Migrate,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(config::Command),
    /// Print the OpenAPI document.
    Openapi,
    /// Check configuration, files, database, keys, issuers, CRLs and the audit log.
    Doctor(doctor::Arguments),
    /// List the keys of issuers, seal them anew and move them, directly in the database.
    #[command(subcommand)]
    Keys(keys::Command),
    /// Make, list and revoke API tokens, directly in the database.
    #[command(subcommand)]
    Token(token::Command),
    /// Create, import, show, roll over, cross-sign and change issuers, directly in the database.
    #[command(subcommand)]
    Issuer(issuer::Command),
    /// List, show and apply profiles, directly in the database.
    #[command(subcommand)]
    Profile(profile::Command),
}

/// Runs the command that the arguments name.
#[must_use]
pub fn run() -> ExitCode {
    let CommandLine { config, command } = CommandLine::parse();
    // An error means that a provider is there already, which can only be this one: no other is compiled in.
    let _already_there = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match dispatch(config, command).and_then(|code| output::finish().map(|()| code)) {
        Ok(code) => code,
        Err(error) => {
            report(&error);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(path: Option<PathBuf>, command: Command) -> Result<ExitCode> {
    let load_with = |settings: Vec<(&'static str, String)>| -> Result<Config> {
        crate::config::load_with(path.as_deref(), std::env::vars(), settings.into_iter())
    };
    let load = || load_with(Vec::new());
    match command {
        Command::Quickstart(arguments) => quickstart::run(load_with(arguments.settings())?, &arguments),
        Command::Serve(arguments) => serve::run(load()?, arguments),
        Command::Init(arguments) => init::run(load()?, arguments),
        Command::Migrate => init::migrate(load()?),
        Command::Config(command) => config::run(load, command),
        Command::Openapi => {
            print!("{}", openapi::document_json()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor(arguments) => doctor::run(load()?, arguments),
        Command::Keys(command) => keys::run(load, command),
        Command::Token(command) => token::run(load()?, command),
        Command::Issuer(command) => issuer::run(load()?, command),
        Command::Profile(command) => profile::run(load()?, command),
    }
}

/// Shows an error with its causes.
fn report(error: &Error) {
    eprintln!("chancery: {error}");
    for violation in error.violations() {
        eprintln!("  {}: {}", violation.field, violation.message);
    }
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        eprintln!("  because: {cause}");
        source = cause.source();
    }
}

/// Prints a value as indented JSON.
fn print_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::internal("a result could not be encoded").with_source(error))?;
    println!("{text}");
    Ok(())
}

/// Runs a future on a runtime of its own.
fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .map_err(|error| Error::internal("the runtime could not be started").with_source(error))?
        .block_on(future)
}
