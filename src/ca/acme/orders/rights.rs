//! Who may order what: the profiles that directories offer, and what the binding of an account admits.

use std::sync::Arc;

use crate::auth::Caller;
use crate::ca::acme::{Account, Acme, AcmeCaller};
use crate::ca::issuer::Issuer;
use crate::ca::profiles::ActiveProfile;
use crate::error::{AcmeErrorType, Error, ErrorKind, Result};
use crate::policy::Profile;
use crate::policy::acme::order::OrderRules;

/// What an order is made and judged under.
#[derive(Clone, Debug)]
pub(in crate::ca::acme) struct OrderScope {
    /// The profile.
    pub(in crate::ca::acme) profile: ActiveProfile,
    /// The issuer that would sign.
    pub(in crate::ca::acme) issuer: Arc<Issuer>,
}

/// The most characters of a name that messages repeat.
const MAXIMUM_SHOWN: usize = 64;

impl Acme {
    /// Returns the profiles that a directory offers with their descriptions, by name: one, or in the default directory all of them.
    ///
    /// # Errors
    /// `NotFound` when there is no directory of this name.
    pub fn directory_profiles(&self, directory: Option<&str>) -> Result<Vec<(String, String)>> {
        let profiles = self.ca.profiles.load();
        let offered = profiles.by_name.values().map(|profile| profile.compiled.profile());
        let offered: Vec<(String, String)> = offered
            .filter(|profile| directory.is_none_or(|directory| directory == profile.name) && self.is_offered(profile))
            .map(|profile| (profile.name.clone(), description(profile)))
            .collect();
        match directory {
            Some(name) if offered.is_empty() => {
                Err(Error::not_found(format!("there is no ACME directory `{}`", shown(name))))
            }
            Some(_) | None => Ok(offered),
        }
    }

    /// Whether certificates under a profile can be had over ACME, which proves names and nothing that makes a CA.
    pub(in crate::ca::acme) fn is_offered(&self, profile: &Profile) -> bool {
        let is_listed = self.settings.profiles.as_ref().is_none_or(|listed| listed.contains(&profile.name));
        is_listed && profile.certificate_authority.is_none() && (profile.dns.is_some() || profile.ip.is_some())
    }

    /// Finds what a new order of an account is made under, and refuses an account that may not order.
    pub(in crate::ca::acme) fn order_scope(
        &self,
        caller: &AcmeCaller,
        directory: Option<&str>,
        requested: Option<&str>,
    ) -> Result<OrderScope> {
        let account = caller.account();
        let name = self.order_profile(account, directory, requested)?;
        self.require_terms(caller)?;
        self.require_binding(account, &name)?;
        self.scope_of(caller.caller(), &name)
    }

    /// Returns what bounds the orders of an account.
    pub(in crate::ca::acme) fn order_rules<'a>(&self, account: &'a Account, scope: &'a OrderScope) -> OrderRules<'a> {
        OrderRules {
            maximum: self.settings.maximum_identifiers,
            profile: &scope.profile.compiled,
            grants: &account.grants,
            issuer: &scope.issuer.limits,
        }
    }

    /// Finds the profile of a new order: what it names, else what the directory is for, else that of the account's binding, else the default.
    fn order_profile(&self, account: &Account, directory: Option<&str>, requested: Option<&str>) -> Result<String> {
        let offered = self.directory_profiles(directory)?;
        let bound = account.record.external_account_key.as_ref().map(|key| key.profile.as_str());
        let name = requested.or(directory).or(bound).unwrap_or(&self.settings.default_profile);
        if !offered.iter().any(|(offered, _)| offered == name) {
            let offered: Vec<String> = offered.iter().map(|(name, _)| format!("`{name}`")).collect();
            return Err(Error::acme(
                AcmeErrorType::InvalidProfile,
                format!("this directory has no profile `{}`; it has: {}", shown(name), offered.join(", ")),
            ));
        }
        Ok(name.to_owned())
    }

    /// Finds the compiled profile of an order and the issuer that signs under it.
    pub(in crate::ca::acme) fn scope_of(&self, caller: &Caller, name: &str) -> Result<OrderScope> {
        // It was offered when the order was made, and may be gone or withdrawn since.
        let profile = self.ca.usable_profile(caller, name).map_err(|error| match error.kind() {
            ErrorKind::NotFound => withdrawn(name),
            _ => error,
        })?;
        if !self.is_offered(profile.compiled.profile()) {
            return Err(withdrawn(name));
        }
        let issuer = self.ca.usable_issuer(caller, &profile, None).map_err(|error| match error.kind() {
            // That an issuer is retired or has ended is nothing that a client can mend.
            ErrorKind::Conflict | ErrorKind::NotFound => {
                let detail = format!("no issuer signs under the profile `{name}` at the moment");
                Error::new(ErrorKind::Unavailable, detail).with_retry_after(60).with_source(error)
            }
            _ => error,
        })?;
        Ok(OrderScope { profile, issuer })
    }
}

fn withdrawn(name: &str) -> Error {
    let detail = format!("the profile `{}` is not offered over ACME any more", shown(name));
    Error::acme(AcmeErrorType::InvalidProfile, detail)
}

fn description(profile: &Profile) -> String {
    profile.description.clone().unwrap_or_else(|| format!("certificates under the profile {}", profile.name))
}

fn shown(name: &str) -> String {
    name.chars().take(MAXIMUM_SHOWN).flat_map(char::escape_default).collect()
}
