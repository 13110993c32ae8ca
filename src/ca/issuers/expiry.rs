//! Warnings before something ends that an issuer needs: its certificate, its CRL. For readiness, metrics and `chancery doctor`.

use std::sync::Arc;

use serde::Serialize;

use crate::ca::CertificateAuthority;
use crate::ca::issuer::Issuer;
use crate::policy::duration;
use crate::storage::IssuerState;
use crate::x509::Timestamp;

/// A warning that something ends soon or has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct ExpiryWarning {
    /// What ends, such as `issuer:issuing`.
    #[schema(example = "issuer:issuing")]
    pub object: String,
    /// When.
    pub not_after: Timestamp,
    /// Whether it has ended.
    pub ended: bool,
    /// What to do.
    #[schema(example = "the certificate of the issuer `issuing` ends within `90d`; roll it over")]
    pub detail: String,
}

impl CertificateAuthority {
    /// Returns what ends soon, the issuers in the order of their rows: certificates of issuers in use that end within the configured time or
    /// before the longest certificates they are to sign, and CRLs that have ended.
    #[must_use]
    pub fn expiry_warnings(&self) -> Vec<ExpiryWarning> {
        let now = self.clock.now();
        let mut warnings = Vec::new();
        for issuer in self.issuers().all() {
            match issuer.state {
                IssuerState::Active | IssuerState::Staged => warnings.extend(self.issuer_warning(issuer, now)),
                IssuerState::Retired => {}
                IssuerState::Disabled => continue,
            }
            // A retired issuer's own end is expected; its CRL is needed until then.
            if issuer.certificate.not_after >= now {
                warnings.extend(self.crl_warning(issuer, now));
            }
        }
        warnings
    }

    fn issuer_warning(&self, issuer: &Arc<Issuer>, now: Timestamp) -> Option<ExpiryWarning> {
        let not_after = issuer.certificate.not_after;
        let (name, within) = (&issuer.path_name, self.settings.expiry_warning);
        let left = not_after.since(now);
        let detail = if not_after < now {
            format!("the certificate of the issuer `{name}` has ended; roll it over or renew its certificate")
        } else if left <= within {
            format!("the certificate of the issuer `{name}` ends within `{}`; roll it over", duration::format(within))
        } else {
            let (profile, longest) = self.longest_profile(issuer)?;
            if left >= longest {
                return None;
            }
            format!(
                "the issuer `{name}` ends before the `{}` that certificates under the profile `{profile}` may last; roll it over",
                duration::format(longest)
            )
        };
        Some(ExpiryWarning { object: format!("issuer:{name}"), not_after, ended: not_after < now, detail })
    }

    /// Returns the profile with the longest certificates that this issuer is to sign.
    fn longest_profile(&self, issuer: &Issuer) -> Option<(String, std::time::Duration)> {
        let profiles = self.profiles.load();
        let signs = |name: Option<&String>| name.map_or(issuer.is_default, |name| *name == issuer.name);
        profiles
            .by_name
            .values()
            .map(|profile| profile.compiled.profile())
            .filter(|profile| signs(profile.issuer.as_ref()) || profile.additional_issuers.contains(&issuer.name))
            .map(|profile| (profile.name.clone(), profile.validity.maximum))
            .max_by_key(|(_, longest)| *longest)
    }

    fn crl_warning(&self, issuer: &Arc<Issuer>, now: Timestamp) -> Option<ExpiryWarning> {
        let crl = self.published_crls().of_issuer(issuer.id).cloned()?;
        if crl.next_update >= now {
            return None;
        }
        let name = &issuer.path_name;
        let why =
            if issuer.can_sign() { "it could not be published" } else { "its key is not at hand to sign the next" };
        Some(ExpiryWarning {
            object: format!("crl:{name}"),
            not_after: crl.next_update,
            ended: true,
            detail: format!("the CRL of the issuer `{name}` has ended: {why}"),
        })
    }
}
