//! `chancery keys`: looks after the keys of issuers where they are kept, directly in the database. A running service follows within seconds.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{block_on, print_json};
use crate::app;
use crate::auth::permission::ManageKeys;
use crate::auth::{Authorized, Caller};
use crate::ca::CertificateAuthority;
use crate::ca::keys::{NewPlace, described};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::protocols::rest::keys::KeysDocument;
use crate::signer::sealing::KeyEncryptionKey;
use crate::storage::KeyLocation;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the CA keys and where they are, and which key-encryption keys are still needed.
    List,
    /// Open every CA key and have it sign something; fails when one cannot.
    Check,
    /// Seal everything in the database under the present key-encryption key; afterwards previous ones can go.
    Reseal,
    /// Move the key of an issuer to another place.
    Move {
        /// The issuer: `issuing` for its present generation, `issuing.2` for the second.
        issuer: String,
        /// Where to.
        #[arg(long, value_enum)]
        to: Place,
        /// The file; `keys/<issuer>.key` in the data directory if absent.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Make a file with a new key-encryption key, never overwriting. Nothing uses it until the configuration names it.
    Generate {
        /// The file.
        file: PathBuf,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Place {
    /// In the database, sealed under the key-encryption key.
    Database,
    /// In a file, as encrypted PKCS #8.
    File,
}

pub(super) fn run(config: impl FnOnce() -> Result<Config>, command: Command) -> Result<ExitCode> {
    if let Command::Generate { file } = &command {
        let key = KeyEncryptionKey::create_file(file)?;
        print_json(&json!({ "file": file, "key_encryption_key": key.id() }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = config()?;
    block_on(async move {
        let ca = app::open(&config).await?;
        let authorization = Authorized::<ManageKeys>::check(Caller::internal("command-line"))?;
        let code = match command {
            Command::List => list(&ca, &authorization).await?,
            Command::Check => check(&ca, &authorization).await?,
            Command::Reseal => {
                let done = ca.reseal(&authorization).await?;
                print_json(&done)?;
                if done.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Command::Move { issuer, to, file } => {
                let place = match (to, file) {
                    (Place::Database, None) => NewPlace::Database,
                    (Place::Database, Some(_)) => {
                        return Err(Error::malformed("`--file` has no use with `--to database`"));
                    }
                    (Place::File, None) => NewPlace::File(None),
                    (Place::File, Some(path)) => NewPlace::File(Some(app::keys::absolute(&path)?)),
                };
                move_key(&ca, &authorization, &issuer, &place).await?
            }
            Command::Generate { .. } => ExitCode::SUCCESS,
        };
        ca.storage().close().await;
        Ok(code)
    })
}

async fn list(ca: &CertificateAuthority, authorization: &Authorized<ManageKeys>) -> Result<ExitCode> {
    print_json(&KeysDocument::of(ca, authorization).await?)?;
    Ok(ExitCode::SUCCESS)
}

async fn check(ca: &CertificateAuthority, authorization: &Authorized<ManageKeys>) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for key in ca.keys(authorization).await? {
        let (name, location) = (key.issuers.join(", "), described(&key.record.location));
        match ca.check_key(authorization, &key).await {
            Ok(()) => println!("ok      {name}: {location}"),
            Err(error) => {
                code = ExitCode::FAILURE;
                let cause = std::error::Error::source(&error).map(|cause| format!(" ({cause})")).unwrap_or_default();
                println!("BAD     {name}: {location}: {error}{cause}");
            }
        }
    }
    Ok(code)
}

async fn move_key(
    ca: &CertificateAuthority,
    authorization: &Authorized<ManageKeys>,
    issuer: &str,
    place: &NewPlace,
) -> Result<ExitCode> {
    let moved = ca.move_key(authorization, issuer, place).await?;
    let mut shown =
        json!({ "issuer": issuer, "moved": moved.moved, "from": described(&moved.from), "to": described(&moved.to) });
    if let (true, KeyLocation::File(path), Value::Object(map)) = (moved.moved, &moved.from, &mut shown) {
        let note = format!("the file `{}` still holds the key: keep it as a backup or destroy it", path.display());
        map.insert("note".to_owned(), json!(note));
    }
    print_json(&shown)?;
    Ok(ExitCode::SUCCESS)
}
