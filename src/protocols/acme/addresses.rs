//! The addresses of ACME's resources, absolute, under the base that the client knows. Paths are those of the handlers' descriptions.

use crate::policy::acme::ChallengeType;

/// Writes addresses under a base: scheme and host without a slash at the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses<'a>(pub(super) &'a str);

impl Addresses<'_> {
    /// A resource that every directory has for itself: `directory` names the profile, if it is that of one.
    pub(super) fn of_directory(self, directory: Option<&str>, resource: &str) -> String {
        match directory {
            Some(profile) => format!("{}/acme/{profile}/{resource}", self.0),
            None => self.shared(resource),
        }
    }

    /// A resource that all directories share.
    pub(super) fn shared(self, resource: &str) -> String {
        format!("{}/acme/{resource}", self.0)
    }

    pub(super) fn account(self, id: i64) -> String {
        format!("{}/acme/accounts/{id}", self.0)
    }

    pub(super) fn account_orders(self, id: i64) -> String {
        format!("{}/acme/accounts/{id}/orders", self.0)
    }

    pub(super) fn account_orders_after(self, id: i64, order: i64) -> String {
        format!("{}/acme/accounts/{id}/orders?cursor={order}", self.0)
    }

    pub(super) fn order(self, id: i64) -> String {
        format!("{}/acme/orders/{id}", self.0)
    }

    pub(super) fn finalize(self, id: i64) -> String {
        format!("{}/acme/orders/{id}/finalize", self.0)
    }

    pub(super) fn authorization(self, id: i64) -> String {
        format!("{}/acme/authorizations/{id}", self.0)
    }

    pub(super) fn challenge(self, authorization: i64, challenge: ChallengeType) -> String {
        format!("{}/acme/challenges/{authorization}/{challenge}", self.0)
    }

    /// The certificate of an order with its chain (0) or an alternate one.
    pub(super) fn certificate(self, order: i64, chain: usize) -> String {
        match chain {
            0 => format!("{}/acme/certificates/{order}", self.0),
            alternate => format!("{}/acme/certificates/{order}/{alternate}", self.0),
        }
    }
}
