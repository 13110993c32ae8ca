//! The states of issuers, which is the default one, and their settings.

use serde_json::json;

use super::{AnyIssuer, ChangedIssuer, change_of, no_issuer, refuse_ungranted};
use crate::auth::permission::ManageIssuers;
use crate::auth::{Authorized, Caller};
use crate::ca::CertificateAuthority;
use crate::ca::settings::{IssuerCrlSettings, IssuerOcspSettings, IssuerSettings, IssuerUrls};
use crate::error::{Error, Result};
use crate::storage::{AuditOutcome, IssuerChange, IssuerState};

/// A change of an issuer; what is `None` stays.
#[derive(Clone, Debug, Default)]
pub struct IssuerUpdate {
    /// The new state.
    pub state: Option<IssuerState>,
    /// `Some(true)`: it becomes the default issuer.
    pub is_default: Option<bool>,
    /// The new settings of its CRLs, all of them.
    pub crl: Option<IssuerCrlSettings>,
    /// The new settings of its OCSP answers, all of them.
    pub ocsp: Option<IssuerOcspSettings>,
    /// The new addresses that it writes, all of them.
    pub urls: Option<IssuerUrls>,
}

impl CertificateAuthority {
    /// Changes an issuer: state, settings, and whether it is the default one, all or nothing.
    ///
    /// # Errors
    /// `Conflict` for a step that the state does not admit; `Malformed` for bad settings; `NotFound`; `Forbidden` outside the caller's grants.
    pub async fn update_issuer(
        &self,
        authorization: &Authorized<ManageIssuers>,
        reference: &str,
        update: IssuerUpdate,
    ) -> Result<ChangedIssuer> {
        let caller = authorization.caller();
        let object = format!("issuer:{}", reference.escape_default());
        let outcome = self.update(caller, reference, update).await;
        self.audited(caller, "issuer.update", object, outcome).await
    }

    async fn update(&self, caller: &Caller, reference: &str, update: IssuerUpdate) -> Result<ChangedIssuer> {
        self.refresh().await?;
        let issuers = self.issuers();
        let issuer = issuers.any_by_reference(reference).ok_or_else(|| no_issuer(&issuers, reference))?;
        refuse_ungranted(caller, issuer.name())?;
        let settings = self.new_settings(&issuer, &update)?;
        let mut changes = self.state_changes(&issuer, &update)?;
        match changes.iter_mut().find(|change| change.id == issuer.record().id) {
            Some(change) => change.settings = settings.clone(),
            None => changes.push(IssuerChange { settings: settings.clone(), ..change_of(issuer.record()) }),
        }
        let nothing = changes
            .iter()
            .all(|change| change.state.is_none() && change.is_default.is_none() && change.settings.is_none());
        if nothing {
            return Ok(ChangedIssuer { issuer, replayed: true });
        }
        let details = json!({
            "from": issuer.record().state,
            "state": update.state,
            "default": update.is_default,
            "settings": settings,
        });
        let object = format!("issuer:{}", issuer.path_name());
        let audit = self.event(caller, "issuer.update", AuditOutcome::Success, object, details);
        if !self.storage.change_issuers(changes, audit).await? {
            self.refresh().await?;
            return Err(Error::conflict(format!(
                "the issuer `{}` was changed by somebody else meanwhile; look at it and try again",
                issuer.path_name()
            )));
        }
        self.changed(issuer.path_name()).await
    }

    fn new_settings(&self, issuer: &AnyIssuer, update: &IssuerUpdate) -> Result<Option<String>> {
        let present = IssuerSettings::from_stored(&issuer.record().settings)?;
        let next = IssuerSettings {
            crl: update.crl.clone().unwrap_or_else(|| present.crl.clone()),
            ocsp: update.ocsp.clone().unwrap_or_else(|| present.ocsp.clone()),
            urls: update.urls.clone().unwrap_or_else(|| present.urls.clone()),
        };
        next.check(&self.settings)?;
        if next == present { Ok(None) } else { next.to_stored().map(Some) }
    }

    fn state_changes(&self, issuer: &AnyIssuer, update: &IssuerUpdate) -> Result<Vec<IssuerChange>> {
        let present = issuer.record().state;
        let next = update.state.unwrap_or(present);
        let mut changes = if next == present { Vec::new() } else { self.steps(issuer, next)? };
        match update.is_default {
            None => {}
            Some(false) if issuer.record().is_default => {
                return Err(Error::conflict("there is always a default issuer; make another one the default instead"));
            }
            Some(false) => {}
            Some(true) if next != IssuerState::Active => {
                return Err(Error::conflict(format!(
                    "only an active issuer can be the default one; `{}` is not active",
                    issuer.path_name()
                )));
            }
            Some(true) if issuer.record().is_default => {}
            Some(true) => match changes.iter_mut().find(|change| change.id == issuer.record().id) {
                Some(change) => change.is_default = Some(true),
                None => changes.push(IssuerChange { is_default: Some(true), ..change_of(issuer.record()) }),
            },
        }
        Ok(changes)
    }

    /// Makes the changes of one step between states, which differ.
    fn steps(&self, issuer: &AnyIssuer, next: IssuerState) -> Result<Vec<IssuerChange>> {
        use IssuerState::{Active, Disabled, Retired, Staged};
        let record = issuer.record();
        let plain = || Ok(vec![IssuerChange { state: Some(next), ..change_of(record) }]);
        match (record.state, next) {
            (Staged | Retired, Active) => self.activate(issuer),
            (Active | Staged, Retired | Disabled) | (Retired, Disabled) => {
                self.refuse_default(issuer)?;
                plain()
            }
            (Disabled, Retired | Staged) => plain(),
            (Active | Retired, Staged) | (Disabled, Active) => Err(Error::conflict(format!(
                "`{}` cannot become `{}` from `{}`; possible are {}",
                issuer.path_name(),
                word(next),
                word(record.state),
                possible(record.state)
            ))),
            (Active, Active) | (Staged, Staged) | (Retired, Retired) | (Disabled, Disabled) => Ok(Vec::new()),
        }
    }

    fn activate(&self, issuer: &AnyIssuer) -> Result<Vec<IssuerChange>> {
        let AnyIssuer::Ready(ready) = issuer else {
            return Err(Error::conflict(format!(
                "the issuer `{}` waits for its first certificate; it becomes active with that",
                issuer.path_name()
            )));
        };
        let issuers = self.issuers();
        let active = issuers.generations(&ready.name).find(|other| other.state == IssuerState::Active);
        // A later generation takes over; going back is for when that one was taken out of service.
        if let Some(active) = active.filter(|_active| ready.state == IssuerState::Retired) {
            return Err(Error::conflict(format!(
                "`{}` is active in the place of `{}`; retire or disable it first, or roll over",
                active.path_name, ready.path_name
            )));
        }
        if let Some(revoked) = &ready.revoked {
            return Err(Error::conflict(format!(
                "the certificate of `{revoked}` in its chain is revoked or on hold, or its key is blocked"
            )));
        }
        if ready.certificate.not_after < self.clock.now() {
            return Err(Error::conflict(format!("its certificate ended on `{}`", ready.certificate.not_after)));
        }
        Ok(self.activation_of(issuer))
    }

    /// Refuses to take the default issuer out of service, unless another generation of its name is active.
    fn refuse_default(&self, issuer: &AnyIssuer) -> Result<()> {
        if !issuer.record().is_default {
            return Ok(());
        }
        Err(Error::conflict(format!(
            "`{}` is the default issuer; make another one the default first",
            issuer.path_name()
        )))
    }
}

const fn word(state: IssuerState) -> &'static str {
    match state {
        IssuerState::Active => "active",
        IssuerState::Staged => "staged",
        IssuerState::Retired => "retired",
        IssuerState::Disabled => "disabled",
    }
}

const fn possible(state: IssuerState) -> &'static str {
    match state {
        IssuerState::Active => "`retired` and `disabled`",
        IssuerState::Staged => "`active`, `retired` and `disabled`",
        IssuerState::Retired => "`active` and `disabled`",
        IssuerState::Disabled => "`staged` and `retired`",
    }
}
