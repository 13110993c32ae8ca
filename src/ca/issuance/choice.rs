//! Which profile and which issuer a request comes to, and whether the caller may use them. What they then admit is judged in `policy/`.

use std::sync::Arc;

use super::shown;
use crate::auth::Caller;
use crate::auth::principal::Role;
use crate::ca::CertificateAuthority;
use crate::ca::issuer::Issuer;
use crate::ca::profiles::ActiveProfile;
use crate::error::{Error, ErrorKind, Result, Violation};
use crate::policy::Profile;

impl CertificateAuthority {
    /// Finds a profile that the caller may use.
    pub(in crate::ca) fn usable_profile(&self, caller: &Caller, name: &str) -> Result<ActiveProfile> {
        let profiles = self.profiles.load();
        let grants = &caller.principal.grants;
        let usable = || {
            let names = profiles.by_name.keys().filter(|name| grants.allow_profile(name));
            names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        match profiles.by_name.get(name) {
            Some(profile) if grants.allow_profile(name) => {
                refuse_authority(caller, profile.compiled.profile(), None)?;
                Ok(profile.clone())
            }
            Some(_) => Err(Error::new(
                ErrorKind::Forbidden,
                format!("the caller's grants do not include the profile `{name}`; included: {}", usable()),
            )),
            None => Err(Error::not_found(format!("there is no profile `{}`; there are: {}", shown(name), usable()))),
        }
    }

    /// Finds the issuer for a request: the one it names, if the profile admits it, else the profile's, else the default one.
    pub(in crate::ca) fn usable_issuer(
        &self,
        caller: &Caller,
        profile: &ActiveProfile,
        requested: Option<&str>,
    ) -> Result<Arc<Issuer>> {
        let issuers = self.issuers();
        let document = profile.compiled.profile();
        let default =
            document.issuer.as_deref().or_else(|| issuers.default_issuer().map(|issuer| issuer.name.as_str()));
        let name = requested.or(default).ok_or_else(|| {
            Error::conflict("there is no default issuer; run `chancery init` or name one in the profile")
        })?;
        let issuer =
            issuers.by_name(name).ok_or_else(|| Error::not_found(format!("there is no issuer `{}`", shown(name))))?;
        let admitted: Vec<&str> =
            default.into_iter().chain(document.additional_issuers.iter().map(String::as_str)).collect();
        if !admitted.contains(&name) {
            return Err(Error::policy(vec![Violation {
                code: "issuer_not_allowed",
                field: "issuer".to_owned(),
                value: name.to_owned(),
                rule: format!("profiles.{}.additional_issuers", document.name),
                message: format!(
                    "the profile `{}` does not admit the issuer `{name}`; admitted: `{}`",
                    document.name,
                    admitted.join("`, `")
                ),
            }]));
        }
        if !caller.principal.grants.allow_issuer(name) {
            return Err(Error::new(
                ErrorKind::Forbidden,
                format!("the caller's grants do not include the issuer `{name}`"),
            ));
        }
        refuse_authority(caller, document, Some(name))?;
        self.refuse_unfit(issuer)?;
        Ok(Arc::clone(issuer))
    }
}

/// Refuses the use of a profile that makes CAs to those who were not given it by name: a CA below one of our issuers signs what no profile
/// and no grant bounds any more. `issuer` is the one that would sign, once it is known.
fn refuse_authority(caller: &Caller, profile: &Profile, issuer: Option<&str>) -> Result<()> {
    if profile.certificate_authority.is_none() {
        return Ok(());
    }
    let (name, grants) = (&profile.name, &caller.principal.grants);
    let refuse =
        |why: String| Err(Error::new(ErrorKind::Forbidden, format!("the profile `{name}` makes CAs, and {why}")));
    if grants.names().is_some() {
        return refuse("the caller's grants are for certain names only, which a CA could go beyond".to_owned());
    }
    let is_administrator = match caller.principal.role {
        Role::Administrator => true,
        Role::Operator | Role::Requester | Role::Auditor => false,
    };
    if is_administrator {
        return Ok(());
    }
    if !grants.name_profile(name) {
        return refuse("only administrators may use it, and callers whose grants name it and the issuer".to_owned());
    }
    match issuer {
        Some(issuer) if !grants.name_issuer(issuer) => refuse(format!(
            "the caller's grants do not name the issuer `{issuer}` that would sign; administrators need no grants"
        )),
        Some(_) | None => Ok(()),
    }
}
