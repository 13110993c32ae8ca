//! `chancery profile`: lists, shows and applies profiles, directly in the database. A running service sees the change within seconds.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{block_on, files, print_json};
use crate::app;
use crate::auth::permission::{ManageProfiles, ReadProfiles};
use crate::auth::{Authorized, Caller};
use crate::ca::profiles::ActiveProfile;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::policy::Profile;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the profiles.
    List,
    /// Show a profile.
    Show {
        /// The name.
        name: String,
        /// An older version.
        #[arg(long)]
        version: Option<i32>,
    },
    /// Create or change the profiles of a file: `[[profiles]]` in TOML, or one profile or a list of them in JSON.
    Apply {
        /// The file.
        file: PathBuf,
    },
}

/// A TOML file with profiles.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    profiles: Vec<Profile>,
}

pub(super) fn run(config: Config, command: Command) -> Result<ExitCode> {
    block_on(async move {
        let ca = app::open(&config).await?;
        let caller = Caller::internal("command-line");
        match command {
            Command::List => {
                let profiles = ca.list_profiles(&Authorized::<ReadProfiles>::check(caller)?);
                let items: Vec<Value> = profiles.iter().map(summarised).collect();
                print_json(&json!({ "items": items }))?;
            }
            Command::Show { name, version } => {
                let profile = ca.profile(&Authorized::<ReadProfiles>::check(caller)?, &name, version).await?;
                print_json(profile.compiled.profile())?;
            }
            Command::Apply { file } => {
                let authorization = Authorized::<ManageProfiles>::check(caller)?;
                for profile in read(&file)? {
                    let put = ca.put_profile(&authorization, profile, None).await?;
                    print_json(&summarised(&put.profile))?;
                }
            }
        }
        ca.storage().close().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn read(path: &std::path::Path) -> Result<Vec<Profile>> {
    let text = String::from_utf8(files::read(path)?)
        .map_err(|error| Error::malformed(format!("`{}` is not UTF-8", path.display())).with_source(error))?;
    let malformed = |error: String| Error::malformed(format!("`{}`: {error}", path.display()));
    if path.extension().is_some_and(|extension| extension == "json") {
        let value: Value = serde_json::from_str(&text).map_err(|error| malformed(error.to_string()))?;
        let list = if value.is_array() { value } else { Value::Array(vec![value]) };
        return serde_json::from_value(list).map_err(|error| malformed(error.to_string()));
    }
    let file: ProfileFile = toml::from_str(&text).map_err(|error| malformed(error.to_string()))?;
    Ok(file.profiles)
}

fn summarised(profile: &ActiveProfile) -> Value {
    json!({
        "name": profile.record.name,
        "version": profile.record.version,
        "origin": profile.record.origin,
        "description": profile.compiled.profile().description,
        "created_at": profile.record.created_at,
        "created_by": profile.record.created_by,
    })
}
