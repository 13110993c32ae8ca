//! Profiles as versioned objects: the compiled present versions, and changes to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::CertificateAuthority;
use crate::auth::permission::{ManageProfiles, ReadProfiles};
use crate::auth::{Authorized, Caller};
use crate::error::{Error, Result};
use crate::policy::{CompiledProfile, Profile};
use crate::storage::{AuditEvent, AuditOutcome, NewProfileVersion, ProfileOrigin, ProfilePut, ProfileRecord};

/// A profile as it is now.
#[derive(Clone, Debug)]
pub struct ActiveProfile {
    /// The record.
    pub record: ProfileRecord,
    /// Its compiled form.
    pub compiled: Arc<CompiledProfile>,
}

/// Every profile, by name.
#[derive(Debug, Default)]
pub struct Profiles {
    pub(super) by_name: BTreeMap<String, ActiveProfile>,
}

/// A profile that was put, and whether that made a new version.
#[derive(Clone, Debug)]
pub struct PutProfile {
    /// The profile as it is now.
    pub profile: ActiveProfile,
    /// Whether there was no profile of the name before.
    pub created: bool,
}

impl CertificateAuthority {
    /// Lists the profiles by name.
    #[must_use]
    pub fn list_profiles(&self, _authorization: &Authorized<ReadProfiles>) -> Vec<ActiveProfile> {
        self.profiles.load().by_name.values().cloned().collect()
    }

    /// Finds a profile; with `version` an older or deleted version of it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn profile(
        &self,
        _authorization: &Authorized<ReadProfiles>,
        name: &str,
        version: Option<i32>,
    ) -> Result<ActiveProfile> {
        match version {
            None => self.active_profile(name).ok_or_else(|| no_profile(name)),
            Some(_) if name.contains('\0') => Err(no_profile(name)),
            Some(version) => match self.storage.profile_version(name, version).await? {
                Some(record) => compiled(record),
                None => Err(Error::not_found(format!("there is no version {version} of a profile `{name}`"))),
            },
        }
    }

    /// Creates a profile or a new version of it; an equal document changes nothing.
    ///
    /// # Errors
    /// `Malformed` for a document that does not compile; `Conflict` for a profile of the configuration file, another present version than
    /// `expected_version`, or an issuer that does not exist.
    pub async fn put_profile(
        &self,
        authorization: &Authorized<ManageProfiles>,
        profile: Profile,
        expected_version: Option<i32>,
    ) -> Result<PutProfile> {
        let (caller, object) = (authorization.caller(), format!("profile:{}", profile.name));
        let result = async {
            self.refuse_configured(&profile.name)?;
            self.store_profile(caller, profile, ProfileOrigin::Api, expected_version).await
        };
        let outcome = result.await;
        self.audited(caller, "profile.put", object, outcome).await
    }

    /// Deletes a profile; certificates made under it keep its versions.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for a profile of the configuration file.
    pub async fn delete_profile(&self, authorization: &Authorized<ManageProfiles>, name: &str) -> Result<()> {
        let caller = authorization.caller();
        let result = async {
            self.refuse_configured(name)?;
            let event = self.profile_event(caller, "profile.delete", name, json!({}));
            if name.contains('\0') || !self.storage.delete_profile(name, event).await? {
                return Err(no_profile(name));
            }
            self.refresh().await?;
            Ok(())
        };
        let outcome = result.await;
        self.audited(caller, "profile.delete", format!("profile:{name}"), outcome).await
    }

    /// Writes the profiles of the configuration file; those that are unchanged stay at their version, and those that were taken out of the
    /// file are deleted.
    ///
    /// # Errors
    /// As [`Self::put_profile`].
    pub async fn apply_configured_profiles(&self, profiles: Vec<Profile>) -> Result<()> {
        let caller = Caller::internal("configuration");
        let kept: Vec<String> = profiles.iter().map(|profile| profile.name.clone()).collect();
        for profile in profiles {
            self.store_profile(&caller, profile, ProfileOrigin::Configuration, None).await?;
        }
        for (name, profile) in &self.profiles.load_full().by_name {
            if profile.record.origin == ProfileOrigin::Configuration && !kept.contains(name) {
                let event = self.profile_event(&caller, "profile.delete", name, json!({}));
                self.storage.delete_profile(name, event).await?;
            }
        }
        self.refresh().await?;
        Ok(())
    }

    async fn store_profile(
        &self,
        caller: &Caller,
        profile: Profile,
        origin: ProfileOrigin,
        expected_version: Option<i32>,
    ) -> Result<PutProfile> {
        let profile = CompiledProfile::compile(profile)?.profile().clone();
        // It may name an issuer that another replica made a moment ago.
        self.refresh().await?;
        let issuers = self.issuers();
        if let Some(name) =
            profile.issuer.iter().chain(&profile.additional_issuers).find(|name| issuers.by_name(name).is_none())
        {
            return Err(Error::conflict(format!(
                "the profile `{}` names the issuer `{name}`, which does not exist; there are: {}",
                profile.name,
                issuers.names()
            )));
        }
        let existed = self.active_profile(&profile.name).is_some();
        let new = new_version(&profile, origin, caller, self.clock.now(), expected_version, false)?;
        let event = self.profile_event(caller, "profile.put", &profile.name, json!({ "document": profile }));
        let record = match self.storage.put_profile(new, event).await? {
            ProfilePut::Created(record) | ProfilePut::Unchanged(record) => record,
            ProfilePut::VersionMismatch(present) => {
                let present = present.map_or_else(|| "absent".to_owned(), |version| format!("at version {version}"));
                return Err(Error::conflict(format!("the profile `{}` is {present}, not as expected", profile.name)));
            }
        };
        self.refresh().await?;
        Ok(PutProfile { profile: compiled(record)?, created: !existed })
    }

    /// Writes the default profiles where no profile of the name exists: at first start only.
    pub(super) async fn store_default_profiles(&self, caller: &Caller) -> Result<()> {
        for profile in crate::policy::profile::defaults() {
            let new = new_version(&profile, ProfileOrigin::Default, caller, self.clock.now(), None, true)?;
            let event = self.profile_event(caller, "profile.put", &profile.name, json!({ "document": profile }));
            self.storage.put_profile(new, event).await?;
        }
        Ok(())
    }

    pub(super) fn active_profile(&self, name: &str) -> Option<ActiveProfile> {
        self.profiles.load().by_name.get(name).cloned()
    }

    /// Loads and compiles the present versions.
    pub(super) async fn load_profiles(&self) -> Result<()> {
        let mut by_name = BTreeMap::new();
        for record in self.storage.profiles().await? {
            by_name.insert(record.name.clone(), compiled(record)?);
        }
        self.profiles.store(Arc::new(Profiles { by_name }));
        Ok(())
    }

    fn refuse_configured(&self, name: &str) -> Result<()> {
        match self.active_profile(name) {
            Some(profile) if profile.record.origin == ProfileOrigin::Configuration => Err(Error::conflict(format!(
                "the profile `{name}` is written in the configuration file and can only be changed there"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    fn profile_event(&self, caller: &Caller, action: &str, name: &str, details: serde_json::Value) -> AuditEvent {
        self.event(caller, action, AuditOutcome::Success, format!("profile:{name}"), details)
    }
}

fn new_version(
    profile: &Profile,
    origin: ProfileOrigin,
    caller: &Caller,
    now: crate::x509::Timestamp,
    expected_version: Option<i32>,
    only_if_absent: bool,
) -> Result<NewProfileVersion> {
    let document = serde_json::to_string(profile)
        .map_err(|error| Error::internal("a profile could not be encoded").with_source(error))?;
    Ok(NewProfileVersion {
        name: profile.name.clone(),
        document,
        origin,
        created_by: caller.principal.name.clone(),
        created_at: now,
        only_if_absent,
        expected_version,
    })
}

fn compiled(record: ProfileRecord) -> Result<ActiveProfile> {
    let broken = |name: &str, error: Box<dyn std::error::Error + Send + Sync>| {
        Error::internal(format!("the stored profile `{name}` does not compile")).with_source(error)
    };
    let document: Profile =
        serde_json::from_str(&record.document).map_err(|error| broken(&record.name, Box::new(error)))?;
    let compiled = CompiledProfile::compile(document).map_err(|error| broken(&record.name, Box::new(error)))?;
    Ok(ActiveProfile { record, compiled: Arc::new(compiled) })
}

fn no_profile(name: &str) -> Error {
    Error::not_found(format!("there is no profile `{name}`"))
}
