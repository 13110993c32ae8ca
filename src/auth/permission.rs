//! Permissions, which role has which, and [`Authorized`]: the proof of a check that the core's functions consume.
//!
//! Unmatched means denied: the table names every role for every permission.

use std::marker::PhantomData;
use std::sync::Arc;

use super::principal::{Caller, Role};
use crate::error::{Error, ErrorKind, Result};

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal: $($role:ident)*;)*) => {
        /// What a caller may do. Each route declares exactly one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Permission {
            $($(#[$doc])* $name,)*
        }

        impl Permission {
            /// Every permission.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the permission's stable name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Returns the roles that have the permission.
            #[must_use]
            pub const fn roles(self) -> &'static [Role] {
                match self { $(Self::$name => &[$(Role::$role),*],)* }
            }
        }

        $($(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Requires for $name {
            const PERMISSION: Permission = Permission::$name;
        })*
    };
}

permissions! {
    /// Issue certificates, within grants.
    IssueCertificates = "certificates.issue": Administrator Operator Requester;
    /// Read certificates; a requester its own.
    ReadCertificates = "certificates.read": Administrator Operator Requester Auditor;
    /// Revoke certificates; a requester its own.
    RevokeCertificates = "certificates.revoke": Administrator Operator Requester;
    /// Release certificates from hold.
    ReleaseCertificates = "certificates.release": Administrator Operator;
    /// Renew certificates, within grants; a requester its own.
    RenewCertificates = "certificates.renew": Administrator Operator Requester;
    /// Import certificates that an issuer here signed elsewhere.
    ImportCertificates = "certificates.import": Administrator Operator;
    /// Read issuers.
    ReadIssuers = "issuers.read": Administrator Operator Auditor;
    /// Create, import, roll over, cross-sign and change issuers, and take certificates that were signed outside.
    ManageIssuers = "issuers.manage": Administrator;
    /// List keys, seal them anew and move them.
    ManageKeys = "keys.manage": Administrator;
    /// Publish a CRL now.
    PublishCrl = "issuers.publish_crl": Administrator Operator;
    /// Read profiles.
    ReadProfiles = "profiles.read": Administrator Operator Auditor;
    /// Write and delete profiles.
    ManageProfiles = "profiles.manage": Administrator;
    /// List API tokens (never their secrets).
    ReadTokens = "tokens.read": Administrator Auditor;
    /// Create and revoke API tokens.
    ManageTokens = "tokens.manage": Administrator;
    /// Read and verify the audit log.
    ReadAudit = "audit.read": Administrator Auditor;
    /// Read statistics over the whole inventory.
    ReadStatistics = "statistics.read": Administrator Operator Auditor;
    /// Read ACME accounts and orders.
    ReadAcme = "acme.read": Administrator Operator Auditor;
    /// End ACME accounts, and set their limits.
    ManageAcme = "acme.manage": Administrator Operator;
    /// List and read external account keys (never their secrets); a requester its own.
    ReadExternalAccountKeys = "acme.external_account_keys.read": Administrator Operator Requester Auditor;
    /// Make and delete external account keys; a requester its own.
    ManageExternalAccountKeys = "acme.external_account_keys": Administrator Operator Requester;
    /// Have requests, certificates and CRLs parsed.
    Inspect = "inspect": Administrator Operator Requester Auditor;
}

/// A marker type for one permission.
pub trait Requires: Send + Sync + 'static {
    /// The permission.
    const PERMISSION: Permission;
}

/// Proof that a caller has the permission `P`. Only [`Authorized::check`] makes one.
#[derive(Clone, Debug)]
pub struct Authorized<P: Requires> {
    caller: Arc<Caller>,
    permission: PhantomData<P>,
}

impl<P: Requires> Authorized<P> {
    /// Checks that the caller's role has the permission.
    ///
    /// # Errors
    /// `Forbidden`, naming the role, the permission and the roles that have it.
    pub fn check(caller: Arc<Caller>) -> Result<Self> {
        let permission = P::PERMISSION;
        let role = caller.principal.role;
        if permission.roles().contains(&role) {
            return Ok(Self { caller, permission: PhantomData });
        }
        let roles: Vec<&str> = permission.roles().iter().map(|role| role.as_str()).collect();
        Err(Error::new(
            ErrorKind::Forbidden,
            format!(
                "the role `{}` does not have the permission `{}`; roles that have it: {}",
                role.as_str(),
                permission.as_str(),
                roles.join(", ")
            ),
        ))
    }

    /// Returns who was checked.
    #[must_use]
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Returns the requester whose certificates the caller is confined to, or `None` when it may touch all.
    #[must_use]
    pub fn owner(&self) -> Option<&str> {
        match self.caller.principal.role {
            Role::Requester => Some(&self.caller.principal.name),
            Role::Administrator | Role::Operator | Role::Auditor => None,
        }
    }
}
