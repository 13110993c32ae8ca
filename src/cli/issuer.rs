//! `chancery issuer`: creates, shows, rolls over, cross-signs and changes issuers, directly in the database. A running service sees the change within
//! seconds. Keys in files need the configuration that the service has.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use const_oid::ObjectIdentifier;
use serde_json::json;

use super::{block_on, files, print_json};
use crate::app;
use crate::auth::permission::{ManageIssuers, ReadIssuers};
use crate::auth::{Authorized, Caller};
use crate::ca::CertificateAuthority;
use crate::ca::issuers::AnyIssuer;
use crate::ca::issuers::certify::CaBounds;
use crate::ca::issuers::creation::{IssuerRequest, IssuerSigner};
use crate::ca::issuers::cross_signing::CrossSigningRequest;
use crate::ca::issuers::key_making::NewKeyPlace;
use crate::ca::issuers::outside::OutsideCertificate;
use crate::ca::issuers::rollover::RolloverRequest;
use crate::ca::issuers::states::IssuerUpdate;
use crate::ca::settings::IssuerSettings;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::policy::{RequestedValidity, duration};
use crate::protocols::rest::issuers::IssuerDocument;
use crate::protocols::rest::issuers::lifecycle::certificates_of_pem;
use crate::storage::IssuerState;
use crate::x509::name_constraints::SubtreesDocument;
use crate::x509::{
    Certificate, DistinguishedName, ExtendedKeyUsage, KeyAlgorithm, NameConstraints, NameConstraintsDocument, pem,
};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List every generation of every issuer.
    List,
    /// Show an issuer: `issuing` is the present generation, `issuing.2` exactly the second.
    Show {
        /// The name.
        name: String,
    },
    /// Create an issuer with a new key.
    #[command(subcommand)]
    Create(Create),
    /// Import a CA that was run elsewhere: its key and certificate, and what it issued and revoked.
    Import(super::issuer_import::Arguments),
    /// Print the request for an issuer's certificate, which somebody outside is to sign.
    Csr {
        /// The name.
        name: String,
    },
    /// Take a certificate that was signed outside; an issuer that waited for it becomes active.
    Certificate {
        /// The name.
        name: String,
        /// The file: the certificate and, unless an issuer here signed it, those above it, PEM; or the certificate in DER.
        file: PathBuf,
        /// Let it stand beside the present certificate rather than in its place.
        #[arg(long)]
        alternate: bool,
        /// Let an issuer that waited for it stay staged.
        #[arg(long)]
        staged: bool,
    },
    /// Roll an issuer over: a new key under the same name, or with `--renew-only` a new certificate for the same key.
    Rollover(Rollover),
    /// Certify the key of another CA and print the certificate.
    CrossSign {
        /// The issuer that signs.
        name: String,
        /// The file with the other CA's certificate, PEM; after it the one that verifies it, unless it signed itself or an issuer here signed it.
        file: PathBuf,
        /// How long the certificate is valid, such as `365d`; until either CA ends if absent.
        #[arg(long)]
        validity: Option<String>,
        /// How many CAs may follow below the other CA.
        #[arg(long)]
        path_length: Option<u8>,
    },
    /// Change an issuer's state, or make it the default one.
    Set {
        /// The name; with a generation (`issuing.2`) unless the present one is meant.
        name: String,
        /// The new state.
        #[arg(long)]
        state: Option<StateName>,
        /// Make it the default issuer.
        #[arg(long)]
        default: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Create {
    /// Create a root, which signs its own certificate.
    Root {
        #[command(flatten)]
        new: New,
    },
    /// Create a CA below an issuer here, or with `--outside` one whose certificate somebody else signs, and print the request for it.
    Subordinate {
        #[command(flatten)]
        new: New,
        /// The active issuer that signs it.
        #[arg(long, required_unless_present = "outside")]
        parent: Option<String>,
        /// Somebody outside signs it.
        #[arg(long, conflicts_with = "parent")]
        outside: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct New {
    /// The name: 1 to 63 of `a-z 0-9 -`, starting with a letter.
    #[arg(long)]
    name: String,
    /// The subject, such as `CN=Example CA,O=Example` or `/O=Example/CN=Example CA`.
    #[arg(long)]
    subject: String,
    /// The algorithm of the key, such as `ecdsa-p256`, `ecdsa-p384`, `ed25519` or `rsa-4096`.
    #[arg(long, default_value = "ecdsa-p256")]
    key: KeyAlgorithm,
    #[command(flatten)]
    kept: Kept,
    /// How long it is valid, such as `3650d`; 10 years for a root, 5 for others if absent.
    #[arg(long)]
    validity: Option<String>,
    /// How many CAs may follow below it.
    #[arg(long)]
    path_length: Option<u8>,
    /// Names that certificates below it may have, all others of the type not: `dns:example.internal`, `ip:10.0.0.0/8`, `email:example.com`,
    /// `uri:cluster.internal` or `directory:O=Example` (repeatable).
    #[arg(long)]
    permit: Vec<String>,
    /// Names that certificates below it may not have, written likewise (repeatable).
    #[arg(long)]
    exclude: Vec<String>,
    /// A certificate policy, dotted (repeatable).
    #[arg(long = "policy")]
    policies: Vec<ObjectIdentifier>,
    /// An extended key usage that certificates below it may have (repeatable); any if absent.
    #[arg(long = "extended-key-usage")]
    extended_key_usages: Vec<ExtendedKeyUsage>,
    /// Let it exist only, and sign nothing for others yet.
    #[arg(long)]
    staged: bool,
    /// Make it the default issuer.
    #[arg(long)]
    default: bool,
}

#[derive(Debug, Args)]
pub(super) struct Rollover {
    /// The name.
    name: String,
    /// The algorithm of the new key; that of the present one if absent.
    #[arg(long)]
    key: Option<KeyAlgorithm>,
    #[command(flatten)]
    kept: Kept,
    /// How long the new certificate is valid, such as `1825d`; as long as the present one if absent.
    #[arg(long)]
    validity: Option<String>,
    /// Let the new generation exist only; `chancery issuer set NAME.N --state active` switches over.
    #[arg(long)]
    staged: bool,
    /// Keep the key, and only get it a new certificate.
    #[arg(long)]
    renew_only: bool,
    /// Have somebody outside sign, though an issuer here signed the present certificate; `chancery issuer csr` prints the request.
    #[arg(long)]
    outside: bool,
    /// For roots: do without the certificates that the old and the new key sign for each other.
    #[arg(long)]
    no_cross_certificates: bool,
}

/// Where a new key is kept.
#[derive(Debug, Args)]
pub(super) struct Kept {
    /// Where the key is kept; if absent, in the database, or at a rollover as the present key is (a new file, the same token).
    #[arg(long, value_name = "PLACE")]
    key_storage: Option<Storage>,
    /// The token, by its name in the configuration; with `--key-storage pkcs11`.
    #[arg(long, value_name = "NAME", required_if_eq("key_storage", "pkcs11"))]
    token: Option<String>,
    /// The file; `keys/<issuer>.key` in the data directory if absent. With `--key-storage file`.
    #[arg(long, value_name = "FILE", requires = "key_storage")]
    key_file: Option<PathBuf>,
}

/// A place of keys as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Storage {
    /// In the database, sealed under the key-encryption key.
    Database,
    /// In a file, as encrypted PKCS #8.
    File,
    /// In a token, which it never leaves.
    Pkcs11,
}

impl Kept {
    /// Returns the place that is meant; `None` when none is named.
    pub(super) fn place(self) -> Result<Option<NewKeyPlace>> {
        if self.token.is_some() && self.key_storage != Some(Storage::Pkcs11) {
            return Err(Error::malformed("`--token` has no use without `--key-storage pkcs11`"));
        }
        if self.key_file.is_some() && self.key_storage != Some(Storage::File) {
            return Err(Error::malformed("`--key-file` has no use without `--key-storage file`"));
        }
        let path = self.key_file.map(|path| app::keys::absolute(&path)).transpose()?;
        Ok(match self.key_storage {
            None => None,
            Some(Storage::Database) => Some(NewKeyPlace::Database),
            Some(Storage::File) => Some(NewKeyPlace::File(path)),
            Some(Storage::Pkcs11) => Some(NewKeyPlace::Pkcs11(
                self.token.ok_or_else(|| Error::malformed("`--key-storage pkcs11` needs `--token`"))?,
            )),
        })
    }
}

/// A state as an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum StateName {
    /// Signs certificates, CRLs and OCSP answers.
    Active,
    /// Exists, and signs nothing for others yet.
    Staged,
    /// Signs CRLs and OCSP answers only.
    Retired,
    /// Signs nothing.
    Disabled,
}

impl From<StateName> for IssuerState {
    fn from(name: StateName) -> Self {
        match name {
            StateName::Active => Self::Active,
            StateName::Staged => Self::Staged,
            StateName::Retired => Self::Retired,
            StateName::Disabled => Self::Disabled,
        }
    }
}

pub(super) fn run(config: Config, command: Command) -> Result<ExitCode> {
    let command = match command {
        Command::Import(arguments) => return super::issuer_import::run(config, arguments),
        command => command,
    };
    block_on(async move {
        files::create_directory(&config.data_dir)?;
        let ca = app::open(&config).await?;
        let done = execute(&ca, command).await;
        ca.storage().close().await;
        done.map(|()| ExitCode::SUCCESS)
    })
}

async fn execute(ca: &CertificateAuthority, command: Command) -> Result<()> {
    let caller = Caller::internal("command-line");
    let read = Authorized::<ReadIssuers>::check(caller.clone())?;
    let manage = Authorized::<ManageIssuers>::check(caller)?;
    let changed = match command {
        Command::List => {
            let issuers = ca.list_issuers(&read);
            let items = issuers.every().map(|issuer| IssuerDocument::of(ca, &issuer)).collect::<Result<Vec<_>>>()?;
            return print_json(&json!({ "items": items }));
        }
        Command::Show { name } => {
            let found = ca.list_issuers(&read).any_by_reference(&name);
            found.ok_or_else(|| Error::not_found(format!("there is no issuer `{}`", name.escape_debug())))?
        }
        Command::Create(create) => {
            let request = create.into_request()?;
            let outside = request.signed_by == IssuerSigner::Outside;
            let created = ca.create_issuer(&manage, request).await?.issuer;
            if outside {
                return print_csr(ca, &read, &created.reference()).await;
            }
            created
        }
        Command::Import(_) => return Err(Error::internal("an import is run by itself")),
        Command::Csr { name } => return print_csr(ca, &read, &name).await,
        Command::Certificate { name, file, alternate, staged } => {
            let certificates = read_certificates(&file)?;
            let outside = OutsideCertificate { certificates, alternate, staged };
            ca.install_certificate(&manage, &name, outside).await?.issuer
        }
        Command::Rollover(arguments) => {
            let (name, request) = arguments.into_request()?;
            let rolled = ca.roll_over(&manage, &name, request).await?.issuer;
            if let AnyIssuer::Pending(_) = &rolled {
                return print_csr(ca, &read, &rolled.reference()).await;
            }
            rolled
        }
        Command::CrossSign { name, file, validity, path_length } => {
            let request = CrossSigningRequest {
                certificates: read_certificates(&file)?,
                validity: length(validity.as_deref())?,
                bounds: CaBounds { path_length, ..CaBounds::default() },
                idempotency: None,
            };
            let issued = ca.cross_sign(&manage, &name, request).await?;
            print!("{}", issued.certificate.certificate.to_pem());
            return Ok(());
        }
        Command::Set { name, state, default } => {
            let update = IssuerUpdate {
                state: state.map(IssuerState::from),
                is_default: default.then_some(true),
                ..IssuerUpdate::default()
            };
            ca.update_issuer(&manage, &name, update).await?.issuer
        }
    };
    print_json(&IssuerDocument::of(ca, &changed)?)
}

async fn print_csr(ca: &CertificateAuthority, authorization: &Authorized<ReadIssuers>, name: &str) -> Result<()> {
    let csr = ca.issuer_csr(authorization, name).await?;
    print!("{}", pem::encode("CERTIFICATE REQUEST", csr.as_der()));
    Ok(())
}

fn read_certificates(path: &Path) -> Result<Vec<Certificate>> {
    let content = files::read(path)?;
    let read = match pem::text_of(&content) {
        Some(text) => certificates_of_pem(text),
        None => Certificate::from_der(&content).map(|certificate| vec![certificate]),
    };
    read.map_err(|error| Error::malformed(format!("`{}`: {}", path.display(), error.detail())).with_source(error))
}

fn length(text: Option<&str>) -> Result<Option<RequestedValidity>> {
    text.map(|text| duration::parse(text).map(RequestedValidity::Duration)).transpose()
}

fn constraints(permitted: &[String], excluded: &[String]) -> Result<Option<NameConstraints>> {
    if permitted.is_empty() && excluded.is_empty() {
        return Ok(None);
    }
    let document = NameConstraintsDocument { permitted: subtrees(permitted)?, excluded: subtrees(excluded)? };
    document.compile("name_constraints").map(Some)
}

fn subtrees(texts: &[String]) -> Result<SubtreesDocument> {
    let mut document = SubtreesDocument::default();
    for text in texts {
        let (kind, name) = text.split_once(':').unwrap_or(("", text));
        let list = match kind {
            "dns" => &mut document.dns,
            "ip" => &mut document.ip,
            "email" => &mut document.email,
            "uri" => &mut document.uri,
            "directory" => &mut document.directory,
            _ => {
                let shown = text.escape_debug();
                return Err(Error::malformed(format!(
                    "`{shown}` does not begin with `dns:`, `ip:`, `email:`, `uri:` or `directory:`"
                )));
            }
        };
        list.push(name.to_owned());
    }
    Ok(document)
}

impl Create {
    fn into_request(self) -> Result<IssuerRequest> {
        let (new, signed_by) = match self {
            Self::Root { new } => (new, IssuerSigner::Itself),
            Self::Subordinate { new, parent, .. } => (new, parent.map_or(IssuerSigner::Outside, IssuerSigner::Issuer)),
        };
        Ok(IssuerRequest {
            name: new.name,
            signed_by,
            subject: DistinguishedName::parse(&new.subject)?,
            key: new.key,
            place: new.kept.place()?.unwrap_or(NewKeyPlace::Database),
            validity: length(new.validity.as_deref())?,
            bounds: CaBounds {
                path_length: new.path_length,
                name_constraints: constraints(&new.permit, &new.exclude)?,
                certificate_policies: new.policies,
                extended_key_usage: new.extended_key_usages,
            },
            staged: new.staged,
            is_default: new.default,
            settings: IssuerSettings::default(),
            idempotency: None,
        })
    }
}

impl Rollover {
    fn into_request(self) -> Result<(String, RolloverRequest)> {
        let request = RolloverRequest {
            key: self.key,
            place: self.kept.place()?,
            validity: length(self.validity.as_deref())?,
            staged: self.staged,
            renew_only: self.renew_only,
            outside: self.outside,
            without_cross_certificates: self.no_cross_certificates,
            expected_generation: None,
            idempotency: None,
        };
        Ok((self.name, request))
    }
}
