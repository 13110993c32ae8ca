//! `chancery config`: says whether the configuration is valid, before it is used.

use std::process::ExitCode;

use clap::Subcommand;

use crate::config::{self, Config};
use crate::error::Result;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Check file and environment; warns of settings that are valid but unwise.
    Check,
}

pub(super) fn run(load: impl FnOnce() -> Result<Config>, command: Command) -> Result<ExitCode> {
    match command {
        Command::Check => {
            let config = load()?;
            for warning in config::check(&config) {
                println!("warning: {warning}");
            }
            println!("the configuration is valid");
            Ok(ExitCode::SUCCESS)
        }
    }
}
